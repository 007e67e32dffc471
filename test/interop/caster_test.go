package interop

import (
	"strings"
	"testing"

	"weir/internal/protocol/protocoltest"
)

// casters opens a server with stream casters: kind, listen, and output where %s is
// the server's own RTMP address. SRT plays there too.
func casters(t *testing.T, all ...[3]string) (h *house, srt string) {
	t.Helper()
	var conf strings.Builder
	srt = protocoltest.FreeAddr(t)
	for i, c := range all {
		if i > 0 {
			conf.WriteString("}\n")
		} else {
			// ffmpeg's transport streams have sound in bursts, behind the picture.
			conf.WriteString("play { mix_correct on; } srt { enabled on; } } srt_server { enabled on; listen " + srt + "; } ")
		}
		conf.WriteString("stream_caster { enabled on; caster " + c[0] + "; listen " + c[1] + "; output " + strings.ReplaceAll(c[2], "%s", "[rtmp]") + ";")
	}
	return open(t, conf.String()), srt
}

// A transport stream in datagrams, bare, in RTP and by multicast, is published with
// the packets that ffmpeg sent.
func TestCasterTS(t *testing.T) {
	for name, c := range map[string]struct {
		src    *source
		format string
		to     string // "" for a port of loopback
		codec  string
	}{
		"udp":       {bFrames, "mpegts", "", ""},
		"rtp":       {baseline, "rtp_mpegts", "", ""},
		"mp3":       {mp3Sound, "mpegts", "", ""},
		"sound":     {soundOnly, "mpegts", "", ""},
		"multicast": {baseline, "mpegts", "239.255.77.1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.src.list(t)
			at := protocoltest.FreeAddr(t)
			to := "udp://" + at + "?pkt_size=1316"
			if c.format == "rtp_mpegts" {
				to = "rtp://" + at + "?pkt_size=1316"
			}
			if c.to != "" {
				_, port, _ := strings.Cut(at, ":")
				at = c.to + ":" + port
				to = "udp://" + at + "?pkt_size=1316&localaddr=127.0.0.1"
			}
			h, srt := casters(t, [3]string{"mpegts_over_udp", at, "rtmp://%s/live/s"})
			background(t, "ffmpeg", "-v", "error", "-re", "-i", c.src.path(t), "-c", "copy", "-f", c.format, to)
			h.awaitLive(t, "s")
			c.src.check(t, "rtmp", demux(t, h.stream("s"), 3, ""), 3, true)
			h.awaitHLS(t, "s")
			if name == "udp" {
				c.src.check(t, "srt", demux(t, "srt://"+srt+"?streamid=live/s", 3, "-bsf:a aac_adtstoasc"), 3, false)
				c.src.check(t, "hls", demux(t, h.page("s", ".m3u8"), 3, "-bsf:a aac_adtstoasc"), 3, false)
			}
		})
	}
}

// A stream goes off the air when nothing comes any more, and comes back.
func TestCasterTSGoesAndComes(t *testing.T) {
	t.Parallel()
	at := protocoltest.FreeAddr(t)
	h, _ := casters(t, [3]string{"mpegts_over_udp", at, "rtmp://%s/live/s"})
	for range 2 {
		p := background(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-c", "copy", "-f", "mpegts", "udp://"+at+"?pkt_size=1316")
		h.awaitLive(t, "s")
		p.kill()
		wait(t, "the stream is off the air", func() bool { s, ok := h.info(t, "s"); return !ok || !s.Publish.Active })
	}
}

// FLV as the body of a POST, and of a PUT, is published as output says: here, or on
// another server.
func TestCasterFLV(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	other := open(t, "")
	here, there := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	h, srt := casters(t, [3]string{"flv", here, "rtmp://%s/[app]/[stream]"}, [3]string{"flv", there, "rtmp://" + other.rtmp + "/live/[stream]"})
	post := func(to, method string) *process {
		return background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", "-method", method, to)
	}
	post("http://"+here+"/live/s.flv", "POST")
	post("http://"+here+"/live/put.flv", "PUT")
	post("http://"+there+"/any/s.flv", "POST")
	h.awaitLive(t, "s")
	h.awaitLive(t, "put")
	other.awaitLive(t, "s")
	// In one piece, whose length is told, and slowly.
	background(t, "curl", "-s", "-T", bFrames.path(t), "--limit-rate", "100k", "http://"+here+"/live/whole.flv")
	h.awaitLive(t, "whole")
	bFrames.check(t, "srt", demux(t, "srt://"+srt+"?streamid=live/s", 3, "-bsf:a aac_adtstoasc"), 3, false)
	bFrames.check(t, "rtmp", demux(t, h.stream("s"), 3, ""), 3, true)
	bFrames.check(t, "rtmp", demux(t, other.stream("s"), 3, ""), 3, true)
	for path, want := range map[string]string{"/live/s.flv": "409", "/s.flv": "400"} {
		out := must(t, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "--data-binary", "FLV\x01", "http://"+here+path)
		if out != want {
			t.Errorf("POST %s: %s, want %s", path, out, want)
		}
	}
}
