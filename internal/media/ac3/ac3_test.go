package ac3

import (
	"encoding/hex"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParse(t *testing.T) {
	// Headers and boxes by ffmpeg.
	cases := []struct {
		name, in, box                 string
		rate, channels, samples, size int
	}{
		{"ac-3 stereo", "0b77fe95144043e106f46370", "101140", 48000, 2, 1536, 768},
		{"ac-3 5.1", "0b77c6c81e40ebf8", "103de0", 48000, 6, 1536, 1792},
		{"e-ac-3 stereo", "0b77017f3487c00020842108", "0600200400", 48000, 2, 1536, 768},
	}
	for _, c := range cases {
		h, err := Parse(unhex(t, c.in))
		if err != nil || h.SampleRate != c.rate || h.Channels != c.channels || h.Samples != c.samples || h.Size != c.size {
			t.Errorf("%s: got %+v, %v", c.name, h, err)
		}
		if got := hex.EncodeToString(h.AppendConfig(nil)); got != c.box {
			t.Errorf("%s: box %s, want %s", c.name, got, c.box)
		}
		if d := h.Duration(); d != 32*time.Millisecond {
			t.Errorf("%s: a frame lasts %v", c.name, d)
		}
	}
	for _, bad := range []string{"", "0b77", "0b78000014404000", "0b770000d4404000", "0b77000026404000", "0b7700001488e000"} {
		if h, err := Parse(unhex(t, bad)); err == nil {
			t.Errorf("%s was taken: %+v", bad, h)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, "0b77fe95144043e106f46370"))
	f.Add(unhex(f, "0b77017f3487c00020842108"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := Parse(b)
		if err == nil && (h.SampleRate < 16000 || h.Channels < 1 || h.Channels > 6 || h.Duration() <= 0 || len(h.AppendConfig(nil)) > 5) {
			t.Fatalf("%+v", h)
		}
	})
}
