package protocoltest

import (
	"context"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// A Sink is a server with nothing in it but one protocol that reads streams and
// answers over HTTP what it made of them. It is used in a bubble, where time is
// free.
type Sink struct {
	Env service.Env
	// Dir is where the protocol may write.
	Dir string

	t    *testing.T
	stop func()
}

// InSink runs f in a bubble with a server of a protocol, until f returns. vhost is
// the configuration of the default vhost, in which DIR stands for dir.
func InSink(t *testing.T, p service.Protocol, dir, vhost string, f func(t *testing.T, h *Sink)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h := openSink(t, p, dir, vhost)
		defer h.stop()
		f(t, h)
	})
}

// Another opens a second server in the bubble, over the same folder, as an upgrade does.
func (h *Sink) Another(p service.Protocol, vhost string) (o *Sink, stop func()) {
	h.t.Helper()
	o = openSink(h.t, p, h.Dir, vhost)
	return o, o.stop
}

func openSink(t *testing.T, p service.Protocol, dir, vhost string) *Sink {
	t.Helper()
	text := "listen 1935; http_server { enabled on; dir DIR; } vhost __defaultVhost__ { " + vhost + " }"
	snap, err := config.Parse(config.Source{File: "test", Text: []byte(strings.ReplaceAll(text, "DIR", dir)), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	conf := config.NewStore(snap)
	hb := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	desk := session.New(hb, session.Rules{Vhost: func(name string) (string, bool) {
		v, ok := conf.Load().Vhost(name)
		if !ok {
			return "", false
		}
		return v.Name, true
	}})
	h := &Sink{t: t, Dir: dir}
	h.Env = service.Env{Log: slog.New(slog.DiscardHandler), Conf: conf, Desk: desk, Hub: hb, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}, Handover: &service.Handover{}}
	h.Env.Store = service.NewStore(h.Env.Log, hb)
	shift := service.NewTimeShift(h.Env)
	h.Env.Past = shift.Past
	svc, err := p.New(h.Env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done, kept := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(kept)
		shift.Run(ctx)
	}()
	go func() {
		defer close(done)
		if err := svc.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	h.stop = func() {
		cancel()
		<-done
		<-kept
	}
	return h
}

// PictureTrack returns an H.264 track of 64x48; level tells such tracks apart.
func PictureTrack(level byte) *media.Track {
	return &media.Track{Kind: media.Video, Codec: media.H264, Width: 64, Height: 48,
		Config: []byte{1, 0x42, 0xc0, level, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, level, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80}}
}

// SoundTrack returns an AAC track.
func SoundTrack() *media.Track {
	return &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}
}

// A Broadcast is what a publisher sends: in real time 25 pictures a second with a
// key frame each two seconds, and sound to it.
type Broadcast struct {
	Stream       string // "s" if empty
	Video, Audio *media.Track
	// GOP is the distance of key frames in pictures, 50 if 0.
	GOP int
	// From is where in the encoder's stream it is when it begins to publish, in seconds.
	From float64
	// Bend gives the publisher's time of a true time.
	Bend func(time.Duration) time.Duration

	at   int           // pictures sent
	told time.Duration // sound sent
	s    *session.Session
	p    *hub.Publication
}

// Publish sends seconds of a broadcast, which goes on with more of them.
func (h *Sink) Publish(b *Broadcast, seconds float64) {
	h.t.Helper()
	if b.Stream == "" {
		b.Stream = "s"
	}
	if b.p == nil {
		var err error
		if b.s, err = h.Env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"}); err != nil {
			h.t.Fatal(err)
		}
		if b.p, err = b.s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: b.Stream}, Said: session.Said{App: "live", Stream: b.Stream}}); err != nil {
			h.t.Fatal(err)
		}
		b.at, b.told = int(b.From*25+0.5), 0
		for now := time.Duration(b.at) * 40 * time.Millisecond; b.at > 0 && b.told < now; b.told += time.Second * 1024 / 44100 {
		}
		for _, t := range []*media.Track{b.Video, b.Audio} {
			if t != nil {
				b.p.Announce(t)
			}
		}
	}
	for range int(seconds*25 + 0.5) {
		b.send()
		time.Sleep(40 * time.Millisecond)
	}
	synctest.Wait()
}

// send sends a picture, and the sound until then.
func (b *Broadcast) send() {
	bend := func(d time.Duration) time.Duration {
		if b.Bend != nil {
			d = b.Bend(d)
		}
		return d.Truncate(time.Millisecond) // as RTMP tells it
	}
	at := time.Duration(b.at) * 40 * time.Millisecond
	gop := b.GOP
	if gop == 0 {
		gop = 50
	}
	if b.Video != nil {
		typ, key := byte(0x41), b.at%gop == 0
		if key {
			typ = 0x65
		}
		b.p.Write(&media.Frame{Track: b.Video, Source: bend(at), Key: key, Payload: []byte{0, 0, 0, 3, typ, 0x88, byte(b.at)}})
	}
	for ; b.told <= at; b.told += time.Second * 1024 / 44100 {
		if b.Audio == nil {
			continue
		}
		b.p.Write(&media.Frame{Track: b.Audio, Source: bend(b.told), Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}})
	}
	b.at++
}

// Leave ends the publication, and waits until it has been told to all.
func (h *Sink) Leave(b *Broadcast) {
	b.s.Close(nil)
	b.p = nil
	time.Sleep(time.Second)
	synctest.Wait()
}

// Get asks for a path of the default vhost, as a viewer.
func (h *Sink) Get(path string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", "http://x"+path, nil)
	r.RemoteAddr = "10.0.0.7:1234"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.Env.Media.ServeHTTP(w, r)
	return w
}

// Files lists what is in the folder.
func (h *Sink) Files() string {
	h.t.Helper()
	var all []string
	err := filepath.WalkDir(h.Dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(h.Dir, p)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		h.t.Fatal(err)
	}
	return strings.Join(all, " ")
}

// Deny lets nobody play.
type Deny struct{}

// Authorize implements session.Authorizer.
func (Deny) Authorize(_ context.Context, r *session.Request) error {
	if r.Act == session.Play {
		return session.ErrDenied
	}
	return nil
}
