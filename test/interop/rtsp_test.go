package interop

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/protocol/protocoltest"
)

const rtspOn = "rtsp { enabled on; rtmp_to_rtsp on; }"

// openRTSP starts a server that speaks RTSP, and returns the address of its stream s.
func openRTSP(t *testing.T, vhost string) (h *house, url string) {
	t.Helper()
	addr := protocoltest.FreeAddr(t)
	return open(t, rtspOn+vhost, "SRS_RTSP_SERVER_ENABLED=on", "SRS_RTSP_SERVER_LISTEN="+addr), "rtsp://" + addr + "/live/s"
}

// rtspHashes lets ffmpeg play some seconds: packets of sound as they come, and decoded
// pictures. (When packets are to be decoded RTP does not say.) It asks for UDP first, and
// says what it is answered.
func rtspHashes(t *testing.T, url, seconds string, says ...string) received {
	t.Helper()
	dir := t.TempDir()
	sound, pictures := filepath.Join(dir, "sound"), filepath.Join(dir, "pictures")
	r := run(t, "ffmpeg", "-v", "error", "-xerror", "-copyts", "-t", seconds, "-i", url, "-map", "0:a", "-c", "copy", "-f", "framemd5", sound,
		"-map", "0:v", "-vsync", "passthrough", "-f", "framemd5", pictures)
	if r.err != nil || !strings.Contains(r.errors, "SETUP failed: 461 Unsupported transport") {
		t.Fatalf("ffmpeg: %v", r)
	}
	for line := range strings.Lines(r.errors) {
		if !slices.ContainsFunc(append(says, "461"), func(s string) bool { return strings.Contains(line, s) }) {
			t.Errorf("ffmpeg says %s", line)
		}
	}
	return received{nil, readHashes(t, sound)["audio"], readHashes(t, pictures)["video"]}
}

// ffmpeg asks for UDP, is told that there is TCP, and plays every picture and all sound
// as they were published, together.
func TestRTSP(t *testing.T) {
	t.Parallel()
	h, url := openRTSP(t, "")
	h.publish(t, bFrames, "s")
	bFrames.list(t)
	got := rtspHashes(t, url, "5")
	sameRun(t, "decoded pictures", got.pictures, bFrames.pictures, 3*rate)
	sameRun(t, "packets of sound", got.audio, bFrames.packets["audio"], 3*38)
	if t.Failed() {
		return
	}
	// They belong together as they did at the publisher's. (Of the first picture ffmpeg does
	// not know when it is shown.)
	time := func(all []packet, p packet) float64 {
		for _, q := range all {
			if q.hash == p.hash {
				return q.pts
			}
		}
		return 0
	}
	picture, sound := got.pictures[5], got.audio[5]
	want := time(bFrames.pictures, picture) - time(bFrames.packets["audio"], sound)
	if is := picture.pts - sound.pts; is < want-0.021 || is > want+0.021 {
		t.Errorf("a picture is %.3f s after a sound, %.3f s at the publisher's", is, want)
	}
}
