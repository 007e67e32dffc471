package interop

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// nginx is NGINX with its RTMP module.
type nginx struct {
	addr, conf string
	process    *process
}

func newNGINX(t *testing.T, application string) *nginx {
	t.Helper()
	dir := t.TempDir()
	n := &nginx{addr: protocoltest.FreeAddr(t), conf: filepath.Join(dir, "nginx.conf")}
	text := fmt.Sprintf(`daemon off; worker_processes 1; pid %[1]s/nginx.pid; error_log stderr warn;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events { worker_connections 64; }
rtmp { server { listen %[2]s; chunk_size 4096; %[3]s } }
`, dir, n.addr, application)
	if err := os.WriteFile(n.conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	return n
}

func (n *nginx) start(t *testing.T) {
	t.Helper()
	n.process = background(t, "nginx", "-e", "stderr", "-c", n.conf)
	wait(t, "nginx listens", func() bool {
		nc, err := net.Dial("tcp", n.addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
}

// forwards is what the API says of streams that are sent to other servers.
func (h *house) forwards(t *testing.T) (all []struct {
	Stream, URL, State, Error string
	Sent                      int64 `json:"send_bytes"`
	Attempts                  int
}) {
	t.Helper()
	var answer struct {
		Data     struct{ Forwards json.RawMessage }
		Forwards json.RawMessage
	}
	b, err := get("http://" + h.api + "/api/v1/forwards/")
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err == nil {
		err = json.Unmarshal(answer.Forwards, &all)
	}
	if err != nil {
		t.Fatalf("API: %v: %s", err, b)
	}
	return all
}

// awaitForward waits until a destination is in a state.
func (h *house) awaitForward(t *testing.T, to, state string) {
	t.Helper()
	wait(t, to+" is in state "+state, func() bool {
		for _, f := range h.forwards(t) {
			if strings.Contains(f.URL, to) && f.State == state {
				return true
			}
		}
		return false
	})
}

// A stream is sent to NGINX, whose players get every packet as it was published; and
// again after NGINX was killed.
func TestForwardToNGINX(t *testing.T) {
	t.Parallel()
	n := newNGINX(t, "application live { live on; wait_key on; }")
	h := open(t, "forward { enabled on; destination "+n.addr+"; }")
	h.publish(t, bFrames, "s?vhost=__defaultVhost__&token=1")
	h.awaitForward(t, n.addr, "sending")
	// NGINX's players do not start at zero, so the last of their seconds is not whole.
	bFrames.check(t, "from nginx", demux(t, "rtmp://"+n.addr+"/live/s", 5, ""), 3, true)
	n.process.kill()
	h.awaitForward(t, n.addr, "waiting")
	n.start(t)
	h.awaitForward(t, n.addr, "sending")
	bFrames.check(t, "from nginx again", demux(t, "rtmp://"+n.addr+"/live/s", 4, ""), 2, true)
}

// terminator takes TLS off and passes what is inside to an address.
func terminator(t *testing.T, to string) string {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	cert := s.TLS.Certificates[0]
	s.Close()
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			a, err := l.Accept()
			if err != nil {
				return
			}
			b, err := net.Dial("tcp", to)
			if err != nil {
				a.Close()
				continue
			}
			go func() { io.Copy(a, b); a.Close() }()
			go func() { io.Copy(b, a); b.Close() }()
		}
	}()
	return l.Addr().String()
}

// Over TLS, to a certificate that nobody trusts: as in SRS unless tls_verify is on.
func TestForwardOverTLS(t *testing.T) {
	t.Parallel()
	n := newNGINX(t, "application live { live on; wait_key on; } application strict { live on; }")
	at := terminator(t, n.addr)
	h := open(t, "forward { enabled on; rtmps on; destination "+at+"; }")
	h.publish(t, baseline, "s")
	h.awaitForward(t, at, "sending")
	baseline.check(t, "through TLS", demux(t, "rtmp://"+n.addr+"/live/s", 4, ""), 2, true)
	if !h.log.await("certificate cannot be trusted", 1) {
		t.Error("the certificate was not told of")
	}
	strict := open(t, "forward { enabled on; tls_verify on; destination rtmps://"+at+"/strict/[stream]; }")
	strict.publish(t, baseline, "s")
	strict.awaitForward(t, at, "waiting")
	if f := strict.forwards(t)[0]; f.Sent != 0 || !strings.Contains(f.Error, "certificate") {
		t.Errorf("with tls_verify on: %+v", f)
	}
}

// What Enhanced RTMP carries is passed on to another weir whole.
func TestForwardEnhanced(t *testing.T) {
	for _, src := range []*source{hevc, av1} {
		t.Run(src.file, func(t *testing.T) {
			t.Parallel()
			want := avList(t, "list", src.path(t))
			b := open(t, "")
			a := open(t, "forward { enabled on; destination "+b.rtmp+"; }")
			log := newJournal()
			cmd := av("publish", src.path(t), a.stream("s"))
			cmd.Stdout, cmd.Stderr = log, log
			start(t, cmd, log)
			b.awaitLive(t, "s")
			got := avList(t, "watch", b.stream("s"), "--seconds", "3")
			for _, kind := range []string{"video", "audio"} {
				codec, all := got.stream(kind)
				name, sent := want.stream(kind)
				if codec != name || len(all) == 0 {
					t.Errorf("%s is %q with %d packets, want %q", kind, codec, len(all), name)
				}
				for _, p := range all {
					if !contains(sent, p) {
						t.Errorf("%s packet at %.3f is not the publisher's", kind, p.dts)
						break
					}
				}
			}
		})
	}
}

// backend answers on_forward with what a test says for a path.
type backend struct {
	*httptest.Server
	mu     sync.Mutex
	answer map[string]string
}

func newBackend(t *testing.T) *backend {
	b := &backend{answer: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.answer[r.URL.Path] == "" {
			w.WriteHeader(http.StatusInternalServerError)
		}
		io.WriteString(w, b.answer[r.URL.Path])
	}))
	t.Cleanup(b.Close)
	return b
}

func (b *backend) say(path, answer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer[path] = answer
}

// A backend that fails refuses encoders, and leaves the stream free for when it is
// well again.
func TestForwardBackendFails(t *testing.T) {
	t.Parallel()
	b, to := newBackend(t), open(t, "")
	h := open(t, strings.ReplaceAll(example(t, "forward.backend.conf"), "http://127.0.0.1:8085/api/v1/forward", b.URL+"/f"))
	for _, answer := range []string{"", "garbage", `{"code":1}`, `{"code":0}`, `{"code":0,"data":{"urls":["garbage"]}}`} {
		b.say("/f", answer)
		p := background(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-c", "copy", "-f", "flv", h.stream("s"))
		if err := p.wait(clientTime); err == nil {
			t.Errorf("backend says %q: ffmpeg was let publish", answer)
		}
	}
	b.say("/f", `{"code":0,"data":{"urls":["`+to.stream("copy")+`"]}}`)
	h.publish(t, baseline, "s")
	baseline.check(t, "of the backend's address", demux(t, to.stream("copy"), 3, ""), 3, true)
}

// Two servers that send each other what they get: the circle ends where it closes, and
// both have the stream.
func TestForwardCircle(t *testing.T) {
	t.Parallel()
	b := newBackend(t)
	one := open(t, "forward { enabled on; backend "+b.URL+"/one; }")
	two := open(t, "forward { enabled on; backend "+b.URL+"/two; }")
	// Under another name each time, so that it is not the busy name that ends it.
	b.say("/one", `{"code":0,"data":{"urls":["`+two.stream("a")+`"]}}`)
	b.say("/two", `{"code":0,"data":{"urls":["`+one.stream("b")+`"]}}`)
	one.publish(t, baseline, "s")
	two.awaitForward(t, one.rtmp, "loop")
	one.awaitForward(t, two.rtmp, "sending")
	if _, live := one.info(t, "b"); live {
		t.Error("the stream has come back")
	}
	baseline.check(t, "of the second", demux(t, two.stream("a"), 3, ""), 3, true)
}

// edgeOf are the directives of a vhost that is an edge.
func edgeOf(origins, more string) string {
	return "cluster { mode remote; origin " + origins + "; " + more + " }"
}

// An edge has a stream from NGINX for players of RTMP and of HTTP-FLV, and goes on for
// those who stayed when NGINX was killed and came again.
func TestEdgeOfNGINX(t *testing.T) {
	t.Parallel()
	n := newNGINX(t, "application live { live on; wait_key on; }")
	h := open(t, edgeOf(n.addr, ""))
	send := func() {
		background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", "rtmp://"+n.addr+"/live/s")
	}
	send()
	// NGINX keeps no group of pictures: sound comes at once, picture up to two seconds
	// later, wherever the edge joins.
	stays := background(t, "ffmpeg", "-v", "error", "-i", h.stream("s"), "-c", "copy", "-f", "null", "-")
	h.awaitLive(t, "s")
	bFrames.check(t, "rtmp", demux(t, h.stream("s"), 5, ""), 2, true)
	bFrames.check(t, "flv", demux(t, h.page("s", ".flv"), 5, ""), 2, true)
	n.process.kill()
	wait(t, "the stream has gone", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
	n.start(t)
	send()
	h.awaitLive(t, "s")
	bFrames.check(t, "rtmp again", demux(t, h.stream("s"), 5, ""), 2, true)
	if !stays.running() {
		t.Errorf("the player that stayed has gone: %v\n%s", stays.err, stays.log)
	}
}

// Two weirs: what is published to the edge is played from the origin, and what is
// published to the origin from the edge, by RTMP and by HTTP-FLV.
func TestEdgeOfWeir(t *testing.T) {
	t.Parallel()
	o := open(t, "")
	h := open(t, edgeOf(o.rtmp, ""))
	h.publish(t, baseline, "up?token=1")
	o.awaitLive(t, "up")
	baseline.check(t, "passed on", demux(t, o.stream("up"), 3, ""), 3, true)
	o.publish(t, mute, "down")
	mute.check(t, "had", demux(t, h.stream("down"), 3, ""), 3, true)
	web := open(t, edgeOf(o.web, "protocol flv;"))
	mute.check(t, "had over HTTP", demux(t, web.stream("down"), 3, ""), 3, true)
	secure := open(t, edgeOf(terminator(t, o.web), "protocol flvs;"))
	mute.check(t, "had over HTTPS", demux(t, secure.stream("down"), 3, ""), 2, true)
	// A name that is taken at the origin is refused at the edge.
	p := background(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-c", "copy", "-f", "flv", h.stream("down"))
	if err := p.wait(clientTime); err == nil {
		t.Error("a stream that the origin has from somebody else was taken from an encoder")
	}
	// No origin, no encoder.
	o.process.signal(syscall.SIGTERM)
	o.process.wait(5 * time.Second)
	p = background(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-c", "copy", "-f", "flv", h.stream("none"))
	if err := p.wait(clientTime); err == nil {
		t.Error("an encoder was let in though no origin is there")
	}
}

// An edge that asks the wrong one of two origins is sent to the other, and goes. Before a
// release: so does a browser that asks for WebRTC, from one origin (RFC 6454) to another.
func TestOriginCluster(t *testing.T) {
	t.Parallel()
	has := openRTC(t, "")
	asks := openRTC(t, "} cluster { origin_cluster on; coworkers "+has.api+";")
	has.publish(t, baseline, "s")
	edge := open(t, edgeOf(asks.rtmp, ""))
	baseline.check(t, "through the edge", demux(t, edge.stream("s"), 3, ""), 3, true)
	if !asks.log.await("cluster redirect", 1) {
		t.Error("nobody was sent elsewhere")
	}
	if *long {
		for _, name := range []string{"whep", "rtc_player"} {
			playsRTC(t, visit(t, rtcBrowser(t), asks.player(name, "stream=s")), "H264", 25)
		}
		if n := strings.Count(asks.log.String(), "cluster redirect"); n < 3 {
			t.Errorf("the browser was sent elsewhere %d times", n-1)
		}
	}
}

// again starts a server once more that was killed, at the same addresses.
func (h *house) again(t *testing.T) {
	t.Helper()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h.process, h.log = serve(t, h.dir, nil, path, "-c", filepath.Join(h.dir, "weir.conf"))
	t.Cleanup(func() { h.process.shut(t) })
	if !h.log.await("ready in", 20*time.Second) {
		t.Fatalf("not ready:\n%s", h.log)
	}
}

// SRS's examples of a master that forwards and of an edge, with one server for slave and
// origin, which is killed and comes back: the stream is sent there again, and the edge's
// player goes on.
func TestExampleCluster(t *testing.T) {
	t.Parallel()
	origin := open(t, "")
	at := func(name string) string {
		return strings.ReplaceAll(example(t, name), "127.0.0.1:19350", origin.rtmp)
	}
	master, edge := open(t, at("forward.master.conf")), open(t, at("edge.conf"))
	master.publish(t, bFrames, "s?token=1")
	master.awaitForward(t, origin.rtmp, "sending")
	player, file := keepIn(t, edge.stream("s"))
	awaitPackets(t, file, 2*rate)
	origin.process.kill()
	master.awaitForward(t, origin.rtmp, "waiting")
	origin.again(t)
	master.awaitForward(t, origin.rtmp, "sending")
	before := len(readHashes(t, file)["video"])
	awaitPackets(t, file, before+2*rate)
	if !player.running() {
		t.Errorf("the player has gone: %v\n%s", player.err, player.log)
	}
	for i, p := range readHashes(t, file)["video"] {
		if bFrames.list(t); !contains(bFrames.packets["video"], p) {
			t.Errorf("packet %d is not the publisher's", i)
			break
		}
	}
}
