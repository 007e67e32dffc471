package mp4

import (
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"time"

	"weir/internal/media"
)

// A Spot is where a frame lies in a file.
type Spot struct {
	Off  int64
	Size uint32
}

// A Cut is an ordinary MP4 file, with its tables first, whose samples stay where they are:
// in other files. It is for one goroutine.
type Cut struct {
	m      *movie
	tracks map[*media.Track]*track
	rel    map[*track][]uint64 // chunks, from the first sample on
	pieces []Piece
	last   *track // of the sample before
	size   int64  // of all samples
}

// A Piece is a part of a file that holds samples.
type Piece struct {
	Off  int64
	Size uint32
	File uint32
}

// NewCut begins one of the tracks of a layout. The error is [ErrTracks].
func NewCut(l *media.Layout) (*Cut, error) {
	init, err := AppendInit(nil, l)
	if err != nil {
		return nil, err
	}
	m, err := parseMoov(init[binary.BigEndian.Uint32(init):]) // behind the ftyp
	if err != nil {
		return nil, err
	}
	c := &Cut{m: m, tracks: map[*media.Track]*track{}, rel: map[*track][]uint64{}}
	for _, t := range l.Tracks {
		for _, o := range m.tracks {
			if o.id == TrackID(t) {
				c.tracks[t] = o
			}
		}
	}
	return c, nil
}

// Add adds a frame of a track of the layout, which lies in a file. It begins at DTS from
// the beginning of the clip on, and lasts for a time if nothing follows it. Frames of
// tracks that MP4 does not carry are left out. The error is that there are too many.
func (c *Cut) Add(t *media.Track, dts, lasts, cto time.Duration, key bool, file int, at Spot) error {
	o := c.tracks[t]
	if o == nil || at.Size == 0 {
		return nil
	}
	if c.m.samples++; c.m.samples > maxSamples {
		return fmt.Errorf("mp4: more than %d samples", maxSamples)
	}
	scale := int64(o.scale)
	o.add(media.Ticks(max(dts, 0), scale), media.Ticks(lasts, scale), at.Size, key || t.Kind != media.Video, media.Ticks(cto, scale))
	if c.last != o {
		c.last = o
		c.rel[o] = append(c.rel[o], uint64(c.size))
		o.counts = append(o.counts, 0)
	}
	o.counts[len(o.counts)-1]++
	c.size += int64(at.Size)
	if n := len(c.pieces); n > 0 {
		p := &c.pieces[n-1]
		if p.File == uint32(file) && p.Off+int64(p.Size) == at.Off && uint64(p.Size)+uint64(at.Size) <= math.MaxUint32 {
			p.Size += at.Size
			return nil
		}
	}
	c.pieces = append(c.pieces, Piece{at.Off, at.Size, uint32(file)})
	return nil
}

// Pieces are where the samples lie, in the order in which they follow the head.
func (c *Cut) Pieces() []Piece { return c.pieces }

// Head returns what stands before the samples. The error is that there are none.
func (c *Cut) Head() ([]byte, error) {
	if c.m.samples == 0 {
		return nil, fmt.Errorf("%w: no samples", ErrTracks)
	}
	head, at := begin(nil, "ftyp")
	head = end(append(append32(append(head, "isom"...), 512), "isomiso2iso6mp41"...), at)
	const mdat = 16
	base := uint64(0)
	// Twice, since where samples begin depends on how long the tables are; once more if
	// that makes offsets long.
	for {
		for t, rel := range c.rel {
			t.chunks = t.chunks[:0]
			for _, off := range rel {
				t.chunks = append(t.chunks, base+off)
			}
		}
		all, err := c.m.append(head)
		if err != nil {
			return nil, err
		}
		if now := uint64(len(all) + mdat); now != base {
			base = now
			continue
		}
		return append64(append(append32(all, 1), "mdat"...), uint64(c.size)+mdat), nil
	}
}

// OpenMovie is [NewDemuxer] for a file that [AppendMovie] began, which may still be
// written.
func OpenMovie(r io.ReaderAt, size int64) (*Demuxer, error) {
	_, finished, err := ReadNote(r)
	if err != nil || finished {
		return NewDemuxer(r, size)
	}
	moov, _, err := Finish(nil, r, size)
	if err != nil {
		return nil, asFile(err)
	}
	d := &Demuxer{r: r, size: size}
	if err := d.moov(moov[8:]); err != nil {
		return nil, err
	}
	if len(d.tracks) == 0 {
		return nil, fmt.Errorf("%w: it has no samples yet", ErrFile)
	}
	return d, d.Rewind()
}
