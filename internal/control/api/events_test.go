package api

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"weir/internal/session"
)

// told reads events until there are n, without keep-alives.
func told(t *testing.T, body io.Reader, n int) (all []map[string]any) {
	t.Helper()
	name, id := "", ""
	lines := bufio.NewScanner(body)
	for len(all) < n && lines.Scan() {
		key, value, _ := strings.Cut(lines.Text(), ": ")
		switch key {
		case "id":
			id = value
		case "event":
			name = value
		case "data":
			e := map[string]any{}
			if err := json.Unmarshal([]byte(value), &e); err != nil {
				t.Fatalf("%q: %v", value, err)
			}
			e["event"], e["id"] = name, id
			all = append(all, e)
		}
	}
	if len(all) < n {
		t.Fatalf("%d events of %d, then %v", len(all), n, lines.Err())
	}
	return all
}

// listenTo opens /api/v1/events of a house behind a real server.
func (h *house) listenTo(t *testing.T, query string, header ...string) *http.Response {
	t.Helper()
	srv := httptest.NewServer(h.env.API)
	t.Cleanup(srv.Close)
	r, _ := http.NewRequestWithContext(t.Context(), "GET", srv.URL+"/api/v1/events"+query, nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { res.Body.Close() })
	return res
}

func TestEvents(t *testing.T) {
	h := newHouse(t)
	all, some := h.listenTo(t, ""), h.listenTo(t, "?only=unpublish")
	if all.StatusCode != 200 || all.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("%s %v", all.Status, all.Header)
	}
	p, _ := h.publish("news")
	p.Close(session.ErrKicked)
	got := told(t, all.Body, 2)
	if got[0]["event"] != "publish" || got[0]["stream"] != "news" || got[0]["client_id"] != p.ID || got[0]["app"] != "live" {
		t.Errorf("%v", got[0])
	}
	if got[1]["event"] != "unpublish" || got[1]["why"] != session.ErrKicked.Error() {
		t.Errorf("%v", got[1])
	}
	if one := told(t, some.Body, 1)[0]; one["event"] != "unpublish" || one["id"] != got[1]["id"] {
		t.Errorf("of one kind: %v", one)
	}
	// One that comes again hears what it has missed.
	again := told(t, h.listenTo(t, "", "Last-Event-ID", got[0]["id"].(string)).Body, 1)[0]
	if again["event"] != "unpublish" || again["id"] != got[1]["id"] {
		t.Errorf("again: %v", again)
	}
	// One that was away for too long is told so.
	for range eventsKept {
		h.api.events.Observe(session.Event{What: session.Played, Session: p})
	}
	late := told(t, h.listenTo(t, "", "Last-Event-ID", "1").Body, 2)
	if late[0]["event"] != "lost" || late[0]["events"] == 0.0 || late[1]["event"] != "play" {
		t.Errorf("late: %v", late)
	}
	if id, _ := strconv.Atoi(late[1]["id"].(string)); id != 2+int(late[0]["events"].(float64)) {
		t.Errorf("%v events are lost, the next is %v", late[0]["events"], late[1]["id"])
	}
}

// Nobody listens whom the rules of what SRS does not have keep out, and no more than
// may.
func TestEventsAreGuarded(t *testing.T) {
	h := newHouse(t)
	if w := h.ask("GET", "/api/v1/events", "Origin", "http://elsewhere"); w.Code != 403 {
		t.Errorf("another site's page: %d", w.Code)
	}
	r := httptest.NewRequest("GET", "/api/v1/events", nil) // from 192.0.2.1
	w := httptest.NewRecorder()
	if h.env.API.ServeHTTP(w, r); w.Code != 403 {
		t.Errorf("from elsewhere: %d", w.Code)
	}
	for range eventReaders {
		if _, ok := h.api.events.enter(); !ok {
			t.Fatal("too few may listen")
		}
	}
	if res := h.listenTo(t, ""); res.StatusCode != 503 {
		t.Errorf("one too many: %s", res.Status)
	}
	h.api.events.leave()
	if res := h.listenTo(t, ""); res.StatusCode != 200 {
		t.Errorf("when one has left: %s", res.Status)
	}
}
