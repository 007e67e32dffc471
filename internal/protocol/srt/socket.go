package srt

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/link/datagram"
	"weir/internal/service"
	wire "weir/internal/wire/srt"
)

// socket is one UDP socket and its peers. Its loop has them for itself: it reads what has
// come, writes what streams have that is new to all who play them, looks after the time,
// and sends all of that in a few calls. Others post to it what is to be done.
type socket struct {
	// Immutable.
	server   *server
	conf     *blocks.SRTServerConfig
	mode     string // both, publish or play
	listener wire.Listener
	sock     *datagram.Socket
	done     chan struct{} // closed when the loop has ended

	mu     sync.Mutex
	posts  []func() // guarded by mu
	closed bool     // the loop takes nothing more; guarded by mu

	// All below is owned by the loop.
	peers     map[uint32]*peer // by our id
	asked     map[caller]*request
	open      int // of asked, those that wait for the desk
	audiences []*audience
	working   []func()
	quit      bool
	now       time.Time
	current   *peer // whose fault it would be
	pace      budget
}

// caller tells one attempt to connect from another: its repetitions have the same.
type caller struct {
	from    netip.AddrPort
	id, isn uint32
}

// request is what became of a caller's wish. It is kept while the connection lasts,
// and for a while if there is none.
type request struct {
	peer   *peer // nil unless it is let in
	reject []byte
	until  time.Time
}

const (
	// maxAsking is how many callers may wait to be admitted at one time, and maxFrom how
	// many of them from one address.
	maxAsking, maxFrom = 512, 64
	// maxRefused is how many refusals are remembered.
	maxRefused = 4096
	// rejectAfter is how long a refusal is held back: callers repeat what they want,
	// and some begin again as soon as they are refused.
	rejectAfter = 300 * time.Millisecond
	rejectKept  = 4 * time.Second
	// strangerRate is how many datagrams a second of who has no connection are answered,
	// and strangerBurst how many at once.
	strangerRate, strangerBurst = 20000, 4000
	// pausePer is how long the loop lets datagrams gather for each peer, and mostPause
	// the longest it does: waking up costs more than a datagram.
	pausePer, mostPause = 200 * time.Microsecond, 8 * time.Millisecond
	// fewPeers are not worth waiting for.
	fewPeers = 4
)

// budget bounds how often something is done.
type budget struct {
	left float64
	at   time.Time
}

func (b *budget) take(now time.Time, rate, burst float64) bool {
	if b.at.IsZero() {
		b.left = burst
	} else {
		b.left = min(burst, b.left+now.Sub(b.at).Seconds()*rate)
	}
	b.at = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}

// post has the loop call f, and reports false if it has ended.
func (k *socket) post(f func()) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return false
	}
	k.posts = append(k.posts, f)
	k.sock.Wake()
	return true
}

// do is post, and waits until f has been called.
func (k *socket) do(f func()) bool {
	called := make(chan struct{})
	if !k.post(func() { defer close(called); f() }) {
		return false
	}
	<-called
	return true
}

// run is the loop.
func (k *socket) run(ctx context.Context) {
	defer close(k.done)
	for !k.quit {
		// A fault in what a peer brought out ends that peer, and the loop goes on.
		err := service.Guard(k.server.env.Log, func() error { k.turns(ctx); return nil })
		if p := k.current; err != nil && p != nil {
			p.fail(err)
		}
		k.current = nil
		k.sock.Wake() // to the rest of what was to be done
	}
	k.mu.Lock()
	k.closed = true
	left := k.posts
	k.posts = nil
	k.mu.Unlock()
	for _, f := range left {
		f()
	}
	k.sock.Flush()
	k.sock.Close()
}

func (k *socket) turns(ctx context.Context) {
	take := func(from netip.AddrPort, b []byte) { k.datagram(ctx, from, b) }
	for !k.quit {
		k.sock.Wait(k.next())
		k.now = time.Now()
		k.read(take)
		k.work()
		k.sock.Flush() // what was queued may be used again below
		for _, a := range k.audiences {
			k.play(a)
		}
		k.advance()
		k.current = nil
		k.sock.Flush()
		if n := len(k.peers); n > fewPeers {
			k.sock.Pause(k.now.Add(min(mostPause, time.Duration(n)*pausePer)))
		}
	}
}

// maxReads bounds how many times datagrams are read in a row: as much as the system holds
// for us, if we were kept from reading.
const maxReads = 8

// read takes all that has come, so that nothing is given up for lost that is there.
func (k *socket) read(take func(netip.AddrPort, []byte)) {
	for range maxReads {
		if k.sock.Read(take) < datagram.Burst {
			return
		}
		k.sock.Flush() // what is sent again
	}
}

// next is when there is something to do, if nothing comes.
func (k *socket) next() time.Time {
	at := datagram.Never
	for _, p := range k.peers {
		if p.due.Before(at) {
			at = p.due
		}
	}
	for _, a := range k.audiences {
		if due := a.feed.due(); due.Before(at) {
			at = due
		}
	}
	return at
}

// work does what was posted.
func (k *socket) work() {
	k.call() // what a fault has left out
	k.mu.Lock()
	k.working, k.posts = k.posts, nil
	k.mu.Unlock()
	k.call()
}

func (k *socket) call() {
	for len(k.working) > 0 {
		f := k.working[0]
		k.working = k.working[1:]
		f()
	}
}

func (k *socket) advance() {
	for _, p := range k.peers {
		if !p.due.After(k.now) {
			k.current = p
			p.advance(k.now)
		}
	}
}

// datagram takes one.
func (k *socket) datagram(ctx context.Context, from netip.AddrPort, b []byte) {
	id, ok := wire.Destination(b)
	switch {
	case !ok:
	case id == 0:
		k.stranger(ctx, from, b)
	default:
		p := k.peers[id]
		if p == nil {
			k.sock.Pass(from, b)
		} else if p.from == from {
			k.current = p
			p.handle(k.now, b)
			k.current = nil
		}
	}
}

// stranger takes a datagram of who has no connection, or wants another one.
func (k *socket) stranger(ctx context.Context, from netip.AddrPort, b []byte) {
	if !k.pace.take(k.now, strangerRate, strangerBurst) {
		return
	}
	reply, req := k.listener.Handle(k.now, from, b)
	if reply != nil {
		k.sock.Queue(k.sock.At(), from, reply, nil)
	}
	if req == nil {
		return
	}
	key := caller{from, req.PeerID, req.ISN}
	if r := k.asked[key]; r != nil {
		if r.peer != nil {
			r.peer.answer(k.now)
		} else if r.reject != nil {
			k.sock.Queue(k.sock.At(), from, r.reject, nil)
		}
		return
	}
	k.forget()
	code := wire.Reject(0)
	switch {
	case k.server.shut.Load():
		code = wire.RejectClosing
	case k.open >= maxAsking || len(k.asked)-len(k.peers) >= maxRefused+maxAsking:
		code = wire.RejectBacklog
	}
	if code == 0 && !k.server.callers.enter(from.Addr()) {
		code = wire.RejectBacklog
	}
	if code != 0 {
		k.sock.Queue(k.sock.At(), from, req.Reject(code), nil)
		return
	}
	r := &request{}
	k.asked[key] = r
	k.open++
	at := k.sock.At()
	k.server.wg.Go(func() { k.serve(ctx, at, key, r, req) })
}

// callers are those who wait for the desk, by address.
type callers struct {
	mu  sync.Mutex
	all map[netip.Addr]int // guarded by mu
}

// enter counts one more, unless there are too many.
func (c *callers) enter(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[from] >= maxFrom {
		return false
	}
	c.all[from]++
	return true
}

func (c *callers) leave(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[from]--; c.all[from] <= 0 {
		delete(c.all, from)
	}
}

// forget drops refusals that are old.
func (k *socket) forget() {
	if len(k.asked)-len(k.peers)-k.open < maxRefused/2 {
		return
	}
	for key, r := range k.asked {
		if r.reject != nil && k.now.After(r.until) {
			delete(k.asked, key)
		}
	}
}

// refuse tells a caller why not, after a while, and remembers it.
func (k *socket) refuse(ctx context.Context, at netip.Addr, r *request, req *wire.Request, code wire.Reject) {
	wait := time.NewTimer(rejectAfter)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	k.do(func() {
		k.open--
		k.server.callers.leave(req.From.Addr())
		r.reject, r.until = req.Reject(code), k.now.Add(rejectKept)
		k.sock.Queue(at, req.From, r.reject, nil)
	})
}

// accept makes the connection.
func (k *socket) accept(r *request, req *wire.Request, keys *wire.Keys, p *peer) {
	params := k.server.params()
	params.Send = func(b []byte) {
		p.session.Count(0, len(b))
		k.sock.Queue(p.at, p.from, b, nil)
	}
	params.SendData = func(header, payload []byte) {
		p.session.Count(0, len(header)+len(payload))
		k.sock.Queue(p.at, p.from, header, payload)
	}
	params.Deliver = p.take
	id := newID()
	for k.peers[id] != nil {
		id = newID()
	}
	k.peers[id] = p
	r.peer = p
	k.open--
	k.server.callers.leave(req.From.Addr())
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = req.Accept(k.now, id, params, keys)
	p.due = p.conn.Next()
}

// leave ends a peer's connection and forgets it.
func (k *socket) leave(key caller, p *peer) {
	p.mu.Lock()
	p.conn.Close(k.now)
	id := p.conn.ID()
	p.mu.Unlock()
	delete(k.peers, id)
	delete(k.asked, key)
}

// audience are those of a socket's peers who play one stream.
type audience struct {
	feed    *feed
	viewers []*peer
}

// join has a peer be sent what a feed has.
func (k *socket) join(f *feed, p *peer) {
	p.place, p.seek = f.begin()
	for _, a := range k.audiences {
		if a.feed == f {
			a.viewers = append(a.viewers, p)
			return
		}
	}
	k.audiences = append(k.audiences, &audience{f, []*peer{p}})
	f.listen(k.sock)
}

// part ends that.
func (k *socket) part(f *feed, p *peer) {
	for i, a := range k.audiences {
		if a.feed != f {
			continue
		}
		a.viewers = slices.DeleteFunc(a.viewers, func(o *peer) bool { return o == p })
		if len(a.viewers) == 0 {
			k.audiences = slices.Delete(k.audiences, i, i+1)
			f.ignore(k.sock)
		}
		return
	}
}

// play writes what is new to those who play a stream.
func (k *socket) play(a *audience) {
	v := a.feed.look(k.now)
	for _, p := range a.viewers {
		if p.place == v.head() && !p.seek {
			continue
		}
		k.current = p
		p.send(k.now, a.feed, v)
	}
	k.current = nil
}
