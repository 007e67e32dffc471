package auth

import (
	"context"
	"fmt"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
)

// Limit is the limits block of a vhost; what is 0 has no limit.
type Limit struct {
	Sessions, Players, PerAddress int
	PublishesPerMinute            int
	BitrateKbps                   int
}

// Limits counts who publishes and plays. Make one with NewLimits.
type Limits struct {
	desk *session.Desk
	of   func(vhost string) Limit

	mu        sync.Mutex
	vhosts    map[string]int          // guarded by mu
	players   map[hub.Key]int         // guarded by mu
	addresses map[address]int         // guarded by mu
	publishes map[address][]time.Time // of the last minute; guarded by mu
	pruned    time.Time               // guarded by mu

	measured map[string]*[steps]int64 // bytes of a publisher at the last looks, by session id; owned by Run
}

type address struct{ vhost, ip string }

const (
	// bitrateLook is how often the bitrate of publishers is looked at, and steps over
	// how many of these times.
	bitrateLook = 2 * time.Second
	steps       = 6
)

// NewLimits returns limits for a desk; of gives those of a vhost.
func NewLimits(d *session.Desk, of func(vhost string) Limit) *Limits {
	return &Limits{desk: d, of: of, vhosts: map[string]int{}, players: map[hub.Key]int{}, addresses: map[address]int{}, publishes: map[address][]time.Time{},
		measured: map[string]*[steps]int64{}}
}

// full is the error of a limit that is reached, with SRS's number of too many
// connections.
func full(format string, args ...any) error {
	return fmt.Errorf("%w: %s", session.ErrFull, fmt.Sprintf(format, args...))
}

// ErrBitrate ends a publisher that sends more than its vhost allows.
var ErrBitrate = &session.Error{Code: 1074, Text: "the bitrate is above the limit of the vhost"}

// Reserve takes a place for a request, or tells which limit is reached. release
// gives it back.
func (l *Limits) Reserve(r *session.Request) (release func(), err error) {
	key, at := r.Ask.Key, address{r.Ask.Key.Vhost, r.Session.IP}
	limit := l.of(key.Vhost)
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case limit.Sessions > 0 && l.vhosts[key.Vhost] >= limit.Sessions:
		return nil, full("%d sessions in the vhost", limit.Sessions)
	case limit.PerAddress > 0 && l.addresses[at] >= limit.PerAddress:
		return nil, full("%d sessions from %s", limit.PerAddress, at.ip)
	case r.Act == session.Play && limit.Players > 0 && l.players[key] >= limit.Players:
		return nil, full("%d players of the stream", limit.Players)
	}
	if r.Act == session.Publish && limit.PublishesPerMinute > 0 {
		recent := l.recent(at, now)
		if len(recent) >= limit.PublishesPerMinute {
			return nil, full("%d publishes a minute from %s", limit.PublishesPerMinute, at.ip)
		}
		l.publishes[at] = append(recent, now)
	}
	l.add(r.Act, key, at, 1)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.add(r.Act, key, at, -1)
	}, nil
}

// add counts. l.mu is held.
func (l *Limits) add(act session.Act, key hub.Key, at address, n int) {
	if l.vhosts[key.Vhost] += n; l.vhosts[key.Vhost] == 0 {
		delete(l.vhosts, key.Vhost)
	}
	if l.addresses[at] += n; l.addresses[at] == 0 {
		delete(l.addresses, at)
	}
	if act != session.Play {
		return
	}
	if l.players[key] += n; l.players[key] == 0 {
		delete(l.players, key)
	}
}

// recent returns the publishes of an address in the last minute, and forgets now
// and then those of all others that are older. l.mu is held.
func (l *Limits) recent(at address, now time.Time) []time.Time {
	young := func(all []time.Time) []time.Time {
		for len(all) > 0 && now.Sub(all[0]) >= time.Minute {
			all = all[1:]
		}
		return all
	}
	if now.Sub(l.pruned) > time.Minute {
		l.pruned = now
		for k, all := range l.publishes {
			if l.publishes[k] = young(all); len(l.publishes[k]) == 0 {
				delete(l.publishes, k)
			}
		}
	}
	return young(l.publishes[at])
}

// Run ends publishers that send too much, until ctx is done.
func (l *Limits) Run(ctx context.Context) error {
	t := time.NewTicker(bitrateLook)
	defer t.Stop()
	for n := 0; ; n++ {
		select {
		case <-t.C:
			l.look(n)
		case <-ctx.Done():
			return nil
		}
	}
}

// look measures all publishers whose vhost limits them, the n-th time.
func (l *Limits) look(n int) {
	present := map[string]*[steps]int64{}
	for s := range l.desk.Publishing() {
		act, ask, _ := s.Doing()
		limit := l.of(ask.Key.Vhost).BitrateKbps
		if act != session.Publish || limit <= 0 {
			continue
		}
		in, _ := s.Bytes()
		m := l.measured[s.ID]
		if m == nil {
			m = new([steps]int64)
			for i := range m {
				m[i] = in // what came before it was looked at does not count
			}
		}
		before := m[n%steps]
		m[n%steps] = in
		present[s.ID] = m
		if kbps := (in - before) * 8 / (steps * bitrateLook).Milliseconds(); kbps > int64(limit) {
			s.Kick(ErrBitrate)
		}
	}
	l.measured = present
}
