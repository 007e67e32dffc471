package edge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// A source is an origin of RTMP, which plays a frame each 10 ms.
type source struct {
	t      *testing.T
	l      net.Listener
	reject bool   // at connect
	moved  string // where the stream is

	mu    sync.Mutex
	lines []string
	info  rtmp.ConnectInfo
	wg    sync.WaitGroup
}

func newSource(t *testing.T, more ...func(*source)) *source {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &source{t: t, l: l}
	for _, m := range more {
		m(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(ctx, nc); s.say("end") })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); s.wg.Wait() })
	return s
}

func (s *source) addr() string { return s.l.Addr().String() }

func (s *source) port() string { _, p, _ := net.SplitHostPort(s.addr()); return p }

func (s *source) say(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lines = append(s.lines, line)
}

func (s *source) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

// connect returns what the newest client said at first.
func (s *source) connect() rtmp.ConnectInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

func (s *source) serve(ctx context.Context, nc net.Conn) {
	c := link.NewConn(ctx, nc, link.Options{})
	defer c.Close()
	info, err := c.Open()
	if err != nil {
		return
	}
	s.mu.Lock()
	s.info = info
	s.mu.Unlock()
	s.say("connect " + info.TcURL)
	if s.reject {
		c.Reject(rtmp.ConnectRejected, "no")
		c.Linger(time.Second)
		return
	}
	c.Accept(rtmp.Reply{})
	w, err := c.ReadWish(5 * time.Second)
	if err != nil {
		return
	}
	s.say("play " + w.Name)
	c.StartPlay()
	if s.moved != "" {
		c.Redirect(s.moved[:strings.LastIndexByte(s.moved, '/')], s.moved)
		c.Linger(time.Second)
		return
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for err := error(nil); err == nil; {
			_, err = c.ReadControl(0)
		}
	}()
	defer func() { c.Close(); <-gone }()
	config, _ := flv.AppendConfigBody(nil, picture)
	c.Write(rtmp.AppendParts(nil, rtmp.Message{Type: rtmp.TypeVideo, CSID: rtmp.CSIDVideo, StreamID: 1}, c.ChunkSize(), config))
	for n := uint32(0); ; n++ {
		body := flv.AppendBody(nil, frame(int(n)))
		if c.Write(rtmp.AppendParts(nil, rtmp.Message{Type: rtmp.TypeVideo, CSID: rtmp.CSIDVideo, StreamID: 1, Timestamp: 10 * n}, c.ChunkSize(), body)) != nil {
			return
		}
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

var picture = &media.Track{Kind: media.Video, Codec: media.H264, Config: []byte("\x01\x42\xc0\x1f\xff\xe1\x00\x17\x67\x42\xc0\x1f\xda\x01\x40\x16\xe8\x40\x00\x00\x03\x00\x40\x00\x00\x0c\x83\xc6\x0c\xa8\x01\x00\x04\x68\xce\x3c\x80")}

func frame(n int) *media.Frame {
	f := &media.Frame{Track: picture, Key: n%10 == 0, Payload: fmt.Appendf([]byte{0, 0, 0, 5, 0x41}, "%04d", n%10000)}
	if f.Key {
		f.Payload[4] = 0x65
	}
	return f
}

type house struct {
	*protocoltest.House
	*server
	t *testing.T
}

func openHouse(t *testing.T, cluster string) *house {
	h := &house{t: t}
	p := Protocol
	p.New = func(env service.Env) (service.Service, error) {
		svc, err := Protocol.New(env)
		h.server, _ = svc.(*server)
		return svc, err
	}
	conf := "cluster { mode remote; " + cluster + " }"
	h.House = protocoltest.Open(t, protocoltest.Options{Protocol: p, Vhost: conf, Vhosts: "vhost my.com { " + conf + " }"})
	return h
}

func (h *house) play(v session.Visitor, vhost, param string) (*session.Session, *hub.Subscription, error) {
	s, err := h.House.Env.Desk.Connect(h.t.Context(), v)
	if err != nil {
		h.t.Fatal(err)
	}
	sub, err := s.Play(h.t.Context(), session.Ask{Key: hub.Key{Vhost: vhost, App: "live", Stream: "s"}, Said: session.Said{Vhost: vhost, App: "live", Stream: "s", Param: param}}, hub.Options{})
	if err != nil {
		s.Close(err)
		return s, nil, err
	}
	h.t.Cleanup(func() { s.Close(nil) })
	return s, sub, nil
}

// gets reads frames, over the ends of publications.
func gets(t *testing.T, sub *hub.Subscription, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var one [1]*media.Frame
	for range n {
		_, err := sub.Read(ctx, one[:])
		if _, ok := errors.AsType[*hub.EndError](err); err != nil && !ok {
			t.Fatal(err)
		}
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 1500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not so after 15 s: %s", what)
}

// Two players of a stream cost the origin one, which says who asks; it ends some time
// after the last of them.
func TestEdgePull(t *testing.T) {
	o := newSource(t)
	h := openHouse(t, "origin "+o.addr()+"; vhost up.[vhost];")
	one, sub, err := h.play(session.Visitor{Protocol: "rtmp", Via: "below"}, "my.com", "?vhost=my.com&token=1")
	if err != nil {
		t.Fatal(err)
	}
	gets(t, sub, 20)
	two, sub, err := h.play(session.Visitor{Protocol: "flv"}, "my.com", "")
	if err != nil {
		t.Fatal(err)
	}
	gets(t, sub, 20)
	one.Close(nil)
	two.Close(nil)
	eventually(t, "the pull ends", func() bool { return strings.HasSuffix(o.heard(), "end") })
	if got, want := o.heard(), "connect rtmp://up.my.com:"+o.port()+"/live\nplay s?token=1\nend"; got != want {
		t.Errorf("the origin heard\n%s\nwant\n%s", got, want)
	}
	if a := o.connect().Args; a.Text("srs_id") != one.ID || a.Text(service.Via) != "below,service0" {
		t.Errorf("arguments of connect: %v", a)
	}
	eventually(t, "nobody is left", func() bool { n, _ := h.House.Env.Desk.Len(); return n == 0 })
}

// Players stay while origins go, move and come.
func TestEdgeFailover(t *testing.T) {
	shut, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer shut.Close()
	go func() {
		for nc, err := shut.Accept(); err == nil; nc, err = shut.Accept() {
			nc.Close()
		}
	}()
	mute, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	o := newSource(t)
	moved := newSource(t, func(s *source) { s.moved = "rtmp://" + o.addr() + "/live/s?x=1" })
	h := openHouse(t, "origin "+protocoltest.FreeAddr(t)+" "+shut.Addr().String()+" "+mute.Addr().String()+" "+moved.addr()+";")
	_, sub, err := h.play(session.Visitor{Protocol: "rtmp"}, hub.DefaultVhost, "")
	if err != nil {
		t.Fatal(err)
	}
	gets(t, sub, 50)
	if got := o.heard(); !strings.HasSuffix(got, "play s?x=1") {
		t.Errorf("the origin that was named heard %q", got)
	}
	for s := range h.House.Env.Desk.Publishing() {
		s.Kick(session.ErrKicked) // as if the connection were lost
	}
	gets(t, sub, 50)
	// Who publishes here takes the stream over.
	s, err := h.House.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: "rtmp", Internal: false})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close(nil)
	if _, err := s.Publish(t.Context(), session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}}); err == nil {
		// The origin that is asked first may be one that cannot be reached.
		eventually(t, "the publisher has it", func() bool {
			return h.House.Env.Desk.Publisher(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}) == s
		})
	} else {
		t.Errorf("publish: %v", err)
	}
}

// The origin decides, of players and of publishers.
func TestTokenTraverse(t *testing.T) {
	no, yes := newSource(t, func(s *source) { s.reject = true }), newSource(t)
	h := openHouse(t, "origin "+no.addr()+"; token_traverse on;")
	v := session.Visitor{Protocol: "rtmp", TcURL: "rtmp://token.com/live?k=1", PageURL: "http://page/", SwfURL: "http://swf/"}
	if _, _, err := h.play(v, hub.DefaultVhost, ""); !errors.Is(err, session.ErrDenied) {
		t.Errorf("the origin refused, and the edge said %v", err)
	}
	if got := no.connect(); got.TcURL != v.TcURL || got.PageURL != v.PageURL || got.SwfURL != v.SwfURL {
		t.Errorf("the origin was asked with %+v", got)
	}
	h = openHouse(t, "origin "+protocoltest.FreeAddr(t)+" "+yes.addr()+"; token_traverse on;")
	if _, sub, err := h.play(v, hub.DefaultVhost, ""); err != nil {
		t.Error(err)
	} else {
		gets(t, sub, 3)
	}
	h = openHouse(t, "origin "+protocoltest.FreeAddr(t)+"; token_traverse on;")
	if _, _, err := h.play(v, hub.DefaultVhost, ""); session.Code(err) != 3067 {
		t.Errorf("no origin: %v", err)
	}
	if _, _, err := h.play(session.Visitor{Protocol: "rtmp", Via: "a,service0"}, hub.DefaultVhost, ""); !errors.Is(err, session.ErrLoop) {
		t.Errorf("a circle: %v", err)
	}
}

// The stream is had over HTTP-FLV, also as the client does, and over TLS, where a
// certificate that nobody trusts is told of, as in SRS.
func TestEdgeFLV(t *testing.T) {
	var mu sync.Mutex
	var asked string
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = r.URL.String()
		mu.Unlock()
		config, _ := flv.AppendConfigBody(nil, picture)
		w.Write(flv.AppendTag(flv.AppendFileHeader(nil, false, true), flv.TypeVideo, 0, config))
		for n := 0; r.Context().Err() == nil; n++ {
			if _, err := w.Write(flv.AppendTag(nil, flv.TypeVideo, uint32(10*n), flv.AppendBody(nil, frame(n)))); err != nil {
				return
			}
			w.(http.Flusher).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	})
	web, secure := httptest.NewServer(handler), httptest.NewTLSServer(handler)
	defer web.Close()
	defer secure.Close()
	for _, c := range []struct {
		conf   string
		origin *httptest.Server
		notice string
	}{{"protocol flv;", web, ""}, {"follow_client on;", web, ""}, {"protocol flvs;", secure, "certificate cannot be trusted"}} {
		h := openHouse(t, c.conf+" origin "+c.origin.Listener.Addr().String()+";")
		s, sub, err := h.play(session.Visitor{Protocol: "flv"}, "my.com", "?a=1&vhost=x")
		if err != nil {
			t.Fatal(err)
		}
		gets(t, sub, 20)
		s.Close(nil)
		mu.Lock()
		if want := "/live/s.flv?a=1&vhost=my.com"; asked != want {
			t.Errorf("%s: asked for %s, want %s", c.conf, asked, want)
		}
		mu.Unlock()
		if said := fmt.Sprint(h.House.Env.Notices.All()); !strings.Contains(said, c.notice) || c.notice == "" && said != "map[]" {
			t.Errorf("%s: notices are %s", c.conf, said)
		}
	}
}
