package webrtc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/rtcp"
	"github.com/pion/rtp/codecs"
	pion "github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// watcher is a client that plays.
type watcher struct {
	pc     *pion.PeerConnection
	frames chan []byte // of H.264, with start codes
	sounds chan []byte
	answer answer
}

// watch plays the stream, with a client of another make.
func (h *house) watch(path string, set func(*pion.SettingEngine)) *watcher {
	h.t.Helper()
	w := &watcher{pc: client(h.t, set), frames: make(chan []byte, 1000), sounds: make(chan []byte, 1000)}
	for _, kind := range []pion.RTPCodecType{pion.RTPCodecTypeAudio, pion.RTPCodecTypeVideo} {
		if _, err := w.pc.AddTransceiverFromKind(kind, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
			h.t.Fatal(err)
		}
	}
	var fault atomic.Pointer[error] // told of here: the callback may outlive the test
	h.t.Cleanup(func() {
		if err := fault.Load(); err != nil {
			h.t.Error(*err)
		}
	})
	w.pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		var unpack codecs.H264Packet
		var frame []byte
		for {
			p, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == pion.RTPCodecTypeAudio {
				w.sounds <- p.Payload
				continue
			}
			b, err := unpack.Unmarshal(p.Payload)
			if err != nil {
				err = fmt.Errorf("a payload of %d bytes: %w", len(p.Payload), err)
				fault.Store(&err)
			}
			if frame = append(frame, b...); p.Marker {
				w.frames <- frame
				frame = nil
			}
		}
	})
	w.answer = h.connect(w.pc, path)
	return w
}

func TestPlay(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	until(t, "stream", func() bool { return h.hub.Stream(key) != nil && h.hub.Stream(key).Counters().Frames > 15 })
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	if loc := w.answer.Header.Get("Location"); !strings.HasPrefix(loc, "/rtc/v1/whip/?action=delete&token=") || !strings.Contains(loc, "&session=") {
		t.Errorf("Location is %s", loc)
	}
	sets := string([]byte{0, 0, 0, 1}) + string(testSPS) + string([]byte{0, 0, 0, 1}) + string(testPPS)
	number := -1
	for i := range 30 {
		f := <-w.frames
		n := int(f[len(f)-1])
		key := strings.HasPrefix(string(f), sets)
		want := 4 + 3000
		if key {
			want = len(sets) + 4 + 30000
		}
		if len(f) != want || key != (n%10 == 0) || i == 0 && !key || i > 0 && n != (number+1)&255 {
			t.Fatalf("frame %d has number %d after %d, %d bytes, key %v", i, n, number, len(f), key)
		}
		number = n
	}
	last := -1
	for range 20 {
		p := <-w.sounds
		n := int(p[1]) | int(p[2])<<8
		if last >= 0 && n != last+1 {
			t.Errorf("sound %d after %d", n, last)
		}
		last = n
	}
	var sess *session.Session
	for x := range h.desk.Sessions() {
		sess = x
	}
	if act, ask, _ := sess.Doing(); act != session.Play || ask.Type != "rtc-play" || ask.Said.Param != "app=live&stream=s" {
		t.Errorf("the desk has %v %+v", act, ask)
	}
	if in, out := sess.Bytes(); in == 0 || out < 100000 {
		t.Errorf("%d bytes came, %d went", in, out)
	}
	// A client that says farewell is gone at once.
	w.pc.Close()
	until(t, "session ends", func() bool { n, _ := h.desk.Len(); return n == 0 })
}

func TestKickTellsThePlayer(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	<-w.frames
	for x := range h.desk.Sessions() {
		x.Kick(session.ErrKicked)
	}
	until(t, "the player is told", func() bool { return w.pc.ConnectionState() == pion.PeerConnectionStateClosed })
}

func TestDelete(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whip-play/?app=live&stream=s", nil)
	<-w.frames
	loc := w.answer.Header.Get("Location")
	if a := h.do("DELETE", strings.Replace(loc, "token=", "token=x", 1), "", ""); a.StatusCode != 403 {
		t.Errorf("a wrong token is answered %s", a.Status)
	}
	for range 2 {
		if a := h.do("DELETE", loc, "", ""); a.StatusCode != 200 || a.body != "" {
			t.Errorf("DELETE is answered %s %s", a.Status, a.body)
		}
	}
	until(t, "session ends", func() bool { n, _ := h.desk.Len(); return n == 0 })
}

// Offers that lead to nothing are forgotten in time, with all that was made for them.
func TestOffersThatNeverFinish(t *testing.T) {
	const many = 1000
	h := build(t, "", "rtmp_to_rtc on; stun_timeout 600;", "")
	h.feed("rtmp")
	text := chromium(t, "recvonly")
	before := runtime.NumGoroutine()
	for range many {
		if a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", text); a.StatusCode != 201 {
			t.Fatal(a.Status)
		}
	}
	if n := runtime.NumGoroutine(); n > before+50 {
		t.Errorf("%d goroutines for %d offers", n-before, many)
	}
	for _, p := range h.s.all() {
		p.seen.Store(0) // so its time is over
	}
	until(t, "they are forgotten", func() bool {
		n, _ := h.desk.Len()
		h.s.mu.Lock()
		defer h.s.mu.Unlock()
		return n == 0 && len(h.s.peers) == 0 && len(h.s.lanes) == 0
	})
}

// Of a peer that never comes the API says at which candidates no check was seen, and so
// does the log in the end.
func TestNobodyCame(t *testing.T) {
	h := build(t, "candidate 192.0.2.9:8123;", "rtmp_to_rtc on; stun_timeout 1;", "")
	h.feed("rtmp")
	log := &journal{}
	h.s.env.Log = slog.New(slog.NewTextHandler(log, nil))
	if a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly")); a.StatusCode != 201 {
		t.Fatal(a.Status)
	}
	told := false
	for x := range h.desk.Sessions() {
		if a, ok := x.Detail().(about); ok {
			told = a.State != "connected" && a.Checks == 0 && slices.Contains(a.Silent, "192.0.2.9:8123")
		}
	}
	if !told {
		t.Error("the API does not tell of the candidate")
	}
	until(t, "the log tells of it", func() bool { return log.count("no check of STUN came to 192.0.2.9:8123") > 0 })
}

// Without rtmp_to_rtc WebRTC plays only what WebRTC publishes.
func TestRTMPToRTC(t *testing.T) {
	h := build(t, "", "", "")
	a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly")) // it may come yet
	if a.StatusCode != 201 {
		t.Errorf("a stream that is not there: %s %s", a.Status, a.body)
	}
	stop := h.feed("rtmp")
	until(t, "stream", func() bool { return h.hub.Stream(key) != nil && h.hub.Stream(key).Counters().Frames > 15 })
	a = h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly"))
	if a.StatusCode != 403 || !strings.Contains(a.body, "rtmp_to_rtc") || a.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("a stream of RTMP: %s %s", a.Status, a.body)
	}
	h.s.mu.Lock()
	for _, l := range h.s.lanes {
		if p := l.place(pictureTrack); p.head != 0 {
			t.Errorf("who came before has %d packets", p.head)
		}
	}
	h.s.mu.Unlock()
	stop()
}

// SRS's own requests, in its words.
func TestJSON(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	body, _ := json.Marshal(map[string]any{"api": "x", "tid": "1a2b3c4", "streamurl": "webrtc://127.0.0.1:1985/live/s?token=1", "clientip": nil, "sdp": chromium(t, "recvonly")})
	a := h.do("POST", "/rtc/v1/play/?eip=192.0.2.5:18000", "application/json", string(body))
	var reply struct {
		Code                            int
		Server, Service, PID, SDP, Text string
		SessionID                       string
	}
	if err := json.Unmarshal([]byte(a.body), &reply); err != nil || a.StatusCode != 200 || reply.Code != 0 || reply.Server != "vid-1" || reply.PID != "1" {
		t.Fatalf("%s %s", a.Status, a.body)
	}
	if ufrag, theirs, _ := strings.Cut(reply.SessionID, ":"); !strings.Contains(reply.SDP, "a=ice-ufrag:"+ufrag+"\r\n") || theirs != "AyIn" ||
		!strings.Contains(reply.SDP, " 192.0.2.5 18000 typ host") || !strings.Contains(reply.SDP, "s=SRSPlaySession\r\n") {
		t.Errorf("session %s of\n%s", reply.SessionID, reply.SDP)
	}
	for x := range h.desk.Sessions() {
		if _, ask, _ := x.Doing(); ask.Said.Param != "?token=1" || ask.Said.TcURL != "webrtc://127.0.0.1/live" {
			t.Errorf("callbacks are told %+v", ask.Said)
		}
	}
	for name, body := range map[string]string{
		"no JSON": "hello", "a list": "[]", "nothing": "", "no sdp": `{"streamurl":"webrtc://a/b/c"}`, "no stream": `{"sdp":"v=0"}`,
		"garbage": `{"streamurl":"webrtc://127.0.0.1/live/s","sdp":"hello"}`, "no address": `{"streamurl":"x","sdp":"v=0"}`,
	} {
		a := h.do("POST", "/rtc/v1/play/", "application/json", body)
		reply.Code, reply.Text = 0, ""
		json.Unmarshal([]byte(a.body), &reply)
		if a.StatusCode != 200 || reply.Code != 400 || reply.Text == "" {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
}

// A publisher of SRS's JSON is known by upstream=rtc, written as SRS writes it.
func TestUpstream(t *testing.T) {
	for query, param := range map[string]string{"": "upstream=rtc", "?token=1": "?token=1&upstream=rtc"} {
		var v want
		if err := v.stream("webrtc://127.0.0.1/live/s"+query, true); err != nil || v.ask.Said.Param != param {
			t.Errorf("%q: callbacks are told %q, not %q (%v)", query, v.ask.Said.Param, param, err)
		}
	}
}

// What is refused is told in words, with a status that tells who is at fault.
// Players may come before the publisher, unless they are told to come later.
func TestWHEPBeforeThePublisher(t *testing.T) {
	play := chromium(t, "recvonly")
	h := build(t, "", "whep_wait off; rtmp_to_rtc on;", "")
	a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", play)
	if a.StatusCode != 409 || a.Header.Get("Retry-After") == "" || a.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(a.body, "whep_wait") {
		t.Errorf("it is answered %s %v %s", a.Status, a.Header, a.body)
	}
	h.feed("rtmp")
	if a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", play); a.StatusCode != 201 {
		t.Errorf("once it is live: %s %s", a.Status, a.body)
	}
	if a := build(t, "", "", "").do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", play); a.StatusCode != 201 {
		t.Errorf("as in SRS: %s", a.Status)
	}
}

// nobody lets nobody in.
type nobody struct{}

func (nobody) Authorize(context.Context, *session.Request) error {
	return &session.Error{Code: 1, Text: "go away"}
}

// Who may not play is not told whether there is something to be played.
func TestRulesComeFirst(t *testing.T) {
	h := build(t, "", "whep_wait off;", "")
	h.desk.Authorize(nobody{})
	for _, live := range []bool{false, true} {
		if live {
			h.feed("rtmp") // which may not be played either
		}
		a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly"))
		if a.StatusCode != 403 || !strings.Contains(a.body, "go away") {
			t.Errorf("live %v: %s %s", live, a.Status, a.body)
		}
	}
}

// Who was let in is told of servers of STUN and TURN.
func TestLinks(t *testing.T) {
	h := build(t, "ice_server stun:stun.example.org turn:joe:se:cret@turn.example.org:3478?transport=tcp;", "", "")
	a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly"), "Origin", "http://a")
	want := []string{`<stun:stun.example.org>; rel="ice-server"`, `<turn:turn.example.org:3478?transport=tcp>; rel="ice-server"; username="joe"; credential="se:cret"; credential-type="password"`}
	if a.StatusCode != 201 || !slices.Equal(a.Header.Values("Link"), want) || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Link") {
		t.Errorf("%s, %v", a.Status, a.Header)
	}
	h.desk.Authorize(nobody{})
	for _, method := range []string{"POST", "OPTIONS"} {
		if a := h.do(method, "/rtc/v1/whep/?app=live&stream=s", "application/sdp", chromium(t, "recvonly")); len(a.Header.Values("Link")) != 0 {
			t.Errorf("who was not let in is told %v", a.Header)
		}
	}
}

func TestRefusals(t *testing.T) {
	h := build(t, "", "", "")
	send := chromium(t, "sendonly")
	for name, c := range map[string]struct {
		method, path, typ, body string
		status                  int
		words                   string
	}{
		"type":     {"POST", "/rtc/v1/whep/?stream=s", "application/json", send, 415, "application/sdp"},
		"garbage":  {"POST", "/rtc/v1/whep/?stream=s", "application/sdp", "hello", 400, "v=0"},
		"empty":    {"POST", "/rtc/v1/whep/?stream=s", "application/sdp", "", 400, "empty"},
		"giant":    {"POST", "/rtc/v1/whep/?stream=s", "application/sdp", strings.Repeat("v=0\n", 1<<16), 400, "bytes"},
		"sendonly": {"POST", "/rtc/v1/whep/?stream=s", "application/sdp", send, 422, "sendonly"},
		"names":    {"POST", "/rtc/v1/whep/?stream=s&ice-ufrag=ab", "application/sdp", send, 400, "ice-ufrag"},
		"password": {"POST", "/rtc/v1/whep/?stream=s&ice-pwd=short", "application/sdp", send, 400, "ice-pwd"},
		"address":  {"POST", "/rtc/v1/whep/?stream=s&eip=a%0ab", "application/sdp", send, 400, "address"},
		"method":   {"TRACE", "/rtc/v1/whep/?stream=s", "", "", 405, "TRACE"},
		"no slash": {"POST", "/rtc/v1/whep?stream=s", "application/sdp", send, 307, ""},
		"GET":      {"GET", "/rtc/v1/whep/?stream=s", "", "", 204, ""},
		"HEAD":     {"HEAD", "/rtc/v1/whep/?stream=s", "", "", 200, ""},
		"OPTIONS":  {"OPTIONS", "/rtc/v1/whep/?stream=s", "", "", 200, ""},
		"no token": {"DELETE", "/rtc/v1/whip/?session=x", "", "", 403, "token"},
		"unknown":  {"DELETE", "/rtc/v1/whip/?session=x&token=y", "", "", 200, ""},
	} {
		a := h.do(c.method, c.path, c.typ, c.body)
		if a.StatusCode != c.status || !strings.Contains(a.body, c.words) || c.status >= 400 && a.Header.Get("Content-Type") != "application/problem+json" {
			t.Errorf("%s: %s, %s", name, a.Status, a.body)
		}
	}
	if a := h.do("OPTIONS", "/rtc/v1/whip/?stream=s", "", ""); a.Header.Get("Accept-Post") != "application/sdp" {
		t.Errorf("OPTIONS has %v", a.Header)
	}
	if a := h.do("OPTIONS", "/rtc/v1/whep?stream=s", "", "", "Origin", "http://a"); a.StatusCode != 200 || a.Header.Get("Accept-Patch") != fragmentType {
		t.Errorf("OPTIONS without the slash is answered %s %v", a.Status, a.Header)
	}
	if a := h.do("POST", "/rtc/v1/whep?stream=s", "application/sdp", send, "Origin", "http://a"); a.StatusCode != 307 || a.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a browser is redirected %s %v", a.Status, a.Header)
	}
	a := h.do("OPTIONS", "/rtc/v1/whip/?stream=s", "", "", "Origin", "http://a", "Access-Control-Request-Method", "POST")
	if a.StatusCode != 200 || a.Header.Get("Access-Control-Allow-Origin") != "*" || !strings.Contains(a.Header.Get("Access-Control-Expose-Headers"), "Location") {
		t.Errorf("a browser asks and is told %s %v", a.Status, a.Header)
	}
}

// elsewhere has all streams at another server.
type elsewhere struct{}

func (elsewhere) Authorize(context.Context, *session.Request) error {
	return &session.Moved{Host: "192.0.2.1", Port: 1985}
}

// A player of a stream that another server has is sent there, by either way of asking, with
// all that it said.
func TestMoved(t *testing.T) {
	h := build(t, "", "", "vhost other.example { rtc { enabled on; } }")
	h.desk.Authorize(elsewhere{})
	offer := chromium(t, "recvonly")
	for _, c := range []struct{ path, typ, body, want string }{
		{"/rtc/v1/whep/?app=live&stream=s&token=1", "application/sdp", offer, "http://192.0.2.1:1985/rtc/v1/whep/?app=live&stream=s&token=1"},
		{"/rtc/v1/whep/?stream=s&domain=other.example", "application/sdp", offer, "http://192.0.2.1:1985/rtc/v1/whep/?domain=other.example&stream=s&vhost=other.example"},
		{"/rtc/v1/play/", "application/json", `{"streamurl":"webrtc://localhost/live/s","sdp":` + strconv.Quote(offer) + `}`, "http://192.0.2.1:1985/rtc/v1/play/"},
	} {
		a := h.do("POST", c.path, c.typ, c.body, "Origin", "http://a")
		if got := a.Header.Get("Location"); a.StatusCode != 307 || got != c.want || a.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s: %s to %s, want %s; %s", c.path, a.Status, got, c.want, a.body)
		}
	}
}

// What is lost on the way out is sent again, as it was or in a stream of its own.
func TestPlayThroughLoss(t *testing.T) {
	for _, c := range []struct {
		percent int
		rtc     string
	}{{5, ""}, {5, "nack_prefer_rtx on;"}, {20, ""}, {20, "nack_prefer_rtx on;"}} {
		t.Run(strconv.Itoa(c.percent)+c.rtc, func(t *testing.T) {
			t.Parallel()
			h := build(t, "", "rtmp_to_rtc on; "+c.rtc, "")
			h.feed("rtmp")
			w := &watcher{pc: client(t, nil)}
			if _, err := w.pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
				t.Fatal(err)
			}
			frames := make(chan []byte, 1000)
			w.pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
				builder := samplebuilder.New(400, &codecs.H264Packet{}, 90000)
				for {
					p, _, err := track.ReadRTP()
					if err != nil {
						return
					}
					builder.Push(p)
					for s := builder.Pop(); s != nil; s = builder.Pop() {
						frames <- s.Data
					}
				}
			})
			a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", offer(t, w.pc))
			if strings.Contains(a.body, " rtx/90000") != (c.rtc != "") || strings.Contains(a.body, "ssrc-group:FID") != (c.rtc != "") {
				t.Errorf("%q is answered\n%s", c.rtc, a.body)
			}
			if err := w.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: h.relay(c.percent).through(a.body)}); err != nil {
				t.Fatal(err)
			}
			// Of three to eight packets a frame, 5 and 20% lost would break one frame in
			// five, or every second; on a loaded machine what is sent again may come too
			// late for some.
			first, got := -1, map[int]bool{}
			last := 0
			for len(got) < 100 {
				f := <-frames
				n := int(f[len(f)-1])
				if size := len(f); size != 3004 && size != 30004 && size != 30000+4+8+len(testSPS)+len(testPPS) { // the parameter sets may be lost at the start
					t.Fatalf("a frame of %d bytes", size)
				}
				if first < 0 {
					first = n
				}
				last = (n - first) & 255
				got[last] = true
			}
			if missing := last + 1 - len(got); missing*100 > map[int]int{5: 10, 20: 35}[c.percent]*(last+1) {
				t.Errorf("%d of %d frames are missing", missing, last+1)
			}
		})
	}
}

// A viewer that cannot go on is sent the group under way again, where the publisher
// cannot be asked for a key frame.
func TestViewerAsksForAKeyFrame(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	last := -1
	again := func() (back bool) {
		for range 25 {
			f := <-w.frames
			n := int(f[len(f)-1])
			back = back || n <= last && last-n < 20 // and not because the numbers begin anew
			last = n
		}
		return back
	}
	if again() {
		t.Error("frames come twice")
	}
	ssrc := w.pc.GetReceivers()[1].Track().SSRC()
	until(t, "the group comes again", func() bool {
		w.pc.WriteRTCP([]rtcp.Packet{&rtcp.PictureLossIndication{MediaSSRC: uint32(ssrc)}, &rtcp.TransportLayerNack{MediaSSRC: uint32(ssrc), Nacks: []rtcp.NackPair{{PacketID: 1, LostPackets: 0xffff}}}})
		return again()
	})
}

// Both parts in DTLS, also where the first flights are lost.
func TestDTLS(t *testing.T) {
	for _, role := range []string{"passive", "active"} {
		for _, lossy := range []bool{false, true} {
			t.Run(role+map[bool]string{true: ", flights are lost", false: ""}[lossy], func(t *testing.T) {
				t.Parallel()
				h := build(t, "", "rtmp_to_rtc on; dtls_role "+role+";", "")
				h.feed("rtmp")
				pc := client(t, nil)
				if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
					t.Fatal(err)
				}
				came := make(chan struct{}, 10)
				pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
					track.ReadRTP()
					came <- struct{}{}
				})
				a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", offer(t, pc))
				if !strings.Contains(a.body, "a=setup:"+role+"\r\n") {
					t.Errorf("the answer is\n%s", a.body)
				}
				// Every other datagram of the handshake is lost, until many are.
				n := 0
				r := newRelay(t, h.at(0), func(b []byte) bool {
					n++
					return lossy && n%2 == 1 && n < 10
				})
				r.mu.Lock()
				r.handshakes = true
				r.mu.Unlock()
				if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: r.through(a.body)}); err != nil {
					t.Fatal(err)
				}
				<-came
			})
		}
	}
}

// A peer whose certificate is not the one of its offer is not let in.
func TestWrongCertificate(t *testing.T) {
	h := build(t, "", "", "")
	pc := client(t, nil)
	if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
		t.Fatal(err)
	}
	text := offer(t, pc)
	_, rest, _ := strings.Cut(text, "a=fingerprint:sha-256 ")
	print, _, _ := strings.Cut(rest, "\r\n")
	wrong := strings.ReplaceAll(text, print, strings.ReplaceAll(print, print[:2], "00"))
	if print[:2] == "00" {
		wrong = strings.ReplaceAll(text, print, strings.ReplaceAll(print, "00", "01"))
	}
	a := h.do("POST", "/rtc/v1/whep/?app=live&stream=s", "application/sdp", wrong)
	if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: a.body}); err != nil {
		t.Fatal(err)
	}
	until(t, "the session ends", func() bool { n, _ := h.desk.Len(); return n == 0 })
}

// B-frames are left out, of which browsers know nothing, unless they are to be kept.
func TestKeepBFrames(t *testing.T) {
	for _, keep := range []string{"off", "on"} {
		h := build(t, "", "rtmp_to_rtc on; keep_bframe "+keep+";", "")
		pub, err := h.hub.Publish(key, hub.PublishOptions{By: "rtmp"})
		if err != nil {
			t.Fatal(err)
		}
		picture, _ := testTracks(t)
		quit, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			defer pub.Close(nil)
			for i := 0; ; i++ {
				// I P b b P b b P, each shown where it belongs
				f := &media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%8 == 0, CTO: map[int]time.Duration{0: 40, 1: 120, 4: 120, 7: 40}[i%8] * time.Millisecond, Payload: unit(0x41, 500, i)}
				if f.Key {
					f.Payload = unit(0x65, 500, i)
				}
				pub.Write(f)
				select {
				case <-time.After(10 * time.Millisecond):
				case <-quit:
					return
				}
			}
		}()
		w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
		kinds := map[int]int{}
		for range 40 {
			f := <-w.frames
			kinds[int(f[len(f)-1])%8]++
		}
		close(quit)
		<-done
		if want := map[string]int{"off": 4, "on": 8}[keep]; len(kinds) != want {
			t.Errorf("keep_bframe %s: frames of the places %v of a group came, want %d of them", keep, kinds, want)
		}
	}
}

// Who asks for sound alone, or picture alone, gets that.
func TestOneKindOnly(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	for _, kind := range []pion.RTPCodecType{pion.RTPCodecTypeAudio, pion.RTPCodecTypeVideo} {
		pc := client(t, nil)
		if _, err := pc.AddTransceiverFromKind(kind, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
			t.Fatal(err)
		}
		came := make(chan pion.RTPCodecType, 10)
		pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
			for range 10 {
				track.ReadRTP()
			}
			came <- track.Kind()
		})
		h.connect(pc, "/rtc/v1/whep/?app=live&stream=s")
		if got := <-came; got != kind {
			t.Errorf("%v came, want %v", got, kind)
		}
	}
}

// A player that has nothing but IPv6 is reached by it.
func TestPlayOverIPv6(t *testing.T) {
	h := build(t, "listen [::1]:0; candidate ::1; ip_family ipv6;", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	// pion takes no ::1 by itself, and a machine need not have another address.
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := pion.NewICEUDPMux(nil, pc)
	t.Cleanup(func() { mux.Close() })
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", func(s *pion.SettingEngine) {
		s.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP6})
		s.SetICEUDPMux(mux)
	})
	if !strings.Contains(w.answer.body, " ::1 ") {
		t.Errorf("the answer has another candidate: %s", w.answer.body)
	}
	for range 10 {
		<-w.frames
	}
	<-w.sounds
}
