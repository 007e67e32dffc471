package interop

import (
	"context"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// openRTC is open with WebRTC.
func openRTC(t *testing.T, rtc string) *house {
	t.Helper()
	return open(t, "rtc { enabled on; rtmp_to_rtc on; "+rtc+" }", "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+freeUDP(t), "SRS_RTC_SERVER_CANDIDATE=127.0.0.1")
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

// plays waits until a page plays a picture of a codec, and sound that can be heard.
func playsRTC(t *testing.T, tab context.Context, codec string, frames int) {
	t.Helper()
	m := says(t, tab, codec+" is played", `^connected, 320×180, `+codec+`, ([0-9]+) frames, ([0-9]+) freezes, opus, sound energy ([0-9.]+)$`)
	wait(t, "more frames", func() bool {
		time.Sleep(100 * time.Millisecond)
		return lookAt(t, tab).Frames >= frames
	})
	m = says(t, tab, codec+" is played", `^connected, 320×180, `+codec+`, ([0-9]+) frames, ([0-9]+) freezes, opus, sound energy ([0-9.]+)$`)
	if e, err := strconv.ParseFloat(m[3], 64); err != nil || e <= 0 {
		t.Errorf("nothing is heard: %s", m[0])
	}
}

var opusSound = &source{file: "opus.mp4", video: true, audio: true, args: picture + strings.Replace(sound, "44100", "48000", 1) + x264 + "-preset ultrafast -profile:v baseline -c:a libopus -b:a 64k"}

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
	playsRTC(t, visit(t, ctx, h.player("whep", "stream=s")), "H264", 50)
	playsRTC(t, visit(t, ctx, h.player("rtc_player", "stream=av1")), "AV1", 50)
}
