package hls

import (
	pathpkg "path"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// Low latency (RFC 8216bis): segments are listed in parts while they are made, and a
// player asks for the playlist that will have the next part, or for that part itself, and
// is answered when it is there. Parts are the store's chunks: nothing is written twice.

const (
	// partsFor and partsKept are how long parts are listed, and can be fetched, in target
	// durations from the end of the playlist on.
	partsFor, partsKept = 3, 6
)

// opened is the segment of a listing that is not whole yet. It is guarded by stream.mu.
type opened struct {
	open *openSegment
	hint string        // name of the part that comes next
	more chan struct{} // closed when there is another list
	// parked are those who are told when there is another list.
	parked map[*func()]struct{}
}

// openSegment is what is known of it.
type openSegment struct {
	seq    int64
	g      *store.Segment // which it is: the recorder goes on with it
	head   *store.Segment // what is known of it
	init   *beside
	parts  []*part
	chunks []*store.Chunk // of the parts
}

// part is a piece of a segment.
type part struct {
	m3u8.Part
	name string
}

// place is a part by its number.
type place struct {
	seq  int64
	part int
}

// partTime is how long parts are, 0 for none.
func (st *stream) partTime() time.Duration { return partTime(st.server.conf(st.key.Vhost)) }

func partTime(conf *blocks.HLSConfig) time.Duration {
	if conf.LowLatency && !conf.Keys {
		return max(conf.Part, 100*time.Millisecond)
	}
	return 0
}

// parted lists a part of a segment that is not whole.
func (st *stream) parted(g *store.Segment, c *store.Chunk) {
	conf := st.server.conf(st.key.Vhost)
	st.loan.ListPart(g, c, func() { st.takePart(conf, g, c) }, func() any { return st.openHint() })
}

// takePart lists it, and what each track that is listed by itself has of it.
func (st *stream) takePart(conf *blocks.HLSConfig, g *store.Segment, c *store.Chunk) {
	st.mu.Lock()
	each := st.each
	st.mu.Unlock()
	for _, rd := range each {
		rd.takeOne(conf, g, c)
	}
	st.takeOne(conf, g, c)
	st.relist(conf, each)
}

// takeOne puts a part on one listing.
func (x *listing) takeOne(conf *blocks.HLSConfig, g *store.Segment, c *store.Chunk) {
	var init, fresh *beside
	if body := x.initIn(c); c.TS == nil && body != nil {
		init, fresh = x.initOf(conf, g, body)
	}
	x.stream.remove(conf.Files && conf.Cleanup, x.offer(conf, g, c, init, fresh), nil)
	if fresh != nil && fresh.disk != nil {
		fresh.disk.Complain(fresh.disk.Write(fresh.name, fresh.body))
	}
}

// initIn returns the initialization segment of what the listing has of a chunk, nil if that
// is nothing.
func (x *listing) initIn(c *store.Chunk) []byte {
	if x.mark == "" {
		return c.Run.Init
	}
	for i, t := range c.Run.Tracks {
		if t.Kind == x.kind && t.ID == x.id {
			return c.Run.Inits[i]
		}
	}
	return nil
}

// of returns what the listing has of a chunk, nil if that is nothing.
func (x *listing) of(c *store.Chunk) (body []byte, ts, key bool) {
	ts = c.TS != nil
	switch p := c.Part(x.kind, x.id); {
	case x.mark == "" && ts:
		return c.TS, true, c.Key
	case x.mark == "":
		return c.MP4, false, c.Key
	case p == nil:
		return nil, ts, false
	case ts:
		return p.TS, true, p.Key
	default:
		return p.Bytes, false, p.Key
	}
}

// relist makes the playlists anew, of tracks by themselves when all of them have what is
// new: each tells of the others.
func (st *stream) relist(conf *blocks.HLSConfig, each []*rendition) {
	if partTime(conf) == 0 {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return
	}
	all := []*listing{&st.listing}
	for _, rd := range each {
		all = append(all, &rd.listing)
	}
	for _, x := range all {
		if len(x.index.Listed()) > 0 {
			x.list = x.render(conf)
			x.tell()
		}
	}
}

// offer puts a part on the shelf. It returns what nobody needs any more.
func (x *listing) offer(conf *blocks.HLSConfig, g *store.Segment, c *store.Chunk, init, fresh *beside) (gone []*segment) {
	st := x.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil
	}
	if fresh != nil {
		x.beside = append(x.beside, fresh)
		st.server.found.Put(st.key.Vhost, fresh.name, thing{file: shelf.Text(mime(fresh.name), shelf.CacheManifest, fresh.body), key: st.key})
	}
	if x.open != nil && x.open.g != g { // which came to nothing
		x.removeParts(&segment{parts: x.open.parts})
		x.open = nil
	}
	if x.open == nil {
		if conf.Deterministic {
			gone = x.fill(conf, g)
			x.takeOff(gone, "")
		}
		x.open = &openSegment{seq: g.Seq, g: g, head: g.Head()}
	}
	if init != nil {
		x.open.init = init
	}
	x.addPart(conf, c)
	return gone
}

// addPart puts a part of the open segment on the shelf. mu is held.
func (x *listing) addPart(conf *blocks.HLSConfig, c *store.Chunk) {
	st, o := x.stream, x.open
	body, ts, key := x.of(c)
	ext := ".m4s"
	if ts {
		ext = ".ts"
	}
	p := &part{name: x.partName(o.seq, len(o.parts), ext)}
	p.Part = m3u8.Part{URI: uri(conf.EntryPrefix, x.playlistName, p.name), Duration: c.Duration, Independent: key, Gap: len(body) == 0}
	o.parts = append(o.parts[:len(o.parts):len(o.parts)], p)
	o.chunks = append(o.chunks, c)
	cache := shelf.CacheFor(2 * conf.Window)
	if conf.Cacheable {
		cache = "public, " + cache
	}
	tag := strconv.FormatInt(c.Began.UnixNano(), 36) + "-" + strconv.Itoa(len(body))
	if !p.Gap {
		st.server.found.Put(st.key.Vhost, p.name, thing{file: shelf.New(mime(p.name), cache, tag, body), key: st.key})
	}
	x.offerHint(place{o.seq, len(o.parts)}, ext)
}

func (x *listing) partName(seq int64, n int, ext string) string {
	return strings.TrimSuffix(x.playlistName, pathpkg.Ext(x.playlistName)) + "-" + strconv.FormatInt(seq, 10) + "." + strconv.Itoa(n) + ext
}

// offerHint has the next part waited for under its name. mu is held.
func (x *listing) offerHint(next place, ext string) {
	found, vhost := &x.stream.server.found, x.stream.key.Vhost
	if it, ok := found.Get(vhost, x.hint); ok && it.hint != nil {
		found.Remove(vhost, x.hint)
	}
	x.hint = x.partName(next.seq, next.part, ext)
	if _, ok := found.Get(vhost, x.hint); !ok {
		found.Put(vhost, x.hint, thing{of: x, hint: &next})
	}
}

// closeOpen makes a segment of the open one: its last part is the rest. mu is held.
func (x *listing) closeOpen(conf *blocks.HLSConfig, sg *segment) {
	o := x.open
	if o == nil || o.g != sg.Segment || len(o.parts)+1 != len(sg.Chunks) || sg.gap {
		if o != nil {
			x.removeParts(&segment{parts: o.parts})
		}
		x.open = nil
		x.clearHint()
		return
	}
	c := sg.Chunks[len(sg.Chunks)-1]
	x.addPart(conf, c)
	sg.parts, x.open = o.parts, nil
	ext := ".m4s"
	if c.TS != nil {
		ext = ".ts"
	}
	x.offerHint(place{sg.Seq + 1, 0}, ext)
	// Those of older ones nobody asks for any more.
	var total time.Duration
	all := x.index.All()
	for i := len(all) - 1; i >= 0; i-- {
		if g := all[i]; total > partsKept*time.Duration(max(x.target, 1))*time.Second && g.parts != nil {
			x.removeParts(g)
		}
		total += all[i].Duration
	}
}

func (x *listing) removeParts(g *segment) {
	for _, p := range g.parts {
		x.stream.server.found.Remove(x.stream.key.Vhost, p.name)
	}
	g.parts = nil
}

// clearHint takes the hint from the shelf. mu is held.
func (x *listing) clearHint() {
	found, vhost := &x.stream.server.found, x.stream.key.Vhost
	if it, ok := found.Get(vhost, x.hint); ok && it.hint != nil {
		found.Remove(vhost, x.hint)
	}
	x.hint = ""
}

// clearParts takes all parts from the shelf. mu is held.
func (x *listing) clearParts() {
	for _, g := range x.index.All() {
		x.removeParts(g)
	}
	if x.open != nil {
		x.removeParts(&segment{parts: x.open.parts})
		x.open = nil
	}
	x.clearHint()
	x.tell()
}

// tell wakes those who wait for another list. mu is held.
func (x *listing) tell() {
	if x.more != nil {
		close(x.more)
		x.more = nil
	}
	for wake := range x.parked {
		(*wake)()
	}
	clear(x.parked)
}
