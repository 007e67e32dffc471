package interop

import (
	"encoding/json"
	"testing"
)

// binSeen is what webrtcbin tells of what it played.
type binSeen struct {
	Frames, Sounds, Peak int
	Size                 string
}

// webrtcbin has GStreamer's webrtcbin play 30 frames of a codec and as many pieces of
// sound; opus is sound alone.
func (h *house) webrtcbin(t *testing.T, stream, codec string, args ...string) (seen binSeen) {
	t.Helper()
	r := run(t, "/usr/bin/python3", append([]string{"../clients/webrtc.py", "play", "http://" + h.api + "/rtc/v1/whep/?app=live&stream=" + stream, codec, "30"}, args...)...)
	if err := json.Unmarshal([]byte(r.out), &seen); err != nil || r.err != nil {
		t.Errorf("webrtcbin plays %s: %v", stream, r)
	}
	return seen
}

// GStreamer's webrtcbin publishes by WHIP and plays by WHEP, H.264 and H.265 with Opus,
// and FFmpeg has the same over HTTP, with AAC.
func TestWebRTCBin(t *testing.T) {
	t.Parallel()
	h := openRTC(t, "rtc_to_rtmp on; aac_bitrate 96000;")
	for _, codec := range []string{"h264", "h265"} {
		pub := background(t, "/usr/bin/python3", "../clients/webrtc.py", "publish", "http://"+h.api+"/rtc/v1/whip/?app=live&stream="+codec, codec)
		h.awaitLive(t, codec)
		seen := h.webrtcbin(t, codec, codec+"+opus")
		if seen.Frames < 30 || seen.Sounds < 30 || seen.Peak < 3000 || seen.Size != "320x180" {
			t.Errorf("%s: %+v; the publisher: %s", codec, seen, tail(pub.log.String(), 10))
		}
		got := avList(t, "watch", h.page(codec, ".flv"), "--seconds", "2")
		for kind, want := range map[string]string{"video": map[string]string{"h264": "h264", "h265": "hevc"}[codec], "audio": "aac"} {
			if name, packets := got.stream(kind); name != want || len(packets) < 15 {
				t.Errorf("%s: %s over HTTP is %q with %d packets, want %s", codec, kind, name, len(packets), want)
			}
			// Over two seconds of a busy machine that says little.
			if rate := got.bitrate(kind); *long && kind == "audio" && (rate < 60000 || rate > 110000) {
				t.Errorf("%s: %d bits a second of AAC, with aac_bitrate 96000", codec, rate)
			}
		}
		pub.kill()
	}
}
