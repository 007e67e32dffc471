package shelf

import (
	"context"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/service"
)

// Kept is one stream's side of a protocol that lists segments.
type Kept interface {
	// Forget takes the stream off the shelf; nothing is put there afterwards. It
	// must not block.
	Forget()
	// Clean removes what a stream that nobody publishes any more has left on disk.
	Clean()
	// Republished is told of each publication that is to be cut here, before its first
	// frame.
	Republished(p *hub.Publication)

	// Lend, Keep and Take are those of a [Loan].
	Lend(send func(piece []byte)) bool
	Keep()
	Take(piece []byte) error
}

// A Keeper has one T for each stream, from its first publication until nobody has
// published it for long.
type Keeper[T Kept] struct {
	// Immutable.
	Env service.Env
	// Of names what lists the segments.
	Of string
	// New makes one, or says that the configuration wants none. Empty makes one that has
	// nothing, not even from an earlier run: another process tells what it lists.
	New   func(p *hub.Publication) (one T, ok bool)
	Empty func(key hub.Key) (one T, ok bool)
	// Patience is how long an idle stream of a vhost is kept.
	Patience func(vhost string) time.Duration

	mu       sync.Mutex
	all      map[hub.Key]*kept[T] // guarded by mu
	borrowed map[hub.Key]bool     // whose segments another process cuts; guarded by mu
}

type kept[T Kept] struct {
	one  T
	live time.Time // when it was last seen published
}

// Published is for [hub.Hub.OnPublish].
func (k *Keeper[T]) Published(p *hub.Publication) {
	if k.Env.Handover.Left() {
		return // the process that has taken our place does it
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	key := p.Stream().Key
	if k.borrowed[key] {
		return
	}
	e := k.all[key]
	if e == nil {
		one, ok := k.New(p)
		if !ok {
			return
		}
		e = k.put(key, one)
	}
	e.live = time.Now()
	e.one.Republished(p)
}

// put keeps one. k.mu is held.
func (k *Keeper[T]) put(key hub.Key, one T) *kept[T] {
	if k.all == nil {
		k.all = map[hub.Key]*kept[T]{}
	}
	e := &kept[T]{one: one, live: time.Now()}
	k.all[key] = e
	return e
}

// Get returns that of a stream.
func (k *Keeper[T]) Get(key hub.Key) (one T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.all[key]; e != nil {
		return e.one, true
	}
	return one, false
}

// Run forgets idle streams, and signs out viewers who ask no more. When ctx is
// done the streams have ended, and Run waits until what is left of them is
// written; files stay, so that the next start goes on from them.
func (k *Keeper[T]) Run(ctx context.Context, viewers *Pollers) error {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			viewers.Expire(now)
			k.idle(now)
		case <-ctx.Done():
			k.Env.Store.Stop()
			viewers.Expire(time.Time{})
			return nil
		}
	}
}

func (k *Keeper[T]) idle(now time.Time) {
	if k.Env.Handover.Left() {
		return // files are not ours any more
	}
	var gone []T
	k.mu.Lock()
	for key, e := range k.all {
		hs := k.Env.Hub.Stream(key)
		switch {
		case hs != nil && hs.Live():
			e.live = now
		case now.Sub(e.live) >= k.Patience(key.Vhost):
			delete(k.all, key)
			e.one.Forget()
			gone = append(gone, e.one)
		}
	}
	k.mu.Unlock()
	for _, one := range gone {
		one.Clean()
	}
}

// Restart makes the streams of some vhosts anew, whose configuration is another:
// old ones are forgotten, and those that are live begin again if the configuration
// still wants them. Files stay.
func (k *Keeper[T]) Restart(moved func(vhost string) bool) {
	k.mu.Lock()
	for key, e := range k.all {
		if moved(key.Vhost) {
			delete(k.all, key)
			e.one.Forget()
		}
	}
	k.mu.Unlock()
	for key, hs := range k.Env.Hub.All() {
		if p := hs.Shown(); p != nil && moved(key.Vhost) {
			k.Published(p)
		}
	}
}
