package h264

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

// Records by x264.
var records = []struct {
	name, hex      string
	width, height  int
	profile, level string
	chroma         byte
}{
	{"1080p", "01640028ffe1001b67640028acd940780227e5c044000003000400000300c83c60c65801000668ebe3cb22c0fdf8f800", 1920, 1080, "High", "4", 1},
	{"1080i", "01640028ffe1001a67640028acd94078044fde0220000003002000000643e2c5b2c001000668fba3cb22c0fdf8f800", 1920, 1080, "High", "4", 1},
	{"444", "01f4001effe1001b67f4001e919b281b07bc5f80880000030008000003019078b16cb001000668ebe3c44844fff8f800", 854, 480, "High(444+Predictive)", "3", 3},
	{"422", "017a000dffe1001a677a000dbcd9414087e3f011000003000100000300320f14299601000668ebe3cb22c0fef8f800", 320, 242, "High(422)", "1.3", 2},
	{"baseline", "0142c00dffe100186742c00dd90141fb011000000300100000030320f142a48001000568cb83cb20", 320, 240, "Baseline", "1.3", 1},
}

func TestRecords(t *testing.T) {
	for _, r := range records {
		in := unhex(t, r.hex)
		c, err := ParseConfig(in)
		if err != nil || len(c.SPS) != 1 || len(c.PPS) != 1 || c.LengthSize != 4 {
			t.Errorf("%s: %+v, %v", r.name, c, err)
			continue
		}
		s, err := ParseSPS(c.SPS[0])
		if err != nil || s.Width != r.width || s.Height != r.height || s.ChromaFormat != r.chroma {
			t.Errorf("%s: %+v, %v, want %dx%d chroma %d", r.name, s, err, r.width, r.height, r.chroma)
		}
		if p, l := ProfileName(c.Profile), LevelName(c.Level); p != r.profile || l != r.level {
			t.Errorf("%s: %s %s, want %s %s", r.name, p, l, r.profile, r.level)
		}
		if got := c.Append(nil); !bytes.Equal(got, in) {
			t.Errorf("%s: written as %x", r.name, got)
		}
		made, err := NewConfig(c.SPS, c.PPS)
		if err != nil || !bytes.Equal(made.Append(nil), in) {
			t.Errorf("%s: made as %x, %v", r.name, made.Append(nil), err)
		}
	}
}

func TestShortRecords(t *testing.T) {
	whole := unhex(t, records[0].hex)
	if c, err := ParseConfig(whole[:len(whole)-4]); err != nil || c.SPSExt != nil {
		t.Errorf("a record without its last part: %v", err)
	}
	for n := range len(whole) - 4 {
		c, err := ParseConfig(whole[:n])
		if sps := 8 + 27; err == nil && n != sps {
			t.Errorf("a record of %d bytes: %+v", n, c)
		}
	}
	if _, err := ParseConfig(unhex(t, "01640028fee000")); err == nil {
		t.Error("lengths of three bytes were taken")
	}
	if _, err := NewConfig(nil, nil); err == nil {
		t.Error("a record was made of nothing")
	}
}

func TestIsKey(t *testing.T) {
	if !IsKey(unhex(t, "000209f00003658800"), 2) || IsKey(unhex(t, "0002419a"), 2) || IsKey(unhex(t, "00ff65"), 2) || IsKey(nil, 4) {
		t.Error("IsKey is wrong")
	}
}

func FuzzParseSPS(f *testing.F) {
	for _, r := range records {
		c, err := ParseConfig(unhex(f, r.hex))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(c.SPS[0])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSPS(b)
		if err == nil && (s.Width <= 0 || s.Height <= 0 || s.Width > 1<<16 || s.Height > 1<<16) {
			t.Fatalf("picture of %dx%d", s.Width, s.Height)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	for _, r := range records {
		f.Add(unhex(f, r.hex))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		once := c.Append(nil)
		again, err := ParseConfig(once)
		if err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", once, again.Append(nil), err)
		}
	})
}
