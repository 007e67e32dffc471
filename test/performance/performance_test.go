// Package performance measures weir beside nginx with its RTMP module, under the
// same load in turns, and writes docs/performance.md: "make bench". It asserts
// nothing; the targets stand in the table beside what was measured.
package performance

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/internal/bench"
	"weir/internal/protocol/protocoltest"
)

var (
	out    = flag.String("doc", "", "write the tables to this file")
	rounds = flag.Int("rounds", 3, "how often to go through the servers")
	window = flag.Duration("window", 8*time.Second, "how long one measurement takes")
	only   = flag.String("only", "", "measure only rows whose name contains this")
	srsBin = flag.String("srs", "", "measure this program of SRS too")
)

// yard is where everything is started.
type yard struct {
	b    *testing.B
	dir  string
	weir string // the binary
	ctx  context.Context

	pions, weirs []*bench.Result // of the last runs of WebRTC
}

// server is one that runs.
type server struct {
	cmd                  *exec.Cmd
	rtmp, http, api, hls string // addresses; hls is a folder
}

func BenchmarkPerformance(b *testing.B) {
	y := &yard{b: b, dir: b.TempDir(), ctx: b.Context()}
	y.build()
	for _, m := range []struct{ name, size, rate, sound string }{{"2m", "1280x720", "1936k", "64k"}, {"500k", "640x360", "436k", "64k"}, {"tiny", "64x36", "20k", "8k"}} {
		y.run(exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=25:size="+m.size, "-f", "lavfi", "-i", "sine=sample_rate=44100", "-t", "20",
			"-c:v", "libx264", "-preset", "veryfast", "-tune", "zerolatency", "-profile:v", "baseline", "-pix_fmt", "yuv420p", "-g", "50", "-keyint_min", "50", "-sc_threshold", "0",
			"-b:v", m.rate, "-minrate", m.rate, "-maxrate", m.rate, "-bufsize", m.rate, "-x264-params", "nal-hrd=cbr:force-cfr=1", "-c:a", "aac", "-b:a", m.sound, "-ac", "2", y.file(m.name)))
		y.run(exec.Command("ffmpeg", "-v", "error", "-i", y.file(m.name), "-c", "copy", "-an", y.file(m.name+"v")))
	}
	for b.Loop() {
		y.report()
	}
}

// build makes the binary as it is shipped.
func (y *yard) build() {
	y.weir = filepath.Join(y.dir, "weir")
	cmd := exec.Command("go", "build", "-trimpath", "-o", y.weir, "weir/cmd/weir")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	y.run(cmd)
}

func (y *yard) file(name string) string { return filepath.Join(y.dir, name+".flv") }

func (y *yard) run(cmd *exec.Cmd) {
	y.b.Helper()
	if text, err := cmd.CombinedOutput(); err != nil {
		y.b.Fatalf("%v: %v\n%s", cmd, err, text)
	}
}

func (y *yard) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// start starts a program and waits until an address answers.
func (y *yard) start(address string, env []string, name string, args ...string) *exec.Cmd {
	y.b.Helper()
	cmd := exec.CommandContext(y.ctx, name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Dir = y.dir
	log, err := os.OpenFile(filepath.Join(y.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		y.b.Fatal(err)
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		y.b.Fatalf("%v; install it with test/bench.sh", err)
	}
	for range 200 {
		if nc, err := net.Dial("tcp", address); err == nil {
			nc.Close()
			return cmd
		}
		time.Sleep(25 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	y.b.Fatalf("%s does not answer at %s:\n%s", name, address, text)
	return nil
}

func (s *server) stop() {
	s.cmd.Process.Signal(os.Interrupt)
	s.cmd.Wait()
}

const nginxConf = `daemon off; master_process off; worker_processes 1; pid %[1]s/nginx.pid; error_log %[1]s/nginx.log error;
load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
events { worker_connections 8192; }
rtmp { server { listen %[2]s; chunk_size 60000; application live { live on; wait_key on; } } }
http { access_log off; sendfile on; tcp_nopush on; keepalive_timeout 60; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f;
uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s; types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; } server { listen %[3]s; root %[4]s; } }
`

// nginx starts nginx, whose files are those of a folder.
func (y *yard) nginx(files string) *server {
	s := &server{rtmp: protocoltest.FreeAddr(y.b), http: protocoltest.FreeAddr(y.b)}
	conf := filepath.Join(y.dir, "nginx.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, y.dir, s.rtmp, s.http, cmp.Or(files, y.dir)), 0o644); err != nil {
		y.b.Fatal(err)
	}
	s.cmd = y.start(s.rtmp, nil, "nginx", "-c", conf, "-p", y.dir)
	return s
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// houseConf is for weir and for SRS.
const houseConf = `listen %s; daemon off; srs_log_tank console; srs_log_level error; pid %[2]s/house.pid; max_connections 10000;
http_server { enabled on; listen %s; dir %[4]s; } http_api { enabled on; listen %[5]s; }
vhost __defaultVhost__ { http_remux { enabled on; mount [vhost]/[app]/[stream].flv; } hls { enabled %[6]s; hls_fragment 2; hls_window 12; hls_path %[4]s; hls_ctx off; hls_ts_ctx off; } %[7]s }
`

// house starts weir with more directives of a vhost.
func (y *yard) house(vhost string, hls bool, env ...string) *server {
	return y.serve(y.weir, vhost, hls, env)
}

// srs starts SRS as house does weir. It gathers for mw_latency with min_latency on, too.
func (y *yard) srs(vhost string, hls bool) *server {
	return y.serve(*srsBin, strings.Replace(vhost, "min_latency on;", "min_latency on; play { mw_latency 0; }", 1), hls, nil)
}

func (y *yard) serve(program, vhost string, hls bool, env []string) *server {
	s := &server{rtmp: protocoltest.FreeAddr(y.b), http: protocoltest.FreeAddr(y.b), api: protocoltest.FreeAddr(y.b), hls: y.b.TempDir()}
	conf := filepath.Join(y.dir, "house.conf")
	text := fmt.Sprintf(houseConf, s.rtmp, y.dir, s.http, s.hls, s.api, onOff(hls), vhost)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		y.b.Fatal(err)
	}
	s.cmd = y.start(s.rtmp, env, program, "-c", conf)
	return s
}

func (s *server) load(play string, o bench.Options) bench.Options {
	o.Publish = "rtmp://" + s.rtmp + "/live/s%d"
	o.PIDs = []int{s.cmd.Process.Pid}
	switch play {
	case "rtmp":
		o.Play = o.Publish
	case "flv":
		o.Play = "http://" + s.http + "/live/s%d.flv"
	case "hls":
		o.Play = "http://" + s.http + "/live/s%d.m3u8"
	}
	return o
}

// measure runs a load once.
func (y *yard) measure(what string, o bench.Options) *bench.Result {
	o.Time, o.Warm = *window, 3*time.Second
	r, err := bench.Run(y.ctx, o)
	if err != nil {
		y.b.Fatalf("%s: %v", what, err)
	}
	y.say("%-34s %6.0f Mbit/s  %5.1f fps  %.4f s/Gbit  %5.1f %% CPU  delay %6.1f ms  first %6.1f ms  %5.1f KB a viewer  failed %d, stalls %d", what, r.Mbps, r.FPS,
		r.Cost.PerGbit, r.Cost.CPU, r.DelayP50, r.FirstP50, r.Cost.RSSPerViewer/1024, r.Failed+r.Lost, r.Stalls)
	return r
}

// gathered is how long weir's loops gather now, in ms.
func (s *server) gathered() float64 {
	res, err := http.Get("http://" + s.api + "/api/v1/summaries")
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	var said struct {
		Data struct {
			Sender struct {
				Loops []struct {
					Gather float64 `json:"gather_ms"`
				} `json:"loops"`
			} `json:"sender"`
		} `json:"data"`
	}
	if json.NewDecoder(res.Body).Decode(&said) != nil || len(said.Data.Sender.Loops) == 0 {
		return 0
	}
	return said.Data.Sender.Loops[0].Gather
}

// machine tells on what was measured.
func machine() string {
	first := func(file, prefix string) string {
		b, _ := os.ReadFile(file)
		for line := range strings.SplitSeq(string(b), "\n") {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				return strings.Trim(rest, "\t :")
			}
		}
		return "unknown"
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	nginx, _ := exec.Command("nginx", "-v").CombinedOutput()
	commit, _ := exec.Command("git", "rev-parse", "--short", "HEAD").Output()
	return fmt.Sprintf("%s, %d cores, Linux %s, %s; %s; weir at %s; %s", first("/proc/cpuinfo", "model name"), runtime.NumCPU(), strings.TrimSpace(string(kernel)),
		runtime.Version(), strings.TrimSpace(strings.TrimPrefix(string(nginx), "nginx version: ")), strings.TrimSpace(string(commit)), time.Now().Format(time.DateOnly))
}
