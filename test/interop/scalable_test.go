//go:build long

package interop

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
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
