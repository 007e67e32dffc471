package opus

import (
	"bytes"
	"testing"
	"time"
)

func TestHead(t *testing.T) {
	for _, h := range []Head{
		{Channels: 2, PreSkip: 312, InputRate: 48000},
		{Channels: 1, InputRate: 44100, Gain: -256},
		{Channels: 6, PreSkip: 312, Family: 1, Streams: 4, Coupled: 2, Mapping: []byte{0, 4, 1, 2, 3, 5}},
	} {
		b := h.Append(nil)
		got, err := ParseHead(b)
		if err != nil || !bytes.Equal(got.Append(nil), b) || got.Channels != h.Channels || got.Gain != h.Gain {
			t.Errorf("%+v came back as %+v, %v", h, got, err)
		}
		for n := range b {
			if _, err := ParseHead(b[:n]); err == nil {
				t.Errorf("%d of %d bytes were taken", n, len(b))
			}
		}
	}
	for _, h := range []Head{{Channels: 0}, {Channels: 3}} {
		if _, err := ParseHead(h.Append(nil)); err == nil {
			t.Errorf("%+v was taken", h)
		}
	}
}

func TestDuration(t *testing.T) {
	ms := time.Millisecond
	cases := []struct {
		packet []byte
		want   time.Duration
	}{
		{nil, 0},
		{[]byte{0x00}, 10 * ms},
		{[]byte{0x18}, 60 * ms},
		{[]byte{0x68}, 20 * ms}, // hybrid
		{[]byte{0x80}, 2500 * time.Microsecond},
		{[]byte{0xfc}, 20 * ms},
		{[]byte{0xfd}, 40 * ms},
		{[]byte{0xff, 0x03}, 60 * ms},
		{[]byte{0xff}, 0},
		{[]byte{0xff, 0x3f}, 0}, // over 120 ms
	}
	for _, c := range cases {
		if got := Duration(c.packet); got != c.want {
			t.Errorf("%x: got %v, want %v", c.packet, got, c.want)
		}
	}
}

func FuzzHead(f *testing.F) {
	f.Add(Head{Channels: 2, PreSkip: 312, InputRate: 48000}.Append(nil))
	f.Add(Head{Channels: 1, Family: 255, Mapping: []byte{0}}.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := Samples(b); n < 0 || n > 5760 {
			t.Fatalf("%d samples", n)
		}
		h, err := ParseHead(b)
		if err != nil {
			return
		}
		once := h.Append(nil)
		if again, err := ParseHead(once); err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", once, again.Append(nil), err)
		}
	})
}
