// Package acme gets certificates from an authority by ACME (RFC 8555) and renews them, for
// every door that speaks TLS. The protocol is certmagic's; this package tells it what the
// configuration says, and the operator what becomes of it.
package acme

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"reflect"
	"strconv"
	"sync/atomic"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3/acme"
	"go.uber.org/zap"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
)

// ACME is a service. Make one with New.
type ACME struct {
	env    service.Env
	log    *slog.Logger
	poke   chan struct{} // holds one: the configuration has changed
	ports  [2]int        // at which authorities ask, by HTTP and TLS
	issuer atomic.Pointer[certmagic.ACMEIssuer]
}

// New returns the service, which answers an authority's questions on the shared HTTP
// servers.
func New(env service.Env) (*ACME, error) {
	s := &ACME{env: env, log: env.Log.With("part", "acme"), poke: make(chan struct{}, 1), ports: [2]int{certmagic.HTTPChallengePort, certmagic.TLSALPNChallengePort}}
	answer := func(w http.ResponseWriter, r *http.Request) bool { return s.issuer.Load().HandleHTTPChallenge(w, r) }
	env.Media.Handle(service.OrderAPI, answer)
	env.API.Handle(service.OrderAPI, answer)
	_, err := roots(blocks.ACME.In(env.Conf.Load()))
	return s, err
}

// roots reads the certificates by which the authority is known, nil for the machine's.
func roots(c *blocks.ACMEConfig) (*x509.CertPool, error) {
	if !c.Enabled || c.Roots == "" {
		return nil, nil
	}
	text, err := os.ReadFile(c.Roots)
	if err != nil {
		return nil, fmt.Errorf("roots of acme: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("roots of acme: %s holds no certificate in PEM", c.Roots)
	}
	return pool, nil
}

// Prepare implements service.Preparer.
func (s *ACME) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	if _, err := roots(blocks.ACME.In(next)); err != nil {
		return service.Turn{}, err
	}
	return service.Turn{Commit: func() {
		if !reflect.DeepEqual(blocks.ACME.In(old), blocks.ACME.In(next)) {
			select {
			case s.poke <- struct{}{}:
			default:
			}
		}
	}}, nil
}

// Run implements service.Service.
func (s *ACME) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		turn, end := context.WithCancel(ctx)
		stop := func() {}
		snap := s.env.Conf.Load()
		if c := blocks.ACME.In(snap); c.Enabled {
			stop = s.manage(turn, c, snap)
		}
		select {
		case <-s.poke:
		case <-ctx.Done():
		}
		end()
		stop()
	}
	return nil
}

// manage gets and renews certificates until ctx is done and what it returns was called.
func (s *ACME) manage(ctx context.Context, c *blocks.ACMEConfig, snap *config.Snapshot) (stop func()) {
	var conf *certmagic.Config
	silent := zap.NewNop() // it would say in many words what event says in one
	cache := certmagic.NewCache(certmagic.CacheOptions{
		GetConfigForCert: func(certmagic.Certificate) (*certmagic.Config, error) { return conf, nil },
		Logger:           silent,
	})
	conf = certmagic.New(cache, certmagic.Config{
		Storage: &certmagic.FileStorage{Path: c.Storage},
		Logger:  silent,
		OnEvent: func(_ context.Context, event string, data map[string]any) error { s.event(event, data); return nil },
	})
	pool, err := roots(c)
	if err != nil {
		s.log.Warn("certificates cannot be got", "err", err)
	}
	about := certmagic.ACMEIssuer{CA: c.Directory, TestCA: c.Directory, Email: c.Email, Agreed: true, TrustedRoots: pool, Logger: silent}
	plain, secure := c.Ports(snap)
	about.AltHTTPPort, about.AltTLSALPNPort = reached(s.ports[0], plain), reached(s.ports[1], secure)
	if len(c.Key) == 2 {
		about.ExternalAccount = &acme.EAB{KeyID: c.Key[0], MACKey: c.Key[1]}
	}
	issuer := certmagic.NewACMEIssuer(conf, about)
	conf.Issuers = []certmagic.Issuer{issuer}
	s.issuer.Store(issuer)
	s.env.Managed.Use(&service.Certificates{Names: c.Domains, Get: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		return conf.GetCertificate(hello)
	}})
	if err := conf.ManageAsync(ctx, c.Domains); err != nil {
		s.log.Warn("certificates cannot be got", "err", err)
	}
	return func() {
		s.env.Managed.Use(nil)
		s.issuer.Store(nil)
		cache.Stop()
	}
}

// reached returns the port at which the authority is answered. If that is taken, by us
// or by a server that passes on to us, certmagic leaves the answer to us. Where we may not
// have it, somebody must map it to the port that is ours.
func reached(standard, ours int) int {
	l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(standard)))
	if err == nil {
		l.Close()
	}
	if errors.Is(err, fs.ErrPermission) && ours != 0 {
		return ours
	}
	return standard
}

// event tells the operator what happens to a certificate.
func (s *ACME) event(event string, data map[string]any) {
	name, _ := data["identifier"].(string)
	switch event {
	case "cert_obtaining":
		s.log.Info("certificate is asked for", "name", name)
	case "cert_obtained":
		s.env.Notices.Set("certificate of "+name, "")
		s.log.Info("certificate was got and serves from now on", "name", name)
	case "cert_failed":
		text := fmt.Sprintf("cannot be got, is tried again: %v", data["error"])
		s.env.Notices.Set("certificate of "+name, text)
		s.log.Warn("certificate "+text, "name", name, "hint", "the authority must reach this server under that name, at port 80 (http_server) or 443 (its https)")
	}
}
