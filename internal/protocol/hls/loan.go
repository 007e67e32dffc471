package hls

import (
	"crypto/aes"
	"slices"

	"weir/internal/config/blocks"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// hint is what another process must know of a segment that it lists as we do, besides
// what is in it.
type hint struct {
	Breaks uint64
	Target int
	FMP4   bool
	// Besides are the initialization segments that there are, of all listings.
	Besides []hintFile
	Key     *hintKey
	// Parted says that its chunks are listed as parts.
	Parted bool
}

// hintFile is a file beside segments, of the listing with a mark.
type hintFile struct {
	Mark, Name, URI string
	Body            []byte
}

type hintKey struct {
	File hintFile
	URL  string
	IV   [16]byte
}

// hint returns that of a segment of the first listing.
func (st *stream) hint(sg *segment) hint {
	st.mu.Lock()
	defer st.mu.Unlock()
	h := hint{Breaks: sg.breaks, Target: st.target, FMP4: sg.init != nil, Parted: sg.parts != nil, Besides: st.besides()}
	if k := sg.key; k != nil {
		h.Key = &hintKey{hintFile{"", k.name, k.beside.uri, k.body}, k.url, k.iv}
	}
	return h
}

// openHint returns that of the parts of one that is not whole yet.
func (st *stream) openHint() hint {
	st.mu.Lock()
	defer st.mu.Unlock()
	return hint{Target: st.target, Besides: st.besides()}
}

// besides lists the initialization segments that there are. mu is held.
func (st *stream) besides() (all []hintFile) {
	add := func(x *listing) {
		for _, b := range x.beside {
			if st.key128 == nil || b != st.key128.beside {
				all = append(all, hintFile{x.mark, b.name, b.uri, b.body})
			}
		}
	}
	add(&st.listing)
	for _, rd := range st.each {
		add(&rd.listing)
	}
	return all
}

// Lend implements shelf.Kept.
func (st *stream) Lend(send func(piece []byte)) bool {
	return st.loan.Lend(send, func(yield func(*store.Segment, any)) {
		for _, sg := range st.index.All() {
			yield(sg.Whole(), st.hint(sg))
		}
		st.mu.Lock()
		o := st.open
		var chunks []*store.Chunk
		if o != nil {
			chunks = slices.Clone(o.chunks)
		}
		st.mu.Unlock()
		if len(chunks) > 0 {
			st.loan.LendOpen(o.head, chunks, st.openHint())
		}
	})
}

// Keep implements shelf.Kept.
func (st *stream) Keep() { st.loan.Keep() }

// Take implements shelf.Kept: it lists a segment under the names that it has at the
// other process, which writes the files and tells the callbacks.
func (st *stream) Take(piece []byte) error {
	return shelf.TakeInto(&st.loan, st.index, piece, func(g *store.Segment, h *hint) error {
		if st.breaks = h.Breaks; g.Discontinuity {
			st.breaks-- // it is counted again
		}
		st.target, st.fmp4 = max(st.target, h.Target), st.fmp4 || h.FMP4
		st.hinted = h
		defer func() { st.hinted = nil }()
		if h.Key != nil && (st.key128 == nil || st.key128.name != h.Key.File.Name) {
			k := &key{beside: &beside{name: h.Key.File.Name, uri: h.Key.File.URI, body: h.Key.File.Body}, url: h.Key.URL, iv: h.Key.IV}
			var err error
			if k.block, err = aes.NewCipher(k.body); err != nil {
				return err
			}
			st.hintedKey = k
			defer func() { st.hintedKey = nil }()
		}
		conf := st.borrowed()
		conf.Keys = h.Key != nil
		st.match(conf, g, h.Parted)
		st.take(conf, g)
		return nil
	}, st.takeParts)
}

// borrowed is the configuration for what another process writes.
func (st *stream) borrowed() *blocks.HLSConfig {
	conf := *st.server.conf(st.key.Vhost)
	conf.Files, conf.Cleanup = false, false
	return &conf
}

// takeParts lists parts of a segment of another process that is not whole yet.
func (st *stream) takeParts(g *store.Segment, h *hint) error {
	conf := st.borrowed()
	if partTime(conf) == 0 {
		return nil
	}
	st.target = max(st.target, h.Target)
	st.hinted = h
	defer func() { st.hinted = nil }()
	chunks := g.Chunks
	st.mu.Lock()
	if o := st.open; o != nil && o.seq == g.Seq { // the same, told of by piece
		g = o.g
	}
	st.mu.Unlock()
	for _, c := range chunks {
		st.takePart(conf, g, c)
	}
	return nil
}

// match has a whole segment be the one whose parts are listed. Of one that was whole
// before we knew of it the parts are its chunks; the last is listed with it.
func (st *stream) match(conf *blocks.HLSConfig, g *store.Segment, parted bool) {
	if !parted || partTime(conf) == 0 {
		return
	}
	st.mu.Lock()
	o := st.open
	all := []*listing{&st.listing}
	for _, rd := range st.each {
		all = append(all, &rd.listing)
	}
	for _, x := range all {
		if x.open != nil && x.open.seq == g.Seq {
			x.open.g = g
		}
	}
	st.mu.Unlock()
	if o == nil || o.seq != g.Seq {
		for _, c := range g.Chunks[:len(g.Chunks)-1] {
			st.takePart(conf, g, c)
		}
	}
}
