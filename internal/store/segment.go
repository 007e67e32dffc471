package store

import (
	"slices"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
)

// A Run is a line of chunks without a break, of one layout. It is immutable.
type Run struct {
	// ID counts the runs that the recorder made, from 1.
	ID int64
	// Start is the earliest DTS in its first chunk, whose first frame arrived at Arrived.
	// Began is that moment too, or what the encoder says of it: see Grid.
	Start          time.Duration
	Began, Arrived time.Time
	// Layout is what it consists of. Video and Audio are the tracks that MP4
	// carries, nil where there is none.
	Layout       *media.Layout
	Video, Audio *media.Track
	// Init is the initialization segment of both tracks, VideoInit and AudioInit
	// of one; nil if there is nothing to carry.
	Init, VideoInit, AudioInit []byte
	// Tracks are Video and Audio and, where a view wants each, all others that MP4
	// carries, in the order of the layout; Inits the initialization segment of each.
	Tracks []*media.Track
	Inits  [][]byte

	// Grid says that all times in what is written are the encoder's, by [Rules]: those of
	// the stream's line and Shift.
	Grid  bool
	Shift time.Duration

	chunks int // that are finished; owned by the recorder
}

// Several reports whether the run has more than one track of a kind.
func (r *Run) Several() bool { return several(r.Tracks) }

func several(tracks []*media.Track) bool {
	for i, t := range tracks {
		if i > 0 && tracks[i-1].Kind == t.Kind {
			return true
		}
	}
	return false
}

// At returns when a moment of the run was: its first frame's arrival is the
// anchor, or what the encoder says.
func (r *Run) At(dts time.Duration) time.Time {
	if r.Grid {
		return time.Unix(0, int64(dts+r.Shift))
	}
	return r.Began.Add(dts - r.Start)
}

func (r *Run) setLayout(l *media.Layout, each bool) {
	r.Layout = l
	r.Video, r.Audio = carried(l, media.Video), carried(l, media.Audio)
	r.Tracks = tracksOf(l, each)
	r.setInit()
}

// tracksOf returns the tracks of a layout that go into chunks and that MP4 carries: the
// first of each kind, or all.
func tracksOf(l *media.Layout, each bool) (all []*media.Track) {
	for _, t := range l.Tracks {
		if t.Kind != media.Data && mp4.Supported(t) && (each || len(all) == 0 || all[len(all)-1].Kind != t.Kind) {
			all = append(all, t)
		}
	}
	return all
}

// keep takes the frames of the first chunk. It forgets the tracks of which there is
// nothing among them, though they were announced: players would wait for them. But
// others than the first that have been heard of before stay, or each pause of one would
// begin a run.
func (r *Run) keep(frames []*media.Frame, heard map[place]bool) {
	for _, f := range frames { // tracks need not come in the order of their time
		r.Start = min(r.Start, f.DTS)
	}
	has := func(t *media.Track) bool {
		return slices.ContainsFunc(frames, func(f *media.Frame) bool { return f.Track == t })
	}
	if r.Video != nil && !has(r.Video) {
		r.Video = nil
	}
	if r.Audio != nil && !has(r.Audio) {
		r.Audio = nil
	}
	r.Tracks = slices.DeleteFunc(slices.Clone(r.Tracks), func(t *media.Track) bool { return !has(t) && !heard[placeOf(t)] })
	r.setInit()
}

// lacks reports whether the run was begun without a track that there is now.
func (r *Run) lacks(t *media.Track) bool {
	return r.Video == nil && t.Kind == media.Video && carried(r.Layout, media.Video) == t ||
		r.Audio == nil && t.Kind == media.Audio && carried(r.Layout, media.Audio) == t
}

// misses is lacks for the tracks that are not the first of their kind.
func (r *Run) misses(t *media.Track) bool {
	return slices.Contains(r.Layout.Tracks, t) && mp4.Supported(t) && !slices.Contains(r.Tracks, t)
}

func (r *Run) setInit() {
	r.Init, r.VideoInit, r.AudioInit = initOf(r.Video, r.Audio), initOf(r.Video), initOf(r.Audio)
	r.Inits = make([][]byte, len(r.Tracks))
	for i, t := range r.Tracks {
		switch t {
		case r.Video:
			r.Inits[i] = r.VideoInit
		case r.Audio:
			r.Inits[i] = r.AudioInit
		default:
			r.Inits[i] = initOf(t)
		}
	}
}

// carried returns the first track of a kind that MP4 carries.
func carried(l *media.Layout, k media.Kind) *media.Track {
	for _, t := range l.Tracks {
		if t.Kind == k && mp4.Supported(t) {
			return t
		}
	}
	return nil
}

func initOf(tracks ...*media.Track) []byte {
	l := &media.Layout{}
	for _, t := range tracks {
		if t != nil {
			l = l.With(t)
		}
	}
	b, err := mp4.AppendInit(nil, l)
	if err != nil {
		return nil
	}
	return b
}

// A Chunk is what lies between two cuts. It is immutable once it is in a segment
// that was told of.
type Chunk struct {
	Run             *Run
	Start, Duration time.Duration
	// Began is when its first frame arrived.
	Began time.Time
	// Broken says that it does not go on where the chunk before ended: it begins a
	// run.
	Broken bool
	// Key says that decoding can start here.
	Key bool
	// Pictures is how many frames of the picture it has.
	Pictures int

	// The forms that were asked for. MP4 is Video's bytes and then Audio's.
	TS, MP4, FLV []byte
	Video, Audio Piece
	// TSKey is how many bytes of TS a player needs of its first picture, if decoding can
	// start there.
	TSKey int
	// Parts are the tracks of the run by themselves, in the order of Run.Tracks, with
	// Each.
	Parts []Part
}

// Part returns what the chunk has of a track by itself, nil if that is nothing.
func (c *Chunk) Part(kind media.Kind, id uint8) *Part {
	for i, t := range c.Run.Tracks {
		if t.Kind == kind && t.ID == id && i < len(c.Parts) && c.Parts[i].Frames > 0 {
			return &c.Parts[i]
		}
	}
	return nil
}

// A Part is one track's part of a chunk.
type Part struct {
	Piece
	TS    []byte
	TSKey int // see [Chunk]
	// Key says that decoding can start here, and Frames how many there are.
	Key    bool
	Frames int
}

// A Piece is one track's part of a chunk as CMAF. Times are in ticks of the
// track's [mp4.Timescale].
type Piece struct {
	Bytes          []byte
	Time, Duration int64
	// Key is how many of the bytes a player needs of the first picture, if decoding can
	// start there.
	Key int
}

// A Segment is a piece of a stream as one view wants it: a row of chunks. It is
// immutable when Done is told of it.
type Segment struct {
	Seq      int64
	Duration time.Duration
	// Start is the DTS of its first frame, which arrived at Began. Floor, with
	// Rules.Floor, is the number of Fragments since 1970 that it is counted as.
	Start time.Duration
	Began time.Time
	Floor int64
	// Discontinuity marks a segment that does not go on where the one before
	// ended: another publication, or other codec parameters.
	Discontinuity bool
	// Key says that decoding can start at its beginning.
	Key bool
	// Run is the line that it belongs to.
	Run    *Run
	Chunks []*Chunk
}

// Whole returns the segment, of what somebody made of one too.
func (s *Segment) Whole() *Segment { return s }

// Head returns what is known of a segment while it is made, without its chunks: for others
// than who is told of its parts, since the recorder goes on with it.
func (s *Segment) Head() *Segment {
	h := *s
	h.Chunks = nil
	return &h
}

// Number implements [Listed].
func (s *Segment) Number() int64 { return s.Seq }

// Lasts implements [Listed].
func (s *Segment) Lasts() time.Duration { return s.Duration }

// Bytes gathers one part of each chunk: a segment's body without a copy.
func (s *Segment) Bytes(of func(*Chunk) []byte) (body [][]byte) {
	for _, c := range s.Chunks {
		if b := of(c); len(b) > 0 {
			body = append(body, b)
		}
	}
	return body
}

// Pictures returns how many frames of the picture the segment has.
func (s *Segment) Pictures() (n int) {
	for _, c := range s.Chunks {
		n += c.Pictures
	}
	return n
}
