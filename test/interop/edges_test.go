package interop

import (
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Timestamps that run over 24 and 31 bits while a stream is live are no event
// for who watches.
func TestTimestampsWrap(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	for name, offset := range map[string]string{"24 bits": "16773", "31 bits": "2147479"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, "")
			// A player from the start; the edge is 4 s later.
			player, frames := keep(t, h.stream("s"))
			wait(t, "the player waits", func() bool { s, _ := h.info(t, "s"); return s.Clients == 1 })
			pub := background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-output_ts_offset", offset, "-f", "flv", h.stream("s"))
			h.awaitLive(t, "s")
			got := demux(t, h.page("s", ".flv"), 7, "")
			bFrames.check(t, "flv", got, 7, true)
			bFrames.check(t, "flv after it", demux(t, h.page("s", ".flv"), 3, ""), 3, true)
			bFrames.check(t, "mp4 after it", demux(t, h.page("s", ".mp4"), 3, ""), 3, true)
			bFrames.check(t, "hls", demux(t, h.page("s", ".m3u8"), 3, "-bsf:a aac_adtstoasc"), 3, false)
			if !pub.running() || !player.running() {
				t.Errorf("publisher %v %s, player %v %s", pub.err, pub.log, player.err, player.log)
			}
			all := frames()
			sameRun(t, "player", all, bFrames.packets["video"], 10*rate)
			steady(t, "player", all, 0.045)
		})
	}
}

// Streams may be called anything, in apps of several levels and in vhosts that
// only parameters name.
func TestNames(t *testing.T) {
	t.Parallel()
	baseline.list(t)
	h := open(t, "} vhost other.example { http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }")
	for _, c := range []struct{ publish, play, page string }{
		{"live/ünï-猫", "live/ünï-猫", "live/" + url.PathEscape("ünï-猫") + ".flv"},
		{"live/a.b-c_d", "live/a.b-c_d", "live/a.b-c_d.flv"},
		{"one/two/s", "one/two/s", "one/two/s.flv"},
		{"live/s?key=1&vhost=other.example", "live/s?vhost=other.example", "live/s.flv?vhost=other.example"},
	} {
		t.Run(c.publish, func(t *testing.T) {
			t.Parallel()
			background(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-c", "copy", "-f", "flv", "rtmp://"+h.rtmp+"/"+c.publish)
			// Those who come before the publisher wait for it.
			baseline.check(t, "rtmp", demux(t, "rtmp://"+h.rtmp+"/"+c.play, 2, ""), 2, true)
			baseline.check(t, "flv", demux(t, "http://"+h.web+"/"+c.page, 2, ""), 2, true)
		})
	}
}

// A server that is told to stop ends everybody's connection well, and at once.
func TestStopWithClients(t *testing.T) {
	t.Parallel()
	baseline.list(t)
	h := open(t, "")
	pub := h.publish(t, baseline, "s")
	player, _ := keep(t, h.stream("s"))
	file := filepath.Join(t.TempDir(), "s.flv")
	curl := background(t, "curl", "-sS", "-o", file, h.page("s", ".flv"))
	idle := background(t, "curl", "-sS", "-o", file+".idle", h.page("nobody", ".flv")) // waits for a publisher
	wait(t, "all are there", func() bool { s, _ := h.info(t, "s"); return s.Clients == 3 })
	time.Sleep(3 * time.Second)
	h.process.signal(syscall.SIGTERM)
	if err := h.process.wait(5 * time.Second); err != nil {
		t.Errorf("server: %v", err)
	}
	for name, p := range map[string]*process{"publisher": pub, "player": player, "curl": curl, "waiting curl": idle} {
		if err := p.wait(5 * time.Second); exitCode(err) < 0 {
			t.Errorf("%s: %v %s", name, err, p.log)
		} else if name == "curl" && err != nil {
			t.Errorf("curl's answer was cut off: %v %s", err, p.log)
		}
	}
	baseline.check(t, "curl's file", demux(t, file, 2, ""), 2, true)
}

// At SIGQUIT the server lets nobody in, and ends when all have left.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	baseline.list(t)
	h := open(t, "")
	pub := h.publish(t, baseline, "s")
	player, frames := keep(t, h.stream("s"))
	wait(t, "all are there", func() bool { s, _ := h.info(t, "s"); return s.Clients == 2 })
	h.process.signal(syscall.SIGQUIT)
	wait(t, "nobody gets in", func() bool {
		r := run(t, "ffmpeg", "-v", "error", "-i", h.stream("s"), "-t", "1", "-f", "null", "-")
		return strings.Contains(r.errors, "refused")
	})
	if !pub.running() || !player.running() || !h.process.running() {
		t.Errorf("somebody has ended: publisher %v, player %v, server %v", pub.err, player.err, h.process.err)
	}
	time.Sleep(time.Second)
	got := frames()
	sameRun(t, "player", got, baseline.packets["video"], 2*rate)
	pub.signal(syscall.SIGINT)
	pub.wait(5 * time.Second)
	if err := h.process.wait(10 * time.Second); err != nil {
		t.Errorf("server: %v", err)
	}
}

// A publisher that falls silent is given up after a while, and the name is free.
func TestSilentPublisher(t *testing.T) {
	t.Parallel()
	h := open(t, "publish { normal_timeout 2000; }")
	first := h.publish(t, baseline, "s")
	first.signal(syscall.SIGSTOP)
	wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
	bFrames.list(t)
	h.publish(t, bFrames, "s")
	first.signal(syscall.SIGCONT)
	if err := first.wait(20 * time.Second); exitCode(err) <= 0 {
		t.Errorf("the silent publisher goes on: %v", err)
	}
	bFrames.check(t, "flv", demux(t, h.page("s", ".flv"), 2, ""), 2, true)
}
