package link

import (
	"crypto/tls"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Certificate is a certificate with its key, as they stand in two files. It is
// read again when a file has changed, so that one that is renewed serves from the
// next handshake on. While the files do not fit, as between the writing of one and
// of the other, the certificate stays the one before.
type Certificate struct {
	// Immutable.
	cert, key string
	told      func(error)

	pair atomic.Pointer[tls.Certificate]

	mu     sync.Mutex
	looked time.Time // guarded by mu
	seen   [2]stamp  // guarded by mu
}

// stamp tells one state of a file from another: nil if it is not there.
type stamp struct{ os.FileInfo }

// same reports whether nothing has changed: another file in the place of one may
// be as long and as old, by the clock of the file system.
func (s stamp) same(o stamp) bool {
	if s.FileInfo == nil || o.FileInfo == nil {
		return s.FileInfo == o.FileInfo
	}
	return os.SameFile(s.FileInfo, o.FileInfo) && s.Size() == o.Size() && s.ModTime().Equal(o.ModTime())
}

// lookEvery is how often the files are looked at, at most.
const lookEvery = time.Second

// NewCertificate reads a certificate and its key, both in PEM. told is called when
// they have changed: with nil once the new ones serve, else with why they cannot.
func NewCertificate(cert, key string, told func(error)) (*Certificate, error) {
	c := &Certificate{cert: cert, key: key, told: told}
	c.seen = c.stamps()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, err
	}
	c.pair.Store(&pair)
	c.looked = time.Now()
	return c, nil
}

// Get is for [tls.Config.GetCertificate].
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	// One handshake looks, the others need not wait for the disk.
	if c.mu.TryLock() {
		c.look(time.Now())
		c.mu.Unlock()
	}
	if p := c.pair.Load(); p != nil {
		return p, nil
	}
	return nil, errors.New("no certificate")
}

// look reads the files again if they have changed. mu is held.
func (c *Certificate) look(now time.Time) {
	if now.Sub(c.looked) < lookEvery {
		return
	}
	c.looked = now
	seen := c.stamps()
	if seen[0].same(c.seen[0]) && seen[1].same(c.seen[1]) {
		return
	}
	c.seen = seen
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err == nil {
		c.pair.Store(&pair)
	}
	c.told(err)
}

func (c *Certificate) stamps() (s [2]stamp) {
	for i, name := range []string{c.cert, c.key} {
		if st, err := os.Stat(name); err == nil {
			s[i] = stamp{st}
		}
	}
	return s
}
