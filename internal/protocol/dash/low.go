package dash

import (
	"net/http"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/format/mpd"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// Low latency: the segment that is being made is listed with the duration that it will
// probably have, and who asks for it has each of its CMAF chunks as soon as that is made.
// Chunks are the store's: nothing is written twice.

const (
	// leastChunk is how short chunks may be: each costs every viewer a write.
	leastChunk = 100 * time.Millisecond
	// leastUpdate is how often players may be told to look at the manifest.
	leastUpdate = 500 * time.Millisecond
	// patient is for how many fragments a request for the next segment waits.
	patient = 3
)

// low is what low latency knows of a stream. It is owned by the recorder, and what others
// read is guarded by stream.mu.
type low struct {
	open   *segment       // that is being made
	head   *store.Segment // of open, for others than the recorder
	chunks []*store.Chunk // of open
	news   bool           // it has what the manifest does not tell
	inits  []initFile
	waited map[string]next // the segments that come next, by representation; guarded by stream.mu
}

// next is a segment that is waited for under its name.
type next struct {
	name    string
	growing *shelf.Growing
}

// chunkTime is how long chunks are, 0 for none.
func (st *stream) chunkTime() time.Duration {
	if conf := st.server.conf(st.key.Vhost); conf.LowLatency {
		return max(conf.Chunk, leastChunk)
	}
	return 0
}

// parted takes a chunk of a segment that is not whole.
func (st *stream) parted(g *store.Segment, c *store.Chunk) {
	conf := st.server.conf(st.key.Vhost)
	st.loan.ListPart(g, c, func() { st.takePart(conf, g, c) }, func() any { return st.openHint() })
}

// takePart lists it.
func (st *stream) takePart(conf *blocks.DASHConfig, g *store.Segment, c *store.Chunk) {
	if st.open == nil || st.open.Segment != g {
		st.abandon()
		sg := &segment{Segment: g, stamped: true}
		var inits []initFile
		sg.period, inits = st.periodOf(g)
		st.mu.Lock()
		st.open, st.head, st.chunks, st.low.inits = sg, g.Head(), nil, inits
		st.mu.Unlock()
	}
	st.chunks = append(st.chunks, c)
	st.grow(conf, c)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return
	}
	st.putInits(st.low.inits)
	for _, i := range st.low.inits {
		if conf.Files {
			st.disk.Complain(st.disk.Write(i.name, i.body))
		}
	}
	st.low.inits = nil
	if st.news && len(st.index.Listed()) > 0 {
		st.offerNext(conf)
		st.list(conf)
		st.news = false
	}
}

// grow adds a chunk to the open segment, and tells those who wait for it.
func (st *stream) grow(conf *blocks.DASHConfig, c *store.Chunk) {
	sg := st.open
	had := map[*piece]int{}
	for _, p := range sg.pieces {
		had[p] = len(p.body)
	}
	st.extend(sg, c)
	for _, t := range st.tracks(sg.Run) {
		p := sg.piece(repOf(sg.Run, t))
		if p == nil || len(p.body) == had[p] {
			continue
		}
		if p.growing == nil {
			st.begin(conf, p, t)
		}
		part := p.body[len(p.body)-1]
		at, _ := partOf(c, t)
		stamp := mp4.AppendReferenceTime(nil, t, at.Time, c.Began)
		p.body = append(p.body[:len(p.body)-1], stamp, part)
		p.size += len(stamp)
		if p.growing.Add(stamp, part); p.duration > p.promised {
			p.promised, st.news = p.duration, true
		}
	}
}

// begin has a piece sent while it is made.
func (st *stream) begin(conf *blocks.DASHConfig, p *piece, t *media.Track) {
	st.news = true
	p.promised = media.Ticks(conf.Fragment, mp4.Timescale(t))
	if all := st.index.All(); len(all) > 0 && all[len(all)-1].period == st.open.period {
		if before := all[len(all)-1].piece(p.rep); before != nil {
			p.promised = before.duration
		}
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if n := st.waited[p.rep]; n.name == p.name {
		p.growing = n.growing
		delete(st.waited, p.rep)
		return
	}
	p.growing = &shelf.Growing{}
	if !st.gone {
		st.server.found.Put(st.key.Vhost, p.name, thing{stream: st, file: shelf.Open(segmentType, p.growing)})
	}
}

// opened returns the segment that was being made, if it is g, with its last chunk, and the
// initialization segments that are not on the shelf.
func (st *stream) opened(g *store.Segment) (sg *segment, fresh []initFile) {
	if st.open == nil {
		return nil, nil
	}
	if st.open.Segment != g {
		st.abandon()
		return nil, nil
	}
	if sg = st.open; len(g.Chunks) > 0 {
		st.grow(st.server.conf(st.key.Vhost), g.Chunks[len(g.Chunks)-1])
		sg.period.reaches(g)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, p := range sg.pieces {
		p.growing.End()
		p.growing, p.promised = nil, 0
	}
	fresh, st.low.inits = st.low.inits, nil
	st.open, st.chunks, st.news = nil, nil, false
	return sg, fresh
}

// abandon forgets a segment that came to nothing. Its numbers are used again.
func (st *stream) abandon() {
	if st.open == nil {
		return
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, p := range st.open.pieces {
		p.growing.End()
		st.server.found.Remove(st.key.Vhost, p.name)
		st.next[p.rep] = min(st.next[p.rep], p.number)
	}
	st.open, st.chunks = nil, nil
}

// offerNext has the segments that come next waited for. mu is held.
func (st *stream) offerNext(conf *blocks.DASHConfig) {
	if !conf.LowLatency || st.period.run.Grid { // their names tell of a time that is to come
		st.shut()
		return
	}
	if st.waited == nil {
		st.waited = map[string]next{}
	}
	wanted := map[string]bool{}
	for rep := range st.period.inits {
		wanted[rep] = true
		n := next{st.segmentName(rep, st.next[rep]), &shelf.Growing{}}
		if st.waited[rep].name != n.name {
			st.unwait(rep)
			st.waited[rep] = n
			st.server.found.Put(st.key.Vhost, n.name, thing{stream: st, file: shelf.Open(segmentType, n.growing)})
		}
	}
	for rep := range st.waited {
		if !wanted[rep] {
			st.unwait(rep)
		}
	}
}

// came gives a segment that was made in one to those who wait for it. mu is held.
func (st *stream) came(p *piece) {
	if n := st.waited[p.rep]; n.name == p.name {
		delete(st.waited, p.rep)
		n.growing.Add(p.body...)
		n.growing.End()
	}
}

// unwait tells those who wait for a segment that it does not come. mu is held.
func (st *stream) unwait(rep string) {
	n, ok := st.waited[rep]
	if !ok {
		return
	}
	delete(st.waited, rep)
	n.growing.End()
	found, vhost := &st.server.found, st.key.Vhost
	if it, ok := found.Get(vhost, n.name); ok && it.file != nil && it.file.Growing() == n.growing {
		found.Remove(vhost, n.name)
	}
}

// shut tells all who wait that there is nothing more. mu is held.
func (st *stream) shut() {
	for rep := range st.waited {
		st.unwait(rep)
	}
	if st.open == nil || !st.gone {
		return
	}
	for _, p := range st.open.pieces {
		if p.growing != nil { // else it was about to begin
			p.growing.End()
		}
		st.server.found.Remove(st.key.Vhost, p.name)
	}
}

// lower adds what low latency has to a manifest and the list of its segments. mu is held.
func (st *stream) lower(conf *blocks.DASHConfig, m *mpd.Manifest, listed []*segment, longest time.Duration) []*segment {
	chunk := max(conf.Chunk, leastChunk)
	m.Low = &mpd.Low{Target: max(conf.Latency, chunk), Least: chunk, Most: 2 * max(conf.Latency, chunk), Early: max(longest-chunk, 0)}
	m.Update = max(min(m.Update, chunk), leastUpdate)
	m.Buffer, m.Delay = min(m.Buffer, chunk), min(m.Delay, m.Low.Target) // Shaka Player goes by the second
	if st.open != nil && len(st.open.pieces) > 0 {
		listed = append(listed[:len(listed):len(listed)], st.open)
	}
	return listed
}

// begun waits until there is something of a file that grows, and reports whether there
// is; if not, it has answered.
func (s *server) begun(w http.ResponseWriter, r *http.Request, st *stream, g *shelf.Growing) bool {
	if !g.Begun() {
		more := make(chan struct{})
		cancel := g.Await(func() { close(more) })
		defer cancel()
		timer := time.NewTimer(s.wait(st))
		defer timer.Stop()
		select {
		case <-more:
		case <-timer.C:
		case <-r.Context().Done():
		}
	}
	if g.Empty() {
		http.Error(w, "the stream does not go on", http.StatusNotFound)
		return false
	}
	return true
}

func (s *server) wait(st *stream) time.Duration {
	return patient * max(s.conf(st.key.Vhost).Fragment, time.Second)
}

// later implements [service.LaterFunc] for what begun waits for.
func (s *server) later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool) {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.file == nil || it.file.Growing() == nil {
		return nil, until, false
	}
	return it.file.Growing().Await(wake), time.Now().Add(s.wait(it.stream)), true
}
