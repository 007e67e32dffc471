package srt

import (
	"slices"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/link/datagram"
	"weir/internal/media"
	"weir/internal/sender"
)

const (
	// gather is how long a payload that is not full waits for more.
	gather = 20 * time.Millisecond
	// kept is how far a viewer may be behind in what is no newer than its group of
	// pictures.
	kept = 2 * time.Second
	// maxPacks bounds what a feed keeps: 64 MB.
	maxPacks = 48 << 10
	// slab is how much memory payloads are cut from, in bytes.
	slab = 64 << 10
)

// A feed is the transport stream of one stream in payloads, made once for all who play it
// over SRT. It is fed by whoever publishes (it is a [hub.Tap]); the loops read it.
type feed struct {
	// Immutable.
	key    feedKey
	stream *hub.Stream

	mu sync.Mutex
	// All below is guarded by mu.
	out     sender.Datagrams
	waits   time.Time // since when a payload that is not full waits; zero if none does
	packs   []pack    // grows at its end, and is cut at its beginning, but never changed
	first   uint64    // number of packs[0]
	group   uint64    // of the newest one where a viewer may start
	grouped bool      // there is one, and newcomers may have it
	free    []byte    // of the slab
	loops   []*datagram.Socket
	viewers int
	cache   bool
}

type feedKey struct {
	stream *hub.Stream
	size   int
}

// pack is one payload. Its bytes never change.
type pack struct {
	b      []byte
	at     time.Time // when it was made
	access bool      // a viewer may start here
}

// view is what a feed has at some moment.
type view struct {
	packs   []pack
	first   uint64
	group   uint64
	grouped bool
}

func (v *view) head() uint64 { return v.first + uint64(len(v.packs)) }

// Frame implements hub.Tap.
func (f *feed) Frame(fr *media.Frame, access bool) {
	f.mu.Lock()
	now := time.Now()
	if access {
		f.flush(now)
	}
	was := len(f.packs)
	f.out.Add(fr)
	if access {
		f.group, f.grouped = f.first+uint64(was), true
	}
	f.out.Send(false, func(b []byte) error { f.put(now, b); return nil })
	if f.out.Left() > 0 && f.waits.IsZero() {
		f.waits = now
	} else if f.out.Left() == 0 {
		f.waits = time.Time{}
	}
	if access && len(f.packs) == was {
		f.flush(now) // a payload of its own, so that it can be found
	}
	if access && len(f.packs) > was {
		f.packs[was].access = true
	}
	f.evict(now)
	loops := f.loops
	f.mu.Unlock()
	for _, l := range loops {
		l.Wake()
	}
}

// End implements hub.Tap.
func (f *feed) End(error) {
	f.mu.Lock()
	f.flush(time.Now())
	f.grouped = false
	loops := f.loops
	f.mu.Unlock()
	for _, l := range loops {
		l.Wake()
	}
}

// flush makes a payload of what waits. f.mu is held.
func (f *feed) flush(now time.Time) {
	f.out.Send(true, func(b []byte) error { f.put(now, b); return nil })
	f.waits = time.Time{}
}

// put appends a payload. f.mu is held.
func (f *feed) put(now time.Time, b []byte) {
	if len(f.free) < len(b) {
		f.free = make([]byte, slab)
	}
	p := f.free[:len(b):len(b)]
	f.free = f.free[len(b):]
	copy(p, b)
	f.packs = append(f.packs, pack{b: p, at: now})
}

// evict drops what nobody needs. f.mu is held.
func (f *feed) evict(now time.Time) {
	n := 0
	for n < len(f.packs) && now.Sub(f.packs[n].at) > kept && (!f.grouped || !f.cache || f.first+uint64(n) < f.group) {
		n++
	}
	n = max(n, len(f.packs)-maxPacks)
	f.packs, f.first = f.packs[n:], f.first+uint64(n)
	if f.grouped && f.group < f.first {
		f.grouped = false
	}
}

// look returns what there is.
func (f *feed) look(now time.Time) view {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.waits.IsZero() && now.Sub(f.waits) >= gather {
		f.flush(now)
	}
	return view{f.packs, f.first, f.group, f.grouped}
}

// due is when a payload has waited for long enough.
func (f *feed) due() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.waits.IsZero() {
		return datagram.Never
	}
	return f.waits.Add(gather)
}

// begin returns where a newcomer starts; seek says that it waits for where it may.
func (f *feed) begin() (place uint64, seek bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.grouped && f.cache {
		return f.group, false
	}
	return f.first + uint64(len(f.packs)), true
}

// listen has a loop be woken when there is more.
func (f *feed) listen(s *datagram.Socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loops = append(slices.Clone(f.loops), s)
}

func (f *feed) ignore(s *datagram.Socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.loops = slices.DeleteFunc(slices.Clone(f.loops), func(o *datagram.Socket) bool { return o == s })
}

// feeds are those of a server.
type feeds struct {
	mu  sync.Mutex
	all map[feedKey]*feed // guarded by mu
}

// get returns the feed of a stream, made if it is the first that wants it.
func (s *feeds) get(st *hub.Stream, size int) *feed {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := feedKey{st, size}
	f := s.all[key]
	if f == nil {
		f = &feed{key: key, stream: st, out: sender.Datagrams{Size: size}, cache: st.Settings().Cache}
		s.all[key] = f
		st.AttachInside(f, hub.Insider{Protocol: protocol})
	}
	f.viewers++
	return f
}

// release gives it back.
func (s *feeds) release(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.viewers--; f.viewers == 0 {
		delete(s.all, f.key)
		f.stream.Detach(f)
	}
}
