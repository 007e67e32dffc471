package shelf

import (
	"net/http"
	"sync"

	"weir/internal/service"
)

// A Growing is the body of a file that is still made. It implements [service.Growth].
type Growing struct {
	mu      sync.Mutex
	parts   [][]byte             // guarded by mu
	whole   bool                 // guarded by mu
	waiting map[*func()]struct{} // guarded by mu
}

// Add appends parts, which nobody may change any more.
func (g *Growing) Add(parts ...[]byte) {
	g.change(func() { g.parts = append(g.parts, parts...) })
}

// End says that there is no more.
func (g *Growing) End() { g.change(func() { g.whole = true }) }

func (g *Growing) change(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	f()
	for wake := range g.waiting {
		(*wake)()
	}
	clear(g.waiting)
}

// Begun reports whether there is something.
func (g *Growing) Begun() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.parts) > 0 || g.whole
}

// Empty reports whether there is nothing.
func (g *Growing) Empty() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.parts) == 0
}

// Waiting returns how many wait for more.
func (g *Growing) Waiting() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.waiting)
}

// Since implements service.Growth.
func (g *Growing) Since(at int, wake func()) (parts [][]byte, done bool, cancel func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at < len(g.parts) || g.whole {
		return g.parts[min(at, len(g.parts)):len(g.parts):len(g.parts)], g.whole, nil
	}
	return nil, false, g.wait(wake)
}

// Await has wake called, once, when there is something; cancel gives that up.
func (g *Growing) Await(wake func()) (cancel func()) {
	_, _, cancel = g.Since(0, wake)
	if cancel == nil { // it came just now
		wake()
		return func() {}
	}
	return cancel
}

// wait is called with mu held.
func (g *Growing) wait(wake func()) (cancel func()) {
	if g.waiting == nil {
		g.waiting = map[*func()]struct{}{}
	}
	g.waiting[&wake] = struct{}{}
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		delete(g.waiting, &wake)
	}
}

// Open returns a file that is made while it is sent; nobody keeps it.
func Open(typ string, g *Growing) *File { return &File{Type: typ, Cache: "no-cache", growing: g} }

// Growing returns what a file grows by, nil if it is whole.
func (f *File) Growing() *Growing { return f.growing }

// counted is the file with its bytes told of as they go.
func (f *File) counted(sent func(n int)) *File {
	if f.growing == nil {
		return f
	}
	own := *f
	own.sent = sent
	return &own
}

// grow answers with what there is and what comes.
func (f *File) grow(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Cache-Control", f.Cache)
	sent := f.sent
	if sent == nil {
		sent = func(int) {}
	}
	service.Grow(w, r, f.growing, sent)
}
