package protocoltest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/wire/rtmp"
)

// A Neighbour is another server of RTMP: players of it are sent a frame each 10 ms, and
// it writes down what it hears, also of publishers.
type Neighbour struct {
	Rejects bool       // whoever connects
	Refuses string     // publishers, with this description
	Moved   string     // the address where players are sent
	Reply   rtmp.Reply // to connect

	t       *testing.T
	l       net.Listener
	clients sync.WaitGroup

	mu    sync.Mutex
	lines []string         // guarded by mu
	info  rtmp.ConnectInfo // guarded by mu
}

// OpenNeighbour opens one, which ends with the test; each of more may set it up.
func OpenNeighbour(t *testing.T, more ...func(*Neighbour)) *Neighbour {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &Neighbour{t: t, l: l}
	for _, m := range more {
		m(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	n.clients.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			n.clients.Go(func() { n.say("end: %v", n.serve(ctx, nc)) })
		}
	})
	t.Cleanup(func() { cancel(); l.Close(); n.clients.Wait() })
	return n
}

// Addr and Port are where it listens.
func (n *Neighbour) Addr() string { return n.l.Addr().String() }

// Port is that of Addr.
func (n *Neighbour) Port() string { _, p, _ := net.SplitHostPort(n.Addr()); return p }

func (n *Neighbour) say(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lines = append(n.lines, fmt.Sprintf(format, args...))
}

// Heard returns what it has written down, a line for each thing.
func (n *Neighbour) Heard() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return strings.Join(n.lines, "\n")
}

// Await waits until it has heard something.
func (n *Neighbour) Await(what string) {
	n.t.Helper()
	Eventually(n.t, "the neighbour hears "+what, func() bool { return strings.Contains(n.Heard(), what) }, n.Heard)
}

// Connect returns what the newest client said at first.
func (n *Neighbour) Connect() rtmp.ConnectInfo {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.info
}

// Eventually waits until something is so; told say more if it does not become so.
func Eventually(t *testing.T, what string, is func() bool, told ...func() string) {
	t.Helper()
	for range 2000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	for _, f := range told {
		what += "\n" + f()
	}
	t.Fatalf("not so after 20 s: %s", what)
}

func (n *Neighbour) serve(ctx context.Context, nc net.Conn) error {
	c := link.NewConn(ctx, nc, link.Options{})
	defer c.Close()
	info, err := c.Open()
	if err != nil {
		return err
	}
	n.mu.Lock()
	n.info = info
	n.mu.Unlock()
	n.say("connect %s", info.TcURL)
	if n.Rejects {
		c.Reject(rtmp.ConnectRejected, "no")
		c.Linger(time.Second)
		return errRefused
	}
	if err := c.Accept(n.Reply); err != nil {
		return err
	}
	w, err := c.ReadWish(20 * time.Second)
	if err != nil {
		return err
	}
	if w.Publish {
		n.say("publish %s", w.Name)
		return n.take(c)
	}
	n.say("play %s", w.Name)
	return n.play(c)
}

var errRefused = errors.New("refused")

// play sends frames until the client goes.
func (n *Neighbour) play(c *link.Conn) error {
	c.StartPlay()
	if n.Moved != "" {
		c.Redirect(n.Moved[:strings.LastIndexByte(n.Moved, '/')], n.Moved)
		c.Linger(time.Second)
		return errRefused
	}
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for err := error(nil); err == nil; {
			_, err = c.ReadControl(0)
		}
	}()
	defer func() { c.Close(); <-gone }()
	send := func(at uint32, body []byte) error {
		return c.Write(rtmp.AppendParts(nil, rtmp.Message{Type: rtmp.TypeVideo, CSID: rtmp.CSIDVideo, StreamID: 1, Timestamp: at}, c.ChunkSize(), body))
	}
	config, _ := flv.AppendConfigBody(nil, Picture)
	if send(0, config) != nil {
		return nil
	}
	for i := 0; ; i++ {
		if send(uint32(10*i), flv.AppendBody(nil, Numbered(Picture, i))) != nil {
			return nil // it has gone
		}
		select {
		case <-gone:
			return nil
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// take writes down what a publisher sends.
func (n *Neighbour) take(c *link.Conn) error {
	if n.Refuses != "" {
		c.Refuse(rtmp.PublishDenied, n.Refuses)
		c.Linger(time.Second)
		return errRefused
	}
	if err := c.StartPublish(); err != nil {
		return err
	}
	var in flv.Ingest
	for {
		m, err := c.ReadMedia(0)
		if err != nil {
			return err
		}
		if m.Type == rtmp.TypeDataAMF0 {
			name, _, _ := flv.ParseScript(flv.Unwrap(m.Data()))
			n.say("data %s, wrapped %v", name, len(flv.Unwrap(m.Data())) < len(m.Data()))
			continue
		}
		kind := media.Video
		if m.Type == rtmp.TypeAudio {
			kind = media.Audio
		}
		frames, err := in.Frames(nil, kind, time.Duration(m.Timestamp)*time.Millisecond, m.Payload)
		if err != nil {
			return err
		}
		for _, f := range frames {
			n.say("%s %s at %d key %v", f.Track.Codec, f.Payload, m.Timestamp, f.Key)
		}
	}
}

// Numbered is a frame, 20 ms after the one before, whose payload is a number; each tenth
// picture is a key frame.
func Numbered(t *media.Track, n int) *media.Frame {
	f := &media.Frame{Track: t, Source: time.Duration(n) * 20 * time.Millisecond, Payload: fmt.Appendf(nil, "%04d", n%10000)}
	if t.Kind == media.Video { // one unit, behind its length
		f.Key = n%10 == 0
		f.Payload = append([]byte{0, 0, 0, 5, 0x41}, f.Payload...)
		if f.Key {
			f.Payload[4] = 0x65
		}
	}
	return f
}
