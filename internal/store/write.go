package store

import (
	"slices"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
)

const (
	// lead is added to all times of transport streams, so that no presentation
	// time is negative.
	lead = time.Second
	// soundFrames and soundTime are how much sound one packet of the elementary
	// stream holds at most: each packet costs a header and stuffing.
	soundFrames = 6
	soundTime   = 130 * time.Millisecond
)

// A writer makes the forms of chunks. It keeps what goes on from one to the
// next.
type writer struct {
	muxer   *mpegts.Muxer
	buf     []byte         // of a transport stream in the making
	pending []*media.Frame // sound that waits to be packed
	samples []mp4.Sample
	pieces  uint32             // counts the CMAF chunks
	line                       // of the first tracks
	lines   map[place]*ownLine // of the others, and for TS of all
	faults  int                // frames that could not be written
	// With the encoder's time, see alike:
	shift        time.Duration // from the stream's line to it
	begins, ends bool          // a segment begins, ends with the chunk
	first        int           // where the first picture of the newest transport stream ends, if it is a key frame
}

// line is where what was written of a track ended.
type line struct {
	sounded bool
	sound   int64 // where the next frame of sound is due, if sounded
	shown   int64 // where the picture of the chunk before ended
}

// ownLine is what goes on from one part of a track to the next.
type ownLine struct {
	line
	track  *media.Track
	muxer  *mpegts.Muxer
	pieces uint32
}

// restart begins a run.
func (w *writer) restart(l *media.Layout) {
	w.line = line{}
	for _, o := range w.lines {
		o.line = line{} // its transport stream goes on counting
	}
	w.setLayout(l)
}

// setLayout goes over to another layout.
func (w *writer) setLayout(l *media.Layout) {
	if w.muxer == nil {
		w.muxer = mpegts.NewMuxer(l)
		return
	}
	w.muxer.SetLayout(l)
}

// write makes the forms of c, whose frames are followed by next if that is known.
func (w *writer) write(c *Chunk, forms Forms, frames []*media.Frame, next *media.Frame) {
	c.Key = true
	for _, f := range frames {
		if f.Track.Kind == media.Video {
			if c.Pictures == 0 {
				c.Key = f.Key
			}
			c.Pictures++
		}
	}
	if forms&TS != 0 {
		c.TS = w.ts(frames)
		c.TSKey = w.first
	}
	if forms&MP4 != 0 {
		w.mp4(c, frames, next)
	}
	if forms&FLV != 0 {
		c.FLV = w.flv(frames)
	}
}

// ts writes a transport stream that begins with its tables.
func (w *writer) ts(frames []*media.Frame) []byte {
	if w.begins {
		w.buf = w.muxer.AppendBegin(w.buf[:0])
	} else {
		w.buf = w.muxer.AppendTables(w.buf[:0])
	}
	w.first = 0
	pictures := 0
	for _, f := range frames {
		if f.Track.Kind == media.Video {
			w.pack()
			w.mux(w.muxer.AppendFrame(w.buf, f, f.DTS+w.shift+lead))
			if pictures++; pictures == 1 && f.Key {
				w.first = len(w.buf)
			}
			continue
		}
		if len(w.pending) > 0 && (w.pending[0].Track != f.Track || len(w.pending) >= soundFrames || f.DTS-w.pending[0].DTS >= soundTime) {
			w.pack()
		}
		w.pending = append(w.pending, f)
	}
	w.pack()
	if w.ends {
		w.buf, w.first = w.muxer.Align(w.buf, w.first)
	}
	return slices.Clone(w.buf)
}

func (w *writer) mux(b []byte, err error) {
	w.buf = b
	if err != nil {
		w.faults++
	}
}

// pack writes the sound that waits.
func (w *writer) pack() {
	if len(w.pending) == 0 {
		return
	}
	w.mux(w.muxer.AppendAudio(w.buf, w.pending[0].DTS+w.shift+lead, w.pending...))
	clear(w.pending)
	w.pending = w.pending[:0]
}

// mp4 writes the picture, then the sound.
func (w *writer) mp4(c *Chunk, frames []*media.Frame, next *media.Frame) {
	v, a := c.Run.Video, c.Run.Audio
	size := 0
	for _, f := range frames {
		size += len(f.Payload) + 16
	}
	b := make([]byte, 0, size+256)
	if v != nil {
		w.pictures(v, frames, next)
		b, c.Video = w.piece(b, v)
	}
	n := len(b)
	if a != nil {
		w.sounds(a, frames)
		b, c.Audio = w.piece(b, a)
	}
	// Only now, since b may have grown.
	c.MP4, c.Video.Bytes, c.Audio.Bytes = b, b[:n:n], b[n:]
}

// piece appends the samples at hand.
func (w *writer) piece(b []byte, t *media.Track) ([]byte, Piece) {
	if len(w.samples) == 0 {
		return b, Piece{}
	}
	first, last := &w.samples[0], &w.samples[len(w.samples)-1]
	p := Piece{Time: first.Time, Duration: last.Time + last.Duration - first.Time}
	w.pieces++
	n := len(b)
	b = mp4.AppendSamples(b, w.pieces, t, w.samples)
	if t.Kind == media.Video && first.Key {
		p.Key = len(b) - n
		for _, s := range w.samples[1:] { // they end the bytes
			p.Key -= len(s.Payload)
		}
	}
	clear(w.samples)
	return b, p
}

// pictures makes samples of the frames of t. Each lasts until the next; the first
// does not begin before the last of the chunk before ends, whose end may have been
// a guess.
func (w *writer) pictures(t *media.Track, frames []*media.Frame, next *media.Frame) {
	w.samples = w.samples[:0]
	scale := mp4.Timescale(t)
	var last *media.Frame
	until := func(ticks int64) {
		if n := len(w.samples); n > 0 {
			w.samples[n-1].Duration = min(max(ticks-w.samples[n-1].Time, 0), 1<<31-1)
		}
	}
	for _, f := range frames {
		if f.Track != t {
			continue
		}
		at := max(media.Ticks(f.DTS+w.shift, scale), w.shown)
		until(at)
		w.samples = append(w.samples, mp4.Sample{Payload: f.Payload, Time: at, Offset: media.Ticks(f.PTS()+w.shift, scale) - at, Key: f.Key})
		last = f
	}
	switch {
	case next != nil && next.Track == t:
		until(media.Ticks(next.DTS+w.shift, scale))
	case last != nil:
		until(media.Ticks(last.DTS+w.shift+mp4.FrameDuration(last), scale))
	}
	if n := len(w.samples); n > 0 {
		w.shown = w.samples[n-1].Time + w.samples[n-1].Duration
	}
}

// sounds makes samples of the frames of t. RTMP tells time in milliseconds; where
// the codec says how long a frame is, frames follow one another without gap or
// overlap as long as that is nearer to their time than half a frame.
func (w *writer) sounds(t *media.Track, frames []*media.Frame) {
	w.samples = w.samples[:0]
	scale := mp4.Timescale(t)
	for _, f := range frames {
		if f.Track != t {
			continue
		}
		d := max(media.Ticks(mp4.FrameDuration(f), scale), 1)
		at := max(media.Ticks(f.DTS+w.shift, scale), 0)
		tolerance := int64(0)
		switch t.Codec {
		case media.AAC, media.MP3, media.Opus, media.AC3:
			tolerance = d / 2
			if w.begins && len(w.samples) == 0 {
				at = w.phase(t, frames)
			}
		}
		if off := at - w.sound; w.sounded && off >= -tolerance && off <= tolerance {
			at = w.sound
		}
		if n := len(w.samples); n > 0 {
			prev := &w.samples[n-1]
			at = max(at, prev.Time+1)
			prev.Duration = min(at-prev.Time, 1<<31-1)
		} else if w.sounded {
			at = max(at, w.sound)
		}
		w.samples = append(w.samples, mp4.Sample{Payload: f.Payload, Time: at, Duration: d, Key: true})
		w.sound, w.sounded = at+d, true
	}
}

// flv writes tags.
func (w *writer) flv(frames []*media.Frame) []byte {
	size := 0
	for _, f := range frames {
		size += len(f.Payload) + 32
	}
	b := make([]byte, 0, size)
	for _, f := range frames {
		b = flv.AppendFrameTag(b, f, flv.Timestamp(f.DTS))
	}
	return b
}
