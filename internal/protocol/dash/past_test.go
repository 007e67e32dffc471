package dash

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/format/mpd"
	"weir/internal/protocol/protocoltest"
)

// A manifest of the past counts its times from so much later, and so goes on at the speed of
// the clock; what it lists is there, after a restart too.
func TestPast(t *testing.T) {
	dir := t.TempDir()
	conf := "dash { enabled on; dash_fragment 2; dash_path DIR; } " + protocoltest.TimeShift("DIR/shift")
	var began time.Time // of the bubble
	get := func(t *testing.T, h *protocoltest.Sink, path string) *mpd.Manifest {
		t.Helper()
		w := h.Get(path)
		m, err := mpd.Parse(w.Body.Bytes())
		if w.Code != http.StatusOK || err != nil || len(m.Periods) == 0 {
			t.Fatalf("%s: %d %v %s", path, w.Code, err, w.Body)
		}
		return m
	}
	leads := func(t *testing.T, h *protocoltest.Sink, path string) string {
		t.Helper()
		w := h.Get(path)
		if w.Code != http.StatusFound {
			t.Fatalf("%s: %d %s", path, w.Code, w.Body)
		}
		return w.Header().Get("Location")
	}
	// files asks for all that a manifest lists, and returns how much of a picture that is.
	files := func(t *testing.T, h *protocoltest.Sink, m *mpd.Manifest) (pictures int) {
		t.Helper()
		for _, p := range m.Periods {
			for _, set := range p.Sets {
				of := strings.NewReplacer("$RepresentationID$", set.ID)
				if w := h.Get("/live/" + m.Base + of.Replace(set.Init)); w.Code != http.StatusOK {
					t.Fatalf("%s of %s: %d", set.Init, set.ID, w.Code)
				}
				for _, e := range set.Timeline {
					name := strings.NewReplacer("$RepresentationID$", set.ID, "$Time$", strconv.FormatInt(e.Time, 10)).Replace(set.Media)
					w := h.Get("/live/" + m.Base + name)
					samples, err := mp4.ReadSamples(w.Body.Bytes())
					if w.Code != http.StatusOK || err != nil || len(samples) == 0 || samples[0].Time != e.Time {
						t.Fatalf("%s: %d, %d samples, %v", name, w.Code, len(samples), err)
					}
					if set.ID == "video" {
						pictures += len(samples)
					}
				}
			}
		}
		return pictures
	}
	protocoltest.InSink(t, Protocol, dir, conf, func(t *testing.T, h *protocoltest.Sink) {
		began = time.Now()
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(30), Audio: protocoltest.SoundTrack()}
		h.Publish(b, 100)
		uri := leads(t, h, "/live/s.mpd?start=-60&token=x")
		if !strings.HasPrefix(uri, "/live/s.mpd?behind=60.000") || !strings.HasSuffix(uri, "&token=x") {
			t.Errorf("leads to %s", uri)
		}
		// Players are so far behind the line of the manifest as it tells them to be.
		shown := func(m *mpd.Manifest) time.Time { return began.Add(time.Since(m.Start) - m.Delay) }
		m := get(t, h, uri)
		if off := shown(m).Sub(time.Now().Add(-time.Minute)); off.Abs() > time.Second {
			t.Errorf("a minute behind is off by %v", off)
		}
		if n := files(t, h, m); n < 250 || n%25 != 0 {
			t.Errorf("%d pictures", n)
		}
		at := leads(t, h, "/live/s.mpd?start="+time.Now().Add(-30*time.Second).UTC().Format(time.RFC3339))
		h.Publish(b, 20)
		next := get(t, h, uri)
		if !next.Start.Equal(m.Start) {
			t.Errorf("times count from %v, and then from %v", m.Start, next.Start)
		}
		if off := shown(get(t, h, at)).Sub(time.Now().Add(-30 * time.Second)); off.Abs() > time.Second {
			t.Errorf("what was 30 s ago is off by %v", off)
		}
		if m := get(t, h, "/live/s.mpd?window=600"); !m.Start.Equal(began) || m.Depth < 2*time.Minute || files(t, h, m) < 110*25 {
			t.Errorf("everything: from %v, %v", m.Start, m.Depth)
		}
		h.Leave(b)
		b.Video = protocoltest.PictureTrack(31)
		h.Publish(b, 60)
		if m := get(t, h, leads(t, h, "/live/s.mpd?start=-58")); len(m.Periods) != 2 || files(t, h, m) == 0 || m.Periods[1].Start < m.Periods[0].Start+time.Second {
			t.Errorf("over a codec that changes: %+v", m.Periods)
		}
		for path, want := range map[string]int{"/live/s.mpd?start=yesterday": 400, "/live/s.mpd?start=2999-01-01T00:00:00Z": 400, "/live/s.mpd?behind=x": 400, "/live/s.mpd?window=-1": 400, "/live/none.mpd?start=-5": 404,
			"/live/s.past/dash-video-0-1.m4s": 404, "/live/s.past/dash-video-init-7.mp4": 404, "/live/s.past/dash-time": 200, "/live/s.past/dash-": 404} {
			if w := h.Get(path); w.Code != want {
				t.Errorf("%s: %d %s", path, w.Code, w.Body)
			}
		}
		h.Leave(b)
	})
	protocoltest.InSink(t, Protocol, dir, conf, func(t *testing.T, h *protocoltest.Sink) {
		time.Sleep(time.Second)
		if files(t, h, get(t, h, leads(t, h, "/live/s.mpd?start=-100000000"))) == 0 {
			t.Error("nothing is left after a restart")
		}
		time.Sleep(time.Hour / 2) // the viewer is signed out
		h.Env.Desk.Authorize(protocoltest.Deny{})
		if w := h.Get("/live/s.mpd?start=-5"); w.Code != http.StatusForbidden {
			t.Errorf("denied: %d", w.Code)
		}
	})
}
