package past

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/internal/hub"
)

// A reel is two files: the segments, behind an initialization segment, and their index.
type reel struct {
	dir, name string // name without extension, below dir
	run       *Run
	size      int64 // of both files
	indexed   int64 // bytes of the index that were read or written
	first     int64 // number of its first segment
	end       time.Duration
	ended     time.Time // by the clock
}

const (
	mediaExt, indexExt = ".mp4", ".idx"
	// reelTime and reelBytes are how much a reel holds. A window is kept to within a reel.
	reelTime  = 2 * time.Minute
	reelBytes = 64 << 20
	// shortTime is for how long the operator is told that the disk was full.
	shortTime = 10 * time.Minute
	// lookAgain is how often is looked for what another process writes.
	lookAgain = time.Second
)

var (
	errBehind = errors.New("the disk is too slow")
	errGone   = errors.New("it was deleted")
)

// folder is where a stream's reels are: its names, so written that each is one name, or a
// digest where that is too long.
func folder(k hub.Key) string {
	all := []string{k.Vhost, k.App, k.Stream}
	for i, n := range all {
		if n = strings.ReplaceAll(url.PathEscape(n), ".", "%2E"); len(n) > 200 || n == "" {
			sum := sha256.Sum256([]byte(all[i]))
			n = "=" + hex.EncodeToString(sum[:16])
		}
		all[i] = n
	}
	return path.Join(all...)
}

// readAt reads from the segments' file.
func (r *reel) readAt(b []byte, off int64) error {
	f, err := os.OpenInRoot(r.dir, filepath.FromSlash(r.name+mediaExt))
	if errors.Is(err, fs.ErrNotExist) {
		return errGone
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(b, off)
	return err
}

// remove deletes the files, the segments first: an index alone counts for nothing.
func (r *reel) remove() error {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	err = root.Remove(r.name + mediaExt)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	root.Remove(r.name + indexExt)
	for dir := path.Dir(r.name); dir != "."; dir = path.Dir(dir) {
		root.Remove(dir) // if it is empty
	}
	return err
}

// load reads what there is on disk of the stream, the first time, and again where another
// process writes it.
func (t *Tape) load() { t.look(false) }

// look is load; anew has it look however short a while ago it did.
func (t *Tape) look(anew bool) {
	t.loading.Lock()
	defer t.loading.Unlock()
	now := time.Now()
	shared := t.archive.o.Shared != nil && t.archive.o.Shared()
	// Once the other process has ended it has written what it had.
	if !anew && !t.read.IsZero() && (!t.shared && !shared || shared && now.Sub(t.read) < lookAgain) {
		return
	}
	t.shared = shared
	t.read = now
	set := t.archive.o.Settings(t.key.Vhost)
	root, err := os.OpenRoot(set.Dir)
	if err == nil {
		defer root.Close()
		t.find(root, set.Dir)
	}
	for {
		t.mu.Lock()
		early := t.early
		t.early, t.ready = nil, len(early) == 0
		t.mu.Unlock()
		if len(early) == 0 {
			return
		}
		for _, g := range early {
			t.keep(g)
		}
	}
}

// find reads the indexes of reels. t.loading is held.
func (t *Tape) find(root *os.Root, dir string) {
	entries, err := fs.ReadDir(root.FS(), t.dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		name, is := strings.CutSuffix(e.Name(), indexExt)
		if !is {
			continue
		}
		name = path.Join(t.dir, name)
		i := slices.IndexFunc(t.reels, func(r *reel) bool { return r.name == name && r.dir == dir })
		if i < 0 {
			t.take(root, &reel{dir: dir, name: name})
		} else if t.reels[i] != t.wrote {
			t.take(root, t.reels[i])
		}
	}
	slices.SortFunc(t.reels, func(a, b *reel) int { return cmp.Compare(a.first, b.first) })
}

// take reads what is new in a reel's index, and lists it. t.loading is held.
func (t *Tape) take(root *os.Root, r *reel) {
	known := r.run != nil
	f, err := root.Open(r.name + indexExt)
	if err != nil {
		return
	}
	defer f.Close()
	b, err := io.ReadAll(io.NewSectionReader(f, r.indexed, mostIndex-r.indexed))
	if err != nil || len(b) == 0 {
		return
	}
	st, err := root.Stat(r.name + mediaExt)
	if err != nil {
		root.Remove(r.name + indexExt)
		return
	}
	run, all, offs, n, err := readIndex(b, r.run)
	if err != nil {
		t.archive.o.Log.Warn("index of time shift is damaged, what is behind it is not kept", "file", r.name+indexExt, "err", err)
	}
	if run == nil {
		if err != nil {
			r.remove()
		}
		return
	}
	r.run, r.indexed = t.same(run), r.indexed+int64(n)
	t.archive.count(t.key.Vhost, st.Size()+r.indexed-r.size)
	r.size = st.Size() + r.indexed
	for i, s := range all {
		if offs[i]+int64(s.Size()) > st.Size() {
			all = all[:i] // it was not written whole
			break
		}
		s.tape, s.Run, s.reel, s.off = t, r.run, r, offs[i]
	}
	if len(all) == 0 && !known {
		r.end, r.ended, r.first = r.run.Line, r.run.Began, r.run.First
	}
	if !known {
		t.reels = append(t.reels, r)
	}
	if len(all) == 0 {
		return
	}
	if !known {
		r.first = all[0].Seq
	}
	last := all[len(all)-1]
	r.end, r.ended = last.End(), last.Began().Add(last.Duration)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.segs = slices.Concat(t.segs, all)
	slices.SortStableFunc(t.segs, func(a, b *Segment) int { return cmp.Compare(a.Seq, b.Seq) })
	t.segs = slices.CompactFunc(t.segs, func(a, b *Segment) bool { return a.Seq == b.Seq })
	t.tell()
}

// same returns the run that there is already, of which another reel is.
func (t *Tape) same(r *Run) *Run {
	for _, o := range t.reels {
		if o.run != nil && o.run.First == r.First {
			return o.run
		}
	}
	return r
}

// write writes a segment. It is the writer's, as are those below. Where the disk is full the
// oldest gives way, as what is more than the bound does.
func (t *Tape) write(s *Segment) {
	set := t.archive.o.Settings(t.key.Vhost)
	err := t.put(s, set)
	for freed := int64(0); isFull(err) && freed < 2*int64(s.Size()); {
		n := t.archive.shorten(t.key.Vhost)
		if n == 0 {
			break
		}
		freed += n
		err = t.put(s, set)
	}
	if err != nil {
		t.remove(func(o *Segment) bool { return o == s })
		t.lose(err)
		return
	}
	t.archive.complain(t.key, nil)
	t.expire(set)
	t.archive.fit(t.key.Vhost, set.Size)
}

// isFull reports whether something could not be written for want of space.
func isFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

func (t *Tape) put(s *Segment, set Settings) error {
	r := t.wrote
	if r == nil || r.run != s.Run || r.dir != set.Dir || s.End()-t.since > max(min(reelTime, set.Window/4), time.Second) || r.size+int64(s.Size()) > reelBytes {
		if err := t.open(s, set.Dir); err != nil {
			return err
		}
		r = t.wrote
	}
	off, text, err := t.add(s)
	if err != nil {
		t.undo(off)
		return err
	}
	more := int64(s.Size() + len(text))
	t.loading.Lock()
	r.size, r.indexed, r.end, r.ended = r.size+more, r.indexed+int64(len(text)), s.End(), s.Began().Add(s.Duration)
	t.loading.Unlock()
	t.archive.count(t.key.Vhost, more)
	s.mu.Lock()
	s.reel, s.off, s.body = r, off, [2][]byte{}
	s.mu.Unlock()
	return nil
}

// add writes a segment to the reel, where it begins at off, and its line to the index.
func (t *Tape) add(s *Segment) (off int64, line []byte, err error) {
	if off, err = t.file.Seek(0, io.SeekEnd); err != nil {
		return off, nil, err
	}
	s.mu.Lock()
	body := s.body
	s.mu.Unlock()
	for _, b := range body {
		if _, err := t.file.Write(b); err != nil {
			return off, nil, err
		}
	}
	line = appendLine(nil, s, off)
	_, err = t.index.Write(line)
	return off, line, err
}

// undo ends the reel before a segment that could not be written whole, which began at off. One
// that has no other goes.
func (t *Tape) undo(off int64) {
	r := t.wrote
	t.file.Truncate(off)
	t.index.Truncate(r.indexed)
	t.close()
	if r.end == t.since {
		t.drop(r)
	}
}

// open begins a reel.
func (t *Tape) open(s *Segment, dir string) (err error) {
	t.close()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(t.dir, 0o755); err != nil {
		return err
	}
	// Of two processes that write, neither takes the name of the other.
	r := &reel{dir: dir, run: s.Run, first: s.Seq, end: s.Start, ended: s.Began()}
	r.name = path.Join(t.dir, strconv.FormatInt(s.Began().UnixMilli(), 10)+"-"+strconv.FormatInt(s.Seq, 10)+"-"+strconv.Itoa(os.Getpid()))
	if t.file, err = t.archive.create(root, r.name+mediaExt); err != nil {
		return err
	}
	if t.index, err = t.archive.create(root, r.name+indexExt); err != nil {
		t.close()
		r.remove()
		return err
	}
	init, text := s.Run.Init(0), appendHead(nil, t.key.String(), s.Run)
	_, err = t.file.Write(init)
	if _, err2 := t.index.Write(text); err != nil || err2 != nil {
		t.close()
		r.remove()
		return errors.Join(err, err2)
	}
	r.size, r.indexed = int64(len(init)+len(text)), int64(len(text))
	t.archive.count(t.key.Vhost, r.size)
	t.loading.Lock()
	defer t.loading.Unlock()
	t.wrote, t.since = r, s.Start
	t.reels = append(t.reels, r)
	return nil
}

// A file is what is written to.
type file interface {
	io.WriteSeeker
	Truncate(size int64) error
	Close() error
}

// create makes a file that is not there.
func create(root *os.Root, name string) (file, error) {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// close ends the reel that is written.
func (t *Tape) close() {
	for _, f := range []file{t.file, t.index} {
		if f != nil {
			f.Close()
		}
	}
	t.file, t.index = nil, nil
	t.loading.Lock()
	defer t.loading.Unlock()
	t.wrote = nil
}

// expire deletes the reels that have left the window.
func (t *Tape) expire(set Settings) {
	if set.Window <= 0 {
		return // it was turned off; what there is stays as it is
	}
	oldest := t.Live() - set.Window
	for {
		t.loading.Lock()
		var r *reel
		if len(t.reels) > 0 && t.reels[0].end < oldest {
			r = t.reels[0]
		}
		t.loading.Unlock()
		if r == nil {
			return
		}
		t.drop(r)
	}
}

// drop deletes a reel.
func (t *Tape) drop(r *reel) {
	if t.wrote == r {
		t.close()
	}
	t.remove(func(s *Segment) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.reel == r
	})
	t.loading.Lock()
	t.reels = slices.DeleteFunc(t.reels, func(o *reel) bool { return o == r })
	t.loading.Unlock()
	t.archive.count(t.key.Vhost, -r.size)
	if err := r.remove(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.archive.o.Log.Warn("reel of time shift cannot be removed", "file", r.name, "err", err)
	}
}

// count adds bytes that a vhost's streams have on disk.
func (a *Archive) count(vhost string, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bytes[vhost] += n
}

// Bytes returns how many bytes a vhost's streams have on disk.
func (a *Archive) Bytes(vhost string) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.bytes[vhost]
}

// fit deletes the oldest reels of a vhost until the others fit.
func (a *Archive) fit(vhost string, size int64) {
	for a.Bytes(vhost) > size && a.dropOldest(vhost) > 0 {
	}
}

// shorten deletes the oldest reel of a vhost because the disk is full, and returns how many
// bytes that was, 0 if there is none.
func (a *Archive) shorten(vhost string) int64 {
	n := a.dropOldest(vhost)
	if n > 0 {
		a.mu.Lock()
		a.short[vhost] = time.Now()
		a.mu.Unlock()
		if a.notice("time shift of "+vhost, "time shift of "+vhost+" reaches less far back than its window: the disk is full") {
			a.o.Log.Warn("the disk of time shift is full, the oldest goes before its time", "vhost", vhost)
		}
	}
	return n
}

// dropOldest deletes the oldest reel of a vhost.
func (a *Archive) dropOldest(vhost string) int64 {
	var of *Tape
	var oldest *reel
	for _, t := range a.all() {
		if t.key.Vhost != vhost {
			continue
		}
		t.loading.Lock()
		if len(t.reels) > 0 && (oldest == nil || t.reels[0].ended.Before(oldest.ended)) {
			of, oldest = t, t.reels[0]
		}
		t.loading.Unlock()
	}
	if oldest == nil {
		return 0
	}
	of.drop(oldest)
	return oldest.size
}

// Sweep deletes what is too old or too much, of streams too that nobody has asked for
// since the start.
func (a *Archive) Sweep() {
	for _, vhost := range a.o.Vhosts() {
		set := a.o.Settings(vhost)
		if set.Window <= 0 {
			continue
		}
		a.scan(vhost, set.Dir)
		for _, t := range a.all() {
			if t.key.Vhost == vhost {
				t.load()
				t.expire(set)
				t.rest()
				a.forget(t)
			}
		}
		a.fit(vhost, set.Size)
		a.mu.Lock()
		roomy := time.Since(a.short[vhost]) > shortTime
		a.mu.Unlock()
		if roomy {
			a.notice("time shift of "+vhost, "")
		}
	}
}

// scan finds the streams that have a folder.
func (a *Archive) scan(vhost, dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return
	}
	defer root.Close()
	top := path.Dir(path.Dir(folder(hub.Key{Vhost: vhost, App: "a", Stream: "b"})))
	found, _ := fs.Glob(root.FS(), strings.NewReplacer("[", `\[`, "*", `\*`, "?", `\?`).Replace(top)+"/*/*/*"+indexExt)
	for _, name := range found {
		app, err1 := url.PathUnescape(path.Base(path.Dir(path.Dir(name))))
		stream, err2 := url.PathUnescape(path.Base(path.Dir(name)))
		key := hub.Key{Vhost: vhost, App: app, Stream: stream}
		if err1 == nil && err2 == nil && folder(key) == path.Dir(name) {
			a.mu.Lock()
			a.tape(key)
			a.mu.Unlock()
		}
	}
}
