package webrtc

import (
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/interceptor"
	pion "github.com/pion/webrtc/v4"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/sdp"
)

// house is a server with nothing but WebRTC.
type house struct {
	t    testing.TB
	s    *server
	hub  *hub.Hub
	desk *session.Desk
	url  string // of the API
}

// build makes a house of the directives of rtc_server, of the vhost's rtc, and others.
func build(t testing.TB, own, rtc, more string) *house {
	t.Helper()
	if !strings.Contains(own, "listen") || strings.Contains(own, "tcp {") {
		own = "listen 127.0.0.1:0; " + own
	}
	text := "listen 1935; rtc_server { enabled on; certificate ''; " + own + " } vhost __defaultVhost__ { rtc { enabled on; " + rtc + " } } " + more
	text = strings.ReplaceAll(text, "certificate '';", "certificate "+t.TempDir()+"/rtc.pem;")
	snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text)}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	conf := config.NewStore(snap)
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	desk := session.New(h, session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }})
	log := slog.New(slog.NewTextHandler(notAfter(t), nil))
	env := service.Env{Log: log, Conf: conf, Desk: desk, Hub: h, API: &service.Mux{}, Media: &service.Mux{}, Notices: &service.Notices{}, Identity: service.Identity{Server: "weir/test", ID: "vid-1", Service: "s", PID: 1}}
	svc, err := Protocol.New(env)
	if err != nil {
		t.Fatal(err)
	}
	s := svc.(*server)
	if err := s.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		s.Run(ctx)
		close(done)
	}()
	web := httptest.NewServer(env.API)
	t.Cleanup(func() {
		web.Close()
		desk.Shut(session.ErrShutdown)
		desk.End(session.ErrShutdown, nil)
		cancel()
		<-done
		for x := range desk.Sessions() {
			t.Errorf("session %s is still there", x.ID)
		}
	})
	return &house{t, s, h, desk, web.URL}
}

// output is a test's, as long as it lasts: what is written to that of one that is over is
// a panic.
type output struct {
	mu sync.Mutex
	w  io.Writer // guarded by mu
}

func notAfter(t testing.TB) *output {
	o := &output{w: t.Output()}
	t.Cleanup(func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.w = io.Discard
	})
	return o
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(b)
}

var key = hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}

// A real pair of parameter sets, of 320x180 Constrained Baseline.
var (
	testSPS, _ = hex.DecodeString("6742c00dd90141fb011000000300100000030320f142a480")
	testPPS, _ = hex.DecodeString("68cb83cb20")
)

func testTracks(t testing.TB) (picture, sound *media.Track) {
	c, err := h264.NewConfig([][]byte{testSPS}, [][]byte{testPPS})
	if err != nil {
		t.Fatal(err)
	}
	return &media.Track{Kind: media.Video, Codec: media.H264, Config: c.Append(nil), Width: 320, Height: 180},
		&media.Track{Kind: media.Audio, Codec: media.Opus, SampleRate: 48000, Channels: 2}
}

// unit is a frame of one unit of H.264.
func unit(typ byte, size int, number int) []byte {
	b := bytes.Repeat([]byte{byte(number)}, 4+size)
	b[0], b[1], b[2], b[3] = byte(size>>24), byte(size>>16), byte(size>>8), byte(size)
	b[4] = typ
	return b
}

// feed publishes a picture of 25 frames a second and sound, in real time, until the
// test ends or stop is called. Every tenth frame is a key frame of 30,000 bytes.
func (h *house) feed(by string) (stop func()) {
	h.t.Helper()
	pub, err := h.hub.Publish(key, hub.PublishOptions{By: by})
	if err != nil {
		h.t.Fatal(err)
	}
	picture, sound := testTracks(h.t)
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		defer pub.Close(nil)
		beat := time.NewTicker(10 * time.Millisecond)
		defer beat.Stop()
		for i := 0; ; i++ {
			at := time.Duration(i) * 20 * time.Millisecond
			pub.Write(&media.Frame{Track: sound, Source: at, Payload: []byte{0xfc, byte(i), byte(i >> 8)}})
			if i%2 == 0 {
				n := i / 2
				f := &media.Frame{Track: picture, Source: at, Key: n%10 == 0, Payload: unit(0x41, 3000, n)}
				if f.Key {
					f.Payload = unit(0x65, 30000, n)
				}
				pub.Write(f)
			}
			select {
			case <-beat.C:
			case <-quit:
				return
			}
		}
	}()
	once := false
	stop = func() {
		if !once {
			once = true
			close(quit)
			<-done
		}
	}
	h.t.Cleanup(stop)
	return stop
}

// client makes a peer of another make.
func client(t testing.TB, set func(*pion.SettingEngine), codecs ...pion.RTPCodecParameters) *pion.PeerConnection {
	t.Helper()
	var engine pion.MediaEngine
	if len(codecs) == 0 {
		if err := engine.RegisterDefaultCodecs(); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range codecs {
		kind := pion.RTPCodecTypeVideo
		if strings.HasPrefix(c.MimeType, "audio/") {
			kind = pion.RTPCodecTypeAudio
		}
		if err := engine.RegisterCodec(c, kind); err != nil {
			t.Fatal(err)
		}
	}
	var settings pion.SettingEngine
	settings.SetIncludeLoopbackCandidate(true)
	settings.SetNetworkTypes([]pion.NetworkType{pion.NetworkTypeUDP4})
	if set != nil {
		set(&settings)
	}
	var registry interceptor.Registry
	if err := pion.RegisterDefaultInterceptors(&engine, &registry); err != nil {
		t.Fatal(err)
	}
	if err := pion.ConfigureTWCCHeaderExtensionSender(&engine, &registry); err != nil {
		t.Fatal(err)
	}
	pc, err := pion.NewAPI(pion.WithMediaEngine(&engine), pion.WithInterceptorRegistry(&registry), pion.WithSettingEngine(settings)).NewPeerConnection(pion.Configuration{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pc.Close() })
	return pc
}

// answer is what a request was answered.
type answer struct {
	*http.Response
	body string
}

func (h *house) do(method, path, typ, body string, header ...string) answer {
	h.t.Helper()
	url := path
	if strings.HasPrefix(path, "/") {
		url = h.url + path
	}
	r, err := http.NewRequestWithContext(h.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		h.t.Fatal(err)
	}
	if typ != "" {
		r.Header.Set("Content-Type", typ)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return answer{resp, string(b)}
}

// offer makes the offer of a client, with all its candidates.
func offer(t testing.TB, pc *pion.PeerConnection) string {
	t.Helper()
	o, err := pc.CreateOffer(nil)
	if err != nil {
		t.Fatal(err)
	}
	gathered := pion.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	<-gathered
	return pc.LocalDescription().SDP
}

// connect makes a client's offer and takes the answer.
func (h *house) connect(pc *pion.PeerConnection, path string) answer {
	h.t.Helper()
	a := h.do("POST", path, "application/sdp", offer(h.t, pc))
	if a.StatusCode != http.StatusCreated {
		h.t.Fatalf("%s is answered %s: %s", path, a.Status, a.body)
	}
	if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: a.body}); err != nil {
		h.t.Fatalf("%v of\n%s", err, a.body)
	}
	return a
}

// until waits for something to be so.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not in 20 s", what)
		}
	}
}

func regexpReplace(s, pattern, by string) string {
	return regexp.MustCompile(pattern).ReplaceAllString(s, by)
}

func itoa(n int) string { return strconv.Itoa(n) }

func blocksRTC() *blocks.RTCConfig { return blocks.RTC.Default() }

// bareIngest is a publisher of Chromium's offer, of a stream of its own.
func bareIngest(t *testing.T, p *peer) *ingest {
	s, err := sdp.Parse(chromium(t, "sendonly"))
	if err != nil {
		t.Fatal(err)
	}
	if p.plan, err = agree(s, true, 0, nil, p.conf); err != nil {
		t.Fatal(err)
	}
	pub, err := p.server.env.Hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return newIngest(p, pub)
}

// at is the address of a socket of the server's.
func (h *house) at(n int) *net.UDPAddr {
	return net.UDPAddrFromAddrPort(h.s.socks[n].sock.LocalAddr())
}
