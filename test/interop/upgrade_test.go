//go:build long

package interop

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// lengthy is a source for who watches for long.
var lengthy = &source{file: "lengthy.flv", video: true, audio: true, args: bFrames.args, length: 240}

// lasting is a server that is upgraded: its log is a file, which the processes share.
type lasting struct {
	*house
	t    *testing.T
	path string // of the log
}

// openLasting is open for a server that is upgraded.
func openLasting(t *testing.T, vhost string, env ...string) *lasting {
	t.Helper()
	program, err := built()
	if err != nil {
		t.Fatal(err)
	}
	l := &lasting{house: &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}, t: t}
	l.path = filepath.Join(l.dir, "log.txt")
	file := filepath.Join(l.dir, "weir.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, l.rtmp, l.web, "", l.api, strings.ReplaceAll(vhost, "[rtmp]", l.rtmp)), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := os.Create(l.path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command(program, "-c", file)
	cmd.Dir, cmd.Stdout, cmd.Stderr = l.dir, out, out
	cmd.Env = append(append(os.Environ(), "GORACE=atexit_sleep_ms=20", "SRS_GRACE_FINAL_WAIT=1000"), env...)
	l.process = start(t, cmd, nil)
	t.Cleanup(l.shut)
	wait(t, "the server is ready", func() bool { return strings.Contains(l.said(), "ready in") })
	return l
}

func (l *lasting) said() string {
	b, _ := os.ReadFile(l.path)
	return string(b)
}

// pid is the process that lets in.
func (l *lasting) pid() int {
	b, _ := os.ReadFile(filepath.Join(l.dir, "weir.pid"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

func lives(pid int) bool { return syscall.Kill(pid, 0) == nil }

// upgrade has another process take over, and returns the one before.
func (l *lasting) upgrade() (before int) {
	l.t.Helper()
	before = l.pid()
	res, err := http.Post("http://"+l.api+"/api/v1/upgrade", "", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	var answer struct{ New int }
	if json.NewDecoder(res.Body).Decode(&answer); res.StatusCode != http.StatusOK || answer.New == before || answer.New == 0 {
		l.t.Fatalf("upgrade: %d, %+v", res.StatusCode, answer)
	}
	return before
}

// shut ends all its processes as an operator would.
func (l *lasting) shut() {
	last := l.pid()
	if last == 0 {
		return
	}
	syscall.Kill(last, syscall.SIGTERM)
	deadline := time.Now().Add(10 * time.Second)
	for lives(last) && time.Now().Before(deadline) {
		time.Sleep(20 * time.Millisecond)
	}
	if lives(last) {
		l.t.Error("the server does not end")
		syscall.Kill(last, syscall.SIGKILL)
	}
	text := l.said()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if at := strings.Index(text, bad); at >= 0 {
			l.t.Errorf("server's log has %q:\n%s", bad, text[max(0, at-200):min(len(text), at+6000)])
		}
	}
	if l.t.Failed() {
		l.t.Logf("the end of the server's log:\n%s", tail(text, 60))
	}
}

// follower is ffmpeg that plays and writes down each packet.
type follower struct {
	*process
	name, file string
	exact      bool // packets are the source's, byte by byte
	step       float64
}

// follow has ffmpeg play an address.
func follow(t *testing.T, name, url string, exact bool, more ...string) *follower {
	t.Helper()
	f := &follower{name: name, file: filepath.Join(t.TempDir(), "packets"), exact: exact, step: 0.045}
	args := append([]string{"-v", "error", "-copyts"}, more...)
	f.process = background(t, "ffmpeg", append(args, "-i", url, "-map", "0:v:0", "-c", "copy", "-flush_packets", "1", "-f", "framemd5", f.file)...)
	return f
}

// has counts what it has written down.
func (f *follower) has() int {
	b, _ := os.ReadFile(f.file)
	return strings.Count(string(b), "\n0,")
}

// more waits until it has so many packets more.
func (f *follower) more(t *testing.T, n int) {
	t.Helper()
	from := f.has()
	wait(t, f.name+" sees on", func() bool {
		if !f.running() {
			t.Fatalf("%s has ended: %v\n%s", f.name, f.err, f.log)
		}
		return f.has() >= from+n
	})
}

// whole checks that it had each packet of the source once, in order.
func (f *follower) whole(t *testing.T, s *source) {
	t.Helper()
	f.kill()
	got := readHashes(t, f.file)["video"]
	got = got[:max(0, len(got)-1)] // the last line may be half
	if f.exact {
		sameRun(t, f.name, got, s.packets["video"], 3*rate)
	}
	steady(t, f.name, got, f.step)
	t.Logf("%s: %d packets", f.name, len(got))
}

// What becomes of clients in an upgrade, test/script sees for each change with a few of
// them (TestUpgradeKeepsStreams); the tests below, with -long, for as many kinds as there are.

// joins has players of all kinds come, which are followed packet by packet. Of DASH it is
// none: ffmpeg 5.1 reads segments again when a manifest drops some, whatever the server.
func (l *lasting) joins(when, srt string) []*follower {
	t := l.t
	return []*follower{follow(t, "hls, "+when, l.page("s", ".m3u8"), true), follow(t, "rtmp, "+when, l.stream("s"), true),
		follow(t, "flv, "+when, l.page("s", ".flv"), true),
		follow(t, "srt, "+when, "srt://"+srt+"?streamid=#!::r=live/s,m=request", false)}
}

// pages has pages come, and returns what sees that they play on without complaint.
func (l *lasting) pages(when string) (check func()) {
	t := l.t
	low := plays(t, lowPage, hlsJS, l.page("s", ".m3u8"))
	whep := visit(t, rtcBrowser(t), l.player("whep", "stream=s"))
	return func() {
		t.Helper()
		if l := watches(t, low, 320, 180); strings.Contains(l.State, "fatal") {
			t.Errorf("hls.js, %s, complained: %s", when, l.State)
		}
		from := lookAt(t, whep).Frames // B-frames are left out
		wait(t, "the page of WHEP sees on, "+when, func() bool { return lookAt(t, whep).Frames > from+2*rate })
		t.Logf("the page of WHEP, %s: %s", when, lookAt(t, whep).State)
	}
}

// Players of all kinds that were there before an upgrade, and that come during it, have each
// packet of the stream once, in order, and pages play on without complaint; through another
// upgrade too, while the first server still has its publisher.
func TestUpgradePlayers(t *testing.T) {
	lengthy.list(t)
	srt := protocoltest.FreeAddr(t)
	l := openLasting(t, dashConf+"hds { enabled on; hds_path ./html; hds_fragment 3; hds_window 30; } rtc { enabled on; rtmp_to_rtc on; } srt { enabled on; }",
		"SRS_VHOST_HLS_ENABLED=on", "SRS_VHOST_HLS_HLS_LOW_LATENCY=on", "SRS_VHOST_HLS_HLS_USE_FMP4=on", "SRS_VHOST_HLS_HLS_WINDOW=20",
		"SRS_SRT_SERVER_ENABLED=on", "SRS_SRT_SERVER_LISTEN="+srt, "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+protocoltest.FreeAddr(t), "SRS_RTC_SERVER_CANDIDATE=127.0.0.1")
	l.publish(t, lengthy, "s")
	l.awaitHLS(t, "s")
	l.awaitDASH(t, "s")
	dash := plays(t, dashPage, dashPlayers["dash.js"][1], l.page("s", ".mpd"))
	all, checks := l.joins("from before", srt), []func(){l.pages("from before")}
	checks[0]()
	hds := filepath.Join(t.TempDir(), "out.flv")
	background(t, "yt-dlp", "--no-part", "--fixup", "never", "--no-cache-dir", "-o", hds, l.page("s", ".f4m"))
	wait(t, "yt-dlp has something", func() bool { return pictures(t, hds) > 0 })
	see := func(n int) {
		t.Helper()
		for _, f := range all {
			f.more(t, n)
		}
	}
	see(rate)
	before := l.upgrade()
	all, checks = append(all, l.joins("from during", srt)...), append(checks, l.pages("from during"))
	see(3 * rate)
	for _, check := range checks {
		check()
	}
	if l := watches(t, dash, 320, 180); l.State != "" {
		t.Errorf("dash.js complained: %s", l.State)
	}
	l.upgrade()
	checks[1]() // the first browser's time is over
	see(2 * rate)
	had := pictures(t, hds)
	wait(t, "yt-dlp goes on", func() bool { time.Sleep(time.Second); return pictures(t, hds) > had+4*rate })
	got := demux(t, hds, lengthy.length, "")
	sameRun(t, "hds", got.video, lengthy.packets["video"], 8*rate)
	t.Logf("hds: %d packets", len(got.video))
	if !lives(before) {
		t.Error("the first server has ended while its publisher is there")
	}
	for _, f := range all {
		f.whole(t, lengthy)
	}
}

// What publishers of other kinds send, and what is made of it, goes on too: by SRT, with HLS
// that is encrypted; by WHIP; of several tracks; what is forwarded, had by an edge and
// ingested. Each program runs once.
func TestUpgradePublishers(t *testing.T) {
	lengthy.list(t)
	srt := protocoltest.FreeAddr(t)
	to := open(t, "")
	l := openLasting(t, "srt { enabled on; } play { mix_correct on; } rtc { enabled on; rtc_to_rtmp on; } forward { enabled on; destination "+to.rtmp+"; }\n"+
		"exec { enabled on; publish sh -c 'echo [stream] $$ >> exec.txt; exec sleep 1000'; }\n"+
		"ingest in { enabled on; input { type file; url "+lengthy.path(t)+"; } ffmpeg /usr/bin/ffmpeg; engine { enabled off; output rtmp://[rtmp]/live/in; } }",
		"SRS_VHOST_HLS_HLS_KEYS=on", "SRS_VHOST_HLS_HLS_FRAGMENTS_PER_KEY=3", "SRS_VHOST_HLS_HLS_WINDOW=20",
		"SRS_SRT_SERVER_ENABLED=on", "SRS_SRT_SERVER_LISTEN="+srt, "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+protocoltest.FreeAddr(t), "SRS_RTC_SERVER_CANDIDATE=127.0.0.1")
	edge := openLasting(t, edgeOf(l.rtmp, ""))
	pub := background(t, "ffmpeg", "-v", "error", "-re", "-i", lengthy.path(t), "-c", "copy", "-f", "mpegts", "srt://"+srt+"?streamid=#!::r=live/s,m=publish&pkt_size=1316")
	background(t, "node", "../clients/av.mjs", "publish", multi.path(t), l.stream("m"))
	whip := visit(t, rtcBrowser(t), l.player("whip", "stream=w"))
	for _, name := range []string{"s", "m", "w", "in"} {
		l.awaitLive(t, name)
	}
	for _, name := range []string{"s", "m"} {
		l.awaitHLS(t, name)
	}
	join := func(when string) []*follower {
		w := follow(t, "what a browser publishes, "+when, l.stream("w"), false)
		w.step = 1 // as often as it has a picture
		return []*follower{follow(t, "encrypted hls, "+when, l.page("s", ".m3u8"), false), follow(t, "the second picture, "+when, l.page("m.video1", ".m3u8"), false),
			follow(t, "the ingest, "+when, l.stream("in"), false), w, follow(t, "the edge, "+when, edge.page("s", ".flv"), false)}
	}
	all := append(join("from before"), follow(t, "forwarded", to.stream("s"), false))
	see := func(n int) {
		t.Helper()
		for _, f := range all {
			f.more(t, n)
		}
	}
	see(rate)
	programs := func() string {
		b, _ := os.ReadFile(filepath.Join(l.dir, "exec.txt"))
		return fmt.Sprint(strings.Count(string(b), "\n"), " of exec, ", strings.Count(l.said(), "program started"), " in all")
	}
	had := programs()
	l.upgrade()
	all = append(all, join("from during")...)
	see(2 * rate)
	l.upgrade()
	see(2 * rate)
	if now := programs(); now != had {
		t.Errorf("programs: %s, before the upgrades %s", now, had)
	}
	if !pub.running() {
		t.Errorf("the encoder of SRT has ended: %v\n%s", pub.err, pub.log)
	}
	t.Logf("the page of WHIP: %s", lookAt(t, whip).State)
	// Then the edge, of which the one who came before goes.
	before := edge.upgrade()
	late := follow(t, "the edge, after it was upgraded itself", edge.page("s", ".flv"), false)
	late.more(t, rate)
	for _, f := range all {
		f.whole(t, lengthy)
	}
	late.more(t, 8*rate)
	if !lives(before) {
		t.Error("the edge's first server has ended while the stream is had from it")
	}
	late.whole(t, lengthy)
	again := follow(t, "rtmp at the edge", edge.stream("s"), false)
	again.more(t, rate)
	syscall.Kill(before, syscall.SIGTERM) // as when its time is over
	wait(t, "it ends", func() bool { return !lives(before) })
	again.more(t, 4*rate)
	again.step = 1.5
	again.whole(t, lengthy)
}
