package webrtc

import (
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/thesyncim/gopus"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
)

// hum publishes a tone of AAC beside the picture, until the test ends: first of 44.1 kHz and two
// channels, of 48 kHz and one after the function that is returned was called.
func (h *house) hum(hz float64) (change func()) {
	h.t.Helper()
	var changed atomic.Bool
	source := func(rate, channels int) (*aaclc.Encoder, *media.Track) {
		enc, err := aaclc.NewEncoder(rate, channels, 128000)
		if err != nil {
			h.t.Fatal(err)
		}
		return enc, &media.Track{Kind: media.Audio, Codec: media.AAC, Config: enc.Config(), SampleRate: rate, Channels: channels, Profile: "LC"}
	}
	enc, sound := source(44100, 2)
	next, later := source(48000, 1)
	pub, err := h.hub.Publish(key, hub.PublishOptions{By: "rtmp"})
	if err != nil {
		h.t.Fatal(err)
	}
	picture, _ := testTracks(h.t)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer pub.Close(nil)
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		plane := make([]float32, aaclc.FrameSize)
		at := time.Duration(0)
		for i := 0; ; i++ {
			if changed.Load() {
				enc, sound = next, later
			}
			for j := range plane {
				plane[j] = float32(0.5 * math.Sin(2*math.Pi*hz*(at.Seconds()+float64(j)/float64(sound.SampleRate))))
			}
			if p, err := enc.Encode(nil, [][]float32{plane, plane}[:sound.Channels]); err == nil && len(p) > 0 {
				pub.Write(&media.Frame{Track: sound, Source: at, Payload: p})
			}
			pub.Write(&media.Frame{Track: picture, Source: at, Key: i%10 == 0, Payload: unit(0x65, 3000, i)})
			at += time.Duration(len(plane)) * time.Second / time.Duration(sound.SampleRate)
			select {
			case <-beat.C:
			case <-quit:
				return
			}
		}
	}()
	h.t.Cleanup(func() { close(quit); <-done })
	return func() { changed.Store(true) }
}

// A stream's AAC reaches players as Opus that sounds the same, and goes on to when its rate changes.
func TestSoundForBrowsers(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on; opus_bitrate 96000;", "")
	const hz = 1000
	change := h.hum(hz)
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	dec, err := gopus.NewDecoder(gopus.DefaultDecoderConfig(opus.Rate, 1))
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]float32, 5760)
	stereo := false
	hear := func(packets int) (pcm []float32, bits int) {
		for range packets {
			p := <-w.sounds
			bits += 8 * len(p)
			stereo = p[0]&4 != 0 // RFC 6716 3.1
			if opus.Samples(p) != 960 {
				t.Fatalf("% .10x is not 20 ms of Opus", p)
			}
			n, err := dec.Decode(p, buf)
			if err != nil {
				t.Fatal(err)
			}
			pcm = append(pcm, buf[:n]...)
		}
		return pcm, bits
	}
	check := func(pcm []float32) {
		t.Helper()
		var c, s, all float64
		pcm = pcm[:len(pcm)/48*48] // whole periods
		for i, v := range pcm {
			x := 2 * math.Pi * hz * float64(i) / opus.Rate
			c, s, all = c+float64(v)*math.Cos(x), s+float64(v)*math.Sin(x), all+float64(v)*float64(v)
		}
		tone := (c*c + s*s) * 2 / float64(len(pcm))
		if power := all / float64(len(pcm)); power < 0.1 || power > 0.15 || tone < 0.99*all { // 0.5² / 2
			t.Errorf("power %.3f, of which the tone has %.3f", power, tone/all)
		}
	}
	pcm, bits := hear(60)
	if rate := bits * 50 / 60; rate < 90000 || rate > 102000 {
		t.Errorf("%d bits a second, with opus_bitrate 96000", rate)
	}
	check(pcm[opus.Rate/4:])
	change()
	for stereo {
		hear(1)
	}
	hear(10)
	pcm, _ = hear(20)
	check(pcm)
}
