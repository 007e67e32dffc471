package hook

import (
	"sync"

	"weir/internal/hub"
	"weir/internal/session"
)

// present counts who publishes and plays, and who is asked about, by stream.
type present struct {
	mu sync.Mutex
	n  map[hub.Key]int // guarded by mu; without zeros
}

// observe takes what the desk tells.
func (p *present) observe(e *session.Event) {
	change := 0
	switch e.What {
	case session.Published, session.Played:
		change = 1
	case session.Unpublished, session.Stopped:
		if e.Listed {
			change = -1
		}
	}
	if change != 0 {
		p.add(e.Ask.Key, change)
	}
}

// add adds so many to a stream's number, and returns it.
func (p *present) add(key hub.Key, change int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n == nil {
		p.n = map[hub.Key]int{}
	}
	n := p.n[key] + change
	if p.n[key] = n; n <= 0 {
		delete(p.n, key)
	}
	return n
}

// of returns how many there are of a stream.
func (p *present) of(key hub.Key) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[key]
}
