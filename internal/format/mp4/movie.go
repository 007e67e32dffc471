package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"weir/internal/media"
)

// A movie is a file that is fragmented while it is recorded, so that it can be
// played wherever it breaks off, and an ordinary one afterwards. It begins with
//
//	ftyp
//	free  the lid: empty, as long as the head of a large mdat
//	free  the note
//	moov  of fragments
//
// and the fragments follow. To finish it a moov with tables of all samples is
// appended, and then the lid is overwritten with the head of an mdat that reaches
// from there to that moov: what was said of fragments is then media data, of which
// the tables point to the samples alone. The lid is written last, in one piece.

// ErrMovie means that a file was not begun with [AppendMovie].
var ErrMovie = errors.New("mp4: no recording of ours")

const (
	// LidAt is where in a movie the lid is, and LidLen how long.
	LidAt  = 32
	LidLen = 16
	// NoteLen is how much room a note has, in bytes.
	NoteLen = 2048

	noteAt = LidAt + LidLen + 8
	headAt = noteAt + 4 + NoteLen
)

// noteMark stands before the note.
const noteMark = "note"

// AppendMovie appends the beginning of a movie of a layout, with a note for whoever
// records it, of at most [NoteLen] bytes. An error wraps [ErrTracks] or is that the
// note is too long.
func AppendMovie(dst []byte, l *media.Layout, note []byte) ([]byte, error) {
	if len(note) > NoteLen {
		return dst, fmt.Errorf("mp4: note of %d bytes, at most %d", len(note), NoteLen)
	}
	start := len(dst)
	dst, at := begin(dst, "ftyp")
	dst = end(append(append32(append(dst, "isom"...), 512), "isomiso2iso6mp41"...), at)
	dst, at = begin(dst, "free")
	dst = end(appendZeros(dst, LidLen-8), at)
	dst, at = begin(dst, "free")
	dst = append(append(dst, noteMark...), note...)
	for len(dst) < start+headAt {
		dst = append(dst, ' ')
	}
	dst = end(dst, at)
	init, err := AppendInit(nil, l)
	if err != nil {
		return dst[:start], err
	}
	// AppendInit begins with an ftyp of its own.
	return append(dst, init[binary.BigEndian.Uint32(init):]...), nil
}

// ReadNote returns the note of a movie, and whether the movie is finished. The
// error is [ErrMovie].
func ReadNote(r io.ReaderAt) (note []byte, finished bool, err error) {
	b := make([]byte, headAt)
	if n, _ := r.ReadAt(b, 0); n < len(b) || string(b[4:12]) != "ftypisom" || string(b[noteAt:noteAt+4]) != noteMark {
		return nil, false, ErrMovie
	}
	switch string(b[LidAt+4 : LidAt+8]) {
	case "free":
	case "mdat":
		finished = true
	default:
		return nil, false, ErrMovie
	}
	return bytes.TrimRight(b[noteAt+4:], " "), finished, nil
}

// AppendLid appends what is written at LidAt to finish a movie whose media ends at
// end.
func AppendLid(dst []byte, end int64) []byte {
	return append64(append(append32(dst, 1), "mdat"...), uint64(end-LidAt))
}

// Limits of what is read of a movie.
const (
	maxMoov    = 1 << 20
	maxMoof    = 16 << 20
	maxSamples = 1 << 26
)

// Finish reads a movie of fragments and appends the moov that belongs at end, which
// is where the last whole fragment ends. The error is [ErrMovie], or that what is
// there is damaged.
func Finish(dst []byte, r io.ReaderAt, size int64) (moov []byte, end int64, err error) {
	if _, finished, err := ReadNote(r); err != nil || finished {
		return dst, 0, cmpErr(err, ErrMovie)
	}
	name, n, ok := boxAt(r, size, headAt)
	if !ok || name != "moov" || n > maxMoov {
		return dst, 0, fmt.Errorf("%w: no moov", ErrMovie)
	}
	head, ok := read(r, headAt, n)
	if !ok {
		return dst, 0, ErrMovie
	}
	m, err := parseMoov(head)
	if err != nil {
		return dst, 0, err
	}
	end = headAt + n
	for {
		name, n, ok := boxAt(r, size, end)
		if !ok || name != "moof" || n > maxMoof {
			break
		}
		name, data, ok := boxAt(r, size, end+n)
		if !ok || name != "mdat" {
			break
		}
		moof, ok := read(r, end, n)
		if !ok || m.fragment(moof, end, end+n+data) != nil {
			break
		}
		end += n + data
	}
	dst, err = m.append(dst)
	return dst, end, err
}

func cmpErr(err, otherwise error) error {
	if err != nil {
		return err
	}
	return otherwise
}

// boxAt returns the name and size of the box at off, if it is whole.
func boxAt(r io.ReaderAt, size, off int64) (name string, n int64, ok bool) {
	var b [16]byte
	if got, _ := r.ReadAt(b[:], off); got < 8 {
		return "", 0, false
	}
	n = int64(binary.BigEndian.Uint32(b[:]))
	if n == 1 {
		n = int64(min(binary.BigEndian.Uint64(b[8:]), math.MaxInt64))
	}
	return string(b[4:8]), n, n >= 8 && n <= size-off
}

func read(r io.ReaderAt, off, n int64) ([]byte, bool) {
	b := make([]byte, n)
	got, _ := r.ReadAt(b, off)
	return b, got == len(b)
}

// children calls f with each box in b; raw has its head, body has not.
func children(b []byte, f func(name string, raw, body []byte) error) error {
	for len(b) > 0 {
		if len(b) < 8 {
			return errDamaged
		}
		n := binary.BigEndian.Uint32(b)
		if n < 8 || uint64(n) > uint64(len(b)) {
			return errDamaged
		}
		if err := f(string(b[4:8]), b[:n], b[8:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

var errDamaged = fmt.Errorf("%w: it is damaged", ErrMovie)

// movie is what a finished moov is made of.
type movie struct {
	tracks  []*track
	samples int
}

// track is one track of a movie, with its samples.
type track struct {
	id       uint32
	scale    uint32
	language []byte            // of mdhd, two bytes
	boxes    map[string][]byte // tkhd, hdlr, vmhd, smhd, dinf, stsd, whole

	started bool
	first   int64 // decoding time of the first sample
	last    int64 // of the newest
	lasts   int64 // how long that lasts, as its fragment says
	sizes   []uint32
	keys    []uint32 // numbers of the samples that are sync samples
	steps   []run    // decoding time from sample to sample
	shifts  []run    // composition less decoding time
	chunks  []uint64 // offsets
	counts  []uint32 // samples of each chunk
}

// run is so many samples of one value.
type run struct {
	count uint32
	value int64
}

func push(runs []run, v int64) []run {
	if n := len(runs); n > 0 && runs[n-1].value == v {
		runs[n-1].count++
		return runs
	}
	return append(runs, run{1, v})
}

// parseMoov takes the moov of a movie of fragments apart.
func parseMoov(b []byte) (*movie, error) {
	m := &movie{}
	err := children(b[8:], func(name string, _, body []byte) error {
		if name != "trak" {
			return nil
		}
		t := &track{boxes: map[string][]byte{}}
		if err := t.parse(body); err != nil {
			return err
		}
		if len(t.boxes["tkhd"]) < 8+84 || len(t.boxes["stsd"]) == 0 || len(t.boxes["hdlr"]) == 0 || t.scale == 0 {
			return errDamaged
		}
		t.id = binary.BigEndian.Uint32(t.boxes["tkhd"][8+12:])
		m.tracks = append(m.tracks, t)
		return nil
	})
	if err == nil && len(m.tracks) == 0 {
		err = errDamaged
	}
	return m, err
}

func (t *track) parse(b []byte) error {
	return children(b, func(name string, raw, body []byte) error {
		switch name {
		case "mdia", "minf", "stbl":
			return t.parse(body)
		case "mdhd":
			if len(body) < 24 || body[0] != 0 {
				return errDamaged
			}
			t.scale, t.language = binary.BigEndian.Uint32(body[12:]), body[20:22]
		case "tkhd", "hdlr", "vmhd", "smhd", "dinf", "stsd":
			t.boxes[name] = raw
		}
		return nil
	})
}

// fragment takes the samples of a moof, which stands at off and whose data ends at
// end.
func (m *movie) fragment(b []byte, off, end int64) error {
	return children(b[8:], func(name string, _, body []byte) error {
		if name != "traf" {
			return nil
		}
		return m.run(body, off, end)
	})
}

func (m *movie) run(traf []byte, off, end int64) error {
	var t *track
	var dts int64
	return children(traf, func(name string, _, b []byte) error {
		switch name {
		case "tfhd":
			if len(b) < 8 {
				return errDamaged
			}
			for _, o := range m.tracks {
				if o.id == binary.BigEndian.Uint32(b[4:]) {
					t = o
				}
			}
		case "tfdt":
			if len(b) < 12 || b[0] != 1 {
				return errDamaged
			}
			dts = int64(binary.BigEndian.Uint64(b[4:]))
		case "trun":
			if t == nil {
				return errDamaged
			}
			return m.samplesOf(t, b, dts, off, end)
		}
		return nil
	})
}

// samplesOf takes the samples of a trun as appendRun writes it.
func (m *movie) samplesOf(t *track, b []byte, dts, off, end int64) error {
	if len(b) < 12 {
		return errDamaged
	}
	flags, n := binary.BigEndian.Uint32(b)&0xffffff, int(binary.BigEndian.Uint32(b[4:]))
	each := 0
	for _, f := range []uint32{trunDuration, trunSize, trunFlags, trunShift} {
		if flags&f != 0 {
			each += 4
		}
	}
	at := off + int64(int32(binary.BigEndian.Uint32(b[8:])))
	b = b[12:]
	if flags&trunOffset == 0 || flags&trunFirst != 0 || flags&(trunDuration|trunSize) != trunDuration|trunSize || n < 0 || n > len(b)/each || m.samples+n > maxSamples {
		return errDamaged
	}
	next := func() uint32 {
		v := binary.BigEndian.Uint32(b)
		b = b[4:]
		return v
	}
	t.chunks, t.counts = append(t.chunks, uint64(at)), append(t.counts, uint32(n))
	for range n {
		lasts, size, key, shift := int64(next()), next(), true, int64(0)
		if flags&trunFlags != 0 {
			key = next()&0x10000 == 0
		}
		if flags&trunShift != 0 {
			shift = int64(int32(next()))
		}
		if at < off || at+int64(size) > end {
			return errDamaged
		}
		at += int64(size)
		t.add(dts, lasts, size, key, shift)
		dts += lasts
	}
	m.samples += n
	return nil
}

func (t *track) add(dts, lasts int64, size uint32, key bool, shift int64) {
	if !t.started {
		t.started, t.first, t.last = true, dts, dts
	} else {
		t.steps = push(t.steps, max(0, min(dts-t.last, math.MaxUint32)))
	}
	t.last, t.lasts = dts, lasts
	t.sizes = append(t.sizes, size)
	t.shifts = push(t.shifts, shift)
	if key {
		t.keys = append(t.keys, uint32(len(t.sizes)))
	}
}

// Duration returns how long a finished movie lasts. The error is [ErrMovie].
func Duration(r io.ReaderAt) (time.Duration, error) {
	b, ok := read(r, LidAt, LidLen)
	if !ok || string(b[4:8]) != "mdat" {
		return 0, fmt.Errorf("%w: it is not finished", ErrMovie)
	}
	at := LidAt + int64(min(binary.BigEndian.Uint64(b[8:]), math.MaxInt64-LidAt))
	b, ok = read(r, at, 8+8+4+16+4+8)
	if !ok || string(b[4:8]) != "moov" || string(b[12:16]) != "mvhd" || b[16] != 1 {
		return 0, fmt.Errorf("%w: no moov at its end", ErrMovie)
	}
	scale := binary.BigEndian.Uint32(b[36:])
	if scale == 0 {
		return 0, errDamaged
	}
	return media.Duration(int64(binary.BigEndian.Uint64(b[40:])), int64(scale)), nil
}
