package rtmp

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/wire/rtmp"
)

// raw starts a Conn on a pipe and a goroutine that runs f with it, and returns
// the other end and f's error.
func raw(t *testing.T, ctx context.Context, f func(c *Conn) error) (net.Conn, func() error) {
	near, far := net.Pipe()
	var err error
	var wg sync.WaitGroup
	wg.Go(func() {
		c := NewConn(ctx, far, Options{})
		defer c.Close()
		err = f(c)
	})
	t.Cleanup(func() { near.Close(); wg.Wait() })
	return near, func() error { wg.Wait(); return err }
}

func open(c *Conn) error { _, err := c.Open(); return err }

func TestHandshakeFaults(t *testing.T) {
	hello := make([]byte, rtmp.HelloSize)
	hello[0] = 3
	for _, c := range []struct {
		name  string
		bytes string
		want  error
		took  time.Duration
	}{
		{"silence", "", os.ErrDeadlineExceeded, HandshakeTimeout},
		{"half", string(hello[:700]), os.ErrDeadlineExceeded, HandshakeTimeout},
		{"no C2", string(hello), os.ErrDeadlineExceeded, HandshakeTimeout},
		{"HTTP", "GET", rtmp.ErrPlainRequired, 0},
		{"encrypted", "\x06", rtmp.ErrPlainRequired, 0},
		{"proxy header too long", "\xf3\xff\xff", rtmp.ErrProxyHeader, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				nc, wait := raw(t, t.Context(), open)
				start := time.Now()
				go nc.Write([]byte(c.bytes))
				go io.Copy(io.Discard, nc)
				if err := wait(); !errors.Is(err, c.want) {
					t.Errorf("error %v, want %v", err, c.want)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("after %v, want %v", took, c.took)
				}
			})
		})
	}
}

func TestSlowHandshakeIsNotKeptAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, wait := raw(t, t.Context(), open)
		start := time.Now()
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for _, err := nc.Write([]byte{3}); err == nil; _, err = nc.Write([]byte{0}) {
				time.Sleep(time.Second)
			}
		})
		if err := wait(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != HandshakeTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

func TestProxyHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var addr string
		nc, wait := raw(t, t.Context(), func(c *Conn) error {
			err := c.handshakeForTest()
			addr = c.Proxied().String()
			return err
		})
		hello := make([]byte, rtmp.HelloSize)
		hello[0] = 3
		go func() {
			nc.Write([]byte{0xf3, 0, 5, 10, 1, 2, 3, 99})
			nc.Write(hello)
			nc.Write(hello[1:])
		}()
		go io.Copy(io.Discard, nc)
		if err := wait(); err != nil || addr != "10.1.2.3" {
			t.Errorf("address %s, %v", addr, err)
		}
	})
}

func (c *Conn) handshakeForTest() error {
	c.begin(time.Second)
	return c.handshake()
}

var errKicked = errors.New("kicked")

// Wherever a connection is blocked, the end of its context ends it, with the
// cause.
func TestContextInterrupts(t *testing.T) {
	for name, f := range map[string]func(c *Conn) error{
		"read":  func(c *Conn) error { _, err := c.ReadMedia(0); return err },
		"write": func(c *Conn) error { return c.Write(make([]byte, 100)) },
		"turn": func(c *Conn) error {
			c.turn <- struct{}{}
			return c.Write(make([]byte, 100))
		},
		// The context is done before the deadline of the read is set.
		"late read": func(c *Conn) error {
			<-c.ctx.Done()
			synctest.Wait()
			_, err := c.ReadMedia(time.Hour)
			return err
		},
		"late write": func(c *Conn) error {
			<-c.ctx.Done()
			synctest.Wait()
			return c.Ping(1)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				_, wait := raw(t, ctx, f)
				time.Sleep(time.Second)
				cancel(errKicked)
				if err := wait(); !errors.Is(err, errKicked) {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

func TestPublisherTimeoutsCountMediaOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		for _, line := range []string{
			`cmd: "connect" 1 {tcUrl: "rtmp://h/live"}`, `cmd csid=8 sid=1: "publish" 3 null "s" "live"`, `video csid=6 sid=1 len=10`,
		} {
			b, err := parseLine(line)
			if err != nil {
				t.Fatal(err)
			}
			p.write(b)
		}
		start := time.Now()
		ping := rtmp.AppendUserControl(nil, rtmp.UserControl{Type: rtmp.PingRequest})
		for _, err := p.nc.Write(ping); err == nil; _, err = p.nc.Write(ping) {
			time.Sleep(time.Second)
		}
		if took := time.Since(start); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("a publisher of pings lasted %v", took)
		}
		synctest.Wait()
		for {
			s := p.told.next()
			if s == "" {
				t.Fatal("no error was told")
			}
			if strings.Contains(s, "timeout") {
				break
			}
		}
	})
}

// A peer that asks and does not read is cut off instead of filling our memory.
func TestPingFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nc, wait := raw(t, t.Context(), func(c *Conn) error {
			c.turn <- struct{}{} // a media write that is stuck
			c.StartPlay()
			_, err := c.ReadControl(0)
			return err
		})
		ping := rtmp.AppendUserControl(nil, rtmp.UserControl{Type: rtmp.PingRequest})
		n := 0
		for ; n < 100000; n++ {
			if _, err := nc.Write(ping); err != nil {
				break
			}
		}
		if err := wait(); err != errReplies {
			t.Errorf("%v after %d pings", err, n)
		}
	})
}

// While one goroutine writes media, another answers; nothing is lost or cut.
func TestConcurrentWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const count = 500
		nc, wait := raw(t, t.Context(), func(c *Conn) error {
			var wg sync.WaitGroup
			for range 3 {
				wg.Go(func() {
					for i := range count {
						c.Write(rtmp.AppendMessage(nil, rtmp.Message{Type: rtmp.TypeVideo, CSID: 6, Payload: make([]byte, i)}, 128))
					}
				})
				wg.Go(func() {
					for range count {
						c.Ping(7)
					}
				})
			}
			wg.Wait()
			return nil
		})
		var video, pings int
		r := rtmp.NewReader(nc, rtmp.Limits{})
		for video+pings < 6*count {
			m, err := r.ReadMessage()
			if err != nil {
				t.Fatalf("after %d and %d: %v", video, pings, err)
			}
			if m.Type == rtmp.TypeVideo {
				video++
			} else {
				pings++
			}
		}
		if err := wait(); err != nil || video != 3*count {
			t.Errorf("%d video, %d pings, %v", video, pings, err)
		}
	})
}

func TestDetach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		nc, wait := raw(t, ctx, func(c *Conn) error {
			if err := c.handshakeForTest(); err != nil {
				return err
			}
			c.say(func(s *rtmp.Server) { s.StartPlay() })
			nc, p, err := c.Detach()
			if err != nil {
				return err
			}
			cancel() // means nothing any more
			synctest.Wait()
			var got []rtmp.EventKind
			b := make([]byte, 100)
			for len(got) < 3 {
				n, err := nc.Read(b)
				if err != nil {
					return err
				}
				out, err := p.Feed(nil, b[:n], func(e rtmp.Event) { got = append(got, e.Kind) })
				if err != nil {
					return err
				}
				if _, err := nc.Write(out); err != nil {
					return err
				}
			}
			if got[0] != rtmp.Paused || got[1] != rtmp.Buffer || got[2] != rtmp.Ended {
				t.Errorf("events %v", got)
			}
			if out := p.Say([]byte("x"), (*rtmp.Server).StreamEOF); len(out) != 19 {
				t.Errorf("said %d bytes", len(out))
			}
			return nil
		})
		hello := make([]byte, rtmp.HelloSize)
		hello[0] = 3
		go func() {
			nc.Write(hello)
			nc.Write(hello[1:])
			for _, line := range []string{`cmd: "pause" 5 null true 0`, `ping 3`, `buffer 9`, `cmd: "closeStream" 0 null`} {
				b, _ := parseLine(line)
				nc.Write(b)
			}
		}()
		go io.Copy(io.Discard, nc)
		if err := wait(); err != nil {
			t.Error(err)
		}
	})
}

// A connection is taken apart between two things that are said, not inside of one, and who
// says something later says nothing: what was to be said is another's by then.
func TestDetachWaitsForWhoSpeaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer near.Close()
		defer far.Close()
		c := NewConn(t.Context(), far, Options{})
		go c.Ping(1) // nobody reads
		synctest.Wait()
		var peer *Peer
		var err error
		detached := false
		go func() {
			_, peer, err = c.Detach()
			detached = true
		}()
		synctest.Wait()
		if detached {
			t.Error("it was taken apart while something was said")
		}
		ping := rtmp.AppendUserControl(nil, rtmp.UserControl{Type: rtmp.PingRequest, Value: 1})
		got := make([]byte, len(ping))
		if _, err := io.ReadFull(near, got); err != nil || string(got) != string(ping) {
			t.Errorf("% x was said, want % x; %v", got, ping, err)
		}
		synctest.Wait()
		if !detached || err != nil {
			t.Fatalf("detached %v, %v", detached, err)
		}
		if c.Ping(2) == nil || peer.server.Pending() > 0 {
			t.Errorf("%d bytes are to be said by one that was taken apart", peer.server.Pending())
		}
		if b := peer.Say(nil, func(s *rtmp.Server) { s.Ping(3) }); len(b) != len(ping) {
			t.Errorf("the peer says % x", b)
		}
	})
}
