package sender

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http/httputil"
	"runtime"
	"sync"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// stage is a hub, a desk and send loops, and viewers with real sockets.
type stage struct {
	t     *testing.T
	hub   *hub.Hub
	desk  *session.Desk
	loops *Loops
	key   hub.Key
	ln    net.Listener
	ended sync.WaitGroup // viewers that a loop has

	mu     sync.Mutex
	causes []error // guarded by mu
}

// openStage starts loops of a kind: "io_uring" or "writev".
func openStage(t *testing.T, kind string, s hub.Settings) *stage {
	t.Helper()
	t.Setenv(senderEnv, kind)
	before := runtime.NumGoroutine()
	st := &stage{t: t, hub: hub.New(func(hub.Key) hub.Settings { return s }), loops: NewLoops(slog.New(slog.DiscardHandler)), key: hub.Key{Vhost: "v", App: "live", Stream: "s"}}
	if st.loops.Kind() != kind {
		t.Fatalf("sending is by %s, want %s", st.loops.Kind(), kind)
	}
	st.desk = session.New(st.hub, session.Rules{Vhost: func(n string) (string, bool) { return n, true }})
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	st.ln = ln
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		st.loops.Run(ctx)
	}()
	t.Cleanup(func() {
		ln.Close()
		cancel()
		<-done
		st.ended.Wait()
		if n, _ := st.desk.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if len(st.loops.reels) != 0 {
			t.Errorf("%d reels are left", len(st.loops.reels))
		}
		for range 500 {
			if runtime.NumGoroutine() <= before {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d goroutines are left of %d", runtime.NumGoroutine(), before)
	})
	return st
}

// viewer joins the stream and returns the viewer's end of the connection.
func (st *stage) viewer(form media.Form, gather time.Duration, ends bool) (net.Conn, *session.Session) {
	st.t.Helper()
	st.mu.Lock() // the connection that is accepted is the one that was dialled
	c, err := net.Dial("tcp4", st.ln.Addr().String())
	if err != nil {
		st.t.Fatal(err)
	}
	server, err := st.ln.Accept()
	st.mu.Unlock()
	if err != nil {
		st.t.Fatal(err)
	}
	s, err := st.desk.Connect(context.Background(), session.Visitor{})
	if err != nil {
		st.t.Fatal(err)
	}
	sub, err := s.Play(context.Background(), session.Ask{Key: st.key}, hub.Options{})
	if err != nil {
		st.t.Fatal(err)
	}
	st.ended.Add(1)
	h := Handoff{Session: s, Conn: server, Sub: sub, Spec: Spec{Form: form, ChunkSize: 4096}, Gather: gather, Head: []byte("HEAD"), Ends: ends, Done: func(_ net.Conn, err error) {
		s.Close(err)
		st.mu.Lock()
		st.causes = append(st.causes, err)
		st.mu.Unlock()
		st.ended.Done()
	}}
	if !st.loops.HandOver(h) {
		st.t.Fatal("the loop does not take the viewer")
	}
	return c, s
}

// write publishes n frames, numbered from first, of a stream with a key frame each
// ten pictures and two sounds for each picture, at a pace.
func (st *stage) write(p *hub.Publication, first, n int, pace time.Duration) {
	for i := first; i < first+n; i++ {
		size := 300 + i*7919%20000
		f := &media.Frame{Source: time.Duration(i) * 10 * time.Millisecond, Payload: make([]byte, size)}
		f.Track = sound
		if i%3 == 0 {
			f.Track, f.Key = picture, i%30 == 0
		}
		binary.BigEndian.PutUint32(f.Payload, uint32(size-4)) // one unit, as H.264 has it
		binary.BigEndian.PutUint64(f.Payload[8:], uint64(i))
		for k := 16; k < size; k++ {
			f.Payload[k] = byte(i + k)
		}
		p.Write(f)
		time.Sleep(pace)
	}
}

// got is a frame as a viewer saw it.
type got struct {
	n    int
	time uint32
	key  bool
}

// unmark checks a message's body and returns which frame it is; ok is false for
// headers.
func unmark(kind media.Kind, body []byte, ts uint32) (g got, ok bool, err error) {
	head := 2
	if kind == media.Video {
		head = 5
	}
	if len(body) < head || body[1] == 0 {
		return g, false, nil
	}
	g.key = kind == media.Video && body[0]>>4 == 1
	b := body[head:]
	if len(b) < 16 {
		return g, false, nil
	}
	g.n, g.time = int(binary.BigEndian.Uint64(b[8:])), ts
	if want := 300 + g.n*7919%20000; len(b) != want {
		return g, false, fmt.Errorf("frame %d has %d bytes, want %d", g.n, len(b), want)
	}
	for k := 16; k < len(b); k++ {
		if b[k] != byte(g.n+k) {
			return g, false, fmt.Errorf("frame %d is damaged at byte %d", g.n, k)
		}
	}
	return g, true, nil
}

// frames returns a function that reads a viewer's next frame.
func frames(t *testing.T, form media.Form, c net.Conn) func() (got, error) {
	t.Helper()
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil || string(head) != "HEAD" {
		t.Errorf("begins with %q, %v", head, err)
	}
	if form == media.FormFLV {
		r := flv.NewReader(httputil.NewChunkedReader(bufio.NewReader(c)))
		return func() (got, error) {
			for {
				tag, err := r.ReadTag()
				if err != nil {
					return got{}, err
				}
				kind := media.Video
				switch tag.Type {
				case flv.TypeScript:
					continue
				case flv.TypeAudio:
					kind = media.Audio
				}
				if g, ok, err := unmark(kind, tag.Body, tag.Timestamp); ok || err != nil {
					return g, err
				}
			}
		}
	}
	r := rtmp.NewReader(io.MultiReader(bytes.NewReader(rtmp.AppendSetChunkSize(nil, 4096)), c), rtmp.Limits{})
	return func() (got, error) {
		for {
			m, err := r.ReadMessage()
			if err != nil {
				return got{}, err
			}
			kind := media.Video
			switch m.Type {
			case rtmp.TypeAudio:
				kind = media.Audio
			case rtmp.TypeVideo:
			default:
				continue
			}
			if g, ok, err := unmark(kind, m.Payload, m.Timestamp); ok || err != nil {
				return g, err
			}
		}
	}
}

// check reads a viewer to its end: it starts at a key frame, gets every frame
// once and in order, and, where it lost some, goes on at a key frame; times are
// those of the frames, from a zero of its own. It returns how often it lost some.
func check(t *testing.T, form media.Form, c net.Conn, last int, slow func()) (gaps int) {
	next := frames(t, form, c)
	prev, zero := -1, int64(0)
	for {
		g, err := next()
		if err != nil {
			if prev < last {
				t.Errorf("ended after frame %d of %d: %v", prev, last, err)
			}
			return gaps
		}
		switch {
		case prev < 0:
			if !g.key {
				t.Errorf("starts at frame %d, which is no key frame", g.n)
			}
			zero = int64(g.time) - int64(g.n)*10
		case g.n <= prev:
			t.Errorf("frame %d after %d", g.n, prev)
			return gaps
		case g.n != prev+1:
			gaps++
			if !g.key {
				t.Errorf("goes on at frame %d after %d, which is no key frame", g.n, prev)
			}
		}
		if at := int64(g.time) - int64(g.n)*10; at != zero {
			t.Errorf("frame %d has time %d, want %d", g.n, g.time, int64(g.n)*10+zero)
			return gaps
		}
		if form == media.FormRTMP && prev < 0 && g.time > 40 {
			t.Errorf("a player's time starts at %d", g.time)
		}
		if prev = g.n; prev == last {
			return gaps
		}
		if slow != nil {
			slow()
		}
	}
}

var kinds = []string{"io_uring", "writev"}

// What every viewer gets is exactly what was published, whenever it joins.
func TestLoopsSendWhatWasPublished(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			st := openStage(t, kind, hub.Settings{Cache: true, Queue: 30 * time.Second})
			p, err := st.hub.Publish(st.key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Announce(picture)
			p.Announce(sound)
			const total = 600
			var wg sync.WaitGroup
			for i := range 30 {
				form, gather := media.FormRTMP, 350*time.Millisecond
				if i%2 == 1 {
					form = media.FormFLV
				}
				if i%5 == 0 {
					gather = 0
				}
				wg.Go(func() {
					time.Sleep(time.Duration(rand.IntN(800)) * time.Millisecond)
					c, _ := st.viewer(form, gather, false)
					defer c.Close()
					if gaps := check(t, form, c, total-1, nil); gaps > 0 {
						t.Errorf("viewer %d lost frames %d times", i, gaps)
					}
				})
			}
			st.write(p, 0, total, 2*time.Millisecond)
			wg.Wait()
			p.Close(nil)
		})
	}
}

// A viewer that does not keep up loses whole groups, and nobody else does.
func TestLoopsSlowViewerPaysAlone(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			st := openStage(t, kind, hub.Settings{Cache: true, Queue: 3 * time.Second})
			p, err := st.hub.Publish(st.key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Announce(picture)
			p.Announce(sound)
			st.write(p, 0, 1, 0)
			// Of 10 kB each, more than the queue and the kernel hold.
			const total, behind = 2000, 1500
			written := make(chan struct{}) // those that the slow ones are behind by
			var wg, joined sync.WaitGroup
			joined.Add(6)
			for i := range 6 {
				wg.Go(func() {
					form := media.FormRTMP
					if i%2 == 1 {
						form = media.FormFLV
					}
					c, _ := st.viewer(form, 100*time.Millisecond, false)
					defer c.Close()
					joined.Done()
					if i >= 2 {
						if gaps := check(t, form, c, total-1, nil); gaps > 0 {
							t.Errorf("good viewer %d lost frames %d times", i, gaps)
						}
						return
					}
					c.(*net.TCPConn).SetReadBuffer(64 << 10)
					n := 0
					gaps := check(t, form, c, total-1, func() {
						if n++; n == 20 {
							<-written
						}
					})
					if gaps == 0 {
						t.Errorf("slow viewer %d lost nothing: the test is too gentle", i)
					}
				})
			}
			joined.Wait()
			st.write(p, 1, behind, time.Millisecond)
			close(written)
			st.write(p, 1+behind, total-1-behind, time.Millisecond)
			wg.Wait()
			if c := p.Stream().Counters(); c.Skips == 0 {
				t.Error("nothing was counted as lost")
			}
			p.Close(nil)
		})
	}
}

// An answer that ends with the publication ends well; a player goes on with the
// next, whose parameters may be others.
func TestLoopsOverPublications(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			st := openStage(t, kind, hub.Settings{Cache: true, Queue: 30 * time.Second})
			p, err := st.hub.Publish(st.key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Announce(picture)
			answer, _ := st.viewer(media.FormFLV, 0, true)
			player, _ := st.viewer(media.FormRTMP, 0, false)
			defer answer.Close()
			defer player.Close()
			st.write(p, 0, 1, 0)
			nextFLV, nextRTMP := frames(t, media.FormFLV, answer), frames(t, media.FormRTMP, player)
			for i := range 31 {
				if i == 1 { // who comes late would start at the newest key frame
					st.write(p, 1, 30, 0)
				}
				for _, next := range []func() (got, error){nextFLV, nextRTMP} {
					if g, err := next(); err != nil || g.n != i {
						t.Fatalf("frame %d: got %d, %v", i, g.n, err)
					}
				}
			}
			p.Close(nil)
			if _, err := nextFLV(); !errors.Is(err, io.EOF) {
				t.Errorf("the answer ends with %v", err)
			}
			p, err = st.hub.Publish(st.key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Announce(another)
			other := *picture
			*picture = *another
			defer func() { *picture = other }()
			st.write(p, 60, 40, 0)
			for i := 60; i < 100; i++ {
				if g, err := nextRTMP(); err != nil || g.n != i {
					t.Fatalf("second publication, frame %d: got %d, %v", i, g.n, err)
				}
			}
			p.Close(nil)
		})
	}
}

// Viewers leave, are kicked and come by the hundred while the stream goes on;
// nothing is left of them (the stage looks).
func TestLoopsComeAndGo(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			st := openStage(t, kind, hub.Settings{Cache: true, Queue: time.Second})
			p, err := st.hub.Publish(st.key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			p.Announce(picture)
			stop := make(chan struct{})
			var writing sync.WaitGroup
			writing.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
						st.write(p, i, 1, time.Millisecond)
					}
				}
			})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 40 {
						c, s := st.viewer(media.FormFLV, 0, true)
						io.CopyN(io.Discard, c, int64(rand.IntN(100_000)))
						switch rand.IntN(3) {
						case 0:
							s.Kick(session.ErrKicked)
							io.Copy(io.Discard, c)
						case 1:
							c.(*net.TCPConn).SetLinger(0) // a reset
						}
						c.Close()
					}
				})
			}
			wg.Wait()
			close(stop)
			writing.Wait()
			p.Close(nil)
			st.ended.Wait()
			st.mu.Lock()
			defer st.mu.Unlock()
			if len(st.causes) != 320 {
				t.Errorf("%d viewers were told of, want 320", len(st.causes))
			}
		})
	}
}

// The loops leave the processor to others: the collector and the rest go on while
// they are idle and while they are busy.
func TestLoopsLeaveTheProcessor(t *testing.T) {
	st := openStage(t, "writev", hub.Settings{Cache: true, Queue: time.Second})
	for range 5 {
		began := time.Now()
		runtime.GC()
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("a collection took %v", took)
		}
	}
	c, _ := st.viewer(media.FormRTMP, 0, false)
	c.Close()
}
