package aac

import (
	"bytes"
	"testing"
)

// ffmpeg's silence, mono at 48 kHz, in both ways to carry it.
const (
	inLATM = "56e01c200011881fe0aef01002630bb319a9c97199b971898180001182007056e00682008c10038056e00682008c100380"
	inADTS = "fff14c40039ffcde02004c61766335392e33372e313030000230400efff14c40017ffc01182007fff14c40017ffc01182007"
)

// loas returns the elements of a stream.
func loas(t testing.TB, b []byte) (all [][]byte) {
	for len(b) >= LOASHeaderLen {
		size, ok := ParseLOAS(b)
		if !ok || size > len(b) {
			t.Fatalf("no element at %x", b)
		}
		all = append(all, b[LOASHeaderLen:size])
		b = b[size:]
	}
	return all
}

func TestLATM(t *testing.T) {
	var want [][]byte
	for b := unhex(t, inADTS); len(b) > 0; {
		_, head, size, err := ParseADTS(b)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b[head:size])
		b = b[size:]
	}
	elements := loas(t, unhex(t, inLATM))
	var l LATM
	var got [][]byte
	for _, e := range elements {
		var c Config
		var err error
		if got, c, err = l.Frames(got, e); err != nil || c.SampleRate != 48000 || c.Channels != 1 || c.Type != TypeLC {
			t.Fatalf("%+v, %v", c, err)
		}
	}
	if len(got) != len(want) || len(got) != 3 {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
	for i := range got {
		if !bytes.Equal(got[i], want[i]) {
			t.Errorf("frame %d: %x, want %x", i, got[i], want[i])
		}
	}
	// One that goes on like one that never came is of no use.
	if _, _, err := new(LATM).Frames(nil, elements[1]); err == nil {
		t.Error("a frame without a configuration")
	}
}

func FuzzLATM(f *testing.F) {
	for _, e := range loas(f, unhex(f, inLATM)) {
		f.Add(e)
	}
	f.Add([]byte{0x40, 0x00, 0x11, 0x90, 0x08, 0x00})
	f.Fuzz(func(t *testing.T, b []byte) {
		var l LATM
		for range 2 {
			frames, c, err := l.Frames(nil, b)
			size := 0
			for _, f := range frames {
				size += len(f)
			}
			if size > len(b) || err == nil && (c.SampleRate == 0 || len(frames) == 0) {
				t.Fatalf("%d bytes of %d, %+v", size, len(b), c)
			}
		}
	})
}
