package hls

import (
	"log/slog"
	pathpkg "path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/session"
	"weir/internal/store"
)

// stream is the HLS side of one stream, over its publications.
type stream struct {
	// Immutable.
	server   *server
	key      hub.Key
	log      *slog.Logger
	streamID string
	disk     shelf.Disk
	detach   func() // nil until it is cut here; the keeper's
	loan     shelf.Loan

	mu        sync.Mutex
	publisher *session.Session // guarded by mu
	gone      bool             // forgotten: nothing is put on the shelf any more; guarded by mu
	listing                    // of the first picture and sound
	each      []*rendition     // the tracks by themselves, if there are several of a kind; guarded by mu
	ladder    *ladder          // what lists them; guarded by mu; nil until there are several

	// Owned by the recorder.
	fmp4   bool   // segments are fragmented MP4; once so, always so
	breaks uint64 // discontinuities so far
	key128 *key   // of the newest segment
	// While a segment of another process is taken: what it is called there, and its key if
	// it is another than key128.
	hinted    *hint
	hintedKey *key
}

// listing is one playlist of a stream.
type listing struct {
	// Immutable.
	stream       *stream
	playlistName string     // below hls_path, and below the root of HTTP
	files        hub.Key    // by which its files are named
	mark         string     // what tells them from those of the first, empty there
	kind         media.Kind // of the track that it is of, if it has a mark
	id           uint8
	index        *store.Index[*segment]

	list   *list     // what is listed; guarded by stream.mu; nil until there is something
	opened           // with low latency
	beside []*beside // guarded by stream.mu
	target int       // the target duration of the newest playlist, in seconds; owned by the recorder
}

// listed returns what is listed, nil if that is nothing.
func (x *listing) listed() *list {
	x.stream.mu.Lock()
	defer x.stream.mu.Unlock()
	return x.list
}

// segment is a segment as it is listed.
type segment struct {
	*store.Segment
	name, uri string
	breaks    uint64        // discontinuities up to it
	meant     time.Duration // how long it was to last, by the configuration
	init      *beside       // nil for a transport stream
	key       *key          // nil for no encryption
	body      [][]byte
	size      int
	pictures  int
	begins    bool         // decoding can start at its beginning
	track     *media.Track // which it has by itself; nil for the first picture and sound
	gap       bool         // it has nothing
	first     int          // how many bytes its first picture needs; 0 if decoding cannot start there
	parts     []*part      // while it is new, with low latency; guarded by stream.mu
}

// tracks returns what is in the segment.
func (sg *segment) tracks() (all []*media.Track) {
	if sg.track != nil {
		return []*media.Track{sg.track}
	}
	for _, t := range []*media.Track{sg.Run.Video, sg.Run.Audio} {
		if t != nil {
			all = append(all, t)
		}
	}
	return all
}

// beside is a file that segments need: an initialization segment or a key.
type beside struct {
	name, uri string
	body      []byte
	disk      *shelf.Disk // where it is written; nil for nowhere
}

// newStream has a stream cut, for good.
func (s *server) newStream(p *hub.Publication) (*stream, bool) {
	st, ok := s.emptyStream(p.Stream().Key)
	if ok {
		st.index = store.NewIndex[*segment](st.recover(s.conf(st.key.Vhost)))
	}
	return st, ok
}

// emptyStream lists what it will be told.
func (s *server) emptyStream(key hub.Key) (*stream, bool) {
	conf := s.conf(key.Vhost)
	if !conf.Enabled {
		return nil, false
	}
	st := &stream{server: s, key: key, log: s.env.Log.With("stream", key.String())}
	st.listing = listing{stream: st, files: key, playlistName: pathpkg.Clean(store.Expand(conf.M3U8File, key, time.Time{}))}
	st.disk = shelf.Disk{Dir: conf.Path, Log: st.log, Notices: s.env.Notices, Subject: "hls files of " + key.String()}
	st.index = store.NewIndex[*segment](0)
	s.found.Put(key.Vhost, st.playlistName, thing{of: &st.listing})
	return st, true
}

// Republished has the stream cut, and forgets who the publisher was.
func (st *stream) Republished(p *hub.Publication) {
	if st.detach == nil {
		st.streamID = p.Stream().ID
		st.detach = st.server.env.Store.Attach(st.key, &store.View{Rules: st.rules, Forms: st.form, Next: st.index.Next, Done: st.done, Each: st.wantsEach, Part: st.partTime, Parted: st.parted})
	}
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

// Forget takes the stream from the shelf.
func (st *stream) Forget() {
	if st.detach != nil {
		st.detach()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	st.clear()
	for _, rd := range st.each {
		rd.clear()
	}
	st.server.found.Remove(st.key.Vhost, st.allName())
}

// clear takes a listing from the shelf. mu is held.
func (x *listing) clear() {
	found, vhost := &x.stream.server.found, x.stream.key.Vhost
	found.Remove(vhost, x.playlistName, x.iframesName())
	for _, g := range x.index.All() {
		found.Remove(vhost, g.name)
	}
	x.clearParts()
	for _, b := range x.beside {
		found.Remove(vhost, b.name)
	}
}

// Clean removes the files of a stream that was forgotten, if hls_dispose says so.
func (st *stream) Clean() {
	if conf := st.server.conf(st.key.Vhost); conf.Dispose > 0 {
		st.listing.clean(conf)
		st.mu.Lock()
		each := st.each
		st.mu.Unlock()
		for _, rd := range each {
			rd.clean(conf)
		}
		if conf.Files && len(each) > 0 {
			st.disk.Remove(st.allName())
		}
	}
	st.log.Info("hls disposed")
}

// clean removes the files of a listing.
func (x *listing) clean(conf *blocks.HLSConfig) {
	st := x.stream
	st.mu.Lock()
	beside := x.beside
	st.mu.Unlock()
	st.remove(conf.Files, x.index.All(), beside)
	if conf.Files {
		st.disk.Remove(x.playlistName)
		if l := x.listed(); l != nil && l.iframes != nil {
			st.disk.Remove(x.iframesName())
		}
	}
}

// iframesName is where the first pictures of its segments are listed.
func (x *listing) iframesName() string { return marked(x.playlistName, ".iframes") }

// remove removes files that were written.
func (st *stream) remove(segments bool, gone []*segment, beside []*beside) {
	for _, g := range gone {
		if segments && !g.gap {
			st.disk.Remove(g.name)
		}
	}
	for _, b := range beside {
		if b.disk != nil {
			b.disk.Remove(b.name)
		}
	}
}

func (st *stream) rules() store.Rules {
	c := st.server.conf(st.key.Vhost)
	return store.Rules{Fragment: c.Fragment, TDRatio: c.TDRatio, AOFRatio: c.AOFRatio, WaitKey: c.WaitKeyframe, Floor: c.TSFloor, Grid: c.Deterministic}
}

// form chooses what segments are made of: what hls_use_fmp4 says, and fragmented
// MP4 where a transport stream cannot carry what MP4 can. It stays with
// fragmented MP4 once it has begun, since a playlist cannot go back.
func (st *stream) form(r *store.Run) store.Forms {
	only := func(t bool) bool { return t && r.Init != nil }
	each := store.Forms(0)
	if st.wantsEach() {
		each = store.Each
		st.fmp4 = st.fmp4 || r.Several() && slices.ContainsFunc(r.Tracks, func(t *media.Track) bool { return !mpegts.Supported(t) })
	}
	st.fmp4 = st.fmp4 || only(st.server.conf(st.key.Vhost).UseFMP4) ||
		only(r.Video != nil && !inTS(r.Video)) || only(r.Audio != nil && !inTS(r.Audio))
	if st.fmp4 {
		return store.MP4 | each
	}
	return store.TS | each
}

// inTS reports whether players of HLS take a track in a transport stream: of Opus there
// they know nothing.
func inTS(t *media.Track) bool { return mpegts.Supported(t) && t.Codec != media.Opus }

// done names a finished segment, lists it, writes it, and tells.
func (st *stream) done(g *store.Segment) {
	var sg *segment
	conf := st.server.conf(st.key.Vhost)
	st.loan.List(g, func() bool {
		sg = st.take(conf, g)
		return sg != nil
	}, func() any { return st.hint(sg) })
	if sg != nil {
		st.tell(conf, sg)
	}
}

// take names a finished segment, lists it and writes it. It returns nil if that cannot
// be, or the stream was forgotten.
func (st *stream) take(conf *blocks.HLSConfig, g *store.Segment) *segment {
	sg, fresh, err := st.dress(conf, g)
	if err != nil {
		st.log.Error("hls segment is not made", "err", err)
		return nil
	}
	if !st.finish(conf, &st.listing, sg, fresh) {
		return nil
	}
	st.eachDone(conf, sg)
	return sg
}

// tell tells callbacks of a segment.
func (st *stream) tell(conf *blocks.HLSConfig, sg *segment) {
	s, g := st.server, sg.Segment
	p := st.session()
	if p == nil {
		return
	}
	_, ask, _ := p.Doing()
	if ask.Key != st.key {
		return // it does something else by now
	}
	url := sg.name
	if service.Whole(sg.uri) { // behind an hls_entry_prefix of a CDN
		url = sg.uri
	}
	s.env.Desk.Tell(session.Event{What: session.Segmented, Session: p, Ask: ask, StreamID: st.streamID, Segment: &session.Segment{
		Duration: g.Duration, File: join(conf.Path, sg.name), URL: url, URI: sg.uri, Playlist: join(conf.Path, st.playlistName), PlaylistURL: st.playlistName, Seq: g.Seq}})
}

// finish lists a segment and writes it; false says that the stream was forgotten.
func (st *stream) finish(conf *blocks.HLSConfig, x *listing, sg *segment, fresh []*beside) bool {
	text, gone, idle := x.add(conf, sg, fresh)
	if text == nil {
		return false
	}
	x.save(conf, sg, fresh, text)
	if conf.Cleanup {
		// A template without [seq] gives each segment the name of the one before.
		gone = slices.DeleteFunc(slices.Clone(gone), func(old *segment) bool { return old.name == sg.name })
		st.remove(conf.Files, gone, idle)
	}
	return true
}

// dress gives a segment its name, its bytes, and what it needs beside it; fresh is
// what of that is new.
func (st *stream) dress(conf *blocks.HLSConfig, g *store.Segment) (sg *segment, fresh []*beside, err error) {
	if g.Discontinuity {
		st.breaks++
	}
	sg = &segment{Segment: g, breaks: st.breaks, meant: st.rules().Target(), name: st.segmentName(conf, g, g.Chunks[0].TS == nil), begins: g.Key, pictures: g.Pictures()}
	sg.uri = uri(conf.EntryPrefix, st.playlistName, sg.name)
	sg.body = g.Bytes(func(c *store.Chunk) []byte { return c.TS })
	if len(sg.body) == 0 {
		sg.body = g.Bytes(func(c *store.Chunk) []byte { return c.MP4 })
		var b *beside
		if sg.init, b = st.initOf(conf, g, g.Run.Init); b != nil {
			fresh = append(fresh, b)
		}
	}
	if conf.Keys {
		k, b, err := st.keyFor(conf, g)
		if err != nil {
			return nil, nil, err
		}
		if b {
			fresh = append(fresh, k.beside)
		}
		sg.key, sg.body = k, [][]byte{k.encrypt(sg.body)}
	}
	for _, b := range sg.body {
		sg.size += len(b)
	}
	if c := g.Chunks[0]; g.Key && g.Run.Video != nil {
		if sg.first = c.TSKey; sg.init != nil {
			sg.first = c.Video.Key // the picture's bytes are the first
		}
	}
	return sg, fresh, nil
}

// add lists a segment and puts it on the shelf. It returns the playlist, nil if
// the stream was forgotten, and what nobody needs any more.
func (x *listing) add(conf *blocks.HLSConfig, sg *segment, fresh []*beside) (text []byte, gone []*segment, idle []*beside) {
	st := x.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, nil, nil
	}
	if conf.Deterministic {
		gone = x.fill(conf, sg.Segment)
	}
	gone = append(gone, x.index.Add(sg, window(conf))...)
	x.beside = append(x.beside, fresh...)
	idle = x.unneeded()
	x.closeOpen(conf, sg)
	x.list = x.render(conf)
	x.tell()
	found, vhost := &st.server.found, st.key.Vhost
	for _, b := range fresh {
		if b.uri != "" {
			found.Put(vhost, b.name, thing{file: shelf.Text(mime(b.name), shelf.CacheManifest, b.body), key: st.key})
		}
	}
	if x.list.iframes != nil {
		found.Put(vhost, x.iframesName(), thing{of: x, iframes: true})
	} else {
		found.Remove(vhost, x.iframesName())
	}
	if !sg.gap {
		found.Put(vhost, sg.name, thing{file: sg.file(conf), key: st.key})
	}
	x.takeOff(gone, sg.name)
	for _, old := range idle {
		found.Remove(vhost, old.name)
	}
	return x.list.text, gone, idle
}

// takeOff takes segments from the shelf; the one of a name that is used again stays. mu is
// held.
func (x *listing) takeOff(gone []*segment, again string) {
	for _, old := range gone {
		x.removeParts(old)
		if old.name != again && !old.gap { // a template without [seq]
			x.stream.server.found.Remove(x.stream.key.Vhost, old.name)
		}
	}
}

// unneeded takes out what no segment needs any more. mu is held.
func (x *listing) unneeded() (idle []*beside) {
	needed := map[*beside]bool{}
	for _, g := range x.index.All() {
		needed[g.init] = true
		if g.key != nil {
			needed[g.key.beside] = true
		}
	}
	var kept []*beside
	for _, b := range x.beside {
		if needed[b] {
			kept = append(kept, b)
		} else {
			idle = append(idle, b)
		}
	}
	x.beside = kept
	return idle
}

// file is the segment for those who ask for it: it may be kept as long as it may
// be listed, and as long again.
func (sg *segment) file(conf *blocks.HLSConfig) *shelf.File {
	cache := shelf.CacheFor(2 * conf.Window)
	if conf.Cacheable {
		cache = "public, " + cache
	}
	tag := strconv.FormatInt(sg.Began.UnixNano(), 36) + "-" + strconv.FormatInt(sg.Seq, 36) + "-" + strconv.Itoa(sg.size)
	return shelf.New(mime(sg.name), cache, tag, sg.body...)
}

// mime returns the type of a file by its name, as SRS does.
func mime(name string) string {
	switch strings.ToLower(pathpkg.Ext(name)) {
	case ".ts":
		return "video/MP2T"
	case ".m4s":
		return "video/iso.segment"
	case ".mp4":
		return "video/mp4"
	}
	return "application/octet-stream"
}

// join is a path as SRS writes it: hls_path as it was configured.
func join(dir, name string) string { return strings.TrimSuffix(dir, "/") + "/" + name }

// segmentName fills the template of a segment's file.
func (x *listing) segmentName(conf *blocks.HLSConfig, g *store.Segment, mp4 bool) string {
	name := conf.TSFile
	if mp4 {
		name = conf.FMP4File
	}
	if conf.TSFloor {
		name = strings.ReplaceAll(name, "[timestamp]", strconv.FormatInt(g.Floor, 10))
	}
	at := g.Began
	if blocks.Root.In(x.stream.server.env.Conf.Load()).UTCTime {
		at = at.UTC()
	}
	return x.own(name, numbered(name, x.files, g, at))
}

// own marks a name that was made of a template which tells no streams apart.
func (x *listing) own(template, name string) string {
	if x.mark == "" || strings.Contains(template, "[stream]") {
		return name
	}
	return marked(name, x.mark)
}

// marked puts a mark before the extension of a name.
func marked(name, mark string) string {
	ext := pathpkg.Ext(name)
	return strings.TrimSuffix(name, ext) + mark + ext
}

// numbered fills a template that knows of the segment it is for.
func numbered(name string, key hub.Key, g *store.Segment, at time.Time) string {
	name = strings.NewReplacer("[seq]", strconv.FormatInt(g.Seq, 10), "[duration]", strconv.FormatInt(g.Duration.Milliseconds(), 10)).Replace(name)
	return pathpkg.Clean(store.Expand(name, key, at))
}

// window says what is listed: as in SRS hls_window and the segment that reaches over
// its beginning, so that players have no less than they were promised.
func window(conf *blocks.HLSConfig) store.Window {
	return store.Window{Duration: conf.Window, Over: true}
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
		return shelf.Escape(rel)
	case strings.HasSuffix(prefix, "/"):
		return prefix + shelf.Escape(rel)
	}
	return prefix + "/" + shelf.Escape(pathpkg.Join(dir, rel))
}
