package dvr

import (
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// A recording is one file, as the list has it.
type recording struct {
	note
	File     string  `json:"file"`
	URL      string  `json:"url,omitempty"` // below the HTTP server, if it is
	Active   bool    `json:"active"`
	Duration float64 `json:"duration"` // seconds
	Bytes    int64   `json:"bytes"`
	Lost     uint64  `json:"lost,omitempty"`       // frames, of one that is active
	Upload   string  `json:"upload,omitempty"`     // waiting or done, if it goes to object storage
	Remote   string  `json:"remote_url,omitempty"` // of the object

	dir, name string
}

// ended is when the recording ended.
func (r *recording) ended() time.Time {
	return r.Began.Add(time.Duration(r.Duration * float64(time.Second)))
}

// catalog is the finished recordings that are known, the oldest first. The list is
// bounded: what is older than the newest mostListed is in it no more, and is kept on
// disk.
type catalog struct {
	mu  sync.Mutex
	all []*recording // guarded by mu
}

// mostListed is how many recordings are in the list.
const mostListed = 100000

func older(a, b *recording) int { return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.File, b.File)) }

func (c *catalog) put(r *recording) {
	c.mu.Lock()
	defer c.mu.Unlock()
	at, there := slices.BinarySearchFunc(c.all, r, older)
	if there {
		c.all[at] = r
		return
	}
	c.all = slices.Insert(c.all, at, r)
	if len(c.all) > mostListed {
		c.all = slices.Clone(c.all[len(c.all)-mostListed*9/10:])
	}
}

func (c *catalog) drop(r *recording) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at, there := slices.BinarySearchFunc(c.all, r, older); there {
		c.all = slices.Delete(c.all, at, at+1)
	}
}

// of returns the recordings of a vhost, or of all, the oldest first.
func (c *catalog) of(vhost string) (all []*recording) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.all {
		if vhost == "" || r.Vhost == vhost {
			all = append(all, r)
		}
	}
	return all
}

// enter puts a finished file into the list.
func (s *server) enter(n note, dir, name string, duration time.Duration) (*recording, error) {
	file := join(dir, name)
	st, err := os.Stat(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return nil, err
	}
	r := &recording{note: n, File: file, URL: s.url(dir, name), Duration: duration.Seconds(), Bytes: st.Size(), dir: dir, name: name}
	r.Upload, r.Remote = s.uploadOf(r)
	s.list.put(r)
	return r, nil
}

// url is where the HTTP server has a file, empty if nowhere.
func (s *server) url(dir, name string) string {
	web := blocks.HTTPServer.In(s.env.Conf.Load())
	from, err1 := filepath.Abs(web.Dir)
	to, err2 := filepath.Abs(filepath.Join(dir, filepath.FromSlash(name)))
	rel, err := filepath.Rel(from, to)
	if errors.Join(err, err1, err2) != nil || !web.Enabled || !filepath.IsLocal(rel) {
		return ""
	}
	return "/" + filepath.ToSlash(rel)
}

// tell lists a finished file, and tells of it or has it sent first. c is nil if it is
// not here any more.
func (s *server) tell(n note, dir, name string, duration time.Duration, c *client) {
	r, err := s.enter(n, dir, name, duration)
	if err != nil {
		s.env.Log.Warn("recording is gone", "file", join(dir, name), "err", err)
		return
	}
	s.finished.Add(1)
	s.env.Log.Info("dvr file is finished", "stream", n.App+"/"+n.Stream, "file", r.File, "duration", duration)
	if r.Upload != "" {
		s.send(r, c)
	} else {
		s.announce(r, c)
	}
	select {
	case s.tidy <- struct{}{}:
	default:
	}
}

// announce tells of a recording.
func (s *server) announce(r *recording, c *client) {
	n := &r.note
	who := &session.Session{Visitor: session.Visitor{IP: n.IP, TcURL: n.TcURL}, ID: n.Client}
	if c != nil {
		who = c.Session
	}
	key := hub.Key{Vhost: n.Vhost, App: n.App, Stream: n.Stream}
	s.env.Desk.Tell(session.Event{What: session.Recorded, Session: who, StreamID: n.StreamID, Recording: &session.Recording{File: r.File, URL: r.Remote},
		Ask: session.Ask{Key: key, Said: session.Said{App: n.App, Stream: n.Stream, Param: n.Param, TcURL: n.TcURL}}})
}

// mostFiles is how many files of a folder are looked at when the server starts.
const mostFiles = 200000

// fileTick is by how much the time of a file may be behind the clock: systems stamp files by
// the last tick, of which there are a hundred a second at least. A process that was killed
// so short a time before we began is nobody whom we could have followed.
const fileTick = 20 * time.Millisecond

// takeStock finds the recordings of earlier runs, and finishes those that were left.
func (s *server) takeStock() {
	seen := map[string]bool{}
	for _, v := range s.env.Conf.Load().Vhosts() {
		c := blocks.DVR.Of(v)
		if dir, _ := folder(c.Path); c.Enabled && !seen[dir] {
			seen[dir] = true
			service.Guard(s.env.Log, func() error { s.search(dir); return nil })
		}
	}
	s.clear(time.Now())
}

// search looks at every file below dir.
func (s *server) search(dir string) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return // nothing was recorded
	}
	defer root.Close()
	n := 0
	fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if n++; n > mostFiles || s.ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		whole, left := strings.CutSuffix(name, ending)
		if !recorded(whole) {
			return nil
		}
		// What is written now is younger than we are, but for a tick.
		if st, err := d.Info(); left && (err != nil || !st.ModTime().Before(s.env.Started.Add(-fileTick))) {
			return nil
		}
		if left {
			s.rescue(root, dir, whole)
		} else if note, duration, err := inspect(root, name); err == nil {
			if r, err := s.enter(note, dir, name, duration); err == nil && r.Upload == waiting {
				s.send(r, nil)
			}
		}
		return nil
	})
}

// inspect reads what a finished file says of itself.
func inspect(root *os.Root, name string) (n note, duration time.Duration, err error) {
	f, err := root.Open(name)
	if err != nil {
		return n, 0, err
	}
	defer f.Close()
	var text []byte
	if path.Ext(name) == ".mp4" {
		if text, _, err = mp4.ReadNote(f); err != nil {
			return n, 0, err
		}
	} else {
		st, err := f.Stat()
		if err != nil {
			return n, 0, err
		}
		sheet, _, err := flv.ReadSheet(f, st.Size())
		if err != nil {
			return n, 0, err
		}
		text, duration = []byte(sheet.Note), sheet.Duration
	}
	if err = json.Unmarshal(text, &n); err == nil && duration == 0 {
		duration, err = lasts(f)
	}
	return n, duration, err
}

// lasts reads the duration of a finished MP4, 0 if it does not say.
func lasts(f io.ReaderAt) (time.Duration, error) {
	d, err := mp4.Duration(f)
	if err != nil {
		return 0, nil
	}
	return d, nil
}

// rescue finishes a file that an earlier run left.
func (s *server) rescue(root *os.Root, dir, whole string) {
	left := whole + ending
	log := s.env.Log.With("file", join(dir, left))
	f, err := root.OpenFile(left, os.O_RDWR, 0)
	if err != nil {
		log.Warn("recording of an earlier run cannot be finished", "err", err)
		return
	}
	defer f.Close()
	if !lock(f) {
		return // another server writes it
	}
	n, duration, err := repair(f, path.Ext(whole))
	if errors.Is(err, errNothing) {
		root.Remove(left)
		return
	}
	if errors.Is(err, errForeign) {
		return
	}
	if err != nil {
		log.Warn("recording of an earlier run cannot be finished", "err", err)
		return
	}
	name := completed(whole, duration)
	if _, err := root.Lstat(name); err == nil {
		name = free(root, name)
	}
	s.toSend(root, name, s.conf(n.Vhost))
	if err := root.Rename(left, name); err != nil {
		log.Warn("recording of an earlier run cannot be given its name", "err", err)
		return
	}
	log.Info("recording of an earlier run is finished", "as", name)
	s.tell(n, dir, name, duration, nil)
}

// errNothing means that a file holds nothing, and errForeign that it is none of ours.
var (
	errNothing = errors.New("nothing was recorded")
	errForeign = errors.New("somebody else's file")
)

// repair makes a file whole that was left.
func repair(f *os.File, ext string) (n note, duration time.Duration, err error) {
	st, err := f.Stat()
	if err != nil {
		return n, 0, err
	}
	if st.Size() == 0 {
		return n, 0, errNothing
	}
	var text []byte
	if ext == ".mp4" {
		var finished bool
		if text, finished, err = mp4.ReadNote(f); err != nil {
			return n, 0, errForeign
		}
		if !finished {
			err = finishMP4(f, st.Size())
		}
		if err == nil {
			duration, err = mp4.Duration(f)
		}
	} else {
		var sheet *flv.Sheet
		var end int64
		if sheet, end, err = flv.Survey(f, st.Size()); err != nil {
			err = errForeign
		} else {
			text, duration = []byte(sheet.Note), sheet.Duration
			_, err = f.WriteAt(flv.AppendSheet(nil, sheet), 0)
			err = errors.Join(err, f.Truncate(end))
		}
	}
	if err != nil {
		return n, 0, err
	}
	if duration == 0 {
		return n, 0, errNothing
	}
	return n, duration, json.Unmarshal(text, &n)
}

// clear deletes recordings that are too old, and the oldest where there are too
// many bytes.
func (s *server) clear(now time.Time) {
	for _, v := range s.env.Conf.Load().Vhosts() {
		c := blocks.DVR.Of(v)
		if c.KeepAge <= 0 && c.KeepSize <= 0 {
			continue
		}
		all := s.list.of(v.Name)
		var total int64
		for _, r := range all {
			total += r.Bytes
		}
		for _, r := range all {
			old := c.KeepAge > 0 && now.Sub(r.ended()) > c.KeepAge
			much := c.KeepSize > 0 && total > int64(c.KeepSize)<<20
			if !old && !much {
				continue
			}
			if s.delete(r, "since it is too old or there is too much") {
				total -= r.Bytes
			}
		}
	}
}

// delete removes a recording and its mark, and its folders if nothing else is in them.
func (s *server) delete(r *recording, why string) bool {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return false
	}
	defer root.Close()
	if err := root.Remove(r.name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.env.Log.Warn("recording cannot be deleted", "file", r.File, "err", err)
		return false
	}
	root.Remove(r.name + marked)
	root.Remove(r.name + marked + ending) // of a mark that was never whole
	s.list.drop(r)
	s.env.Log.Info("recording is deleted, "+why, "file", r.File)
	for d := path.Dir(r.name); d != "." && d != "/"; d = path.Dir(d) {
		if root.Remove(d) != nil {
			break
		}
	}
	return true
}
