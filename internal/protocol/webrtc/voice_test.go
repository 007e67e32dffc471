package webrtc

import (
	"math"
	"testing"
	"time"

	"github.com/thesyncim/gopus"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
)

// hum publishes a tone of AAC beside the picture, until the test ends.
func (h *house) hum(hz float64) {
	h.t.Helper()
	const rate = 44100
	enc, err := aaclc.NewEncoder(rate, 2, 128000)
	if err != nil {
		h.t.Fatal(err)
	}
	pub, err := h.hub.Publish(key, hub.PublishOptions{By: "rtmp"})
	if err != nil {
		h.t.Fatal(err)
	}
	picture, _ := testTracks(h.t)
	sound := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: enc.Config(), SampleRate: rate, Channels: 2, Profile: "LC"}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer pub.Close(nil)
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		plane := make([]float32, aaclc.FrameSize)
		for i := 0; ; i++ {
			for j := range plane {
				plane[j] = float32(0.5 * math.Sin(2*math.Pi*hz*float64(i*len(plane)+j)/rate))
			}
			at := time.Duration(i*len(plane)) * time.Second / rate
			if p, err := enc.Encode(nil, [][]float32{plane, plane}); err == nil && len(p) > 0 {
				pub.Write(&media.Frame{Track: sound, Source: at, Payload: p})
			}
			pub.Write(&media.Frame{Track: picture, Source: at, Key: i%10 == 0, Payload: unit(0x65, 3000, i)})
			select {
			case <-beat.C:
			case <-quit:
				return
			}
		}
	}()
	h.t.Cleanup(func() { close(quit); <-done })
}

// A stream's AAC reaches players as Opus that sounds the same.
func TestSoundForBrowsers(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on; opus_bitrate 96000;", "")
	const hz = 1000
	h.hum(hz)
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	dec, err := gopus.NewDecoder(gopus.DefaultDecoderConfig(opus.Rate, 1))
	if err != nil {
		t.Fatal(err)
	}
	var pcm []float32
	buf := make([]float32, 5760)
	bits := 0
	for range 60 {
		p := <-w.sounds
		bits += 8 * len(p)
		if opus.Samples(p) != 960 {
			t.Fatalf("% .10x is not 20 ms of Opus", p)
		}
		n, err := dec.Decode(p, buf)
		if err != nil {
			t.Fatal(err)
		}
		pcm = append(pcm, buf[:n]...)
	}
	if rate := bits * 50 / 60; rate < 90000 || rate > 102000 {
		t.Errorf("%d bits a second, with opus_bitrate 96000", rate)
	}
	var c, s, all float64
	pcm = pcm[opus.Rate/4:]
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
