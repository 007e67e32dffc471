package vp9

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestConfig(t *testing.T) {
	box := unhex(t, "01000000011e870202020000")
	rec := Record(box)
	c, err := ParseConfig(rec)
	if err != nil || c.Profile != 1 || LevelName(c.Level) != "3.0" || c.BitDepth != 8 || c.Chroma != 3 || !c.FullRange {
		t.Errorf("got %+v, %v", c, err)
	}
	if !bytes.Equal(Record(rec), rec) || !bytes.Equal(c.Append(nil), rec) {
		t.Errorf("record %x came back as %x", rec, c.Append(nil))
	}
	for n := range rec {
		if _, err := ParseConfig(rec[:n]); err == nil {
			t.Errorf("a record of %d bytes was taken", n)
		}
	}
}

func TestSize(t *testing.T) {
	if w, h, ok := Size(unhex(t, "a2498342e027f01df60638")); w != 640 || h != 480 || !ok {
		t.Errorf("VP9: %dx%d, %v", w, h, ok)
	}
	if w, h, ok := SizeVP8(unhex(t, "b043009d012ab0009000")); w != 176 || h != 144 || !ok {
		t.Errorf("VP8: %dx%d, %v", w, h, ok)
	}
	for _, s := range []string{"", "86", "a2498342", "b143009d012ab0009000"} {
		if _, _, ok := Size(unhex(t, s)); ok {
			t.Errorf("%s is a VP9 key frame", s)
		}
		if _, _, ok := SizeVP8(unhex(t, s)); ok {
			t.Errorf("%s is a VP8 key frame", s)
		}
	}
}

func FuzzConfig(f *testing.F) {
	f.Add(unhex(f, "01000000011e870202020000"))
	f.Add(unhex(f, "a2498342e027f01df60638"))
	f.Add(unhex(f, "b043009d012ab0009000"))
	f.Fuzz(func(t *testing.T, b []byte) {
		Size(b)
		SizeVP8(b)
		c, err := ParseConfig(Record(b))
		if err != nil {
			return
		}
		once := c.Append(nil)
		if again, err := ParseConfig(once); err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", once, again.Append(nil), err)
		}
	})
}
