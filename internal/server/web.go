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

	"weir/internal/link"
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

// web is one shared HTTP server, perhaps with a TLS twin.
type web struct {
	name    string // "HTTP-API", "HTTP-Server"
	listens []string
	tls     *webTLS
	handler http.Handler
	env     service.Env

	mu     sync.Mutex
	plain  []net.Listener // guarded by mu
	secure []net.Listener // guarded by mu
}

type webTLS struct {
	name      string // "HTTPS-API"
	listens   []string
	key, cert string
}

// Bind implements service.Binder.
func (w *web) Bind(ctx context.Context) error {
	plain, err := link.ListenAll(ctx, w.listens)
	if err != nil {
		return err
	}
	w.plain = plain
	if w.tls == nil {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(w.tls.cert, w.tls.key)
	if err != nil {
		w.Unbind()
		return &ExitError{codeCertificate, fmt.Errorf("certificate %s with key %s: %w; name a pair that fits in https of the configuration, make one with \"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout %s -out %s\", or turn https off",
			w.tls.cert, w.tls.key, err, w.tls.key, w.tls.cert)}
	}
	secure, err := link.ListenAll(ctx, w.tls.listens)
	if err != nil {
		w.Unbind()
		return err
	}
	for _, l := range secure {
		w.secure = append(w.secure, tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}, MinVersion: tls.VersionTLS12}))
	}
	return nil
}

// Unbind implements service.Binder.
func (w *web) Unbind() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, l := range append(w.plain, w.secure...) {
		l.Close()
	}
}

// Listening implements service.Listener.
func (w *web) Listening() (all []service.Listen) {
	for _, l := range w.plain {
		all = append(all, service.Listen{Name: w.name, URL: "tcp://" + l.Addr().String()})
	}
	for _, l := range w.secure {
		all = append(all, service.Listen{Name: w.tls.name, URL: "tcp://" + l.Addr().String()})
	}
	return all
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
	}
	var wg sync.WaitGroup
	for _, l := range append(w.plain, w.secure...) {
		wg.Go(func() {
			if err := srv.Serve(link.Patient{Listener: l, Log: w.env.Log}); err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
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
	wg.Wait()
	return nil
}

// ServeHTTP puts our name on the answer and asks the mux.
func (w *web) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	rw.Header().Set("Server", w.env.Server)
	w.handler.ServeHTTP(rw, r)
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
