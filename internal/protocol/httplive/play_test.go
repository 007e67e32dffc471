package httplive

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
)

var live = protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}

func open(t *testing.T, vhost, vhosts string) *protocoltest.House {
	t.Helper()
	return protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: vhost, Vhosts: vhosts, Web: true})
}

// publish publishes n frames of a picture and its sound, one group.
func publish(t *testing.T, h *protocoltest.House, name protocoltest.Name, n int) protocoltest.Publisher {
	t.Helper()
	p, err := protocoltest.Publish(t.Context(), h, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	// As encoders do: both sequence headers before the first frame.
	pub := h.Env.Hub.Stream(name.Key()).Publication()
	pub.Announce(protocoltest.Picture)
	pub.Announce(protocoltest.Sound)
	for i := range n {
		p.Write(protocoltest.Video(protocoltest.Picture, i, 1000, 100))
		p.Write(protocoltest.Audio(2 * i))
	}
	return p
}

func request(t *testing.T, h *protocoltest.House, lines ...string) *client {
	t.Helper()
	c, err := get(h.Addr(), lines...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func answer(t *testing.T, c *client) *http.Response {
	t.Helper()
	res, err := c.answer()
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestHeaders(t *testing.T) {
	h := open(t, remux, "")
	publish(t, h, live, 3)
	for _, c := range []struct {
		name    string
		lines   []string
		status  int
		chunked bool
		body    bool
		cors    bool
		mime    string
	}{
		{"HTTP/1.1", []string{"GET /live/s.flv HTTP/1.1", "Host: h"}, 200, true, true, false, "video/x-flv"},
		{"HTTP/1.0", []string{"GET /live/s.flv HTTP/1.0"}, 200, false, true, false, "video/x-flv"},
		{"POST", []string{"POST /live/s.flv HTTP/1.1", "Host: h", "Content-Length: 0"}, 200, true, true, false, "video/x-flv"},
		{"from another page", []string{"GET /live/s.flv HTTP/1.1", "Host: h", "Origin: http://a"}, 200, true, true, true, "video/x-flv"},
		{"MP4", []string{"GET /live/s.mp4 HTTP/1.1", "Host: h"}, 200, true, true, false, `video/mp4; codecs="avc1.64001f,mp4a.40.2"`},
		{"HEAD", []string{"HEAD /live/s.flv HTTP/1.1", "Host: h"}, 200, false, false, false, "video/x-flv"},
		{"OPTIONS", []string{"OPTIONS /live/s.flv HTTP/1.1", "Host: h", "Origin: http://a"}, 200, false, false, true, ""},
	} {
		k := request(t, h, c.lines...)
		res := answer(t, k)
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != c.mime {
			t.Errorf("%s: %d, %q; want %d, %q", c.name, res.StatusCode, res.Header.Get("Content-Type"), c.status, c.mime)
		}
		if got := slices.Contains(res.TransferEncoding, "chunked"); got != c.chunked {
			t.Errorf("%s: chunked is %v", c.name, got)
		}
		if got := res.Header.Get("Access-Control-Allow-Origin") == "*"; got != c.cors {
			t.Errorf("%s: CORS is %v", c.name, got)
		}
		if c.body {
			// Nothing says when it ends, so nothing may follow.
			if !res.Close {
				t.Errorf("%s: the answer does not say that the connection ends with it", c.name)
			}
			b := make([]byte, 9)
			if _, err := io.ReadFull(res.Body, b); err != nil {
				t.Errorf("%s: %v", c.name, err)
			} else if c.mime == "video/x-flv" && !bytes.Equal(b, []byte("FLV\x01\x05\x00\x00\x00\x09")) {
				t.Errorf("%s: begins with % x", c.name, b)
			}
		}
		k.Close()
	}
	h.Viewers(live, 0)
}

func TestCrossDomainOff(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: remux, Root: "http_server { crossdomain off; }", Web: true})
	publish(t, h, live, 1)
	if res := answer(t, request(t, h, "OPTIONS /live/s.flv HTTP/1.1", "Host: h", "Origin: http://a")); res.StatusCode != 405 {
		t.Errorf("OPTIONS: %d", res.StatusCode)
	}
	if res := answer(t, request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h", "Origin: http://a")); res.StatusCode != 200 || res.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("GET: %d, %v", res.StatusCode, res.Header)
	}
}

// A page may read why it was refused.
func TestRefusalsHaveCORS(t *testing.T) {
	h := open(t, "http_remux { enabled on; on_missing 404; }", "")
	res := answer(t, request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h", "Origin: http://a"))
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 404 || res.Header.Get("Access-Control-Allow-Origin") != "*" || strings.TrimSpace(string(body)) != "stream is not live" {
		t.Errorf("%d, %v, %q", res.StatusCode, res.Header, body)
	}
}

func TestTLS(t *testing.T) {
	h := open(t, remux, "")
	srv := httptest.NewTLSServer(h.Env.Media)
	defer srv.Close()
	p := publish(t, h, live, 3)
	c, err := getTLS(srv.Listener.Addr().String(), "GET /live/s.flv HTTP/1.1", "Host: h")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 6 {
		f, err := c.Read()
		if err != nil {
			t.Fatalf("frame %d: %v", i, err)
		}
		if _, err := protocoltest.Mark(f); err != nil {
			t.Fatal(err)
		}
	}
	if s := h.Doing(session.Play, live); s == nil || !s.TLS {
		t.Errorf("the session does not know of TLS: %+v", s)
	}
	// One record for each send, not one for each frame.
	if _, ok := c.nc.(*tls.Conn); !ok {
		t.Fatal("no TLS")
	}
	p.Close()
	if _, err := c.Read(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

func TestOnMissing(t *testing.T) {
	t.Run("404", func(t *testing.T) {
		h := open(t, "http_remux { enabled on; on_missing 404; }", "")
		if res := answer(t, request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")); res.StatusCode != 404 {
			t.Errorf("%d", res.StatusCode)
		}
		publish(t, h, live, 1)
		if res := answer(t, request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")); res.StatusCode != 200 {
			t.Errorf("of a live stream: %d", res.StatusCode)
		}
	})
	t.Run("wait_timeout", func(t *testing.T) {
		h := open(t, "http_remux { enabled on; wait_timeout 1; }", "")
		began := time.Now()
		if res := answer(t, request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")); res.StatusCode != 404 {
			t.Errorf("%d", res.StatusCode)
		}
		if took := time.Since(began); took < time.Second || took > 10*time.Second {
			t.Errorf("took %v, want a second", took)
		}
	})
	t.Run("in time", func(t *testing.T) {
		h := open(t, "http_remux { enabled on; wait_timeout 2; }", "")
		c := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
		h.Viewers(live, 1)
		publish(t, h, live, 1)
		if res := answer(t, c); res.StatusCode != 200 {
			t.Errorf("who was in time: %d", res.StatusCode)
		}
		time.Sleep(2200 * time.Millisecond)
		if h.Doing(session.Play, live) == nil {
			t.Error("the time-out ends a viewer that was answered")
		}
	})
	t.Run("wait", func(t *testing.T) {
		h := open(t, remux, "")
		c := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
		h.Viewers(live, 1)
		time.Sleep(50 * time.Millisecond)
		publish(t, h, live, 1)
		if res := answer(t, c); res.StatusCode != 200 {
			t.Errorf("%d", res.StatusCode)
		}
	})
}

// A client that goes ends its session at once, whether it waits or is sent to.
func TestLeavingEndsTheSession(t *testing.T) {
	h := open(t, remux, "")
	waits := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
	h.Viewers(live, 1)
	waits.Close()
	h.Viewers(live, 0)
	publish(t, h, live, 1)
	watches := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
	answer(t, watches)
	h.Viewers(live, 1)
	began := time.Now()
	watches.Close()
	h.Viewers(live, 0)
	h.Wait("the session has ended", func() bool { return h.Doing(session.Play, live) == nil })
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
}

func TestMounts(t *testing.T) {
	for _, c := range []struct {
		template, path string
		app, stream    string // "" if it does not match
	}{
		{"[vhost]/[app]/[stream].flv", "/live/s", "live", "s"},
		{"[vhost]/[app]/[stream].flv", "/live/a.b", "live", "a.b"},
		{"[vhost]/[app]/[stream].flv", "/s", "", ""},
		{"[vhost]/[app]/[stream].flv", "/a/b/s", "", ""},
		{"[vhost]/[app]/[stream].flv", "/live/", "", ""},
		{"/[app]/[stream].flv", "/live/s", "live", "s"},
		{"[vhost]/[stream].flv", "/s", "live", "s"},
		{"[vhost]/cdn/[app]/[stream].flv", "/cdn/live/s", "live", "s"},
		{"[vhost]/cdn/[app]/[stream].flv", "/other/live/s", "", ""},
		{"[vhost]/[app]/pre-[stream]-post.flv", "/live/pre-s-post", "live", "s"},
		{"[vhost]/[app]/pre-[stream]-post.flv", "/live/pre-post", "", ""},
		{"[vhost]/[app]/pre-[stream]-post.flv", "/live/s", "", ""},
		{"host.com/[app]/[stream].flv", "/live/s", "live", "s"},
	} {
		app, stream, ok := parseMount(c.template).match(c.path)
		if !ok {
			app, stream = "", ""
		}
		if ok != (c.stream != "") || app != c.app || stream != c.stream {
			t.Errorf("%s of %s: %q, %q, %v; want %q, %q", c.template, c.path, app, stream, ok, c.app, c.stream)
		}
	}
}

func TestDeepMounts(t *testing.T) {
	for _, c := range []struct {
		template, path string
		app, stream    string // "" if it does not match
	}{
		{"[vhost]/[app]/[stream].flv", "/a/b/s", "a/b", "s"},
		{"[vhost]/[app]/[stream].flv", "/a/b/c/d/s", "a/b/c/d", "s"},
		{"[vhost]/[app]/[stream].flv", "/live/s", "", ""}, // match knows it
		{"[vhost]/[app]/[stream].flv", "/s", "", ""},
		{"[vhost]/[app]/[stream].flv", "/a/b/", "", ""},
		{"[vhost]/cdn/[app]/x/[stream].flv", "/cdn/a/b/x/s", "a/b", "s"},
		{"[vhost]/cdn/[app]/[stream].flv", "/other/a/b/s", "", ""},
		{"[vhost]/[stream].flv", "/a/s", "", ""},
	} {
		app, stream, ok := parseMount(c.template).matchDeep(c.path)
		if !ok {
			app, stream = "", ""
		}
		if ok != (c.stream != "") || app != c.app || stream != c.stream {
			t.Errorf("%s of %s: %q, %q, %v; want %q, %q", c.template, c.path, app, stream, ok, c.app, c.stream)
		}
	}
}

func TestVhosts(t *testing.T) {
	h := open(t, remux, `
		vhost a.com { http_remux { enabled on; } }
		vhost b.com { }
		vhost ts.com { http_remux { enabled on; mount [vhost]/[app]/[stream].ts; } }
		vhost named.com { http_remux { enabled on; mount named.com/x/[stream].flv; } }
	`)
	names := map[string]protocoltest.Name{}
	for i, vhost := range []string{"__defaultVhost__", "a.com", "b.com", "ts.com", "named.com"} {
		n := live
		n.Vhost = vhost
		names[vhost] = n
		publish(t, h, n, i+1)
	}
	for _, c := range []struct {
		path, host string
		want       string // vhost of the stream, "" for 404
	}{
		{"/live/s.flv", "127.0.0.1:8080", "__defaultVhost__"},
		{"/live/s.flv", "nosuch.example.com", "__defaultVhost__"},
		{"/live/s.flv", "[::1]:8080", "__defaultVhost__"},
		{"/live/s.flv", "a.com", "a.com"},
		{"/live/s.flv", "a.com:8080", "a.com"},
		{"/live/s.flv?vhost=a.com", "127.0.0.1", "a.com"},
		{"/live/s.flv?domain=a.com", "127.0.0.1", "a.com"},
		{"/live/s.flv?vhost=nosuch.com", "a.com", "__defaultVhost__"},
		{"/live/s.flv", "b.com", ""},
		{"/live/s.flv", "off.test", ""},
		{"/live/s.flv", "ts.com", ""},
		{"/x/s.flv", "named.com", "named.com"},
		{"/live/s.flv", "named.com", ""},
		{"/live/S.FLV", "127.0.0.1", ""},
		{"/a/b/c/s.flv", "127.0.0.1", ""},
	} {
		k := request(t, h, "GET "+c.path+" HTTP/1.1", "Host: "+c.host)
		res := answer(t, k)
		if c.want == "" {
			if res.StatusCode != 404 {
				t.Errorf("%s at %s: %d, want 404", c.path, c.host, res.StatusCode)
			}
			continue
		}
		if res.StatusCode != 200 {
			t.Errorf("%s at %s: %d", c.path, c.host, res.StatusCode)
			continue
		}
		n := names[c.want]
		if c.want == "named.com" {
			n.App = "live"
		}
		h.Viewers(n, 1)
		k.Close()
		h.Viewers(n, 0)
	}
}

// SRS decodes no path: a stream whose own name has escapes is asked for by them.
func TestNameWithEscapes(t *testing.T) {
	h := open(t, remux, "")
	n := live
	n.Stream = "a%20b"
	publish(t, h, n, 3)
	k := request(t, h, "GET /live/a%20b.flv HTTP/1.1", "Host: x")
	if res := answer(t, k); res.StatusCode != 200 {
		t.Fatalf("%d", res.StatusCode)
	}
	h.Viewers(n, 1)
}

// What the callbacks and the API are told of a viewer.
func TestWhatIsKnownOfAViewer(t *testing.T) {
	h := open(t, remux, "")
	publish(t, h, live, 1)
	asked := make(chan session.Request, 1)
	h.Diary.Deny(func(r *session.Request) error {
		asked <- *r
		return nil
	})
	for _, c := range []struct {
		header, ip string
	}{
		{"X-Forwarded-For: 203.0.113.7, 10.0.0.1", "203.0.113.7"},
		{"X-Real-IP: 203.0.113.9", "203.0.113.9"},
		{"X-Real-IP: 203.0.113.9:1234", "203.0.113.9"},
		{"X-Forwarded-For: ::ffff:203.0.113.7", "203.0.113.7"},
		{"X-Forwarded-For: 2001:db8::1", "2001:db8::1"},
		{"X-Forwarded-For: <script>", "127.0.0.1"},
		{"X-Forwarded-For: ", "127.0.0.1"},
		{"X: y", "127.0.0.1"},
	} {
		k := request(t, h, "GET /live/s.flv?token=1&vhost=nosuch.com HTTP/1.1", "Host: h:8080", "Referer: http://ref.example.com/a", c.header)
		answer(t, k)
		r := <-asked
		s, a := r.Session, r.Ask
		if s.IP != c.ip {
			t.Errorf("%s: ip %q, want %q", c.header, s.IP, c.ip)
		}
		if s.PageURL != "http://ref.example.com/a" || s.TcURL != "http://nosuch.com/live" || !s.Remote.Addr().IsLoopback() || s.Connects {
			t.Errorf("visitor %+v", s.Visitor)
		}
		if a.Type != "flv-play" || a.Name != "s.flv" || a.Said.Stream != "s" || a.Said.Param != "?token=1&vhost=nosuch.com" || a.Said.TcURL != "rtmp://__defaultVhost__/live" {
			t.Errorf("ask %+v", a)
		}
		k.Close()
		h.Viewers(live, 0)
	}
}

// A file may have the name of a stream that is not live.
func TestMP4FallsThroughToFiles(t *testing.T) {
	h := open(t, remux, "")
	h.Env.Media.Handle(service.OrderFiles, func(w http.ResponseWriter, r *http.Request) bool {
		fmt.Fprint(w, "a file")
		return true
	})
	get := func() string {
		res := answer(t, request(t, h, "GET /live/s.mp4 HTTP/1.1", "Host: h"))
		b := make([]byte, 6)
		io.ReadFull(res.Body, b)
		return string(b)
	}
	if got := get(); got != "a file" {
		t.Errorf("got %q, want the file", got)
	}
	publish(t, h, live, 1)
	if got := get(); got == "a file" {
		t.Error("got the file, want the stream")
	}
}

// An MP4 is a header and then fragments, each whole in itself.
func TestMP4(t *testing.T) {
	h := open(t, remux, "")
	p := publish(t, h, live, 10)
	c := request(t, h, "GET /live/s.mp4 HTTP/1.1", "Host: h")
	res := answer(t, c)
	var boxes []string
	head := make([]byte, 8)
	for len(boxes) < 2+2*20 {
		c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadFull(res.Body, head); err != nil {
			t.Fatalf("after %v: %v", boxes, err)
		}
		boxes = append(boxes, string(head[4:]))
		if _, err := io.CopyN(io.Discard, res.Body, int64(binary.BigEndian.Uint32(head))-8); err != nil {
			t.Fatal(err)
		}
	}
	for i, b := range boxes {
		want := []string{"ftyp", "moov"}
		if i >= 2 {
			want = []string{"moof", "mdat"}
		}
		if b != want[i%2] {
			t.Fatalf("boxes %v", boxes)
		}
	}
	p.Close()
	if _, err := io.ReadFull(res.Body, head); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// MP4 of a stream that has nothing for it is refused in words, however it would
// be sent.
func TestMP4OfNothing(t *testing.T) {
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			h := open(t, remux, "")
			p, err := protocoltest.Publish(t.Context(), h, live)
			if err != nil {
				t.Fatal(err)
			}
			track := &media.Track{Kind: media.Audio, Codec: media.PCMA, SampleRate: 8000, Channels: 1}
			c := request(t, h, "GET /live/s.mp4 HTTP/1.1", "Host: h")
			h.Viewers(live, 1)
			for i := range 200 {
				p.Write(&media.Frame{Track: track, Source: time.Duration(i) * 20 * time.Millisecond, Payload: []byte{1}})
			}
			res := answer(t, c)
			b, _ := io.ReadAll(res.Body)
			if res.StatusCode != http.StatusNotFound || !strings.Contains(string(b), "no track that MP4 can carry") {
				t.Errorf("%d %q", res.StatusCode, b)
			}
		})
	}
}

// The header of an FLV promises what is there, or what the configuration says.
func TestFLVHeader(t *testing.T) {
	for _, c := range []struct {
		conf         string
		flags        byte
		audio, video bool
	}{
		{"", 5, true, true},
		{"guess_has_av off; has_video off;", 4, true, false},
		{"guess_has_av off; has_audio off;", 1, false, true},
		{"guess_has_av off; has_video off; drop_if_not_match off;", 4, true, true},
		{"has_audio off;", 5, true, true}, // what is guessed goes before what is said
	} {
		t.Run(c.conf, func(t *testing.T) {
			h := open(t, "http_remux { enabled on; "+c.conf+" }", "")
			p := publish(t, h, live, 5)
			k := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
			res := answer(t, k)
			h.Viewers(live, 1)
			p.Close()
			b, err := io.ReadAll(res.Body)
			if err != nil {
				t.Fatal(err)
			}
			if b[4] != c.flags {
				t.Errorf("flags %d, want %d", b[4], c.flags)
			}
			audio, video := bytes.Contains(b, []byte{0xaf, 1}), bytes.Contains(b, []byte{0x17, 1, 0, 0, 0})
			if audio != c.audio || video != c.video {
				t.Errorf("sound %v and picture %v, want %v and %v", audio, video, c.audio, c.video)
			}
		})
	}
}

// With atc, and with atc_auto if the publisher asks for it, viewers get the
// publisher's own time.
func TestOwnTime(t *testing.T) {
	for _, how := range protocoltest.Senders {
		for conf, want := range map[string]time.Duration{
			"":                      0,
			"play { atc on; }":      time.Hour,
			"play { atc_auto on; }": time.Hour,
		} {
			t.Run(how+" "+conf, func(t *testing.T) {
				t.Setenv("WEIR_SENDER", how)
				h := open(t, remux+conf, "")
				p := publish(t, h, live, 0)
				h.Env.Hub.Stream(live.Key()).Publication().SetMeta(nil, conf == "play { atc_auto on; }")
				for i := range 5 {
					f := protocoltest.Video(protocoltest.Picture, i, 1000, 100)
					f.Source += time.Hour
					p.Write(f)
				}
				k := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
				if f, err := k.Read(); err != nil || f.Source != want {
					t.Errorf("%v, %v", f, err)
				}
			})
		}
	}
}

// A stream of sound alone, whose metadata may promise more, has no picture.
func TestSoundAlone(t *testing.T) {
	h := open(t, remux, "")
	p, err := protocoltest.Publish(t.Context(), h, live)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		p.Write(protocoltest.Audio(i))
	}
	k := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
	if f, err := k.Read(); err != nil || f.Track.Kind != media.Audio {
		t.Errorf("%v, %v", f, err)
	}
}

// What is no request, or asks for what cannot be a name, is refused in words or
// with the connection, and harms nobody.
func TestHostileRequests(t *testing.T) {
	h := open(t, remux, "")
	publish(t, h, live, 3)
	for _, r := range []string{
		"GET /live/s.flv HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n",
		"GET /live/s.flv HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET /live/s.flv HTTP/1.1\r\n\r\n",
		"GET  HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /live/s.flv HTTP/9.9\r\nHost: h\r\n\r\n",
		"\x03" + strings.Repeat("\x00", 3000),
		"GET /live/%00s.flv HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /live/..%2f..%2fs.flv HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /live/..%5c.flv HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /../" + strings.Repeat("a", 300) + ".flv HTTP/1.1\r\nHost: h\r\n\r\n",
		"GET /live/" + strings.Repeat("a", 300) + ".flv HTTP/1.1\r\nHost: h\r\n\r\n",
	} {
		nc, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(nc, r)
		nc.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
		b := make([]byte, 12)
		if _, err := io.ReadFull(nc, b); err == nil && !bytes.HasPrefix(b, []byte("HTTP/1.1 4")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 505")) {
			t.Errorf("%.60q was answered %q", r, b)
		}
		nc.Close()
	}
	c := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
	if _, err := c.Read(); err != nil {
		t.Errorf("a player after them: %v", err)
	}
}

// A fault of ours that one viewer brings out ends that viewer and no other.
func TestFaultEndsOneSession(t *testing.T) {
	h := open(t, remux, "")
	publish(t, h, live, 3)
	h.Diary.Deny(func(r *session.Request) error {
		if strings.Contains(r.Ask.Said.Param, "boom") {
			panic("boom")
		}
		return nil
	})
	good := request(t, h, "GET /live/s.flv HTTP/1.1", "Host: h")
	if _, err := good.Read(); err != nil {
		t.Fatal(err)
	}
	if res := answer(t, request(t, h, "GET /live/s.flv?boom HTTP/1.1", "Host: h")); res.StatusCode != 500 {
		t.Errorf("%d, want 500", res.StatusCode)
	}
	if _, err := good.Read(); err != nil {
		t.Error(err)
	}
	h.Viewers(live, 1)
}
