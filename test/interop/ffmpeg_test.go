package interop

import (
	"testing"
)

// ffmpeg publishes every plain kind of stream, and reads it back in every form.
// What comes out is what went in, byte for byte where the form keeps the bytes,
// and picture for picture.
func TestFFmpeg(t *testing.T) {
	const span = 3 // seconds that are played
	for name, src := range map[string]*source{
		"baseline": baseline, "bframes": bFrames, "mp3": mp3Sound, "sound": soundOnly, "mute": mute,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src.list(t)
			h := open(t, "")
			pub := h.publish(t, src, "s")
			t.Cleanup(func() {
				if !pub.running() {
					t.Errorf("the publisher ended: %v\n%s", pub.err, pub.log)
				}
			})
			for form, url := range map[string]string{"rtmp": h.stream("s"), "flv": h.page("s", ".flv"), "mp4": h.page("s", ".mp4"), "hls": h.page("s", ".m3u8")} {
				t.Run(form, func(t *testing.T) {
					t.Parallel()
					more := ""
					if form == "hls" {
						h.awaitHLS(t, "s")
						if src.audio && src != mp3Sound {
							more = "-bsf:a aac_adtstoasc"
						}
					}
					src.check(t, form, demux(t, url, span, more), span, form != "hls")
				})
			}
		})
	}
}

// Where the kernel has no io_uring, or the server is told so, viewers are sent to
// in other ways; what they get is the same.
func TestEveryWayOfSending(t *testing.T) {
	for _, way := range []string{"io_uring", "writev", "goroutine"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			bFrames.list(t)
			h := open(t, "", "WEIR_SENDER="+way)
			h.publish(t, bFrames, "s")
			for form, url := range map[string]string{"rtmp": h.stream("s"), "flv": h.page("s", ".flv"), "mp4": h.page("s", ".mp4")} {
				t.Run(form, func(t *testing.T) {
					t.Parallel()
					bFrames.check(t, form, demux(t, url, 4, ""), 4, true)
				})
			}
		})
	}
}
