package dash

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mpd"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// stream is the DASH side of one stream, over its publications.
type stream struct {
	// Immutable.
	server  *server
	key     hub.Key
	log     *slog.Logger
	index   *store.Index[*segment]
	mpdName string // below dash_path, and below the root of HTTP
	dir     string // of the segments
	disk    shelf.Disk
	detach  func() // nil until it is cut here; the keeper's
	loan    shelf.Loan

	mu     sync.Mutex
	gone   bool        // forgotten: nothing is put on the shelf any more; guarded by mu
	text   *shelf.File // the manifest; guarded by mu; nil until there is a segment
	inits  []initFile  // guarded by mu
	begins time.Time   // what all times count from; set once, by the recorder

	// Owned by the recorder.
	period  *period
	periods int64
	used    map[string]bool  // IDs of periods, by the encoder's time
	next    map[string]int64 // the number of the next segment of a representation
	low
}

// period is a run, as DASH calls it.
type period struct {
	id     string
	start  time.Duration     // from the stream's begins
	offset time.Duration     // what is written there: a time on the stream's line, or the encoder's
	run    *store.Run        // the newest
	inits  map[string]string // names of the initialization segments, by representation
	end    time.Duration     // of the newest segment, from the stream's begins
}

// reaches notes where a segment ends, or so far has come.
func (p *period) reaches(g *store.Segment) {
	p.end = p.start + ends(g) + g.Run.Shift - p.offset
}

// segment is a segment as it is listed.
type segment struct {
	*store.Segment
	period  *period
	pieces  []*piece
	stamped bool // its chunks are listed as they are made, each with its time
}

// piece returns what the segment has of a representation, nil if that is nothing.
func (sg *segment) piece(rep string) *piece {
	for _, p := range sg.pieces {
		if p.rep == rep {
			return p
		}
	}
	return nil
}

// piece is one track's part of a segment, as a file.
type piece struct {
	rep      string
	name     string
	number   int64
	time     int64 // in ticks
	duration int64
	body     [][]byte
	size     int
	frames   int
	growing  *shelf.Growing // while it is made, with low latency; nil else
	promised int64          // how long it is said to become then
}

// initFile is an initialization segment. It stays as long as the stream.
type initFile struct {
	rep  string
	name string
	body []byte
}

// words are what SRS calls the kinds; IDs of representations, too.
var words = map[media.Kind]string{media.Video: "video", media.Audio: "audio"}

// kinds are in the order of the manifest, which is SRS's.
var kinds = []media.Kind{media.Audio, media.Video}

// repOf names the representation that a track of a run is: SRS's word for the first of a
// kind, and the track's number behind that for others.
func repOf(r *store.Run, t *media.Track) string {
	if t == r.Video || t == r.Audio {
		return words[t.Kind]
	}
	return words[t.Kind] + strconv.Itoa(int(t.ID))
}

// tracks are those of a run that are listed.
func (st *stream) tracks(r *store.Run) (all []*media.Track) {
	each := st.wantsEach()
	for _, k := range kinds {
		for _, t := range r.Tracks {
			if t.Kind == k && (each || t == r.Video || t == r.Audio) {
				all = append(all, t)
			}
		}
	}
	return all
}

// wantsEach says whether others than the first tracks are listed.
func (st *stream) wantsEach() bool { return st.server.conf(st.key.Vhost).Tracks == "all" }

// newStream has a stream cut, for good.
func (s *server) newStream(p *hub.Publication) (*stream, bool) {
	st, ok := s.emptyStream(p.Stream().Key)
	if conf := s.conf(p.Stream().Key.Vhost); ok && conf.Files && !conf.Deterministic {
		st.recover()
	}
	return st, ok
}

// emptyStream lists what it will be told.
func (s *server) emptyStream(key hub.Key) (*stream, bool) {
	conf := s.conf(key.Vhost)
	if !conf.Enabled {
		return nil, false
	}
	st := &stream{server: s, key: key, log: s.env.Log.With("stream", key.String()), next: map[string]int64{},
		mpdName: pathpkg.Clean(store.Expand(conf.MPDFile, key, time.Time{}))}
	st.dir = pathpkg.Join(pathpkg.Dir(st.mpdName), pathpkg.Base(key.Stream))
	st.disk = shelf.Disk{Dir: conf.Path, Log: st.log, Notices: s.env.Notices, Subject: "dash files of " + key.String()}
	st.index = store.NewIndex[*segment](0)
	s.found.Put(key.Vhost, st.mpdName, thing{stream: st})
	s.found.Put(key.Vhost, st.clock(), thing{stream: st, clock: true})
	return st, true
}

// clock is where players ask what time it is.
func (st *stream) clock() string { return st.dir + "/time" }

// Republished implements shelf.Kept: it has the stream cut.
func (st *stream) Republished(*hub.Publication) {
	if st.detach == nil {
		st.detach = st.server.env.Store.Attach(st.key, &store.View{Rules: st.rules, Forms: st.form, Next: st.index.Next, Done: st.done, Each: st.wantsEach, Part: st.chunkTime, Parted: st.parted})
	}
}

// Forget takes the stream from the shelf.
func (st *stream) Forget() {
	if st.detach != nil {
		st.detach()
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	st.gone = true
	st.shut()
	st.server.found.Remove(st.key.Vhost, append(st.names(st.index.All(), true), st.mpdName, st.clock())...)
}

// Clean removes the files of a stream that was forgotten, if dash_dispose says so.
func (st *stream) Clean() {
	if conf := st.server.conf(st.key.Vhost); conf.Dispose > 0 && conf.Files {
		st.mu.Lock()
		names := st.names(st.index.All(), true)
		st.mu.Unlock()
		st.disk.Remove(append(names, st.mpdName)...)
	}
	st.log.Info("dash disposed")
}

// names lists the files of segments, and of initialization segments too. mu is
// held.
func (st *stream) names(segments []*segment, inits bool) (names []string) {
	for _, g := range segments {
		for _, p := range g.pieces {
			names = append(names, p.name)
		}
	}
	if inits {
		for _, i := range st.inits {
			names = append(names, i.name)
		}
	}
	return names
}

func (st *stream) rules() store.Rules {
	c := st.server.conf(st.key.Vhost)
	return store.Rules{Fragment: c.Fragment, TDRatio: 1, AOFRatio: 2.1, SoundRatio: 1, WaitKey: true, Grid: c.Deterministic}
}

func (st *stream) form(*store.Run) store.Forms {
	if st.wantsEach() {
		return store.MP4 | store.Each
	}
	return store.MP4
}

// done numbers a finished segment, lists it and writes it.
func (st *stream) done(g *store.Segment) {
	var sg *segment
	st.loan.List(g, func() bool {
		sg = st.take(st.server.conf(st.key.Vhost), g, nil)
		return sg != nil
	}, func() any { return st.hint(sg) })
}

// take numbers a segment, lists it and writes it, with initialization segments that are
// new beside those that it makes. It returns nil if it is not listed.
func (st *stream) take(conf *blocks.DASHConfig, g *store.Segment, more []initFile) *segment {
	sg, fresh := st.opened(g)
	fresh = append(fresh, more...)
	if sg == nil {
		sg = &segment{Segment: g}
		var own []initFile
		sg.period, own = st.periodOf(g)
		fresh = append(fresh, own...)
		for _, c := range g.Chunks {
			st.extend(sg, c)
		}
	}
	if len(sg.pieces) == 0 {
		return nil // of codecs that DASH does not carry
	}
	text, gone := st.add(conf, sg, fresh)
	if text == nil {
		return nil
	}
	if !conf.Files {
		return sg
	}
	st.save(sg, fresh, text)
	if conf.Cleanup {
		st.disk.Remove(gone...)
	}
	return sg
}

// add lists a segment and puts it on the shelf. It returns the manifest for the disk, nil
// if the stream was forgotten, and the names of what has gone.
func (st *stream) add(conf *blocks.DASHConfig, sg *segment, fresh []initFile) (text []byte, names []string) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.gone {
		return nil, nil
	}
	gone := st.index.Add(sg, store.Window{Count: max(conf.WindowSize, 1)})
	names = st.names(gone, false)
	found, vhost := &st.server.found, st.key.Vhost
	st.putInits(fresh)
	cache := shelf.CacheFor(2 * time.Duration(conf.WindowSize) * conf.Fragment)
	for _, p := range sg.pieces {
		tag := strconv.FormatInt(sg.Began.UnixNano(), 36) + "-" + strconv.FormatInt(p.time, 36) + "-" + strconv.Itoa(p.size)
		found.Put(vhost, p.name, thing{stream: st, file: shelf.New(segmentType, cache, tag, p.body...)})
		st.came(p)
	}
	found.Remove(vhost, names...)
	st.offerNext(conf)
	st.list(conf)
	if text = st.text.Body[0]; conf.LowLatency && conf.Files { // of which the disk has nothing
		text = st.render(conf, false).Append(nil)
	}
	return text, names
}

// segmentType is what players are told that segments are.
const segmentType = "video/iso.segment"

// putInits puts initialization segments on the shelf. mu is held.
func (st *stream) putInits(fresh []initFile) {
	st.inits = append(st.inits, fresh...)
	for _, i := range fresh {
		// The name may come again after a restart, with other bytes.
		st.server.found.Put(st.key.Vhost, i.name, thing{stream: st, file: shelf.Text("video/mp4", shelf.CacheManifest, i.body)})
	}
}

// list makes the manifest anew. mu is held.
func (st *stream) list(conf *blocks.DASHConfig) {
	st.text = shelf.Text("application/dash+xml", shelf.CacheManifest, st.render(conf, true).Append(nil))
}

// save writes a segment's files: what it needs, itself, and the manifest.
func (st *stream) save(sg *segment, fresh []initFile, text []byte) {
	var errs []error
	for _, i := range fresh {
		errs = append(errs, st.disk.Write(i.name, i.body))
	}
	for _, p := range sg.pieces {
		errs = append(errs, st.disk.Write(p.name, p.body...))
	}
	if errors.Join(errs...) == nil {
		errs = append(errs, st.disk.Write(st.mpdName, text))
	}
	st.disk.Complain(errors.Join(errs...))
}

// manifest returns what is listed, nil if that is nothing.
func (st *stream) manifest() *shelf.File {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.text
}

// extend adds what a chunk has of each track to the files of a segment.
func (st *stream) extend(sg *segment, c *store.Chunk) {
	for _, t := range st.tracks(sg.Run) {
		part, frames := partOf(c, t)
		if len(part.Bytes) == 0 {
			continue
		}
		rep := repOf(sg.Run, t)
		p := sg.piece(rep)
		if p == nil {
			p = &piece{rep: rep, number: st.next[rep], time: part.Time}
			if p.name = st.segmentName(rep, p.number); sg.Run.Grid {
				p.name = st.segmentName(rep, p.time)
			}
			st.next[rep]++
			st.mu.Lock() // who forgets the stream looks at them
			sg.pieces = append(sg.pieces, p)
			st.mu.Unlock()
		}
		p.body = append(p.body, part.Bytes)
		p.size += len(part.Bytes)
		p.frames += frames
		p.duration = part.Time + part.Duration - p.time
	}
}

func (st *stream) segmentName(rep string, number int64) string {
	return fmt.Sprintf("%s/%s-%d.m4s", st.dir, rep, number)
}

// partOf returns a track's part of a chunk, and how many frames it has.
func partOf(c *store.Chunk, t *media.Track) (store.Piece, int) {
	switch t {
	case c.Run.Video:
		return c.Video, c.Pictures
	case c.Run.Audio:
		return c.Audio, 0
	}
	if p := c.Part(t.Kind, t.ID); p != nil {
		return p.Piece, p.Frames
	}
	return store.Piece{}, 0
}

// periodOf returns the period of g, and the initialization segments that are new
// in it.
func (st *stream) periodOf(g *store.Segment) (p *period, fresh []initFile) {
	if p = st.period; p == nil || p.run.ID != g.Run.ID {
		var inits map[string]string
		inits, fresh = st.initsOf(g.Run)
		if g.Run.Grid {
			p = st.alike(g, inits)
		} else {
			p = st.nextPeriod(g)
		}
		p.run, p.inits = g.Run, inits
		st.period = p
	}
	p.reaches(g)
	return p, fresh
}

// nextPeriod returns the period that begins with g.
func (st *stream) nextPeriod(g *store.Segment) *period {
	// When the run began: not so late that what is here already were to come, as
	// it is after a publisher that sends faster than it plays.
	began := g.Run.Began
	if latest := time.Now().Add(-(ends(g) - g.Run.Start)); latest.Before(began) {
		began = latest
	}
	if st.begins.IsZero() {
		st.begins = began.Truncate(time.Millisecond)
	}
	start := began.Sub(st.begins).Truncate(time.Millisecond)
	if st.period != nil {
		start = max(start, st.period.end)
	}
	st.periods++
	return &period{id: strconv.FormatInt(st.periods, 10), start: max(start, 0), offset: g.Run.Start}
}

// initsOf returns the names of a run's initialization segments, and those that are new.
func (st *stream) initsOf(r *store.Run) (inits map[string]string, fresh []initFile) {
	inits = map[string]string{}
	for _, t := range st.tracks(r) {
		body := r.Inits[slices.Index(r.Tracks, t)]
		if body == nil {
			continue
		}
		rep := repOf(r, t)
		name, known := st.initName(r, rep, body)
		if inits[rep] = name; !known {
			fresh = append(fresh, initFile{rep, name, body})
		}
	}
	return inits, fresh
}

// ends is where a segment ends, or so far has come.
func ends(g *store.Segment) time.Duration {
	last := g.Chunks[len(g.Chunks)-1]
	return max(g.Start+g.Duration, last.Start+last.Duration)
}

// initName returns the name of an initialization segment. The first is SRS's;
// others, which hold something else, have the number of their first segment. By the
// encoder's time each is called by what is in it.
func (st *stream) initName(r *store.Run, rep string, body []byte) (name string, known bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, i := range st.inits {
		if i.rep == rep && bytes.Equal(i.body, body) {
			return i.name, true
		}
	}
	name = st.dir + "/" + rep + "-init"
	switch n := st.next[rep]; {
	case r.Grid:
		name += "-" + shelf.SumOf(body)
	case n > 0:
		name += "-" + strconv.FormatInt(n, 10)
	}
	return name + ".mp4", false
}

// recover goes on from the manifest on disk, so that players that stayed over a
// restart do, too: times count from the same moment, and numbers and periods
// follow.
func (st *stream) recover() {
	b, err := st.disk.Read(st.mpdName)
	if err != nil {
		return
	}
	old, err := mpd.Parse(b)
	if err != nil || old.Start.After(time.Now()) {
		st.log.Warn("dash manifest on disk is not read, numbers start at 0", "file", st.mpdName, "err", err)
		return
	}
	st.begins = old.Start
	for _, p := range old.Periods {
		if n, err := strconv.ParseInt(p.ID, 10, 32); err == nil {
			st.periods = max(st.periods, n)
		}
		for _, set := range p.Sets {
			st.next[set.ID] = max(st.next[set.ID], set.First+int64(len(set.Timeline)))
		}
	}
	st.log.Info("dash goes on where it was", "began", strings.TrimSuffix(string(mpd.AppendTime(nil, st.begins)), "Z"))
}
