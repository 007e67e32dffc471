package rtp

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

func TestHeader(t *testing.T) {
	for name, h := range map[string]Header{
		"plain":     {PayloadType: 96, Sequence: 65535, Timestamp: 1, SSRC: 2},
		"marker":    {Marker: true, PayloadType: 127, Sequence: 1, Timestamp: 0xffffffff, SSRC: 0xffffffff},
		"extension": {PayloadType: 96, Profile: 0xbede, Extension: []byte{0x10, 1, 0x20, 2}},
		"empty":     {PayloadType: 96, Profile: 0xbede, Extension: []byte{}},
	} {
		b := append(h.Append(nil), "payload"...)
		got, payload, err := Parse(b)
		if err != nil || string(payload) != "payload" || !bytes.Equal(got.Append(nil), h.Append(nil)) || (got.Extension == nil) != (h.Extension == nil) {
			t.Errorf("%s: %+v, %q, %v", name, got, payload, err)
		}
	}
}

func TestParse(t *testing.T) {
	head := []byte{0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}
	with := func(first byte, more ...byte) []byte {
		b := append(bytes.Clone(head), more...)
		b[0] = first
		return b
	}
	for name, c := range map[string]struct {
		b    []byte
		want string
		bad  bool
	}{
		"sources":            {with(0x82, 1, 2, 3, 4, 5, 6, 7, 8, 'x'), "x", false},
		"sources missing":    {with(0x82, 1, 2, 3, 4), "", true},
		"padding":            {with(0xa0, 'x', 0, 2), "x", false},
		"all padding":        {with(0xa0, 0, 2), "", false},
		"too much padding":   {with(0xa0, 'x', 0, 200), "", true},
		"no length of it":    {with(0xa0, 'x', 0, 0), "", true},
		"extension":          {with(0x90, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 'x'), "x", false},
		"extension too long": {with(0x90, 0xbe, 0xde, 0, 2, 1, 2, 3, 4, 'x'), "", true},
		"half an extension":  {with(0x90, 0xbe), "", true},
		"version 1":          {with(0x40, 'x'), "", true},
		"short":              {head[:11], "", true},
		"no payload":         {head, "", false},
	} {
		h, payload, err := Parse(c.b)
		if (err != nil) != c.bad || string(payload) != c.want || err == nil && (h.Sequence != 1 || h.Timestamp != 2 || h.SSRC != 3) {
			t.Errorf("%s: %+v, %q, %v", name, h, payload, err)
		}
	}
}

// sorted feeds sequence numbers and returns what comes out; a gap is -1.
func sorted(in ...uint16) (out []int) {
	var s Sorter
	for _, q := range in {
		s.Push(q, binary.BigEndian.AppendUint16(nil, q), func(b []byte, lost bool) {
			if lost {
				out = append(out, -1)
			}
			out = append(out, int(binary.BigEndian.Uint16(b)))
		})
	}
	return out
}

func TestSorter(t *testing.T) {
	run := func(from, n int) (all []uint16) {
		for i := range n {
			all = append(all, uint16(from+i))
		}
		return all
	}
	check := func(name string, in []uint16, want ...int) {
		t.Helper()
		got := sorted(in...)
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
			return
		}
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", name, got, want)
				return
			}
		}
	}
	ints := func(head []int, from, n int) []int {
		for i := range n {
			head = append(head, int(uint16(from+i)))
		}
		return head
	}
	check("in order over the end", run(65534, 4), 65534, 65535, 0, 1)
	check("turned around", []uint16{10, 12, 11, 14, 13}, 10, 11, 12, 13, 14)
	check("twice", []uint16{10, 10, 12, 12, 11, 11}, 10, 11, 12)
	check("late", []uint16{10, 11, 9}, 10, 11)
	check("lost", append([]uint16{10}, run(12, window)...), ints([]int{10, -1}, 12, window)...)
	check("a stray", []uint16{10, 9000, 11}, 10, 11)
	check("a new beginning", append([]uint16{10, 12}, run(9000, 5)...), 10, -1, 12, -1, 9003, 9004)
}

// Whatever way a source is shaken, what comes out is in order, and whole if nothing
// was shaken too far.
func TestSorterShaken(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var in []uint16
	for i := range 100000 {
		in = append(in, uint16(i))
	}
	for i := 1; i+8 < len(in); i += 8 {
		r.Shuffle(8, func(a, b int) { in[i+a], in[i+b] = in[i+b], in[i+a] })
	}
	for i, q := range sorted(in...) {
		if q != i&0xffff {
			t.Fatalf("%d at %d", q, i)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte{0x80, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 'x'})
	f.Add([]byte{0xb1, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 9, 0xbe, 0xde, 0, 1, 1, 2, 3, 4, 'x', 0, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, err := Parse(b)
		if err != nil {
			return
		}
		if len(payload) > len(b)-HeaderSize {
			t.Fatal("longer than the packet")
		}
		if again, p, err := Parse(append(h.Append(nil), payload...)); err != nil || again.SSRC != h.SSRC || !bytes.Equal(p, payload) || !bytes.Equal(again.Extension, h.Extension) {
			t.Fatalf("%+v, then %+v, %v", h, again, err)
		}
	})
}

func FuzzSorter(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 2, 90, 0, 90, 1, 90, 2, 90, 3, 90, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sorter
		n, last, any := 0, uint16(0), false
		for ; len(b) >= 2; b = b[2:] {
			n++
			s.Push(binary.BigEndian.Uint16(b), b[:2], func(p []byte, lost bool) {
				n--
				q := binary.BigEndian.Uint16(p)
				if any && !lost && q != last+1 {
					t.Fatalf("%d after %d", q, last)
				}
				last, any = q, true
			})
		}
		if n < 0 {
			t.Fatal("more came out than went in")
		}
	})
}
