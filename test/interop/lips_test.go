package interop

import (
	"context"
	"encoding/json"
	"flag"
	"math"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// long has tests that watch for a while do so for as long as they should before a
// release.
var long = flag.Bool("long", false, "watch for minutes, not for seconds")

// A white flash and a beep at once, each second, for a fifth of it.
const flashes = "-f lavfi -i color=black:size=320x180:rate=25,drawbox=color=white:t=fill:enable='lt(mod(t,1),0.2)' " +
	"-f lavfi -i aevalsrc='0.5*sin(2*PI*1000*t)*lt(mod(t,1),0.2)':s=48000 "

var (
	lipsAAC  = &source{file: "lips.flv", video: true, audio: true, args: flashes + x264 + "-preset ultrafast -profile:v baseline -c:a aac -b:a 64k"}
	lipsOpus = &source{file: "lips.mp4", video: true, audio: true, args: flashes + x264 + "-preset ultrafast -profile:v baseline -ac 2 -c:a libopus -b:a 64k"}
)

// lipSync is how far flash and beep may be apart, in seconds.
const lipSync = 0.08

// held is how long a browser holds sound at most, in seconds, where it has its time.
const held = 0.15

// watchLips has a page play, and note when flashes are shown and beeps are handed to the
// loudspeaker, in s, and what the browser itself thinks how far it is behind with sound.
const watchLips = `(() => {
  const v = document.querySelector('video'), seen = window.lips = {flashes: [], beeps: [], thinks: []}
  const c = new OffscreenCanvas(4, 4).getContext('2d', {willReadFrequently: true})
  let white = true, loud = true, quiet = 0
  const look = (now, m) => {
    c.drawImage(v, 0, 0, 4, 4)
    const is = c.getImageData(1, 1, 1, 1).data[0] > 128
    if (is && !white) seen.flashes.push(m.expectedDisplayTime / 1000)
    white = is
    v.requestVideoFrameCallback(look)
  }
  v.requestVideoFrameCallback(look)
  const RTC = RTCPeerConnection
  window.RTCPeerConnection = function () {
    const pc = new RTC()
    pc.addEventListener('track', async e => {
      if (e.track.kind !== 'audio') return
      const b = new Float32Array(48000)
      for await (const data of new MediaStreamTrackProcessor({track: e.track}).readable) {
        const pcm = b.subarray(0, data.numberOfFrames)
        data.copyTo(pcm, {planeIndex: 0, format: 'f32-planar'})
        data.close()
        const is = pcm.some(x => Math.abs(x) > 0.1), now = performance.now()
        if (is && !loud) seen.beeps.push(now / 1000)
        if (is) { loud = true; quiet = now } else if (now - quiet > 300) loud = false
      }
    })
    setInterval(async () => {
      const [a, v] = ['audio', 'video'].map(kind => pc.stats.find(s => s.type === 'inbound-rtp' && s.kind === kind)?.estimatedPlayoutTimestamp)
      if (a && v) seen.thinks.push(Math.round(v - a) / 1000)
      const sound = pc.stats.find(s => s.type === 'inbound-rtp' && s.kind === 'audio')
      if (sound) seen.held = sound.jitterBufferDelay / sound.jitterBufferEmittedCount || 0
    }, 1000)
    setInterval(async () => { pc.stats = [...(await pc.getStats()).values()] }, 1000)
    pc.stats = []
    return pc
  }
  document.querySelector('form').requestSubmit()
  return true
})()`

// flashAndBeep gives a page a camera and a microphone that flash and beep at once.
const flashAndBeep = `(() => {
  navigator.mediaDevices.getUserMedia = async () => {
    const canvas = Object.assign(document.createElement('canvas'), {width: 320, height: 180}), c = canvas.getContext('2d')
    const ctx = new AudioContext(), tone = new OscillatorNode(ctx, {frequency: 1000}), gain = new GainNode(ctx, {gain: 0}), out = ctx.createMediaStreamDestination()
    tone.connect(gain).connect(out)
    tone.start()
    setInterval(() => {
      const on = ctx.currentTime % 1 < 0.2
      gain.gain.value = on ? 0.5 : 0
      c.fillStyle = on ? '#fff' : '#000'
      c.fillRect(0, 0, 320, 180)
    }, 20)
    return new MediaStream([...canvas.captureStream(25).getTracks(), ...out.stream.getTracks()])
  }
  document.querySelector('form').requestSubmit()
  return true
})()`

// apart returns how far each beep is behind the flash of the same second.
func apart(flashes, beeps []float64) (all []float64) {
	for _, f := range flashes {
		for _, b := range beeps {
			if math.Abs(b-f) < 0.4 {
				all = append(all, math.Round(1000*(b-f))/1000)
			}
		}
	}
	return all
}

// median is that of the last few.
func median(all []float64, few int) float64 {
	all = slices.Sorted(slices.Values(all[max(0, len(all)-few):]))
	return all[len(all)/2]
}

// Sound and picture stay together: of RTMP's AAC in a browser, and of WebRTC's Opus over
// RTMP.
func TestLipSync(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "rtc_to_rtmp on;")
	background(t, "ffmpeg", "-v", "error", "-re", "-i", lipsAAC.path(t), "-c", "copy", "-f", "flv", h.stream("in"))
	background(t, "node", "../clients/av.mjs", "publish", lipsOpus.path(t), "http://"+h.api+"/rtc/v1/whip/?app=live&stream=out")
	h.awaitLive(t, "in")
	h.awaitLive(t, "out")
	tab := visit(t, rtcBrowser(t), strings.Replace(h.player("whep", "stream=in"), "autostart=true", "autostart=false", 1))
	if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](watchLips)); err != nil {
		t.Fatal(err)
	}
	wait(t, "flashes and beeps are together over RTMP", func() bool {
		d, ok := h.lipsOverRTMP(t, "out")
		return ok && math.Abs(d) <= lipSync
	})
	flashes := 5
	if *long {
		flashes = 35
	}
	var all []float64
	var seen struct {
		Flashes, Beeps, Thinks []float64
		Held                   float64
	}
	t.Cleanup(func() {
		t.Logf("in the browser the beeps are behind their flashes by %.3f s; it thinks %.3f s, and holds sound for %.3f s", all, seen.Thinks, seen.Held)
	})
	look := func() {
		time.Sleep(500 * time.Millisecond)
		text, err := chromedp.Run(tab, chromedp.Evaluate[string]("JSON.stringify(lips)"))
		if err != nil || json.Unmarshal([]byte(text), &seen) != nil {
			t.Fatal(text, err)
		}
		all = apart(seen.Flashes, seen.Beeps)
	}
	if *long {
		for len(all) < flashes {
			look()
		}
		// Where the machine is busy, sound that came late has the browser wait a while.
		far := 0
		for _, d := range all {
			if math.Abs(d) > lipSync {
				far++
			}
		}
		if d := median(all, len(all)); far > len(all)/4 || math.Abs(d) > lipSync {
			t.Errorf("in the browser %d of %d beeps are far from their flash, half of them by more than %.3f s", far, len(all), d)
		}
		if state := lookAt(t, tab).State; !strings.Contains(state, " 0 freezes") {
			t.Errorf("the picture froze: %s", state)
		}
		tab = visit(t, tab, strings.Replace(h.player("whip", "stream=back"), "autostart=true", "autostart=false", 1))
		if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](flashAndBeep)); err != nil {
			t.Fatal(err)
		}
		h.awaitLive(t, "back")
		for range 3 {
			if d, ok := h.lipsOverRTMP(t, "back"); !ok || math.Abs(d) > lipSync {
				t.Errorf("over RTMP a browser's beep is %.3f s behind the flash", d)
			}
		}
		return
	}
	wait(t, "flashes and beeps are together in the browser", func() bool {
		look()
		// On a machine that is too slow for it, a browser holds sound ever longer.
		return len(all) >= flashes && math.Abs(median(all, 5)) <= lipSync+max(0, seen.Held-held)
	})
}

// lipsThroughLoss checks that what a server at the end of a way that loses 5 %, and 2 %, sends
// a browser is in sync and does not freeze: of RTMP, which players keep for a while, and of a
// peer, at 2 Mbit/s; with 5 % it may freeze once. The publishers are at the server's own port.
func (h *house) lipsThroughLoss(t *testing.T, tab context.Context, r *relay, direct string) {
	t.Helper()
	noisy := strings.Replace(flashes, ",drawbox", ",noise=alls=60:allf=t,drawbox", 1)
	heavy := x264 + "-preset ultrafast -profile:v baseline -b:v 2M -maxrate 2M -bufsize 2M "
	rtmp := &source{file: "noisy.flv", video: true, audio: true, args: noisy + heavy + "-c:a aac -b:a 64k"}
	whip := &source{file: "noisy.mp4", video: true, audio: true, args: noisy + heavy + "-ac 2 -c:a libopus -b:a 64k", length: 240}
	background(t, "ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", rtmp.path(t), "-c", "copy", "-f", "flv", h.stream("rtmp"))
	h.awaitLive(t, "rtmp")
	h.seesThrough(t, tab, r, "rtmp")
	background(t, "node", "../clients/av.mjs", "publish", whip.path(t), "http://"+h.api+"/rtc/v1/whip/?app=live&stream=whip&eip="+direct)
	h.awaitLive(t, "whip")
	h.seesThrough(t, tab, r, "whip")
}

// seesThrough has a browser play a stream through a relay that loses 5 % and one that loses
// 2 %, each once more where the machine is so busy that the relay itself stood still.
func (h *house) seesThrough(t *testing.T, tab context.Context, r *relay, name string) {
	t.Helper()
	for _, percent := range []int64{5, 2} {
		r.percent.Store(percent)
		wide, froze, quiet := h.sees(t, tab, r, name)
		if !quiet {
			wide, froze, quiet = h.sees(t, tab, r, name)
		}
		// Of 5 % a packet and all that mends it are lost together once in a minute or two.
		if most := int(percent) / 5; quiet && (wide > 1 || froze > most) {
			t.Errorf("%s: through %d %% of loss %d beeps are far from their flash, it froze %d times", name, percent, wide, froze)
		}
	}
}

var frozen = regexp.MustCompile(` ([0-9]+) freezes`)

// freezes returns how often the picture froze, as one of our pages says it.
func freezes(t *testing.T, state string) int {
	t.Helper()
	m := frozen.FindStringSubmatch(state)
	if m == nil {
		t.Fatalf("the page says %q", state)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// sees has a browser play a stream through a relay for 30 s and more, and tells how many
// beeps are far from their flash after the first three, how often the picture froze, and
// whether the relay worked all the time.
func (h *house) sees(t *testing.T, tab context.Context, r *relay, name string) (wide, froze int, quiet bool) {
	t.Helper()
	stalled := r.stalled.Load()
	visit(t, tab, strings.Replace(h.player("whep", "stream="+name), "autostart=true", "autostart=false", 1))
	if _, err := chromedp.Run(tab, chromedp.Evaluate[bool](watchLips)); err != nil {
		t.Fatal(err)
	}
	defer visit(t, tab, "about:blank")
	var seen struct{ Flashes, Beeps []float64 }
	var all []float64
	for began := time.Now(); len(all) < 33; {
		time.Sleep(500 * time.Millisecond)
		text, err := chromedp.Run(tab, chromedp.Evaluate[string]("JSON.stringify(lips)"))
		if err != nil || json.Unmarshal([]byte(text), &seen) != nil {
			t.Fatal(text, err)
		}
		if all = apart(seen.Flashes, seen.Beeps); time.Since(began) > 60*time.Second {
			t.Fatalf("%s: in a minute there are %d flashes and %d beeps", name, len(seen.Flashes), len(seen.Beeps))
		}
	}
	for _, d := range all[3:] {
		if math.Abs(d) > lipSync {
			wide++
		}
	}
	state := lookAt(t, tab).State
	stalled = r.stalled.Load() - stalled
	t.Logf("%s through %d %% of loss: %s; the beeps are behind their flashes by %.3f s; %d datagrams stood still", name, r.percent.Load(), state, all, stalled)
	return wide, freezes(t, state), stalled <= 20
}

// lipsOverRTMP returns by how much the beeps of a stream are behind its flashes, in s, if
// enough of them came in five seconds.
func (h *house) lipsOverRTMP(t *testing.T, name string) (d float64, ok bool) {
	t.Helper()
	out, err := exec.Command("ffmpeg", "-hide_banner", "-nostats", "-t", "5", "-i", h.stream(name), "-vf", "blackdetect=d=0.1:pix_th=0.3", "-af", "silencedetect=n=-30dB:d=0.3", "-f", "null", "-").CombinedOutput()
	if err != nil {
		t.Fatalf("ffmpeg: %v\n%s", err, out)
	}
	times := func(pattern string) (all []float64) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(string(out), -1) {
			s, _ := strconv.ParseFloat(m[1], 64)
			all = append(all, s)
		}
		return all
	}
	all := apart(times(`black_end:([0-9.]+)`), times(`silence_end: ([0-9.]+)`))
	if len(all) < 3 {
		t.Logf("few flashes and beeps in 5 s\n%s", tail(string(out), 30))
		return 0, false
	}
	t.Logf("over RTMP the beeps are behind their flashes by %.3f s", all)
	return median(all, 5), true
}
