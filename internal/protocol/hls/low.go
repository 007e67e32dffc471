package hls

import (
	"bytes"
	"net/http"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// Low latency (RFC 8216bis): segments are listed in parts while they are made, and a
// player asks for the playlist that will have the next part, or for that part itself, and
// is answered when it is there. Parts are the store's chunks: nothing is written twice.

const (
	// lowParams is what the parameters of low latency begin with.
	lowParams = "_HLS_"
	msnParam  = lowParams + "msn"
	partParam = lowParams + "part"
	skipParam = lowParams + "skip"

	// partsFor and partsKept are how long parts are listed, and can be fetched, in target
	// durations from the end of the playlist on.
	partsFor, partsKept = 3, 6
	// skipAfter is from how many target durations before the end on an update leaves
	// segments out.
	skipAfter = 6
	// ahead is how many segments before its time a playlist may be asked for.
	ahead = 2
	// patient is for how many target durations a request waits.
	patient = 3
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
	g      *store.Segment // only its address and Discontinuity are looked at
	head   *store.Segment // what others may look at
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

// low is what low latency adds to a list. It is immutable.
type low struct {
	conf   m3u8.Low
	target time.Duration
	end    place         // the part that comes next
	left   time.Duration // of the segments that are not written yet
	starts []int         // where in the text segments begin
	skips  int           // how many an update leaves out
	update *list         // without them; nil if there are none
	hinted string        // URI of the next part
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

// lower prepares a list of low latency. mu is held.
func (x *listing) lower(conf *blocks.HLSConfig, l *list, p *m3u8.Playlist) {
	part := partTime(conf)
	if part == 0 || x.hint == "" {
		return
	}
	target := time.Duration(p.Target) * time.Second
	listed := x.index.Listed()
	last := listed[len(listed)-1]
	l.low = &low{target: target, conf: m3u8.Low{Part: part, HoldBack: 3 * part, SkipUntil: skipAfter * target}, end: place{last.Seq + 1, 0},
		hinted: uri(conf.EntryPrefix, x.playlistName, x.hint)}
	if o := x.open; o != nil && len(o.parts) > 0 {
		l.low.end = place{o.seq, len(o.parts)}
	}
	for _, g := range listed {
		l.low.left += g.Duration
		// A part may be longer: of a picture that lasts for long.
		for _, q := range g.parts {
			l.low.conf.Part = max(l.low.conf.Part, q.Duration)
		}
	}
	l.low.conf.HoldBack = 3 * l.low.conf.Part
	p.Low, p.Version = &l.low.conf, 9
}

// mark adds the parts of a segment that is new enough, and notes where it begins.
func (l *low) mark(s *m3u8.Segment, g *segment, at int) {
	if l == nil {
		return
	}
	l.starts = append(l.starts, at)
	l.left -= g.Duration
	if l.left < partsFor*l.target {
		for _, p := range g.parts {
			s.Parts = append(s.Parts, p.Part)
		}
	}
	if l.left >= l.conf.SkipUntil {
		l.skips = len(l.starts)
	}
}

// findParts notes where the URIs of parts end that were appended from at on.
func (l *list) findParts(at int) {
	const tag, uri = "#EXT-X-PART:", `URI="`
	for l.low != nil {
		i := bytes.Index(l.text[at:], []byte(tag))
		if i < 0 {
			return
		}
		at += i + len(tag)
		j := bytes.Index(l.text[at:], []byte(uri))
		end := bytes.IndexByte(l.text[at+j+len(uri):], '"')
		at += j + len(uri) + end
		l.queries = append(l.queries, at)
	}
}

// appendOpen appends the segment that is not whole, and tells what comes next. mu is
// held.
func (x *listing) appendOpen(l *list, prev *m3u8.Segment) {
	if l.low == nil {
		return
	}
	at := len(l.text)
	if o := x.open; o != nil {
		s := &m3u8.Segment{Discontinuity: o.g.Discontinuity}
		if s.Discontinuity {
			s.Time = o.g.Run.At(o.g.Start)
		}
		if o.init != nil {
			s.Map = o.init.uri
		}
		for _, p := range o.parts {
			s.Parts = append(s.Parts, p.Part)
		}
		l.text = m3u8.AppendOpen(l.text, s, prev)
		l.find(at, `#EXT-X-MAP:URI="`)
		l.findParts(at)
	}
	l.text = m3u8.AppendHint(l.text, l.low.hinted)
	l.queries = append(l.queries, len(l.text)-2)
	x.report(l)
	if l.low.skips > 0 {
		l.low.update = l.without(l.low.skips)
	}
}

// report tells how far the other tracks by themselves are. mu is held.
func (x *listing) report(l *list) {
	for _, rd := range x.stream.each {
		o := &rd.listing
		if x.mark == "" || o == x {
			continue
		}
		if p, ok := o.last(); ok {
			at := len(l.text)
			l.text = m3u8.AppendReport(l.text, m3u8.Report{URI: uri("", x.playlistName, o.playlistName), Sequence: p.seq, Part: p.part})
			l.find(at, `URI="`)
		}
	}
}

// last is the newest part; ok is false if there is none. mu is held.
func (x *listing) last() (p place, ok bool) {
	if o := x.open; o != nil && len(o.parts) > 0 {
		return place{o.seq, len(o.parts) - 1}, true
	}
	all := x.index.Listed()
	if len(all) == 0 || len(all[len(all)-1].parts) == 0 {
		return p, false
	}
	newest := all[len(all)-1]
	return place{newest.Seq, len(newest.parts) - 1}, true
}

// without returns the list as an update that leaves segments out.
func (l *list) without(n int) *list {
	head, from := l.low.starts[0], l.low.starts[n:]
	rest := len(l.text)
	if len(from) > 0 {
		rest = from[0]
	}
	u := &list{variant: l.variant, key: l.key, low: l.low}
	u.text = m3u8.AppendSkip(slices.Clone(l.text[:head]), n)
	shift := len(u.text) - rest
	u.text = append(u.text, l.text[rest:]...)
	for _, q := range l.queries {
		if q >= rest {
			u.queries = append(u.queries, q+shift)
		}
	}
	u.file = shelf.Text(typeM3U8, shelf.CacheManifest, u.text)
	return u
}

// has reports whether the list has a part, or with a part below 0 a whole segment.
func (l *low) has(p place) bool {
	if p.part < 0 {
		return p.seq < l.end.seq
	}
	return p.seq < l.end.seq || p.seq == l.end.seq && p.part < l.end.part
}

// cache says for how long caches may give a playlist to others: one that was waited for
// does not change any more until it is of no use.
func (l *low) cache(r *http.Request) string {
	if _, n := service.Param(r, msnParam); n > 0 {
		return shelf.CacheShared(skipAfter * l.target)
	}
	return shelf.CacheShared(l.conf.Part)
}

// wish is what a request of low latency asks for.
type wish struct {
	place
	waits, skip bool
}

// wishOf reads the parameters; ok is false if they make no sense.
func wishOf(r *http.Request) (w wish, ok bool) {
	if !strings.Contains(r.URL.RawQuery, lowParams) {
		return w, true
	}
	number := func(name string) (n int64, there, ok bool) {
		text, times := service.Param(r, name)
		if times == 0 {
			return -1, false, true
		}
		n, err := strconv.ParseInt(text, 10, 64)
		return n, true, err == nil && n >= 0 && n < 1<<53 && times == 1
	}
	seq, waits, ok1 := number(msnParam)
	part, parted, ok2 := number(partParam)
	skip, _ := service.Param(r, skipParam)
	w = wish{place{seq, int(min(part, 1<<20))}, waits, skip == "YES" || skip == "v2"}
	return w, ok1 && ok2 && (waits || !parted)
}

// waits reports whether a request has to wait for what it asks for, or is refused.
func (x *listing) waits(r *http.Request) bool {
	w, ok := wishOf(r)
	if ok && !w.waits {
		return false
	}
	l := x.listed()
	return !ok || l == nil || l.low != nil && !l.low.has(w.place)
}

// updated returns the list that a request asks for, when it is there; ok is false if it
// was answered otherwise.
func (s *server) updated(w http.ResponseWriter, r *http.Request, it thing) (l *list, ok bool) {
	l = it.of.listed()
	if l == nil || l.low == nil {
		return l, l != nil
	}
	want, sound := wishOf(r)
	switch {
	case !sound:
		http.Error(w, "_HLS_msn and _HLS_part are numbers, and the second needs the first", http.StatusBadRequest)
		return nil, false
	case want.waits && want.seq > l.low.end.seq+ahead:
		http.Error(w, "_HLS_msn is too far ahead", http.StatusBadRequest)
		return nil, false
	case want.waits:
		if l = it.of.await(r, want.place); l == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the stream does not go on", http.StatusServiceUnavailable)
			return nil, false
		}
	}
	if want.skip && l.low.update != nil {
		l = l.low.update
	}
	return l, true
}

// await returns the first list that has a part, nil if that does not come in time.
func (x *listing) await(r *http.Request, p place) *list {
	var timer *time.Timer
	for {
		x.stream.mu.Lock()
		l := x.list
		if x.more == nil {
			x.more = make(chan struct{})
		}
		more, gone := x.more, x.stream.gone
		x.stream.mu.Unlock()
		switch {
		case l == nil || l.low == nil || gone:
			return nil
		case l.low.has(p):
			return l
		}
		if timer == nil {
			timer = time.NewTimer(patient * l.low.target)
			defer timer.Stop()
		}
		select {
		case <-more:
		case <-timer.C:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// later implements [service.LaterFunc] for what await waits for.
func (s *server) later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool) {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.of == nil {
		return nil, until, false
	}
	x := it.of
	var p place
	if it.hint != nil {
		p = *it.hint
	} else {
		want, sound := wishOf(r)
		if !sound || !want.waits || !s.admitted(r, x.stream.key) {
			return nil, until, false
		}
		p = want.place
	}
	x.stream.mu.Lock()
	defer x.stream.mu.Unlock()
	l := x.list
	if l == nil || l.low == nil || x.stream.gone || p.seq > l.low.end.seq+ahead {
		return nil, until, false
	}
	if l.low.has(p) { // it came just now
		wake()
		return func() {}, until, true
	}
	if x.parked == nil {
		x.parked = map[*func()]struct{}{}
	}
	x.parked[&wake] = struct{}{}
	return func() {
		x.stream.mu.Lock()
		defer x.stream.mu.Unlock()
		delete(x.parked, &wake)
	}, time.Now().Add(patient * l.low.target), true
}

// sendHinted answers with a part when it is there.
func (s *server) sendHinted(w http.ResponseWriter, r *http.Request, it thing) {
	if it.of.await(r, *it.hint) != nil {
		if now, ok := s.found.Find(s.env.Conf.Load(), r); ok && now.file != nil {
			s.sendFile(w, r, now)
			return
		}
	}
	http.Error(w, "the stream does not go on", http.StatusNotFound)
}
