package bits

import "testing"

func TestReader(t *testing.T) {
	r := New([]byte{0b1010_0110, 0xff, 0x00, 0x0f})
	for i, c := range []struct {
		n    int
		want uint32
	}{{1, 1}, {3, 0b010}, {0, 0}, {12, 0b0110_1111_1111}, {16, 0x000f}} {
		if got := r.Bits(c.n); got != c.want {
			t.Errorf("read %d: got %#x, want %#x", i, got, c.want)
		}
	}
	if !r.OK() || r.Left() != 0 || r.Pos() != 32 {
		t.Errorf("at the end: ok %v, left %d, pos %d", r.OK(), r.Left(), r.Pos())
	}
	if r.Flag() || r.OK() {
		t.Error("reading past the end went well")
	}
}

func TestGolomb(t *testing.T) {
	// 1, 010, 011, 00100, 00101 are 0 to 4.
	r := New([]byte{0b1010_0110, 0b0100_0010, 0b1000_0000})
	for want := range uint32(5) {
		if got := r.UE(); got != want {
			t.Errorf("got %d, want %d", got, want)
		}
	}
	r = New([]byte{0b1010_0110, 0b0100_0010, 0b1000_0000})
	for i, want := range []int32{0, 1, -1, 2, -2} {
		if got := r.SE(); got != want {
			t.Errorf("signed %d: got %d, want %d", i, got, want)
		}
	}
	zeros := New(make([]byte, 16))
	if zeros.UE(); zeros.OK() {
		t.Error("a number without end went well")
	}
}

func TestAlignAndSkip(t *testing.T) {
	r := New([]byte{0xff, 0x01})
	r.Skip(3)
	r.Align()
	if got := r.Bits(8); got != 1 {
		t.Errorf("got %d, want 1", got)
	}
	if r.Skip(1); r.OK() {
		t.Error("skipping past the end went well")
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte{0x80, 0x40, 0x20}, []byte{1, 33, 34, 8})
	f.Fuzz(func(t *testing.T, b, ops []byte) {
		r := New(b)
		for _, op := range ops {
			switch {
			case op <= 32:
				r.Bits(int(op))
			case op == 33:
				r.UE()
			case op == 34:
				r.SE()
			default:
				r.Skip(int(op))
			}
			if r.Left() < 0 {
				t.Fatal("went past the end")
			}
		}
	})
}
