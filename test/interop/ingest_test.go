package interop

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// tape is a short film.
var tape = &source{file: "tape.flv", video: true, audio: true, length: 2, args: bFrames.args}

// as copies a source into a file of another form.
func (s *source) as(t *testing.T, ext string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "film"+ext)
	must(t, "ffmpeg", "-v", "error", "-i", s.path(t), "-c", "copy", file)
	return file
}

// Without a program the server has streams by RTMP and as FLV over HTTP, whole, and
// files of FLV, MP4 and MPEG-TS over and over, while somebody plays them: their times go
// on where they begin again.
func TestIngestNative(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	files := map[string]string{}
	conf := ""
	ingest := func(name, kind, url, more string) {
		conf += "ingest " + name + " { enabled on; native on; " + more + " input { type " + kind + "; url " + url + "; } engine { enabled off; output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/" + name + "; } }\n"
	}
	for _, ext := range []string{"flv", "mp4", "ts"} {
		files[ext] = tape.as(t, "."+ext)
		ingest(ext, "file", files[ext], "on_demand on; on_demand_keep 1;")
	}
	o := open(t, "")
	ingest("byrtmp", "stream", o.stream("s")+"?token=1", "")
	ingest("byhttp", "stream", o.page("s", ".flv"), "")
	n := newNGINX(t, "application live { live on; wait_key on; }")
	ingest("nginx", "stream", "rtmp://"+n.addr+"/live/s", "")
	o.publish(t, bFrames, "s")
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", "rtmp://"+n.addr+"/live/s")
	h := open(t, conf)
	t.Run("streams", func(t *testing.T) {
		for _, name := range []string{"byrtmp", "byhttp", "nginx"} {
			t.Run(name, func(t *testing.T) {
				h.awaitLive(t, name)
				// NGINX keeps no group of pictures: they come up to a second later than the sound.
				bFrames.check(t, name, demux(t, h.stream(name), 4, ""), 2, true)
			})
		}
	})
	if all := h.programs(t); len(all) != 3 || all[0].State != "running" || all[0].PID != 0 {
		t.Errorf("while nobody plays the files there run %+v", all)
	}
	over := func(t *testing.T, ext, file string) {
		want := demux(t, file, 60, "")
		got := demux(t, h.stream(ext), 4, "")
		if len(got.video) < 3*rate || len(got.audio) < 3*38 {
			t.Errorf("%s: %d pictures and %d packets of sound in 4 s", ext, len(got.video), len(got.audio))
		}
		steady(t, ext+": video", got.video, 0.1)
		steady(t, ext+": audio", got.audio, 0.1)
		twice := map[string]int{}
		for _, p := range got.pictures {
			if !contains(want.pictures, p) {
				t.Errorf("%s: the picture at %.3f is not the file's", ext, p.dts)
				break
			}
			twice[p.hash]++
		}
		again := 0
		for _, n := range twice {
			if n > 1 {
				again++
			}
		}
		if again < rate/2 {
			t.Errorf("%s: %d pictures have come again in 4 s of a file of 2 s", ext, again)
		}
	}
	t.Run("files", func(t *testing.T) {
		for ext, file := range files {
			t.Run(ext, func(t *testing.T) { over(t, ext, file) })
		}
	})
	wait(t, "the files are not read when nobody plays them", func() bool { return len(h.programs(t)) == 3 })
	// Viewers of HLS have them begin, too, and wait for the first segment.
	must(t, "ffprobe", "-v", "error", "-show_streams", h.page("flv", ".m3u8"))
}

// ffmpeg has streams for us that are FLV or HLS over HTTP, and a device: lavfi stands
// for one, since machines have different ones.
func TestIngestFFmpeg(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	o := open(t, "")
	o.publish(t, bFrames, "s")
	o.awaitHLS(t, "s")
	ingest := func(name, input, engine string) string {
		return "ingest " + name + " { enabled on; input { " + input + " } engine { " + engine + " output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/" + name + "; } }\n"
	}
	h := open(t, ingest("http", "type stream; url "+o.page("s", ".flv")+";", "")+
		ingest("hls", "type stream; url "+o.page("s", ".m3u8")+";", "")+
		ingest("device", "type device; url testsrc2=size=320x180:rate=25,realtime;", "enabled on; iformat lavfi; vcodec libx264; vprofile baseline; vpreset ultrafast; acodec an; vparams { g 25; }"))
	for _, name := range []string{"http", "hls", "device"} {
		t.Run(name, func(t *testing.T) {
			h.awaitLive(t, name)
			got := demux(t, h.stream(name), 4, "")
			least := 2 * rate
			if name == "device" {
				// It is filmed as fast as the machine can.
				if least = rate; len(got.audio) > 0 {
					t.Error("there is sound")
				}
			} else if len(got.audio) < 2*38 {
				t.Errorf("%d packets of sound", len(got.audio))
			} else {
				sameRun(t, "pictures", got.pictures, bFrames.pictures, least)
			}
			if len(got.pictures) < least {
				t.Errorf("%d pictures in 4 s", len(got.pictures))
			}
		})
	}
}

// SRS's example for those who develop in CLion is a whole configuration.
func TestExampleClionIngest(t *testing.T) {
	t.Parallel()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	film, err := os.ReadFile(small.path(t))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../../conf/clion-ingest.conf")
	if err != nil {
		t.Fatal(err)
	}
	dir, rtmp, web := t.TempDir(), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	conf := strings.NewReplacer("1935;", rtmp+";", "8080;", web+";").Replace(string(text))
	os.Mkdir(filepath.Join(dir, "doc"), 0o755)
	for name, b := range map[string][]byte{"doc/source.flv": film, "weir.conf": []byte(conf)} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	p, log := serve(t, dir, nil, path, "-c", "weir.conf")
	if !log.await("ready in", 20*time.Second) {
		t.Fatalf("not ready:\n%s", log)
	}
	t.Cleanup(func() { p.shut(t) })
	if said := facts(t, "http://"+web+"/live/livestream.flv"); !strings.Contains(said, "width=256|height=144") || !strings.Contains(said, "codec_name=aac") {
		t.Errorf("what comes in is %s", said)
	}
}
