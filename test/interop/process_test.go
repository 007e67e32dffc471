package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// example returns what stands in the vhost of one of our copies of SRS's examples.
func example(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../conf", name))
	if err != nil {
		t.Fatal(err)
	}
	_, vhost, ok := strings.Cut(string(b), "vhost __defaultVhost__ {")
	end := strings.LastIndexByte(vhost, '}')
	if !ok || end < 0 {
		t.Fatalf("%s has no default vhost", name)
	}
	return vhost[:end]
}

// program is what the API says of a program that the server runs.
type program struct {
	ID, Kind, State, Exit, Progress string
	PID, Restarts                   int
}

func (h *house) programs(t *testing.T) []program {
	t.Helper()
	var answer struct{ Processes []program }
	b, err := get("http://" + h.api + "/api/v1/processes/")
	if err == nil {
		err = json.Unmarshal(b, &answer)
	}
	if err != nil {
		t.Fatalf("API: %v", err)
	}
	return answer.Processes
}

// goneWithServer checks that the programs end with the server.
func (h *house) goneWithServer(t *testing.T) {
	t.Helper()
	all := h.programs(t)
	if len(all) == 0 {
		t.Error("no program runs")
	}
	h.process.signal(syscall.SIGTERM)
	h.process.wait(5 * time.Second)
	for _, p := range all {
		if p.PID != 0 && syscall.Kill(p.PID, 0) == nil {
			t.Errorf("%s (%d) outlives the server", p.ID, p.PID)
		}
	}
}

// facts are what ffprobe says of the pictures and the sound of a stream.
func facts(t *testing.T, url string) string {
	t.Helper()
	r := run(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name,profile,width,height,sample_rate,channels", "-of", "compact=p=0", url)
	if r.err != nil {
		t.Fatalf("ffprobe %s: %v", url, r)
	}
	return r.out
}

func TestExampleTranscode(t *testing.T) {
	t.Parallel()
	h := open(t, example(t, "ffmpeg.transcode.conf"))
	publisher := h.publish(t, small, "livestream")
	h.awaitLive(t, "livestream_ff")
	said := facts(t, h.stream("livestream_ff"))
	for _, want := range []string{"codec_name=h264", "profile=Main", "width=768|height=320", "codec_name=aac", "sample_rate=44100|channels=2"} {
		if !strings.Contains(said, want) {
			t.Errorf("what comes out has no %s:\n%s", want, said)
		}
	}
	log := h.log.String()
	for _, once := range []string{"objs/ffmpeg/bin/ffmpeg is not there", "has no libfdk_aac"} {
		if n := strings.Count(log, once); n != 1 {
			t.Errorf("the log says %d times that %s", n, once)
		}
	}
	if all := h.programs(t); len(all) != 1 || all[0].State != "running" || all[0].Kind != "transcode" || !strings.Contains(all[0].Progress, "speed=") {
		t.Errorf("for a stream and what is made of it there are %+v", all)
	}
	publisher.kill()
	wait(t, "no program runs when nobody publishes", func() bool { return len(h.programs(t)) == 0 })
}

func TestExampleIngest(t *testing.T) {
	t.Parallel()
	h := open(t, example(t, "ingest.conf"))
	wait(t, "the first try has failed: there is no file", func() bool {
		all := h.programs(t)
		return len(all) == 1 && all[0].State == "waiting"
	})
	if err := os.Mkdir(filepath.Join(h.dir, "doc"), 0o755); err != nil {
		t.Fatal(err)
	}
	film, err := os.ReadFile(small.path(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "doc/source.flv"), film, 0o644); err != nil {
		t.Fatal(err)
	}
	h.awaitLive(t, "livestream")
	if said := facts(t, h.stream("livestream")); !strings.Contains(said, "width=256|height=144") {
		t.Errorf("what comes in is %s", said)
	}
	logged, err := os.ReadFile(filepath.Join(h.dir, "objs/ffmpeg-ingest-__defaultVhost__-live-livestream.log"))
	if err != nil || !strings.Contains(string(logged), "doc/source.flv: No such file") {
		t.Errorf("the log of ffmpeg: %v\n%s", err, tail(string(logged), 20))
	}
	h.goneWithServer(t)
}

func TestExampleExec(t *testing.T) {
	t.Parallel()
	h := open(t, example(t, "exec.conf"))
	publisher := h.publish(t, small, "livestream")
	file := filepath.Join(h.dir, "objs/livestream.flv")
	wait(t, "the program records", func() bool {
		info, err := os.Stat(file)
		return err == nil && info.Size() > 10000
	})
	publisher.kill()
	wait(t, "the program has ended", func() bool { return len(h.programs(t)) == 0 })
	// ffmpeg has written what it had, and its trailer.
	out := must(t, "ffprobe", "-v", "error", "-count_packets", "-show_entries", "stream=codec_name,nb_read_packets:format=duration", "-of", "csv=p=0", file)
	var video, audio int
	var lasts float64
	if n, err := fmt.Sscanf(out, "h264,%d\naac,%d\n%f", &video, &audio, &lasts); n != 3 || video < 25 || audio < 25 || lasts < 1 {
		t.Errorf("the file has %d and %d packets, %v: %s", video, audio, err, out)
	}
	// A name that would leave the folder, or be an option, starts nothing.
	odd := background(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-c", "copy", "-f", "flv", h.stream("-y;id>x"))
	h.awaitLive(t, "-y;id>x")
	wait(t, "it is recorded too", func() bool {
		_, err := os.Stat(filepath.Join(h.dir, "objs/-y;id>x.flv"))
		return err == nil
	})
	odd.kill()
	if _, err := os.Stat(filepath.Join(h.dir, "x.flv")); err == nil {
		t.Error("a shell has seen the name")
	}
}

// camera is an RTSP server of GStreamer's, in Python.
const camera = `
import sys, gi
gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')
from gi.repository import Gst, GstRtspServer, GLib
Gst.init(None)
s = GstRtspServer.RTSPServer(); s.set_address('127.0.0.1'); s.set_service(sys.argv[1])
f = GstRtspServer.RTSPMediaFactory(); f.set_shared(True)
f.set_launch('( videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=25/1 ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 pt=96 '
  ' audiotestsrc is-live=true ! audio/x-raw,rate=44100,channels=2 ! avenc_aac ! rtpmp4gpay name=pay1 pt=97 )')
s.get_mount_points().add_factory('/stream', f); s.attach(None)
GLib.MainLoop().run()
`

func TestIngestRTSP(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(protocoltest.FreeAddr(t))
	p := background(t, "/usr/bin/python3", "-c", camera, port)
	wait(t, "the camera is there", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+port)
		if err == nil {
			c.Close()
		} else if !p.running() {
			t.Fatalf("the camera ended: %v\n%s", p.err, p.log)
		}
		return err == nil
	})
	conf := strings.ReplaceAll(example(t, "ingest.rtsp.conf"), "127.0.0.1:8554", "127.0.0.1:"+port)
	h := open(t, conf)
	h.awaitLive(t, "livestream")
	if said := facts(t, h.stream("livestream")); !strings.Contains(said, "width=320|height=240") || !strings.Contains(said, "codec_name=aac") {
		t.Errorf("what comes in is %s\n%v", said, fmt.Sprint(h.programs(t)))
	}
	h.goneWithServer(t)
}

// there reports whether a process is there and not dead.
func there(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, ok := strings.Cut(string(b), ") ")
	return err == nil && ok && rest[0] != 'Z' && rest[0] != 'X'
}

// A program that hangs and heeds no SIGTERM ends with its stream, and inherits nothing.
func TestExecStubborn(t *testing.T) {
	t.Parallel()
	h := open(t, `exec { enabled on; publish /bin/sleep 1000; publish /bin/sh -c "trap '' TERM; while :; do sleep 1; done" [stream]; publish /bin/false; publish ./missing; }`)
	publisher := h.publish(t, small, "s")
	var all []program
	wait(t, "two run and two have failed", func() bool {
		running, waiting := 0, 0
		all = h.programs(t)
		for _, p := range all {
			switch p.State {
			case "running":
				running++
			case "waiting":
				waiting++
			}
		}
		return running == 2 && waiting == 2
	})
	for _, p := range all {
		if p.PID == 0 {
			continue
		}
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.PID))
		if null, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/0", p.PID)); err != nil || len(fds) != 3 || null != os.DevNull {
			t.Errorf("%s has %d descriptors, the first %s: %v", p.ID, len(fds), null, err)
		}
	}
	publisher.kill()
	wait(t, "no program is left", func() bool { return len(h.programs(t)) == 0 })
	for _, p := range all {
		if p.PID != 0 && there(p.PID) {
			t.Errorf("%s (%d) outlives its stream", p.ID, p.PID)
		}
	}
}

// called lists the processes that a word of the command line is of.
func called(word string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, _ := os.ReadFile(f)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if slices.Contains(strings.Split(string(b), "\x00"), word) && there(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Nothing outlives a server that is killed: no program, nothing that one has started,
// in its group or out of it, and not who watches over them.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	h := &house{dir: t.TempDir(), rtmp: protocoltest.FreeAddr(t), web: protocoltest.FreeAddr(t), api: protocoltest.FreeAddr(t)}
	file := filepath.Join(h.dir, "weir.conf")
	word := fmt.Sprintf("%d.5", 100000+os.Getpid()) // seconds that nobody else sleeps
	vhost := strings.ReplaceAll(example(t, "ingest.conf")+example(t, "ffmpeg.transcode.conf"), "./doc/source.flv", small.path(t)) +
		"exec { enabled on; publish /bin/sh -c 'sleep " + word + " & setsid sleep " + word + " & wait'; }"
	if err := os.WriteFile(file, fmt.Appendf(nil, conf, h.rtmp, h.web, "", h.api, vhost), 0o644); err != nil {
		t.Fatal(err)
	}
	h.process, h.log = serve(t, h.dir, nil, path, "-c", file)
	if !h.log.await("ready in", 20*time.Second) {
		t.Fatalf("not ready:\n%s", h.log)
	}
	h.awaitLive(t, "livestream_ff")
	wait(t, "a program has started two others for each stream", func() bool { return len(called(word)) == 4 })
	watchers := called("(watches " + strconv.Itoa(h.process.cmd.Process.Pid) + ")")
	all := h.programs(t)
	h.process.kill()
	if len(all) != 4 || len(watchers) != 1 {
		t.Errorf("there were %+v, and who watches over them, %v", all, watchers)
	}
	wait(t, "what programs have started is gone with the server", func() bool { return len(called(word)) == 0 && !slices.ContainsFunc(watchers, there) })
	for _, p := range all {
		wait(t, p.ID+" is gone with the server", func() bool { return !there(p.PID) })
	}
}

// SRS's example of a stream whose sound alone is HLS, in another vhost.
func TestExampleTranscodeSound(t *testing.T) {
	t.Parallel()
	h := open(t, strings.Replace(example(t, "transcode2hls.audio.only.conf"), "hls_fragment  10", "hls_fragment  1", 1))
	h.publish(t, small, "livestream")
	page := h.page("livestream_ff", ".m3u8?vhost=hls")
	wait(t, "the sound has a playlist", func() bool {
		time.Sleep(200 * time.Millisecond)
		_, err := get(page)
		return err == nil
	})
	if said := facts(t, page); !strings.Contains(said, "codec_name=aac") || !strings.Contains(said, "sample_rate=44100|channels=2") || strings.Contains(said, "h264") {
		t.Errorf("what comes out is %s", said)
	}
}

// An engine on demand runs while somebody plays what it makes: no ffmpeg for nobody, one
// for one viewer and for three, and none a while after the last; so it is for HLS.
func TestRungOnDemand(t *testing.T) {
	t.Parallel()
	h := open(t, "transcode { enabled on; on_demand on; on_demand_keep 1; engine sd { enabled on; vcodec libx264; vwidth 128; vheight 72; vpreset ultrafast; vprofile baseline; vparams { g 25; } "+
		"acodec copy; output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; } }")
	h.publish(t, baseline, "s")
	count := func() (n int) {
		for _, p := range h.programs(t) {
			if p.PID != 0 && syscall.Kill(p.PID, 0) == nil {
				n++
			}
		}
		return n
	}
	if n := count(); n != 0 {
		t.Errorf("%d ffmpegs run for nobody", n)
	}
	var viewers []*process
	for _, want := range []int{1, 3} {
		for len(viewers) < want {
			viewers = append(viewers, background(t, "curl", "-s", "-o", os.DevNull, h.page("s_sd", ".flv")))
		}
		h.awaitLive(t, "s_sd")
		wait(t, fmt.Sprintf("%d watch", want), func() bool { s, _ := h.info(t, "s_sd"); return s.Clients >= want })
		if n := count(); n != 1 {
			t.Errorf("%d ffmpegs run for %d viewers", n, want)
		}
	}
	if said := facts(t, h.stream("s_sd")); !strings.Contains(said, "width=128|height=72") {
		t.Errorf("what comes out is %s", said)
	}
	for _, v := range viewers {
		v.kill()
	}
	wait(t, "none runs after the last viewer", func() bool { return count() == 0 })
	h.awaitHLS(t, "s_sd")
	wait(t, "one runs for a viewer of HLS", func() bool { return count() == 1 })
}
