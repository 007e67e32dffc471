package interop

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// A browser publishes and plays through a way that loses 5 % both ways, and the picture
// goes on; with 20 % it lives.
func TestRTCThroughLoss(t *testing.T) {
	t.Parallel()
	hall(t)
	udp := protocoltest.FreeAddr(t)
	r := newRelay(t, udp, 8)
	h := open(t, "rtc { enabled on; rtmp_to_rtc on; }", "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+udp, "SRS_RTC_SERVER_CANDIDATE="+r.addr)
	h.write(t, "loss", "<!doctype html><iframe allow='camera; microphone; autoplay' src='"+h.player("whip", "stream=s")+"'></iframe><iframe allow='autoplay' src='"+h.player("whep", "stream=s")+"'></iframe>")
	ctx := visit(t, rtcBrowser(t), "http://"+h.web+"/players/loss.html")
	played := regexp.MustCompile(`^connected, [0-9]+×[0-9]+, H264, ([0-9]+) frames, ([0-9]+) freezes, opus, sound energy [0-9.]*[1-9]`)
	last := ""
	t.Cleanup(func() { t.Logf("the pages said %q; %d packets were lost", last, r.dropped.Load()) })
	frames := func() int {
		time.Sleep(200 * time.Millisecond)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("[frames[0], frames[1]].map(f => f.document.querySelector('output').textContent).join(' / ')"))
		if err != nil {
			t.Fatal(err)
		}
		last = text
		_, text, _ = strings.Cut(text, " / ")
		m := played.FindStringSubmatch(text)
		if m == nil {
			return 0
		}
		n, _ := strconv.Atoi(m[1])
		return n
	}
	few, many := 40, 25
	if *long {
		few, many = 30*20, 30*5
	}
	goesOn := func(what string, more int) {
		t.Helper()
		for n := frames(); more > 0; more -= 20 {
			wait(t, what, func() bool { return frames() >= n+min(20, more) })
			n += min(20, more)
		}
	}
	goesOn("the picture goes on through 5 % of loss", few)
	t.Logf("after 5 %% of loss the pages said %q, %d datagrams stood still", last, r.stalled.Load())
	if *long && r.stalled.Load() <= 20 && freezes(t, last) > 1 {
		t.Error("the picture froze more than once")
	}
	r.percent.Store(20)
	goesOn("the picture is there through 20 % of loss", many)
	if r.dropped.Load() == 0 {
		t.Error("nothing was lost")
	}
	if *long {
		h.lipsThroughLoss(t, ctx, r, udp)
	}
}

// write makes a page of the server's.
func (h *house) write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(h.dir+"/html/players", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.dir+"/html/players/"+name+".html", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// modePage publishes H.264 of packetization mode 0, and sound that is not sent while it is
// quiet (usedtx), and plays both.
const modePage = `<!doctype html><output></output><video autoplay></video><script type="module">
const only = (t, kind) => t.setCodecPreferences(RTCRtpReceiver.getCapabilities(kind).codecs.filter(c => kind === 'audio' ? c.mimeType === 'audio/opus' : c.mimeType === 'video/H264' && /packetization-mode=0/.test(c.sdpFmtpLine)))
const meet = async (pc, path) => {
  await pc.setLocalDescription()
  const sdp = pc.localDescription.sdp.replace(/useinbandfec=1/, 'useinbandfec=1;usedtx=1')
  const reply = await fetch('http://%[1]s/rtc/v1/' + path + '/?app=live&stream=mode', { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: sdp })
  const answer = await reply.text()
  await pc.setRemoteDescription({ type: 'answer', sdp: answer })
  return answer
}
const pub = new RTCPeerConnection(), play = new RTCPeerConnection()
const media = await navigator.mediaDevices.getUserMedia({ audio: { autoGainControl: false, noiseSuppression: false, echoCancellation: false }, video: { width: 320, height: 180, frameRate: 15 } })
for (const track of media.getTracks()) only(pub.addTransceiver(track, { direction: 'sendonly' }), track.kind)
const fmtp = (await meet(pub, 'whip')).match(/useinbandfec.*/)
for (const kind of ['audio', 'video']) only(play.addTransceiver(kind, { direction: 'recvonly' }), kind)
play.ontrack = e => { document.querySelector('video').srcObject = e.streams[0] }
await meet(play, 'whep')
const find = async (pc, type, kind) => {
  const all = [...(await pc.getStats()).values()], s = all.find(s => s.type === type && s.kind === kind) || {}
  return [s, (all.find(c => c.id === s.codecId) || {}).sdpFmtpLine || '']
}
setInterval(async () => {
  const [[v, mode], [a], [got, has], [heard]] = await Promise.all([find(pub, 'outbound-rtp', 'video'), find(pub, 'outbound-rtp', 'audio'), find(play, 'inbound-rtp', 'video'), find(play, 'inbound-rtp', 'audio')])
  document.querySelector('output').textContent = 'sends ' + (mode.match(/packetization-mode=./) || 'nothing') + ' plays ' + (has.match(/packetization-mode=./) || 'nothing') + ', ' + (got.framesDecoded || 0) + ' frames, heard ' + (heard.totalAudioEnergy > 0) + ', ' + (a.packetsSent || 0) + ' packets of sound in ' + (v.framesSent || 0) + ' frames, ' + fmtp
}, 500)
</script>`

// Packetization mode 0 both ways in a browser; sound that pauses while it is quiet is
// whole for others.
func TestRTCModes(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "rtc_to_rtmp on;")
	h.write(t, "mode", fmt.Sprintf(modePage, h.api))
	ctx := visit(t, rtcBrowser(t), "http://"+h.web+"/players/mode.html")
	m := says(t, ctx, "mode 0 is published and played", `^sends packetization-mode=0 plays packetization-mode=0, ([2-9][0-9]|[0-9]{3,}) frames, heard true, ([0-9]+) packets of sound in ([0-9]+) frames, useinbandfec=1;usedtx=1`)
	t.Logf("the page said %q", m[0])
	before, began := m[2], time.Now()
	got := avList(t, "watch", h.page("mode", ".flv"), "--seconds", "3")
	name, packets := got.stream("audio")
	if name != "aac" || len(packets) < 60 {
		t.Errorf("sound over HTTP is %q with %d packets", name, len(packets))
	}
	steady(t, "sound over HTTP", packets, 0.045)
	m = says(t, ctx, "it is still published", `, ([0-9]+) packets of sound in`)
	a, _ := strconv.Atoi(before)
	b, _ := strconv.Atoi(m[1])
	if passed := time.Since(began).Seconds(); float64(b-a)/passed > 45 {
		t.Errorf("%d packets of sound were sent in %.1f s: it does not pause", b-a, passed)
	}
}
