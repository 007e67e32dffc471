package caster

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"weir/internal/format/mpegps"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/wire/rtp"
)

const (
	// firstPacket is how long a connection may take to show whose it is.
	firstPacket = 10 * time.Second
	// maxStrangers is how many connections may be at it.
	maxStrangers = 256
	// maxWaiting is how many datagrams of one source may wait for it to be done with
	// those before: half a second of 20 Mbit/s.
	maxWaiting = 1024
)

// slot is where the media of one SSRC are waited for.
type slot struct {
	// Immutable.
	g    *gbCaster
	ssrc uint32
	name string
	live chan struct{} // one signal: it is on the air
	over chan error    // one result: it is not any more

	mu     sync.Mutex
	taken  bool                    // somebody sends; guarded by mu
	cancel context.CancelCauseFunc // of who sends; guarded by mu
	from   netip.AddrPort          // of datagrams; guarded by mu
	queue  chan *[]byte            // of datagrams; guarded by mu
	missed int                     // datagrams that the queue had no room for; guarded by mu
}

func newSlot(g *gbCaster, ssrc uint32, name string) *slot {
	return &slot{g: g, ssrc: ssrc, name: name, live: make(chan struct{}, 1), over: make(chan error, 1)}
}

// text is the SSRC as SDP has it.
func (s *slot) text() string { return fmt.Sprintf("%010d", s.ssrc) }

// errNoMedia is a stream that did not come.
var errNoMedia = errors.New("no media came in time")

// wait waits for the media to come, at most for patience, and then for their end,
// whose reason it returns. When ctx is done it ends them.
func (s *slot) wait(ctx context.Context, patience time.Duration) error {
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-s.live:
	case err := <-s.over:
		return err
	case <-late.C:
		s.end(errNoMedia)
		return errNoMedia
	case <-ctx.Done():
		s.end(context.Cause(ctx))
		return context.Cause(ctx)
	}
	select {
	case err := <-s.over:
		return err
	case <-ctx.Done():
		s.end(context.Cause(ctx))
		<-s.over
		return context.Cause(ctx)
	}
}

// end ends the one who sends, if any.
func (s *slot) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel(err)
	}
}

// endWith ends the one who sends now when ctx is done, without waiting for the next packet.
func (s *slot) endWith(ctx context.Context) {
	s.mu.Lock()
	end := s.cancel
	s.mu.Unlock()
	context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
}

// take makes the caller the one who sends, unless there is one.
func (s *slot) take(ctx context.Context) (context.Context, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken {
		return nil, false
	}
	s.taken = true
	ctx, s.cancel = context.WithCancelCause(ctx)
	return ctx, true
}

// leave is the end of who sends.
func (s *slot) leave(err error) {
	s.mu.Lock()
	s.cancel(err)
	s.taken, s.cancel, s.queue = false, nil, nil
	s.mu.Unlock()
	select { // what nobody looked at is of no interest any more
	case <-s.live:
	default:
	}
	select {
	case <-s.over:
	default:
	}
	s.over <- err
}

// stream publishes what next returns, packet by packet, until that ends; sorted says
// that the packets come in order.
func (s *slot) stream(ctx context.Context, from netip.AddrPort, sorted bool, next func() ([]byte, error)) (err error) {
	in := &gbIngest{slot: s, ctx: ctx, demuxer: mpegps.NewDemuxer(), from: from}
	defer func() {
		if in.out != nil {
			in.out.close(err)
		}
	}()
	var sorter rtp.Sorter
	for {
		b, err := next()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			return err
		}
		h, payload, err := rtp.Parse(b)
		if err != nil || h.SSRC != s.ssrc {
			continue
		}
		in.came += len(b)
		if sorted {
			in.feed(payload, false)
		} else {
			sorter.Push(h.Sequence, payload, in.feed)
		}
		if in.err != nil {
			return in.err
		}
	}
}

// gbIngest makes frames of a program stream, and publishes them.
type gbIngest struct {
	slot    *slot
	ctx     context.Context
	from    netip.AddrPort
	demuxer *mpegps.Demuxer
	frames  []*media.Frame
	out     output // nil before the first frame
	came    int    // bytes that have not been counted
	err     error
}

func (in *gbIngest) feed(payload []byte, lost bool) {
	if in.err != nil {
		return
	}
	if lost {
		in.demuxer.Gap()
	}
	in.frames = in.demuxer.Feed(in.frames[:0], payload)
	for _, f := range in.frames {
		if in.out == nil {
			if in.err = in.open(); in.err != nil {
				return
			}
		}
		if in.err = in.out.write(f); in.err != nil {
			return
		}
	}
	clear(in.frames)
	if in.out == nil {
		return
	}
	in.out.count(in.came)
	in.came = 0
	if in.out.ended().Err() != nil {
		in.err = context.Cause(in.out.ended())
	}
}

// open opens the output, now that there is a stream.
func (in *gbIngest) open() (err error) {
	s := in.slot
	url := s.g.output(s.name)
	if in.out, err = s.g.server.open(in.ctx, url, source{protocol: "gb28181", remote: in.from, kind: "gb28181-publish"}); err != nil {
		return err
	}
	s.endWith(in.out.ended())
	s.g.log.Info("stream begins", "stream", s.name, "ssrc", s.text(), "from", in.from.String(), "output", url)
	select {
	case s.live <- struct{}{}:
	default:
	}
	return nil
}

// serveMedia takes connections (RFC 4571).
func (g *gbCaster) serveMedia(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { g.media.Close() })()
	admit(service.Proxied(g.media, g.server.env.Conf), maxStrangers, func(nc net.Conn, leave func()) bool {
		if g.passes("", nc) {
			leave()
			return true
		}
		return g.begin(func(ctx context.Context) {
			err := g.guarded(func() error { return g.mediaConn(ctx, nc, leave) })
			nc.Close()
			g.log.Info("media connection ended", "from", nc.RemoteAddr().String(), "err", err)
		})
	})
}

// admit accepts connections, of which so many are taken at a time: each until it calls
// leave. It returns when the listener is closed, or when take says that there is an end.
func admit(l net.Listener, most int, take func(nc net.Conn, leave func()) bool) {
	room := make(chan struct{}, most)
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		select {
		case room <- struct{}{}:
			if !take(nc, sync.OnceFunc(func() { <-room })) {
				nc.Close()
				return
			}
		default:
			nc.Close()
		}
	}
}

var (
	errStranger = errors.New("nobody was invited to send with its SSRC")
	errTaken    = errors.New("somebody sends with its SSRC already")
)

// mediaConn takes one connection; known is called when it is known whose it is, or that
// it is nobody's.
func (g *gbCaster) mediaConn(ctx context.Context, nc net.Conn, known func()) error {
	defer known()
	r := bufio.NewReaderSize(nc, 64<<10)
	defer context.AfterFunc(ctx, func() { nc.SetReadDeadline(time.Unix(1, 0)) })()
	nc.SetReadDeadline(time.Now().Add(firstPacket))
	buf := make([]byte, 0xffff)
	first, err := framed(r, buf)
	if err != nil {
		return err
	}
	h, _, err := rtp.Parse(first)
	if err != nil {
		return err
	}
	s := g.slot(h.SSRC)
	if s == nil {
		return fmt.Errorf("%w (%d)", errStranger, h.SSRC)
	}
	mine, ok := s.take(ctx)
	if !ok {
		return errTaken
	}
	known()
	defer context.AfterFunc(mine, func() { nc.SetReadDeadline(time.Unix(1, 0)) })()
	err = g.guarded(func() error {
		return s.stream(mine, remote(nc), true, func() ([]byte, error) {
			if first != nil {
				b := first
				first = nil
				return b, nil
			}
			nc.SetReadDeadline(time.Now().Add(g.conf.SIP.Timeout))
			if mine.Err() != nil { // after the line above, which may have undone an interruption
				return nil, context.Cause(mine)
			}
			return framed(r, buf)
		})
	})
	s.leave(err)
	return err
}

func remote(nc net.Conn) netip.AddrPort {
	ap, _ := netip.ParseAddrPort(nc.RemoteAddr().String())
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// framed reads one packet behind its length.
func framed(r *bufio.Reader, buf []byte) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	b := buf[:binary.BigEndian.Uint16(size[:])]
	_, err := io.ReadFull(r, b)
	return b, err
}

// readMedia takes datagrams.
func (g *gbCaster) readMedia(ctx context.Context, pc *net.UDPConn) {
	buf := make([]byte, maxDatagram)
	for {
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || ctx.Err() != nil {
			continue
		}
		h, _, err := rtp.Parse(buf[:n])
		if err != nil {
			continue
		}
		if s := g.slot(h.SSRC); s != nil {
			s.datagram(ctx, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), buf[:n])
		}
	}
}

// datagram takes one of who sends; the first one decides who that is.
func (s *slot) datagram(ctx context.Context, from netip.AddrPort, b []byte) {
	s.mu.Lock()
	queue := s.queue
	if queue == nil {
		s.mu.Unlock()
		mine, ok := s.take(ctx)
		if !ok {
			return // a connection
		}
		queue = make(chan *[]byte, maxWaiting)
		s.mu.Lock()
		s.queue, s.from = queue, from
		s.mu.Unlock()
		if !s.g.begin(func(context.Context) { s.leave(s.g.guarded(func() error { return s.datagrams(mine, from, queue) })) }) {
			s.leave(nil)
			return
		}
		s.mu.Lock()
	}
	defer s.mu.Unlock()
	if s.from != from {
		return
	}
	p := datagrams.Get().(*[]byte)
	*p = append((*p)[:0], b...)
	select {
	case queue <- p:
	default:
		s.missed++
		datagrams.Put(p)
	}
}

// datagrams are buffers for them.
var datagrams = sync.Pool{New: func() any { b := make([]byte, 0, 1500); return &b }}

// datagrams publishes what comes in the queue.
func (s *slot) datagrams(ctx context.Context, from netip.AddrPort, queue chan *[]byte) error {
	silent := time.NewTimer(s.g.conf.SIP.Timeout)
	defer silent.Stop()
	var last *[]byte
	return s.stream(ctx, from, false, func() ([]byte, error) {
		if last != nil {
			datagrams.Put(last)
			last = nil
		}
		silent.Reset(s.g.conf.SIP.Timeout)
		select {
		case last = <-queue:
			return *last, nil
		case <-silent.C:
			return nil, errSilent
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	})
}
