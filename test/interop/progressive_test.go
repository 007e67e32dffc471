package interop

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// everyMount has a house serve all formats.
const everyMount = "SRS_VHOST_HTTP_REMUX_MOUNT=[vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts [vhost]/[app]/[stream].aac [vhost]/[app]/[stream].mp3"

// secure makes a certificate for localhost and returns the directives of an HTTPS
// server with it, which listens at addr.
func secure(t *testing.T, addr string) (directives, cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	certify(t, cert, key, "localhost")
	return "https { enabled on; listen " + addr + "; key " + key + "; cert " + cert + "; }", cert, key
}

func certify(t *testing.T, cert, key, name string) {
	t.Helper()
	r := run(t, "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN="+name, "-keyout", key, "-out", cert)
	if r.err != nil {
		t.Fatalf("openssl: %v", r)
	}
}

// ffmpeg reads HTTP-TS and finds every picture and sound in it, in time, whatever
// the codecs, over plain connections and over TLS.
func TestHTTPTS(t *testing.T) {
	for name, src := range map[string]*source{"h264": bFrames, "hevc": hevc, "mp3": mp3Sound, "sound": soundOnly, "mute": mute} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := protocoltest.FreeAddr(t)
			https, _, _ := secure(t, addr)
			h := openWith(t, https, "", everyMount)
			if src == hevc {
				background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
				h.awaitLive(t, "s")
			} else {
				h.publish(t, src, "s")
			}
			more := ""
			if src.audio && src != mp3Sound {
				more = "-bsf:a aac_adtstoasc"
			}
			for what, url := range map[string]string{"plain": h.page("s", ".ts"), "TLS": "https://" + addr + "/live/s.ts"} {
				t.Run(what, func(t *testing.T) {
					t.Parallel()
					src.check(t, "ts", demux(t, url, 4, more), 4, false)
				})
			}
		})
	}
}

// probe returns what ffprobe says of a file: the codec of each stream and how many
// packets it has.
func probe(t *testing.T, file string) map[string]int {
	t.Helper()
	var said struct {
		Streams []struct {
			Codec   string `json:"codec_name"`
			Packets string `json:"nb_read_packets"`
		}
	}
	out := must(t, "ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_name,nb_read_packets", "-of", "json", file)
	if err := json.Unmarshal([]byte(out), &said); err != nil {
		t.Fatalf("ffprobe: %v: %s", err, out)
	}
	all := map[string]int{}
	for _, s := range said.Streams {
		all[s.Codec], _ = strconv.Atoi(s.Packets)
	}
	return all
}

// MP3 and AAC are sound alone: curl saves it, ffprobe and ffmpeg know it, and
// Chromium's audio element plays it.
func TestHTTPSound(t *testing.T) {
	for ext, src := range map[string]*source{".mp3": mp3Sound, ".aac": bFrames} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, "", everyMount, "SRS_VHOST_HTTP_REMUX_FAST_CACHE=5")
			h.publish(t, src, "s")
			time.Sleep(5 * time.Second)
			file := filepath.Join(t.TempDir(), "s"+ext)
			r := run(t, "curl", "-sS", "-m", "3", "-o", file, h.page("s", ext))
			if exitCode(r.err) != 28 { // its time is over, not the stream
				t.Errorf("curl: %v", r)
			}
			// What came in that time, and the five seconds before it.
			if n := probe(t, file)[ext[1:]]; n < 38*6 {
				t.Errorf("ffprobe finds %d packets of %s in what came in 3 s", n, ext)
			}
			got := demux(t, file, 7, "")
			if len(got.video) != 0 {
				t.Errorf("there is a picture")
			}
			if src == mp3Sound {
				src.list(t)
				sameRun(t, "sound", got.audio, src.packets["audio"], 200)
			}
			site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/html")
				fmt.Fprintf(w, `<!doctype html><audio autoplay src="%s"></audio>`, h.page("s", ext))
			}))
			defer site.Close()
			ctx := browser(t)
			if _, err := chromedp.Run(ctx, chromedp.Navigate(site.URL)); err != nil {
				t.Fatal(err)
			}
			at := func() (v float64) {
				v, err := chromedp.Run(ctx, chromedp.Evaluate[float64](`document.querySelector('audio').error ? -1 : document.querySelector('audio').currentTime`))
				if err != nil {
					t.Fatal(err)
				}
				if v < 0 {
					t.Fatal("the audio element is in error")
				}
				return v
			}
			wait(t, "the audio element plays", func() bool { return at() > 0.5 })
			first := at()
			time.Sleep(3 * time.Second)
			if d := at() - first; d < 2.5 || d > 3.8 {
				t.Errorf("its time went on by %.1f s in 3 s", d)
			}
		})
	}
}

// player is a page that plays with mpegts.js.
const player = `<!doctype html><video muted autoplay playsinline></video><output></output>
<script src="/mpegts.js"></script><script>
const q = new URLSearchParams(location.search)
const p = mpegts.createPlayer({type: q.get('type'), url: q.get('url'), isLive: true}, {liveBufferLatencyChasing: true})
p.on(mpegts.Events.ERROR, (a, b, c) => { document.querySelector('output').textContent += a + ' ' + b + ' ' + (c && c.msg) + '; ' })
p.attachMediaElement(document.querySelector('video'))
p.load()
p.play()
</script>`

// mse is a page that plays MP4 from a WebSocket, with nothing but the browser.
const mse = `<!doctype html><video muted autoplay playsinline></video><output></output><script>
const v = document.querySelector('video'), m = new MediaSource(), say = s => { document.querySelector('output').textContent += s + ' ' }
v.src = URL.createObjectURL(m)
m.addEventListener('sourceopen', () => {
  const b = m.addSourceBuffer('video/mp4; codecs="avc1.640028,mp4a.40.2"'), queue = []
  const next = () => { if (!b.updating && queue.length) b.appendBuffer(queue.shift()) }
  b.addEventListener('updateend', () => {
    next()
    if (v.buffered.length && v.currentTime < v.buffered.start(0)) v.currentTime = v.buffered.start(0)
  })
  b.addEventListener('error', () => say('append failed'))
  const ws = new WebSocket(new URLSearchParams(location.search).get('url'))
  ws.binaryType = 'arraybuffer'
  ws.onmessage = e => { queue.push(e.data); next() }
  ws.onclose = e => say('closed ' + e.code + ' ' + e.wasClean)
}, {once: true})
</script>`

// pages serves the pages of this file.
func pages(t *testing.T) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	for path, text := range map[string]string{"GET /player": player, "GET /mse": mse} {
		mux.HandleFunc(path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			fmt.Fprint(w, text)
		})
	}
	mux.HandleFunc("GET /mpegts.js", func(w http.ResponseWriter, r *http.Request) {
		http.ServeFile(w, r, "../clients/node_modules/mpegts.js/dist/mpegts.js")
	})
	site := httptest.NewServer(mux)
	t.Cleanup(site.Close)
	return site
}

// mpegts.js plays FLV and TS, over HTTP and over WebSocket.
func TestMpegtsJS(t *testing.T) {
	t.Parallel()
	hall(t)
	site := pages(t)
	h := open(t, "", everyMount)
	h.publish(t, bFrames, "s")
	ctx := browser(t)
	for _, c := range []struct{ scheme, ext string }{{"http", ".flv"}, {"ws", ".flv"}, {"http", ".ts"}, {"ws", ".ts"}} {
		url := c.scheme + "://" + h.web + "/live/s" + c.ext
		kind := map[string]string{".flv": "flv", ".ts": "mpegts"}[c.ext]
		if _, err := chromedp.Run(ctx, chromedp.Navigate(site.URL+"/player?type="+kind+"&url="+url)); err != nil {
			t.Fatal(err)
		}
		if l := watches(t, ctx, 320, 180); l.State != "" {
			t.Errorf("%s: mpegts.js complained: %s", url, l.State)
		}
	}
}

// Chromium plays MP4 that comes over WebSocket, and hears of the end.
func TestMSEOverWebSocket(t *testing.T) {
	t.Parallel()
	hall(t)
	site := pages(t)
	h := open(t, "")
	pub := h.publish(t, bFrames, "s")
	ctx := browser(t)
	if _, err := chromedp.Run(ctx, chromedp.Navigate(site.URL+"/mse?url=ws://"+h.web+"/live/s.mp4")); err != nil {
		t.Fatal(err)
	}
	if l := watches(t, ctx, 320, 180); l.State != "" {
		t.Errorf("the page says: %s", l.State)
	}
	pub.signal(2)
	wait(t, "the page hears of the end", func() bool { return strings.Contains(lookAt(t, ctx).State, "closed 1000 true") })
}

// Over TLS Chromium plays from wss and over HTTP/2.
func TestSecureInBrowser(t *testing.T) {
	t.Parallel()
	hall(t)
	site := pages(t)
	addr := protocoltest.FreeAddr(t)
	https, _, _ := secure(t, addr)
	h := openWith(t, https, "", everyMount)
	h.publish(t, bFrames, "s")
	ctx := browser(t, chromedp.Flag("ignore-certificate-errors", true))
	for _, page := range []string{"/player?type=flv&url=wss://" + addr + "/live/s.flv", "/player?type=mpegts&url=https://" + addr + "/live/s.ts", "/mse?url=wss://" + addr + "/live/s.mp4"} {
		if _, err := chromedp.Run(ctx, chromedp.Navigate(site.URL+page)); err != nil {
			t.Fatal(err)
		}
		if l := watches(t, ctx, 320, 180); l.State != "" {
			t.Errorf("%s says: %s", page, l.State)
		}
	}
}

// curl speaks HTTP/2 with streams, files and the API.
func TestHTTP2(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	addr := protocoltest.FreeAddr(t)
	https, _, _ := secure(t, addr)
	h := openWith(t, https, "", everyMount)
	os.WriteFile(filepath.Join(h.dir, "html", "a.txt"), []byte("0123456789"), 0o644)
	pub := h.publish(t, bFrames, "s")
	dir := t.TempDir()
	var running []*process
	for _, ext := range []string{".flv", ".ts", ".mp4"} {
		p := background(t, "curl", "-sS", "-k", "--http2", "-w", "HTTP/%{http_version} %{http_code}\n", "-o", filepath.Join(dir, "s"+ext), "https://"+addr+"/live/s"+ext)
		running = append(running, p)
	}
	h.awaitHLS(t, "s")
	for _, c := range []struct{ path, want string }{{"/a.txt", "0123456789HTTP/2 200"}, {"/live/s.m3u8", "HTTP/2 200"}, {"/live/nosuch.txt", "HTTP/2 404"}, {"/api/v1/versions", "HTTP/2 200"}} {
		out := must(t, "curl", "-sS", "-k", "--http2", "-w", "HTTP/%{http_version} %{http_code}", "https://"+addr+c.path)
		if !strings.HasSuffix(out, c.want) {
			t.Errorf("%s: %s, want %s", c.path, tail(out, 2), c.want)
		}
	}
	if out := must(t, "curl", "-sS", "-k", "--http2", "-r", "3-5", "https://"+addr+"/a.txt"); out != "345" {
		t.Errorf("a range: %q", out)
	}
	time.Sleep(2 * time.Second)
	// The API knows the viewers, and what they were sent.
	type client struct {
		Name string
		Send int64 `json:"send_bytes"`
		Kbps struct {
			Send30s int `json:"send_30s"`
		}
	}
	var answer struct{ Clients []client }
	b, err := get("http://" + h.api + "/api/v1/clients/?count=100")
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, c := range answer.Clients {
		if strings.HasPrefix(c.Name, "s.") && c.Send > 10000 {
			seen++
		}
	}
	if seen < 3 {
		t.Errorf("the API knows %d viewers of three: %s", seen, b)
	}
	pub.signal(2)
	for i, ext := range []string{".flv", ".ts", ".mp4"} {
		if err := running[i].wait(10 * time.Second); err != nil || !strings.Contains(running[i].log.String(), "HTTP/2 200") {
			t.Errorf("curl of %s: %v %s", ext, err, running[i].log)
		}
		more := ""
		if ext == ".ts" {
			more = "-bsf:a aac_adtstoasc"
		}
		bFrames.check(t, ext, demux(t, filepath.Join(dir, "s"+ext), 3, more), 3, ext != ".ts")
	}
}

// A certificate that is renewed serves whoever comes next; who is there stays.
func TestCertificateRenewed(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	addr := protocoltest.FreeAddr(t)
	https, cert, key := secure(t, addr)
	h := openWith(t, https, "")
	pub := h.publish(t, bFrames, "s")
	file := filepath.Join(t.TempDir(), "s.flv")
	curl := background(t, "curl", "-sS", "-k", "-o", file, "https://"+addr+"/live/s.flv")
	name := func() string {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName
	}
	if got := name(); got != "localhost" {
		t.Errorf("the certificate is of %s", got)
	}
	certify(t, cert+".new", key+".new", "renewed")
	os.Rename(cert+".new", cert)
	time.Sleep(1500 * time.Millisecond)
	if got := name(); got != "localhost" {
		t.Errorf("with half of the new one, the certificate is of %s", got)
	}
	os.Rename(key+".new", key)
	wait(t, "the new certificate serves", func() bool { return name() == "renewed" })
	if out := must(t, "curl", "-sS", "-k", "-o", os.DevNull, "-w", "%{http_code}", "https://"+addr+"/players/srs_player.html"); out != "200" {
		t.Errorf("curl: %s", out)
	}
	pub.signal(2)
	if err := curl.wait(10 * time.Second); err != nil {
		t.Errorf("curl: %v %s", err, curl.log)
	}
	bFrames.check(t, "over the old certificate", demux(t, file, 3, ""), 3, true)
}

// curl asks for headers and parts, and gets what the standards promise.
func TestCurlHeadersAndRanges(t *testing.T) {
	t.Parallel()
	h := open(t, "", everyMount)
	h.publish(t, bFrames, "s")
	for _, src := range []*source{bFrames, hevc} {
		b, err := os.ReadFile(src.path(t))
		if err == nil {
			err = os.WriteFile(filepath.Join(h.dir, "html", filepath.Base(src.file)), b, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	size := func(s *source) int { st, _ := os.Stat(s.path(t)); return int(st.Size()) }
	base := "http://" + h.web
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"-I", base + "/live/s.flv"}, []string{"200 OK", "Content-Type: video/x-flv", "Cache-Control: no-store", "Server: weir/"}},
		{[]string{"-I", base + "/live/s.ts"}, []string{"Content-Type: video/MP2T"}},
		{[]string{"-I", base + "/live/s.aac"}, []string{"Content-Type: audio/x-aac"}},
		{[]string{"-I", base + "/live/s.mp3"}, []string{"Content-Type: audio/mpeg"}},
		{[]string{"-i", "-X", "OPTIONS", "-H", "Origin: http://a", base + "/live/s.flv"}, []string{"200 OK", "Access-Control-Allow-Origin: *"}},
		{[]string{"-I", base + "/hevc.mp4"}, []string{"Accept-Ranges: bytes", "Etag: ", "Last-Modified: ", fmt.Sprintf("Content-Length: %d", size(hevc))}},
		{[]string{"-i", "-r", "0-99", "-o", "-", base + "/hevc.mp4"}, []string{"206 Partial Content", fmt.Sprintf("Content-Range: bytes 0-99/%d", size(hevc))}},
		{[]string{"-i", "-r", "999999999-", base + "/hevc.mp4"}, []string{"416 "}},
		{[]string{"-i", base + "/crossdomain.xml"}, []string{"<cross-domain-policy/>"}},
	} {
		out := must(t, "curl", append([]string{"-sS", "-m", "5"}, c.args...)...)
		for _, w := range c.want {
			if !strings.Contains(out, w) {
				t.Errorf("curl %q has no %q:\n%.500q", c.args, w, out)
			}
		}
	}
	// A part of an FLV plays from a key frame on, and holds all that follows.
	part := filepath.Join(t.TempDir(), "part.flv")
	must(t, "curl", "-sS", "-o", part, fmt.Sprintf("%s/%s?start=%d", base, bFrames.file, size(bFrames)/2))
	got := demux(t, part, 60, "")
	bFrames.list(t)
	sameRun(t, "the part", got.pictures, bFrames.pictures, rate*seconds/4)
	if n := len(got.pictures); n%rate != 0 {
		t.Errorf("%d pictures are no whole groups", n)
	}
}
