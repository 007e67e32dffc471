package service

import (
	"crypto/subtle"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/session"
)

// Why a test of the bandwidth is refused, with SRS's numbers.
var (
	ErrBandKey  = &session.Error{Code: 1032, Text: "the key is not the one of bandcheck"}
	ErrBandSoon = &session.Error{Code: 1033, Text: "bandcheck rejected"}
	errBandBusy = &session.Error{Code: 1033, Text: "bandcheck rejected, the server is busy"}
)

// BandTestTime is how long each direction of a test is measured.
const BandTestTime = 3 * time.Second

// A BandGate admits tests of the bandwidth, on every protocol: to who has the key,
// and not too often. A nil one admits all who have the key.
type BandGate struct {
	Busy *LoadGauge

	mu   sync.Mutex
	last map[string]time.Time // by vhost; guarded by mu
}

// Admit admits a test of a vhost, or tells why not.
func (g *BandGate) Admit(vhost string, c *blocks.BandcheckConfig, key string) error {
	if c.Key != "" && subtle.ConstantTimeCompare([]byte(key), []byte(c.Key)) != 1 {
		return ErrBandKey
	}
	if g == nil {
		return nil
	}
	if g.Busy.Load() >= High {
		return errBandBusy
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if last, ok := g.last[vhost]; ok && now.Sub(last) < c.Interval {
		return ErrBandSoon
	}
	if g.last == nil {
		g.last = map[string]time.Time{}
	}
	g.last[vhost] = now
	return nil
}

// A Pace keeps a test below its limit.
type Pace struct {
	began time.Time
	limit int64 // bytes a second, 0 for none
}

// NewPace begins now. kbps is in kbit/s, 0 for no limit.
func NewPace(kbps int) Pace { return Pace{time.Now(), int64(kbps) * 125} }

// Wait returns how long to wait after so many bytes.
func (p Pace) Wait(bytes int64) time.Duration {
	if p.limit <= 0 {
		return 0
	}
	return time.Duration(float64(bytes)/float64(p.limit)*float64(time.Second)) - time.Since(p.began)
}
