package service

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
)

// A Handover is what parts have to do with an upgrade, in which another process takes
// the place of this one while it goes on with those who are there. See docs/adr/0013.
type Handover struct {
	left atomic.Bool

	mu      sync.Mutex
	elder   bool                                 // the process that was before serves still; guarded by mu
	sockets map[string][]*os.File                // that were inherited; guarded by mu
	shared  []*SharedSocket                      // guarded by mu
	secrets map[string][]byte                    // guarded by mu
	answers *http.ServeMux                       // guarded by mu
	ask     http.RoundTripper                    // guarded by mu
	mirrors []Mirror                             // guarded by mu
	ours    []func() func(*session.Session) bool // guarded by mu
	floors  floors                               // guarded by mu
}

// HasElder reports whether the process whose place this one took still serves. What
// must run once only, such as an ingest, is left to that one.
func (h *Handover) HasElder() bool {
	if h == nil {
		return false
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.elder
}

// SetElder says whether the process that was before serves still.
func (h *Handover) SetElder(serves bool) {
	h.mu.Lock()
	had := h.elder
	h.elder = serves
	h.mu.Unlock()
	if !had || serves {
		return
	}
	h.takeFloors()
}

// Leave says that another process has taken the place of this one.
func (h *Handover) Leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.left.Swap(true) && h.floors.left != nil {
		close(h.floors.left)
	}
}

// Left reports whether another process has taken the place of this one: clients that
// can are to go there.
func (h *Handover) Left() bool { return h != nil && h.left.Load() }

// AddOurs has f tell which sessions are those of programs that this server runs, as they
// are when it is called.
func (h *Handover) AddOurs(f func() func(*session.Session) bool) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ours = append(h.ours, f)
}

// Clients counts those of some sessions that hold a connection and are no part of the
// server itself, which ends with it.
func (h *Handover) Clients(all iter.Seq[*session.Session]) (n int) {
	h.mu.Lock()
	var ours []func(*session.Session) bool
	for _, f := range h.ours {
		ours = append(ours, f())
	}
	h.mu.Unlock()
	for s := range all {
		if !s.Internal && !s.Polls && !slices.ContainsFunc(ours, func(f func(*session.Session) bool) bool { return f(s) }) {
			n++
		}
	}
	return n
}

// A Mirror is a part that cuts streams into segments and lists them. What was published
// before an upgrade is cut by the old process to its end, and listed by both.
type Mirror interface {
	// Name tells it from others, in both processes.
	Name() string
	// Keys lists the streams of which it has something.
	Keys() []hub.Key
	// Lend has send told of all that it has of a stream, and then of each segment. It
	// returns false if it has nothing, or does so already. Keep ends that, where the
	// upgrade came to nothing.
	Lend(key hub.Key, send func(piece []byte)) bool
	Keep()
	// Borrow says that pieces of a stream follow, perhaps, so that it is not to be cut
	// here; Take takes one, and Return says that there are no more: what is published
	// from then on is cut here.
	Borrow(key hub.Key)
	Take(key hub.Key, piece []byte) error
	Return(key hub.Key)
}

// AddMirror adds one.
func (h *Handover) AddMirror(m Mirror) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mirrors = append(h.mirrors, m)
}

func (h *Handover) allMirrors() []Mirror {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.mirrors
}

// MirrorKeys lists the streams of which a mirror has something.
func (h *Handover) MirrorKeys() (all []hub.Key) {
	for _, m := range h.allMirrors() {
		for _, k := range m.Keys() {
			if !slices.Contains(all, k) {
				all = append(all, k)
			}
		}
	}
	return all
}

// LendMirrors has send told of all segments of a stream, by the mirror's name, and
// returns which mirrors have some.
func (h *Handover) LendMirrors(key hub.Key, send func(of string, piece []byte)) (names []string) {
	for _, m := range h.allMirrors() {
		if m.Lend(key, func(piece []byte) { send(m.Name(), piece) }) {
			names = append(names, m.Name())
		}
	}
	return names
}

// KeepMirrors ends all that is lent.
func (h *Handover) KeepMirrors() {
	for _, m := range h.allMirrors() {
		m.Keep()
	}
}

// BorrowMirrors says that pieces of a stream follow for the mirrors of these names.
func (h *Handover) BorrowMirrors(key hub.Key, names []string) {
	for _, m := range h.allMirrors() {
		if slices.Contains(names, m.Name()) {
			m.Borrow(key)
		}
	}
}

// TakeMirror gives a piece to the mirror of that name. One that is not there takes none.
func (h *Handover) TakeMirror(of string, key hub.Key, piece []byte) error {
	for _, m := range h.allMirrors() {
		if m.Name() == of {
			return m.Take(key, piece)
		}
	}
	return nil
}

// ReturnMirrors says that no more pieces of a stream follow.
func (h *Handover) ReturnMirrors(key hub.Key) {
	for _, m := range h.allMirrors() {
		m.Return(key)
	}
}

// Answer has f answer what the other process asks for at a path, "/clients" say.
func (h *Handover) Answer(path string, f http.HandlerFunc) {
	if h == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.answers == nil {
		h.answers = http.NewServeMux()
	}
	h.answers.HandleFunc(path, f)
}

// ServeHTTP answers the other process.
func (h *Handover) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	mux := h.answers
	h.mu.Unlock()
	if mux == nil {
		http.NotFound(w, r)
		return
	}
	mux.ServeHTTP(w, r)
}

// SetAsk says how the other process is asked.
func (h *Handover) SetAsk(t http.RoundTripper) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ask = t
}

// askTime is how long the process that was before may take to answer.
const askTime = 2 * time.Second

// errAlone says that there is no process that was before.
var errAlone = errors.New("no other process serves")

// AskElder asks the process that was before, while it serves, and returns its answer,
// which is JSON, in to. The error says why there is none.
func (h *Handover) AskElder(path string, query url.Values, to any) error {
	if !h.HasElder() {
		return errAlone
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://elder"+path+"?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	res, err := h.PassToElder(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return errors.New(res.Status)
	}
	return json.NewDecoder(res.Body).Decode(to)
}

// PassToElder passes a request to the process that was before.
func (h *Handover) PassToElder(r *http.Request) (*http.Response, error) {
	if !h.HasElder() {
		return nil, errAlone
	}
	h.mu.Lock()
	t := h.ask
	h.mu.Unlock()
	if t == nil {
		return nil, errAlone
	}
	return t.RoundTrip(r)
}
