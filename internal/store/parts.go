package store

import (
	"slices"

	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// parts writes the tracks of a chunk by themselves, which next follows.
func (r *recorder) parts(c *Chunk, forms Forms, next *media.Frame) {
	c.Parts = make([]Part, len(c.Run.Tracks))
	for i, t := range c.Run.Tracks {
		p := &c.Parts[i]
		var own []*media.Frame
		for _, f := range r.frames {
			if f.Track != t {
				continue
			}
			if p.Frames++; p.Frames == 1 {
				p.Key = f.Key || t.Kind == media.Audio
			}
			own = append(own, f)
		}
		o := r.own(t)
		if forms&TS != 0 && mpegts.Supported(t) && len(own) > 0 {
			r.muxer, o.muxer = o.muxer, r.muxer
			p.TS = r.ts(own)
			p.TSKey = r.first
			r.muxer, o.muxer = o.muxer, r.muxer
		}
		switch {
		case forms&MP4 == 0:
		case t == c.Run.Video:
			p.Piece = c.Video
		case t == c.Run.Audio:
			p.Piece = c.Audio
		default:
			p.Piece = r.part(o, t, own, r.following(t, next))
		}
	}
}

// own returns what goes on of t from one part to the next.
func (w *writer) own(t *media.Track) *ownLine {
	o := w.lines[placeOf(t)]
	if o == nil {
		if w.lines == nil {
			w.lines = map[place]*ownLine{}
		}
		o = &ownLine{}
		w.lines[placeOf(t)] = o
	}
	if o.track != t {
		l := (&media.Layout{}).With(t)
		if o.track = t; o.muxer == nil {
			o.muxer = mpegts.NewMuxer(l)
		} else {
			o.muxer.SetLayout(l)
		}
	}
	return o
}

// part writes the frames of t as CMAF.
func (w *writer) part(o *ownLine, t *media.Track, frames []*media.Frame, next *media.Frame) Piece {
	line, pieces := w.line, w.pieces
	w.line, w.pieces = o.line, o.pieces
	if t.Kind == media.Video {
		w.pictures(t, frames, next)
	} else {
		w.sounds(t, frames)
	}
	b, p := w.piece(nil, t)
	p.Bytes = slices.Clip(b)
	o.line, o.pieces = w.line, w.pieces
	w.line, w.pieces = line, pieces
	return p
}
