package flv

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

// recording returns a file of groups of ten pictures with sound between, and where
// each key frame and each sound begins.
func recording(pictures int) (b []byte, head int, keys, sounds []int64) {
	r := rand.New(rand.NewPCG(1, 2))
	b = AppendFileHeader(nil, true, true)
	b = AppendTag(b, TypeVideo, 0, []byte{0x17, 0, 0, 0, 0, 0xcc})
	b = AppendTag(b, TypeAudio, 0, []byte{0xaf, 0, 0x12, 0x10})
	head = len(b)
	b = AppendTag(b, TypeScript, 0, []byte("\x02\x00\x0aonMetaData"))
	for i := range pictures {
		body := make([]byte, 5+r.IntN(3000))
		for j := range body {
			body[j] = byte(r.Uint32()) & 0x9 // full of what begins a tag
		}
		body[0], body[1] = 0x27, 1
		if i%10 == 0 {
			body[0] = 0x17
			keys = append(keys, int64(len(b)))
		}
		b = AppendTag(b, TypeVideo, uint32(40*i), body)
		sounds = append(sounds, int64(len(b)))
		b = AppendTag(b, TypeAudio, uint32(40*i), []byte{0xaf, 1, 9, 8, 0, 0, 0, 0, 0, 0, 0, 0})
	}
	return b, head, keys, sounds
}

func TestSeek(t *testing.T) {
	b, n, keys, sounds := recording(100)
	r, size := bytes.NewReader(b), int64(len(b))
	for off := int64(0); off < sounds[len(sounds)-1]; off += 7 {
		want := keys[0]
		for _, k := range keys {
			// The first tag from off on may be the key frame's own.
			if k <= off || sounds[len(sounds)-1] < off {
				want = k
			}
		}
		head, at, err := Seek(r, size, off)
		if err != nil {
			t.Fatalf("from %d: %v", off, err)
		}
		if at != want && !(at > off && isAt(keys, at) && !between(sounds, off, at)) {
			if off >= keys[0] {
				t.Fatalf("from %d: begins at %d, want %d", off, at, want)
			}
		}
		if !bytes.Equal(head, b[:n]) {
			t.Fatalf("from %d: head of %d bytes, want %d", off, len(head), n)
		}
	}
	for _, k := range keys {
		if _, at, err := Seek(r, size, k); err != nil || at != k {
			t.Errorf("from the key frame at %d: %d, %v", k, at, err)
		}
	}
	if _, _, err := Seek(r, size, size-3); !errors.Is(err, ErrSeek) {
		t.Errorf("at the very end: %v", err)
	}
	if _, _, err := Seek(bytes.NewReader([]byte("no FLV at all")), 13, 5); !errors.Is(err, ErrSyntax) {
		t.Errorf("of no FLV: %v", err)
	}
}

func isAt(all []int64, at int64) bool {
	for _, k := range all {
		if k == at {
			return true
		}
	}
	return false
}

// between reports whether a tag begins from a to b, b not included.
func between(all []int64, a, b int64) bool {
	for _, s := range all {
		if s >= a && s < b {
			return true
		}
	}
	return false
}

// A file without a picture begins at any sound, and one whose key frames are
// enhanced at those.
func TestSeekWithoutPicture(t *testing.T) {
	b := AppendTag(AppendFileHeader(nil, true, false), TypeAudio, 0, []byte{0xaf, 0, 0x12, 0x10})
	var at []int64
	for range 10 {
		at = append(at, int64(len(b)))
		b = AppendTag(b, TypeAudio, 0, make([]byte, 50))
	}
	if _, got, err := Seek(bytes.NewReader(b), int64(len(b)), at[4]+1); err != nil || got != at[5] {
		t.Errorf("begins at %d, %v, want %d", got, err, at[5])
	}
}

func FuzzSeek(f *testing.F) {
	b, _, _, _ := recording(3)
	f.Add(b, int64(100))
	f.Add(b[:200], int64(0))
	f.Add(binary.BigEndian.AppendUint32([]byte("FLV\x01\x05\x00\x00\x00\x09\x00\x00\x00\x00\x09\xff\xff\xff\x00\x00\x00\x00\x00\x00\x00"), 0xffffffff), int64(13))
	f.Fuzz(func(t *testing.T, b []byte, off int64) {
		head, at, err := Seek(bytes.NewReader(b), int64(len(b)), off)
		if err == nil && (at < 0 || at >= int64(len(b)) || len(head) > headBytes+headerLen) {
			t.Fatalf("begins at %d of %d with a head of %d", at, len(b), len(head))
		}
	})
}
