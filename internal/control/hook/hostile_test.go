package hook

import (
	"bufio"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// hostile is a house whose callback server is a function on a connection, in the
// bubble's time.
func hostile(conf URLs, serve func(nc net.Conn, r *bufio.Reader)) (*session.Desk, *Hooks) {
	d := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
	h := New(service.Env{Log: slog.New(slog.DiscardHandler), Identity: service.Identity{Server: "weir/1"}}, func(string) URLs { return conf })
	h.loose.Transport.(*http.Transport).DialContext = func(context.Context, string, string) (net.Conn, error) {
		if serve == nil {
			return nil, errors.New("connection refused")
		}
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r := bufio.NewReader(theirs)
			for {
				req, err := http.ReadRequest(r)
				if err != nil {
					return
				}
				io.Copy(io.Discard, req.Body)
				serve(theirs, r)
			}
		}()
		return ours, nil
	}
	d.Authorize(h)
	d.Observe(h)
	return d, h
}

const accept = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n0"

// Whatever a callback server does, the client who waits for it has its answer
// within the deadline, and the one that on_error says.
func TestHostileServers(t *testing.T) {
	hang := func(nc net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) }
	drip := func(text string) func(net.Conn, *bufio.Reader) {
		return func(nc net.Conn, _ *bufio.Reader) {
			for {
				for i := range text {
					if _, err := nc.Write([]byte{text[i]}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			}
		}
	}
	say := func(text string) func(net.Conn, *bufio.Reader) {
		return func(nc net.Conn, _ *bufio.Reader) { io.WriteString(nc, text); nc.Close() }
	}
	flood := func(head, more string) func(net.Conn, *bufio.Reader) {
		return func(nc net.Conn, _ *bufio.Reader) {
			io.WriteString(nc, head)
			block := strings.Repeat(more, 32<<10/len(more))
			for range 1 << 15 { // a gigabyte
				if _, err := io.WriteString(nc, block); err != nil {
					return
				}
			}
		}
	}
	for _, c := range []struct {
		name   string
		serve  func(net.Conn, *bufio.Reader)
		code   int
		open   bool // admitted where on_error says allow
		within time.Duration
	}{
		{"refuses", nil, 1018, true, 0},
		{"hangs", hang, 1011, true, 30 * time.Second},
		{"drips the header", drip("HTTP/1.1 200 OK\r\nX-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), 1011, true, 30 * time.Second},
		{"drips the body", func(nc net.Conn, r *bufio.Reader) {
			io.WriteString(nc, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
			drip("        ")(nc, r)
		}, 1011, true, 30 * time.Second},
		{"closes early", say(""), 1018, true, 0},
		{"closes in the header", say("HTTP/1.1 200 OK\r\nContent-Le"), 1018, true, 0},
		{"closes in the body", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0"), 1018, true, 0},
		{"talks garbage", say("\x16\x03\x01\x02garbage\r\n\r\n"), 1018, true, 0},
		{"floods the body", flood("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n", "0"), 3008, false, 0},
		{"floods a chunked body", flood("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "1\r\n0\r\n"), 3008, false, 0},
		{"floods the header", flood("HTTP/1.1 200 OK\r\n", "A: b\r\n"), 1018, true, 0},
		{"goes on without end", flood("", "HTTP/1.1 100 Continue\r\n\r\n"), 1018, true, 0},
		{"redirects", say("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/again\r\nContent-Length: 0\r\n\r\n"), 4005, false, 0},
		{"is not there", say("HTTP/1.1 404 Not Found\r\nContent-Length: 1\r\n\r\n0"), 4005, false, 0},
		{"is broken", say("HTTP/1.1 500 Oh\r\nContent-Length: 1\r\n\r\n0"), 4005, true, 0},
		{"answers HTML", say("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), 3008, false, 0},
		{"refuses the client", say("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"code\":7}"), 3064, false, 0},
		{"accepts", say(accept), 0, true, 0},
	} {
		for _, open := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, open %v", c.name, open), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					d, h := hostile(URLs{OnPublish: []string{"http://hook/"}, Open: open}, c.serve)
					began := time.Now()
					s, err := d.Connect(t.Context(), session.Visitor{})
					if err != nil {
						t.Fatal(err)
					}
					_, err = s.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}})
					want := c.code
					if open && c.open {
						want = 0
					}
					if session.Code(err) != want {
						t.Errorf("%v, code %d, want %d", err, session.Code(err), want)
					}
					if took := time.Since(began); took != c.within {
						t.Errorf("decided after %v, want %v", took, c.within)
					}
					s.Close(nil)
					h.loose.CloseIdleConnections()
					time.Sleep(time.Minute) // the server notices
				})
			})
		}
	}
}

// The deadline is the vhost's.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := hostile(URLs{OnPlay: []string{"http://hook/"}, Timeout: 1500 * time.Millisecond}, func(nc net.Conn, r *bufio.Reader) { io.Copy(io.Discard, r) })
		s, err := d.Connect(t.Context(), session.Visitor{})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		err = s.Watch(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}})
		if took := time.Since(began); took != 1500*time.Millisecond || session.Code(err) != 1011 || !strings.Contains(fmt.Sprint(err), "within 1.5s") {
			t.Errorf("%v after %v", err, took)
		}
		s.Close(nil)
	})
}

// A notification that does not arrive is sent again, later and later, and keeps its
// place: what happened to the client afterwards is told after it.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls []time.Duration
		began := time.Now()
		down := 3
		d, h := hostile(URLs{OnUnpublish: []string{"http://hook/"}, OnStop: []string{"http://hook/"}, Retries: 5, RetryInterval: time.Second}, func(nc net.Conn, _ *bufio.Reader) {
			calls = append(calls, time.Since(began))
			if down--; down >= 0 {
				io.WriteString(nc, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
				return
			}
			io.WriteString(nc, accept)
		})
		s, err := d.Connect(t.Context(), session.Visitor{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}}); err != nil {
			t.Fatal(err)
		}
		s.Leave(nil)
		if err := s.Watch(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}}); err != nil {
			t.Fatal(err)
		}
		s.Close(nil)
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := fmt.Sprint(calls); got != "[0s 1s 3s 7s 7s]" {
			t.Errorf("called at %v", got)
		}
		if h.queue.waiting != 0 || h.queue.lost != 0 {
			t.Errorf("%d wait, %d lost", h.queue.waiting, h.queue.lost)
		}
		h.loose.CloseIdleConnections()
	})
}

// One that is refused is not sent again, and one that never arrives is given up.
func TestRetriesEnd(t *testing.T) {
	for _, c := range []struct {
		answer string
		calls  int32
	}{{"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"code\":7}", 1}, {"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", 3}} {
		synctest.Test(t, func(t *testing.T) {
			var calls atomic.Int32
			d, h := hostile(URLs{OnClose: []string{"http://hook/"}, Retries: 2, RetryInterval: time.Second}, func(nc net.Conn, _ *bufio.Reader) {
				calls.Add(1)
				io.WriteString(nc, c.answer)
			})
			s, err := d.Connect(t.Context(), session.Visitor{Connects: true})
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Watch(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "a"}}); err != nil {
				t.Fatal(err)
			}
			s.Close(nil)
			time.Sleep(time.Hour)
			synctest.Wait()
			if calls.Load() != c.calls || h.queue.waiting != 0 || h.queue.workers != 0 {
				t.Errorf("%q: %d calls, want %d; %d wait", c.answer, calls.Load(), c.calls, h.queue.waiting)
			}
			h.loose.CloseIdleConnections()
		})
	}
}

// A server that is down for good delays neither the notifications of other clients,
// however many wait for it, nor the exit by more than its second; what is over the
// bound is lost.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var arrived atomic.Int32
		_, h := hostile(URLs{}, func(nc net.Conn, _ *bufio.Reader) { arrived.Add(1); io.WriteString(nc, accept) })
		for i := range 300 {
			h.queue.put(fmt.Sprint("down", i), 200, func(context.Context) time.Duration { return time.Minute })
		}
		if h.queue.lost != 100 {
			t.Errorf("%d lost, want 100", h.queue.lost)
		}
		h.tell(&URLs{}, []string{"http://hook/"}, "on_stop", &session.Session{ID: "other"}, 1)
		synctest.Wait()
		if arrived.Load() != 1 {
			t.Error("another client's notification waits")
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- h.Run(ctx) }()
		began := time.Now()
		cancel()
		<-done
		if took := time.Since(began); took != time.Second {
			t.Errorf("the exit took %v", took)
		}
		time.Sleep(2 * time.Minute) // the timers find nothing to do
	})
}

// A call is signed so that the server can tell that it is ours, and fresh.
func TestSignature(t *testing.T) {
	body := []byte(`{"action":"on_publish"}`)
	got := sign("s3cret", time.Unix(1790000000, 0), body)
	m := hmac.New(sha256.New, []byte("s3cret"))
	io.WriteString(m, `1790000000.{"action":"on_publish"}`)
	if want := "t=1790000000,v1=" + hex.EncodeToString(m.Sum(nil)); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var header, sent string
	o := newOperator(t)
	o.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		header, sent = r.Header.Get("X-Weir-Signature"), string(b)
		io.WriteString(w, "0")
	})
	_, h := newHouse(t, o)
	if err := h.post(t.Context(), &URLs{Secret: "s3cret"}, o.URL, "on_publish", &session.Session{}, map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	var at int64
	var mac string
	if _, err := fmt.Sscanf(header, "t=%d,v1=%s", &at, &mac); err != nil || header != sign("s3cret", time.Unix(at, 0), []byte(sent)) {
		t.Errorf("header %q of %q: %v", header, sent, err)
	}
	if err := h.post(t.Context(), &URLs{}, o.URL, "on_publish", &session.Session{}, 1); err != nil || header != "" {
		t.Errorf("without a secret: %q, %v", header, err)
	}
}

// A server of https with a certificate of its own making is called as in SRS, and
// that is told; with tls_verify on it is not.
func TestTLSVerify(t *testing.T) {
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "0") }))
	defer srv.Close()
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	for _, c := range []struct {
		verify  string
		code    int
		notices int
	}{{"off", 0, 0}, {"warn", 0, 1}, {"on", 1018, 0}} {
		env := service.Env{Log: slog.New(slog.DiscardHandler), Notices: &service.Notices{}}
		h := New(env, nil)
		err := h.post(t.Context(), &URLs{TLSVerify: c.verify}, srv.URL, "on_publish", &session.Session{}, 1)
		if session.Code(err) != c.code || err != nil && !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", c.verify, err)
		}
		if n := len(env.Notices.All()); n != c.notices {
			t.Errorf("%s: %d notices: %v", c.verify, n, env.Notices.All())
		}
	}
}
