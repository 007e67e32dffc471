package dash

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/format/mpd"
	"weir/internal/hub"
	"weir/internal/protocol/protocoltest"
	"weir/internal/store"
)

// timed notes when bytes came.
type timed struct {
	*httptest.ResponseRecorder
	began time.Time
	mu    sync.Mutex
	at    []time.Duration
}

func (w *timed) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = append(w.at, time.Since(w.began))
	return w.ResponseRecorder.Write(b)
}

func (h *house) timed(path string) *timed {
	r := httptest.NewRequest(http.MethodGet, "http://x"+path, nil)
	r.RemoteAddr = "10.0.0.7:1234"
	w := &timed{ResponseRecorder: httptest.NewRecorder(), began: time.Now()}
	h.Env.Media.ServeHTTP(w, r)
	return w
}

const lowConf = "dash_low_latency on; "

// Who asks for the segment that is made, or for the next, has its chunks as they are made,
// and all of it in the end.
func TestLowLatency(t *testing.T) {
	bubble(t, lowConf, func(t *testing.T, h *house) {
		var wg sync.WaitGroup
		var open, next *timed
		var early *mpd.Manifest
		wg.Go(func() {
			time.Sleep(6700 * time.Millisecond) // three segments, and one chunk of the next
			early = h.manifest()
			wg.Go(func() { open = h.timed("/live/s/video-3.m4s") })
			wg.Go(func() {
				time.Sleep(1100 * time.Millisecond) // before there is anything of it
				next = h.timed("/live/s/audio-4.m4s")
			})
		})
		leave := h.publish(11, picture, sound)
		wg.Wait()
		defer leave()
		if l := early.Low; l == nil || l.Early != 1500*time.Millisecond || l.Target != 2*time.Second || early.Update != 500*time.Millisecond {
			t.Fatalf("manifest says %+v, update %v", l, early.Update)
		}
		for _, set := range early.Periods[0].Sets {
			if n := len(set.Timeline); n != 4 || set.First != 0 || set.Timeline[3].Duration < set.Timescale*19/10 {
				t.Errorf("%s lists %v", set.ID, set.Timeline)
			}
		}
		for name, c := range map[string]struct {
			got    *timed
			chunks int
			path   string
		}{"open": {open, 5, "/live/s/video-3.m4s"}, "next": {next, 5, "/live/s/audio-4.m4s"}} {
			if len(c.got.at) < 2*c.chunks-1 || c.got.at[len(c.got.at)-1]-c.got.at[0] < time.Second {
				t.Errorf("%s came at %v", name, c.got.at)
			}
			whole := h.Get(c.path)
			if !bytes.Equal(c.got.Body.Bytes(), whole.Body.Bytes()) || whole.Header().Get("Content-Length") == "" || c.got.Header().Get("Content-Type") != segmentType {
				t.Errorf("%s has %d bytes, of %d", name, c.got.Body.Len(), whole.Body.Len())
			}
			if n := bytes.Count(whole.Body.Bytes(), []byte("prft")); n != c.chunks {
				t.Errorf("%s has %d reference times", name, n)
			}
		}
	})
}

// The disk's manifest lists what is on the disk.
func TestLowLatencyDisk(t *testing.T) {
	bubble(t, lowConf, func(t *testing.T, h *house) {
		leave := h.publish(7.7, picture, sound)
		defer leave()
		disk := h.disk(t, "live/s.mpd")
		if disk.Low != nil || len(disk.Periods[0].Sets[0].Timeline) != 3 {
			t.Errorf("on disk: %+v", disk)
		}
		if m := h.manifest(); m.Low == nil || len(m.Periods[0].Sets[0].Timeline) != 4 {
			t.Errorf("served: %+v", m)
		}
	})
}

// A stream that ends, or is forgotten, leaves nobody waiting; one that comes again goes on.
func TestLowLatencyEnds(t *testing.T) {
	bubble(t, lowConf+"dash_dispose 20;", func(t *testing.T, h *house) {
		leave := h.publish(7.7, picture, sound)
		var wg sync.WaitGroup
		var open, next *timed
		wg.Go(func() { open = h.timed("/live/s/video-3.m4s") })
		wg.Go(func() { next = h.timed("/live/s/video-4.m4s") })
		leave()
		wg.Wait()
		if open.Code != 200 || open.Body.Len() == 0 {
			t.Errorf("what was made: %d, %d bytes", open.Code, open.Body.Len())
		}
		if next.Code != 404 {
			t.Errorf("what never came: %d", next.Code)
		}
		again := h.publish(7.7, protocoltest.PictureTrack(20), sound)
		m := h.manifest()
		if len(m.Periods) != 2 || m.Periods[1].Sets[0].First != 4 {
			t.Errorf("then %+v", m.Periods)
		}
		if w := h.Get("/live/s/video-77.m4s"); w.Code != 404 {
			t.Errorf("a number far ahead: %d", w.Code)
		}
		wg.Go(func() {
			next = h.timed("/live/s/video-8.m4s")
		})
		again()
		wg.Wait()
		if next.Code != 404 {
			t.Errorf("after it ended: %d", next.Code)
		}
	})
}

// After an upgrade the new process has the old one's segments as they are made, and its
// manifest is the same from the first on.
func TestLowLatencyGoesOn(t *testing.T) {
	bubble(t, lowConf, func(t *testing.T, old *house) {
		sink, stop := old.Another(Protocol, "dash { enabled on; "+lowConf+" dash_fragment 2; dash_update_period 1; dash_path DIR; }")
		defer stop()
		young := &house{sink, t}
		key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
		published := regexp.MustCompile(`publishTime="[^"]*"`)
		same := func(when string) {
			a, b := old.Get("/live/s.mpd").Body.String(), young.Get("/live/s.mpd").Body.String()
			if a, b = published.ReplaceAllString(a, ""), published.ReplaceAllString(b, ""); a != b || !strings.Contains(a, "<S ") {
				t.Errorf("%s the old process has\n%s\nthe new one\n%s", when, a, b)
			}
		}
		var wg sync.WaitGroup
		var open, next *timed
		wg.Go(func() {
			time.Sleep(6700 * time.Millisecond) // three segments, and one chunk of the next
			names := []string{"dash"}
			young.Env.Handover.BorrowMirrors(key, names)
			old.Env.Handover.LendMirrors(key, func(of string, piece []byte) {
				if err := young.Env.Handover.TakeMirror(of, key, piece); err != nil {
					t.Error(err)
				}
			})
			same("at the hand-over")
			wg.Go(func() { open = young.timed("/live/s/video-3.m4s") })
			wg.Go(func() {
				time.Sleep(1100 * time.Millisecond) // before there is anything of it
				next = young.timed("/live/s/audio-4.m4s")
			})
		})
		leave := old.publish(11, picture, sound)
		wg.Wait()
		defer leave()
		same("in the end")
		for path, got := range map[string]*timed{"/live/s/video-3.m4s": open, "/live/s/audio-4.m4s": next} {
			if len(got.at) < 9 || got.at[len(got.at)-1]-got.at[0] < time.Second {
				t.Errorf("%s came at %v", path, got.at)
			}
		}
		for _, name := range []string{"video-1", "audio-1", "video-3", "audio-3", "video-4", "audio-4"} {
			a, b := old.Get("/live/s/"+name+".m4s"), young.Get("/live/s/"+name+".m4s")
			if b.Code != 200 || !bytes.Equal(a.Body.Bytes(), b.Body.Bytes()) {
				t.Errorf("%s: %d, %d bytes, at the old process %d", name, b.Code, b.Body.Len(), a.Body.Len())
			}
		}
	})
}

// A stream may be forgotten while its segment is made, as when a reload moves its files: the
// race detector sees whether both look at that without each other.
func TestLowLatencyIsForgotten(t *testing.T) {
	bubble(t, lowConf+"dash_files off;", func(t *testing.T, h *house) {
		s := &server{env: h.Env}
		key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
		made, _ := s.emptyStream(key)
		type part struct {
			of *store.Segment
			c  *store.Chunk
		}
		var parts []part
		detach := h.Env.Store.Attach(key, &store.View{Rules: made.rules, Forms: made.form, Next: made.index.Next, Done: func(*store.Segment) {},
			Each: made.wantsEach, Part: made.chunkTime, Parted: func(g *store.Segment, c *store.Chunk) {
				parts = append(parts, part{g, c})
			}})
		h.publish(5.1, picture, sound)()
		detach()
		for range 300 {
			st, _ := s.emptyStream(key)
			var both sync.WaitGroup
			both.Go(func() {
				for _, p := range parts {
					st.parted(p.of, p.c)
				}
			})
			both.Go(st.Forget)
			both.Wait()
		}
		if len(parts) < 5 {
			t.Errorf("%d parts", len(parts))
		}
	})
}
