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
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
)

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

// Two players of a stream cost the origin one, which says who asks; it ends some time
// after the last of them.
func TestEdgePull(t *testing.T) {
	o := protocoltest.OpenNeighbour(t)
	h := openHouse(t, "origin "+o.Addr()+"; vhost up.[vhost];")
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
	protocoltest.Eventually(t, "the pull ends", func() bool { return strings.HasSuffix(o.Heard(), "end: <nil>") })
	if got, want := o.Heard(), "connect rtmp://up.my.com:"+o.Port()+"/live\nplay s?token=1\nend: <nil>"; got != want {
		t.Errorf("the origin heard\n%s\nwant\n%s", got, want)
	}
	if a := o.Connect().Args; a.Text("srs_id") != one.ID || a.Text(service.Via) != "below,service0" {
		t.Errorf("arguments of connect: %v", a)
	}
	protocoltest.Eventually(t, "nobody is left", func() bool { n, _ := h.House.Env.Desk.Len(); return n == 0 })
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
	o := protocoltest.OpenNeighbour(t)
	moved := protocoltest.OpenNeighbour(t, func(n *protocoltest.Neighbour) { n.Moved = "rtmp://" + o.Addr() + "/live/s?x=1" })
	h := openHouse(t, "origin "+protocoltest.FreeAddr(t)+" "+shut.Addr().String()+" "+mute.Addr().String()+" "+moved.Addr()+";")
	_, sub, err := h.play(session.Visitor{Protocol: "rtmp"}, hub.DefaultVhost, "")
	if err != nil {
		t.Fatal(err)
	}
	gets(t, sub, 50)
	if got := o.Heard(); !strings.HasSuffix(got, "play s?x=1") {
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
		protocoltest.Eventually(t, "the publisher has it", func() bool {
			return h.House.Env.Desk.Publisher(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}) == s
		})
	} else {
		t.Errorf("publish: %v", err)
	}
}

// The origin decides, of players and of publishers.
func TestTokenTraverse(t *testing.T) {
	no, yes := protocoltest.OpenNeighbour(t, func(n *protocoltest.Neighbour) { n.Rejects = true }), protocoltest.OpenNeighbour(t)
	h := openHouse(t, "origin "+no.Addr()+"; token_traverse on;")
	v := session.Visitor{Protocol: "rtmp", TcURL: "rtmp://token.com/live?k=1", PageURL: "http://page/", SwfURL: "http://swf/"}
	if _, _, err := h.play(v, hub.DefaultVhost, ""); !errors.Is(err, session.ErrDenied) {
		t.Errorf("the origin refused, and the edge said %v", err)
	}
	if got := no.Connect(); got.TcURL != v.TcURL || got.PageURL != v.PageURL || got.SwfURL != v.SwfURL {
		t.Errorf("the origin was asked with %+v", got)
	}
	h = openHouse(t, "origin "+protocoltest.FreeAddr(t)+" "+yes.Addr()+"; token_traverse on;")
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
		config, _ := flv.AppendConfigBody(nil, protocoltest.Picture)
		w.Write(flv.AppendTag(flv.AppendFileHeader(nil, false, true), flv.TypeVideo, 0, config))
		for n := 0; r.Context().Err() == nil; n++ {
			if _, err := w.Write(flv.AppendTag(nil, flv.TypeVideo, uint32(10*n), flv.AppendBody(nil, protocoltest.Numbered(protocoltest.Picture, n)))); err != nil {
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
