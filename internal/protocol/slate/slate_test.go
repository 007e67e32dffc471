package slate

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

// viewer reads a stream, and checks that its time goes on.
type viewer struct {
	t      *testing.T
	sub    *hub.Subscription
	last   map[media.Kind]time.Duration
	seen   map[media.Kind]int
	widest time.Duration // between two frames of sound
	at     time.Time
	waited time.Duration // the longest that nothing came
	ended  bool
}

func watching(t *testing.T, h *protocoltest.Sink, o hub.Options) *viewer {
	return &viewer{t: t, sub: h.Env.Hub.Subscribe(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}, o), last: map[media.Kind]time.Duration{}, seen: map[media.Kind]int{}}
}

// look reads what has come until d has passed.
func (v *viewer) look(d time.Duration) {
	v.t.Helper()
	v.seen, v.ended, v.waited, v.at = map[media.Kind]int{}, false, 0, time.Now()
	ctx, cancel := context.WithTimeout(v.t.Context(), d)
	defer cancel()
	for frames := make([]*media.Frame, 16); ; {
		n, err := v.sub.Read(ctx, frames)
		if n > 0 {
			v.waited, v.at = max(v.waited, time.Since(v.at)), time.Now()
		}
		for _, f := range frames[:n] {
			k := f.Track.Kind
			last, before := v.last[k]
			if before && f.DTS <= last {
				v.t.Errorf("%v goes from %v to %v", k, last, f.DTS)
			}
			if k == media.Audio && before {
				v.widest = max(v.widest, f.DTS-last)
			}
			v.last[k] = f.DTS
			v.seen[k]++
		}
		var end *hub.EndError
		switch {
		case errors.As(err, &end):
			v.ended = true
		case err != nil:
			v.waited = max(v.waited, time.Since(v.at))
			return
		}
	}
}

func inHouse(t *testing.T, file string, f func(t *testing.T, h *protocoltest.Sink)) {
	t.Helper()
	dir := t.TempDir()
	vhost := "slate { enabled on; hold 10; }"
	if file != "" {
		vhost = "slate { enabled on; hold 10; file " + file + "; }"
	}
	protocoltest.InSink(t, Protocol, dir, vhost, f)
}

func live(h *protocoltest.Sink) *hub.Publication {
	return h.Env.Hub.Stream(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}).Publication()
}

// Viewers of a publisher that drops see its last key frame and hear silence, in a time that
// goes on, until it is back; who records hears of the end.
func TestViewersStay(t *testing.T) {
	inHouse(t, "", func(t *testing.T, h *protocoltest.Sink) {
		v, passive := watching(t, h, hub.Options{}), watching(t, h, hub.Options{Passive: true})
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
		h.Publish(b, 3)
		v.look(time.Millisecond)
		h.Leave(b)
		v.look(5 * time.Second)
		if v.ended || v.seen[media.Video] < 5 || v.seen[media.Audio] < 200 || v.waited > time.Second {
			t.Errorf("while nobody publishes: %+v", v)
		}
		if passive.look(time.Millisecond); !passive.ended {
			t.Error("who records did not hear of the end")
		}
		if h.Env.Desk.Publisher(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}) != nil {
			t.Error("the slate passes for a publisher")
		}
		h.Publish(b, 2)
		if v.look(time.Millisecond); v.ended || v.seen[media.Video] < 50 {
			t.Errorf("when it is back: %+v", v)
		}
		if p := live(h); p == nil || p.Yields {
			t.Error("the slate is still there")
		}
		// It does not come back a second time: then viewers hear of it.
		h.Leave(b)
		v.look(15 * time.Second)
		if !v.ended || live(h) != nil || v.seen[media.Video] < 9 || v.seen[media.Video] > 12 {
			t.Errorf("after the time for that: %+v", v)
		}
		if v.widest > 50*time.Millisecond {
			t.Errorf("%v without sound", v.widest)
		}
		v.sub.Close()
		passive.sub.Close()
	})
}

// Who is ended on purpose leaves nothing.
func TestEndedOnPurpose(t *testing.T) {
	for _, cause := range []error{session.ErrKicked, session.ErrShutdown, session.ErrRemoved} {
		inHouse(t, "", func(t *testing.T, h *protocoltest.Sink) {
			v := watching(t, h, hub.Options{})
			s, err := h.Env.Desk.Connect(t.Context(), session.Visitor{IP: "10.0.0.9"})
			if err != nil {
				t.Fatal(err)
			}
			p, err := s.Publish(t.Context(), session.Ask{Key: hub.Key{App: "live", Stream: "s"}})
			if err != nil {
				t.Fatal(err)
			}
			p.Write(&media.Frame{Track: protocoltest.PictureTrack(10), Key: true, Payload: []byte{0, 0, 0, 1, 0x65}})
			s.Close(cause)
			if v.look(time.Second); !v.ended || live(h) != nil {
				t.Errorf("%v: %+v", cause, v)
			}
			v.sub.Close()
			synctest.Wait()
		})
	}
}

// slateFile writes two seconds of FLV.
func slateFile(t *testing.T, cut int, key bool) string {
	t.Helper()
	b := slateBytes(key)
	name := filepath.Join(t.TempDir(), "slate.flv")
	if err := os.WriteFile(name, b[:len(b)-cut], 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

func slateBytes(key bool) []byte {
	picture := protocoltest.PictureTrack(20)
	b := flv.AppendFileHeader(nil, false, true)
	b = flv.AppendLayout(b, (&media.Layout{}).With(picture), 0)
	for i := range 50 {
		f := &media.Frame{Track: picture, Key: key && i == 0, Payload: []byte{0, 0, 0, 3, 0x65, 0x88, byte(i)}}
		b = flv.AppendFrameTag(b, f, uint32(1000+40*i))
	}
	return b
}

// A file is shown over and over, also one that was cut short.
func TestFile(t *testing.T) {
	for _, cut := range []int{0, 5} {
		inHouse(t, slateFile(t, cut, true), func(t *testing.T, h *protocoltest.Sink) {
			v := watching(t, h, hub.Options{})
			b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
			h.Publish(b, 1)
			h.Leave(b)
			v.look(6 * time.Second)
			if v.ended || v.seen[media.Video] < 150 || v.seen[media.Video] > 210 {
				t.Errorf("cut by %d: %+v", cut, v)
			}
			v.sub.Close()
		})
	}
}

// A file that is none leaves the last picture, and says why.
func TestNoFile(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none.flv")
	for _, file := range []string{none, slateFile(t, 0, false), slateFile(t, 50*28, true)} {
		inHouse(t, file, func(t *testing.T, h *protocoltest.Sink) {
			v := watching(t, h, hub.Options{})
			b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
			h.Publish(b, 1)
			h.Leave(b)
			if v.look(3 * time.Second); v.ended || v.seen[media.Audio] < 100 {
				t.Errorf("%s: %+v", filepath.Base(file), v)
			}
			v.sub.Close()
		})
	}
}

func FuzzReadLoop(f *testing.F) {
	f.Add(slateBytes(true))
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := readLoop(bytes.NewReader(b))
		if err == nil && (len(l.frames) == 0 || l.lasts <= 0) {
			t.Errorf("%d frames last %v", len(l.frames), l.lasts)
		}
		if err != nil && strings.TrimSpace(err.Error()) == "" {
			t.Error("an error without a word")
		}
	})
}
