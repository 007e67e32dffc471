package hls

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"weir/internal/service"
	"weir/internal/service/shelf"
)

// What players of low latency ask for that is not there yet (RFC 8216bis 6.2.5.2).

const (
	// lowParams is what the parameters of low latency begin with.
	lowParams = "_HLS_"
	msnParam  = lowParams + "msn"
	partParam = lowParams + "part"
	skipParam = lowParams + "skip"

	// ahead is how many segments before its time a playlist may be asked for.
	ahead = 2
	// patient is for how many target durations a request waits.
	patient = 3
)

// has reports whether the list has a part, or with a part below 0 a whole segment.
func (l *low) has(p place) bool {
	if p.part < 0 {
		return p.seq < l.end.seq
	}
	return p.seq < l.end.seq || p.seq == l.end.seq && p.part < l.end.part
}

// cache says for how long caches may give a playlist to others: one that was waited for
// does not change any more until it is of no use.
func (l *low) cache(r *http.Request) string {
	if _, n := service.Param(r, msnParam); n > 0 {
		return shelf.CacheShared(skipAfter * l.target)
	}
	return shelf.CacheShared(l.conf.Part)
}

// wish is what a request of low latency asks for.
type wish struct {
	place
	waits, skip bool
}

// wishOf reads the parameters; ok is false if they make no sense.
func wishOf(r *http.Request) (w wish, ok bool) {
	if !strings.Contains(r.URL.RawQuery, lowParams) {
		return w, true
	}
	number := func(name string) (n int64, there, ok bool) {
		text, times := service.Param(r, name)
		if times == 0 {
			return -1, false, true
		}
		n, err := strconv.ParseInt(text, 10, 64)
		return n, true, err == nil && n >= 0 && n < 1<<53 && times == 1
	}
	seq, waits, ok1 := number(msnParam)
	part, parted, ok2 := number(partParam)
	skip, _ := service.Param(r, skipParam)
	w = wish{place{seq, int(min(part, 1<<20))}, waits, skip == "YES" || skip == "v2"}
	return w, ok1 && ok2 && (waits || !parted)
}

// waits reports whether a request has to wait for what it asks for, or is refused.
func (x *listing) waits(r *http.Request) bool {
	w, ok := wishOf(r)
	if ok && !w.waits {
		return false
	}
	l := x.listed()
	return !ok || l == nil || l.low != nil && !l.low.has(w.place)
}

// updated returns the list that a request asks for, when it is there; ok is false if it
// was answered otherwise.
func (s *server) updated(w http.ResponseWriter, r *http.Request, it thing) (l *list, ok bool) {
	l = it.of.listed()
	if l == nil || l.low == nil {
		return l, l != nil
	}
	want, sound := wishOf(r)
	switch {
	case !sound:
		http.Error(w, "_HLS_msn and _HLS_part are numbers, and the second needs the first", http.StatusBadRequest)
		return nil, false
	case want.waits && want.seq > l.low.end.seq+ahead:
		http.Error(w, "_HLS_msn is too far ahead", http.StatusBadRequest)
		return nil, false
	case want.waits:
		if l = it.of.await(r, want.place); l == nil {
			w.Header().Set("Retry-After", "1")
			http.Error(w, "the stream does not go on", http.StatusServiceUnavailable)
			return nil, false
		}
	}
	if want.skip && l.low.update != nil {
		l = l.low.update
	}
	return l, true
}

// await returns the first list that has a part, nil if that does not come in time.
func (x *listing) await(r *http.Request, p place) *list {
	var timer *time.Timer
	for {
		x.stream.mu.Lock()
		l := x.list
		if x.more == nil {
			x.more = make(chan struct{})
		}
		more, gone := x.more, x.stream.gone
		x.stream.mu.Unlock()
		switch {
		case l == nil || l.low == nil || gone:
			return nil
		case l.low.has(p):
			return l
		}
		if timer == nil {
			timer = time.NewTimer(patient * l.low.target)
			defer timer.Stop()
		}
		select {
		case <-more:
		case <-timer.C:
			return nil
		case <-r.Context().Done():
			return nil
		}
	}
}

// later implements [service.LaterFunc] for what await waits for.
func (s *server) later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool) {
	it, ok := s.found.Find(s.env.Conf.Load(), r)
	if !ok || it.of == nil {
		return nil, until, false
	}
	x := it.of
	var p place
	if it.hint != nil {
		p = *it.hint
	} else {
		want, sound := wishOf(r)
		if !sound || !want.waits || !s.admitted(r, x.stream.key) {
			return nil, until, false
		}
		p = want.place
	}
	x.stream.mu.Lock()
	defer x.stream.mu.Unlock()
	l := x.list
	if l == nil || l.low == nil || x.stream.gone || p.seq > l.low.end.seq+ahead {
		return nil, until, false
	}
	if l.low.has(p) { // it came just now
		wake()
		return func() {}, until, true
	}
	if x.parked == nil {
		x.parked = map[*func()]struct{}{}
	}
	x.parked[&wake] = struct{}{}
	return func() {
		x.stream.mu.Lock()
		defer x.stream.mu.Unlock()
		delete(x.parked, &wake)
	}, time.Now().Add(patient * l.low.target), true
}

// sendHinted answers with a part when it is there.
func (s *server) sendHinted(w http.ResponseWriter, r *http.Request, it thing) {
	if it.of.await(r, *it.hint) != nil {
		if now, ok := s.found.Find(s.env.Conf.Load(), r); ok && now.file != nil {
			s.sendFile(w, r, now)
			return
		}
	}
	http.Error(w, "the stream does not go on", http.StatusNotFound)
}
