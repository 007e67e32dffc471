package nal

import (
	"bytes"
	"errors"
	"runtime/debug"
	"testing"
)

func TestNext(t *testing.T) {
	for size := 1; size <= 4; size++ {
		b := append(make([]byte, size-1), 2, 0x65, 0x88)
		b = append(append(b, make([]byte, size-1)...), 1, 0x41)
		if err := Check(b, size); err != nil {
			t.Errorf("size %d: %v", size, err)
		}
		u, rest, err := Next(b, size)
		if err != nil || !bytes.Equal(u, []byte{0x65, 0x88}) || len(rest) != size+1 {
			t.Errorf("size %d: got %x, %x, %v", size, u, rest, err)
		}
	}
	for _, b := range [][]byte{{0, 0, 0}, {0, 0, 0, 2, 1}, {0xff, 0xff, 0xff, 0xff, 1}} {
		if err := Check(b, 4); !errors.Is(err, ErrLength) {
			t.Errorf("%x: got %v, want %v", b, err, ErrLength)
		}
	}
	if err := Check(make([]byte, 4*(MaxUnits+1)), 4); !errors.Is(err, ErrUnits) {
		t.Errorf("too many units: got %v", err)
	}
}

func TestAnnexB(t *testing.T) {
	b := []byte{0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0, 0, 1, 0x68, 0, 0, 0, 0, 1, 0x65, 2, 0}
	if !IsAnnexB(b) || !IsAnnexB([]byte{0, 0, 1}) || IsAnnexB([]byte{0, 1}) || IsAnnexB([]byte{0, 0, 2}) || IsAnnexB(nil) {
		t.Error("IsAnnexB is wrong")
	}
	got, err := AppendLengths(nil, b, 4)
	want := []byte{0, 0, 0, 2, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 0, 2, 0x65, 2}
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %x, %v, want %x", got, err, want)
	}
	if _, err := AppendLengths(nil, append([]byte{0, 0, 1}, bytes.Repeat([]byte{7}, 256)...), 1); !errors.Is(err, ErrLength) {
		t.Errorf("256 bytes behind a length of one: got %v", err)
	}
	back, err := AppendAnnexB(nil, append(want, 0, 0, 0, 0), 4)
	want = []byte{0, 0, 0, 1, 0x67, 1, 0, 0, 0, 1, 0x68, 0, 0, 0, 1, 0x65, 2}
	if err != nil || !bytes.Equal(back, want) {
		t.Errorf("got %x, %v, want %x", back, err, want)
	}
	many := bytes.Repeat([]byte{0, 0, 1, 9}, MaxUnits+1)
	if _, err := AppendLengths(nil, many, 4); !errors.Is(err, ErrUnits) {
		t.Errorf("too many units: got %v", err)
	}
}

func TestUnescape(t *testing.T) {
	got := Unescape(nil, []byte{1, 0, 0, 3, 0, 0, 3, 1, 0, 3, 0, 0, 3})
	if want := []byte{1, 0, 0, 0, 0, 1, 0, 3, 0, 0}; !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

func FuzzUnits(f *testing.F) {
	f.Add([]byte{0, 0, 0, 1, 0x67, 0, 0, 1, 0x68}, byte(4))
	f.Add([]byte{0, 2, 0x65, 1}, byte(2))
	f.Fuzz(func(t *testing.T, b []byte, s byte) {
		size := int(s)%4 + 1
		_ = Check(b, size)
		_, _ = AppendAnnexB(nil, b, size)
		_ = Unescape(nil, b)
		l, err := AppendLengths(nil, b, 4)
		if err != nil {
			return
		}
		if err := Check(l, 4); err != nil {
			t.Fatalf("our own units do not check: %v", err)
		}
		a, err := AppendAnnexB(nil, l, 4)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := AppendLengths(nil, a, 4); err != nil || !bytes.Equal(again, l) {
			t.Fatalf("round trip: %x, %v, want %x", again, err, l)
		}
	})
}

// Millions of start codes with nothing between them are passed over in little space.
func TestNextAnnexBEmpty(t *testing.T) {
	b := append(bytes.Repeat([]byte{0, 0, 1}, 1<<21), 0x65)
	old := debug.SetMaxStack(1 << 20)
	defer debug.SetMaxStack(old)
	if unit, rest := NextAnnexB(b); len(unit) != 1 || len(rest) != 0 {
		t.Errorf("%d and %d bytes", len(unit), len(rest))
	}
}
