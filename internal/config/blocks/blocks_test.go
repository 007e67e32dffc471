package blocks

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/config"
)

// src makes a source of text and an environment of NAME=value words.
func src(text string, env ...string) config.Source {
	return config.Source{File: "x.conf", Text: []byte(text), Environ: env, Getenv: func(name string) string {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	}, MaxOpenFiles: 20000, Interfaces: 3}
}

func mustParse(t *testing.T, text string, env ...string) *config.Snapshot {
	t.Helper()
	s, err := config.Parse(src(text, env...), All())
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return s
}

// TestWhatSRSRefuses holds what SRS 7.0.18 says to each file; "" is a file that it
// accepts.
func TestWhatSRSRefuses(t *testing.T) {
	const head = "listen 1935; daemon off; srs_log_tank console; max_connections 100;\n"
	for _, tt := range []struct {
		name, text, want string
		code             int
	}{
		{"small", head + "vhost __defaultVhost__ { }", "", 0},
		{"empty", "", "conf is empty", 255},
		{"only a comment", "# x\n", "conf is empty", 255},
		{"no listen", "max_connections 100; vhost __defaultVhost__ { }", "listen requires params", 255},
		{"listen without a port", "listen;", "listen requires params", 255},
		{"listen at a word", "listen abc; daemon off;", "listen.port=0 is invalid", 255},
		{"listen at 0", "listen 0;", "listen.port=0 is invalid", 255},
		{"listen at two", "listen 1935 1936;", "", 0},
		{"listen at IPv6", "listen [::]:1935 :1936 127.0.0.1:1937;", "", 0},
		{"listen at no address", "listen 1.2.3.4.5:1935;", "listen.ip=1.2.3.4.5 is invalid", 255},
		{"listen at a host", "listen localhost:1935;", "listen.ip=localhost is invalid", 255},
		{"unknown in the file", head + "nosuch on;", "illegal directive nosuch", 255},
		{"unknown in a vhost", head + "vhost a { nosuch on; }", "illegal vhost.nosuch", 255},
		{"unknown in hls", head + "vhost a { hls { enabled on; nosuch on; } }", "illegal vhost.hls.nosuch of a", 255},
		{"unknown in play", head + "vhost a { play { nosuch on; } }", "illegal vhost.play.nosuch of a", 255},
		{"unknown in rtc", head + "vhost a { rtc { nosuch on; } }", "illegal vhost.rtc.nosuch of a", 255},
		{"unknown in http_api", head + "http_api { nosuch 1; }", "illegal http_api.nosuch", 255},
		{"unknown in raw_api", head + "http_api { raw_api { nosuch 1; } }", "illegal http_api.raw_api.nosuch", 255},
		{"unknown in auth", head + "http_api { auth { nosuch 1; } }", "illegal http_api.auth.nosuch", 255},
		{"unknown in http_server", head + "http_server { nosuch 1; }", "illegal http_stream.nosuch", 255},
		{"unknown in rtc_server", head + "rtc_server { nosuch 1; }", "illegal rtc_server.nosuch", 255},
		{"unknown in srt_server", head + "srt_server { nosuch 1; }", "illegal srt_server.nosuch", 255},
		{"unknown in heartbeat", head + "heartbeat { nosuch 1; }", "illegal heartbeat.nosuch", 255},
		{"unknown in stats", head + "stats { nosuch 1; }", "illegal stats.nosuch", 255},
		{"unknown in exporter", head + "exporter { nosuch 1; }", "illegal exporter.nosuch", 255},
		{"unknown in a caster", head + "stream_caster { nosuch 1; }", "illegal stream_caster.nosuch", 255},
		{"unknown in sip", head + "stream_caster { sip { nosuch 1; } }", "illegal stream_caster.sip.nosuch", 255},
		{"unknown in an engine", head + "vhost a { transcode { engine e { nosuch 1; } } }", "illegal vhost.transcode.engine.nosuch of a", 255},
		{"unknown block in a block", head + "vhost a { hls { x { y 1; } } }", "illegal vhost.hls.x of a", 255},
		{"unlooked at", head + "http_api { https { nosuch 1; } } rtc_server { tcp { nosuch 1; } } circuit_breaker { nosuch 1; }", "", 0},
		{"include nothing", head + "include nosuch.conf;", "open file nosuch.conf failed", 18},
		{"most connections 0", "listen 1935; max_connections 0;", "max_connections=0 is invalid", 255},
		{"most connections a word", "listen 1935; max_connections abc;", "max_connections=0 is invalid", 255},
		{"too many connections", "listen 1935; max_connections 100000000;", "100000128 exceed max open files=20000", 255},
		{"just too many", "listen 1935; max_connections 19872;", "20000 exceed max open files=20000", 255},
		{"just not too many", "listen 1935; max_connections 19871;", "", 0},
		{"chunks out of range", head + "chunk_size 10; vhost a { chunk_size 99999999; }", "", 0},
		{"ts and hls", head + "vhost a { hls { enabled on; } http_remux { enabled on; mount [vhost]/[app]/[stream].ts; } }", "vhost.hls conflict with vhost.http-ts of a", 255},
		{"ts, flv and hls", head + "vhost a { hls { enabled on; } http_remux { enabled on; mount [vhost]/[app]/[stream].ts [vhost]/[app]/[stream].flv; } }", "", 0},
		{"ts and no hls", head + "vhost a { http_remux { enabled on; mount [vhost]/[app]/[stream].ts; } }", "", 0},
		{"two mounts", head + "vhost a { http_remux { enabled on; } http_remux { enabled on; } }", "vhost.http_remux only one but count=2 of a", 255},
		{"two vhosts of a name", head + "vhost a { } vhost a { }", "", 0},
		{"two ingests of a name", head + "vhost a { ingest i { enabled on; } ingest i { enabled on; } }", "ingest id=i exists for a", 255},
		{"forward and kickoff", head + "vhost a { publish { kickoff_for_idle 10; } forward { enabled on; destination 127.0.0.1:19350; } }", "vhost.forward conflicts with vhost.publish.kickoff_for_idle", 255},
		{"daemon and asprocess", "listen 1935; daemon on; asprocess on;", "daemon conflicts with asprocess", 255},
		{"asprocess alone", "listen 1935; asprocess on;", "daemon conflicts with asprocess", 255},
		{"asprocess in a container", "listen 1935; asprocess on; in_docker on;", "", 0},
		{"is_full", head + "is_full on;", "never use full.conf(x.conf)", 255},
		{"log file of no name", "listen 1935; srs_log_tank file; srs_log_file ;", "", 0},
		{"heartbeat of 0", head + "heartbeat { enabled on; interval 0; }", "invalid heartbeat.interval=0", 255},
		{"interface 99", head + "stats { network 99; }", "invalid stats.network=99 of 3", 255},
		{"interface -1", head + "stats { network -1; }", "invalid stats.network=-1", 255},
		{"api without a port", head + "http_api { enabled on; listen; }", "", 0},
		{"one port", head + "http_api { enabled on; listen 8080; } http_server { enabled on; listen 8080; }", "", 0},
		{"one port but two of TLS", head + "http_api { enabled on; listen 8080; https { enabled on; listen 1990; } } http_server { enabled on; listen 8080; https { enabled on; listen 8088; } }", "for same http, https api(1990) != server(8088)", 255},
		{"one port of TLS but two", head + "http_api { enabled on; listen 1985; https { enabled on; listen 8088; } } http_server { enabled on; listen 8080; https { enabled on; listen 8088; } }", "for same https, http api(1985) != server(8080)", 255},
		{"one port, TLS by default", head + "http_api { enabled on; listen 8080; https { enabled on; } } http_server { enabled on; listen 8080; https { enabled on; } }", "", 0},
		{"TLS alone, api", head + "http_api { enabled off; https { enabled on; listen 1990; } }", "https api depends on http", 255},
		{"TLS alone, server", head + "http_server { https { enabled on; } }", "https stream depends on http", 255},
		{"http_stream", head + "http_stream { enabled on; listen 8080; }", "", 0},
		{"vhost's hstrs", head + "vhost a { hstrs on; }", "illegal vhost.hstrs", 255},
		{"hook without a URL", head + "vhost a { http_hooks { enabled on; on_publish; } }", "", 0},
		{"unknown caster", head + "stream_caster { enabled on; caster nosuch; output rtmp://127.0.0.1/live/x; listen 1234; }", "", 0},
		{"cloud", head + "tencentcloud_cls { enabled off; }", "", 0},
		{"threads", head + "threads { interval 5; }", "", 0},
		{"vhost without a name", head + "vhost { }", "", 0},
		{"interval a word", head + "pithy_print_ms abc;", "", 0},
		{"bool of other words", head + "vhost a { enabled true; hls { enabled true; } }", "", 0},
		// What 7.0.18 does not know and later versions do is known here.
		{"rtmp block", "rtmp { listen 1935; chunk_size 60000; } max_connections 100;", "", 0},
		{"rtmp block, unknown", "rtmp { listen 1935; nosuch 1; }", "illegal rtmp.nosuch", 255},
		{"rtsp_server", head + "rtsp_server { enabled on; listen 8554; }", "", 0},
		{"fmp4", head + "vhost a { hls { enabled on; hls_use_fmp4 on; } }", "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := src(tt.text)
			s.ReadFile = func(name string) ([]byte, error) { return nil, fmt.Errorf("open %s: no such file", name) }
			errs, _ := config.Check(s, All())
			if tt.want == "" {
				if len(errs) > 0 {
					t.Errorf("refused: %v", errs)
				}
				return
			}
			if len(errs) != 1 || errs[0].Text != tt.want {
				t.Errorf("got %v, want %s", errs, tt.want)
			}
			if got := config.ExitCode(errs); got != tt.code {
				t.Errorf("exit code is %d, want %d", got, tt.code)
			}
		})
	}
}

func TestLegacy(t *testing.T) {
	s := mustParse(t, `listen 1935;
http_stream { enabled on; listen 81; }
vhost a {
    play { gop_cache off; }
    gop_cache on; queue_length 5; time_jitter zero; mw_latency 100;
    refer github.com github.io; refer_play play.example;
    mr { enabled on; latency 500; }
    publish_1stpkt_timeout 3000; publish_normal_timeout 4000;
    http { enabled on; mount [vhost]/x; }
    forward 127.0.0.1:19350 127.0.0.1:19351;
    mode remote; origin 127.0.0.1;
    nack { enabled off; } twcc { enabled off; }
    rtc { aac transcode; bframe keep; }
}
vhost b { refer { enabled off; } refer x; }
stream_caster { host 1.2.3.4; rtp_port_min 9; sip { serial 5; } }
srt_server { tlpkdrop off; }
rtc_server { perf_stat on; }`)
	v, _ := s.Vhost("a")
	if w := HTTPServer.In(s); !w.Enabled || w.Listen[0] != "81" {
		t.Errorf("http_server is %+v", w)
	}
	p := Play.Of(v)
	if p.GOPCache || p.QueueLength != 5*time.Second || p.TimeJitter != "zero" || p.MWLatency != 100*time.Millisecond {
		t.Errorf("play is %+v", p)
	}
	r := Refer.Of(v)
	if !r.Enabled || strings.Join(r.All, " ") != "github.com github.io" || strings.Join(r.Play, " ") != "play.example" {
		t.Errorf("refer is %+v", r)
	}
	u := Publish.Of(v)
	if !u.MR || u.MRLatency != 500*time.Millisecond || u.FirstPktTimeout != 3*time.Second || u.NormalTimeout != 4*time.Second {
		t.Errorf("publish is %+v", u)
	}
	if h := HTTPStatic.Of(v); !h.Enabled || h.Mount != "[vhost]/x" {
		t.Errorf("http_static is %+v", h)
	}
	b, _ := s.Vhost("b")
	if r := Refer.Of(b); r.Enabled || len(r.All) != 1 {
		t.Errorf("refer of b is %+v", r)
	}
	want := map[string]string{
		"vhost.forward.enabled": "on", "vhost.forward.destination": "127.0.0.1:19350",
		"vhost.cluster.mode": "remote", "vhost.cluster.origin": "127.0.0.1",
		"vhost.rtc.nack": "off", "vhost.rtc.twcc": "off", "vhost.rtc.rtmp_to_rtc": "on", "vhost.rtc.keep_bframe": "on",
		"stream_caster.sip.candidate": "1.2.3.4", "srt_server.tlpktdrop": "off",
	}
	for path, value := range want {
		d := s.Tree()
		for name := range strings.SplitSeq(path, ".") {
			d = d.Get(name)
		}
		if d.Arg(0) != value {
			t.Errorf("%s is %q, want %q", path, d.Arg(0), value)
		}
	}
	told := fmt.Sprint(s.Warnings)
	for _, w := range []string{
		"x.conf:2:1: transform: http_stream to http_server", "transform: vhost.gop_cache to vhost.play.gop_cache of a",
		"transform: vhost.mr to vhost.publish.mr of a", "transform: vhost.mode to vhost.cluster.mode of a",
		"transform: vhost.http to vhost.http_static of a", "transform: stream_caster.rtp_port_min is ignored",
		"transform: rtc_server.perf_stat is ignored", "transform: vhost.refer to vhost.refer.all of b",
	} {
		if !strings.Contains(told, w) {
			t.Errorf("no warning %q in %s", w, told)
		}
	}
}

// TestDefaultsOfSRS holds defaults that clients would notice.
func TestDefaultsOfSRS(t *testing.T) {
	s := mustParse(t, "listen 1935; vhost v { }")
	v, _ := s.Vhost("v")
	r := Root.In(s)
	if r.ChunkSize != 60000 || r.MaxConnections != 1000 || !r.Daemon || r.PID != "./objs/srs.pid" ||
		r.GraceStartWait != 2300*time.Millisecond || r.PithyPrint != 10*time.Second || r.LogLevel != "trace" {
		t.Errorf("root is %+v", r)
	}
	if p := Publish.Of(v); p.FirstPktTimeout != 20*time.Second || p.NormalTimeout != 5*time.Second || p.MR || !p.ParseSPS || p.KickoffForIdle != 0 || p.Preempt != "off" {
		t.Errorf("publish is %+v", p)
	}
	if p := Play.Of(v); !p.GOPCache || p.GOPCacheMaxFrames != 2500 || p.QueueLength != 30*time.Second || p.TimeJitter != "full" ||
		p.MWLatency != 350*time.Millisecond || p.Messages(false) != 8 || p.Messages(true) != 0 {
		t.Errorf("play is %+v", p)
	}
	if h := HLS.Of(v); h.Enabled || h.Fragment != 10*time.Second || h.Window != time.Minute || h.TDRatio != 1 || h.AOFRatio != 2.1 ||
		!h.Ctx || !h.TSCtx || !h.Cleanup || h.Dispose != 2*time.Minute || h.KeyDir() != "./objs/nginx/html" {
		t.Errorf("hls is %+v", h)
	}
	if x := HTTPRemux.Of(v); x.Enabled || x.Mount[0] != "[vhost]/[app]/[stream].flv" || !x.GuessHasAV || x.OnMissing != "wait" || x.WaitTimeout != 0 {
		t.Errorf("http_remux is %+v", x)
	}
	if x := VhostRoot.Of(v); !x.Enabled || x.InAckSize != 0 || x.OutAckSize != 2500000 || x.MinLatency {
		t.Errorf("vhost is %+v", x)
	}
	if a, w := HTTPAPI.In(s), HTTPServer.In(s); a.Enabled || a.Listen[0] != "1985" || w.Listen[0] != "8080" || w.HTTPS.Listen[0] != "8088" || !w.CrossDomain {
		t.Errorf("http is %+v %+v", a, w)
	}
}

func TestChunkSize(t *testing.T) {
	for _, tt := range []struct {
		text string
		env  []string
		want int
	}{
		{"vhost v { }", nil, 60000},
		{"chunk_size 4096; vhost v { }", nil, 4096},
		{"chunk_size 4096; vhost v { chunk_size 128; }", nil, 128},
		{"chunk_size 10; vhost v { }", nil, 128},
		{"vhost v { chunk_size 99999999; }", nil, 65536},
		{"chunk_size 4096; vhost v { chunk_size 128; }", []string{"SRS_VHOST_CHUNK_SIZE=5000"}, 5000},
	} {
		s := mustParse(t, "listen 1; "+tt.text, tt.env...)
		v, _ := s.Vhost("v")
		if got := ChunkSize(s, v); got != tt.want {
			t.Errorf("%s: chunk size is %d, want %d", tt.text, got, tt.want)
		}
	}
	if got := ChunkSize(nil, nil); got != 60000 {
		t.Errorf("chunk size of nothing is %d", got)
	}
}

func TestProcess(t *testing.T) {
	for _, tt := range []struct {
		text                string
		detected            bool
		background, console bool
	}{
		{"", false, true, false},
		{"", true, false, true},
		{"in_docker on;", false, false, true},
		{"disable_daemon_for_docker off;", true, true, true},
		{"daemon off;", false, false, false},
		{"srs_log_tank file;", true, false, false},
		{"srs_log_tank console;", false, true, true},
		{"srs_log_tank nosuch;", false, true, false},
	} {
		r := Root.In(mustParse(t, "listen 1; "+tt.text))
		if b, c := r.Background(tt.detected), r.LogToConsole(tt.detected); b != tt.background || c != tt.console {
			t.Errorf("%q, container %v: background %v, console %v", tt.text, tt.detected, b, c)
		}
	}
}

func TestPorts(t *testing.T) {
	s := mustParse(t, "listen 1; http_api { enabled on; listen 8080; https { enabled on; } } http_server { enabled on; listen 8080; https { enabled on; listen 443; } }")
	if !OnePort(s) || APITLSListen(s)[0] != "443" {
		t.Errorf("one port is %v, TLS of the API at %v", OnePort(s), APITLSListen(s))
	}
	s = mustParse(t, "listen 1; http_api { enabled on; https { enabled on; } } http_server { enabled on; https { enabled on; listen 443; } }")
	if OnePort(s) || APITLSListen(s)[0] != "1990" {
		t.Errorf("one port is %v, TLS of the API at %v", OnePort(s), APITLSListen(s))
	}
}

func TestHooksByEnvironment(t *testing.T) {
	s := mustParse(t, "listen 1; vhost v { }", "SRS_VHOST_HTTP_HOOKS_ENABLED=on", "SRS_VHOST_HTTP_HOOKS_ON_PUBLISH=http://a http://b",
		"SRS_VHOST_REFER_ENABLED=on", "SRS_VHOST_PLAY_GOP_CACHE=off", "SRS_HTTP_API_AUTH_ENABLED=on")
	v, _ := s.Vhost("v")
	if h := HTTPHooks.Of(v); !h.Enabled || len(h.OnPublish) != 2 || h.OnPublish[1] != "http://b" {
		t.Errorf("hooks are %+v", h)
	}
	if Refer.Of(v).Enabled {
		t.Error("the environment turned refer on")
	}
	if Play.Of(v).GOPCache || !HTTPAPI.In(s).Auth.Enabled {
		t.Error("the environment was not asked")
	}
}

func TestSecurityWarnings(t *testing.T) {
	s := mustParse(t, `listen 1; vhost v { security { enabled on; allow play all; deny publish 10.0.0.0/8; allow publish ::1;
		deny all; allow watch all; deny play 10.0.0.300; } } vhost w { security { enabled on; } }`)
	if len(s.Warnings) != 4 {
		t.Errorf("warnings are %v", s.Warnings)
	}
	v, _ := s.Vhost("v")
	if n := len(Security.Of(v).Rules); n != 6 {
		t.Errorf("%d rules", n)
	}
}

// What SRS knows is read, or is said to have no meaning here: nothing is ignored in
// silence, and so nothing that restricts, authenticates, encrypts or routes.
func TestEveryDirectiveIsRead(t *testing.T) {
	for _, path := range config.Unread(All()) {
		t.Errorf("nobody reads %s", path)
	}
}

func TestEveryDirectiveIsDocumented(t *testing.T) {
	for _, name := range config.Undocumented(All()) {
		t.Errorf("%s has no doc comment, or go generate ./internal/config was not run", name)
	}
	for _, i := range config.Directives(All()) {
		if i.Doc == "" {
			t.Errorf("%s has no doc", i.Path)
		}
	}
}
