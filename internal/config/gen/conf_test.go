package gen

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
)

// shipped are the names of the files that come with SRS, of 7.0.18 and, in the
// last line, of versions around it. Whoever starts SRS with one of them finds it
// here. hls.edge.conf and nginx.proxy.conf are not among them: they are NGINX's.
const shipped = `
bandwidth clion clion-edge clion-ingest compatible console console.ipv46 dash demo demo.19350 docker dvr.mp4 dvr.path
dvr.segment dvr.session edge edge.token.traverse edge2 exec ffmpeg.transcode force.daemon forward.backend
forward.master forward.slave full gb28181 gb28181-without-sip go-oryx-edge go-oryx-edge2 hds hevc.flv hevc.ts hls
hls.origin hls.realtime http.aac.live http.api.auth http.api.dedicated http.api.one.port http.api.one.port2
http.api.raw http.flv.live http.flv.live.edge1 http.flv.live.edge2 http.heartbeat http.hls http.hooks.callback
http.mp3.live http.server http.ts.live https.docker https.flv.live https.hls https.hooks.callback https.rtc
https.rtmp2rtc https.srs include include.vhost ingest ingest.rtsp live log-file mp3 mp3.http mp3.rtc mp3.ts openwrt
origin origin.cluster.edge origin.cluster.serverA origin.cluster.serverB origin.cluster.serverC origin.hls.only1
origin.hls.only2 origin1-for-proxy origin2-for-proxy origin3-for-proxy prometheus push.flv push.gb28181
push.mpegts.over.udp realtime realtime.flv regression-test regression-test-for-clion rtc rtc.tcp.only rtc.tcp.udp
rtc2rtmp rtmp rtmp.kickoff rtmp2rtc security.deny.publish srs srt srt2rtc srt2ts transcode2hls.audio.only
transform.edge vm
edge-for-proxy forward.master.rtmps forward.slave.rtmps hls.mp4 http.api.auth.basic http.api.auth.bearer
http.mp4.live origin-for-edge rtmps rtsp`

// parts are not configurations by themselves.
var parts = []string{"include.vhost", "full"}

func TestConfFilesAreThere(t *testing.T) {
	names := strings.Fields(shipped)
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(root, "conf", name+".conf")); err != nil {
			t.Error(err)
		}
	}
	found, err := filepath.Glob(filepath.Join(root, "conf", "*.conf"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range found {
		if name := strings.TrimSuffix(filepath.Base(f), ".conf"); !slices.Contains(names, name) {
			t.Errorf("conf/%s.conf is not in the list", name)
		}
	}
}

// TestConfFilesLoad parses each file as the server does that is started in the
// repository: no error, and no warning but of what has no meaning here and, in
// compatible.conf, of old words.
func TestConfFilesLoad(t *testing.T) {
	for _, name := range strings.Fields(shipped) {
		if slices.Contains(parts, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			s, err := config.Parse(confSource(name), blocks.All())
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range s.Warnings {
				text := w.String()
				if !strings.Contains(text, "has no meaning here") &&
					!(name == "compatible" && strings.Contains(text, "transform: ")) {
					t.Errorf("warning: %s", text)
				}
			}
			if len(s.Vhosts()) == 0 {
				t.Error("it has no vhost")
			}
		})
	}
}

func confSource(name string) config.Source {
	return config.Source{
		File:     "conf/" + name + ".conf",
		ReadFile: func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(root, name)) },
		Getenv:   func(string) string { return "" },
	}
}

// TestConfFilesDo looks at what the files are named for.
func TestConfFilesDo(t *testing.T) {
	get := func(name string) (*config.Snapshot, *config.Vhost) {
		t.Helper()
		s, err := config.Parse(confSource(name), blocks.All())
		if err != nil {
			t.Fatal(err)
		}
		v, _ := s.Vhost("any")
		return s, v
	}
	s, v := get("srs")
	if !blocks.Root.In(s).Daemon || !blocks.HLS.Of(v).Enabled || !blocks.HTTPRemux.Of(v).Enabled || !blocks.HTTPAPI.In(s).Enabled {
		t.Error("srs.conf")
	}
	if s, _ := get("docker"); blocks.Root.In(s).Daemon || !blocks.Root.In(s).LogToConsole(false) {
		t.Error("docker.conf")
	}
	if _, v := get("security.deny.publish"); !blocks.Security.Of(v).Enabled || len(blocks.Security.Of(v).Rules) != 2 {
		t.Error("security.deny.publish.conf")
	}
	if _, v := get("include"); !blocks.HTTPRemux.Of(v).Enabled || !blocks.HLS.Of(v).Enabled {
		t.Error("include.conf")
	}
	if s, _ := get("http.api.one.port"); !blocks.OnePort(s) {
		t.Error("http.api.one.port.conf")
	}
	if s, _ := get("http.api.one.port2"); !blocks.OnePort(s) || blocks.APITLSListen(s)[0] != "8088" {
		t.Error("http.api.one.port2.conf")
	}
	if _, v := get("realtime"); blocks.Play.Of(v).GOPCache || !blocks.VhostRoot.Of(v).MinLatency {
		t.Error("realtime.conf")
	}
	if _, v := get("hls.origin"); blocks.HLS.Of(v).Ctx || blocks.HLS.Of(v).TSCtx {
		t.Error("hls.origin.conf")
	}
	if _, v := get("compatible"); blocks.Play.Of(v).QueueLength.Seconds() != 10 || blocks.Publish.Of(v).NormalTimeout.Seconds() != 7 {
		t.Error("compatible.conf")
	}
}
