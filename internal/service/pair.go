package service

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
)

// A Pair is the certificate with which a part meets its clients by TLS, and its key.
// The zero value has none, and refuses them.
type Pair struct {
	now atomic.Pointer[link.Certificate]
}

// A CertificateError says why a certificate cannot be used, and what to do.
type CertificateError struct{ Text string }

// Error implements error.
func (e *CertificateError) Error() string { return e.Text }

// SRSCode is the number by which SRS calls it.
func (e *CertificateError) SRSCode() int { return 4045 }

// LoadPair reads a certificate and its key for a part, whose block of the
// configuration is said to the operator. What has become of files that change later
// goes to the log and the notices. With acme nil is returned if there are no files.
func LoadPair(env Env, s *config.Snapshot, part, block, cert, key string) (*link.Certificate, error) {
	if blocks.ACME.In(s).Enabled {
		if _, err := os.Stat(cert); errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
	}
	c, err := link.NewCertificate(cert, key, func(err error) { renewed(env, part, cert, err) })
	if err != nil {
		return nil, &CertificateError{fmt.Sprintf("certificate %s with key %s: %v; name a pair that fits in %s of the configuration, make one with \"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout %s -out %s\", have acme get one, or turn %s off",
			cert, key, err, block, key, cert, block)}
	}
	return c, nil
}

// renewed tells that the files of a certificate have changed while it serves.
func renewed(env Env, part, file string, err error) {
	if err == nil {
		env.Notices.Set(part+" certificate", "")
		env.Log.Info("certificate has changed and serves from now on", "part", part, "cert", file)
		return
	}
	text := fmt.Sprintf("certificate %s has changed and cannot be used, the one before still serves: %v", file, err)
	if env.Notices.Set(part+" certificate", text) {
		env.Log.Warn(text, "part", part)
	}
}

// Use has c serve from the next handshake on; nil is none.
func (p *Pair) Use(c *link.Certificate) { p.now.Store(c) }

// TLS returns a configuration that uses the pair, for these protocols of ALPN. Names that
// are managed have their own certificates, which also serve where there is no pair.
func (p *Pair) TLS(managed *Managed, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protocols,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) { return managed.checked(hello), nil },
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := managed.get(hello, false); c != nil {
				return c, nil
			}
			if c := p.now.Load(); c != nil {
				return c.Get(hello)
			}
			if c := managed.get(hello, true); c != nil {
				return c, nil
			}
			return nil, &CertificateError{"TLS is off, or has no certificate yet"}
		},
	}
}
