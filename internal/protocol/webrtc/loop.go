package webrtc

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/pion/rtp"
)

// A loop is one goroutine that encrypts and sends for its viewers. It takes what is new
// in each lane once, and goes through the lane's viewers with it.
type loop struct {
	server *server
	id     int
	bell   chan struct{}
	over   chan struct{} // closed when nothing more is sent

	mu    sync.Mutex
	inbox []func() // guarded by mu
	grown []*lane  // have something new; guarded by mu

	// Owned by the loop.
	lanes   map[*lane]*audience
	late    []*audience // with somebody who is behind, or came just now
	todo    []*audience
	boxes   map[*socket]*outbox
	window  []packet
	own     []packet
	spare   []*lane
	repeats []repeat  // what is to be sent a second time, the earliest first
	holders []*viewer // whose sound is held back
	header  rtp.Header
	now     time.Time
	scratch []byte
}

// audience is those viewers of a lane that a loop has.
type audience struct {
	lane    *lane
	viewers []*viewer
	seen    uint64 // those who are not behind have been sent what is before
}

const (
	// burst is how many packets a viewer is sent at once; the rest follows after
	// pause, so that great pictures do not overflow the buffers on the way.
	burst = 64
	pause = 5 * time.Millisecond
	// inboxMost bounds what may wait for a loop. What viewers ask for in vain they ask
	// for again.
	inboxMost = 8192
)

// loopCount is how many loops there are: one core stays for the rest.
func loopCount() int { return max(1, runtime.GOMAXPROCS(0)-1) }

func newLoop(s *server, id int) *loop {
	return &loop{server: s, id: id, bell: make(chan struct{}, 1), over: make(chan struct{}), lanes: map[*lane]*audience{}, boxes: map[*socket]*outbox{}}
}

// tell tells the loop that a lane has something new; it never blocks. The lane sees to
// it that it does so once before the loop looks.
func (l *loop) tell(ln *lane) {
	l.mu.Lock()
	l.grown = append(l.grown, ln)
	l.mu.Unlock()
	l.wake()
}

// wake ends the loop's sleep.
func (l *loop) wake() {
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// post has f run by the loop.
func (l *loop) post(f func()) {
	l.mu.Lock()
	l.inbox = append(l.inbox, f)
	l.mu.Unlock()
	l.wake()
}

// offer is post for what may be left undone.
func (l *loop) offer(f func()) {
	l.mu.Lock()
	full := len(l.inbox) >= inboxMost
	if !full {
		l.inbox = append(l.inbox, f)
	}
	l.mu.Unlock()
	if !full {
		l.wake()
	}
}

func (l *loop) run(stop chan struct{}) {
	defer close(l.over)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		select {
		case <-l.bell:
		case <-timer.C:
		case <-stop:
			return
		}
		if more := l.turn(); more {
			timer.Reset(pause)
		}
	}
}

// turn does what is to be done, and reports whether there is more to be done in a moment.
func (l *loop) turn() (more bool) {
	l.now = time.Now()
	l.mu.Lock()
	asked, grown := l.inbox, l.grown
	l.inbox, l.grown = nil, l.spare[:0]
	l.mu.Unlock()
	for _, f := range asked {
		f()
	}
	l.todo = append(l.todo[:0], l.late...)
	l.late = l.late[:0]
	for _, ln := range grown {
		ln.told[l.id].Store(false)
		if a := l.lanes[ln]; a != nil && !slices.Contains(l.todo, a) {
			l.todo = append(l.todo, a)
		}
	}
	clear(grown)
	l.spare = grown
	for _, a := range l.todo {
		if len(a.viewers) > 0 && l.serve(a) {
			l.late = append(l.late, a)
		}
	}
	l.sendHeld()
	l.sendRepeats()
	for _, o := range l.boxes {
		o.flush()
	}
	return len(l.late) > 0 || len(l.repeats) > 0 || len(l.holders) > 0
}

// list takes a viewer in.
func (l *loop) list(v *viewer) {
	if v.listed {
		return
	}
	a := l.lanes[v.lane]
	if a == nil {
		a = &audience{lane: v.lane, seen: v.lane.newest()}
		l.lanes[v.lane] = a
	}
	v.listed, v.index = true, len(a.viewers)
	a.viewers = append(a.viewers, v)
	if !slices.Contains(l.late, a) {
		l.late = append(l.late, a)
	}
	v.lane.watched[l.id].Add(1)
}

// remove takes a viewer out, and returns when it is sent to no more.
func (l *loop) remove(v *viewer) {
	done := make(chan struct{})
	l.post(func() {
		defer close(done)
		a := l.lanes[v.lane]
		if !v.listed {
			v.listed = true // and so never will be
			return
		}
		last := len(a.viewers) - 1
		moved := a.viewers[last]
		a.viewers[v.index], moved.index = moved, v.index
		a.viewers[last] = nil
		if a.viewers = a.viewers[:last]; last == 0 {
			delete(l.lanes, v.lane)
		}
		v.lane.watched[l.id].Add(-1)
		v.care.on, l.repeats = false, slices.DeleteFunc(l.repeats, func(r repeat) bool { return r.v == v })
		l.holders = slices.DeleteFunc(l.holders, func(h *viewer) bool { return h == v })
		if k := v.path.sock; k != nil && k.stream != nil {
			delete(l.boxes, k)
		}
	})
	select {
	case <-done:
	case <-l.over:
	}
}

// serve sends what is new in a lane.
func (l *loop) serve(a *audience) (behind bool) {
	var from uint64
	l.window, from = a.lane.copy(l.window[:0], a.seen, a.seen+burst)
	lost := from != a.seen
	next := from + uint64(len(l.window))
	at := a.seen
	a.seen = next
	head, layered := a.lane.newest(), a.lane.layered.Load()
	for _, v := range a.viewers {
		if layered || v.choice != nil {
			l.choose(v)
		}
		if !v.joined {
			v.enter()
		}
		if v.pos == at && !lost {
			l.send(v, l.window, from)
			v.pos = next
		} else if v.pos < head {
			l.catchUp(v, head)
		}
		behind = behind || v.pos < head
		l.account(v)
	}
	clear(l.window)
	return behind
}

// catchUp sends to a viewer that is not where the others are.
func (l *loop) catchUp(v *viewer, head uint64) {
	var from uint64
	l.own, from = v.lane.copy(l.own[:0], v.pos, min(v.pos+burst, head))
	if from != v.pos {
		// What it should have had is gone: it goes on at a key frame.
		v.tracks[pictureTrack].live = false
		v.peer.session.Drop(int(from - v.pos))
	}
	l.send(v, l.own, from)
	v.pos = from + uint64(len(l.own))
	clear(l.own)
}

// account counts what a viewer was sent in this turn, and reports if it is time.
func (l *loop) account(v *viewer) {
	if v.sent == 0 {
		return
	}
	if l.now.Sub(v.reports) >= reportEvery {
		l.report(v)
	}
	v.care.look(l.now, v.tracks[soundTrack].packets+v.tracks[pictureTrack].packets)
	v.peer.session.Count(0, v.sent)
	v.sent = 0
}

func (l *loop) box(k *socket) *outbox {
	o := l.boxes[k]
	if o == nil {
		o = newOutbox(k)
		l.boxes[k] = o
	}
	return o
}

// send encrypts packets for a viewer and puts them into the outbox.
func (l *loop) send(v *viewer, packets []packet, pos uint64) {
	if v.path.sock == nil {
		return
	}
	for i := range packets {
		p := &packets[i]
		if !v.begin(p, pos+uint64(i)) {
			continue
		}
		if v.peer.lose.Load() > 0 && v.peer.loses() {
			continue
		}
		t := &v.tracks[kindOf(int(p.track))]
		seq, stamp, number := p.seq+t.offset, v.stampOf(p)+t.shift, v.numberOf(t, p)
		if c := v.choice; c != nil && p.track != soundTrack {
			c.note(l.now, entry{pos: pos + uint64(i), seq: seq, stamp: stamp, number: number, size: uint16(p.Size() + onWire)})
		}
		held := p.track == soundTrack && l.hold(v, t, p, seq)
		if !held && !l.seal(v, t, p, seq, stamp, number) {
			return
		}
		t.next, t.stamp, t.number = seq+1, stamp, number
		if t.next-t.floor > ringMost {
			t.floor = t.next - ringMost // more is not kept, and the numbers wrap
		}
		if p.track == soundTrack && !held {
			l.repeat(v, soundTrack, seq)
		}
		t.packets++
		t.octets += uint32(p.Size())
		if v.choice != nil && p.Marker && p.track != soundTrack {
			l.pad(v)
		}
	}
}

// encrypt encrypts a packet in place, behind which there is room for overhead.
func (l *loop) encrypt(v *viewer, b []byte) (out []byte, ok bool) {
	if v.keys == nil {
		return b, true
	}
	out, err := v.keys.EncryptRTP(b, b, &l.header)
	if err != nil {
		v.peer.end(err)
		return nil, false
	}
	return out, true
}

// overhead is what encryption adds at most, to RTP and RTCP.
const overhead = 32
