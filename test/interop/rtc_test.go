package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"weir/internal/protocol/protocoltest"
)

// openRTC is open with WebRTC, perhaps with more environment.
func openRTC(t *testing.T, rtc string, env ...string) *house {
	t.Helper()
	return open(t, "rtc { enabled on; rtmp_to_rtc on; "+rtc+" }", append(env, "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+protocoltest.FreeAddr(t), "SRS_RTC_SERVER_CANDIDATE=127.0.0.1")...)
}

// rtcBrowser is a browser with a camera and a microphone that are none.
func rtcBrowser(t *testing.T) context.Context {
	return browser(t, chromedp.Flag("allow-loopback-in-peer-connection", true), chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true))
}

// player is the address of a page of ours.
func (h *house) player(name, query string) string {
	_, port, _ := net.SplitHostPort(h.api)
	return "http://" + h.web + "/players/" + name + ".html?autostart=true&api=" + port + "&" + query
}

// visit has the browser go to a page.
func visit(t *testing.T, ctx context.Context, url string) context.Context {
	t.Helper()
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return ctx
}

// says waits until the page says something, and returns it.
func says(t *testing.T, tab context.Context, what string, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	var match []string
	last := ""
	defer func() {
		if match == nil {
			t.Logf("%s: the page said %q", what, last)
		}
	}()
	wait(t, what, func() bool {
		time.Sleep(100 * time.Millisecond)
		last = lookAt(t, tab).State
		match = re.FindStringSubmatch(last)
		return match != nil
	})
	return match
}

// playsRTC waits until a page has played so many pictures of a codec, and sound that can
// be heard.
func playsRTC(t *testing.T, tab context.Context, codec string, frames int) {
	t.Helper()
	says(t, tab, codec+" is played and heard", `^connected, 320×180, `+codec+`, [0-9]+ frames, [0-9]+ freezes, opus, sound energy [0-9.]*[1-9]`)
	wait(t, "more frames", func() bool {
		time.Sleep(100 * time.Millisecond)
		return lookAt(t, tab).Frames >= frames
	})
}

var opusSound = &source{file: "opus.mp4", video: true, audio: true, args: picture + strings.Replace(sound, "44100", "48000", 1) + x264 + "-preset ultrafast -profile:v baseline -ac 2 -c:a libopus -b:a 64k"}

// A browser plays over WebRTC what is published over RTMP, by both of our pages.
func TestRTCPlayerPages(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "")
	for name, src := range map[string]*source{"s": opusSound, "av1": av1} {
		background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream(name))
		h.awaitLive(t, name)
	}
	ctx := rtcBrowser(t)
	playsRTC(t, visit(t, ctx, h.player("whep", "stream=s")), "H264", 25)
	playsRTC(t, visit(t, ctx, h.player("rtc_player", "stream=av1")), "AV1", 25)
}

var surround = &source{file: "surround.flv", video: true, audio: true, args: picture + strings.Replace(sound, "44100", "48000", 1) + x264 + "-preset ultrafast -profile:v baseline -ac 6 -c:a aac -b:a 192k"}

// heAAC has two seconds of HE-AAC over and over, which libfdk_aac made: the ffmpeg here
// cannot. Its configuration says so; that of heSilent, which was in ADTS, says AAC-LC of half
// the rate, as that of all transport streams does.
var (
	heAAC    = &source{file: "heaac.flv", video: true, audio: true, args: picture + "-stream_loop -1 -i testdata/heaac.mp4 -map 0 -map 1" + x264 + "-preset ultrafast -profile:v baseline -c:a copy"}
	heSilent = &source{file: "hesilent.flv", video: true, audio: true, args: picture + "-stream_loop -1 -i testdata/heaac.aac -map 0 -map 1" + x264 + "-preset ultrafast -profile:v baseline -c:a copy"}
)

// Sound that is not made Opus in the server an ffmpeg makes, while somebody listens: a
// browser hears AAC of six channels, HE-AAC that does not say so and, before a release, HE-AAC that does, and AC-3. Without one it sees the picture, and the log
// says what is missing.
func TestRTCSoundByFFmpeg(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "")
	without := openRTC(t, "", "PATH="+t.TempDir())
	for _, url := range []string{h.stream("six"), without.stream("six")} {
		background(t, "ffmpeg", "-v", "error", "-re", "-i", surround.path(t), "-c", "copy", "-f", "flv", url)
	}
	background(t, "ffmpeg", "-v", "error", "-re", "-i", heSilent.path(t), "-c", "copy", "-f", "flv", h.stream("silent"))
	h.awaitLive(t, "six")
	h.awaitLive(t, "silent")
	without.awaitLive(t, "six")
	ctx := rtcBrowser(t)
	playsRTC(t, visit(t, ctx, h.player("whep", "stream=six")), "H264", 25)
	playsRTC(t, visit(t, ctx, h.player("whep", "stream=silent")), "H264", 25)
	if *long {
		background(t, "ffmpeg", "-v", "error", "-re", "-i", heAAC.path(t), "-c", "copy", "-f", "flv", h.stream("he"))
		h.awaitLive(t, "he")
		if !strings.Contains(h.log.String(), "profile=HE") {
			t.Error("the sound that is to be HE-AAC is another")
		}
		playsRTC(t, visit(t, ctx, h.player("whep", "stream=he")), "H264", 25)
		background(t, "node", "../clients/av.mjs", "publish", ac3.path(t), h.stream("ac3"))
		h.awaitLive(t, "ac3")
		playsRTC(t, visit(t, ctx, h.player("whep", "stream=ac3")), "H264", 25)
	}
	visit(t, ctx, without.player("whep", "stream=six"))
	wait(t, "the picture goes on without sound", func() bool {
		time.Sleep(200 * time.Millisecond)
		return lookAt(t, ctx).Frames >= 25
	})
	if n := strings.Count(without.log.String(), "no ffmpeg"); n != 1 {
		t.Errorf("the log says %d times that there is no ffmpeg", n)
	}
	wait(t, "no ffmpeg is left when nobody listens", func() bool {
		children, err := exec.Command("pgrep", "-P", strconv.Itoa(h.process.cmd.Process.Pid), "ffmpeg").Output()
		return err != nil && len(children) == 0
	})
}

var (
	opusAlone = &source{file: "opusalone.mp4", audio: true, args: strings.Replace(sound, "44100", "48000", 1) + "-ac 2 -c:a libopus -b:a 64k"}
	muteAlone = &source{file: "mutealone.mp4", video: true, args: picture + x264 + "-preset ultrafast -profile:v baseline"}
)

// FFmpeg 8 publishes by WHIP, and everybody else has it, picture and sound: the same
// packets of Opus by every protocol and in recordings. What is sound or picture alone
// webrtcbin plays too.
func TestWHIPFromFFmpeg(t *testing.T) {
	t.Parallel()
	h := openRTC(t, "rtc_to_rtmp on; rtc_to_rtmp_audio opus; } dvr { enabled on; dvr_path ./dvr/[stream].mp4; } "+strings.TrimSuffix(dashConf, "}"), everyMount)
	opusSound.list(t)
	want := avList(t, "list", opusSound.path(t))
	_, audio := want.stream("audio")
	whip := "http://" + h.api + "/rtc/v1/whip/?app=live&stream="
	background(t, "node", "../clients/av.mjs", "publish", opusSound.path(t), whip+"s")
	h.awaitLive(t, "s")
	for form, url := range map[string]string{"rtmp": h.stream("s"), "ts": h.page("s", ".ts")} {
		t.Run(form, func(t *testing.T) {
			got := avList(t, "watch", url, "--seconds", "3")
			for kind, codec := range map[string]string{"video": "h264", "audio": "opus"} {
				name, packets := got.stream(kind)
				if name != codec {
					t.Errorf("%s is %q, want %q", kind, name, codec)
				}
				if kind == "audio" || form != "ts" { // which has delimiters between pictures
					_, all := want.stream(kind)
					sameRun(t, kind, packets, all, 40)
				}
				steady(t, kind, packets, 0.045)
			}
		})
	}
	t.Run("hls", func(t *testing.T) {
		h.awaitHLS(t, "s")
		opusSound.check(t, "hls", demux(t, h.page("s", ".m3u8"), 4, ""), 2, false)
	})
	if *long { // on a busy machine this ffmpeg goes back to a segment that it had
		t.Run("dash", func(t *testing.T) {
			h.awaitDASH(t, "s")
			opusSound.check(t, "dash", demux(t, h.page("s", ".mpd"), 4, ""), 2, false)
		})
	}
	for name, src := range map[string]*source{"audio": opusAlone, "video": muteAlone} {
		t.Run(name+" alone", func(t *testing.T) {
			pub := background(t, "node", "../clients/av.mjs", "publish", src.path(t), whip+name)
			h.awaitLive(t, name)
			seen := h.webrtcbin(t, name, map[string]string{"audio": "opus", "video": "h264"}[name])
			if (seen.Frames > 0) != (name == "video") || (seen.Sounds > 0) != (name == "audio") {
				t.Errorf("webrtcbin has %+v; the publisher: %s", seen, tail(pub.log.String(), 10))
			}
			pub.kill()
		})
	}
	t.Run("recording", func(t *testing.T) {
		file := h.dir + "/dvr/s.mp4"
		live, _ := h.info(t, "s")
		if out, err := exec.Command("curl", "-sf", "-m", "10", "-X", "DELETE", "http://"+h.api+"/api/v1/clients/"+live.Publish.CID).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		wait(t, "the recording is finished", func() bool { _, err := os.Stat(file); return err == nil })
		name, packets := avList(t, "list", file).stream("audio")
		if name != "opus" {
			t.Errorf("its sound is %q", name)
		}
		sameRun(t, "audio", packets, audio, 100)
	})
}

// A browser publishes with our page, and another frame of it plays that; so does
// FFmpeg, over HTTP.
func TestRTCPages(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "rtc_to_rtmp on;")
	if err := os.MkdirAll(h.dir+"/html/players", 0o755); err != nil {
		t.Fatal(err)
	}
	both := "<!doctype html><iframe allow='camera; microphone; autoplay' src='" + h.player("whip", "stream=s") + "'></iframe><iframe allow='autoplay' src='" + h.player("whep", "stream=s") + "'></iframe>"
	if err := os.WriteFile(h.dir+"/html/players/both.html", []byte(both), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := visit(t, rtcBrowser(t), "http://"+h.web+"/players/both.html")
	state := func(frame int) string {
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("frames["+strconv.Itoa(frame)+"].document.querySelector('output').textContent"))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	last := ""
	t.Cleanup(func() { t.Logf("the pages said %q", last) })
	heard := regexp.MustCompile(`^connected, 640×360, H264, ([0-9]+) frames, [0-9]+ freezes, opus, sound energy ([0-9.]+)$`)
	wait(t, "the page plays what the other publishes", func() bool {
		time.Sleep(200 * time.Millisecond)
		last = state(0) + " / " + state(1)
		m := heard.FindStringSubmatch(state(1))
		if m == nil {
			return false
		}
		n, _ := strconv.Atoi(m[1])
		energy, _ := strconv.ParseFloat(m[2], 64)
		return n >= 25 && energy > 0
	})
	got := avList(t, "watch", h.page("s", ".flv"), "--seconds", "4")
	for kind, codec := range map[string]string{"video": "h264", "audio": "aac"} {
		if name, packets := got.stream(kind); name != codec || len(packets) < 10 { // however slow the machine is
			t.Errorf("%s over HTTP is %q with %d packets", kind, name, len(packets))
		}
	}
}

// A browser plays what came by SRT and by RTMP with B-frames, which are left out. What it
// publishes with G.711 others have with AAC, browsers with Opus, and recordings too.
func TestRTCWays(t *testing.T) {
	t.Parallel()
	hall(t)
	srt := protocoltest.FreeAddr(t)
	h := openRTC(t, "rtc_to_rtmp on; } srt { enabled on; } dvr { enabled on; dvr_path ./dvr/[stream].mp4; dvr_apply live/g711;",
		"SRS_SRT_SERVER_ENABLED=on", "SRS_SRT_SERVER_LISTEN="+srt)
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "mpegts", "srt://"+srt+"?streamid=#!::r=live/srt,m=publish&pkt_size=1316")
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", h.stream("b"))
	h.awaitLive(t, "srt")
	h.awaitLive(t, "b")
	ctx := rtcBrowser(t)
	playsRTC(t, visit(t, ctx, h.player("whep", "stream=srt")), "H264", 20)
	playsRTC(t, visit(t, ctx, h.player("rtc_player", "stream=b")), "H264", 20)
	if err := os.MkdirAll(h.dir+"/html/players", 0o755); err != nil {
		t.Fatal(err)
	}
	both := "<!doctype html><iframe allow='camera; microphone; autoplay' src='" + h.player("rtc_publisher", "stream=g711&acodec=pcmu") + "'></iframe><iframe allow='autoplay' src='" + h.player("whep", "stream=g711") + "'></iframe>"
	if err := os.WriteFile(h.dir+"/html/players/g711.html", []byte(both), 0o644); err != nil {
		t.Fatal(err)
	}
	visit(t, ctx, "http://"+h.web+"/players/g711.html")
	last := ""
	defer func() { t.Logf("the pages said %q", last) }()
	heard := regexp.MustCompile(`PCMU, [0-9]+ packets of sound / connected, .*, opus, sound energy [0-9.]*[1-9]`)
	wait(t, "G.711 is published and heard as Opus", func() bool {
		time.Sleep(200 * time.Millisecond)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("[frames[0], frames[1]].map(f => f.document.querySelector('output')?.textContent).join(' / ')"))
		if err != nil {
			t.Fatal(err)
		}
		last = text
		return heard.MatchString(text)
	})
	want := func(from string, got avSeen) {
		t.Helper()
		for kind, codec := range map[string]string{"video": "h264", "audio": "aac"} {
			if name, packets := got.stream(kind); name != codec || len(packets) < 10 {
				t.Errorf("%s of %s is %q with %d packets", kind, from, name, len(packets))
			}
		}
	}
	want("HTTP-FLV", avList(t, "watch", h.page("g711", ".flv"), "--seconds", "3"))
	visit(t, ctx, "about:blank")
	file := h.dir + "/dvr/g711.mp4"
	wait(t, "the recording is finished", func() bool { _, err := os.Stat(file); return err == nil })
	want("the recording", avList(t, "list", file))
}

// The other codecs of a browser come back to it as they went.
func TestRTCPagesCodecs(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "")
	if err := os.MkdirAll(h.dir+"/html/players", 0o755); err != nil {
		t.Fatal(err)
	}
	ctx := rtcBrowser(t)
	// The page chooses, or the server, which is asked to. Who plays, and may have come first, need
	// not know.
	for codec, param := range map[string]string{"VP8": "vcodec", "VP9": "codec", "AV1": "vcodec"} {
		query := "stream=" + codec
		publish := query + "&" + param + "=" + strings.ToLower(codec)
		both := "<!doctype html><iframe allow='camera; microphone; autoplay' src='" + h.player("whip", publish) + "'></iframe><iframe allow='autoplay' src='" + h.player("whep", query) + "'></iframe>"
		if err := os.WriteFile(h.dir+"/html/players/"+codec+".html", []byte(both), 0o644); err != nil {
			t.Fatal(err)
		}
		visit(t, ctx, "http://"+h.web+"/players/"+codec+".html")
		last := ""
		played := regexp.MustCompile(`^connected, [0-9]+×[0-9]+, ` + codec + `, ([0-9]+) frames, `)
		wait(t, codec+" is played", func() bool {
			time.Sleep(200 * time.Millisecond)
			text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("[frames[0], frames[1]].map(f => f.document.querySelector('output').textContent).join(' / ')"))
			if err != nil {
				t.Fatal(err)
			}
			last = text
			_, player, _ := strings.Cut(text, " / ")
			m := played.FindStringSubmatch(player)
			if m == nil {
				return false
			}
			n, _ := strconv.Atoi(m[1])
			return n >= 10
		})
		t.Logf("the pages said %q", last)
	}
}

// simulcastPage publishes the camera in three layers.
const simulcastPage = `<!doctype html><output></output><script type="module">
const pc = new RTCPeerConnection()
const media = await navigator.mediaDevices.getUserMedia({ audio: true, video: { width: 1280, height: 720, frameRate: 15 } })
pc.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', sendEncodings: [
  { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: 120000 }, { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: 350000 }, { rid: 'f', maxBitrate: 900000 }] })
pc.addTransceiver(media.getAudioTracks()[0], { direction: 'sendonly' })
await pc.setLocalDescription()
const reply = await fetch('%s', { method: 'POST', headers: { 'Content-Type': 'application/sdp' }, body: pc.localDescription.sdp })
const sdp = await reply.text()
document.querySelector('output').textContent = reply.status
await pc.setRemoteDescription({ type: 'answer', sdp })
</script><iframe allow="autoplay" src="%s"></iframe>`

// oldLayers offers two more layers as pages did before rid: by SSRCs of a group.
const oldLayers = `pc.addTransceiver(media.getVideoTracks()[0], { direction: 'sendonly', streams: [media] })
const offer = await pc.createOffer()
const sdp0 = offer.sdp, first = sdp0.lastIndexOf('m=video')
const fid = sdp0.slice(first).match(/a=ssrc-group:FID (\d+) (\d+)/), cname = sdp0.slice(first).match(/a=ssrc:\d+ (cname:.*)/)[1], msid = sdp0.slice(first).match(/a=ssrc:\d+ (msid:.*)/)
let extra = ''
const prim = [fid[1]], rtx = [fid[2]]
for (let i = 1; i < 3; i++) { prim.push(String(1000 + i)); rtx.push(String(2000 + i)); extra += 'a=ssrc-group:FID ' + prim[i] + ' ' + rtx[i] + '\r\n'
 for (const s of [prim[i], rtx[i]]) { extra += 'a=ssrc:' + s + ' ' + cname + '\r\n'; if (msid) extra += 'a=ssrc:' + s + ' ' + msid[1] + '\r\n' } }
offer.sdp = sdp0.slice(0, first) + sdp0.slice(first).trimEnd() + '\r\na=ssrc-group:SIM ' + prim.join(' ') + '\r\n' + extra
await pc.setLocalDescription(offer)
`

// A browser publishes layers, and plays one of them; FFmpeg has the best by HTTP. Before a
// release: layers that are told apart by their SSRCs are taken too.
func TestRTCSimulcast(t *testing.T) {
	t.Parallel()
	hall(t)
	h := openRTC(t, "rtc_to_rtmp on;")
	if err := os.MkdirAll(h.dir+"/html/players", 0o755); err != nil {
		t.Fatal(err)
	}
	page := fmt.Sprintf(simulcastPage, "http://"+h.api+"/rtc/v1/whip/?app=live&stream=s", h.player("whep", "stream=s"))
	if err := os.WriteFile(h.dir+"/html/players/simulcast.html", []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx := visit(t, rtcBrowser(t), "http://"+h.web+"/players/simulcast.html")
	clients, last := "", ""
	t.Cleanup(func() { t.Logf("the page said %q; clients are %s", last, clients) })
	// A slow machine's browser sends fewer layers than it could; two it always does.
	publisher := regexp.MustCompile(`"id":"([a-z0-9]+)"[^}]*"type":"rtc-publish"`)
	twoLayers := func(names string) {
		t.Helper()
		layers := regexp.MustCompile(`"layers":\["` + names)
		wait(t, "two layers are sent", func() bool {
			b, _ := get("http://" + h.api + "/api/v1/clients/")
			if m := publisher.FindSubmatch(b); m != nil {
				b, _ = get("http://" + h.api + "/api/v1/clients/" + string(m[1]) + "?detail=1")
			}
			clients = string(b)
			return layers.MatchString(clients)
		})
	}
	twoLayers(`q [0-9]+x[0-9]+","(h|f) [0-9]+x[0-9]+"`)
	played := regexp.MustCompile(`^connected, [0-9]+×[0-9]+, H264, ([0-9]+) frames, `)
	wait(t, "the page plays what it publishes", func() bool {
		time.Sleep(200 * time.Millisecond)
		text, err := chromedp.Run(ctx, chromedp.Evaluate[string]("document.querySelector('output').textContent + ' / ' + frames[0].document.querySelector('output').textContent"))
		if err != nil {
			t.Fatal(err)
		}
		last = text
		_, text, _ = strings.Cut(text, " / ")
		m := played.FindStringSubmatch(text)
		if m == nil {
			return false
		}
		n, _ := strconv.Atoi(m[1])
		return n >= 15
	})
	if seen := demux(t, h.page("s", ".flv"), 3, ""); len(seen.pictures) < 5 { // however slow the machine is
		t.Errorf("ffmpeg decodes %d frames", len(seen.pictures))
	}
	if !*long {
		return
	}
	from, to := strings.Index(page, "pc.addTransceiver(media.getVideo"), strings.Index(page, "pc.addTransceiver(media.getAudio")
	page = strings.Replace(page[:from]+page[to:strings.Index(page, "<iframe")], "stream=s", "stream=old", 1)
	h.write(t, "old", strings.Replace(page, "await pc.setLocalDescription()", oldLayers, 1))
	visit(t, ctx, "http://"+h.web+"/players/old.html")
	twoLayers(`0 [0-9]+x[0-9]+","[12] [0-9]+x[0-9]+"`)
}
