package hds

import (
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/hds"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// stream is the HDS side of one stream, over its publications.
type stream struct {
	// Immutable.
	server *server
	key    hub.Key
	log    *slog.Logger
	index  *store.Index[*fragment]
	base   string // app/stream: what all names begin with, below hds_path
	disk   shelf.Disk
	detach func() // nil until it is cut here; the keeper's
	loan   shelf.Loan

	mu                  sync.Mutex
	gone                bool        // forgotten: nothing is put on the shelf any more; guarded by mu
	manifest, bootstrap *shelf.File // guarded by mu; nil until there is a fragment

	written bool // the manifest is on disk; owned by the recorder
}

// fragment is a segment as it is listed.
type fragment struct {
	*store.Segment
	name string
	body [][]byte
}

// newStream has a stream cut, for good.
func (s *server) newStream(p *hub.Publication) (*stream, bool) {
	st, ok := s.emptyStream(p.Stream().Key)
	if ok && s.conf(st.key.Vhost).Files {
		st.index.Restart(st.recover())
	}
	return st, ok
}

// emptyStream lists what it will be told.
func (s *server) emptyStream(key hub.Key) (*stream, bool) {
	conf := s.conf(key.Vhost)
	if !conf.Enabled {
		return nil, false
	}
	st := &stream{server: s, key: key, log: s.env.Log.With("stream", key.String()), base: store.Expand("[app]/[stream]", key, time.Time{})}
	st.disk = shelf.Disk{Dir: conf.Path, Log: st.log, Notices: s.env.Notices, Subject: "hds files of " + key.String()}
	st.index = store.NewIndex[*fragment](1)
	s.found.Put(key.Vhost, st.base+".f4m", thing{stream: st, entry: true})
	s.found.Put(key.Vhost, st.base+".abst", thing{stream: st})
	return st, true
}

// Republished implements shelf.Kept: it has the stream cut.
func (st *stream) Republished(*hub.Publication) {
	if st.detach == nil {
		st.detach = st.server.env.Store.Attach(st.key, &store.View{Rules: st.rules, Forms: func(*store.Run) store.Forms { return store.FLV }, Next: st.index.Next, Done: st.done})
	}
}

// Lend implements shelf.Kept.
func (st *stream) Lend(send func(piece []byte)) bool {
	return shelf.LendAll(&st.loan, st.index, func(*fragment) int { return 0 }, send)
}

// Keep implements shelf.Kept.
func (st *stream) Keep() { st.loan.Keep() }

// Take implements shelf.Kept: it lists a fragment of another process, which writes it.
func (st *stream) Take(piece []byte) error {
	return shelf.TakeInto(&st.loan, st.index, piece, func(g *store.Segment, _ *int) error {
		st.take(g, false)
		return nil
	}, nil)
}

// Forget takes the stream from the shelf.
func (st *stream) Forget() {
	if st.detach != nil {
		st.detach()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	names := []string{st.base + ".f4m", st.base + ".abst"}
	for _, f := range st.index.All() {
		names = append(names, f.name)
	}
	st.server.found.Remove(st.key.Vhost, names...)
}

// Clean implements shelf.Kept: as in SRS the last files stay.
func (st *stream) Clean() { st.log.Info("hds disposed") }

func (st *stream) rules() store.Rules {
	c := st.server.conf(st.key.Vhost)
	return store.Rules{Fragment: c.Fragment, TDRatio: 1, AOFRatio: 2.1, SoundRatio: 1, WaitKey: true}
}

// done puts a box around a finished segment, lists it and writes it.
func (st *stream) done(g *store.Segment) {
	st.loan.List(g, func() bool { return st.take(g, st.server.conf(st.key.Vhost).Files) }, func() any { return 0 })
}

// take is done; it returns false if the stream was forgotten.
func (st *stream) take(g *store.Segment, files bool) bool {
	conf := st.server.conf(st.key.Vhost)
	f := &fragment{Segment: g, name: fmt.Sprintf("%sSeg1-Frag%d", st.base, g.Seq), body: box(g)}
	st.mu.Lock()
	if st.gone {
		st.mu.Unlock()
		return false
	}
	gone := st.index.Add(f, store.Window{Duration: conf.Window})
	if st.manifest == nil {
		st.manifest = manifest(st.key, f)
	}
	boot := bootstrap(st.index.Listed()).Append(nil)
	st.bootstrap = shelf.Text(hds.TypeBootstrap, shelf.CacheManifest, boot)
	tag := strconv.FormatInt(g.Began.UnixNano(), 36) + "-" + strconv.FormatInt(g.Seq, 36)
	found, vhost := &st.server.found, st.key.Vhost
	found.Put(vhost, f.name, thing{stream: st, file: shelf.New(hds.TypeFragment, shelf.CacheFor(2*conf.Window), tag, f.body...)})
	var names []string
	for _, old := range gone {
		names = append(names, old.name)
	}
	found.Remove(vhost, names...)
	st.mu.Unlock()
	if files {
		st.disk.Complain(st.save(f, boot))
		st.disk.Remove(names...)
	}
	return true
}

// box returns a fragment: the box mdat around what a decoder must know, and tags.
func box(g *store.Segment) [][]byte {
	tags := g.Bytes(func(c *store.Chunk) []byte { return c.FLV })
	head := flv.AppendLayout(nil, g.Run.Layout, flv.Timestamp(g.Start))
	size := len(head)
	for _, b := range tags {
		size += len(b)
	}
	return append([][]byte{append(hds.AppendFragment(nil, size), head...)}, tags...)
}

// manifest is the manifest of a stream. It stays as it is, so the bitrate that it tells is
// that of the first fragment.
func manifest(key hub.Key, first *fragment) *shelf.File {
	size := 0
	for _, b := range first.body {
		size += len(b)
	}
	kbps := size * 8 / int(max(first.Duration.Milliseconds(), 1))
	return shelf.Text(hds.TypeManifest, shelf.CacheManifest, hds.AppendManifest(nil, key.Stream, shelf.Escape(key.Stream), kbps))
}

// bootstrap lists fragments.
func bootstrap(listed []*fragment) *hds.Bootstrap {
	b := &hds.Bootstrap{Version: uint32(listed[len(listed)-1].Seq - 1)}
	for _, f := range listed {
		b.Fragments = append(b.Fragments, hds.Fragment{Number: uint32(f.Seq), Time: uint64(media.Milliseconds(f.Start)), Duration: uint32(media.Milliseconds(f.Duration))})
	}
	return b
}

// save writes a fragment's files: the manifest once, the fragment, the bootstrap.
func (st *stream) save(f *fragment, boot []byte) error {
	if !st.written {
		if err := st.disk.Write(st.base+".f4m", st.manifest.Body...); err != nil {
			return err
		}
		st.written = true
	}
	if err := st.disk.Write(f.name, f.body...); err != nil {
		return err
	}
	return st.disk.Write(st.base+".abst", boot)
}

// recover returns the number of the first fragment: the one after those that the
// bootstrap on disk lists, so that players that stayed over a restart go on.
func (st *stream) recover() int64 {
	b, err := st.disk.Read(st.base + ".abst")
	if err != nil {
		return 1
	}
	old, err := hds.Parse(b)
	if err != nil || len(old.Fragments) == 0 {
		st.log.Warn("hds bootstrap on disk is not read, fragments start at 1", "file", st.base+".abst", "err", err)
		return 1
	}
	next := int64(old.Fragments[len(old.Fragments)-1].Number) + 1
	st.log.Info(fmt.Sprintf("hds goes on at fragment %d", next))
	return next
}
