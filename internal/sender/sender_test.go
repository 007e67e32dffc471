package sender

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// plain encodes a frame as its first byte.
type plain struct{ restarts int }

func (p *plain) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	return append(bufs, f.Payload[:1])
}
func (p *plain) Restart() { p.restarts++ }

var key = hub.Key{Vhost: "v", App: "a", Stream: "s"}

// stream is a hub with one publisher.
func stream(t *testing.T, queue time.Duration) (*hub.Hub, *hub.Publication) {
	t.Helper()
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: queue} })
	p, err := h.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return h, p
}

func video(p *hub.Publication, i int) {
	p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%10 == 0, Payload: []byte{byte(i)}})
}

// run starts a viewer whose bytes are gathered in a buffer.
func run(ctx context.Context, v *Viewer) (sent *bytes.Buffer, done chan error) {
	sent, done = &bytes.Buffer{}, make(chan error, 1)
	if v.Write == nil {
		v.Write = func(b net.Buffers) error {
			_, err := b.WriteTo(sent)
			return err
		}
	}
	if v.Encoder == nil {
		v.Encoder = &plain{}
	}
	if v.Log == nil {
		v.Log = slog.New(slog.DiscardHandler)
	}
	go func() { done <- v.Run(ctx) }()
	return sent, done
}

func numbers(from, to int) string {
	var b []byte
	for i := from; i < to; i++ {
		b = append(b, byte(i))
	}
	return string(b)
}

func TestPauseGoesOnWhereItStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, 30*time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		e := &plain{}
		v := &Viewer{Sub: h.Subscribe(key, hub.Options{}), Encoder: e}
		sent, done := run(ctx, v)
		for i := range 95 {
			if i == 13 {
				synctest.Wait()
				v.Pause(true)
				v.Pause(true)
			}
			if i == 57 {
				synctest.Wait()
				if got, want := sent.String(), numbers(0, 13); got != want {
					t.Errorf("sent %v while paused, want %v", []byte(got), []byte(want))
				}
				v.Pause(false)
				v.Pause(false)
			}
			video(p, i)
		}
		synctest.Wait()
		if got, want := sent.String(), numbers(0, 95); got != want || e.restarts != 0 {
			t.Errorf("sent %v and started %d times anew, want %v", []byte(got), e.restarts, []byte(want))
		}
		// One that pauses for ever ends all the same.
		v.Pause(true)
		video(p, 95)
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestLongPauseSkipsToKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		e := &plain{}
		var log bytes.Buffer
		v := &Viewer{Sub: h.Subscribe(key, hub.Options{}), Encoder: e, Log: slog.New(slog.NewTextHandler(&log, nil))}
		sent, done := run(ctx, v)
		for i := range 200 {
			if i == 13 {
				synctest.Wait()
				v.Pause(true)
			}
			video(p, i)
			if i == 13 {
				synctest.Wait() // the viewer holds this one in its hand
			}
		}
		v.Pause(false)
		synctest.Wait()
		if got, want := sent.String(), numbers(0, 14)+numbers(190, 200); got != want || e.restarts != 1 {
			t.Errorf("sent %v and started %d times anew, want %v and once", []byte(got), e.restarts, []byte(want))
		}
		if got := strings.Count(log.String(), "viewer is too slow"); got != 1 {
			t.Errorf("%d lines say that it is slow, want one", got)
		}
		cancel()
		<-done
	})
}

func TestUntil(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, 30*time.Second)
		for i := range 15 {
			video(p, i)
		}
		sent, done := run(t.Context(), &Viewer{Sub: h.Subscribe(key, hub.Options{}), Until: time.Second})
		for i := 15; i < 60; i++ {
			synctest.Wait()
			video(p, i)
		}
		if err := <-done; !errors.Is(err, ErrDuration) {
			t.Errorf("ended with %v", err)
		}
		// From the key frame 10, a second is 25 frames.
		if got, want := sent.String(), numbers(10, 36); got != want {
			t.Errorf("sent %v, want %v", []byte(got), []byte(want))
		}
	})
}

func TestMinInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, 30*time.Second)
		for i := range 10 {
			video(p, i)
		}
		var at []time.Time
		v := &Viewer{Sub: h.Subscribe(key, hub.Options{}), MinInterval: 15 * time.Millisecond}
		v.Write = func(b net.Buffers) error {
			at = append(at, time.Now())
			if len(b) != 1 {
				t.Errorf("%d frames at once", len(b))
			}
			return nil
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, done := run(ctx, v)
		<-done
		if len(at) != 10 {
			t.Fatalf("%d frames, want 10", len(at))
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < 15*time.Millisecond {
				t.Errorf("frame %d comes %v after the one before", i, d)
			}
		}
	})
}

func TestEndOfPublication(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, 30*time.Second)
		enough := errors.New("enough")
		ends := 0
		v := &Viewer{Sub: h.Subscribe(key, hub.Options{}), End: func(e *hub.EndError) error {
			if ends++; ends == 2 {
				return enough
			}
			return nil
		}}
		sent, done := run(t.Context(), v)
		video(p, 0)
		p.Close(nil)
		synctest.Wait()
		p, err := h.Publish(key, hub.PublishOptions{})
		if err != nil {
			t.Fatal(err)
		}
		video(p, 0)
		p.Close(errors.New("kicked"))
		if err := <-done; !errors.Is(err, enough) {
			t.Errorf("ended with %v", err)
		}
		if sent.String() != "\x00\x00" {
			t.Errorf("sent %v", sent.Bytes())
		}
		v.Sub.(*hub.Subscription).Close()
	})
}

func TestFailedWriteEndsTheViewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, p := stream(t, 30*time.Second)
		gone := errors.New("gone")
		_, done := run(t.Context(), &Viewer{Sub: h.Subscribe(key, hub.Options{}), Write: func(net.Buffers) error { return gone }})
		video(p, 0)
		if err := <-done; !errors.Is(err, gone) {
			t.Errorf("ended with %v", err)
		}
	})
}
