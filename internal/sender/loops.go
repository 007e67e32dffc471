package sender

import (
	"context"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// A Handoff is a viewer that is given to a send loop.
type Handoff struct {
	Session *session.Session
	// Conn is the viewer's TCP connection, which the loop owns if it takes it.
	Conn net.Conn
	Sub  *hub.Subscription
	// Spec is how the stream is sent.
	Spec
	// Before returns frames from before the one with that sequence number, which a
	// newcomer is sent first; nil is none. It is heeded for sound alone.
	Before func(seq uint64) []*media.Frame
	// Gather is how long the viewer may wait for more to come, at most; 0 sends
	// every frame at once, but for a few milliseconds where viewers are many.
	Gather time.Duration
	// Head is sent first. Tail, if there is one, follows it where the viewer cannot
	// start at once; else what it starts with does.
	Head, Tail []byte
	// RTSP is what a viewer of FormRTSP was told.
	RTSP *RTSPViewer
	// Peer takes what the viewer sends, and appends what it is to be answered; nil
	// drops it. An error of it ends the viewer; ErrBack gives the connection back.
	Peer func(o *Control, dst, b []byte) ([]byte, error)
	// Move appends what asks the viewer to go on elsewhere; nil for one that cannot be
	// asked.
	Move func(dst []byte, m session.Move) []byte
	// Ends says that the answer ends with the publication.
	Ends bool
	// Done is told, by a goroutine of its own, that the loop is through with the
	// viewer. The connection is closed, unless err is ErrBack: then it is back,
	// open, in conn.
	Done func(conn net.Conn, err error)
}

// A Spec is what the bytes of a stream depend on: viewers with equal ones share
// them.
type Spec struct {
	// Form is one of FormRTMP, FormFLV, FormMP4, FormTS, FormADTS, FormMP3 and FormRTSP.
	Form media.Form
	// ChunkSize is for RTMP.
	ChunkSize int
	// Framing is what the others stand in.
	Framing Framing
	// Only is for RTMP, FLV, MP4 and TS; Promise for FLV.
	Only    Only
	Promise Promise
	// Channels is for RTSP.
	Channels [rtspTracks]RTSPChannel
}

func (s Spec) form(st *hub.Stream, before func(seq uint64) []*media.Frame) form {
	var b body
	switch s.Form {
	case media.FormRTSP:
		return newRTSP(st, s.Channels)
	case media.FormRTMP:
		return &rtmpForm{chunk: s.ChunkSize, only: s.Only}
	case media.FormFLV:
		b = flvBody{s.Only, s.Promise}
	case media.FormMP4:
		b = mp4Body{s.Only}
	case media.FormTS:
		b = &tsBody{only: s.Only}
	case media.FormADTS:
		b = &adtsBody{before: before}
	case media.FormMP3:
		b = mp3Body{before: before}
	}
	return framed{b, s.Framing}
}

// Control is what Peer may do to its viewer. It is valid while Peer runs.
type Control struct{ o *outlet }

// Loops are the send loops of a server: one goroutine per core but one, each of
// which owns the sockets of its viewers, outside of Go's poller, and sends to all
// of them what is new in one system call where the kernel lets it (io_uring), else
// in one each. A viewer is a descriptor and a position in a reel; it has no
// goroutine, no timer and no buffer.
type Loops struct {
	log  *slog.Logger
	kind string // "io_uring", "writev"; empty without loops
	// intake is who has the publishers read at beats, if that is to be done at ours.
	intake atomic.Pointer[Intake]

	mu    sync.Mutex
	loops []*loop           // guarded by mu
	reels map[reelKey]*reel // guarded by mu
	next  int               // guarded by mu
}

// Environment variables that choose the way of sending, for tests and for those
// who must: "io_uring", "writev", or "goroutine" for one goroutine per viewer.
const senderEnv = "WEIR_SENDER"

// NewLoops returns the send loops, none where the system has not what they need.
func NewLoops(log *slog.Logger) *Loops {
	l := &Loops{log: log, reels: map[reelKey]*reel{}}
	want := os.Getenv(senderEnv)
	if want == "goroutine" || !loopsPossible {
		return l
	}
	n := max(1, runtime.GOMAXPROCS(0)-1)
	l.kind = "writev"
	for i := range n {
		lp, err := newLoop(l, i, want)
		if err != nil {
			log.Warn("send loops cannot be had, each viewer gets a goroutine", "err", err)
			l.closeAll()
			l.loops = nil
			return l
		}
		l.kind = lp.kind()
		l.loops = append(l.loops, lp)
	}
	return l
}

// Kind says how viewers are sent to: "io_uring", "writev" or "goroutine".
func (l *Loops) Kind() string {
	if l == nil || len(l.loops) == 0 {
		return "goroutine"
	}
	return l.kind
}

// A LoopState is what the API shows of a loop.
type LoopState struct {
	Viewers  int     `json:"viewers"`
	GatherMS float64 `json:"gather_ms"`
}

// States returns what each loop is doing.
func (l *Loops) States() (all []LoopState) {
	if l == nil {
		return nil
	}
	for _, lp := range l.loops {
		g := time.Duration(lp.pause.Load())
		all = append(all, LoopState{Viewers: int(lp.count.Load()), GatherMS: float64(g.Microseconds()) / 1000})
	}
	return all
}

// Gathering returns the longest time that a loop gathers now.
func (l *Loops) Gathering() (d time.Duration) {
	if l == nil {
		return 0
	}
	for _, lp := range l.loops {
		d = max(d, time.Duration(lp.pause.Load()))
	}
	return d
}

// Beat tells the loops that what publishers had at a beat has been read.
func (l *Loops) Beat() {
	if l == nil {
		return
	}
	for _, lp := range l.loops {
		lp.beat()
	}
}

// An Intake reads publishers at beats; it is what [link.Beat] does.
type Intake interface {
	// Look reads now and reports whether all that was read is with its stream; the
	// caller will look again at next.
	Look(next time.Time) (through bool)
	// Plan says when the caller will look next.
	Plan(next time.Time)
}

// Follow has the first loop, while it gathers, have publishers read just before it sends:
// the process wakes once for both, and the same thread does both.
func (l *Loops) Follow(in Intake) {
	if l != nil {
		l.intake.Store(&in)
	}
}

// Run runs the loops until ctx is done; viewers that are left are ended.
func (l *Loops) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, lp := range l.loops {
		wg.Go(lp.run)
	}
	<-ctx.Done()
	for _, lp := range l.loops {
		lp.post(func() { lp.stop(context.Cause(ctx)) })
	}
	wg.Wait()
	l.closeAll()
	return nil
}

func (l *Loops) closeAll() {
	for _, lp := range l.loops {
		lp.close()
	}
}

// HandOver gives a viewer to a loop, after which h.Conn, and the session, are the
// loop's. It returns false, and has done nothing, if there is no loop or the
// connection is not a plain TCP one.
func (l *Loops) HandOver(h Handoff) bool {
	if l == nil || len(l.loops) == 0 {
		return false
	}
	tcp, ok := h.Conn.(*net.TCPConn)
	if !ok {
		return false
	}
	fd, err := takeDescriptor(tcp)
	if err != nil {
		return false
	}
	tcp.Close() // the descriptor is a duplicate
	h.Conn = nil
	h.Sub.Park()
	o := newOutlet(fd, h)
	l.mu.Lock()
	lp := l.loops[l.next%len(l.loops)]
	for _, other := range l.loops {
		if other.count.Load() < lp.count.Load() {
			lp = other
		}
	}
	l.next++
	lp.count.Add(1)
	l.mu.Unlock()
	o.reel, o.marks = l.reel(h, lp)
	o.unhook = context.AfterFunc(h.Session.Context(), func() {
		lp.post(func() { lp.dismiss(o, context.Cause(h.Session.Context())) })
	})
	if h.Move != nil {
		h.Session.MoveBy(func(m session.Move) { lp.post(func() { lp.move(o, m) }) })
	}
	lp.post(func() { lp.add(o) })
	return true
}

// reel returns the reel that a viewer reads, as its loop has it, made if it is
// the first; and the newest mark, which is none of the viewer's.
func (l *Loops) reel(h Handoff, lp *loop) (lr *loopReel, mark uint64) {
	st := h.Sub.Stream()
	key := reelKey{st, h.Spec, h.Gather == 0}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.reels[key]
	if r == nil {
		r = newReel(st, key, h.Spec.form(st, h.Before), h.Gather, len(l.loops))
		l.reels[key] = r
		st.Attach(r)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.viewers++
	if n := len(r.marks); n > 0 {
		mark = r.marks[n-1].seq
	}
	lr = r.loops[lp.id]
	if lr == nil {
		lr = &loopReel{reel: r, loop: lp}
		lr.need.Store(nowhere)
		loops := append([]*loopReel(nil), r.loops...)
		loops[lp.id] = lr
		r.loops = loops
	}
	return lr, mark
}

// release forgets a reel when its last viewer has gone.
func (l *Loops) release(r *reel) {
	l.mu.Lock()
	r.mu.Lock()
	r.viewers--
	last := r.viewers == 0
	if last {
		delete(l.reels, r.key)
	}
	r.mu.Unlock()
	l.mu.Unlock()
	if last {
		r.stream.Detach(r)
	}
}
