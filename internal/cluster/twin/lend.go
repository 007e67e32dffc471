package twin

import (
	"bufio"
	"context"
	"encoding/gob"
	"net"
	"sync"
	"sync/atomic"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// A lender tells the other process of one publication. It is a tap of its stream, which
// queues, and a goroutine, which writes: a process that hangs holds nobody up, and loses
// whole groups of pictures as any slow viewer does.
type lender struct {
	// Immutable.
	twin    *Twin
	side    Side // of who borrows
	opening opening
	session *session.Session // nil if only segments are lent
	pub     *hub.Publication // nil then too
	ctx     context.Context
	cancel  context.CancelCauseFunc
	caught  chan struct{} // closed when the other has all that there was
	wake    chan struct{}

	wanted atomic.Bool // frames are
	played atomic.Bool // somebody plays it there, or beyond

	mu    sync.Mutex
	queue []item // guarded by mu
	bytes int    // of frames in queue; guarded by mu
	lost  bool   // frames were left out, up to the next that viewers can begin with; guarded by mu

	// Owned by write.
	out    *gob.Encoder
	tracks map[*media.Track]int
	layout *media.Layout
}

// item is something to be said.
type item struct {
	frame  *media.Frame
	piece  *piece
	caught bool
	moved  bool
	end    *end
}

// queueMost bounds the frames that wait, in bytes.
const queueMost = 64 << 20

func (t *Twin) newLender(o opening, to Side) *lender {
	l := &lender{twin: t, side: to, opening: o, caught: make(chan struct{}), wake: make(chan struct{}, 1), tracks: map[*media.Track]int{}}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Frame implements hub.Tap.
func (l *lender) Frame(f *media.Frame, access bool) {
	if f.Epoch != l.pub.Epoch {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	inside := f.Seq == 0
	if l.lost && access {
		l.lost = false
	}
	if l.lost {
		return
	}
	if l.bytes += len(f.Payload); l.bytes > queueMost && !inside {
		l.drop()
		return
	}
	l.queue = append(l.queue, item{frame: f})
	l.nudge()
}

// drop leaves out the frames that wait. l.mu is held.
func (l *lender) drop() {
	kept := l.queue[:0]
	for _, i := range l.queue {
		if i.frame == nil {
			kept = append(kept, i)
		}
	}
	clear(l.queue[len(kept):])
	l.queue, l.bytes, l.lost = kept, 0, true
}

// End implements hub.Tap.
func (l *lender) End(cause error) { l.finish(cause) }

// finish says that the publication has ended, once the last of its segments is cut.
func (l *lender) finish(cause error) {
	if len(l.opening.Mirrors) == 0 {
		l.add(item{end: &end{faultOf(cause)}})
		return
	}
	go func() { // a tap must not wait
		l.twin.env.Store.Finish(l.opening.Key)
		l.add(item{end: &end{faultOf(cause)}})
	}()
}

// piece has the other process be told of a segment.
func (l *lender) piece(of string, body []byte) { l.add(item{piece: &piece{of, body}}) }

func (l *lender) add(i item) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, i)
	l.nudge()
}

func (l *lender) nudge() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// run says what there is until the publication has ended, or the other process has gone.
func (l *lender) run() {
	defer l.cancel(nil)
	defer l.forget()
	conn, err := l.twin.dial(l.opening, l.side)
	if err != nil {
		return
	}
	defer conn.Close()
	defer context.AfterFunc(l.ctx, func() { conn.Close() })()
	if l.pub != nil {
		defer l.pub.Stream().Detach(l)
	}
	go service.Guard(l.twin.env.Log, func() error { l.listen(conn); return nil })
	if err := l.write(conn); err != nil && l.ctx.Err() == nil {
		l.twin.env.Log.Warn("upgrade: the other process takes no more of a stream", "stream", l.opening.Key.String(), "err", err)
	}
}

func (l *lender) forget() {
	l.twin.mu.Lock()
	defer l.twin.mu.Unlock()
	if all := l.twin.sides[l.side].lenders; all[l.session] == l {
		delete(all, l.session)
	}
}

// listen takes the answers.
func (l *lender) listen(conn net.Conn) {
	defer l.cancel(nil)
	in, wanted, caught := gob.NewDecoder(bufio.NewReader(conn)), false, false
	var unwant func() // while it is played there
	defer func() {
		if unwant != nil {
			unwant()
		}
	}()
	for {
		var a answer
		if in.Decode(&a) != nil {
			return
		}
		switch {
		case a.Want && !wanted && l.pub != nil:
			wanted = true
			l.wanted.Store(true)
			l.twin.pass(l.session)
			l.begin()
		case a.Caught && !caught:
			caught = true
			close(l.caught)
		case a.Played == playedYes && unwant == nil && l.pub != nil:
			l.played.Store(true)
			unwant = l.twin.env.Desk.Want(session.Ask{Key: l.opening.Key, Said: l.opening.Said}, l.opening.StreamID)
		case a.Played == playedNo && unwant != nil:
			l.played.Store(false)
			unwant()
			unwant = nil
		case a.Wish > 0 && l.session != nil && l.session.Wish != nil:
			l.session.Wish(a.Wish - 1)
		case a.Look && l.session != nil && l.session.Look != nil:
			l.session.Look()
		case a.Refused && l.session != nil:
			l.session.Kick(hub.ErrBusy)
		case a.Kick != nil && l.session != nil:
			l.session.Kick(a.Kick.err())
		}
	}
}

// begin begins to lend frames, from the newest that viewers can begin with.
func (l *lender) begin() {
	st := l.pub.Stream()
	st.AttachInside(l, hub.Insider{Protocol: l.pub.By})
	l.add(item{caught: true})
	if st.Publication() != l.pub { // it ended before
		l.finish(hub.ErrTaken)
	}
}

// write writes what is queued until the end.
func (l *lender) write(conn net.Conn) error {
	w := bufio.NewWriterSize(conn, 64<<10)
	l.out = gob.NewEncoder(w)
	if l.pub != nil {
		if err := l.describe(l.pub.Stream().Layout()); err != nil {
			return err
		}
	}
	var all []item
	for {
		l.mu.Lock()
		all, l.queue, l.bytes = l.queue, all[:0], 0
		l.mu.Unlock()
		for n, i := range all {
			if ended, err := l.say(i); ended || err != nil {
				w.Flush()
				return err
			}
			all[n] = item{}
		}
		if err := w.Flush(); err != nil {
			return err
		}
		select {
		case <-l.wake:
		case <-l.ctx.Done():
			return nil
		}
	}
}

// say writes one thing, and reports whether it was the last.
func (l *lender) say(i item) (ended bool, err error) {
	switch {
	case i.frame != nil:
		return false, l.sayFrame(i.frame)
	case i.piece != nil:
		return false, l.out.Encode(record{Piece: i.piece})
	case i.caught:
		return false, l.out.Encode(record{Caught: true})
	case i.moved:
		return false, l.out.Encode(record{Moved: true})
	}
	return true, l.out.Encode(record{End: i.end})
}

func (l *lender) sayFrame(f *media.Frame) error {
	if f.Layout != l.layout {
		if err := l.describe(f.Layout); err != nil {
			return err
		}
	}
	n, err := l.number(f.Track)
	if err != nil {
		return err
	}
	return l.out.Encode(record{Frame: &frame{Track: n, DTS: f.DTS, CTO: f.CTO, Source: f.Source, Arrived: f.Arrived.UnixNano(), Key: f.Key, Inside: f.Seq == 0, Lost: f.Lost, Payload: f.Payload}})
}

// describe tells of a layout.
func (l *lender) describe(m *media.Layout) error {
	l.layout = m
	if m == nil {
		return nil
	}
	r := &layout{Meta: m.Meta, Own: m.Own}
	for _, t := range m.Tracks {
		n, err := l.number(t)
		if err != nil {
			return err
		}
		r.Tracks = append(r.Tracks, n)
	}
	return l.out.Encode(record{Layout: r})
}

// number returns the number of a track, of which it tells the first time.
func (l *lender) number(t *media.Track) (int, error) {
	if n, ok := l.tracks[t]; ok {
		return n, nil
	}
	n := len(l.tracks) + 1
	l.tracks[t] = n
	return n, l.out.Encode(record{Track: &track{n, *t}})
}
