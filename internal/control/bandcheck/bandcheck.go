// Package bandcheck measures the bandwidth between a page and the server over HTTP:
// the counterpart of SRS's test over RTMP, for vhosts with bandcheck, with the same
// key, interval and limit.
//
//	GET  /bandwidth/down?key=KEY[&vhost=V]  sends filler for three seconds
//	POST /bandwidth/up?test=ID              takes filler, and tells how fast
//
// The header X-Weir-Test of the first is the ID for the second, which may be called
// again and again while the test lasts: pages send little first, then more.
package bandcheck

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

const (
	// lifetime is how long the upload may come after the download began.
	lifetime = 30 * time.Second
	// bodyLimit bounds one upload in bytes, and stepTime the time of one write or read.
	bodyLimit = 64 << 20
	stepTime  = 6 * time.Second
	// piece is how much is sent or read at once.
	piece = 16 << 10
)

// Bandcheck is a handler. Make one with New.
type Bandcheck struct {
	env    service.Env
	filler []byte // that no proxy can compress

	mu    sync.Mutex
	tests map[string]*test // by id; guarded by mu
}

// test is one test, from its download on.
type test struct {
	began  time.Time
	limit  int // kbit/s
	pacing sync.Mutex
	pace   service.Pace // of the uploads; guarded by pacing
	bytes  int64        // uploaded; guarded by pacing
}

// New returns the handler.
func New(env service.Env) *Bandcheck {
	b := &Bandcheck{env: env, filler: make([]byte, piece), tests: map[string]*test{}}
	rand.Read(b.filler)
	return b
}

// Handle answers, or returns false if the request is none of its own: of another
// path, or of a vhost without bandcheck.
func (b *Bandcheck) Handle(w http.ResponseWriter, r *http.Request) bool {
	down := r.URL.Path == "/bandwidth/down"
	if !down && r.URL.Path != "/bandwidth/up" {
		return false
	}
	snap := b.env.Conf.Load()
	vhost, ok := snap.Vhost(service.VhostName(r))
	if !ok {
		return false
	}
	conf := blocks.Bandcheck.Of(vhost)
	if !conf.Enabled {
		return false
	}
	if blocks.HTTPServer.In(snap).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case r.Method == http.MethodOptions:
	case down && r.Method == http.MethodGet:
		b.down(w, r, vhost.Name, conf)
	case !down && r.Method == http.MethodPost:
		b.up(w, r)
	default:
		w.Header().Set("Allow", map[bool]string{true: "GET, OPTIONS", false: "POST, OPTIONS"}[down])
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	}
	return true
}

func (b *Bandcheck) down(w http.ResponseWriter, r *http.Request, vhost string, conf *blocks.BandcheckConfig) {
	if err := b.env.Bandcheck.Admit(vhost, conf, r.URL.Query().Get("key")); err != nil {
		status := http.StatusTooManyRequests
		if errors.Is(err, service.ErrBandKey) {
			status = http.StatusForbidden
		}
		http.Error(w, err.Error(), status)
		return
	}
	id := b.add(conf.LimitKbps)
	w.Header().Set("X-Weir-Test", id)
	w.Header().Set("X-Weir-Limit-Kbps", strconv.Itoa(conf.LimitKbps))
	w.Header().Set("Content-Type", "application/octet-stream")
	rc := http.NewResponseController(w)
	began, pace, sent := time.Now(), service.NewPace(conf.LimitKbps), int64(0)
	for time.Since(began) < service.BandTestTime && r.Context().Err() == nil {
		_ = rc.SetWriteDeadline(time.Now().Add(stepTime)) // where there is none, the test ends by its time
		n, err := w.Write(b.filler)
		sent += int64(n)
		if err != nil {
			return
		}
		if wait := pace.Wait(sent); wait > 0 {
			_ = rc.Flush()
			if !sleep(r, min(wait, service.BandTestTime-time.Since(began))) {
				return
			}
		}
	}
	b.env.Log.Info("bandwidth test by HTTP", "ip", session.Mask(r.RemoteAddr), "sent", sent, "took", time.Since(began).Round(time.Millisecond))
}

// sleep waits, and returns false if the client went away.
func sleep(r *http.Request, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-r.Context().Done():
		return false
	}
}

// add begins a test, and forgets those that are over.
func (b *Bandcheck) add(limit int) string {
	id := hub.NewID("", 16)
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	for k, t := range b.tests {
		if now.Sub(t.began) > lifetime {
			delete(b.tests, k)
		}
	}
	b.tests[id] = &test{began: now, limit: limit}
	return id
}

// measured is the answer to an upload.
type measured struct {
	Bytes int64 `json:"bytes"`
	MS    int64 `json:"ms"`
	Kbps  int64 `json:"kbps"`
}

func (b *Bandcheck) up(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	t := b.tests[r.URL.Query().Get("test")]
	b.mu.Unlock()
	if t == nil || time.Since(t.began) > lifetime {
		http.Error(w, "begin with /bandwidth/down, whose header X-Weir-Test is the test", http.StatusForbidden)
		return
	}
	rc := http.NewResponseController(w)
	body := http.MaxBytesReader(w, r.Body, bodyLimit)
	began, buf := time.Now(), make([]byte, piece)
	var m measured
	for {
		_ = rc.SetReadDeadline(time.Now().Add(stepTime))
		n, err := body.Read(buf)
		m.Bytes += int64(n)
		if wait := t.took(n); wait > 0 && !sleep(r, wait) {
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil || time.Since(t.began) > lifetime {
			w.Header().Set("Connection", "close")
			http.Error(w, "too much, or too slow", http.StatusRequestEntityTooLarge)
			return
		}
	}
	_ = rc.SetReadDeadline(time.Time{})
	if m.MS = time.Since(began).Milliseconds(); m.MS > 0 {
		m.Kbps = m.Bytes * 8 / m.MS
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(m)
}

// took counts bytes of an upload, and returns how long to wait for the limit.
func (t *test) took(n int) time.Duration {
	t.pacing.Lock()
	defer t.pacing.Unlock()
	if t.bytes == 0 {
		t.pace = service.NewPace(t.limit)
	}
	t.bytes += int64(n)
	return t.pace.Wait(t.bytes)
}
