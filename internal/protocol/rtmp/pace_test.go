package rtmp

import (
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// How often a publisher is read follows what is configured, who watches, and how
// many publish.
func TestPace(t *testing.T) {
	for _, c := range []struct {
		name, vhost         string
		viewers, publishers int
		want                time.Duration
		hurried             bool
	}{
		{"watched", "", 1, 1, 0, false},
		{"nobody watches", "", 0, 1, idleBeat, false},
		{"some publish", "", 1, crowd, beat, false},
		{"many publish", "", 1, throng, slowBeat, false},
		{"many publish to a browser", "", 1, throng, beat, true},
		{"a few publish to a browser", "", 1, 1, 0, true},
		{"merged reading", "publish { mr on; mr_latency 300; }", 1, 1, 300 * time.Millisecond, false},
		{"merged reading by default", "publish { mr on; }", 1, throng, 350 * time.Millisecond, false},
		{"mr_latency alone", "publish { mr off; mr_latency 300; }", 1, 1, 0, false},
		{"min_latency", "min_latency on;", 0, throng, 0, false},
		{"min_latency goes before mr", "min_latency on; publish { mr on; mr_latency 300; }", 1, 1, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			snap, err := config.Parse(config.Source{File: "test", Text: []byte("listen 1935; vhost __defaultVhost__ { " + c.vhost + " }"), Getenv: func(string) string { return "" }}, blocks.All())
			if err != nil {
				t.Fatal(err)
			}
			h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{} })
			desk := session.New(h, session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
			var st *hub.Stream
			for i := range c.publishers {
				s, err := desk.Connect(t.Context(), session.Visitor{})
				if err != nil {
					t.Fatal(err)
				}
				p, err := s.Publish(t.Context(), session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: string(rune('a' + i))}})
				if err != nil {
					t.Fatal(err)
				}
				st = p.Stream()
			}
			for range c.viewers {
				defer h.Subscribe(st.Key, hub.Options{}).Close()
			}
			if c.hurried {
				st.AttachInside(nobody{}, hub.Insider{Protocol: "webrtc", Hurry: true})
			}
			x := &conn{env: &service.Env{Conf: config.NewStore(snap), Desk: desk, Hub: h}}
			if got := x.pace(st)(); got != c.want {
				t.Errorf("read each %v, want %v", got, c.want)
			}
		})
	}
}

// nobody is a tap that heeds nothing.
type nobody struct{}

func (nobody) Frame(*media.Frame, bool) {}
func (nobody) End(error)                {}
