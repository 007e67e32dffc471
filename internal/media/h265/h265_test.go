package h265

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

// Parameter sets by x265.
var sets = []struct {
	vps, sps, pps  string
	width, height  int
	profile, level string
	depth          byte
	head           string // of the record by ffmpeg, as far as the parameter sets tell it
}{
	{
		"40010c01ffff0408000003009e0800000300003f959809", "4201010408000003009e0800000300003f9000a0402d2cb2b349265780b7020200040000030004000003006420", "4401c172860c4624",
		640, 360, "Rext", "2.1", 8, "0104080000009e08000000003ff000fcfff8f800000f",
	},
	{
		"40010c01ffff022000000300900000030000030078959809", "420101022000000300900000030000030078a003c08010e4d96566924caf016808000003000800000300c840", "4401c172b46240",
		1920, 1080, "Main10", "4", 10, "",
	},
}

func TestParameterSets(t *testing.T) {
	for _, c := range sets {
		s, err := ParseSPS(unhex(t, c.sps))
		if err != nil || s.Width != c.width || s.Height != c.height || s.BitDepthLuma != c.depth {
			t.Errorf("got %+v, %v, want %dx%d of %d bits", s, err, c.width, c.height, c.depth)
			continue
		}
		if p, l := ProfileName(s.Profile), LevelName(s.Level); p != c.profile || l != c.level {
			t.Errorf("%s %s, want %s %s", p, l, c.profile, c.level)
		}
		made, err := NewConfig([][]byte{unhex(t, c.vps)}, [][]byte{unhex(t, c.sps)}, [][]byte{unhex(t, c.pps)})
		if err != nil {
			t.Error(err)
			continue
		}
		b := made.Append(nil)
		if head := hex.EncodeToString(b[:21]); c.head != "" && head != c.head[:42] {
			t.Errorf("record begins with %s, want %s", head, c.head)
		}
		back, err := ParseConfig(b)
		if err != nil || len(back.Units(TypeVPS)) != 1 || !bytes.Equal(back.Units(TypeSPS)[0], unhex(t, c.sps)) || !back.Arrays[0].Complete {
			t.Errorf("record came back as %+v, %v", back, err)
		}
		for n := range b {
			if _, err := ParseConfig(b[:n]); err == nil {
				t.Errorf("a record cut at %d was taken", n)
			}
		}
	}
	if _, err := NewConfig(nil, nil, nil); err == nil {
		t.Error("a record was made of nothing")
	}
}

func TestIsKey(t *testing.T) {
	if !IsKey(unhex(t, "0003460150000326010a"), 2) || IsKey(unhex(t, "0003020150"), 2) || IsKey(unhex(t, "00ff26"), 2) {
		t.Error("IsKey is wrong")
	}
}

func FuzzParseSPS(f *testing.F) {
	for _, c := range sets {
		f.Add(unhex(f, c.sps))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSPS(b)
		if err == nil && (s.Width <= 0 || s.Height <= 0 || s.Width > 1<<16 || s.Height > 1<<16) {
			t.Fatalf("picture of %dx%d", s.Width, s.Height)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	for _, c := range sets {
		made, err := NewConfig([][]byte{unhex(f, c.vps)}, [][]byte{unhex(f, c.sps)}, [][]byte{unhex(f, c.pps)})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(made.Append(nil))
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
