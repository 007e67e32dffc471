package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/link"
	"weir/internal/sender"
	"weir/internal/service"
)

const (
	// headerTime is how long a client may take to send a request's header, and
	// idleTime how long a connection may do nothing between two requests; both
	// are SRS's 15 s.
	headerTime  = 15 * time.Second
	idleTime    = 15 * time.Second
	headerBytes = 64 << 10
)

// web is one shared HTTP server, with a TLS twin. Which of them are open is what
// conf says of the configuration in force.
type web struct {
	part          string // "http_api", "http_server"
	name, tlsName string // "HTTP-API", "HTTPS-API"
	handler       http.Handler
	env           service.Env
	conf          func(*config.Snapshot) webConf

	plain, secure *link.Entrance
	back          *link.Entrance  // connections that come back from replies
	replies       *sender.Replies // nil if net/http answers everything
	pair          service.Pair
}

// webConf is what the configuration says of a web.
type webConf struct {
	on        bool
	listen    []string
	tls       bool // only if on
	tlsListen []string
	key, cert string
}

func newWeb(env service.Env, part, name, tlsName string, h http.Handler, conf func(*config.Snapshot) webConf) *web {
	return &web{part: part, name: name, tlsName: tlsName, handler: h, env: env, conf: conf, plain: link.NewEntrance(), secure: link.NewEntrance(), back: link.NewEntrance(), replies: sender.NewReplies(env.Log)}
}

// Doors implements service.Door.
func (w *web) Doors(s *config.Snapshot) (all []link.Want) {
	c := w.conf(s)
	if c.on {
		all = append(all, link.Want{Part: w.part, Name: w.name, Listen: c.listen, To: w.plain})
	}
	if c.on && c.tls {
		all = append(all, link.Want{Part: w.part, Name: w.tlsName, Listen: c.tlsListen, To: w.secure})
	}
	return all
}

// Bind implements service.Binder.
func (w *web) Bind(context.Context) error {
	pair, err := w.load(w.env.Conf.Load())
	if err == nil {
		w.pair.Use(pair)
	}
	return err
}

// Unbind implements service.Binder; the doors are the group's.
func (w *web) Unbind() {}

// Prepare implements service.Preparer: it loads the certificate, anew also if
// only the files have changed.
func (w *web) Prepare(_ context.Context, _, next *config.Snapshot) (service.Turn, error) {
	pair, err := w.load(next)
	return service.Turn{Commit: func() { w.pair.Use(pair) }}, err
}

// load returns the certificate that a configuration names, nil if it needs none.
func (w *web) load(s *config.Snapshot) (*link.Certificate, error) {
	c := w.conf(s)
	if !c.on || !c.tls {
		return nil, nil
	}
	return service.LoadPair(w.env, s, w.part, "https", c.cert, c.key)
}

// Run implements service.Service.
func (w *web) Run(ctx context.Context) error {
	srv := &http.Server{
		Handler:           w,
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    headerBytes,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ErrorLog:          log.New(quiet{w.env.Log}, "", 0),
		ConnContext:       connContext,
	}
	secure := tls.NewListener(service.Proxied(w.secure, w.env.Conf), w.pair.TLS(w.env.Managed, "h2", "http/1.1"))
	var wg sync.WaitGroup
	wg.Go(func() { w.replies.Run(ctx) })
	for _, l := range []net.Listener{service.Proxied(w.plain, w.env.Conf), secure, w.back} {
		wg.Go(func() {
			if err := srv.Serve(l); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				w.env.Log.Error("http server ended", "err", err)
			}
		})
	}
	<-ctx.Done()
	end, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if srv.Shutdown(end) != nil {
		srv.Close()
	}
	// Shutdown knows them only once they were served.
	w.plain.Close()
	w.back.Close()
	w.secure.Close()
	wg.Wait()
	return nil
}

// ServeHTTP puts our name on the answer and asks the mux.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Server", w.env.Server)
	snap := w.env.Conf.Load()
	if !w.conf(snap).on {
		// A connection from before a reload that turned the server off.
		rw.Header().Set("Connection", "close")
		http.Error(rw, "turned off", http.StatusServiceUnavailable)
		return
	}
	if w.env.Handover.Left() {
		rw.Header().Set("Connection", "close") // the next request is for who took our place
	}
	r = service.Clients(snap, r)
	if !w.takeHot(rw, r) {
		w.handler.ServeHTTP(rw, r)
	}
}

// quiet logs what net/http complains of, which is mostly peers' faults.
type quiet struct{ log *slog.Logger }

func (q quiet) Write(b []byte) (int, error) {
	q.log.Debug("http", "said", string(b))
	return len(b), nil
}

// alive answers /healthz and /readyz, without authentication.
func alive(ready func() error) service.Handler {
	return func(w http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/healthz":
			fmt.Fprintln(w, "ok")
		case "/readyz":
			if err := ready(); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return true
			}
			fmt.Fprintln(w, "ready")
		default:
			return false
		}
		return true
	}
}
