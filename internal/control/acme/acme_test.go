package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
)

// port returns where a listener is.
func port(l net.Listener) int { return l.Addr().(*net.TCPAddr).Port }

// names is a server of names by which all lead here. It returns its address.
func names(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, r *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(r)
		if q := r.Question[0]; q.Qtype == dns.TypeA {
			m.Answer = append(m.Answer, &dns.A{Hdr: dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: q.Qclass}, A: net.IPv4(127, 0, 0, 1)})
		}
		w.WriteMsg(m)
	})}
	go s.ActivateAndServe()
	t.Cleanup(func() { s.Shutdown() })
	return l.Addr().String()
}

// town is a server's doors, and an authority that asks at them.
type town struct {
	t         *testing.T
	authority *httptest.Server
	root      *x509.Certificate
	media     *service.Mux
	web       *httptest.Server
	door      net.Listener // TLS
	dir       string
}

func newTown(t *testing.T) *town {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "0")
	w := &town{t: t, media: &service.Mux{}, dir: t.TempDir()}
	w.web = httptest.NewServer(w.media)
	t.Cleanup(w.web.Close)
	var err error
	if w.door, err = net.Listen("tcp4", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.door.Close() })
	quiet := log.New(io.Discard, "", 0)
	store := db.NewMemoryStore()
	issuer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {}})
	checks := va.New(quiet, port(w.web.Listener), port(w.door), false, names(t), store)
	front := wfe.New(quiet, store, checks, issuer, nil, false, false, 1, 1)
	w.authority = httptest.NewTLSServer(front.Handler())
	t.Cleanup(w.authority.Close)
	w.root = issuer.GetRootCert(0).Cert
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.authority.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(w.dir, "roots.pem"), text, 0o644); err != nil {
		t.Fatal(err)
	}
	return w
}

// conf is a configuration with names that are to get certificates.
func (w *town) conf(domains string) *config.Snapshot {
	w.t.Helper()
	text := fmt.Sprintf("listen 1935; acme { enabled on; domains %s; directory %s/dir; roots %s/roots.pem; storage %s/keys; }", domains, w.authority.URL, w.dir, w.dir)
	snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, []config.Spec{blocks.ACME, blocks.HTTPServer, blocks.Root})
	if err != nil {
		w.t.Fatal(err)
	}
	return snap
}

// open runs a server until the function that it returns is called.
func (w *town) open(domains string) (s *ACME, stop func()) {
	w.t.Helper()
	env := service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(w.conf(domains)), Media: w.media, API: &service.Mux{}, Notices: &service.Notices{}, Managed: &service.Managed{}}
	s, err := New(env)
	if err != nil {
		w.t.Fatal(err)
	}
	s.ports = [2]int{port(w.web.Listener), port(w.door)}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	var pair service.Pair
	door := tls.NewListener(w.door, pair.TLS(env.Managed, "http/1.1"))
	go http.Serve(door, w.media)
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.t.Cleanup(stop)
	return s, stop
}

// served waits until a name is served with a certificate of the authority, and returns its
// number.
func (w *town) served(name string) string {
	w.t.Helper()
	pool := x509.NewCertPool()
	pool.AddCert(w.root)
	var err error
	for range 1500 {
		var c *tls.Conn
		if c, err = tls.Dial("tcp", w.door.Addr().String(), &tls.Config{ServerName: name, RootCAs: pool, NextProtos: []string{"http/1.1"}}); err == nil {
			defer c.Close()
			return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatalf("%s is not served: %v", name, err)
	return ""
}

// A name gets its certificate when the authority has asked at the doors; the next server
// has it from its folder; another name gets its own after a reload.
func TestCertificates(t *testing.T) {
	w := newTown(t)
	s, stop := w.open("live.weir.test")
	first := w.served("live.weir.test")
	next := w.conf("live.weir.test cdn.weir.test")
	turn, err := s.Prepare(t.Context(), s.env.Conf.Load(), next)
	if err != nil {
		t.Fatal(err)
	}
	s.env.Conf.Swap(next)
	turn.Commit()
	if w.served("cdn.weir.test") == first || w.served("live.weir.test") != first {
		t.Error("a name has another's certificate")
	}
	stop()
	w.authority.Close()
	w.open("live.weir.test")
	if w.served("live.weir.test") != first {
		t.Error("the next server has another certificate")
	}
}

// Without a door for HTTP the authority is answered by TLS.
func TestByTLS(t *testing.T) {
	w := newTown(t)
	w.web.Close()
	w.media = &service.Mux{}
	w.open("live.weir.test")
	w.served("live.weir.test")
}

// An authority that is away is said to the operator.
func TestAway(t *testing.T) {
	w := newTown(t)
	w.authority.Close()
	s, _ := w.open("live.weir.test")
	for range 1500 {
		if s.env.Notices.All()["certificate of live.weir.test"] != "" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("nobody was told")
}

func TestRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"domains *.example.com;": "names with *",
		"domains Live;":          "small letters",
		"":                       "no domains",
		"domains a.example.com; directory http://x/;":  "https",
		"domains a.example.com; external_account id;":  "an id and a key",
		"domains a.example.com; roots /nowhere/x.pem;": "",
	} {
		snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte("listen 1935; acme { enabled on; " + text + " }"), Getenv: func(string) string { return "" }}, []config.Spec{blocks.ACME, blocks.HTTPServer, blocks.Root})
		if err == nil && want == "" {
			_, err = New(service.Env{Log: slog.New(slog.DiscardHandler), Conf: config.NewStore(snap), Media: &service.Mux{}, API: &service.Mux{}})
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
