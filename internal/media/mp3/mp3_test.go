package mp3

import (
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	cases := []struct {
		name string
		in   []byte
		want Header
	}{
		{"mpeg-1 layer 3", []byte{0xff, 0xfb, 0x90, 0x44}, Header{3, true, 128000, 44100, 2, 1152, 417}},
		{"padded", []byte{0xff, 0xfb, 0x92, 0x44}, Header{3, true, 128000, 44100, 2, 1152, 418}},
		{"mono 48 kHz", []byte{0xff, 0xfb, 0x94, 0xc4}, Header{3, true, 128000, 48000, 1, 1152, 384}},
		{"mpeg-2", []byte{0xff, 0xf3, 0x84, 0xc4}, Header{3, false, 64000, 24000, 1, 576, 192}},
		{"mpeg-2.5", []byte{0xff, 0xe3, 0x48, 0xc4}, Header{3, false, 32000, 8000, 1, 576, 288}},
		{"layer 2", []byte{0xff, 0xfd, 0xa4, 0x00}, Header{2, true, 192000, 48000, 2, 1152, 576}},
		{"layer 1", []byte{0xff, 0xff, 0xc4, 0x00}, Header{1, true, 384000, 48000, 2, 384, 384}},
		{"free rate", []byte{0xff, 0xfb, 0x04, 0x00}, Header{3, true, 0, 48000, 2, 1152, 0}},
	}
	for _, c := range cases {
		if got, err := Parse(c.in); err != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.name, got, err, c.want)
		}
	}
	for _, bad := range [][]byte{nil, {0xff, 0xfb, 0x90}, {0xff, 0x00, 0, 0}, {0xff, 0xeb, 0x90, 0}, {0xff, 0xf9, 0x90, 0}, {0xff, 0xfb, 0xf0, 0}, {0xff, 0xfb, 0x9c, 0}} {
		if h, err := Parse(bad); err == nil {
			t.Errorf("%x was taken: %+v", bad, h)
		}
	}
	if d := (Header{SampleRate: 48000, Samples: 1152}).Duration(); d != 24*time.Millisecond {
		t.Errorf("a frame lasts %v", d)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0xff, 0xfb, 0x90, 0x44})
	f.Fuzz(func(t *testing.T, b []byte) {
		if h, err := Parse(b); err == nil && (h.SampleRate < 8000 || h.Size < 0 || h.Size > 4096 || h.Duration() <= 0) {
			t.Fatalf("%+v", h)
		}
	})
}
