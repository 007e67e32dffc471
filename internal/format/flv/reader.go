package flv

import (
	"bufio"
	"errors"
	"fmt"
	"io"
)

// A Tag is one tag of a file.
type Tag struct {
	Type uint8
	// Timestamp is in milliseconds; it wraps after 49.7 days.
	Timestamp uint32
	// Body belongs to the tag; the reader does not use it again.
	Body []byte
}

// A Reader reads the tags of an FLV file or stream.
type Reader struct {
	r      *bufio.Reader
	head   bool
	offset int64
}

// maxSkip bounds what may stand between the header and the first tag.
const maxSkip = 64 << 10

// NewReader returns a reader of r. It reads ahead.
func NewReader(r io.Reader) *Reader { return &Reader{r: bufio.NewReaderSize(r, 32<<10)} }

// ReadHeader reads the header of the file. [Reader.ReadTag] does so by itself.
func (r *Reader) ReadHeader() (hasAudio, hasVideo bool, err error) {
	var b [9]byte
	if err := r.full(b[:]); err != nil {
		return false, false, fmt.Errorf("flv: header: %w", err)
	}
	if string(b[:3]) != "FLV" {
		return false, false, fmt.Errorf("%w: file begins with %x", ErrSyntax, b[:3])
	}
	skip := int64(b[5])<<24 | int64(b[6])<<16 | int64(b[7])<<8 | int64(b[8])
	if skip < 9 || skip > maxSkip {
		return false, false, fmt.Errorf("%w: header of %d bytes", ErrSyntax, skip)
	}
	n, err := r.r.Discard(int(skip) - 9 + 4) // the size of no tag
	r.offset += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, false, fmt.Errorf("flv: header: %w", err)
	}
	r.head = true
	return b[4]&4 != 0, b[4]&1 != 0, nil
}

// ReadTag reads the next tag. It returns io.EOF at the end of the input, and
// an error that wraps io.ErrUnexpectedEOF if the input ends inside a tag. A
// long body is allocated as it comes in, not on the word of the tag.
func (r *Reader) ReadTag() (Tag, error) {
	if !r.head {
		if _, _, err := r.ReadHeader(); err != nil {
			return Tag{}, err
		}
	}
	at := r.offset
	var b [tagHeaderLen]byte
	if err := r.full(b[:]); err != nil {
		if err == io.EOF {
			return Tag{}, err
		}
		return Tag{}, fmt.Errorf("flv: tag at offset %d: %w", at, err)
	}
	if b[0]&0xe0 != 0 {
		return Tag{}, fmt.Errorf("%w: tag at offset %d has type 0x%02x", ErrSyntax, at, b[0])
	}
	t := Tag{
		Type:      b[0],
		Timestamp: uint32(b[7])<<24 | uint32(b[4])<<16 | uint32(b[5])<<8 | uint32(b[6]),
	}
	size := int(b[1])<<16 | int(b[2])<<8 | int(b[3])
	const step = 256 << 10
	for len(t.Body) < size {
		n := len(t.Body)
		take := min(size-n, max(step, n)) // double what is there
		t.Body = append(t.Body, make([]byte, take)...)
		if err := r.full(t.Body[n:]); err != nil {
			return Tag{}, fmt.Errorf("flv: tag at offset %d: body of %d bytes: %w", at, size, noEOF(err))
		}
	}
	// The size of the tag follows. It is wrong in many files and needed in
	// none, and a file may be cut before the last one.
	n, err := r.r.Discard(4)
	r.offset += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		return Tag{}, fmt.Errorf("flv: tag at offset %d: %w", at, err)
	}
	return t, nil
}

func (r *Reader) full(b []byte) error {
	n, err := io.ReadFull(r.r, b)
	r.offset += int64(n)
	return err
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
