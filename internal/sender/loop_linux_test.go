package sender

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httputil"
	"sync"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// grandstand is a hub, a publisher and send loops, with real sockets.
type grandstand struct {
	hub   *hub.Hub
	desk  *session.Desk
	loops *Loops
	pub   *hub.Publication
	stop  func() error
	gone  chan error // what Done was told
	l     net.Listener
}

func newGrandstand(t *testing.T) *grandstand {
	t.Helper()
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Hour} })
	g := &grandstand{hub: h, loops: NewLoops(slog.New(slog.DiscardHandler)), gone: make(chan error, 4096)}
	g.desk = session.New(h, session.Rules{Vhost: func(v string) (string, bool) { return v, true }})
	if g.loops.Kind() == "goroutine" {
		t.Fatal("there are no send loops")
	}
	var err error
	if g.pub, err = h.Publish(key, hub.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	g.pub.Announce(picture)
	if g.l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.loops.Run(ctx) }()
	g.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(20 * time.Second):
			return errors.New("the loops do not end")
		}
	})
	t.Cleanup(func() {
		g.l.Close()
		if err := g.stop(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// seat gives a viewer of FLV to the loops and returns its end of the connection.
func (g *grandstand) seat(t *testing.T, gather time.Duration) net.Conn {
	t.Helper()
	mine, err := net.Dial("tcp", g.l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mine.Close() })
	theirs, err := g.l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s, err := g.desk.Connect(t.Context(), session.Visitor{Protocol: "test"})
	if err != nil {
		t.Fatal(err)
	}
	sub, err := s.Play(t.Context(), session.Ask{Key: key}, hub.Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := func(_ net.Conn, err error) { s.Close(err); g.gone <- err }
	if !g.loops.HandOver(Handoff{Session: s, Conn: theirs, Sub: sub, Spec: Spec{Form: media.FormFLV}, Gather: gather, Ends: true, Done: done}) {
		t.Fatal("not handed over")
	}
	return mine
}

// write publishes frames whose payload says their number; every tenth is a key.
func (g *grandstand) write(from, to, size int) {
	for i := from; i < to; i++ {
		g.pub.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%10 == 0, Payload: payload(i, size)})
	}
}

// watch reads an answer to its end and returns the numbers of its frames.
func watch(c net.Conn) (numbers []int, err error) {
	c.SetReadDeadline(time.Now().Add(60 * time.Second))
	r := flv.NewReader(bufio.NewReader(httputil.NewChunkedReader(bufio.NewReader(c))))
	for {
		tag, err := r.ReadTag()
		if errors.Is(err, io.EOF) {
			return numbers, nil
		}
		if err != nil {
			return numbers, fmt.Errorf("after %d frames: %w", len(numbers), err)
		}
		if tag.Type != flv.TypeVideo || tag.Body[1] != 1 {
			continue
		}
		b := tag.Body[5:]
		n := int(b[0])<<8 | int(b[1])
		if want := payload(n, len(b)); !bytes.Equal(b, want) {
			return numbers, fmt.Errorf("frame %d is damaged", n)
		}
		numbers = append(numbers, n)
	}
}

// whole checks that a viewer saw every frame from a key frame to the last.
func whole(numbers []int, last int) error {
	for i, n := range numbers {
		if n != numbers[0]+i {
			return fmt.Errorf("frame %d after %d", n, numbers[i-1])
		}
	}
	if len(numbers) == 0 || numbers[0]%10 != 0 || numbers[len(numbers)-1] != last {
		return fmt.Errorf("%d frames, want all up to %d: %v", len(numbers), last, numbers)
	}
	return nil
}

// follow watches in the background.
func follow(t *testing.T, wg *sync.WaitGroup, c net.Conn, last int) {
	wg.Go(func() {
		defer c.Close()
		numbers, err := watch(c)
		if err == nil {
			err = whole(numbers, last)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// Viewers get every frame once, however the publisher's bursts, key frames, and
// the loops' turns fall together; and the end.
func TestLoopsSendEverything(t *testing.T) {
	for _, gather := range []time.Duration{0, 350 * time.Millisecond} {
		t.Run(gather.String(), func(t *testing.T) {
			g := newGrandstand(t)
			const frames, viewers = 3000, 20
			g.write(0, 5, 1000)
			var wg sync.WaitGroup
			for range viewers {
				follow(t, &wg, g.seat(t, gather), frames-1)
			}
			for i := 5; i < frames; i += 7 {
				g.write(i, min(i+7, frames), 1000)
				if i%3 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			g.pub.Close(nil)
			wg.Wait()
			for range viewers {
				if err := <-g.gone; err != nil {
					t.Errorf("ended with %v", err)
				}
			}
		})
	}
}

// Frames that do not fit in a socket are sent in parts, and the parts make the
// whole.
func TestLoopsSendInParts(t *testing.T) {
	g := newGrandstand(t)
	const frames, viewers = 60, 5
	g.write(0, 1, 200_000)
	var wg sync.WaitGroup
	for range viewers {
		c := g.seat(t, 0)
		c.(*net.TCPConn).SetReadBuffer(32 << 10)
		follow(t, &wg, c, frames-1)
	}
	for i := 1; i < frames; i++ {
		g.write(i, i+1, 200_000)
		time.Sleep(2 * time.Millisecond)
	}
	g.pub.Close(nil)
	wg.Wait()
}

// One turn may have more viewers than one call takes.
func TestLoopsSendToMany(t *testing.T) {
	g := newGrandstand(t)
	const viewers = batchMost + 300
	var wg sync.WaitGroup
	for range viewers {
		follow(t, &wg, g.seat(t, 0), 99)
	}
	for i := 0; i < 100; i += 10 {
		g.write(i, i+10, 500)
		time.Sleep(5 * time.Millisecond)
	}
	g.pub.Close(nil)
	wg.Wait()
}

// Loops end when they are told, with viewers and without.
func TestLoopsEnd(t *testing.T) {
	for _, viewers := range []int{0, 3} {
		t.Run(fmt.Sprint(viewers), func(t *testing.T) {
			g := newGrandstand(t)
			g.write(0, 5, 100)
			for range viewers {
				g.seat(t, 0)
			}
			time.Sleep(20 * time.Millisecond)
			if err := g.stop(); err != nil {
				t.Fatal(err)
			}
			for range viewers {
				<-g.gone
			}
		})
	}
}

// A server that stops ends the publication and then the viewers: the answers are
// whole all the same.
func TestLoopsEndAnswersWell(t *testing.T) {
	g := newGrandstand(t)
	const viewers = 50
	var wg sync.WaitGroup
	for range viewers {
		follow(t, &wg, g.seat(t, 350*time.Millisecond), 99)
	}
	for i := range 100 {
		g.write(i, i+1, 1000)
		time.Sleep(time.Millisecond)
	}
	g.pub.Close(nil)
	g.desk.End(session.ErrShutdown, nil)
	wg.Wait()
}

// One that is sent away while it is handed over goes all the same.
func TestLoopsEndWhoIsKickedEarly(t *testing.T) {
	g := newGrandstand(t)
	const viewers = 200
	for range viewers {
		mine, err := net.Dial("tcp", g.l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer mine.Close()
		theirs, err := g.l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		s, err := g.desk.Connect(t.Context(), session.Visitor{Protocol: "test"})
		if err != nil {
			t.Fatal(err)
		}
		sub := g.hub.Subscribe(key, hub.Options{})
		s.Kick(session.ErrKicked)
		g.loops.HandOver(Handoff{Session: s, Conn: theirs, Sub: sub, Spec: Spec{Form: media.FormFLV}, Ends: true, Done: func(_ net.Conn, err error) { s.Close(err); g.gone <- err }})
	}
	for i := range viewers {
		select {
		case err := <-g.gone:
			if !errors.Is(err, session.ErrKicked) {
				t.Errorf("ended with %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%d of %d viewers have gone", i, viewers)
		}
	}
}
