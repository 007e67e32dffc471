package forward

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"weir/internal/config"
	"weir/internal/format/amf"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

var opus = &media.Track{Kind: media.Audio, Codec: media.Opus, Config: []byte("OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"), SampleRate: 48000, Channels: 2}

type house struct {
	*protocoltest.House
	*server
	t *testing.T
}

func openHouse(t *testing.T, vhost string, backend func(ask *session.Ask) ([]string, error)) *house {
	h := &house{t: t}
	p := Protocol
	p.New = func(env service.Env) (service.Service, error) {
		env.AskForward = func(_ context.Context, _ string, _ *session.Session, ask *session.Ask) ([]string, error) {
			return backend(ask)
		}
		svc, err := Protocol.New(env)
		h.server, _ = svc.(*server)
		return svc, err
	}
	h.House = protocoltest.Open(t, protocoltest.Options{Protocol: p, Vhost: vhost, Vhosts: "vhost my.com { " + vhost + " }"})
	return h
}

// publish signs in and returns who may write.
func (h *house) publish(v session.Visitor, key hub.Key, param string) (*session.Session, *hub.Publication, error) {
	s, err := h.Env.Desk.Connect(h.t.Context(), v)
	if err != nil {
		return nil, nil, err
	}
	p, err := s.Publish(h.t.Context(), session.Ask{Key: key, Said: session.Said{Vhost: key.Vhost, App: key.App, Stream: key.Stream, Param: param}})
	if err != nil {
		s.Close(err)
	} else {
		h.t.Cleanup(func() { s.Close(nil) })
	}
	return s, p, err
}

func (h *house) mustPublish(key hub.Key, param string) (*session.Session, *hub.Publication) {
	h.t.Helper()
	s, p, err := h.publish(session.Visitor{Protocol: "test"}, key, param)
	if err != nil {
		h.t.Fatal(err)
	}
	return s, p
}

var key = hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}

func (h *house) state(of string) (r row) {
	for _, r := range h.rows() {
		if strings.Contains(r.URL, of) {
			return r
		}
	}
	return r
}

// One stream goes to two destinations, from a key frame on, under the names that SRS
// gives, and to its end.
func TestForward(t *testing.T) {
	one, two := protocoltest.OpenNeighbour(t), protocoltest.OpenNeighbour(t)
	h := openHouse(t, "forward { enabled on; destination "+one.Addr()+" rtmp://"+two.Addr()+"/other/[app]-[stream]?key=1; }", nil)
	k := key
	k.Vhost = "my.com"
	s, p := h.mustPublish(k, "?vhost=my.com&token=1")
	p.SetMeta(amf.Append(nil, amf.ECMAArray{{Key: "width", Value: 640.0}}), false)
	for n := 7; n < 12; n++ {
		p.Write(protocoltest.Numbered(protocoltest.Picture, n))
		p.Write(protocoltest.Numbered(protocoltest.Sound, n))
	}
	one.Await("0011")
	two.Await("0011")
	if st := p.Stream(); st.Viewers() != 0 || !st.Watched() {
		t.Errorf("%d viewers, watched %v: forwards are no viewers, and the stream is read as if watched", st.Viewers(), st.Watched())
	}
	p.Write(protocoltest.Numbered(protocoltest.Picture, 12))
	s.Close(nil)
	one.Await("end: rtmp: ended by the client")
	two.Await("end: rtmp: ended by the client")
	_, port, _ := net.SplitHostPort(one.Addr())
	body := `data onMetaData, wrapped true
H264 ` + "\x00\x00\x00\x05" + `e0010 at 0 key true
AAC 0010 at 0 key false
H264 ` + "\x00\x00\x00\x05" + `A0011 at 20 key false
AAC 0011 at 20 key false
H264 ` + "\x00\x00\x00\x05" + `A0012 at 40 key false
end: rtmp: ended by the client`
	if got, want := one.Heard(), "connect rtmp://my.com:"+port+"/live\npublish s?token=1\n"+body; got != want {
		t.Errorf("the first heard\n%q\nwant\n%q", got, want)
	}
	if got, want := two.Heard(), "connect rtmp://"+two.Addr()+"/other\npublish live-s?key=1\n"+body; got != want {
		t.Errorf("the second heard\n%q\nwant\n%q", got, want)
	}
	for _, name := range []string{"srs_sig", "srs_server", "srs_license", "srs_url", "srs_version", "srs_pid", "srs_id", "srs_server_ip", service.Via} {
		if one.Connect().Args.Get(name) == nil {
			t.Errorf("connect has no argument %s", name)
		}
	}
	if got := one.Connect().Args.Text("srs_id"); got != s.ID {
		t.Errorf("srs_id is %q, want that of the publisher, %q", got, s.ID)
	}
	protocoltest.Eventually(t, "no line is left", func() bool { return len(h.rows()) == 0 })
	if m := h.metrics(); m[2].Samples[0].Value == 0 || m[1].Samples[0].Value != 2 {
		t.Errorf("metrics are %v", m)
	}
}

// debug_srs_upnode off tells nothing of us but what ends circles.
func TestUpnodeOff(t *testing.T) {
	one := protocoltest.OpenNeighbour(t)
	h := openHouse(t, "cluster { debug_srs_upnode off; } forward { enabled on; destination "+one.Addr()+"; }", nil)
	_, p := h.mustPublish(key, "")
	p.Write(protocoltest.Numbered(protocoltest.Picture, 0))
	one.Await("publish s")
	if a := one.Connect().Args; len(a) != 1 || a.Text(service.Via) != "service0" {
		t.Errorf("arguments of connect are %v", a)
	}
}

// What the far side does not say that it takes is left out.
func TestCodecs(t *testing.T) {
	plain := protocoltest.OpenNeighbour(t)
	knows := protocoltest.OpenNeighbour(t, func(n *protocoltest.Neighbour) {
		n.Reply.Capabilities = rtmp.Capabilities{FourCCs: []string{"*"}, Has: true}
	})
	h := openHouse(t, "forward { enabled on; destination "+plain.Addr()+" "+knows.Addr()+"; }", nil)
	_, p := h.mustPublish(key, "")
	for n := range 12 {
		p.Write(protocoltest.Numbered(protocoltest.Picture, n))
		p.Write(protocoltest.Numbered(opus, n))
	}
	plain.Await("0011")
	knows.Await("Opus 0011")
	if strings.Contains(plain.Heard(), "Opus") {
		t.Errorf("a server of plain RTMP was sent Opus:\n%s", plain.Heard())
	}
	if left := h.state(plain.Addr()).LeftOut; len(left) != 1 || left[0] != "Opus" {
		t.Errorf("left out: %v", left)
	}
}

// A backend is asked at each publication; one that fails refuses the publisher, and
// leaves the stream free. An address that cannot be used costs only itself.
func TestForwardBackend(t *testing.T) {
	one := protocoltest.OpenNeighbour(t)
	answer, failure := []string{"rtmp://" + one.Addr() + "/live/fw1"}, error(nil)
	h := openHouse(t, "forward { enabled on; backend http://127.0.0.1:1/; destination 127.0.0.1:1; }", func(ask *session.Ask) ([]string, error) {
		return answer, failure
	})
	failure = errors.New("broken")
	if _, _, err := h.publish(session.Visitor{Protocol: "test"}, key, ""); err == nil {
		t.Error("a backend that failed admitted the publisher")
	}
	if st := h.Env.Hub.Stream(key); st != nil && st.Live() {
		t.Error("a backend that failed left the stream busy")
	}
	answer, failure = []string{"http://x/live/s", "rtmp://x/live/", "what", "", "127.0.0.1:1", answer[0]}, nil
	s, p := h.mustPublish(key, "")
	p.Write(protocoltest.Numbered(protocoltest.Picture, 0))
	one.Await("publish fw1")
	if n := len(h.rows()); n != 1 {
		t.Errorf("%d destinations, want the backend's alone", n)
	}
	s.Close(nil)
	answer = nil
	if _, _, err := h.publish(session.Visitor{Protocol: "test"}, key, ""); err != nil {
		t.Errorf("an empty list refused the publisher: %v", err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) != 0 {
		t.Errorf("%d answers are kept", len(h.asked))
	}
}

// What has come through here is refused, and who is told so does not try again.
func TestLoop(t *testing.T) {
	back := protocoltest.OpenNeighbour(t, func(n *protocoltest.Neighbour) { n.Refuses = session.ErrLoop.Text })
	h := openHouse(t, "forward { enabled on; destination "+back.Addr()+"; }", nil)
	if _, _, err := h.publish(session.Visitor{Protocol: "test", Via: "other,service0,third"}, key, ""); !errors.Is(err, session.ErrLoop) {
		t.Errorf("a stream that came from here: %v", err)
	}
	_, p, err := h.publish(session.Visitor{Protocol: "test", Via: "other,third"}, key, "")
	if err != nil {
		t.Fatal(err)
	}
	p.Write(protocoltest.Numbered(protocoltest.Picture, 0))
	protocoltest.Eventually(t, "the line gives up", func() bool { return h.state(back.Addr()).State == looped })
	if got := back.Connect().Args.Text(service.Via); got != "other,third,service0" {
		t.Errorf("told that the stream came through %q", got)
	}
}

// Destinations that do not speak, close at once or are not there cost the publisher
// nothing and keep nobody from going.
func TestBadDestinations(t *testing.T) {
	mute, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	shut, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			nc, err := shut.Accept()
			if err != nil {
				return
			}
			nc.Close()
		}
	}()
	defer shut.Close()
	h := openHouse(t, "forward { enabled on; destination "+mute.Addr().String()+" "+shut.Addr().String()+" "+protocoltest.FreeAddr(t)+" http://x; }", nil)
	s, p := h.mustPublish(key, "")
	for n := range 1000 {
		p.Write(protocoltest.Numbered(protocoltest.Picture, n))
	}
	protocoltest.Eventually(t, "two wait to be tried again", func() bool {
		n := 0
		for _, r := range h.rows() {
			if r.State == waiting && r.Error != "" && r.Attempts == 1 {
				n++
			}
		}
		return n == 2
	})
	if r := h.state(mute.Addr().String()); r.State != connecting {
		t.Errorf("one that does not speak: %+v", r)
	}
	s.Close(nil)
	protocoltest.Eventually(t, "no line is left", func() bool { return len(h.rows()) == 0 })
}

// A configuration that is read again changes where live streams go.
func TestReloadForward(t *testing.T) {
	one, two := protocoltest.OpenNeighbour(t), protocoltest.OpenNeighbour(t)
	h := openHouse(t, "forward { enabled on; destination "+one.Addr()+"; }", nil)
	_, p := h.mustPublish(key, "")
	p.Write(protocoltest.Numbered(protocoltest.Picture, 0))
	one.Await("e0000")
	for _, step := range []struct {
		conf string
		want int
		then func()
	}{
		{"enabled on; destination " + one.Addr() + " " + two.Addr() + ";", 2, func() { two.Await("e0000") }},
		{"enabled on; destination " + two.Addr() + ";", 1, func() { one.Await("end:") }},
		{"enabled off; destination " + two.Addr() + ";", 0, func() { two.Await("end:") }},
		{"enabled on; destination " + one.Addr() + ";", 1, func() { one.Await("end: EOF\nconnect rtmp://") }},
	} {
		next, err := config.Parse(config.Source{File: "test", Text: []byte("listen 1; vhost __defaultVhost__ { forward { " + step.conf + " } }"), Getenv: func(string) string { return "" }}, Protocol.Conf)
		if err != nil {
			t.Fatal(err)
		}
		turn, err := h.Prepare(t.Context(), h.Env.Conf.Load(), next)
		if err != nil {
			t.Fatal(err)
		}
		h.Env.Conf.Swap(next)
		turn.Commit()
		step.then()
		protocoltest.Eventually(t, step.conf, func() bool { return len(h.rows()) == step.want })
	}
}

func TestTargets(t *testing.T) {
	k := hub.Key{Vhost: "my.com", App: "live", Stream: "s"}
	for _, c := range []struct {
		word  string
		tls   bool
		param string
		want  string // dial, then what is said
	}{
		{"h", false, "", "rtmp://h:1935/app/stream rtmp://my.com/live s"},
		{"h:19350", false, "?vhost=my.com&token=1", "rtmp://h:19350/app/stream rtmp://my.com:19350/live s?token=1"},
		{"[::1]:19350", false, "?a=1&vhost=x&b=2", "rtmp://[::1]:19350/app/stream rtmp://my.com:19350/live s?a=1&b=2"},
		{"h", true, "", "rtmps://h:443/app/stream rtmps://my.com/live s"},
		{"h:1443", true, "?x", "rtmps://h:1443/app/stream rtmps://my.com:1443/live s?x"},
		{"rtmps://h:1443", false, "", "rtmps://h:1443/app/stream rtmps://my.com:1443/live s"},
		{"rtmp://h/a/b/name?k=1", false, "?t=1", "rtmp://h:1935/app/stream rtmp://h/a/b name?k=1"},
		{"rtmp://h/[app]/[vhost]-[stream]?n=[stream]", false, "", "rtmp://h:1935/app/stream rtmp://h/live my.com-s?n=s"},
		{"rtmp://h/x/y?vhost=v.com", false, "", "rtmp://h:1935/app/stream rtmp://v.com/x y"},
		{"http://h", false, "", "refused"},
		{"http://h/a/b", false, "", "refused"},
		{"h:0", false, "", "refused"},
		{"h:99999", false, "", "refused"},
		{"rtmp:///live/s", false, "", "refused"},
		{"rtmp://h/live/", false, "", "refused"},
		{":1935", false, "", "refused"},
	} {
		to, err := static(c.word, c.tls, k, c.param)
		got := to.dial + " " + to.tcURL + " " + to.stream
		if err != nil {
			got = "refused"
		}
		if got != c.want {
			t.Errorf("%s: %s (%v), want %s", c.word, got, err, c.want)
		}
	}
}
