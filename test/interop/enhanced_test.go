package interop

import (
	"encoding/json"
	"os/exec"
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

// stream returns the packets of one kind, and the codec.
func (s avSeen) stream(kind string) (codec string, all []packet) {
	for _, st := range s.Streams {
		if st.Kind != kind {
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
