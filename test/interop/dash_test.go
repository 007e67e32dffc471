package interop

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// dashPage plays DASH from another origin with dash.js.
const dashPage = `<!doctype html><video muted autoplay playsinline></video><output></output>
<script src="/player.js"></script><script>
const say = document.querySelector('output')
const player = dashjs.MediaPlayer().create()
player.on('error', e => { say.textContent += 'error ' + (e.error.code || '') + ' ' + (e.error.message || e.error) + '; ' })
player.initialize(document.querySelector('video'), new URLSearchParams(location.search).get('url'), true)
</script>`

// shakaPage does so with Shaka Player.
const shakaPage = `<!doctype html><video muted autoplay playsinline></video><output></output>
<script src="/player.js"></script><script>
const say = document.querySelector('output')
const fail = e => { say.textContent += 'error ' + e.code + ' ' + (e.severity === 2 ? '(fatal) ' : '') + JSON.stringify(e.data) + '; ' };
(async () => {
  const player = new shaka.Player()
  await player.attach(document.querySelector('video'))
  player.addEventListener('error', e => fail(e.detail))
  await player.load(new URLSearchParams(location.search).get('url')).catch(fail)
  document.querySelector('video').play()
})()
</script>`

const dashConf = "dash { enabled on; dash_path ./html; dash_fragment 1; dash_update_period 1; dash_window_size 12; }"

// dashPlayers are pages and their scripts.
var dashPlayers = map[string][2]string{
	"dash.js": {dashPage, "dashjs/dist/legacy/umd/dash.all.min.js"},
	"shaka":   {shakaPage, "shaka-player/dist/shaka-player.compiled.js"},
}

// awaitDASH waits until the manifest of a stream lists a few segments.
func (h *house) awaitDASH(t *testing.T, name string) {
	t.Helper()
	wait(t, "manifest of "+name, func() bool {
		b, err := get(h.page(name, ".mpd"))
		return err == nil && strings.Count(string(b), "<S ") >= 3
	})
}

// dash.js and Shaka Player play, go on without complaint, and go over to another
// publisher with another picture.
func TestDASHPlayers(t *testing.T) {
	for name, p := range dashPlayers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			hall(t)
			h := open(t, dashConf)
			pub := h.publish(t, bFrames, "s")
			h.awaitDASH(t, "s")
			ctx := plays(t, p[0], p[1], h.page("s", ".mpd"))
			watches(t, ctx, 320, 180)
			time.Sleep(6 * time.Second) // several more segments
			if l := watches(t, ctx, 320, 180); l.State != "" {
				t.Errorf("%s complained: %s", name, l.State)
			}
			pub.kill()
			wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
			time.Sleep(2 * time.Second)
			h.publish(t, small, "s")
			wait(t, "the new picture", func() bool { return lookAt(t, ctx).Width == 256 })
			if l := watches(t, ctx, 256, 144); l.State != "" {
				t.Errorf("%s complained: %s", name, l.State)
			}
		})
	}
}

// They play sound or picture alone, and AV1 with Opus.
func TestDASHCodecs(t *testing.T) {
	for name, p := range dashPlayers {
		for kind, src := range map[string]*source{"av1": av1, "mute": mute, "sound": soundOnly} {
			if name == "shaka" && kind != "av1" && !*long {
				continue // one that reads them as dash.js does is enough for every change
			}
			t.Run(name+" "+kind, func(t *testing.T) {
				t.Parallel()
				hall(t)
				h := open(t, dashConf)
				if src == av1 {
					background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
					h.awaitLive(t, "s")
				} else {
					h.publish(t, src, "s")
				}
				h.awaitDASH(t, "s")
				ctx := plays(t, p[0], p[1], h.page("s", ".mpd"))
				if src == soundOnly {
					listens(t, ctx)
				} else {
					watches(t, ctx, 320, 180)
				}
				if l := lookAt(t, ctx); l.State != "" {
					t.Errorf("%s complained: %s", name, l.State)
				}
			})
		}
	}
}

// ffmpeg reads DASH and has every packet that was published.
func TestFFmpegDASH(t *testing.T) {
	for name, src := range map[string]*source{"both": bFrames, "sound": soundOnly, "mute": mute, "hevc": hevc} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := open(t, dashConf)
			if src == hevc {
				background(t, "node", "../clients/av.mjs", "publish", src.path(t), h.stream("s"))
				h.awaitLive(t, "s")
			} else {
				h.publish(t, src, "s")
			}
			h.awaitDASH(t, "s")
			src.check(t, "dash", demux(t, h.page("s", ".mpd"), 4, ""), 4, src != hevc)
		})
	}
}

// What FFmpeg 8 publishes of two pictures and two sounds is there to choose from in DASH:
// dash.js sees both and goes from one to the other, and ffprobe reads all.
func TestMultitrackDASH(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, dashConf)
	background(t, "node", "../clients/av.mjs", "publish", multi.path(t), h.stream("s"))
	h.awaitLive(t, "s")
	h.awaitDASH(t, "s")
	p := dashPlayers["dash.js"]
	ctx := plays(t, strings.Replace(p[0], "const player =", "var player =", 1), p[1], h.page("s", ".mpd"))
	wait(t, "the page plays", func() bool { return lookAt(t, ctx).Frames > 5 })
	do := func(js, want string) {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](js+"; [player.getRepresentationsByType('video').map(r => r.id).sort().join(), player.getTracksFor('audio').length].join(' ')"))
		if err != nil || got != want {
			t.Fatalf("after %s dash.js has %q, want %q, %v", js, got, want, err)
		}
	}
	do("player.updateSettings({streaming: {abr: {autoSwitchBitrate: {video: false}}}})", "video,video1 2")
	for id, width := range map[string]int{"video": 320, "video1": 160} {
		do("player.setRepresentationForTypeById('video', '"+id+"', true)", "video,video1 2")
		wait(t, "the picture is "+id, func() bool { return lookAt(t, ctx).Width == width })
	}
	do("player.setCurrentTrack(player.getTracksFor('audio')[1])", "video,video1 2")
	wait(t, "the other sound", func() bool {
		got, err := chromedp.Run(ctx, chromedp.Evaluate[int]("player.getCurrentTrackFor('audio').index"))
		return err == nil && got == 1
	})
	before := lookAt(t, ctx).Time
	wait(t, "it goes on", func() bool { return lookAt(t, ctx).Time > before+2 })
	if l := lookAt(t, ctx); l.State != "" {
		t.Errorf("dash.js complained: %s", l.State)
	}
	got := must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width", "-of", "csv=p=0", h.page("s", ".mpd"))
	if !strings.Contains(got, "h264,320") || !strings.Contains(got, "h264,160") || strings.Count(got, "aac") < 2 {
		t.Errorf("ffprobe sees %q", got)
	}
}
