package service

import (
	"crypto/tls"
	"slices"
	"sync/atomic"
)

// Managed is where TLS gets certificates for the names that a part manages, when one does.
// A nil Managed has none.
type Managed struct {
	now atomic.Pointer[Certificates]
}

// Certificates are for names that somebody manages.
type Certificates struct {
	// Names are what they are for, the first for clients that name none.
	Names []string
	// Get returns the one for a handshake.
	Get func(*tls.ClientHelloInfo) (*tls.Certificate, error)
}

// challenge is the protocol of ALPN by which an authority checks a name (RFC 8737).
const challenge = "acme-tls/1"

// Use has c serve from the next handshake on; nil is none.
func (m *Managed) Use(c *Certificates) { m.now.Store(c) }

func (m *Managed) load() *Certificates {
	if m == nil {
		return nil
	}
	return m.now.Load()
}

// get returns the certificate for a handshake, nil if its name is not managed or has none
// yet. With any another name will do.
func (m *Managed) get(hello *tls.ClientHelloInfo, any bool) *tls.Certificate {
	c := m.load()
	if c == nil || !any && !slices.Contains(c.Names, hello.ServerName) {
		return nil
	}
	if !slices.Contains(c.Names, hello.ServerName) {
		other := *hello
		other.ServerName = c.Names[0]
		hello = &other
	}
	got, err := c.Get(hello)
	if err != nil {
		return nil
	}
	return got
}

// checked returns the configuration for an authority that checks a name, nil for others.
func (m *Managed) checked(hello *tls.ClientHelloInfo) *tls.Config {
	c := m.load()
	if c == nil || len(hello.SupportedProtos) != 1 || hello.SupportedProtos[0] != challenge {
		return nil
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{challenge}, GetCertificate: c.Get}
}
