package elementary

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
)

const ms = time.Millisecond

// Frames of sound may be cut anywhere; the time of a piece is that of the first
// frame that begins in it.
func TestAudioFrames(t *testing.T) {
	c := aac.Config{Type: aac.TypeLC, SampleRate: 48000, ChannelConfig: 2, Channels: 2}
	var stream []byte
	for i := range 20 {
		stream = append(c.AppendADTS(stream, 10), bytes.Repeat([]byte{byte(i)}, 10)...)
	}
	for _, cut := range []int{1, 7, 17, 18, 50, len(stream)} {
		a := &Audio{Codec: media.AAC}
		var got []*media.Frame
		for at := 0; at < len(stream); at += cut {
			// 17 bytes are a frame of 1024 samples.
			first := (at + 16) / 17
			got = a.Append(got, stream[at:min(len(stream), at+cut)], time.Duration(first)*1024*time.Second/48000, true)
		}
		if len(got) != 20 {
			t.Fatalf("cut at %d: %d frames", cut, len(got))
		}
		for i, f := range got {
			if want := time.Duration(i) * 1024 * time.Second / 48000; f.Source-want > time.Microsecond || want-f.Source > time.Microsecond || !bytes.Equal(f.Payload, bytes.Repeat([]byte{byte(i)}, 10)) {
				t.Errorf("cut at %d: frame %d at %v: %x", cut, i, f.Source, f.Payload)
			}
		}
		if tr := got[0].Track; tr.SampleRate != 48000 || tr.Channels != 2 || tr != got[19].Track {
			t.Errorf("track %+v", tr)
		}
	}
}

// What is no frame is passed over, and without any time there is none.
func TestAudioGarbage(t *testing.T) {
	c := aac.Config{Type: aac.TypeLC, SampleRate: 44100, ChannelConfig: 1, Channels: 1}
	frame := append(c.AppendADTS(nil, 3), 1, 2, 3)
	a := &Audio{Codec: media.AAC}
	if got := a.Append(nil, frame, 0, false); len(got) != 0 {
		t.Errorf("%d frames without a time", len(got))
	}
	a.Reset()
	got := a.Append(nil, append(append([]byte("garbage\xff\xff"), frame...), frame...), 5*ms, true)
	if len(got) != 2 || got[0].Source != 5*ms || got[0].Track.SampleRate != 44100 {
		t.Errorf("%d frames", len(got))
	}
	for range 100 {
		a.Append(nil, bytes.Repeat([]byte{0xff}, 4000), 0, true)
	}
	if len(a.left) > 3*MaxAudio {
		t.Errorf("%d bytes are kept", len(a.left))
	}
	p := &Audio{Codec: media.PCMA}
	if got := p.Append(nil, make([]byte, 160), ms, true); len(got) != 1 || got[0].Track.SampleRate != 8000 || p.at != 21*ms {
		t.Errorf("PCMA: %d frames, next at %v", len(got), p.at)
	}
}

// Parameter sets make the track and stand in no frame; other sets are another track.
func TestVideoFrames(t *testing.T) {
	sps, _ := hex.DecodeString("6742c00dd90141fb011000000300100000030320f142a480")
	pps := []byte{0x68, 0xcb, 0x83, 0xcb, 0x20}
	other := append([]byte(nil), pps...)
	other[4] = 0x28
	unit := func(units ...[]byte) (b []byte) {
		for _, u := range units {
			b = append(append(b, 0, 0, 0, 1), u...)
		}
		return b
	}
	v := &Video{Codec: media.H264}
	slice, idr := []byte{0x41, 0x9a, 1}, []byte{0x65, 0x88, 2}
	if got := v.Append(nil, unit([]byte{9, 0xf0}, slice), 0, 0); len(got) != 0 {
		t.Error("a frame before its parameter sets")
	}
	got := v.Append(nil, unit([]byte{9, 0xf0}, sps, pps, idr), 40*ms, 80*ms)
	got = v.Append(got, unit(slice), 80*ms, 0)
	got = v.Append(got, unit(sps, pps), 80*ms, 0) // no picture
	got = v.Append(got, unit(sps, other, idr, slice), 120*ms, 0)
	if len(got) != 3 {
		t.Fatalf("%d frames", len(got))
	}
	if f := got[0]; !f.Key || f.Source != 40*ms || f.CTO != 80*ms || !bytes.Equal(f.Payload, append([]byte{0, 0, 0, 3}, idr...)) || f.Track.Width != 320 {
		t.Errorf("key frame %+v of %+v", f, f.Track)
	}
	if got[1].Key || got[1].Track != got[0].Track || got[2].Track == got[0].Track || len(got[2].Payload) != 14 {
		t.Errorf("%+v, %+v", got[1], got[2])
	}
}

func FuzzAudio(f *testing.F) {
	f.Add([]byte{0xff, 0xf1, 0x50, 0x80, 1, 0x5f, 0xfc, 1, 2, 3}, 3, uint8(media.AAC))
	f.Add([]byte{0xff, 0xfb, 0x90, 0x64, 0, 0, 0, 0}, 100, uint8(media.MP3))
	f.Add([]byte{0x0b, 0x77, 1, 2, 3, 0x40, 4, 5, 6}, 1, uint8(media.AC3))
	f.Fuzz(func(t *testing.T, b []byte, cut int, codec uint8) {
		a := &Audio{Codec: media.Codec(codec)}
		size := 0
		for rest := b; len(rest) > 0; {
			k := min(len(rest), max(1, cut))
			for _, fr := range a.Append(nil, rest[:k], 0, true) {
				size += len(fr.Payload)
			}
			rest = rest[k:]
		}
		if size > len(b) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
	})
}

func FuzzVideo(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0d, 0, 0, 1, 0x68, 0xcb, 0, 0, 1, 0x65, 1}, true)
	f.Fuzz(func(t *testing.T, b []byte, h264 bool) {
		v := &Video{Codec: media.H265}
		if h264 {
			v.Codec = media.H264
		}
		for _, fr := range v.Append(v.Append(nil, b, 0, 0), b, 0, 0) {
			if fr.Track == nil || len(fr.Payload) == 0 {
				t.Fatalf("%+v", fr)
			}
		}
	})
}
