package session

import (
	"maps"
	"sync"
)

// A Refusal is an act that was not granted, by the number of the reason.
type Refusal struct {
	Act  Act
	Code int
}

// tally counts endings and refusals.
type tally struct {
	mu      sync.Mutex
	ended   map[int]int64     // by code; guarded by mu
	refused map[Refusal]int64 // guarded by mu
}

func (t *tally) end(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended == nil {
		t.ended = map[int]int64{}
	}
	t.ended[Code(err)]++
}

func (t *tally) refuse(act Act, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refused == nil {
		t.refused = map[Refusal]int64{}
	}
	t.refused[Refusal{act, Code(err)}]++
}

// Tally returns how many sessions ever ended, by the code of the reason, and how
// many acts were refused.
func (d *Desk) Tally() (ended map[int]int64, refused map[Refusal]int64) {
	d.tally.mu.Lock()
	defer d.tally.mu.Unlock()
	return maps.Clone(d.tally.ended), maps.Clone(d.tally.refused)
}
