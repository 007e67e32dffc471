package rtsp

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
	"weir/internal/wire/rtcp"
)

var name = protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}

// open opens a house with a stream that has sound and picture, unless frames is 0.
func open(t *testing.T, vhost string, frames int) (*protocoltest.House, protocoltest.Publisher) {
	t.Helper()
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Root: turnedOn, Vhost: vhost})
	if frames == 0 {
		return h, nil
	}
	p, err := protocoltest.Publish(t.Context(), h, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	write(t, p, 0, frames)
	return h, p
}

// write publishes pictures and their sound.
func write(t *testing.T, p protocoltest.Publisher, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		for _, f := range []*media.Frame{protocoltest.Video(protocoltest.Picture, i, 25, 3000), protocoltest.Audio(2 * i), protocoltest.Audio(2*i + 1)} {
			if err := p.Write(f); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func connect(t *testing.T, h *protocoltest.House) *client {
	t.Helper()
	c, err := dial(h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.url = "rtsp://" + h.Addr() + "/live/s"
	return c
}

// describe asks for the description of the stream.
func (c *client) describe(t *testing.T) (sdp string) {
	t.Helper()
	_, sdp, err := c.ask("DESCRIBE", c.url)
	if err != nil {
		t.Fatal(err)
	}
	return sdp
}

// must returns the header of an answer with a status.
func (c *client) must(t *testing.T, status int, method, url string, lines ...string) string {
	t.Helper()
	head, _, err := c.ask(method, url, lines...)
	if r, ok := errors.AsType[refusal](err); ok && int(r) == status || err == nil && status == 200 {
		return head
	}
	t.Fatalf("%s is answered %q, %v, want %d", method, head, err, status)
	return ""
}

func TestRTSPOff(t *testing.T) {
	for _, tt := range []struct{ vhost, why string }{
		{"", "RTSP is off"},
		{"rtsp { enabled on; }", "nothing comes to RTSP"},
		{"rtsp { enabled off; rtmp_to_rtsp on; }", "RTSP is off"},
	} {
		h, _ := open(t, tt.vhost, 1)
		connect(t, h).must(t, 404, "DESCRIBE", "rtsp://"+h.Addr()+"/live/s")
		if n, _ := h.Env.Desk.Len(); n == 0 || h.Doing(session.Play, name) != nil {
			t.Errorf("%s: %d sessions, or it plays", tt.why, n)
		}
		h.Stop()
	}
}

func TestWaitTimeout(t *testing.T) {
	// At once, as SRS.
	h, _ := open(t, "rtsp { enabled on; rtmp_to_rtsp on; wait_timeout 0; }", 0)
	c := connect(t, h)
	c.must(t, 404, "DESCRIBE", c.url)
	h.Stop()
	// Or after a while, in which it may come; and a client that goes meanwhile is not
	// waited for.
	h, _ = open(t, "rtsp { enabled on; rtmp_to_rtsp on; wait_timeout 100; }", 0)
	c = connect(t, h)
	if err := c.say("DESCRIBE", c.url); err != nil {
		t.Fatal(err)
	}
	h.Viewers(name, 1)
	c.Close()
	h.Viewers(name, 0)
	h.Wait("it is gone", func() bool { n, _ := h.Env.Desk.Len(); return n == 0 })
	if d := blocks.RTSP.Default().WaitTimeout; d != 5*time.Second {
		t.Errorf("by default %v", d)
	}
}

// What SETUP is answered for each transport.
func TestTransports(t *testing.T) {
	h, _ := open(t, vhostOn, 1)
	c := connect(t, h)
	sdp := c.describe(t)
	for _, part := range []string{"m=audio 0 RTP/AVP 97\r\n", "m=video 0 RTP/AVP 96\r\n", "config=1210", "sprop-parameter-sets=Z2QAH6"} {
		if !strings.Contains(sdp, part) {
			t.Errorf("no %q in\n%s", part, sdp)
		}
	}
	c.must(t, 455, "PLAY", c.url)
	c.must(t, 459, "SETUP", c.url, "Transport: RTP/AVP/TCP")
	c.must(t, 404, "SETUP", c.url+"/trackID=2", "Transport: RTP/AVP/TCP")
	c.must(t, 400, "SETUP", c.url+"/trackID=0")
	for _, no := range []string{"RTP/AVP;unicast;client_port=5000-5001", "RTP/AVP/UDP;unicast", "RTP/AVP;multicast", "RTP/AVP/TCP;mode=record", "RTP/SAVP/TCP", "nonsense"} {
		c.must(t, 461, "SETUP", c.url+"/trackID=0", "Transport: "+no)
	}
	for _, tt := range []struct {
		track          int
		transport, got string
	}{
		{0, "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=6-7", "interleaved=6-7;"},
		{0, "RTP/AVP/TCP;unicast", "interleaved=0-1;"},
		{1, "RTP/AVP/TCP;unicast;interleaved=1-2", "interleaved=2-3;"}, // what it wants another has
		{1, "RTP/AVP/TCP;unicast", "interleaved=2-3;"},
	} {
		if head := c.must(t, 200, "SETUP", fmt.Sprintf("%s/trackID=%d", c.url, tt.track), "Transport: "+tt.transport); !strings.Contains(head, tt.got) {
			t.Errorf("%s: %q", tt.transport, head)
		}
	}
}

// What a client may say while it plays, and after, however it is sent to.
func TestTalk(t *testing.T) {
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			h, p := open(t, vhostOn, 3)
			c := connect(t, h)
			c.must(t, 200, "OPTIONS", "*")
			// On other channels than most, beside one on theirs.
			if err := c.startWith(c.describe(t), 200); err != nil {
				t.Fatal(err)
			}
			id := regexp.MustCompile(`Session: (\w+);timeout=60`).FindStringSubmatch(c.head)
			if id == nil || !strings.Contains(c.head, "Range: npt=now-") {
				t.Fatalf("PLAY is answered %q", c.head)
			}
			f, err := c.Read()
			if mark, _ := protocoltest.Mark(f); err != nil || mark != "video 0 key" {
				t.Fatalf("begins with %q, %v", mark, err)
			}
			if head := c.must(t, 200, "OPTIONS", c.url, "Session: "+id[1]); !strings.Contains(head, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER") {
				t.Errorf("%q", head)
			}
			c.nc.Write([]byte("$\x01\x00\x04\x80\xc9\x00\x00\r\n")) // a report, and an empty line
			c.must(t, 200, "GET_PARAMETER", c.url, "Session: "+id[1], "Content-Length: 0")
			c.must(t, 455, "SETUP", c.url+"/trackID=0", "Transport: RTP/AVP/TCP")
			c.must(t, 454, "PAUSE", c.url, "Session: other")
			c.must(t, 405, "RECORD", c.url)
			c.must(t, 501, "BREW", c.url)
			c.must(t, 551, "PLAY", c.url, "Require: implicit-play")
			c.must(t, 200, "PAUSE", c.url, "Session: "+id[1])
			c.ready = nil
			write(t, p, 3, 5)
			c.must(t, 200, "SET_PARAMETER", c.url)
			if len(c.ready) > 0 {
				t.Errorf("%d frames in a pause", len(c.ready))
			}
			c.must(t, 200, "PLAY", c.url)
			write(t, p, 5, 26)
			for last := ""; last != "audio 51"; {
				f, err := c.Read()
				if err != nil {
					t.Fatalf("after %q: %v", last, err)
				}
				last, _ = protocoltest.Mark(f)
			}
			c.must(t, 200, "TEARDOWN", c.url, "Session: "+id[1])
			h.Viewers(name, 0)
			// It may have another look.
			c.tracks, c.ready = map[byte]*track{}, nil
			if err := c.startWith(c.describe(t), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(h.Diary.Lines(), "\n"); strings.Count(got, "may play s rtsp-play?\nplayed s\n") != 2 && strings.Count(got, "played s") != 2 || strings.Count(got, "stopped s") != 1 {
				t.Errorf("the desk was told\n%s", got)
			}
		})
	}
}

// Sound and picture are told to belong together from the first packet on.
func TestReports(t *testing.T) {
	h, p := open(t, vhostOn, 3)
	c := connect(t, h)
	sdp := c.describe(t)
	head := c.must(t, 200, "SETUP", c.url+"/trackID=0", "Transport: RTP/AVP/TCP;interleaved=0-1")
	ssrc := regexp.MustCompile(`ssrc=(\w+)`).FindStringSubmatch(head)[1]
	if err := c.startWith(sdp, 0); err != nil {
		t.Fatal(err)
	}
	if h.Env.Loops.Kind() != "goroutine" {
		info := regexp.MustCompile(`RTP-Info: url=(\S+);seq=(\d+);rtptime=(\d+),url=(\S+);seq=(\d+);rtptime=(\d+)`).FindStringSubmatch(c.head)
		if info == nil || info[1] != c.url+"/trackID=0" || info[4] != c.url+"/trackID=1" {
			t.Fatalf("PLAY is answered %q", c.head)
		}
		for range 3 { // a picture, and sound
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
		}
		for i, x := range []*track{c.tracks[0], c.tracks[2]} {
			if got := strconv.FormatUint(uint64(x.base), 10); got != info[3+3*i] {
				t.Errorf("track %d begins at %s, RTP-Info says %s", i, got, info[3+3*i])
			}
		}
	}
	for len(c.reports) < 2 {
		if _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
	}
	var senders []rtcp.Sender
	for i, r := range c.reports[:2] {
		b, _ := hex.DecodeString(r)
		sr, rest, err := rtcp.Next(b)
		if err != nil {
			t.Fatal(err)
		}
		s, _ := sr.Sender()
		senders = append(senders, s)
		if i == 0 && !strings.EqualFold(fmt.Sprintf("%08x", sr.SSRC), ssrc) {
			t.Errorf("report of %x, set up was %s", sr.SSRC, ssrc)
		}
		if name, _, err := rtcp.Next(rest); err != nil || name.Type != rtcp.TypeSDES || name.SSRC != sr.SSRC {
			t.Errorf("behind the report %x, %v", rest, err)
		}
	}
	if senders[0].NTP != senders[1].NTP || senders[0].Timestamp != c.tracks[0].base || senders[1].Timestamp != c.tracks[2].base {
		t.Errorf("reports %+v, tracks begin at %d and %d", senders, c.tracks[0].base, c.tracks[2].base)
	}
	// And again after five seconds of it.
	n := len(c.reports)
	write(t, p, 3, 140)
	for len(c.reports) == n {
		if _, err := c.Read(); err != nil {
			t.Fatal(err)
		}
	}
}

// Who wants one track of two gets that.
func TestOneTrack(t *testing.T) {
	h, p := open(t, vhostOn, 2)
	for i, kind := range []media.Kind{media.Audio, media.Video} {
		c := connect(t, h)
		sdp := c.describe(t)
		parts := strings.Split(sdp, "\r\nm=")
		if err := c.startWith(parts[0]+"\r\nm="+parts[1+i], 0); err != nil {
			t.Fatal(err)
		}
		write(t, p, 25*(i+1), 25*(i+1)+3)
		for range 3 {
			if f, err := c.Read(); err != nil || f.Track.Kind != kind {
				t.Fatalf("%v: %+v, %v", kind, f, err)
			}
		}
	}
}

// A player is ended whose stream has become something that it was not told of, however
// it is sent to; one whose parameter sets change goes on, as the suite proves.
func TestCodecBecomesAnother(t *testing.T) {
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			h, p := open(t, vhostOn, 2)
			c := connect(t, h)
			if err := c.startWith(c.describe(t), 0); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(); err != nil {
				t.Fatal(err)
			}
			other := *protocoltest.Sound
			other.SampleRate, other.Config = 48000, []byte{0x11, 0x90}
			f := protocoltest.Audio(10)
			f.Track = &other
			if err := p.Write(f); err != nil {
				t.Fatal(err)
			}
			if err := c.gone(); err != nil {
				t.Fatal(err)
			}
			h.Viewers(name, 0)
		})
	}
}

// A stream without sound, or without picture, is described when that is sure enough.
func TestSoundAlone(t *testing.T) {
	h, _ := open(t, vhostOn, 0)
	p, err := protocoltest.Publish(t.Context(), h, name)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if err := p.Write(protocoltest.Audio(0)); err != nil {
		t.Fatal(err)
	}
	c := connect(t, h)
	if sdp := c.describe(t); strings.Contains(sdp, "m=video") || !strings.Contains(sdp, "m=audio") {
		t.Errorf("%s", sdp)
	}
	// Its one track needs no number.
	c.must(t, 200, "SETUP", c.url, "Transport: RTP/AVP/TCP;unicast")
}

// Who sets up without a description knows it from before.
func TestSetupFirst(t *testing.T) {
	h, _ := open(t, vhostOn, 2)
	c := connect(t, h)
	c.must(t, 200, "SETUP", c.url+"?token=a/b/trackID=1", "Transport: RTP/AVP/TCP;interleaved=8-9")
	c.must(t, 200, "PLAY", c.url)
	if _, ask, _ := h.Doing(session.Play, name).Doing(); ask.Said.Param != "?token=a/b" || ask.Key != name.Key() {
		t.Errorf("asks for %+v", ask)
	}
}

// Nothing that a stranger sends is taken for a request, nor kept for long.
func TestStrangers(t *testing.T) {
	h, _ := open(t, vhostOn, 2)
	for _, junk := range []string{
		"\x16\x03\x01\x02\x00\x01\x00",
		"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"OPTIONS * RTSP/2.0\r\nCSeq: 1\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\n\r\n",
		"DESCRIBE rtsp://x RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"DESCRIBE http://x/live/s RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		"DESCRIBE rtsp://x/../.. RTSP/1.0\r\nCSeq: 1\r\n\r\n",
		strings.Repeat("x", 100<<10),
		"SET_PARAMETER * RTSP/1.0\r\nCSeq: 1\r\nContent-Length: 99999999\r\n\r\n",
	} {
		nc, err := net.Dial("tcp", h.Addr())
		if err != nil {
			t.Fatal(err)
		}
		go nc.Write([]byte(junk))
		nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		b := make([]byte, 1<<10)
		n, err := nc.Read(b)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%.40q is not answered", junk)
		}
		if n > 0 && !regexp.MustCompile(`^RTSP/1.0 (400|404|505) `).Match(b[:n]) {
			t.Errorf("%.40q is answered %q", junk, b[:n])
		}
		nc.Close()
	}
	h.Wait("they are gone", func() bool { n, _ := h.Env.Desk.Len(); return n == 1 })
	// Beside one who plays, and from it.
	c := connect(t, h)
	if err := c.startWith(c.describe(t), 0); err != nil {
		t.Fatal(err)
	}
	c.nc.Write([]byte("\x00\x01\x02\x03"))
	if err := c.gone(); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatal(err)
	}
	h.Viewers(name, 0)
}
