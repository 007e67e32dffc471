package process

import (
	"bytes"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/session"
)

// Which ingests need no program, and what is said of those that were to need none.
func TestNative(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	const here, engine = "rtmp://127.0.0.1:[port]/live/s", "enabled off;"
	for _, c := range []struct {
		native, kind, url, engine, output string
		want                              bool
		said                              string
	}{
		{"on", "file", "a.flv", engine, here, true, ""},
		{"on", "stream", "RTMP://x/live/s?k=1", engine, here, true, ""},
		{"on", "stream", "rtmps://x/live/s", "enabled on; vcodec copy; acodec copy;", here, true, ""},
		{"on", "stream", "https://x/live/s.flv?k=1", engine, here, true, ""},
		{"on", "stream", "https://x/live/s.m3u8", engine, here, false, "no .flv over HTTP needs ffmpeg"},
		{"on", "stream", "rtsp://x/s", engine, here, false, "rtsp needs ffmpeg"},
		{"on", "device", "/dev/video0", engine, here, false, "device needs ffmpeg"},
		{"on", "file", "a.flv", "enabled on; vcodec libx264; acodec copy;", here, false, "encodes needs ffmpeg"},
		{"on", "file", "a.flv", engine, "rtmp://example.com/live/s", false, "needs ffmpeg"},
		{"off", "file", "a.flv", engine, here, false, ""},
		{"auto", "file", "a.flv", engine, here, true, "there is no ffmpeg"},
		{"auto", "stream", "rtsp://x/s", engine, here, false, ""},
	} {
		var log bytes.Buffer
		snap := parse(t, "ingest x { enabled on; native "+c.native+"; input { type "+c.kind+"; url "+c.url+"; } engine { "+c.engine+" output "+c.output+"; } }")
		p := &planner{tools: newTools(&log), snap: snap, out: map[string]want{}}
		p.local()
		p.ingests(true)
		w := p.out["ingest/__defaultVhost__/x/0"]
		if got := w.spec == nil; got != c.want || got && w.key != (hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}) {
			t.Errorf("%+v: without a program %v, as %v", c, got, w.key)
		}
		if !strings.Contains(log.String(), c.said) || c.said == "" && log.Len() > 0 {
			t.Errorf("%+v: said %s", c, log.String())
		}
	}
}

// What is on demand is wanted while somebody plays it, and a while longer.
func TestDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes atomic.Int32
		d := newDemand(func() { changes.Add(1) })
		key, a, b := hub.Key{Vhost: "v", App: "live", Stream: "s"}, &session.Session{}, &session.Session{}
		look := func(want bool, wantChanges int32) {
			t.Helper()
			synctest.Wait()
			if got := d.has(key, 10*time.Second); got != want || changes.Load() != wantChanges {
				t.Errorf("wanted: %v after %d changes, want %v after %d", got, changes.Load(), want, wantChanges)
			}
		}
		tell := func(what session.What, s *session.Session) {
			d.observe(session.Event{What: what, Session: s, Ask: session.Ask{Key: key}})
		}
		look(false, 0)
		tell(session.Played, a)
		tell(session.Played, b)
		look(true, 1)
		tell(session.Stopped, a)
		look(true, 1)
		tell(session.Stopped, b)
		look(true, 2)
		time.Sleep(9 * time.Second)
		tell(session.Played, a) // in time
		look(true, 3)
		time.Sleep(time.Hour)
		tell(session.Stopped, a)
		look(true, 4)
		time.Sleep(9 * time.Second)
		look(true, 4)
		time.Sleep(time.Second)
		look(false, 5)
		if len(d.keys) != 0 {
			t.Error("it is remembered for ever")
		}
	})
}

func TestFigure(t *testing.T) {
	const line = "frame=  250 fps= 24.9 q=28.0 size=     512kB time=00:00:10.00 bitrate= 419.4kbits/s dup=1 drop=3 speed=0.998x"
	for _, c := range []struct {
		line, name string
		want       float64
	}{{line, "fps", 24.9}, {line, "speed", 0.998}, {line, "drop", 3}, {line, "frame", 250}, {line, "ed", 0}, {"frame=0 speed=N/A", "speed", 0}, {"speed=NaN", "speed", 0}, {"", "fps", 0}} {
		if got := figure(c.line, c.name); got != c.want {
			t.Errorf("%s of %q is %v, want %v", c.name, c.line, got, c.want)
		}
	}
}
