package hls

import (
	"time"

	"weir/internal/config/blocks"
	"weir/internal/store"
)

// fillMost is how many more gaps are listed than the window holds.
const fillMost = 3

// fill lists gaps for the numbers before that of g which no segment has: the encoder, or
// this server, was away then, or a key frame came late. It returns what has left the
// window. mu is held.
func (x *listing) fill(conf *blocks.HLSConfig, g *store.Segment) (gone []*segment) {
	all := x.index.All()
	if len(all) == 0 {
		x.index.Restart(g.Seq)
		return nil
	}
	missing := g.Seq - x.index.Next()
	if missing <= 0 {
		return nil
	}
	last := all[len(all)-1]
	end := last.Start + last.Duration
	each := min(max(g.Run.At(g.Start).Sub(last.Run.At(end))/time.Duration(missing), time.Millisecond), conf.Fragment)
	// Of those that would not be listed there is none.
	most := int64(conf.Window/max(conf.Fragment, time.Millisecond)) + fillMost
	for n := max(g.Seq-most, x.index.Next()); n < g.Seq; n++ {
		gap := &segment{Segment: &store.Segment{Seq: n, Duration: each, Run: last.Run, Start: end + time.Duration(n-last.Seq-1)*each},
			breaks: last.breaks, meant: last.meant, init: last.init, key: last.key, track: last.track, gap: true}
		gap.Began = last.Run.At(gap.Start)
		gap.name = x.segmentName(conf, gap.Segment, gap.init != nil)
		gap.uri = uri(conf.EntryPrefix, x.playlistName, gap.name)
		gone = append(gone, x.index.Add(gap, window(conf))...)
	}
	return gone
}
