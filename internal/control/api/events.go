package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/session"
)

const (
	// eventsKept is how many events are kept for those who are slow or come again.
	eventsKept = 512
	// eventReaders is how many may listen at one time.
	eventReaders = 64
	// eventPause is how often one that hears nothing is shown that it is still heard.
	eventPause = 15 * time.Second
	// eventWrite is how long a listener may take to be written to.
	eventWrite = 10 * time.Second
)

// happening is one event, as /api/v1/events tells it.
type happening struct {
	At       int64   `json:"at_ms"`
	Client   string  `json:"client_id"`
	IP       string  `json:"ip"`
	Type     string  `json:"type,omitempty"` // of the client, as in its row
	Vhost    string  `json:"vhost,omitempty"`
	App      string  `json:"app,omitempty"`
	Stream   string  `json:"stream,omitempty"`
	StreamID string  `json:"stream_id,omitempty"`
	Why      string  `json:"why,omitempty"` // it ended
	File     string  `json:"file,omitempty"`
	URL      string  `json:"url,omitempty"`
	Seconds  float64 `json:"seconds,omitempty"`
}

// whats are the names of events.
var whats = map[session.What]string{
	session.Connected: "connect", session.Published: "publish", session.Unpublished: "unpublish", session.Played: "play",
	session.Stopped: "stop", session.Closed: "close", session.Segmented: "hls", session.Recorded: "dvr",
}

// events are the newest events, for all who listen.
type events struct {
	mu      sync.Mutex
	kept    [eventsKept]event // guarded by mu
	next    uint64            // of the next event, from 1; guarded by mu
	more    chan struct{}     // closed and replaced when there is another; guarded by mu
	readers int               // guarded by mu
}

type event struct {
	name string
	data []byte
}

func newEvents() *events { return &events{next: 1, more: make(chan struct{})} }

// Observe implements session.Observer.
func (l *events) Observe(e session.Event) {
	if whats[e.What] == "" {
		return
	}
	key := e.Ask.Key
	h := happening{At: time.Now().UnixMilli(), Client: e.Session.ID, IP: e.Session.Visitor.IP, Type: e.Ask.Type, Vhost: key.Vhost, App: key.App, Stream: key.Stream, StreamID: e.StreamID}
	if e.Err != nil {
		h.Why = e.Err.Error()
	}
	if e.Recording != nil {
		h.File, h.URL = e.Recording.File, e.Recording.URL
	}
	if e.Segment != nil {
		h.File, h.URL, h.Seconds = e.Segment.File, e.Segment.URL, e.Segment.Duration.Seconds()
	}
	data, err := json.Marshal(h)
	if err != nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kept[l.next%eventsKept] = event{whats[e.What], data}
	l.next++
	close(l.more)
	l.more = make(chan struct{})
}

// since appends what a listener is told that has heard all before an event, of the
// kinds in only, if there are any; and returns which event is next, and what is closed
// when it has come.
func (l *events) since(dst []byte, from uint64, only []string) ([]byte, uint64, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next > eventsKept && from < l.next-eventsKept {
		dst = fmt.Appendf(dst, "event: lost\ndata: {\"events\":%d}\n\n", l.next-eventsKept-from)
		from = l.next - eventsKept
	}
	for ; from < l.next; from++ {
		if e := &l.kept[from%eventsKept]; len(only) == 0 || slices.Contains(only, e.name) {
			dst = fmt.Appendf(dst, "id: %d\nevent: %s\ndata: %s\n\n", from, e.name, e.data)
		}
	}
	return dst, from, l.more
}

// enter admits a listener, and returns which event is the next.
func (l *events) enter() (next uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers >= eventReaders {
		return 0, false
	}
	l.readers++
	return l.next, true
}

func (l *events) leave() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers--
}

// listen tells what happens as it happens, as server-sent events (HTML 9.2):
//
//	GET /api/v1/events[?only=publish,unpublish]
func (a *API) listen(w http.ResponseWriter, r *http.Request) {
	if !a.guarded(w, r, http.MethodGet) {
		return
	}
	var only []string
	if s := r.URL.Query().Get("only"); s != "" {
		only = strings.Split(s, ",")
	}
	from, ok := a.events.enter()
	if !ok {
		a.refuse(w, r, http.StatusServiceUnavailable, refusal{http.StatusServiceUnavailable, "as many listen as may; try again later"})
		return
	}
	defer a.events.leave()
	// One that comes again says what it has heard. A number from before a restart is
	// of no use.
	if last, err := strconv.ParseUint(r.Header.Get("Last-Event-ID"), 10, 64); err == nil && last < from {
		from = last + 1
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	out := http.NewResponseController(w)
	b := []byte("retry: 3000\n\n")
	pause := time.NewTicker(eventPause)
	defer pause.Stop()
	for {
		var more <-chan struct{}
		b, from, more = a.events.since(b, from, only)
		if len(b) > 0 {
			out.SetWriteDeadline(time.Now().Add(eventWrite))
			if _, err := w.Write(b); err != nil || out.Flush() != nil {
				return
			}
		}
		b = b[:0]
		select {
		case <-more:
		case <-pause.C:
			b = append(b, ": still here\n\n"...)
		case <-r.Context().Done():
			return
		}
	}
}
