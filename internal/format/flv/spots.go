package flv

import (
	"io"
	"time"
	"unsafe"

	"weir/internal/media"
)

// maxSpots bounds how many tags of a file are listed at once.
const maxSpots = 1 << 24

// spot is a tag that may be wanted.
type spot struct {
	off  int64
	at   time.Duration
	size int32
	typ  uint8
}

// Spots calls each with the frames of a file that lie between two times, counted from its
// first tag: from the last key frame at or before from on (if the file has pictures; a
// file whose first comes later begins with that), up to what is not before until. Frames
// have Source, that time; off is where in the file their Payload lies. What is broken is
// left out, and the file may still be written. The error is that r is no FLV
// ([ErrSyntax]), or that of each.
func Spots(r io.ReaderAt, size int64, from, until time.Duration, each func(f *media.Frame, off int64) error) error {
	var b [headerLen]byte
	if n, _ := r.ReadAt(b[:], 0); n < headerLen || string(b[:3]) != "FLV" {
		return ErrSyntax
	}
	picture := b[4]&1 != 0
	var in Ingest
	var found []spot
	zero, begun, keyed := time.Duration(0), false, false
	for at := int64(headerLen); len(found) < maxSpots; {
		p, ok := tagAt(r, size, at)
		if !ok {
			break
		}
		at = p.end()
		if p.typ == TypeScript {
			continue
		}
		s := spot{off: p.off, at: stampAt(r, p.off), size: int32(p.size), typ: p.typ}
		if p.isConfig() {
			if len(found) == 0 {
				s.read(r, &in, nil)
			} else {
				found = append(found, s)
			}
			continue
		}
		if !begun {
			zero, begun = s.at, true
		}
		if s.at -= zero; s.at >= until {
			break
		}
		if p.isKey() && (s.at <= from || !keyed) {
			for _, o := range found { // what they say of tracks still holds
				if o.config(r) {
					o.read(r, &in, nil)
				}
			}
			found, keyed = found[:0], true
		}
		if !picture && s.at < from || picture && !keyed {
			continue
		}
		found = append(found, s)
	}
	for _, s := range found {
		if err := s.read(r, &in, each); err != nil {
			return err
		}
	}
	return nil
}

// config reports whether the tag is a sequence header.
func (s *spot) config(r io.ReaderAt) bool {
	p := place{typ: s.typ}
	r.ReadAt(p.body[:], s.off+tagHeaderLen)
	return p.isConfig()
}

// read takes the frames of a tag.
func (s *spot) read(r io.ReaderAt, in *Ingest, each func(*media.Frame, int64) error) error {
	body := make([]byte, s.size)
	if n, _ := r.ReadAt(body, s.off+tagHeaderLen); n < len(body) {
		return nil
	}
	kind := media.Video
	if s.typ == TypeAudio {
		kind = media.Audio
	}
	frames, _ := in.Frames(nil, kind, s.at, body)
	for _, f := range frames {
		if each == nil || len(f.Payload) == 0 {
			continue
		}
		off := uintptr(unsafe.Pointer(&f.Payload[0])) - uintptr(unsafe.Pointer(&body[0]))
		if off >= uintptr(len(body)) {
			continue // it was made of what is there, which recordings do not need
		}
		if err := each(f, s.off+tagHeaderLen+int64(off)); err != nil {
			return err
		}
	}
	return nil
}
