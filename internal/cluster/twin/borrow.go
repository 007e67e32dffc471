package twin

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// A borrower publishes here what has its publisher at the other process.
type borrower struct {
	// Immutable.
	twin    *Twin
	side    Side // of who lends
	opening opening
	conn    net.Conn
	log     *slog.Logger

	wake    chan struct{}    // has want look again
	session *session.Session // nil if nobody publishes
	pub     *hub.Publication

	mu  sync.Mutex
	out *gob.Encoder // guarded by mu

	tracks map[int]*media.Track
	layout *media.Layout
}

// errGone is the cause when the other process has gone without a word.
var errGone = errors.New("the process that had the publisher has gone")

// run takes what the lender says until the end.
func (b *borrower) run() {
	defer b.conn.Close()
	b.out, b.tracks = gob.NewEncoder(b.conn), map[int]*media.Track{}
	key, h := b.opening.Key, b.twin.env.Handover
	defer h.ReturnMirrors(key)
	h.BorrowMirrors(key, b.opening.Mirrors)
	if b.opening.Live {
		if err := b.claim(); err != nil {
			b.log.Warn("upgrade: a stream of the other process is busy here", "stream", key.String())
			b.answer(answer{Refused: true})
			return
		}
		if b.side == Heir {
			// It is cut there. Of an earlier publisher, who was here, views may still wait
			// for the next, and both processes would write the same files.
			b.twin.env.Store.Finish(key)
		}
		defer context.AfterFunc(b.session.Context(), b.kicked)()
		b.lendOn()
		defer b.forget()
		go b.want()
	}
	err := b.read()
	if b.session != nil {
		b.session.Close(err)
	}
}

// claim claims the name. Where the other process has had one publisher replaced by
// another, that is told in no order.
func (b *borrower) claim() (err error) {
	o := b.opening
	v := session.Visitor{Protocol: o.Protocol, IP: o.IP, TLS: o.TLS, TcURL: o.TcURL, PageURL: o.PageURL, SwfURL: o.SwfURL, Internal: o.Internal, Look: func() { b.answer(answer{Look: true}) }}
	if o.Wishes {
		v.Wish = func(layer int) { go b.answer(answer{Wish: layer + 1}) } // who wishes must not wait
	}
	ask := session.Ask{Key: o.Key, Said: o.Said, Type: o.Type, Name: o.Name, Private: o.Private}
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		b.session, b.pub, err = b.twin.env.Desk.Borrow(v, o.Client, ask, o.StreamID)
		st := b.twin.env.Hub.Stream(o.Key)
		if err == nil || st == nil || time.Now().After(until) {
			return err
		}
		if p := st.Publication(); p != nil && !p.Lent {
			return err
		}
	}
}

// lendOn lends it to the process on the other side too.
func (b *borrower) lendOn() {
	t := b.twin
	t.mu.Lock()
	t.loans[b.session] = b
	t.mu.Unlock()
	_, ask, _ := b.session.Doing()
	t.lend(b.session, ask, 1-b.side)
}

func (b *borrower) forget() {
	b.twin.mu.Lock()
	defer b.twin.mu.Unlock()
	delete(b.twin.loans, b.session)
}

// kicked has the publisher ended for whom this session stands.
func (b *borrower) kicked() {
	if cause := context.Cause(b.session.Context()); cause != nil && !errors.Is(cause, context.Canceled) {
		b.answer(answer{Kick: faultOf(cause)})
	}
}

// nudge has want look again. It does not wait.
func (b *borrower) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// want asks for frames as soon as they are of use, of the elder's at once, since whoever
// comes comes here; and tells whether somebody plays them.
func (b *borrower) want() {
	wanted, told := false, false
	for {
		played := b.twin.played(b.opening.Key)
		if !wanted && (played || b.side == Elder || b.twin.wanted(b.session)) {
			wanted = true
			b.answer(answer{Want: true})
		}
		switch {
		case played && !told:
			b.answer(answer{Played: playedYes})
		case !played && told:
			b.answer(answer{Played: playedNo})
		}
		told = played
		select {
		case <-b.wake:
		case <-b.session.Context().Done():
			return
		}
	}
}

func (b *borrower) answer(a answer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out.Encode(a) // if the other has gone, read notices
}

// read takes records until the end, and returns how the publication ended.
func (b *borrower) read() error {
	in := gob.NewDecoder(bufio.NewReaderSize(b.conn, 64<<10))
	for {
		var r record
		if err := in.Decode(&r); err != nil {
			return errGone
		}
		if r.End != nil {
			return r.End.Fault.err()
		}
		if err := b.take(&r); err != nil {
			b.log.Error("upgrade: what the other process says of a stream makes no sense", "stream", b.opening.Key.String(), "err", err)
			return err
		}
	}
}

func (b *borrower) take(r *record) error {
	switch {
	case r.Track != nil:
		t := r.Track.Track
		b.tracks[r.Track.N] = &t
	case r.Layout != nil:
		return b.describe(r.Layout)
	case r.Frame != nil:
		return b.frame(r.Frame)
	case r.Piece != nil:
		return b.twin.env.Handover.TakeMirror(r.Piece.Of, b.opening.Key, r.Piece.Body)
	case r.Caught:
		b.answer(answer{Caught: true})
	case r.Moved && b.session != nil:
		b.session.Moved()
		b.twin.hasMoved(b.session)
	}
	return nil
}

func (b *borrower) describe(r *layout) error {
	l := &media.Layout{Meta: r.Meta, Own: r.Own}
	for _, n := range r.Tracks {
		t := b.tracks[n]
		if t == nil {
			return fmt.Errorf("track %d is not known", n)
		}
		l.Tracks = append(l.Tracks, t)
	}
	b.layout = l
	if b.pub != nil {
		b.pub.Describe(l)
	}
	return nil
}

func (b *borrower) frame(r *frame) error {
	t := b.tracks[r.Track]
	if t == nil || b.layout == nil || b.pub == nil {
		return fmt.Errorf("a frame of track %d, which is not known", r.Track)
	}
	b.pub.WriteLent(&media.Frame{Layout: b.layout, Track: t, DTS: r.DTS, CTO: r.CTO, Source: r.Source, Arrived: time.Unix(0, r.Arrived), Key: r.Key, Lost: r.Lost, Payload: r.Payload}, r.Inside)
	return nil
}
