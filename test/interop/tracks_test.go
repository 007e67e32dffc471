package interop

import (
	"testing"
	"time"
)

// A publisher that comes back without sound, and then with it, is gone over to.
func TestTracksComeAndGo(t *testing.T) {
	ways := map[string][3]string{
		"hls.js ts": {hlsPage, hlsJS, ".m3u8"}, "hls.js fmp4": {hlsPage, hlsJS, ".m3u8"},
		"dash.js": {dashPlayers["dash.js"][0], dashPlayers["dash.js"][1], ".mpd"}, "shaka": {dashPlayers["shaka"][0], dashPlayers["shaka"][1], ".mpd"},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hall(t)
			var env []string
			if name == "hls.js fmp4" {
				env = append(env, "SRS_VHOST_HLS_HLS_USE_FMP4=on")
			}
			h := open(t, dashConf, env...)
			pub := h.publish(t, bFrames, "s")
			h.awaitHLS(t, "s")
			h.awaitDASH(t, "s")
			ctx := plays(t, way[0], way[1], h.page("s", way[2]))
			watches(t, ctx, 320, 180)
			for _, src := range []*source{mute, bFrames} {
				pub.kill()
				wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
				pub = h.publish(t, src, "s")
				time.Sleep(8 * time.Second)
				l := watches(t, ctx, 320, 180)
				t.Logf("%s: %+v", src.file, l)
			}
		})
	}
}
