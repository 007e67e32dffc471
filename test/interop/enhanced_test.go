package interop

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// av returns FFmpeg 8 with arguments.
func av(args ...string) *exec.Cmd {
	return exec.Command("node", append([]string{"../clients/av.mjs"}, args...)...)
}

// avSeen is what FFmpeg 8 says of an address or a file.
type avSeen struct {
	Packets int
	Streams []struct {
		Kind, Codec string
		Width, Rate int
		Bytes       int
		Packets     [][3]any
	}
}

func avList(t *testing.T, args ...string) (seen avSeen) {
	t.Helper()
	r := run(t, "node", append([]string{"../clients/av.mjs"}, args...)...)
	if r.err != nil {
		t.Fatalf("av.mjs %q: %v", args, r)
	}
	if err := json.Unmarshal([]byte(r.out), &seen); err != nil {
		t.Fatalf("av.mjs %q: %v: %s", args, err, r.out)
	}
	return seen
}

// stream returns the packets of the first stream of a kind, and the codec.
func (s avSeen) stream(kind string) (codec string, all []packet) { return s.numbered(kind, 0) }

// bitrate is that of the first stream of a kind, in bits a second, 0 if too little came.
func (s avSeen) bitrate(kind string) int {
	for _, st := range s.Streams {
		if _, all := s.stream(kind); st.Kind == kind && len(all) > 1 {
			n := float64(len(all)-1) / float64(len(all)) // the last one's time is not in the span
			return int(8 * float64(st.Bytes) * n / (all[len(all)-1].dts - all[0].dts))
		}
	}
	return 0
}

// packets returns those of the nth stream of a kind, from 0.
func (s avSeen) packets(kind string, n int) []packet {
	_, all := s.numbered(kind, n)
	return all
}

// numbered returns the packets of the nth stream of a kind, and the codec.
func (s avSeen) numbered(kind string, n int) (codec string, all []packet) {
	for _, st := range s.Streams {
		if st.Kind != kind {
			continue
		}
		if n--; n >= 0 {
			continue
		}
		for _, p := range st.Packets {
			at, _ := p[0].(float64)
			hash, _ := p[1].(string)
			all = append(all, packet{at / 1000, at / 1000, hash})
		}
		return st.Codec, all
	}
	return "", nil
}

// FFmpeg 8 publishes two pictures and two sounds, and reads all of them back over RTMP and
// HTTP-FLV where it asks for them; who does not, as players of old, gets the first of each.
// MP4 has them too, and SRT, by which they may also come.
func TestMultitrack(t *testing.T) {
	t.Parallel()
	want := avList(t, "list", multi.path(t))
	h, srt := openSRT(t, "")
	log := newJournal()
	cmd := av("publish", multi.path(t), h.stream("s"))
	cmd.Stdout, cmd.Stderr = log, log
	start(t, cmd, log)
	h.awaitLive(t, "s")
	for _, url := range []string{h.stream("s") + "?tracks=all", h.page("s", ".flv") + "?tracks=all", h.page("s", ".flv")} {
		tracks := 1
		if strings.Contains(url, "tracks=all") {
			tracks = 2
		}
		got := avList(t, "watch", url, "--seconds", "2")
		if len(got.Streams) != 2*tracks {
			t.Errorf("%s has %d streams", url, len(got.Streams))
		}
		for _, kind := range []string{"video", "audio"} {
			for n := range tracks {
				packets, all := got.packets(kind, n), want.packets(kind, n)
				what := fmt.Sprintf("%s: %s %d", url, kind, n)
				sameRun(t, what, packets, all, 30)
				steady(t, what, packets, 0.045)
			}
		}
	}
	old := demux(t, h.stream("s"), 2, "")
	sameRun(t, "video of old", old.video, want.packets("video", 0), 30)
	sameRun(t, "audio of old", old.audio, want.packets("audio", 0), 50)
	probe := func(what, url string) {
		got := must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", url)
		for _, s := range []string{"h264,320", "h264,160", "aac"} {
			if !strings.Contains(got, s) {
				t.Errorf("%s has %q", what, got)
			}
		}
	}
	probe("MP4", h.page("s", ".mp4")+"?tracks=all")
	probe("SRT", "srt://"+srt+"?streamid=live/s")
	// And by SRT in.
	background(t, "ffmpeg", "-v", "error", "-re", "-i", multi.path(t), "-map", "0", "-c", "copy", "-f", "mpegts", "srt://"+srt+"?streamid=#!::r=live/in,m=publish&pkt_size=1316")
	h.awaitLive(t, "in")
	got := avList(t, "watch", h.stream("in")+"?tracks=all", "--seconds", "2")
	for n := range 2 {
		sameRun(t, fmt.Sprintf("picture %d by SRT", n), got.packets("video", n), want.packets("video", n), 30)
		sameRun(t, fmt.Sprintf("sound %d by SRT", n), got.packets("audio", n), want.packets("audio", n), 50)
	}
}

// FFmpeg 8 publishes over Enhanced RTMP what plain RTMP has no words for, and
// plays it back over RTMP and HTTP-FLV; older programs get it as MP4 and HLS.
func TestEnhancedRTMP(t *testing.T) {
	for _, c := range []struct {
		src          *source
		video, audio string
		old          map[string]string // form to extension
	}{
		{hevc, "hevc", "aac", map[string]string{"mp4": ".mp4", "hls": ".m3u8"}},
		{av1, "av1", "opus", map[string]string{"mp4": ".mp4"}},
		{vp9, "vp9", "opus", map[string]string{"mp4": ".mp4"}},
	} {
		t.Run(c.video, func(t *testing.T) {
			t.Parallel()
			c.src.list(t)
			want := avList(t, "list", c.src.path(t))
			h := open(t, "")
			log := newJournal()
			cmd := av("publish", c.src.path(t), h.stream("s"))
			cmd.Stdout, cmd.Stderr = log, log
			pub := start(t, cmd, log)
			t.Cleanup(func() {
				if !pub.running() {
					t.Errorf("FFmpeg 8 no longer publishes: %v\n%s", pub.err, log)
				}
			})
			h.awaitLive(t, "s")
			for form, url := range map[string]string{"rtmp": h.stream("s"), "flv": h.page("s", ".flv")} {
				t.Run(form, func(t *testing.T) {
					t.Parallel()
					got := avList(t, "watch", url, "--seconds", "3")
					for kind, codec := range map[string]string{"video": c.video, "audio": c.audio} {
						name, packets := got.stream(kind)
						_, all := want.stream(kind)
						if name != codec {
							t.Errorf("%s is %q, want %q", kind, name, codec)
						}
						sameRun(t, kind, packets, all, 70)
						steady(t, kind, packets, 0.045)
					}
				})
			}
			for form, ext := range c.old {
				t.Run(form, func(t *testing.T) {
					t.Parallel()
					more := ""
					if form == "hls" {
						h.awaitHLS(t, "s")
						more = "-bsf:a aac_adtstoasc"
					}
					c.src.check(t, form, demux(t, h.page("s", ext), 3, more), 3, form != "hls")
				})
			}
		})
	}
}
