package elementary

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"weir/internal/media"
)

// stream is pictures of one to three slices each, with and without delimiters.
func stream() (b []byte, pictures int, starts []int) {
	sps, _ := hex.DecodeString("6742c00dd90141fb011000000300100000030320f142a480")
	pps := []byte{0x68, 0xcb, 0x83, 0xcb, 0x20}
	unit := func(u ...byte) { b = append(append(b, 0, 0, 0, 1), u...) }
	for i := range 30 {
		starts = append(starts, len(b))
		if i%3 == 0 {
			unit(9, 0xf0)
		}
		typ := byte(0x61)
		if i%10 == 0 {
			unit(sps...)
			unit(pps...)
			typ = 0x65
		}
		unit(append([]byte{typ, 0x88}, bytes.Repeat([]byte{byte(i + 1)}, i)...)...)
		for k := range i % 3 {
			b = append(b, 0, 0, 1, typ, 0x40, byte(k+1))
		}
	}
	return b, 30, starts
}

// However the stream is cut, the pictures are the same, with the times of the pieces
// that they begin in.
func TestUnits(t *testing.T) {
	b, pictures, starts := stream()
	var want []*media.Frame
	for _, cut := range []int{len(b), 1, 2, 3, 10, 64, 200} {
		u := &Units{Video: Video{Codec: media.H264}}
		var got []*media.Frame
		next := 0
		for at := 0; at < len(b); at += cut {
			end := min(len(b), at+cut)
			timed := next < len(starts) && starts[next] < end
			got = u.Push(got, b[at:end], time.Duration(next)*40*ms, 0, timed)
			for next < len(starts) && starts[next] < end {
				next++
			}
		}
		got = u.Flush(got)
		if len(got) != pictures {
			t.Errorf("cut at %d: %d pictures, want %d", cut, len(got), pictures)
			continue
		}
		if want == nil {
			want = got
		}
		for i, f := range got {
			if !bytes.Equal(f.Payload, want[i].Payload) || f.Key != (i%10 == 0) {
				t.Errorf("cut at %d: picture %d: %x, want %x", cut, i, f.Payload, want[i].Payload)
			}
			if cut < 10 && f.Source != time.Duration(i)*40*ms {
				t.Errorf("cut at %d: picture %d at %v", cut, i, f.Source)
			}
			if i > 0 && f.Source < got[i-1].Source {
				t.Errorf("cut at %d: picture %d goes back to %v", cut, i, f.Source)
			}
		}
	}
}

// Pictures without a time of their own follow those before, as far apart.
func TestUnitsWithoutTimes(t *testing.T) {
	b, _, starts := stream()
	u := &Units{Video: Video{Codec: media.H264}}
	var got []*media.Frame
	for i, at := range starts {
		end := len(b)
		if i+1 < len(starts) {
			end = starts[i+1]
		}
		got = u.Push(got, b[at:end], time.Duration(i)*40*ms, 0, i < 2 || i == 10)
	}
	for i, f := range u.Flush(got) {
		if f.Source != time.Duration(i)*40*ms {
			t.Errorf("picture %d at %v", i, f.Source)
		}
	}
}

// What comes after a loss begins with the next picture.
func TestUnitsReset(t *testing.T) {
	b, _, starts := stream()
	u := &Units{Video: Video{Codec: media.H264}}
	got := u.Push(nil, b[:starts[12]+5], 0, 0, true)
	if len(got) != 12 && len(got) != 11 {
		t.Fatalf("%d pictures", len(got))
	}
	n := len(got)
	u.Reset()
	got = u.Flush(u.Push(got, b[starts[14]+2:], 0, 0, true))
	if len(got) != n+15 && len(got) != n+16 {
		t.Errorf("%d pictures after the loss", len(got)-n)
	}
	for range 20 {
		u.Push(nil, make([]byte, 1<<20), 0, 0, true)
	}
	if len(u.b) > MaxUnit || len(u.marks) > maxMarks {
		t.Errorf("%d bytes, %d marks are kept", len(u.b), len(u.marks))
	}
}

func FuzzUnits(f *testing.F) {
	b, _, _ := stream()
	f.Add(b, uint8(10), true)
	f.Add([]byte{0, 0, 0, 1, 0x40, 1, 0x0c, 0, 0, 1, 0x26, 1, 0x80, 0, 0, 1, 2, 1, 0x80}, uint8(3), false)
	f.Fuzz(func(t *testing.T, b []byte, cut uint8, h264 bool) {
		u := &Units{Video: Video{Codec: media.H265}}
		if h264 {
			u.Codec = media.H264
		}
		var frames []*media.Frame
		size, rest := 0, b
		for len(rest) > 0 {
			k := min(len(rest), int(cut)+1)
			frames = u.Push(frames, rest[:k], time.Duration(len(b)-len(rest)), 0, true)
			rest = rest[k:]
		}
		for _, f := range u.Flush(frames) {
			size += len(f.Payload)
		}
		if size > 2*len(b) {
			t.Fatalf("%d bytes of %d", size, len(b))
		}
	})
}
