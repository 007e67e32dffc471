package interop

import (
	"encoding/json"
	"testing"
)

// GStreamer's webrtcbin publishes by WHIP and plays by WHEP, H.264 and H.265 with Opus,
// and FFmpeg has the same over HTTP, with AAC.
func TestWebRTCBin(t *testing.T) {
	t.Parallel()
	h := openRTC(t, "rtc_to_rtmp on;")
	for _, codec := range []string{"h264", "h265"} {
		query := "?app=live&stream=" + codec
		pub := background(t, "/usr/bin/python3", "../clients/webrtc.py", "publish", "http://"+h.api+"/rtc/v1/whip/"+query, codec)
		h.awaitLive(t, codec)
		r := run(t, "/usr/bin/python3", "../clients/webrtc.py", "play", "http://"+h.api+"/rtc/v1/whep/"+query, codec, "30")
		var seen struct {
			Frames, Sounds, Peak int
			Size                 string
		}
		if err := json.Unmarshal([]byte(r.out), &seen); err != nil || r.err != nil || seen.Frames < 30 || seen.Sounds < 30 || seen.Peak < 3000 || seen.Size != "320x180" {
			t.Errorf("%s: %v; the publisher: %s", codec, r, tail(pub.log.String(), 10))
		}
		got := avList(t, "watch", h.page(codec, ".flv"), "--seconds", "2")
		for kind, want := range map[string]string{"video": map[string]string{"h264": "h264", "h265": "hevc"}[codec], "audio": "aac"} {
			if name, packets := got.stream(kind); name != want || len(packets) < 15 {
				t.Errorf("%s: %s over HTTP is %q with %d packets, want %s", codec, kind, name, len(packets), want)
			}
		}
		pub.kill()
	}
}
