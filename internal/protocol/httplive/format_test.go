package httplive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

const allMounts = "mount [vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts [vhost]/[app]/[stream].aac [vhost]/[app]/[stream].mp3;"

var mp3 = &media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2}

// each runs a test in every way of sending.
func each(t *testing.T, test func(t *testing.T)) {
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			test(t)
		})
	}
}

// body reads an answer to its end.
func body(t *testing.T, c *client) []byte {
	t.Helper()
	res := answer(t, c)
	if res.StatusCode != http.StatusOK {
		t.Fatalf("answered %s", res.Status)
	}
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatalf("after %d bytes: %v", len(b), err)
	}
	return b
}

// Each format of a stream is what it is called, with the whole of the sound since
// the newest key frame.
func TestFormats(t *testing.T) {
	each(t, func(t *testing.T) {
		h := open(t, "http_remux { enabled on; "+allMounts+" }", "")
		p := publish(t, h, live, 10)
		ts := request(t, h, "GET /live/s.ts HTTP/1.1", "Host: h")
		sound := request(t, h, "GET /live/s.aac HTTP/1.1", "Host: h")
		old := request(t, h, "GET /live/s.aac HTTP/1.0")
		answer(t, ts)
		answer(t, sound)
		answer(t, old)
		h.Viewers(live, 3)
		p.Close()
		if got := answer(t, ts).Header.Get("Content-Type"); got != "video/MP2T" {
			t.Errorf("TS is %q", got)
		}
		b := body(t, ts)
		if len(b)%mpegts.PacketSize != 0 || !bytes.HasPrefix(b, []byte("\x47\x40\x00")) || b[mpegts.PacketSize+1] != 0x50 {
			t.Errorf("TS of %d bytes begins with % x", len(b), b[:16])
		}
		for _, c := range []*client{sound, old} {
			if got := answer(t, c).Header.Get("Content-Type"); got != "audio/x-aac" {
				t.Errorf("AAC is %q", got)
			}
			n := 0
			for b := body(t, c); len(b) > 0; n++ {
				config, _, size, err := aac.ParseADTS(b)
				if err != nil || config.SampleRate != 44100 {
					t.Fatalf("frame %d: %+v, %v", n, config, err)
				}
				b = b[size:]
			}
			if n != 10 {
				t.Errorf("%d frames of sound, want 10", n)
			}
		}
	})
}

// With fast_cache a listener gets the sound of the last seconds at once, and then
// goes on without a gap.
func TestFastCache(t *testing.T) {
	each(t, func(t *testing.T) {
		h := open(t, "http_remux { enabled on; fast_cache 2; mount [vhost]/[app]/[stream].mp3; }", "")
		for range 2 { // publications
			p, err := protocoltest.Publish(t.Context(), h, live)
			if err != nil {
				t.Fatal(err)
			}
			write := func(i int) {
				b := binary.BigEndian.AppendUint32([]byte{0xff, 0xfb}, uint32(i))
				p.Write(&media.Frame{Track: mp3, Source: time.Duration(i) * 20 * time.Millisecond, Payload: b})
			}
			for i := range 500 {
				write(i)
			}
			c := request(t, h, "GET /live/s.mp3 HTTP/1.1", "Host: h")
			answer(t, c)
			for i := range 10 {
				write(500 + i)
			}
			p.Close()
			b, ok := bytes.CutPrefix(body(t, c), []byte("ID3\x03\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
			if !ok {
				t.Errorf("no tag before the sound")
			}
			first := int(binary.BigEndian.Uint32(b[2:]))
			if first < 399 || first > 402 {
				t.Errorf("begins with frame %d of 500, want the one of two seconds ago", first)
			}
			for i := range len(b) / 6 {
				if got := int(binary.BigEndian.Uint32(b[6*i+2:])); got != first+i {
					t.Fatalf("frame %d follows %d", got, first+i-1)
				}
			}
			if n := len(b) / 6; first+n != 510 {
				t.Errorf("ends with frame %d, want 509", first+n-1)
			}
			h.Viewers(live, 0)
		}
	})
}

// A format that has nothing of a stream is refused in words.
func TestFormatOfNothing(t *testing.T) {
	h := open(t, "http_remux { enabled on; "+allMounts+" }", "")
	p, err := protocoltest.Publish(t.Context(), h, live)
	if err != nil {
		t.Fatal(err)
	}
	var all []*client
	for _, ext := range []string{".ts", ".aac", ".mp3"} {
		all = append(all, request(t, h, "GET /live/s"+ext+" HTTP/1.1", "Host: h"))
	}
	h.Viewers(live, 3)
	track := &media.Track{Kind: media.Audio, Codec: media.PCMA, SampleRate: 8000, Channels: 1}
	for i := range 200 {
		p.Write(&media.Frame{Track: track, Source: time.Duration(i) * 20 * time.Millisecond, Payload: []byte{1}})
	}
	for _, c := range all {
		res := answer(t, c)
		b, _ := io.ReadAll(res.Body)
		if res.StatusCode != http.StatusNotFound || !strings.Contains(string(b), "ask for .flv") {
			t.Errorf("%d %q", res.StatusCode, b)
		}
	}
}

// Where HLS is on a path that ends in .ts is a stream only while that is live, for
// segments have such names too.
func TestTSBesideHLS(t *testing.T) {
	h := open(t, "hls { enabled on; } http_remux { enabled on; "+allMounts+" }", "")
	if res := answer(t, request(t, h, "GET /live/s-0.ts HTTP/1.1", "Host: h")); res.StatusCode != 404 {
		t.Errorf("of a segment: %d", res.StatusCode)
	}
	publish(t, h, live, 1)
	if res := answer(t, request(t, h, "GET /live/s.ts HTTP/1.1", "Host: h")); res.StatusCode != 200 {
		t.Errorf("of a stream: %d", res.StatusCode)
	}
}

// has_audio and has_video hold for TS as for FLV.
func TestTSWithoutSound(t *testing.T) {
	each(t, func(t *testing.T) {
		h := open(t, "http_remux { enabled on; guess_has_av off; has_audio off; "+allMounts+" }", "")
		p := publish(t, h, live, 5)
		c := request(t, h, "GET /live/s.ts HTTP/1.1", "Host: h")
		answer(t, c)
		p.Close()
		for b := body(t, c); len(b) > 0; b = b[mpegts.PacketSize:] {
			if b[1]&0x1f == mpegts.PIDAudio>>8 && b[2] == mpegts.PIDAudio&0xff {
				t.Fatal("there is sound")
			}
		}
	})
}

func TestWebSocket(t *testing.T) {
	each(t, func(t *testing.T) {
		h := open(t, remux, "")
		p := publish(t, h, live, 3)
		c := request(t, h, upgrade("/live/s.flv", "h", "Sec-WebSocket-Protocol: a, b", "Origin: http://elsewhere.example.com")...)
		res := answer(t, c)
		if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != accept || res.Header.Get("Sec-WebSocket-Protocol") != "a" || res.Header.Get("Upgrade") != "websocket" {
			t.Fatalf("%s %v", res.Status, res.Header)
		}
		if _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
		// A ping is answered between two messages.
		io.WriteString(c.nc, "\x89\x84\x00\x00\x00\x00ping")
		m := c.body.(*messages)
		for i := 3; len(m.control) == 0; i++ {
			if i == 500 {
				t.Fatal("no pong")
			}
			p.Write(protocoltest.Video(protocoltest.Picture, i, 1000, 100))
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
		}
		if m.control[0] != "\x0aping" {
			t.Errorf("answered %q", m.control)
		}
		// The end of the publication is said.
		p.Close()
		for {
			if _, err := c.Read(); err != nil {
				break
			}
		}
		if got := m.control[len(m.control)-1]; got != "\x08\x03\xe8" {
			t.Errorf("the end is told with %q", got)
		}
		h.Viewers(live, 0)
	})
}

// A viewer that takes leave is answered and gone; one that speaks no WebSocket too.
func TestWebSocketLeaving(t *testing.T) {
	each(t, func(t *testing.T) {
		h := open(t, remux, "")
		publish(t, h, live, 3)
		for said, want := range map[string]string{"\x88\x82\x00\x00\x00\x00\x03\xe9": "\x08\x03\xe9", "GET / HTTP/1.1\r\n\r\n": "\x08\x03\xea"} {
			c := request(t, h, upgrade("/live/s.flv", "h")...)
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
			io.WriteString(c.nc, said)
			m := c.body.(*messages)
			_, err := io.Copy(io.Discard, m)
			if len(m.control) != 1 || m.control[0] != want {
				t.Errorf("%q was answered %q, %v", said, m.control, err)
			}
			if n, err := c.br.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && n > 0 {
				t.Errorf("after the end: %d bytes, %v", n, err)
			}
			h.Viewers(live, 0)
		}
	})
}

func TestWebSocketRefusals(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: "http_remux { enabled on; on_missing 404; }", Root: "http_server { crossdomain off; }", Web: true})
	publish(t, h, live, 1)
	ask := func(change ...string) []string {
		lines := upgrade("/live/s.flv", "h")
		for _, c := range change {
			name, _, _ := strings.Cut(c, " ")
			for i, l := range lines {
				if strings.HasPrefix(l, name) {
					lines[i] = c
				}
			}
		}
		return lines
	}
	for _, c := range []struct {
		name   string
		lines  []string
		status int
	}{
		{"as it should be", ask(), 101},
		{"from our own page", append(ask(), "Origin: http://h"), 101},
		{"from another page", append(ask(), "Origin: http://evil.example.com"), 403},
		{"from no page", append(ask(), "Origin: null"), 403},
		{"no key", ask("Sec-WebSocket-Key: "), 400},
		{"short key", ask("Sec-WebSocket-Key: dGhl"), 400},
		{"old version", ask("Sec-WebSocket-Version: 8"), 426},
		{"POST", append([]string{"POST /live/s.flv HTTP/1.1", "Content-Length: 0"}, ask()[1:]...), 400},
		{"a stream that is not live", upgrade("/live/nosuch.flv", "h"), 404},
		{"no stream", upgrade("/index.html", "h"), 404},
	} {
		k := request(t, h, c.lines...)
		if res := answer(t, k); res.StatusCode != c.status {
			t.Errorf("%s: %d, want %d", c.name, res.StatusCode, c.status)
		}
		k.Close()
	}
}

// An answer over HTTP/2 that is not whole does not end as if it were.
func TestHTTP2Kicked(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: remux, Web: true, TLS: true})
	publish(t, h, live, 3)
	c, err := getHTTP2("https://" + h.Addr() + "/live/s.flv")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(); err != nil {
		t.Fatal(err)
	}
	h.Doing(session.Play, live).Kick(session.ErrKicked)
	for err == nil {
		_, err = c.Read()
	}
	if errors.Is(err, io.EOF) {
		t.Error("the answer ended as if it were whole")
	}
}

// A viewer that does not read can be sent away all the same, over HTTP/2 and TLS.
func TestBlockedViewerKicked(t *testing.T) {
	for name, play := range map[string]func(addr string) (io.Closer, error){
		"HTTP/2": func(addr string) (io.Closer, error) { return getHTTP2("https://" + addr + "/live/s.flv") },
		"TLS":    func(addr string) (io.Closer, error) { return getTLS(addr, "GET /live/s.flv HTTP/1.1", "Host: h") },
	} {
		t.Run(name, func(t *testing.T) {
			h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: remux, Web: true, TLS: true})
			p := publish(t, h, live, 3)
			c, err := play(h.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			h.Viewers(live, 1)
			viewer := h.Doing(session.Play, live)
			var before int64
			h.Wait("it is sent nothing more", func() bool {
				for i := range 50 {
					p.Write(protocoltest.Video(protocoltest.Picture, 3+i, 1000, 60000))
				}
				time.Sleep(50 * time.Millisecond)
				_, out := viewer.Bytes()
				stuck := out > 0 && out == before
				before = out
				return stuck
			})
			viewer.Kick(session.ErrKicked)
			h.Viewers(live, 0)
		})
	}
}
