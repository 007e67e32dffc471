package hls

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/format/m3u8"
	"weir/internal/format/mp4"
	"weir/internal/protocol/protocoltest"
)

// follow returns the media playlist that a multivariant playlist leads to.
func follow(t *testing.T, h *protocoltest.Sink, path string) (uri string, p *m3u8.Playlist) {
	t.Helper()
	w := h.Get(path)
	if w.Code != 200 {
		t.Fatalf("%s: %d %s", path, w.Code, w.Body)
	}
	for line := range strings.Lines(w.Body.String()) {
		if !strings.HasPrefix(line, "#") {
			uri = strings.TrimSpace(line)
		}
	}
	return uri, listOf(t, h, uri)
}

func listOf(t *testing.T, h *protocoltest.Sink, uri string) *m3u8.Playlist {
	t.Helper()
	w := h.Get(uri)
	p, err := m3u8.Parse(w.Body.Bytes())
	if w.Code != 200 || err != nil || len(p.Segments) == 0 {
		t.Fatalf("%s: %d %v %s", uri, w.Code, err, w.Body)
	}
	return p
}

// firstOf is when players begin with a playlist: three target durations before its end.
func firstOf(p *m3u8.Playlist) time.Time {
	at := p.Segments[0].Time
	var total time.Duration
	for _, s := range p.Segments {
		total += s.Duration
	}
	return at.Add(total - 3*time.Duration(p.Target)*time.Second)
}

// A playlist of the past goes on at the speed of the clock, as far behind as it was asked
// for, with the time of day as it was then, and its segments are there, after a restart too.
func TestPast(t *testing.T) {
	for _, ctx := range []string{"on", "off"} {
		dir := t.TempDir()
		conf := "hls { enabled on; hls_fragment 2; hls_window 20; hls_path DIR; hls_ctx " + ctx + "; } " + protocoltest.TimeShift("DIR/shift")
		protocoltest.InSink(t, Protocol, dir, conf, func(t *testing.T, h *protocoltest.Sink) {
			b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(30), Audio: protocoltest.SoundTrack()}
			h.Publish(b, 100)
			near := func(what string, p *m3u8.Playlist, want time.Time) {
				t.Helper()
				if d := firstOf(p).Sub(want); d.Abs() > 3*time.Second {
					t.Errorf("%s: begins %v off", what, d)
				}
			}
			uri, p := follow(t, h, "/live/s.m3u8?start=-60&token=x")
			near("60 s behind", p, time.Now().Add(-time.Minute))
			if !strings.Contains(uri, "token=x") || (ctx == "on") != strings.Contains(uri, "hls_ctx=") {
				t.Errorf("leads to %s", uri)
			}
			at, atPlaylist := follow(t, h, "/live/s.m3u8?start="+time.Now().Add(-30*time.Second).UTC().Format(time.RFC3339))
			near("30 s ago", atPlaylist, time.Now().Add(-30*time.Second))
			h.Publish(b, 20)
			next := listOf(t, h, uri)
			near("60 s behind, 20 s later", next, time.Now().Add(-time.Minute))
			near("what was 30 s ago, 20 s later", listOf(t, h, at), time.Now().Add(-30*time.Second))
			if next.Target != p.Target || next.Sequence <= p.Sequence || next.Sequence > p.Sequence+11 {
				t.Errorf("%d of %d s goes on with %d of %d s", p.Sequence, p.Target, next.Sequence, next.Target)
			}
			for _, s := range next.Segments {
				body := h.Get("/live/" + s.URI).Body.Bytes()
				init := h.Get("/live/" + s.Map)
				if samples, err := mp4.ReadSamples(body); err != nil || len(samples) < 25 || init.Code != 200 {
					t.Fatalf("%s: %d samples, %v", s.URI, len(samples), err)
				}
			}
			// Before the oldest it is the oldest; everything up to live is had too.
			_, p = follow(t, h, "/live/s.m3u8?start=5")
			if p.Sequence != 0 {
				t.Errorf("the oldest is %d", p.Sequence)
			}
			path := "/live/s.m3u8?window=600"
			if ctx == "on" {
				path, p = follow(t, h, path)
			}
			if p = listOf(t, h, path); p.Sequence != 0 || len(p.Segments) < 50 {
				t.Errorf("everything is %d segments from %d on", len(p.Segments), p.Sequence)
			}
			// Another codec: a discontinuity, which is counted when it has gone.
			h.Leave(b)
			b.Video = protocoltest.PictureTrack(31)
			h.Publish(b, 60)
			_, p = follow(t, h, "/live/s.m3u8?start=-55")
			var broken []m3u8.Segment
			for _, s := range p.Segments {
				if s.Discontinuity {
					broken = append(broken, s)
				}
			}
			if len(broken) != 1 || broken[0].Time.IsZero() || broken[0].Map == p.Segments[0].Map || p.Discontinuities != 0 {
				t.Errorf("%d breaks, %+v", len(broken), p)
			}
			if _, p = follow(t, h, "/live/s.m3u8?start=-20"); p.Discontinuities != 1 {
				t.Errorf("%d breaks before", p.Discontinuities)
			}
			for path, want := range map[string]int{"/live/s.m3u8?start=yesterday": 400, "/live/s.m3u8?start=2999-01-01T00:00:00Z": 400, "/live/s.m3u8?window=x": 400, "/live/none.m3u8?start=-5": 404,
				"/live/s.past/hls-99999.m4s": 404, "/live/s.past/hls-1.mp4": 404, "/live/s.past/hls-init-1.mp4": 404, "/live/s.past/hls-": 404, "/live/s.past/hls-0.m4s": 200, "/live/none.past/hls-0.m4s": 404} {
				if w := h.Get(path); w.Code != want {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
			h.Leave(b)
		})
		// The next server has it.
		protocoltest.InSink(t, Protocol, dir, conf, func(t *testing.T, h *protocoltest.Sink) {
			time.Sleep(time.Second)
			_, p := follow(t, h, "/live/s.m3u8?start=-100000000")
			if p.Sequence != 0 || h.Get("/live/"+p.Segments[0].URI).Code != 200 {
				t.Errorf("after a restart: %+v", p)
			}
		})
	}
}

// The past is under the rules of playing, and not given out in the clear where segments are
// encrypted; where nothing is kept, start means nothing.
func TestPastRefusals(t *testing.T) {
	const hls = "hls { enabled on; hls_fragment 2; hls_path DIR; hls_keys %s; } "
	for _, keys := range []string{"off", "on"} {
		protocoltest.InSink(t, Protocol, t.TempDir(), fmt.Sprintf(hls, keys)+protocoltest.TimeShift("DIR/shift"), func(t *testing.T, h *protocoltest.Sink) {
			b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(30)}
			h.Publish(b, 20)
			want := 200
			if keys == "on" {
				want = 501
			}
			for _, path := range []string{"/live/s.m3u8?start=-10", "/live/s.past/hls-0.m4s"} {
				if w := h.Get(path); w.Code != want {
					t.Errorf("keys %s, %s: %d", keys, path, w.Code)
				}
			}
			h.Env.Desk.Authorize(protocoltest.Deny{})
			if w := h.Get("/live/s.m3u8?start=-10&x"); keys == "off" && w.Code != 403 {
				t.Errorf("denied: %d", w.Code)
			}
			h.Leave(b)
		})
	}
	protocoltest.InSink(t, Protocol, t.TempDir(), fmt.Sprintf(hls, "off"), func(t *testing.T, h *protocoltest.Sink) {
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(30)}
		h.Publish(b, 20)
		_, p := follow(t, h, "/live/s.m3u8?start=-10")
		if strings.Contains(p.Segments[0].URI, ".past/") {
			t.Errorf("%+v", p)
		}
		h.Leave(b)
	})
}
