package interop

import (
	"strings"
	"testing"
	"time"
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
