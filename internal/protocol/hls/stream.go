package hls

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	pathpkg "path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/session"
	"weir/internal/store"
)

// idleForget is how long a stream without publisher is remembered when its files
// are kept for ever (hls_dispose 0).
const idleForget = 2 * time.Minute

// gather is how often the segmenter looks at a stream: a segment is seconds long,
// and waking for each frame costs more than cutting it.
const gather = 200 * time.Millisecond

// errDispose ends the segmenter of a stream that nobody publishes any more.
var errDispose = errors.New("stream is idle")

// errMoved ends the segmenter of a stream whose configuration has HLS elsewhere,
// or not at all.
var errMoved = errors.New("hls is configured otherwise")

// stream is the HLS side of one stream, over its publications.
type stream struct {
	// Immutable.
	server  *server
	key     hub.Key
	log     *slog.Logger
	sub     *hub.Subscription
	release func() // of the hold that keeps the time line
	index   *store.Index
	ctx     context.Context
	quit    context.CancelCauseFunc

	mu        sync.Mutex
	publisher *session.Session // guarded by mu
	streamID  string

	// Owned by run.
	playlistName string // below hls_path, and below the root of HTTP
	dir          string // hls_path
}

// newStream subscribes to a stream, for good.
func (s *server) newStream(key hub.Key) *stream {
	st := &stream{server: s, key: key, log: s.env.Log.With("stream", key.String())}
	st.ctx, st.quit = context.WithCancelCause(s.ctx)
	var hs *hub.Stream
	hs, st.release = s.env.Hub.Hold(key)
	st.streamID = hs.ID
	st.sub = s.env.Hub.Subscribe(key, hub.Options{Passive: true, Gather: gather})
	st.name(s.conf(key.Vhost))
	st.index = store.NewIndex(st.recover())
	s.playlists[path{key.Vhost, st.playlistName}] = st
	return st
}

// name decides where the playlist is.
func (st *stream) name(conf *blocks.HLSConfig) {
	st.dir = conf.Path
	st.playlistName = pathpkg.Clean(store.Expand(conf.M3U8File, st.key, time.Time{}))
}

// republished forgets who the publisher was.
func (st *stream) republished() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.publisher = nil
}

// session returns who publishes, nil if that is not known.
func (st *stream) session() *session.Session {
	now := st.server.env.Desk.Publisher(st.key)
	st.mu.Lock()
	defer st.mu.Unlock()
	if now != nil {
		st.publisher = now
	}
	return st.publisher
}

// run cuts one publication after the other, until there has been none for long.
func (st *stream) run() {
	s := st.server
	defer st.release()
	defer st.sub.Close()
	defer st.quit(nil)
	seg := &store.Segmenter{Sub: st.sub, Rules: st.rules, First: st.index.Next, Done: st.done}
	for {
		ctx, cancel := context.WithCancelCause(st.ctx)
		timer := st.watch(cancel)
		err := seg.Run(ctx)
		timer.stop()
		cancel(nil)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errDispose):
			if s.dispose(st) {
				return
			}
		case errors.Is(err, errMoved):
			s.forget(st)
			st.log.Info("hls ends, it is configured otherwise now")
			s.revive(st.key)
			return
		default:
			return // the server stops; the files stay, so that the next start goes on
		}
	}
}

// watch ends a wait for the next publication when it has been too long.
func (st *stream) watch(cancel context.CancelCauseFunc) *idleTimer {
	patience := st.server.conf(st.key.Vhost).Dispose
	if patience <= 0 {
		patience = idleForget
	}
	t := &idleTimer{}
	since := time.Now()
	var tick func()
	tick = func() {
		if st.sub.Stream().Live() {
			since = time.Now()
		}
		if time.Since(since) >= patience {
			cancel(errDispose)
			return
		}
		t.start(min(patience, time.Second), tick)
	}
	t.start(min(patience, time.Second), tick)
	return t
}

// idleTimer is a timer that restarts itself until it is stopped.
type idleTimer struct {
	mu      sync.Mutex
	t       *time.Timer // guarded by mu
	stopped bool        // guarded by mu
}

func (i *idleTimer) start(d time.Duration, f func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.stopped {
		i.t = time.AfterFunc(d, f)
	}
}

func (i *idleTimer) stop() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stopped = true
	i.t.Stop()
}

// dispose forgets a stream, and its files where hls_dispose says so. It returns
// false if the stream has been published again meanwhile.
func (s *server) dispose(st *stream) bool {
	s.mu.Lock()
	if st.sub.Stream().Live() {
		s.mu.Unlock()
		return false
	}
	all := s.drop(st)
	s.mu.Unlock()
	if conf := s.conf(st.key.Vhost); conf.Dispose > 0 && conf.Files {
		st.remove(all)
		st.removeFile(st.playlistName)
	}
	st.log.Info("hls disposed")
	return true
}

// forget takes a stream off the lists. Its files stay.
func (s *server) forget(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(st)
}

// drop is forget. s.mu is held. It returns the stream's segments.
func (s *server) drop(st *stream) []*store.Segment {
	delete(s.streams, st.key)
	delete(s.playlists, path{st.key.Vhost, st.playlistName})
	all := st.index.All()
	for _, g := range all {
		delete(s.segments, path{st.key.Vhost, g.Name})
	}
	return all
}

func (st *stream) rules() store.Rules {
	c := st.server.conf(st.key.Vhost)
	return store.Rules{Fragment: c.Fragment, TDRatio: c.TDRatio, AOFRatio: c.AOFRatio, WaitKey: c.WaitKeyframe, Floor: c.TSFloor}
}

// done names a finished segment, lists it, writes it, and tells.
func (st *stream) done(g *store.Segment) {
	s := st.server
	conf := s.conf(st.key.Vhost)
	g.Name = st.segmentName(conf, g)
	g.URI = uri(conf.EntryPrefix, st.playlistName, g.Name)
	gone := st.index.Add(g, conf.Window)
	s.mu.Lock()
	s.segments[path{st.key.Vhost, g.Name}] = g
	for _, old := range gone {
		delete(s.segments, path{st.key.Vhost, old.Name})
	}
	s.mu.Unlock()
	if conf.Files {
		err := st.write(g.Name, g.TS)
		if err == nil {
			err = st.write(st.playlistName, st.playlist(""))
		}
		st.complain(err)
		if conf.Cleanup {
			st.remove(gone)
		}
	}
	if p := st.session(); p != nil {
		_, ask, _ := p.Doing()
		if ask.Key != st.key {
			return // it does something else by now
		}
		s.env.Desk.Tell(session.Event{What: session.Segmented, Session: p, Ask: ask, StreamID: st.streamID, Segment: &session.Segment{
			Duration: g.Duration, File: join(conf.Path, g.Name), URL: g.Name, Playlist: join(conf.Path, st.playlistName), PlaylistURL: st.playlistName, Seq: g.Seq}})
	}
}

// join is a path as SRS writes it: hls_path as it was configured.
func join(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

// segmentName fills the template of a segment's file.
func (st *stream) segmentName(conf *blocks.HLSConfig, g *store.Segment) string {
	name := conf.TSFile
	if conf.TSFloor {
		name = strings.ReplaceAll(name, "[timestamp]", strconv.FormatInt(g.Floor, 10))
	}
	at := g.Began
	if blocks.Root.In(st.server.env.Conf.Load()).UTCTime {
		at = at.UTC()
	}
	name = strings.NewReplacer("[seq]", strconv.FormatInt(g.Seq, 10), "[duration]", strconv.FormatInt(g.Duration.Milliseconds(), 10)).Replace(name)
	return pathpkg.Clean(store.Expand(name, st.key, at))
}

// uri is what the playlist calls a segment: its path from the playlist's folder,
// behind hls_entry_prefix. As in SRS a prefix without a slash at its end is
// followed by the playlist's folder.
func uri(prefix, playlist, name string) string {
	dir := pathpkg.Dir(playlist)
	rel, err := filepath.Rel(filepath.FromSlash(dir), filepath.FromSlash(name))
	if err != nil {
		rel = pathpkg.Base(name)
	}
	rel = filepath.ToSlash(rel)
	switch {
	case prefix == "":
		return rel
	case strings.HasSuffix(prefix, "/"):
		return prefix + rel
	}
	return prefix + "/" + pathpkg.Join(dir, rel)
}

// write puts a whole file in place below hls_path.
func (st *stream) write(name string, b []byte) error {
	root, err := os.OpenRoot(st.dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(st.dir, 0o755); err == nil {
			root, err = os.OpenRoot(st.dir)
		}
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if dir := pathpkg.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	tmp := name + ".tmp"
	if err := root.WriteFile(tmp, b, 0o644); err != nil {
		root.Remove(tmp) // half a file is of no use
		return err
	}
	return root.Rename(tmp, name)
}

func (st *stream) remove(gone []*store.Segment) {
	for _, g := range gone {
		st.removeFile(g.Name)
	}
}

func (st *stream) removeFile(name string) {
	root, err := os.OpenRoot(st.dir)
	if err != nil {
		return
	}
	defer root.Close()
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		st.log.Warn("hls file cannot be removed", "file", name, "err", err)
	}
}

// complain says, once, that files cannot be written, and when they can again.
// Viewers are served from memory all the while.
func (st *stream) complain(err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("hls files of %s cannot be written: %v", st.key, err)
	}
	if st.server.env.Notices.Set("hls "+st.key.String(), text) {
		if err != nil {
			st.log.Error("hls files cannot be written, live goes on from memory", "err", err)
		} else {
			st.log.Info("hls files are written again")
		}
	}
}
