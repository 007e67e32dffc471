package service

import (
	"crypto/tls"
	"fmt"
	"sync/atomic"

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
// goes to the log and the notices.
func LoadPair(env Env, part, block, cert, key string) (*link.Certificate, error) {
	c, err := link.NewCertificate(cert, key, func(err error) { renewed(env, part, cert, err) })
	if err != nil {
		return nil, &CertificateError{fmt.Sprintf("certificate %s with key %s: %v; name a pair that fits in %s of the configuration, make one with \"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -keyout %s -out %s\", or turn %s off",
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

// TLS returns a configuration that uses the pair, for these protocols of ALPN.
func (p *Pair) TLS(protocols ...string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := p.now.Load(); c != nil {
			return c.Get(hello)
		}
		return nil, &CertificateError{"TLS is off"}
	}}
}
