package vp9

import (
	"bytes"
	"errors"
	"testing"
)

// The beginnings of what Chromium sent in mode L3T3_KEY: the layers of a key picture, and of
// one behind it.
var keyLayers = []string{"83498342000ef008781df810d840e0907063000005005f", "8702020003be021b03bf021bb0b1c120e0c5200012807ea3", "87042400077e0436b0b1c120e0c5400016007f1df44e"}
var nextLayers = []string{"8700000001de010f03bf021bb001c120e0c9e000058073bb", "8700200003be021b03bf021bb201c120e0ca800003407657", "87004000077e0436b331c120e0cc400007007d237a69"}

// picture makes layers as long as they were.
func picture(t testing.TB, layers []string) (all [][]byte) {
	for i, s := range layers {
		all = append(all, append(unhex(t, s), bytes.Repeat([]byte{byte(i + 1)}, 900)...))
	}
	return all
}

// split cuts a superframe by its index (Annex B.2).
func split(t *testing.T, b []byte) (frames [][]byte) {
	t.Helper()
	marker := b[len(b)-1]
	n, size := int(marker&7)+1, int(marker>>3&3)+1
	index := b[len(b)-2-n*size:]
	if marker>>5 != 6 || index[0] != marker {
		t.Fatalf("% x is no index", index)
	}
	for i := range n {
		length := 0
		for j := range size {
			length |= int(index[1+i*size+j]) << (8 * j)
		}
		frames, b = append(frames, b[:length]), b[length:]
	}
	if len(b) != len(index) {
		t.Fatalf("%d bytes are of no frame", len(b)-len(index))
	}
	return frames
}

func TestSpatial(t *testing.T) {
	var s, again Spatial
	for _, layers := range [][]string{keyLayers, nextLayers, nextLayers[:2], nextLayers[:1]} {
		in := picture(t, layers)
		got, w, h, err := s.Append([]byte("before"), in)
		if want := 240 << (len(layers) - 1); err != nil || w != want || (h+1)&^1 != (want*9/16+1)&^1 {
			t.Fatalf("%d layers: %dx%d, %v", len(layers), w, h, err)
		}
		got = bytes.TrimPrefix(got, []byte("before"))
		if len(layers) == 1 {
			if !bytes.Equal(got, in[0]) {
				t.Error("one layer is another then")
			}
			continue
		}
		for i, frame := range split(t, got) {
			h, err := again.header(frame)
			if last := i == len(in)-1; err != nil || h.show != last || h.width != 240<<i || last && !bytes.Equal(frame, in[i]) {
				t.Errorf("layer %d of %d is shown: %v, %d wide, %v", i, len(in), h.show, h.width, err)
			}
			if tail := in[i][len(in[i])-900:]; !bytes.HasSuffix(frame, tail) {
				t.Errorf("layer %d of %d has another end", i, len(in))
			}
		}
	}
}

func TestSpatialBad(t *testing.T) {
	var s Spatial
	whole := picture(t, keyLayers)
	for name, layers := range map[string][][]byte{
		"nothing":            {{}, whole[1]},
		"a short one":        {whole[0][:12], whole[1]},
		"one that was":       {{0x88}, whole[1]},
		"no size to be had":  {picture(t, nextLayers)[0], append(unhex(t, "8700200007"), make([]byte, 40)...)},
		"more than there be": {whole[0], whole[0], whole[0], whole[0], whole[0], whole[0], whole[0], whole[0], whole[0]},
	} {
		if b, _, _, err := s.Append(nil, layers); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
	if b, w, _, err := s.Append(nil, [][]byte{{1, 2, 3}}); len(b) != 3 || w != 0 || err != nil {
		t.Errorf("what is not known: %x, %d wide, %v", b, w, err)
	}
}

func FuzzSpatial(f *testing.F) {
	a, b := picture(f, keyLayers), picture(f, nextLayers)
	f.Add(a[0], a[1])
	f.Add(b[0], b[1])
	f.Add([]byte{0x88}, a[2])
	f.Fuzz(func(t *testing.T, low, high []byte) {
		var s, again Spatial
		s.Append(nil, [][]byte{low})
		again.Append(nil, [][]byte{low})
		got, _, _, err := s.Append(nil, [][]byte{low, high})
		if err != nil {
			return
		}
		frames := split(t, got)
		if h, err := again.header(frames[0]); err != nil || h.show {
			t.Errorf("the lower layer %x became %x, shown: %v, %v", low, frames[0], h.show, err)
		}
		if !bytes.Equal(frames[1], high) {
			t.Errorf("the upper layer %x became %x", high, frames[1])
		}
	})
}
