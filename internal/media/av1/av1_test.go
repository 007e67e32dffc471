package av1

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

// record is by ffmpeg and libaom: 352x288, 4:4:4.
const record = "812000000a0d20000004457e3e6d7c9010d002"

func TestConfig(t *testing.T) {
	in := unhex(t, record)
	c, err := ParseConfig(in)
	if err != nil {
		t.Fatal(err)
	}
	s, err := c.SequenceHeader()
	if err != nil || s.Width != 352 || s.Height != 288 || s.Profile != 1 || s.BitDepth != 8 || s.SubX || s.SubY {
		t.Errorf("sequence header is %+v, %v", s, err)
	}
	if got := c.Append(nil); !bytes.Equal(got, in) {
		t.Errorf("written as %x", got)
	}
	made, err := NewConfig(c.Units)
	if err != nil || !bytes.Equal(made.Append(nil), in) {
		t.Errorf("made as %x, %v", made.Append(nil), err)
	}
	if p, l := ProfileName(c.Profile), LevelName(8); p != "High" || l != "4.0" {
		t.Errorf("names %s and %s", p, l)
	}
	for n := range 4 {
		if _, err := ParseConfig(in[:n]); err == nil {
			t.Errorf("a record of %d bytes was taken", n)
		}
	}
}

func TestUnits(t *testing.T) {
	b := unhex(t, "12000a0d20000004457e3e6d7c9010d0027a0100"+"3608aabb") // delimiter, sequence header, padding, frame with extension, no size
	b[len(b)-4] = 0x34
	got, err := AppendWithoutDelimiters(nil, b)
	want := unhex(t, "0a0d20000004457e3e6d7c9010d002"+"360802aabb")
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	long := AppendUnit(nil, TypeFrame, make([]byte, 300))
	typ, whole, body, rest, err := Next(append(long, 0x12, 0))
	if err != nil || typ != TypeFrame || len(whole) != 303 || len(body) != 300 || len(rest) != 2 {
		t.Errorf("unit of 300 bytes: %d %d %d %d %v", typ, len(whole), len(body), len(rest), err)
	}
	for _, bad := range []string{"", "80", "3205aa", "32", "34", "32ffffffffffffffffff"} {
		if _, _, _, _, err := Next(unhex(t, bad)); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

func FuzzUnits(f *testing.F) {
	f.Add(unhex(f, "12000a0d20000004457e3e6d7c9010d0027a01003608aabb"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once, err := AppendWithoutDelimiters(nil, b)
		if err != nil {
			return
		}
		again, err := AppendWithoutDelimiters(nil, once)
		if err != nil || !bytes.Equal(once, again) {
			t.Fatalf("%x became %x, %v", once, again, err)
		}
	})
}

func FuzzConfig(f *testing.F) {
	f.Add(unhex(f, record))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		if s, err := c.SequenceHeader(); err == nil && (s.Width > 1<<16 || s.Height > 1<<16) {
			t.Fatalf("picture of %dx%d", s.Width, s.Height)
		}
		once := c.Append(nil)
		again, err := ParseConfig(once)
		if err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", once, again.Append(nil), err)
		}
	})
}
