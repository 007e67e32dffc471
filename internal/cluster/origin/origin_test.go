package origin

import (
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"

	"weir/internal/hub"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

// Players are sent to the coworker that has the stream, whatever the others answer.
func TestCoworkers(t *testing.T) {
	var mu sync.Mutex
	answer, asked := "", ""
	coworker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = r.Method + " " + r.URL.String()
		if answer == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, answer)
	}))
	defer coworker.Close()
	at := coworker.Listener.Addr().String()
	mute, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: "cluster { origin_cluster on; coworkers " + mute.Addr().String() + " " + protocoltest.FreeAddr(t) + " " + at + "; }"})
	key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
	play := func(protocol string) error {
		s, err := h.Env.Desk.Connect(t.Context(), session.Visitor{Protocol: protocol, Local: netip.MustParseAddrPort("127.0.0.1:1935")})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close(nil)
		_, err = s.Play(t.Context(), session.Ask{Key: key}, hub.Options{})
		return err
	}
	say := func(s string) { mu.Lock(); answer = s; mu.Unlock() }
	const found = `{"code":0,"data":{"query":{"ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","stream":"s"},"origin":{"ip":"127.0.0.1","port":19351,"vhost":"__defaultVhost__","api":"127.0.0.1:9090","routers":["127.0.0.1:9090"]}}}`
	say(found)
	if m, ok := errors.AsType[*session.Moved](play("rtmp")); !ok || m.Addr() != "127.0.0.1:19351" {
		t.Errorf("sent to %v", m)
	}
	if want := "POST /api/v1/clusters?vhost=__defaultVhost__&ip=127.0.0.1&app=live&stream=s&coworker=" + at; asked != want {
		t.Errorf("asked\n%s\nwant\n%s", asked, want)
	}
	if m, ok := errors.AsType[*session.Moved](play("webrtc")); !ok || m.Addr() != at {
		t.Errorf("a player of WebRTC is sent to %v, want %s", m, at)
	}
	if err := play("flv"); err != nil {
		t.Errorf("a player of HTTP-FLV: %v", err)
	}
	for _, bad := range []string{`{"code":0,"data":{"origin":null}}`, `{"code":0,"data":{"origin":{"ip":"","port":1}}}`, `{"code":0,"data":{"origin":{"ip":"a","port":99999}}}`} {
		say(bad)
		if err := play("rtmp"); err != nil {
			t.Errorf("%q: %v, want the player to wait here", bad, err)
		}
	}
	say(found)
	p, err := protocoltest.Publish(t.Context(), h, protocoltest.Name{Vhost: key.Vhost, App: key.App, Stream: key.Stream})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := play("rtmp"); err != nil {
		t.Errorf("a stream that is here: %v", err)
	}
}
