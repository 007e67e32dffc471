//go:build long

package interop

import (
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// scalablePage publishes the camera with layers within one stream, and plays what it publishes.
const scalablePage = `<!doctype html><output></output><video muted autoplay></video><script type="module">
const only = (t, kind) => t.setCodecPreferences(RTCRtpReceiver.getCapabilities(kind).codecs.filter(c => c.mimeType === 'video/%[2]s' && (c.sdpFmtpLine || 'profile-id=0').match(/profile-id=0|profile=0/)))
const meet = async (pc, path) => {
  await pc.setLocalDescription()
  const reply = await fetch('http://%[1]s/rtc/v1/' + path + '/?app=live&stream=s', { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp })
  await pc.setRemoteDescription({ type: 'answer', sdp: await reply.text() })
}
const pub = new RTCPeerConnection(), play = new RTCPeerConnection()
const media = await navigator.mediaDevices.getUserMedia({ video: { width: 960, height: 540, frameRate: 15 } })
only(pub.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', sendEncodings: [{ scalabilityMode: '%[3]s' }] }), 'video')
await meet(pub, 'whip')
only(play.addTransceiver('video', { direction: 'recvonly' }), 'video')
play.ontrack = e => { document.querySelector('video').srcObject = e.streams[0] }
await meet(play, 'whep')
const find = async (pc, type) => [...(await pc.getStats()).values()].find(s => s.type === type) || {}
setInterval(async () => {
  const [v, got] = await Promise.all([find(pub, 'outbound-rtp'), find(play, 'inbound-rtp')])
  document.querySelector('output').textContent = v.scalabilityMode + ' sends ' + v.frameWidth + 'x' + v.frameHeight + ', ' + v.framesSent + ' frames, ' + (v.framesPerSecond || 0) + ' fps, plays ' + got.frameWidth + 'x' + got.frameHeight + ', ' + (got.framesDecoded || 0) + ' frames, ' + (got.framesPerSecond || 0) + ' fps, ' + got.decoderImplementation
}, 500)
</script>`

// A browser publishes layers within one stream, of size and of time. Another connection
// of it plays all pictures in full size, and ffmpeg has one for each.
func TestRTCScalable(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "rtc_to_rtmp on;")
	ctx := rtcBrowser(t)
	for _, c := range []struct{ codec, mode string }{{"VP9", "L3T3_KEY"}, {"VP9", "L3T3"}, {"VP9", "L1T3"}, {"VP9", "L1T2"}, {"AV1", "L3T3_KEY"}, {"AV1", "L1T3"}} {
		name := c.codec + c.mode
		h.write(t, name, fmt.Sprintf(scalablePage, h.api, c.codec, c.mode))
		visit(t, ctx, "http://"+h.web+"/players/"+name+".html")
		// It begins with fewer layers, and smaller, until it has found out what its way carries.
		seen := func() (sent, played int) {
			m := says(t, ctx, name+" is played in full size", `^`+c.mode+` sends 960x540, ([0-9]+) frames, .* plays 960x540, ([0-9]+) frames`)
			sent, _ = strconv.Atoi(m[1])
			played, _ = strconv.Atoi(m[2])
			return sent, played
		}
		seen()
		file := filepath.Join(t.TempDir(), "s.mp4")
		exec.Command("curl", "-s", "-m", "5", "-o", file, h.page("s", ".mp4")).Run()
		widths := strings.Fields(must(t, "ffprobe", "-v", "error", "-show_entries", "frame=width", "-of", "csv=p=0", file))
		full := 0
		for _, w := range widths {
			if strings.Trim(w, ",") == "960" {
				full++
			}
		}
		if full < 20 || full < len(widths)*3/4 {
			t.Errorf("%s: ffmpeg has %d pictures, %d of them in full size", name, len(widths), full)
		}
		sent, played := seen()
		time.Sleep(4 * time.Second)
		sent2, played2 := seen()
		sent, played = sent2-sent, played2-played
		if c.mode[1] == '3' {
			sent /= 3 // it counts layers of size
		}
		t.Logf("%s: %d pictures sent, %d played; ffmpeg has %d of 5 s, %d in full size", name, sent, played, len(widths), full)
		if played < sent*3/4 {
			t.Errorf("%s: %d pictures were sent and %d played", name, sent, played)
		}
	}
}

// A browser publishes and plays by signalling over HTTPS, by WHIP and WHEP and by SRS's own
// requests.
func TestRTCOverHTTPS(t *testing.T) {
	t.Parallel()
	hall(t)
	addr := protocoltest.FreeAddr(t)
	_, cert, key := secure(t, addr)
	h := openRTC(t, "rtc_to_rtmp on;", "SRS_HTTP_API_HTTPS_ENABLED=on", "SRS_HTTP_API_HTTPS_LISTEN="+addr, "SRS_HTTP_API_HTTPS_KEY="+key, "SRS_HTTP_API_HTTPS_CERT="+cert)
	_, port, _ := net.SplitHostPort(addr)
	ctx := browser(t, chromedp.Flag("allow-loopback-in-peer-connection", true), chromedp.Flag("use-fake-device-for-media-stream", true),
		chromedp.Flag("use-fake-ui-for-media-stream", true), chromedp.Flag("ignore-certificate-errors", true))
	for _, pair := range [][2]string{{"whip", "whep"}, {"rtc_publisher", "rtc_player"}} {
		page := func(name string) string {
			return "http://" + h.web + "/players/" + name + ".html?autostart=true&schema=https&api=" + port + "&stream=" + pair[0]
		}
		h.write(t, "https", "<!doctype html><video></video><output></output><iframe allow='camera; microphone; autoplay' src='"+page(pair[0])+"'></iframe><iframe allow='autoplay' src='"+page(pair[1])+"'></iframe>"+
			"<script>setInterval(() => document.querySelector('output').textContent = frames[1].document.querySelector('output')?.textContent, 300)</script>")
		visit(t, ctx, "http://"+h.web+"/players/https.html")
		says(t, ctx, pair[1]+" plays what "+pair[0]+" publishes", `^connected, 640×360, H264, [1-9][0-9]+ frames, [0-9]+ freezes, opus, sound energy [0-9.]*[1-9]`)
	}
}
