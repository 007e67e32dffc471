//go:build long

package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The other codecs that ffmpeg takes by RTSP come as they were published, and GStreamer,
// which asks for UDP and multicast first, plays picture and sound.
func TestRTSPPlayers(t *testing.T) {
	for name, src := range map[string]*source{"hevc": hevc, "vp9": vp9, "mp3": mp3Sound} {
		t.Run(name, func(t *testing.T) {
			h, url := openRTSP(t, "")
			background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
			h.awaitLive(t, "s")
			src.list(t)
			got := rtspHashes(t, url, "5", "VP9 support is still experimental")
			sameRun(t, "decoded pictures", got.pictures, src.pictures, 3*rate)
			sameRun(t, "packets of sound", got.audio, src.packets["audio"], 3*38)
		})
	}
	t.Run("gstreamer", func(t *testing.T) {
		h, url := openRTSP(t, "")
		h.publish(t, bFrames, "s")
		pictures, sound := filepath.Join(t.TempDir(), "pictures"), filepath.Join(t.TempDir(), "sound")
		must(t, "gst-launch-1.0", strings.Fields("-q rtspsrc location="+url+" name=r r. ! queue ! rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=I420 ! identity eos-after=100 ! filesink location="+pictures+
			" r. ! queue ! rtpmp4gdepay ! aacparse ! avdec_aac ! audioconvert ! identity eos-after=160 ! filesink location="+sound)...)
		for file, least := range map[string]int64{pictures: 75 * 320 * 180 * 3 / 2, sound: 100 * 1024 * 2} {
			if f, err := os.Stat(file); err != nil || f.Size() < least {
				t.Errorf("%s: %v, %v, want %d bytes", filepath.Base(file), f, err, least)
			}
		}
	})
	// Without B-frames, of the first picture of which this ffmpeg does not know when it is
	// shown, whoever the server is; and FLV must.
	t.Run("ingest", func(t *testing.T) {
		from, url := openRTSP(t, "")
		from.publish(t, baseline, "s")
		h := open(t, strings.ReplaceAll(example(t, "ingest.rtsp.conf"), "rtsp://127.0.0.1:8554/stream", url))
		h.awaitLive(t, "livestream")
		got := demux(t, h.stream("livestream"), 4, "")
		baseline.list(t)
		sameRun(t, "decoded pictures", got.pictures, baseline.pictures, 2*rate)
	})
}
