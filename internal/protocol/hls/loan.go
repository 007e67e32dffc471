package hls

import (
	"crypto/aes"

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
	h := hint{Breaks: sg.breaks, Target: st.target, FMP4: sg.init != nil}
	st.mu.Lock()
	defer st.mu.Unlock()
	add := func(x *listing) {
		for _, b := range x.beside {
			if st.key128 == nil || b != st.key128.beside {
				h.Besides = append(h.Besides, hintFile{x.mark, b.name, b.uri, b.body})
			}
		}
	}
	add(&st.listing)
	for _, rd := range st.each {
		add(&rd.listing)
	}
	if k := sg.key; k != nil {
		h.Key = &hintKey{hintFile{"", k.name, k.beside.uri, k.body}, k.url, k.iv}
	}
	return h
}

// Lend implements shelf.Kept.
func (st *stream) Lend(send func(piece []byte)) bool {
	return shelf.LendAll(&st.loan, st.index, st.hint, send)
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
		conf := *st.server.conf(st.key.Vhost)
		conf.Files, conf.Cleanup = false, false
		conf.Keys = h.Key != nil
		st.take(&conf, g)
		return nil
	})
}
