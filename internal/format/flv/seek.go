package flv

import (
	"encoding/binary"
	"errors"
	"io"
)

// ErrSeek means that a file has no place where a player could begin.
var ErrSeek = errors.New("flv: no place to begin at")

const (
	// headTags is how many tags at the beginning of a file may hold the sequence
	// headers.
	headTags = 64
	// headBytes bounds what of the beginning is sent again, in bytes.
	headBytes = 1 << 20
	// lookAhead is how far a tag is looked for, in bytes: one of the greatest size
	// may begin right before.
	lookAhead = 1<<24 + 1<<20
	// lookBack is how many tags back a key frame is looked for.
	lookBack = 20000
	// seekBlock is how much is read at once to find a tag.
	seekBlock = 64 << 10
)

// place is a tag in a file.
type place struct {
	off  int64
	typ  uint8
	size int // of the body
	body [2]byte
}

func (p place) end() int64 { return p.off + tagHeaderLen + int64(p.size) + 4 }

// isConfig reports whether the tag is a sequence header.
func (p place) isConfig() bool {
	a, b := p.body[0], p.body[1]
	switch {
	case p.typ == TypeVideo && a&0x80 != 0:
		return a&15 == 0 || a&15 == 6 && b&15 == 0 // alone, or of several tracks
	case p.typ == TypeVideo:
		return b == 0 && (a&15 == 7 || a&15 == 12)
	case p.typ == TypeAudio && a>>4 == 9:
		return a&15 == 0 || a&15 == 5 && b&15 == 0
	}
	return p.typ == TypeAudio && a>>4 == 10 && b == 0
}

func (p place) isKey() bool { return p.typ == TypeVideo && p.body[0]>>4&7 == 1 && !p.isConfig() }

// tagAt reads the tag at off, if one is there whose size stands behind it too.
func tagAt(r io.ReaderAt, size, off int64) (p place, ok bool) {
	var b [tagHeaderLen + 2]byte
	if off < 0 || off > size-tagHeaderLen-4 {
		return p, false
	}
	if n, _ := r.ReadAt(b[:], off); n < tagHeaderLen {
		return p, false
	}
	p = place{off: off, typ: b[0], size: int(b[1])<<16 | int(b[2])<<8 | int(b[3])}
	if p.size > 0 {
		p.body[0] = b[tagHeaderLen]
	}
	if p.size > 1 {
		p.body[1] = b[tagHeaderLen+1]
	}
	if p.typ != TypeAudio && p.typ != TypeVideo && p.typ != TypeScript || b[8]|b[9]|b[10] != 0 || p.end() > size {
		return p, false
	}
	var behind [4]byte
	if n, _ := r.ReadAt(behind[:], p.end()-4); n < 4 {
		return p, false
	}
	return p, binary.BigEndian.Uint32(behind[:]) == uint32(p.size+tagHeaderLen)
}

// Seek finds where a player begins that wants a file of size bytes from the byte
// off on: at the key frame at or before the first tag from there, in a file
// without a picture at that tag. head is what the player is sent first: the header
// of the file and the sequence headers. An error is [ErrSeek], or that r is no FLV
// ([ErrSyntax]).
func Seek(r io.ReaderAt, size, off int64) (head []byte, at int64, err error) {
	head, picture, err := fileHead(r, size)
	if err != nil {
		return nil, 0, err
	}
	p, ok := tagFrom(r, size, max(off, headerLen))
	if !ok {
		return nil, 0, ErrSeek
	}
	if !picture {
		return head, p.off, nil
	}
	for q, n := p, 0; ok && n < lookBack; n++ {
		if q.isKey() {
			return head, q.off, nil
		}
		q, ok = tagBefore(r, size, q.off)
	}
	return head, p.off, nil
}

// headerLen is how long the header of a file is, with the size that follows it.
const headerLen = 9 + 4

// fileHead returns the header of a file with its sequence headers, and whether
// it has a picture.
func fileHead(r io.ReaderAt, size int64) (head []byte, picture bool, err error) {
	var b [headerLen]byte
	if n, _ := r.ReadAt(b[:], 0); n < headerLen || string(b[:3]) != "FLV" || binary.BigEndian.Uint32(b[5:]) != 9 {
		return nil, false, ErrSyntax
	}
	head = append(head, b[:]...)
	at := int64(headerLen)
	for range headTags {
		p, ok := tagAt(r, size, at)
		if !ok {
			break
		}
		at = p.end()
		picture = picture || p.typ == TypeVideo
		if n := int(p.end() - p.off); p.isConfig() && len(head)+n <= headBytes {
			from := len(head)
			head = append(head, make([]byte, n)...)
			if m, _ := r.ReadAt(head[from:], p.off); m < n {
				return nil, false, ErrSyntax
			}
			clear(head[from+4 : from+8]) // sequence headers are at 0
		}
	}
	return head, picture, nil
}

// tagBefore returns the tag that ends at off.
func tagBefore(r io.ReaderAt, size, off int64) (place, bool) {
	var b [4]byte
	if off < headerLen+4 {
		return place{}, false
	}
	if n, _ := r.ReadAt(b[:], off-4); n < 4 {
		return place{}, false
	}
	p, ok := tagAt(r, size, off-4-int64(binary.BigEndian.Uint32(b[:])))
	return p, ok && p.end() == off
}

// tagFrom returns the first tag at or behind off.
func tagFrom(r io.ReaderAt, size, off int64) (place, bool) {
	b := make([]byte, seekBlock)
	for limit := off + lookAhead; off < limit; {
		n, _ := r.ReadAt(b, off)
		for i := 0; i+tagHeaderLen <= n; i++ {
			if t := b[i]; t != TypeAudio && t != TypeVideo && t != TypeScript || b[i+8]|b[i+9]|b[i+10] != 0 {
				continue
			}
			if p, ok := tagAt(r, size, off+int64(i)); ok {
				return p, true
			}
		}
		if n < len(b) {
			break
		}
		off += int64(n - tagHeaderLen + 1)
	}
	return place{}, false
}
