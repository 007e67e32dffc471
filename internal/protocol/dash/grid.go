package dash

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"weir/internal/service/shelf"
	"weir/internal/store"
)

// By the encoder's time everything counts from 1970, and a period is as long as the stream
// consists of the same: a server that was not there when it began says the same of it.

const (
	// onTime is how far an encoder's time may be from ours to pass for the time of day.
	onTime = time.Minute
	// roughly is how exactly it is told how far an encoder's time is from ours, if that is
	// more: servers that look at different moments are to find the same.
	roughly = time.Second
)

// alike returns the period of g, whose initialization segments are told: the one at hand,
// or one that begins with it.
func (st *stream) alike(g *store.Segment, inits map[string]string) *period {
	at, p := g.Start+g.Run.Shift, st.period
	if st.begins.IsZero() {
		st.begins = time.Unix(0, 0).UTC()
		// Players look at the clock for what is there already.
		if late := time.Since(g.Run.At(ends(g))); late.Abs() > onTime {
			st.begins = st.begins.Add((late + roughly).Truncate(roughly))
		}
	}
	id := layoutOf(inits)
	if st.used == nil {
		st.used = map[string]bool{}
	}
	switch {
	case p == nil:
		st.used[id] = true
		return &period{id: id}
	case maps.Equal(p.inits, inits) && at >= p.end-p.start+p.offset:
		return p
	}
	if st.periods++; st.used[id] { // it comes back to what it was
		id += "-" + strconv.FormatInt(st.periods, 10)
	}
	st.used[id] = true
	return &period{id: id, start: max(at, p.end), offset: at}
}

// layoutOf names what a period consists of.
func layoutOf(inits map[string]string) string {
	var all []byte
	for _, rep := range slices.Sorted(maps.Keys(inits)) {
		all = append(append(all, inits[rep]...), 0)
	}
	return shelf.SumOf(all)
}
