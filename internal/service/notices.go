package service

import (
	"maps"
	"sync"
)

// Notices are the standing complaints of the parts, by subject.
type Notices struct {
	mu  sync.Mutex
	all map[string]string // guarded by mu
}

// Set puts a complaint up, or takes it down if text is empty. It reports
// whether that changed anything, so that a log line can be written once.
func (n *Notices) Set(subject, text string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.all[subject] == text {
		return false
	}
	if n.all == nil {
		n.all = map[string]string{}
	}
	if text == "" {
		delete(n.all, subject)
	} else {
		n.all[subject] = text
	}
	return true
}

// All returns what stands.
func (n *Notices) All() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.all)
}
