package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"weir/internal/cluster/upnode"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

const (
	// dialTime is how long a destination may take for handshake and connect, and
	// again to let us publish.
	dialTime = 5 * time.Second
	// writeTime is how long it may take nothing of what is sent.
	writeTime = 10 * time.Second
	// firstWait and mostWait are between two attempts (SRS: 3 s).
	firstWait, mostWait = 3 * time.Second, 30 * time.Second
	// goodAfter is how long a connection lasts that went well.
	goodAfter = 10 * time.Second
)

// The states of a line, as the API tells them.
const (
	connecting = "connecting"
	sending    = "sending"
	waiting    = "waiting" // until it is tried again
	looped     = "loop"    // the stream would go in a circle: it is not tried again
)

// A line is one publication on its way to one destination.
type line struct {
	// Immutable.
	env service.Env
	log *slog.Logger
	all []target // tried in turn
	// refused, if not nil, is told what a destination refused in words, and ends the
	// line.
	refused     func(error)
	session     *session.Session
	publication *hub.Publication
	// soon is done when nothing new is to be begun, and last when all must end.
	soon, last context.Context
	end        context.CancelFunc // of soon
	cancel     context.CancelFunc // ends both
	release    func()             // of the hold on the stream
	chunk      int                // size of chunks

	mu sync.Mutex
	// All below is guarded by mu.
	state    string
	since    time.Time
	attempts int
	to       target
	err      error
	sent     func() uint64 // bytes, of the connection that there is; nil without one
	sub      *hub.Subscription
	left     []string // codecs that the destination does not take
	bytes    uint64   // of connections that ended
	dropped  uint64
}

func (s *server) newLine(to []target, by *session.Session, p *hub.Publication) *line {
	key := p.Stream().Key
	snap := s.env.Conf.Load()
	vhost, _ := snap.Vhost(key.Vhost)
	l := &line{env: s.env, log: s.env.Log.With("cid", by.ID), all: to, to: to[0], session: by, publication: p,
		chunk: blocks.ChunkSize(snap, vhost), state: connecting, since: time.Now()}
	l.last, l.cancel = context.WithCancel(s.ctx)
	l.soon, l.end = context.WithCancel(l.last)
	// A reader that is no viewer keeps no stream, and would lose its tail.
	_, l.release = s.env.Hub.Hold(key)
	return l
}

// tailTime is how long a destination has to take what is left when a publication ends.
const tailTime = time.Second

// finish lets what is left be sent.
func (l *line) finish() {
	l.end()
	time.AfterFunc(tailTime, l.cancel)
}

// run sends until the publication ends.
func (l *line) run() {
	defer l.cancel()
	wait := service.Backoff{First: firstWait, Most: mostWait}
	for l.soon.Err() == nil {
		began := time.Now()
		to := l.turn()
		err := l.once(to)
		l.over(err)
		if err == nil {
			return
		}
		if e, ok := errors.AsType[*link.StatusError](err); ok && e.Description == session.ErrLoop.Text {
			l.set(looped)
			l.log.Warn("Forwarder: the stream has come from there, it is not sent back", "to", session.Mask(to.url()))
			<-l.soon.Done() // stays listed
			return
		} else if ok && l.refused != nil {
			l.refused(err)
			return
		}
		if l.soon.Err() != nil {
			return
		}
		if time.Since(began) >= goodAfter {
			wait.Reset()
		}
		if l.more() {
			l.log.Warn("Forwarder: destination failed, the next one is tried", "to", session.Mask(to.url()), "err", err)
			continue
		}
		pause := wait.Next()
		l.log.Warn("Forwarder: destination failed, is tried again", "to", session.Mask(to.url()), "after", pause.Round(time.Millisecond), "err", err)
		l.set(waiting)
		select {
		case <-time.After(pause):
		case <-l.soon.Done():
		}
	}
}

func (l *line) set(state string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.since = state, time.Now()
	if state == connecting {
		l.attempts++
	}
}

// turn moves to the next destination.
func (l *line) turn() target {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.to = l.all[l.attempts%len(l.all)]
	return l.to
}

// more reports whether there are destinations that have not had their turn.
func (l *line) more() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attempts%len(l.all) != 0
}

// over notes how a connection ended.
func (l *line) over(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	if l.sent != nil {
		l.bytes += l.sent()
		l.sent = nil
	}
	if l.sub != nil {
		lost, _ := l.sub.Dropped()
		l.dropped += lost
		l.sub = nil
	}
}

// once connects and sends until one side ends it; nil means the publication has.
func (l *line) once(to target) error {
	ctx, cancel := context.WithCancelCause(l.last)
	defer cancel(nil)
	l.set(connecting)
	if to.srt {
		return l.onceSRT(ctx, cancel, to)
	}
	c, err := l.connect(ctx, cancel, to)
	if err != nil {
		return err
	}
	defer c.Close()
	sub := l.subscribe(to, c.Sent)
	if sub == nil {
		return nil
	}
	defer sub.Close()
	return l.send(ctx, cancel, c, sub)
}

// subscribe begins to read the stream, now that the destination takes it; nil says that
// the publication has ended.
func (l *line) subscribe(to target, sent func() uint64) *hub.Subscription {
	st := l.publication.Stream()
	sub := l.env.Hub.Subscribe(st.Key, hub.Options{Passive: true, Relay: true})
	if st.Publication() != l.publication {
		sub.Close()
		return nil
	}
	l.mu.Lock()
	l.sent, l.sub = sent, sub
	l.mu.Unlock()
	l.set(sending)
	l.log.Info("Forwarder: start forward "+st.Key.URL(), "to", session.Mask(to.url()))
	return sub
}

// connect asks the destination to be let publish. A publication that ends meanwhile
// does not wait for one that does not answer.
func (l *line) connect(ctx context.Context, cancel context.CancelCauseFunc, to target) (*link.Client, error) {
	stop := context.AfterFunc(l.soon, func() { cancel(errEnded) })
	defer stop()
	vhost, _ := l.env.Conf.Load().Vhost(l.publication.Stream().Key.Vhost)
	c, err := link.Dial(ctx, to.dial, link.DialOptions{
		TcURL: to.tcURL, App: to.app, Stream: to.stream,
		Args:         upnode.Args(l.env, l.session, blocks.Cluster.Of(vhost).DebugSRSUpnode),
		Capabilities: rtmp.Everything,
		Timeout:      dialTime, WriteTimeout: writeTime, ChunkSize: l.chunk,
		TLS: service.TLS(blocks.Forward.Of(vhost).TLSVerify, to.host, l.env, l.log),
	})
	if err != nil {
		return nil, err
	}
	if err := c.Publish(); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

var errEnded = errors.New("the publication ended")

// send sends until the publication ends, which is nil, or the connection does.
func (l *line) send(ctx context.Context, cancel context.CancelCauseFunc, c *link.Client, sub *hub.Subscription) error {
	var reader sync.WaitGroup
	reader.Go(func() {
		cancel(fmt.Errorf("destination: %w", service.Guard(l.log, c.Drain)))
	})
	takes := upnode.Takes(c.Capabilities())
	v := &sender.Viewer{
		Sub: sub,
		Encoder: &sender.RTMP{ChunkSize: l.chunk, Stream: c.Stream(), Publish: true,
			Takes: func(t *media.Track) bool { return takes(t) || l.leave(t) },
			Only:  sender.Only{Nano: c.Capabilities().Nano()}},
		Write: func(b net.Buffers) error { return c.Write(b...) },
		End:   func(*hub.EndError) error { return errEnded },
		Log:   l.log,
	}
	err := v.Run(ctx)
	if errors.Is(err, errEnded) {
		err = nil
	}
	c.Close()
	reader.Wait()
	return err
}

// leave notes that a track is left out, and returns false.
func (l *line) leave(t *media.Track) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := t.Codec.String()
	for _, n := range l.left {
		if n == name {
			return false
		}
	}
	l.left = append(l.left, name)
	l.log.Warn("Forwarder: destination does not say that it takes this codec, it is left out", "to", session.Mask(l.to.url()), "codec", name)
	return false
}
