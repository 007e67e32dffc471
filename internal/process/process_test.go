package process

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

func parse(t *testing.T, vhost string) *config.Snapshot {
	t.Helper()
	text := "listen 1935; max_connections 100; daemon off; srs_log_tank console; ff_log_dir /dev/null; ff_log_level warning;\nvhost __defaultVhost__ {" + vhost + "}"
	s, err := config.Parse(config.Source{File: "x.conf", Text: []byte(text), MaxOpenFiles: 20000}, []config.Spec{blocks.Root, blocks.Ingest, blocks.Transcode, blocks.Exec})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func newTools(log *bytes.Buffer) *tools {
	return &tools{log: slog.New(slog.NewTextHandler(log, nil))}
}

// streams are asks of publishers.
func streams(names ...string) map[*session.Session]session.Ask {
	out := map[*session.Session]session.Ask{}
	for i, n := range names {
		app, stream, _ := strings.Cut(n, "/")
		out[&session.Session{ID: fmt.Sprint("id", i)}] = session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: app, Stream: stream}}
	}
	return out
}

// plan returns the command lines that a configuration asks for, by id.
func plan(t *testing.T, snap *config.Snapshot, live map[*session.Session]session.Ask) map[string]string {
	t.Helper()
	p := &planner{tools: newTools(&bytes.Buffer{}), snap: snap, out: map[string]want{}}
	p.local()
	p.ingests(true)
	p.outputs(live)
	v, _ := snap.Vhost(hub.DefaultVhost)
	for x, ask := range live {
		p.transcodes(v, x, ask)
		p.execs(v, x, ask)
	}
	out := map[string]string{}
	for id, w := range p.out {
		spec, err := w.spec()
		line := strings.Join(spec.Argv, " ")
		if spec.Stdout != "" || spec.Stderr != "" {
			line += " | " + spec.Stdout + " | " + spec.Stderr
		}
		if err != nil {
			line = "error: " + err.Error()
		}
		out[id] = line
	}
	return out
}

func same(t *testing.T, got, want map[string]string) {
	t.Helper()
	for id, w := range want {
		if got[id] != w {
			t.Errorf("%s:\n got %s\nwant %s", id, got[id], w)
		}
	}
	for id, g := range got {
		if _, ok := want[id]; !ok {
			t.Errorf("also there is %s: %s", id, g)
		}
	}
}

func TestTranscodeCommand(t *testing.T) {
	snap := parse(t, `
	transcode {
		enabled on; ffmpeg /bin/true;
		engine all { enabled on; perfile { rtsp_transport tcp; fflags nobuffer genpts; } iformat mpegts; vfilter { i ./logo.png; filter_complex 'overlay=10:10'; }
			vcodec libx264; vbitrate 1500; vfps 25; vwidth 768; vheight 320; vthreads 12; vprofile main; vpreset medium; vparams { t 100; coder 1; b_strategy; }
			acodec aac; abitrate 70; asample_rate 44100; achannels 2; aparams { profile:a aac_low; } oformat mpegts; output rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]; }
		engine snd { enabled on; vcodec vn; acodec copy; iformat off; oformat off; output ./[app]/[stream].ts; }
		engine pic { enabled on; vcodec copy; acodec an; output rtmp://127.0.0.1:[port]/[app]/[stream]_[engine]; }
		engine off { vcodec copy; acodec copy; output x; }
		engine bad { enabled on; vcodec libx264; acodec copy; output x; }
	}
	transcode live { enabled on; ffmpeg /bin/true; engine { enabled on; vcodec copy; acodec copy; output a; } }
	transcode live/s { enabled on; ffmpeg /bin/true; engine { enabled on; vcodec copy; acodec copy; output b; } }
	transcode live/other { enabled on; ffmpeg /bin/true; engine { enabled on; vcodec copy; acodec copy; output c; } }
	transcode app { enabled on; ffmpeg /bin/true; engine { enabled on; vcodec copy; acodec copy; output d; } }`)
	const id, in = "transcode/__defaultVhost__/live/s/", "-i rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__/s"
	const begin = "/bin/true -loglevel warning "
	same(t, plan(t, snap, streams("live/s")), map[string]string{
		id + "/0-all": begin + "-rtsp_transport tcp -fflags nobuffer genpts -f mpegts " + in + " -i ./logo.png -filter_complex overlay=10:10" +
			" -vcodec libx264 -b:v 1500000 -r 25.00 -s 768x320 -aspect 768:320 -threads 12 -profile:v main -preset medium -t 100 -coder 1 -b_strategy" +
			" -acodec aac -b:a 70000 -ar 44100 -ac 2 -profile:a aac_low -f mpegts -y rtmp://127.0.0.1:1935/live?vhost=__defaultVhost__/s_all",
		id + "/1-snd":    begin + in + " -vn -acodec copy -y ./live/s.ts",
		id + "/2-pic":    begin + "-f flv " + in + " -vcodec copy -an -f flv -y rtmp://127.0.0.1:1935/live/s_pic",
		id + "/4-bad":    "error: engine bad: a coder of the picture needs vprofile and vpreset",
		id + "live/0-":   begin + "-f flv " + in + " -vcodec copy -acodec copy -f flv -y a",
		id + "live/s/0-": begin + "-f flv " + in + " -vcodec copy -acodec copy -f flv -y b",
	})
}

func TestTranscodeLoop(t *testing.T) {
	for _, out := range []string{"rtmp://127.0.0.1:[port]/[app]?vhost=[vhost]/[stream]_[engine]", "rtmp://localhost/[app]/[stream]_[engine]", "rtmp://[::1]:1935/[app]/[stream]_[engine]"} {
		snap := parse(t, "transcode { enabled on; ffmpeg /bin/true; engine ff { enabled on; vcodec copy; acodec copy; output "+out+"; } }")
		got := plan(t, snap, streams("live/s", "live/s_ff", "live/t"))
		if _, ok := got["transcode/__defaultVhost__/live/s_ff//0-ff"]; ok || len(got) != 2 {
			t.Errorf("output %s: these run: %v", out, got)
		}
	}
	// Another server's stream of the same name is none of ours.
	snap := parse(t, "transcode { enabled on; ffmpeg /bin/true; engine ff { enabled on; vcodec copy; acodec copy; output rtmp://192.0.2.1/[app]/[stream]; } }")
	if got := plan(t, snap, streams("live/s")); len(got) != 1 {
		t.Errorf("to another server: these run: %v", got)
	}
}

func TestIngestCommand(t *testing.T) {
	const engine = "engine { output rtmp://127.0.0.1:[port]/live?vhost=[vhost]/s; }"
	snap := parse(t, `
	ingest a { enabled on; ffmpeg /bin/true; input { type file; url ./doc/source.flv; } `+engine+` }
	ingest b { enabled on; ffmpeg /bin/true; input { type stream; url rtsp://127.0.0.1/x; } engine { enabled on; perfile { rtsp_transport tcp; } vcodec copy; acodec copy; output rtmp://127.0.0.1:[port]/live/b; } }
	ingest c { enabled on; ffmpeg /bin/true; input { type device; url /dev/video0; } engine { enabled on; iformat v4l2; vcodec libx264; vthreads 2; vprofile main; vpreset medium; acodec an; output rtmp://127.0.0.1:[port]/live/c; } }
	ingest d { ffmpeg /bin/true; input { url x; } `+engine+` }
	ingest e { enabled on; ffmpeg /bin/true; input { type other; url x; } `+engine+` }
	ingest f { enabled on; ffmpeg /bin/true; input { url x; } engine { enabled on; vcodec copy; output y; } engine { output z; } }`)
	const begin = "/bin/true -loglevel warning "
	same(t, plan(t, snap, nil), map[string]string{
		"ingest/__defaultVhost__/a/0": begin + "-re -i ./doc/source.flv -vcodec copy -acodec copy -f flv -y rtmp://127.0.0.1:1935/live/s",
		"ingest/__defaultVhost__/b/0": begin + "-re -rtsp_transport tcp -i rtsp://127.0.0.1/x -vcodec copy -acodec copy -f flv -y rtmp://127.0.0.1:1935/live/b",
		"ingest/__defaultVhost__/c/0": begin + "-f v4l2 -i /dev/video0 -vcodec libx264 -threads 2 -profile:v main -preset medium -an -f flv -y rtmp://127.0.0.1:1935/live/c",
		"ingest/__defaultVhost__/e/0": `error: ingest e: input type "other" is none of file, stream and device`,
		"ingest/__defaultVhost__/f/0": begin + "-re -i x -vcodec copy -acodec copy -f flv -y y",
		"ingest/__defaultVhost__/f/1": begin + "-re -i x -vcodec copy -acodec copy -f flv -y z",
	})
}

func TestExecCommand(t *testing.T) {
	snap := parse(t, `exec { enabled on;
		publish /bin/echo [vhost] [port] [app] [stream] [url] [tcUrl] [swfUrl] [pageUrl] x[2006] [other] '$(id)' ;
		publish /bin/echo a >./[stream].out 2> ./[stream].err; }`)
	live := map[*session.Session]session.Ask{}
	x := &session.Session{ID: "x"}
	x.TcURL, x.SwfURL, x.PageURL = "rtmp://h/live", "../../etc", "http://h/page"
	ask := session.Ask{Key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}}
	ask.Said.Param = "?token=a"
	live[x] = ask
	same(t, plan(t, snap, live), map[string]string{
		"exec/__defaultVhost__/live/s/0": "/bin/echo __defaultVhost__ 1935 live s rtmp://127.0.0.1:1935/live/s?token=a rtmp://h/live  http://h/page x" + time.Now().Format("2006") + " [other] $(id)",
		"exec/__defaultVhost__/live/s/1": "/bin/echo a | ./s.out | ./s.err",
	})
}

// What a client chose is never an option, a path or an address of its own.
func TestHostileNames(t *testing.T) {
	const refused = "refused"
	for _, tt := range []struct{ template, stream, want string }{
		{"[stream]", "a b;$(reboot)`x`'\"&|<>*", "a b;$(reboot)`x`'\"&|<>*"}, // one argument, and no shell
		{"[stream]", "-f", refused},
		{"[stream]", "/etc/passwd", refused},
		{"[stream]", "concat:a|b", refused},
		{"[stream].flv", "tcp://192.0.2.1:1/x", refused},
		{"./objs/[stream].flv", "../../etc/cron.d/x", refused},
		{"./objs/[stream].flv", "a/../x", refused},
		{"./objs/[stream].flv", "..x", "./objs/..x.flv"},
		{"./objs/[stream].flv", "-y", "./objs/-y.flv"},
		{"[stream]", "a\x00b", refused},
		{"[stream]", "[url]", "[url]"}, // and is not read again
		{"[url]", "../x", refused},
		{"[param]", "s", ""},
		{"[[stream]", "s", "[s"},
		{"[stream", "s", "[stream"},
	} {
		v := &values{vhost: hub.DefaultVhost, key: hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: tt.stream}}
		got, err := v.fill(tt.template)
		if err != nil {
			got = refused
		}
		if got != tt.want {
			t.Errorf("%s of %q: %q, %v, want %q", tt.template, tt.stream, got, err, tt.want)
		}
	}
	for _, name := range []string{"../../x", "a/b", strings.Repeat("x", 1000), "a b", "-x", "\x00"} {
		if got := logName("exec-" + name); strings.ContainsAny(got, "/\x00 ") || len(got) > 255 {
			t.Errorf("the log of %q is %q", name, got)
		}
	}
	if logName("a/b") == logName("a b") {
		t.Error("two streams have one log")
	}
}

func TestFFmpegElsewhere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	var log bytes.Buffer
	tools := newTools(&log)
	if _, err := tools.ffmpeg("./objs/ffmpeg/bin/ffmpeg"); err == nil || !strings.Contains(err.Error(), "install ffmpeg") {
		t.Errorf("without any ffmpeg: %v", err)
	}
	file := filepath.Join(dir, "ffmpeg")
	if err := os.WriteFile(file, []byte("#!/bin/sh\necho ' A....D aac  AAC'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := tools.ffmpeg("./objs/ffmpeg/bin/ffmpeg"); got != file || err != nil {
			t.Errorf("ffmpeg in PATH: %q, %v", got, err)
		}
		if got := tools.sound(file, "libfdk_aac"); got != "aac" {
			t.Errorf("in place of libfdk_aac: %q", got)
		}
	}
	if n := strings.Count(log.String(), "level=WARN"); n != 2 {
		t.Errorf("%d warnings, want one for each:\n%s", n, log.String())
	}
	if err := os.WriteFile(file+"2", []byte("#!/bin/sh\necho ' A....D libfdk_aac  AAC'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if got := tools.sound(file+"2", "libfdk_aac"); got != "libfdk_aac" {
		t.Errorf("an ffmpeg that has it: %q", got)
	}
}

// A reload touches the ingests that it changes, and a stop ends all.
func TestReloadIngests(t *testing.T) {
	dir := t.TempDir()
	sleep := filepath.Join(dir, "sleep")
	if err := os.WriteFile(sleep, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	one := func(id, url string) string {
		return fmt.Sprintf("ingest %s { enabled on; ffmpeg %s; input { url %s; } engine { output x; } }", id, sleep, url)
	}
	conf := config.NewStore(parse(t, one("a", "1")+one("b", "1")))
	s := newServer(service.Env{Log: slog.New(slog.DiscardHandler), Conf: conf, Notices: &service.Notices{}})
	ctx := t.Context()
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	pids := func(n int) map[string]int {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
			out := map[string]int{}
			for _, e := range s.list().Processes {
				if e.State == "running" {
					out[e.Name] = e.PID
				}
			}
			if len(out) == n && len(s.list().Processes) == n {
				return out
			}
		}
		t.Fatalf("there are not %d programs: %+v", n, s.list())
		return nil
	}
	before := pids(2)
	conf.Swap(parse(t, one("a", "1")+one("b", "2")+one("c", "1")))
	s.nudge()
	after := pids(3)
	for deadline := time.Now().Add(20 * time.Second); after["b"] == before["b"] && time.Now().Before(deadline); {
		after = pids(3)
	}
	if after["a"] != before["a"] || after["b"] == before["b"] {
		t.Errorf("before %v, after %v: a is to go on and b to be another", before, after)
	}
	s.Unbind()
	pids(0)
}

// A shell that the configuration names never reads what a client chose as its script.
func TestExecShell(t *testing.T) {
	snap := parse(t, `exec { enabled on;
		publish /bin/sh -c "echo [stream]";
		publish /usr/bin/env bash -ec "echo [tcUrl]";
		publish /bin/sh -c 'echo "$1"' name [stream]; }`)
	got := plan(t, snap, streams("live/$(id)"))
	const id = "exec/__defaultVhost__/live/$(id)/"
	for _, n := range []string{"0", "1"} {
		if !strings.HasPrefix(got[id+n], "error: exec: a shell would read") {
			t.Errorf("a script with a client's words in it: %s", got[id+n])
		}
	}
	if want := `/bin/sh -c echo "$1" name $(id)`; got[id+"2"] != want {
		t.Errorf("as an argument: %s, want %s", got[id+"2"], want)
	}
}
