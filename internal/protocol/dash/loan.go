package dash

import (
	"slices"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// hint is what another process must know of a segment that it lists as we do, besides
// what is in it.
type hint struct {
	Begins  time.Time
	Period  int64 // number
	ID      string
	Start   time.Duration // of the period
	Offset  time.Duration
	Inits   map[string]string
	Numbers map[string]int64 // of the pieces, by representation
	Files   []hintFile       // the initialization segments that there are
	Stamped bool             // it was sent while it was made
}

type hintFile struct {
	Rep, Name string
	Body      []byte
}

// hint returns that of a segment.
func (st *stream) hint(sg *segment) hint {
	h := hint{Stamped: sg.stamped, Begins: st.begins, Period: st.periods, ID: sg.period.id, Start: sg.period.start, Offset: sg.period.offset, Inits: sg.period.inits, Numbers: map[string]int64{}}
	for _, p := range sg.pieces {
		h.Numbers[p.rep] = p.number
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, i := range st.inits {
		h.Files = append(h.Files, hintFile{i.rep, i.name, i.body})
	}
	return h
}

// Lend implements shelf.Kept.
func (st *stream) Lend(send func(piece []byte)) bool {
	return st.loan.Lend(send, func(yield func(*store.Segment, any)) {
		for _, sg := range st.index.All() {
			yield(sg.Whole(), st.hint(sg))
		}
		if st.open != nil && len(st.chunks) > 0 {
			st.loan.LendOpen(st.head, slices.Clone(st.chunks), st.openHint())
		}
	})
}

// openHint returns that of the segment that is being made.
func (st *stream) openHint() hint { return st.hint(st.open) }

// Keep implements shelf.Kept.
func (st *stream) Keep() { st.loan.Keep() }

// Take implements shelf.Kept: it lists a segment under the names that it has at the
// other process, which writes the files.
func (st *stream) Take(piece []byte) error {
	return shelf.TakeInto(&st.loan, st.index, piece, func(g *store.Segment, h *hint) error {
		conf := st.follow(g, h)
		if h.Stamped && conf.LowLatency {
			if st.open == nil || st.open.Seq != g.Seq { // it was whole before we knew of it
				for _, c := range g.Chunks[:len(g.Chunks)-1] {
					st.takePart(conf, g, c)
				}
			} else {
				st.open.Segment = g
			}
		}
		st.take(conf, g, st.fresh(h.Files))
		return nil
	}, func(g *store.Segment, h *hint) error {
		conf := st.follow(g, h)
		if !conf.LowLatency {
			return nil
		}
		chunks := g.Chunks
		if st.open != nil && st.open.Seq == g.Seq { // the same, told of by piece
			g = st.open.Segment
		}
		fresh := st.fresh(h.Files)
		st.mu.Lock()
		st.putInits(fresh)
		st.mu.Unlock()
		for _, c := range chunks {
			st.takePart(conf, g, c)
		}
		return nil
	})
}

// follow has what is counted here be as at the other process, where it tells of a segment,
// and returns the configuration for what that writes.
func (st *stream) follow(g *store.Segment, h *hint) *blocks.DASHConfig {
	st.begins, st.periods = h.Begins, h.Period
	if p := st.period; p == nil || p.run.ID != g.Run.ID {
		st.period = &period{id: h.ID, start: h.Start, offset: h.Offset, run: g.Run, inits: h.Inits}
	}
	for rep, n := range h.Numbers {
		if st.open == nil || st.open.Seq != g.Seq || st.open.piece(rep) == nil { // else it is counted
			st.next[rep] = n
		}
	}
	conf := *st.server.conf(st.key.Vhost)
	conf.Files = false
	return &conf
}

// fresh returns the initialization segments that are not known.
func (st *stream) fresh(files []hintFile) (fresh []initFile) {
	st.mu.Lock()
	defer st.mu.Unlock()
	known := map[string]bool{}
	for _, i := range st.inits {
		known[i.name] = true
	}
	for _, f := range files {
		if !known[f.Name] {
			fresh = append(fresh, initFile{f.Rep, f.Name, f.Body})
		}
	}
	return fresh
}
