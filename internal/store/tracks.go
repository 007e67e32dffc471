package store

import (
	"slices"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
)

const (
	// ahead is how far a recorder of several tracks looks ahead, and what their key frames
	// may be apart to pass for the same: encoders delay pictures differently, and
	// publishers send one track after the other.
	ahead = 300 * time.Millisecond
	// mostHeld bounds how many frames wait for that.
	mostHeld = 4096
)

// tracks is what a recorder needs where several tracks of a kind are wanted.
type tracks struct {
	each  bool           // a view wants them
	held  []*media.Frame // frames that wait to be in order of time
	over  []*media.Frame // of the chunk before, that belong to the next
	heard map[place]bool // tracks that had a frame
	stale bool           // the run has not the tracks that there are now
	told  uint64         // number of the frame that told of the newest layout
	rest  []*media.Frame // scratch
	seen  *media.Layout  // that many was worked out for
	many  bool           // seen has several tracks of a kind
}

// place is what stays of a track when its configuration changes.
type place struct {
	kind media.Kind
	id   uint8
}

func placeOf(t *media.Track) place { return place{t.Kind, t.ID} }

// first reports whether f is of the first track of its kind.
func first(f *media.Frame) bool {
	k := f.Track.Kind
	return k != media.Data && (f.Track == f.Layout.Main(k) || f.Track == carried(f.Layout, k))
}

// want asks whether second pictures and sounds are wanted.
func (r *recorder) want(views []*View) {
	r.each = slices.ContainsFunc(views, func(v *View) bool { return v.Each != nil && v.Each() })
}

// also reports whether f is of another track that is wanted.
func (r *recorder) also(f *media.Frame) bool {
	if !r.each || f.Track.Kind == media.Data || !mp4.Supported(f.Track) {
		return false
	}
	if p := placeOf(f.Track); !r.heard[p] {
		if r.heard == nil {
			r.heard = map[place]bool{}
		}
		r.heard[p] = true
	}
	return true
}

// take takes the next frame as it comes. Frames of several tracks are put in order of
// time first, pictures before sound and the first track before the others, so that a cut
// is one for all.
func (r *recorder) take(f *media.Frame) {
	if f.Layout != r.seen {
		r.seen, r.many = f.Layout, several(tracksOf(f.Layout, true))
		if r.run == nil {
			r.want(r.all())
		}
	}
	if len(r.held) == 0 && !(r.many && r.each) {
		r.frame(f)
		return
	}
	at := len(r.held)
	for at > 0 && behind(r.held[at-1], f) {
		at--
	}
	r.held = slices.Insert(r.held, at, f)
	for len(r.held) > 0 && (r.held[len(r.held)-1].DTS-r.held[0].DTS > ahead || len(r.held) > mostHeld) {
		r.next()
	}
}

// next takes the oldest frame of those that wait.
func (r *recorder) next() {
	f := r.held[0]
	r.held = slices.Delete(r.held, 0, 1)
	r.frame(f)
}

// drain takes all frames that wait.
func (r *recorder) drain() {
	for len(r.held) > 0 {
		r.next()
	}
}

// renew goes over to f's layout, in which others than the first tracks are new or have
// changed. Who has the first ones only is not to be cut where no picture begins, so the
// next chunk begins a run, or the one at hand if it has hardly begun.
func (r *recorder) renew(f *media.Frame, views []*View) {
	if r.run.chunks == 0 {
		r.added(f, views)
		return
	}
	if !r.stale && !r.restartAt(f, views) {
		r.stale = true
	}
}

// behind reports whether a comes after b.
func behind(a, b *media.Frame) bool {
	if a.DTS != b.DTS {
		return a.DTS > b.DTS
	}
	if a.Track.Kind != b.Track.Kind {
		return a.Track.Kind > b.Track.Kind
	}
	return a.Track.ID > b.Track.ID
}

// align has the other pictures cut at their own key frames that are nearest to at, where
// the first one is cut: frames that came before go over to the next chunk, or those that
// wait come into this one.
func (r *recorder) align(at time.Duration) {
	if !r.many {
		return
	}
	for _, t := range tracksOf(r.layout, true) {
		if t.Kind != media.Video || t == r.run.Video {
			continue
		}
		key := nearest(t, at, r.frames, r.held)
		switch {
		case key == nil:
		case key.DTS < at:
			r.over = append(r.over, r.move(&r.frames, func(f *media.Frame) bool { return f.Track == t && f.DTS >= key.DTS })...)
		case key.DTS > at:
			r.frames = append(r.frames, r.move(&r.held, func(f *media.Frame) bool { return f.Track == t && f.DTS < key.DTS })...)
		}
	}
}

// nearest returns the key frame of t nearest to at in any of some lists, nil if there is
// none near.
func nearest(t *media.Track, at time.Duration, lists ...[]*media.Frame) (key *media.Frame) {
	for _, list := range lists {
		for _, f := range slices.Backward(list) {
			if f.DTS < at-ahead {
				break // they are in order, but for those that came late
			}
			if f.Track == t && f.Key && f.DTS < at+ahead && (key == nil || (f.DTS-at).Abs() < (key.DTS-at).Abs()) {
				key = f
			}
		}
	}
	return key
}

// move takes the frames out of a list that which picks. What it returns is valid until it
// is called again.
func (r *recorder) move(list *[]*media.Frame, which func(*media.Frame) bool) []*media.Frame {
	r.rest = r.rest[:0]
	*list = slices.DeleteFunc(*list, func(f *media.Frame) bool {
		if which(f) {
			r.rest = append(r.rest, f)
			return true
		}
		return false
	})
	return r.rest
}

// resume puts what the chunk before left into the one that has begun.
func (r *recorder) resume() {
	if len(r.over) == 0 {
		return
	}
	for _, f := range r.over {
		r.add(f)
	}
	clear(r.over)
	r.over = r.over[:0]
}

// mains returns the frames of the chunk that are of the first tracks.
func (r *recorder) mains() []*media.Frame {
	if !r.many {
		return r.frames
	}
	// What was the first when it came need not be so in the end.
	is := func(f *media.Frame) bool {
		return first(f) && (f.Track == r.run.Video || f.Track == r.run.Audio || !mp4.Supported(f.Track))
	}
	if !slices.ContainsFunc(r.frames, func(f *media.Frame) bool { return !is(f) }) {
		return r.frames
	}
	var all []*media.Frame
	for _, f := range r.frames {
		if is(f) {
			all = append(all, f)
		}
	}
	return all
}

// following returns the frame of t that follows the chunk, as far as it has come.
func (r *recorder) following(t *media.Track, next *media.Frame) *media.Frame {
	if next != nil && next.Track == t {
		return next
	}
	for _, list := range [...][]*media.Frame{r.over, r.held} {
		for _, f := range list {
			if f.Track == t {
				return f
			}
		}
	}
	return nil
}
