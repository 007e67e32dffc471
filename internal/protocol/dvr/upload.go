package dvr

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/service/objects"
)

// An errand is a finished recording on its way to object storage.
type errand struct {
	*recording
	client  *client // nil if it is not here any more
	backoff service.Backoff
	due     time.Time
}

// uploads are the errands. Beside a recording that is to be sent lies a mark, so that the
// next start knows of it, and what had been sent of a large one.
type uploads struct {
	first, most time.Duration // what is waited after a failure
	sent        atomic.Int64
	failed      atomic.Int64 // attempts

	mu      sync.Mutex
	waiting []*errand // guarded by mu
	running int       // guarded by mu
	wake    chan struct{}

	transport *http.Transport
}

// A mark is what lies beside a recording.
type mark struct {
	Object string `json:"object,omitempty"`
	URL    string `json:"url,omitempty"` // of one that was sent
	objects.Upload
}

const (
	// marked is the ending of a mark.
	marked = ".s3"
	// abreast is how many recordings are sent at a time.
	abreast = 2
	// firstTry and lastTry are what is waited after the first failure, and at most.
	firstTry, lastTry = 5 * time.Second, 5 * time.Minute
	// longestMark bounds what is read of a mark.
	longestMark = 64 << 10
)

func newUploads() *uploads {
	return &uploads{first: firstTry, most: lastTry, wake: make(chan struct{}, 1), transport: objects.NewTransport()}
}

// leaveMark writes a mark. It is renamed into place, so that it is whole or not there.
func leaveMark(root *os.Root, name string, m mark) error {
	b, err := json.Marshal(m)
	if err == nil {
		err = root.WriteFile(name+marked+ending, b, 0o644)
	}
	if err == nil {
		err = root.Rename(name+marked+ending, name+marked)
	}
	return err
}

// readMark returns a recording's mark, and whether it has one.
func readMark(root *os.Root, name string) (m mark, ok bool) {
	st, err := root.Stat(name + marked)
	if err != nil || st.Size() > longestMark {
		return m, err == nil
	}
	if b, err := root.ReadFile(name + marked); err != nil || json.Unmarshal(b, &m) != nil {
		m = mark{}
	}
	return m, true
}

// What is said of a recording that goes to object storage.
const (
	waiting = "waiting"
	done    = "done"
)

// uploadOf returns what a recording's mark says.
func (s *server) uploadOf(r *recording) (state, url string) {
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return "", ""
	}
	defer root.Close()
	switch m, ok := readMark(root, r.name); {
	case ok && m.URL != "":
		return done, m.URL
	case ok:
		return waiting, ""
	}
	return "", ""
}

// toSend marks a file that is about to get its name as one to be sent, if it is.
func (s *server) toSend(root *os.Root, name string, c *blocks.DVRConfig) {
	if !c.S3.Enabled {
		return
	}
	if err := leaveMark(root, name, mark{}); err != nil {
		s.env.Log.Warn("recording is not sent to object storage: it cannot be marked", "file", name, "err", err)
	}
}

// send has a recording sent.
func (s *server) send(r *recording, c *client) {
	u := s.uploads
	e := &errand{recording: r, client: c, backoff: service.Backoff{First: u.first, Most: u.most}}
	u.mu.Lock()
	full := len(u.waiting) >= mostListed
	if !full {
		u.waiting = append(u.waiting, e)
	}
	u.mu.Unlock()
	if full {
		s.env.Log.Warn("recording is sent after the next start: too many wait for object storage", "file", r.File)
		return
	}
	u.nudge()
}

func (u *uploads) nudge() {
	select {
	case u.wake <- struct{}{}:
	default:
	}
}

// next takes an errand that is due, or says when there is one.
func (u *uploads) next(now time.Time) (e *errand, wait time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	wait = time.Hour
	if u.running >= abreast {
		return nil, wait
	}
	for i, e := range u.waiting {
		if w := e.due.Sub(now); w > 0 {
			wait = min(wait, w)
			continue
		}
		u.waiting = append(u.waiting[:i], u.waiting[i+1:]...)
		u.running++
		return e, 0
	}
	return nil, wait
}

// done takes an errand back that did not succeed, or nil.
func (u *uploads) done(again *errand) {
	u.mu.Lock()
	u.running--
	if again != nil {
		u.waiting = append(u.waiting, again)
	}
	u.mu.Unlock()
	u.nudge()
}

// sendAll runs errands until ctx is done; what is not sent by then the next start sends.
func (s *server) sendAll(ctx context.Context) {
	var wg sync.WaitGroup
	defer s.uploads.transport.CloseIdleConnections()
	defer wg.Wait()
	for ctx.Err() == nil {
		e, wait := s.uploads.next(time.Now())
		if e != nil {
			wg.Go(func() {
				again := e
				service.Guard(s.env.Log, func() error { again = s.attempt(ctx, e); return nil })
				s.uploads.done(again)
			})
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-s.uploads.wake:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}

// object is the name that a recording gets in a store.
func object(c *blocks.DVRS3Config, r *recording) string {
	name := strings.NewReplacer("[vhost]", r.Vhost, "[app]", r.App, "[stream]", r.Stream, "[file]", r.name).Replace(c.Name)
	return path.Clean("/" + name)[1:]
}

// attempt sends a recording once. It returns the errand if it must be tried again.
func (s *server) attempt(ctx context.Context, e *errand) *errand {
	c := &s.conf(e.Vhost).S3
	root, err := os.OpenRoot(e.dir)
	if err != nil {
		return s.postpone(e, err)
	}
	defer root.Close()
	if !c.Enabled { // it was switched off meanwhile
		root.Remove(e.name + marked)
		s.sent(e, "", "")
		return nil
	}
	f, err := root.OpenFile(e.name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		root.Remove(e.name + marked)
		s.list.drop(e.recording)
		s.env.Log.Warn("recording is gone before it was sent to object storage", "file", e.File)
		return nil
	}
	if err != nil {
		return s.postpone(e, err)
	}
	defer f.Close()
	if !lock(f) {
		return s.postpone(e, nil) // another process of ours sends it
	}
	m, ok := readMark(root, e.name)
	if ok && m.URL != "" {
		s.know(e, m.URL, done) // and told of it
		return nil
	}
	store := objects.Store{Endpoint: c.Endpoint, Region: c.Region, Bucket: c.Bucket, AccessKey: c.AccessKey, SecretKey: c.SecretKey, Public: c.URL, Transport: s.uploads.transport}
	key := object(c, e.recording)
	if m.Object != key {
		m = mark{Object: key}
	}
	st, err := f.Stat()
	if err == nil {
		err = store.Put(ctx, key, contentType(e.name), f, st.Size(), m.Upload, func(u objects.Upload) {
			m.Upload = u
			leaveMark(root, e.name, m)
		})
	}
	if err != nil {
		return s.postpone(e, err)
	}
	m = mark{Object: key, URL: store.URL(key)}
	if err := leaveMark(root, e.name, m); err != nil && c.KeepLocal {
		s.env.Log.Warn("recording is sent again after a restart: it cannot be marked", "file", e.File, "err", err)
	}
	s.complain(e, nil)
	s.env.Log.Info("recording is in object storage", "file", e.File, "url", m.URL)
	s.sent(e, m.URL, done)
	if !c.KeepLocal {
		s.delete(e.recording, "since it is in object storage")
	}
	return nil
}

func contentType(name string) string {
	if path.Ext(name) == ".mp4" {
		return "video/mp4"
	}
	return "video/x-flv"
}

// sent tells of a recording that is where it should be.
func (s *server) sent(e *errand, url, state string) {
	if url != "" {
		s.uploads.sent.Add(1)
	}
	s.know(e, url, state)
	s.announce(e.recording, e.client)
}

// know notes in the list what became of a recording.
func (s *server) know(e *errand, url, state string) {
	r := *e.recording
	r.Remote, r.Upload = url, state
	e.recording = &r
	s.list.put(&r)
}

// postpone has an errand tried again later.
func (s *server) postpone(e *errand, err error) *errand {
	wait := e.backoff.Next()
	e.due = time.Now().Add(wait)
	if err != nil && !errors.Is(err, context.Canceled) {
		s.uploads.failed.Add(1)
		s.complain(e, err)
	}
	return e
}

// complain says, once, that a store takes nothing, and when it does again.
func (s *server) complain(e *errand, err error) {
	subject, text := "object storage of "+cmp.Or(e.Vhost, "recordings"), ""
	if err != nil {
		text = fmt.Sprintf("recordings cannot be sent, and wait: %v", err)
	}
	if !s.env.Notices.Set(subject, text) {
		return
	}
	if err != nil {
		s.env.Log.Warn("recording cannot be sent to object storage, is tried again", "file", e.File, "err", err)
	} else {
		s.env.Log.Info("object storage takes recordings again")
	}
}
