package hls

import (
	"slices"
	"strconv"

	"weir/internal/config/blocks"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// rendition is one track of a stream that has several pictures or sounds, as a playlist
// of its own: [stream].video0.m3u8 beside [stream].m3u8. Its segments have the numbers,
// the cuts and the discontinuities of the first picture and sound's. A segment in which
// the track had nothing is a gap, and a track that had nothing for as long as a playlist
// is long is no rendition any more.
type rendition struct {
	listing

	track *media.Track // owned by the recorder
}

// wantsEach says whether the tracks of the stream are listed by themselves.
func (st *stream) wantsEach() bool { return st.server.conf(st.key.Vhost).Tracks == "all" }

// eachDone lists what each track has of a finished segment; main is that of the first
// picture and sound.
func (st *stream) eachDone(conf *blocks.HLSConfig, main *segment) {
	g := main.Segment
	st.mu.Lock()
	each := st.each
	st.mu.Unlock()
	if !g.Run.Several() && len(each) == 0 {
		return
	}
	each = st.joined(g, each)
	var kept []*rendition
	for _, rd := range each {
		sg, fresh := rd.dress(conf, main)
		if !st.finish(conf, &rd.listing, sg, fresh) {
			return
		}
		if slices.ContainsFunc(rd.index.Listed(), func(sg *segment) bool { return !sg.gap }) {
			kept = append(kept, rd)
		} else {
			st.dropRendition(conf, rd)
		}
	}
	st.setEach(conf, kept)
	st.relist(conf, kept) // now that all have it
}

// joined returns the renditions with those of tracks that have come.
func (st *stream) joined(g *store.Segment, each []*rendition) []*rendition {
	each = slices.Clone(each)
	for _, t := range g.Run.Tracks {
		known := slices.ContainsFunc(each, func(rd *rendition) bool { return rd.kind == t.Kind && rd.id == t.ID })
		if !known && slices.ContainsFunc(g.Chunks, func(c *store.Chunk) bool { return c.Part(t.Kind, t.ID) != nil }) {
			each = append(each, st.newRendition(t, g.Seq))
		}
	}
	slices.SortFunc(each, func(a, b *rendition) int {
		if a.kind != b.kind {
			return int(a.kind) - int(b.kind)
		}
		return int(a.id) - int(b.id)
	})
	return each
}

// newRendition lists a track from the segment with a number on.
func (st *stream) newRendition(t *media.Track, seq int64) *rendition {
	mark := "." + t.Kind.String() + strconv.Itoa(int(t.ID))
	rd := &rendition{}
	files := st.key
	files.Stream += mark
	rd.listing = listing{stream: st, files: files, mark: mark, kind: t.Kind, id: t.ID, playlistName: marked(st.playlistName, mark), index: store.NewIndex[*segment](seq)}
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.gone {
		st.server.found.Put(st.key.Vhost, rd.playlistName, thing{of: &rd.listing})
	}
	return rd
}

func (st *stream) dropRendition(conf *blocks.HLSConfig, rd *rendition) {
	st.mu.Lock()
	rd.clear()
	st.mu.Unlock()
	if conf.Cleanup {
		rd.clean(conf)
	}
}

// dress makes the track's segment of the one that all share.
func (rd *rendition) dress(conf *blocks.HLSConfig, main *segment) (sg *segment, fresh []*beside) {
	g := main.Segment
	sg = &segment{Segment: g, breaks: main.breaks, meant: main.meant, name: rd.segmentName(conf, g, g.Chunks[0].TS == nil)}
	sg.uri = uri(conf.EntryPrefix, rd.playlistName, sg.name)
	var init []byte
	for i, c := range g.Chunks {
		p := c.Part(rd.kind, rd.id)
		if p == nil {
			continue
		}
		if i == 0 {
			sg.begins = p.Key
			if sg.first = p.TSKey; main.init != nil {
				sg.first = p.Piece.Key
			}
		}
		sg.pictures += p.Frames
		for j, t := range c.Run.Tracks {
			if t.Kind == rd.kind && t.ID == rd.id {
				rd.track, init = t, c.Run.Inits[j]
			}
		}
		b := p.TS
		if main.init != nil {
			b = p.Bytes
		}
		if len(b) > 0 {
			sg.body = append(sg.body, b)
		}
	}
	sg.track = rd.track
	if len(sg.body) == 0 {
		sg.gap = true
		return sg, nil
	}
	if main.init != nil {
		var b *beside
		if sg.init, b = rd.initOf(conf, g, init); b != nil {
			fresh = append(fresh, b)
		}
	}
	if sg.key = main.key; sg.key != nil {
		sg.body = [][]byte{sg.key.encrypt(sg.body)}
	}
	for _, b := range sg.body {
		sg.size += len(b)
	}
	return sg, fresh
}

// setEach has the renditions listed, if they are several of a kind.
func (st *stream) setEach(conf *blocks.HLSConfig, each []*rendition) {
	st.mu.Lock()
	if st.each = each; st.gone {
		st.mu.Unlock()
		return
	}
	if st.ladder = newLadder(each); st.ladder == nil {
		st.server.found.Remove(st.key.Vhost, st.allName())
	} else {
		st.server.found.Put(st.key.Vhost, st.allName(), thing{of: &st.listing, all: true})
	}
	ladder := st.ladder
	st.mu.Unlock()
	if !conf.Files {
		return
	}
	if ladder == nil {
		st.disk.Remove(st.allName())
		return
	}
	st.disk.Complain(st.disk.Write(st.allName(), ladder.text(func(name string) string { return shelf.Escape(base(name)) })))
}
