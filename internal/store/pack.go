package store

import (
	"bytes"
	"encoding/gob"
	"fmt"
	"reflect"
	"slices"
	"time"

	"weir/internal/media"
)

// packed is a segment for another process of this server: see Pack.
type packed struct {
	Segment Segment // without Run and Chunks
	Run     packedRun
	Chunks  []Chunk // without Run
}

type packedRun struct {
	ID     int64
	Start  time.Duration
	Began  time.Time
	Meta   []byte
	Own    bool
	Tracks []media.Track
	// The layout and the run's own, as places in Tracks, counted from 1; 0 is none.
	Layout, Each               []int
	Video, Audio               int
	Init, VideoInit, AudioInit []byte
	Inits                      [][]byte
	Grid                       bool
	Arrived                    time.Time
	Shift                      time.Duration
}

// Pack writes a segment for another process of this server, perhaps of another version.
func Pack(g *Segment) ([]byte, error) {
	p := packed{Segment: *g}
	p.Segment.Run, p.Segment.Chunks = nil, nil
	r := g.Run
	p.Run = packedRun{ID: r.ID, Start: r.Start, Began: r.Began, Init: r.Init, VideoInit: r.VideoInit, AudioInit: r.AudioInit, Inits: r.Inits, Grid: r.Grid, Shift: r.Shift, Arrived: r.Arrived}
	var known []*media.Track
	place := func(t *media.Track) int {
		if t == nil {
			return 0
		}
		i := slices.Index(known, t)
		if i < 0 {
			i = len(known)
			known = append(known, t)
			p.Run.Tracks = append(p.Run.Tracks, *t)
		}
		return i + 1
	}
	if r.Layout != nil {
		p.Run.Meta, p.Run.Own = r.Layout.Meta, r.Layout.Own
		for _, t := range r.Layout.Tracks {
			p.Run.Layout = append(p.Run.Layout, place(t))
		}
	}
	for _, t := range r.Tracks {
		p.Run.Each = append(p.Run.Each, place(t))
	}
	p.Run.Video, p.Run.Audio = place(r.Video), place(r.Audio)
	for _, c := range g.Chunks {
		own := *c
		own.Run = nil
		p.Chunks = append(p.Chunks, own)
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(&p)
	return b.Bytes(), err
}

// An Unpacker reads the segments of one stream that another process has packed. The
// numbers of their runs are others than those of a recorder here, and than those of what
// that process has unpacked itself.
type Unpacker struct {
	tracks []*media.Track
	run    *Run // of the newest segment
}

// Segment reads one.
func (u *Unpacker) Segment(b []byte) (*Segment, error) {
	var p packed
	if err := gob.NewDecoder(bytes.NewReader(b)).Decode(&p); err != nil {
		return nil, err
	}
	p.Run.ID = elsewhere(p.Run.ID)
	if u.run == nil || u.run.ID != p.Run.ID {
		r, err := u.unpack(&p.Run)
		if err != nil {
			return nil, err
		}
		u.run = r
	}
	g := &p.Segment
	g.Run = u.run
	for i := range p.Chunks {
		c := &p.Chunks[i]
		c.Run = u.run
		if n := len(c.Video.Bytes); n+len(c.Audio.Bytes) == len(c.MP4) {
			c.Video.Bytes, c.Audio.Bytes = c.MP4[:n:n], c.MP4[n:] // as they were: of one piece
		}
		g.Chunks = append(g.Chunks, c)
	}
	if len(g.Chunks) == 0 {
		return nil, fmt.Errorf("segment %d has no chunk", g.Seq)
	}
	return g, nil
}

// elsewhere is the number here of another process's run: below zero, and further with
// each process that it came through.
func elsewhere(id int64) int64 {
	const step = 1 << 32 // more than a process has runs
	if id > 0 {
		id = -id
	}
	return id - step
}

func (u *Unpacker) unpack(p *packedRun) (*Run, error) {
	r := &Run{ID: p.ID, Start: p.Start, Began: p.Began, Layout: &media.Layout{Meta: p.Meta, Own: p.Own}, Init: p.Init, VideoInit: p.VideoInit, AudioInit: p.AudioInit, Inits: p.Inits, Grid: p.Grid, Shift: p.Shift, Arrived: p.Arrived, chunks: 1}
	for _, n := range slices.Concat(p.Layout, p.Each, []int{p.Video, p.Audio}) {
		if n < 0 || n > len(p.Tracks) {
			return nil, fmt.Errorf("track %d of %d", n, len(p.Tracks))
		}
	}
	at := func(n int) *media.Track {
		if n == 0 {
			return nil
		}
		return u.track(&p.Tracks[n-1])
	}
	for _, n := range p.Layout {
		r.Layout.Tracks = append(r.Layout.Tracks, at(n))
	}
	for _, n := range p.Each {
		r.Tracks = append(r.Tracks, at(n))
	}
	if len(r.Inits) < len(r.Tracks) {
		return nil, fmt.Errorf("%d tracks and %d initialization segments", len(r.Tracks), len(r.Inits))
	}
	r.Video, r.Audio = at(p.Video), at(p.Audio)
	return r, nil
}

// track returns the one that is the same, for who compares pointers.
func (u *Unpacker) track(t *media.Track) *media.Track {
	for _, known := range u.tracks {
		if reflect.DeepEqual(known, t) {
			return known
		}
	}
	u.tracks = append(u.tracks, t)
	return t
}
