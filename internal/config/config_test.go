package config

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// The blocks of the tests, one of each kind.
type (
	testRoot struct {
		Listen []string `conf:"listen" env:"LISTEN,RTMP_LISTEN" reload:"now"`
		Max    int      `conf:"max_connections" default:"1000"`
		Daemon bool     `conf:"daemon" default:"on" reload:"restart"`
		Level  string   `conf:"srs_log_level" default:"trace" enum:"trace|warn" env:"SRS_LOG_LEVEL,LOG_LEVEL"`
		Quiet  bool     `conf:"utc_time" default:"off"`
	}
	testAPI struct {
		Enabled bool     `conf:"enabled" default:"off"`
		Listen  []string `conf:"listen" default:"1985"`
		TLS     testTLS  `conf:"https"`
		Auth    testAuth `conf:"auth"`
	}
	testTLS struct {
		Listen string `conf:"listen" default:"1990"`
	}
	testAuth struct {
		_    struct{} `env:"-"`
		Name string   `conf:"username" default:""`
	}
	testCaster struct {
		Enabled bool   `conf:"enabled" default:"off"`
		Kind    string `conf:"caster"`
		SIP     struct {
			Listen int `conf:"listen" default:"5060"`
		} `conf:"sip"`
	}
	testVhost struct {
		Chunk int `conf:"chunk_size" default:"7"`
	}
	testHLS struct {
		Enabled  bool          `conf:"enabled" default:"off" reload:"now"`
		Fragment time.Duration `conf:"hls_fragment" default:"10" unit:"s"`
		Ratio    float64       `conf:"hls_td_ratio" default:"1.5"`
		Cleanup  bool          `conf:"hls_cleanup" default:"on"`
		Keys     bool          `conf:"hls_keys" default:"off"`
	}
	testPublish struct {
		Timeout time.Duration `conf:"normal_timeout" default:"5000" unit:"ms"`
	}
	testSecurity struct {
		_       struct{} `env:"-"`
		Enabled bool     `conf:"enabled" default:"off"`
		Rules   []Rule   `conf:"allow,deny"`
	}
	testTranscode struct {
		Scope   string       `conf:"$arg"`
		Enabled bool         `conf:"enabled" default:"off"`
		Engines []testEngine `conf:"engine"`
	}
	testEngine struct {
		Name   string `conf:"$arg"`
		Codec  string `conf:"vcodec"`
		Params struct {
			All []Rule `conf:"*"`
		} `conf:"vparams"`
	}
)

func (c *testHLS) Validate() error {
	if c.Ratio == 99 {
		return errors.Join(errors.New("one"), errors.New("two"))
	}
	return nil
}

func (c *testHLS) Warnings() []string {
	if c.Ratio == 98 {
		return []string{"strange"}
	}
	return nil
}

var (
	tRoot      = NewRoot[testRoot]()
	tAPI       = NewServer[testAPI]("http_api")
	tCaster    = NewServerList[testCaster]("stream_caster")
	tVhost     = NewVhostRoot[testVhost]()
	tHLS       = NewVhost[testHLS]("hls")
	tPublish   = NewVhost[testPublish]("publish")
	tSecurity  = NewVhost[testSecurity]("security")
	tTranscode = NewVhostList[testTranscode]("transcode")

	testSpecs = []Spec{tRoot, tAPI, tCaster, tVhost, tHLS, tPublish, tSecurity, tTranscode}
)

// src makes a source of text and an environment of NAME=value words.
func src(text string, env ...string) Source {
	return Source{File: "x.conf", Text: []byte(text), Environ: env, Getenv: func(name string) string {
		for _, e := range env {
			if v, ok := strings.CutPrefix(e, name+"="); ok {
				return v
			}
		}
		return ""
	}}
}

func mustParse(t *testing.T, text string, env ...string) *Snapshot {
	t.Helper()
	s, err := Parse(src(text, env...), testSpecs)
	if err != nil {
		t.Fatalf("Parse(%q): %v", text, err)
	}
	return s
}

func wantDeep(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s\n got %+v\nwant %+v", what, got, want)
	}
}

func TestDefaults(t *testing.T) {
	s := mustParse(t, "listen 1; vhost a { }")
	v, ok := s.Vhost("a")
	if !ok {
		t.Fatal("no vhost a")
	}
	want := testHLS{Fragment: 10 * time.Second, Ratio: 1.5, Cleanup: true}
	wantDeep(t, "hls of an empty vhost", *tHLS.Of(v), want)
	wantDeep(t, "hls of no vhost", *tHLS.Of(nil), want)
	wantDeep(t, "api", *tAPI.In(s), testAPI{Listen: []string{"1985"}, TLS: testTLS{Listen: "1990"}})
	wantDeep(t, "api of no snapshot", *tAPI.In(nil), *tAPI.Default())
	wantDeep(t, "casters", len(tCaster.In(s)), 0)
	wantDeep(t, "lists of nothing", len(tCaster.In(nil))+len(tTranscode.Of(nil)), 0)
}

func TestDecode(t *testing.T) {
	s := mustParse(t, `
		listen 1935 [::]:1936;
		daemon off;
		http_api { enabled on; listen 1985; https { listen 1; } auth { username "a b"; } }
		stream_caster { enabled on; caster flv; }
		stream_caster { caster gb28181; sip { listen 7; } }
		vhost a {
			chunk_size 128;
			hls { enabled on; hls_fragment 2.5; hls_cleanup off; }
			publish { normal_timeout 1500; }
			security { enabled on; deny play all; allow publish 10.0.0.0/8; deny publish all; }
			transcode { }
			transcode live/s {
				enabled on;
				engine e1 { vcodec copy; vparams { g 50; "x y" 'z'; } }
				engine e2 { }
			}
		}`)
	v, _ := s.Vhost("a")
	wantDeep(t, "root", *tRoot.In(s), testRoot{Listen: []string{"1935", "[::]:1936"}, Max: 1000, Level: "trace"})
	wantDeep(t, "api", *tAPI.In(s), testAPI{Enabled: true, Listen: []string{"1985"}, TLS: testTLS{Listen: "1"}, Auth: testAuth{Name: "a b"}})
	c := tCaster.In(s)
	if len(c) != 2 || !c[0].Enabled || c[0].Kind != "flv" || c[0].SIP.Listen != 5060 || c[1].SIP.Listen != 7 {
		t.Errorf("casters are %+v", c)
	}
	wantDeep(t, "vhost", tVhost.Of(v).Chunk, 128)
	wantDeep(t, "hls", *tHLS.Of(v), testHLS{Enabled: true, Fragment: 2500 * time.Millisecond, Ratio: 1.5})
	wantDeep(t, "timeout", tPublish.Of(v).Timeout, 1500*time.Millisecond)
	wantDeep(t, "rules", tSecurity.Of(v).Rules, []Rule{
		{"deny", []string{"play", "all"}}, {"allow", []string{"publish", "10.0.0.0/8"}}, {"deny", []string{"publish", "all"}}})
	tc := tTranscode.Of(v)
	if len(tc) != 2 || tc[0].Scope != "" || tc[1].Scope != "live/s" || len(tc[1].Engines) != 2 {
		t.Fatalf("transcode is %+v", tc)
	}
	e := tc[1].Engines[0]
	if e.Name != "e1" || e.Codec != "copy" || tc[1].Engines[1].Name != "e2" {
		t.Errorf("engines are %+v", tc[1].Engines)
	}
	wantDeep(t, "vparams", e.Params.All, []Rule{{"g", []string{"50"}}, {"x y", []string{"z"}}})
	for _, w := range s.Warnings {
		t.Errorf("unexpected warning: %v", w)
	}
}

// TestBool is SRS's rule: what is off by default needs "on", what is on by
// default needs "off".
func TestBool(t *testing.T) {
	for _, tt := range []struct {
		word    string
		off, on bool // what a default of off, and of on, become
		warns   int
	}{
		{"on", true, true, 0}, {"off", false, false, 0},
		{"true", false, true, 2}, {"1", false, true, 2}, {"yes", false, true, 2}, {"On", false, true, 2},
		{"no", false, true, 2}, {"", false, true, 0},
	} {
		s := mustParse(t, fmt.Sprintf("listen 1; utc_time %s; daemon %s;", tt.word, tt.word))
		if r := tRoot.In(s); r.Quiet != tt.off || r.Daemon != tt.on {
			t.Errorf("%q: off becomes %v, on becomes %v", tt.word, r.Quiet, r.Daemon)
		}
		if len(s.Warnings) != tt.warns {
			t.Errorf("%q: warnings %v", tt.word, s.Warnings)
		}
		if tt.word == "" {
			continue
		}
		s = mustParse(t, "listen 1;", "SRS_UTC_TIME="+tt.word, "SRS_DAEMON="+tt.word)
		if r := tRoot.In(s); r.Quiet != tt.off || r.Daemon != tt.on {
			t.Errorf("environment %q: off becomes %v, on becomes %v", tt.word, r.Quiet, r.Daemon)
		}
	}
}

func TestNumbers(t *testing.T) {
	for _, tt := range []struct {
		word  string
		i     int64
		whole bool
		f     float64
		fall  bool
	}{
		{"0", 0, true, 0, true}, {"12", 12, true, 12, true}, {"-3", -3, true, -3, true}, {"+4", 4, true, 4, true},
		{"1.5", 1, false, 1.5, true}, {".5", 0, false, .5, true}, {"5.", 5, false, 5, true},
		{"10s", 10, false, 10, false}, {"abc", 0, false, 0, false}, {"-", 0, false, 0, false}, {"", 0, false, 0, false},
		{"1e3", 1, false, 1000, true}, {"1e", 1, false, 1, false}, {"1e+", 1, false, 1, false}, {"2e-1", 2, false, .2, true},
		{"inf", 0, false, 0, false}, {"nan", 0, false, 0, false}, {"0x10", 0, false, 0, false}, {"1_000", 1, false, 1, false},
		{"99999999999", 1<<31 - 1, false, 99999999999, true}, {"-99999999999", -1 << 31, false, -99999999999, true},
	} {
		if n, whole := atoi(tt.word); n != tt.i || whole != tt.whole {
			t.Errorf("atoi(%q) = %d, %v, want %d, %v", tt.word, n, whole, tt.i, tt.whole)
		}
		if n, whole := atof(tt.word); n != tt.f || whole != tt.fall {
			t.Errorf("atof(%q) = %v, %v, want %v, %v", tt.word, n, whole, tt.f, tt.fall)
		}
	}
	for _, word := range []string{"1e999", "-1e999", "99999999999999999999"} {
		n, _ := atof(word)
		if d := duration(n, time.Second); d > 101*365*24*time.Hour || d < -101*365*24*time.Hour {
			t.Errorf("%s seconds are %v", word, d)
		}
	}
}

func TestJunkIsTold(t *testing.T) {
	s := mustParse(t, "listen 1; max_connections 10x; srs_log_level wran; vhost a { hls { hls_fragment 2s; hls_td_ratio x; } }")
	got := fmt.Sprint(s.Warnings)
	for _, want := range []string{
		"x.conf:1:11: max_connections 10x is read as 10 (write a whole number)",
		"srs_log_level wran is not one of trace, warn and is read as trace (did you mean warn?)",
		"vhost.hls.hls_fragment 2s is read as 2 (write a number of seconds, without a unit)",
		"vhost.hls.hls_td_ratio x is read as 0 (write a number)",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no warning %q in %s", want, got)
		}
	}
	if tRoot.In(s).Level != "trace" || tRoot.In(s).Max != 10 {
		t.Errorf("root is %+v", tRoot.In(s))
	}
}

func TestEnvironment(t *testing.T) {
	s := mustParse(t, "listen 1; srs_log_level warn; vhost a { hls { hls_fragment 1; } } vhost b { }",
		"SRS_LISTEN=1935 1936", "SRS_LOG_LEVEL=trace", "SRS_MAX_CONNECTIONS=5", "SRS_HTTP_API_ENABLED=on",
		"SRS_HTTP_API_HTTPS_LISTEN=44", "SRS_HTTP_API_AUTH_USERNAME=nobody",
		"SRS_VHOST_HLS_HLS_FRAGMENT=3.5", "SRS_VHOST_CHUNK_SIZE=200", "SRS_VHOST_SECURITY_ENABLED=on",
		"SRS_STREAM_CASTER_ENABLED=on")
	wantDeep(t, "root", *tRoot.In(s), testRoot{Listen: []string{"1935", "1936"}, Max: 5, Daemon: true, Level: "trace"})
	api := tAPI.In(s)
	if !api.Enabled || api.TLS.Listen != "44" || api.Auth.Name != "" {
		t.Errorf("api is %+v", api)
	}
	for _, name := range []string{"a", "b"} {
		v, _ := s.Vhost(name)
		if f := tHLS.Of(v).Fragment; f != 3500*time.Millisecond {
			t.Errorf("fragment of %s is %v", name, f)
		}
		if n := tVhost.Of(v).Chunk; n != 200 {
			t.Errorf("chunk size of %s is %d", name, n)
		}
		if tSecurity.Of(v).Enabled {
			t.Errorf("the environment turned security of %s on", name)
		}
	}
	// The doubled prefix goes before the plain one.
	s = mustParse(t, "listen 1;", "SRS_SRS_LOG_LEVEL=warn", "SRS_LOG_LEVEL=trace")
	wantDeep(t, "level", tRoot.In(s).Level, "warn")
}

func TestEnvironmentOnly(t *testing.T) {
	only := src("", "SRS_HTTP_API_ENABLED=on")
	only.EnvOnly = true
	s, err := Parse(only, testSpecs)
	if err != nil {
		t.Fatal(err)
	}
	if r := tRoot.In(s); r.Daemon || len(r.Listen) != 1 || r.Listen[0] != "1935" {
		t.Errorf("root is %+v", r)
	}
	if !tAPI.In(s).Enabled {
		t.Error("the API is off")
	}
	if v, ok := s.Vhost("any.example"); !ok || v.Name != DefaultVhost {
		t.Errorf("vhost is %v, %v", v, ok)
	}
	only = src("", "SRS_LISTEN=7", "SRS_DAEMON=on")
	only.EnvOnly = true
	if s, err = Parse(only, testSpecs); err != nil || !tRoot.In(s).Daemon || tRoot.In(s).Listen[0] != "7" {
		t.Errorf("root is %+v, %v", tRoot.In(s), err)
	}
}

func TestMisspeltEnvironment(t *testing.T) {
	s := mustParse(t, "listen 1;", "SRS_LISTNE=5", "SRS_SERVICE_HOST=10.0.0.1", "SRS_PORT=tcp://1", "SRS_CONFIG_FILE=x", "SRS_WHATEVER_ELSE=1")
	if got := fmt.Sprint(s.Warnings); got != "[$SRS_LISTNE: no directive reads this variable (did you mean SRS_LISTEN?)]" {
		t.Errorf("warnings are %s", got)
	}
}

func TestVhostLookup(t *testing.T) {
	s := mustParse(t, `listen 1; vhost a { chunk_size 1; } vhost __defaultVhost__ { chunk_size 2; } vhost off { enabled off; }
		vhost a { chunk_size 3; } vhost { chunk_size 4; }`)
	for _, tt := range []struct {
		name  string
		chunk int
		ok    bool
	}{{"a", 1, true}, {"b", 2, true}, {"", 2, true}, {"off", 0, false}} {
		v, ok := s.Vhost(tt.name)
		if ok != tt.ok || ok && tVhost.Of(v).Chunk != tt.chunk {
			t.Errorf("Vhost(%q) = %+v, %v", tt.name, v, ok)
		}
	}
	if n := len(s.Vhosts()); n != 3 {
		t.Errorf("%d vhosts", n)
	}
	if _, ok := mustParse(t, "listen 1; vhost a { }").Vhost("b"); ok {
		t.Error("a vhost without a default one")
	}
	if _, ok := (*Snapshot)(nil).Vhost("a"); ok {
		t.Error("a vhost of nothing")
	}
}

func TestValidate(t *testing.T) {
	errs, warns := Check(src("listen 1;\nvhost a {\n hls { hls_td_ratio 99; }\n}\nvhost b { hls { hls_td_ratio 98; } }"), testSpecs)
	if got, want := errs.Error(), "x.conf:3:2: vhost.hls of a: one\nx.conf:3:2: vhost.hls of a: two"; got != want {
		t.Errorf("errors are %s", got)
	}
	if len(warns) != 1 || warns[0].String() != "x.conf:5:11: vhost.hls of b: strange" {
		t.Errorf("warnings are %v", warns)
	}
}

func TestAllErrorsAtOnce(t *testing.T) {
	errs, _ := Check(src("listne 1935;\nlisten abc;\nmax_connections 0;\nvhost a {\n  hls { hls_fragmnet 5; }\n  hls_window 3;\n  nosuch { x 1; }\n}\n"), testSpecs)
	want := `x.conf:1:1: illegal directive listne (did you mean listen?)
x.conf:2:1: listen.port=0 is invalid (a port is a number from 1 to 65535)
x.conf:3:1: max_connections=0 is invalid (at least 1)
x.conf:5:9: illegal vhost.hls.hls_fragmnet of a (did you mean hls_fragment?)
x.conf:6:3: illegal vhost.hls_window (it belongs in vhost.hls)
x.conf:7:3: illegal vhost.nosuch`
	if got := errs.Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := ExitCode(errs); got != 255 {
		t.Errorf("exit code is %d", got)
	}
}

func TestMoot(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		env        []string
		want       string // paths that are warned of
	}{
		{"a directive", "tcmalloc_release_rate 3;", nil, "tcmalloc_release_rate"},
		{"its default", "tcmalloc_release_rate 0.8; query_latest_version off;", nil, ""},
		{"on or off", "query_latest_version on;", nil, "query_latest_version"},
		{"by the environment", "", []string{"SRS_TCMALLOC_RELEASE_RATE=3"}, "tcmalloc_release_rate"},
		{"its default by the environment", "", []string{"SRS_TCMALLOC_RELEASE_RATE=0.8"}, ""},
		{"a block", "threads { interval 6; }", nil, "threads"},
		{"a block that is on", "tencentcloud_cls { enabled on; label x; }", nil, "tencentcloud_cls"},
		{"a block that is off", "tencentcloud_cls { enabled off; label x; }", nil, ""},
		{"a block that is off by default", "tencentcloud_cls { label x; }", nil, ""},
		{"a block that the environment turns on", "tencentcloud_cls { label x; }", []string{"SRS_TENCENTCLOUD_CLS_ENABLED=on"}, "tencentcloud_cls"},
		{"a block of the environment alone", "", []string{"SRS_TENCENTCLOUD_CLS_ENABLED=on", "SRS_TENCENTCLOUD_CLS_LABEL=x"}, "tencentcloud_cls"},
		{"a block that the environment turns off", "tencentcloud_cls { enabled on; }", []string{"SRS_TENCENTCLOUD_CLS_ENABLED=off"}, ""},
		{"in a block that is read", "vhost a { hls { enabled on; hls_mount x; } }", nil, "vhost.hls.hls_mount"},
		{"in a block that is off", "vhost a { hls { hls_mount x; } }", nil, ""},
		{"in a vhost that is off", "vhost a { enabled off; hls { enabled on; hls_mount x; } }", nil, ""},
		{"in several vhosts", "vhost a { hls { enabled on; hls_mount x; } } vhost b { hls { enabled on; hls_mount x; } }", nil, "vhost.hls.hls_mount"},
		{"what has a meaning", "vhost a { refer { enabled on; all x; } hls { enabled on; hls_fragment 3; } }", nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, w := range mustParse(t, "listen 1; "+tt.text, tt.env...).Warnings {
				path, ok := strings.CutSuffix(w.Text, " has no meaning here and is ignored")
				if !ok {
					t.Errorf("warning: %v", w)
				}
				got = append(got, path)
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("got %s, want %s", g, tt.want)
			}
		})
	}
}

func TestDigestAndDiff(t *testing.T) {
	a := mustParse(t, "listen 1; vhost a { hls { enabled on; } } vhost b { } vhost c { enabled off; }")
	same := mustParse(t, "# other layout\nlisten   1;\nvhost 'a' {\n hls { enabled on; } }\nvhost b { } vhost c { enabled off; }")
	if a.Digest() != same.Digest() || len(Diff(a, same)) != 0 {
		t.Errorf("%s, %s, %v", a.Digest(), same.Digest(), Diff(a, same))
	}
	b := mustParse(t, `listen 2; daemon off; stream_caster { } http_api { https { listen 5; } }
		vhost a { hls { enabled on; hls_fragment 3; } } vhost c { } vhost d { }`)
	if a.Digest() == b.Digest() {
		t.Error("equal digests")
	}
	if env := mustParse(t, "listen 1; vhost a { hls { enabled on; } } vhost b { } vhost c { enabled off; }", "SRS_DAEMON=off"); env.Digest() == a.Digest() {
		t.Error("the environment does not count")
	}
	wantDeep(t, "diff", Diff(a, b), []Change{
		{Path: "listen", Reload: "now"},
		{Path: "daemon", Reload: "restart"},
		{Path: "http_api.https.listen", Reload: "session"},
		{Path: "stream_caster", Reload: "session"},
		{Path: "vhost", Vhost: "b", Reload: "now", Kind: Removed},
		{Path: "vhost.hls.hls_fragment", Vhost: "a", Reload: "session"},
		{Path: "vhost", Vhost: "c", Reload: "now", Kind: Added},
		{Path: "vhost", Vhost: "d", Reload: "now", Kind: Added},
	})
	var st Store
	if st.Load() != nil || st.Swap(a) != nil || st.Swap(b) != a || st.Load() != b || NewStore(a).Load() != a {
		t.Error("the store does not hold what was put in")
	}
}

func TestExitCode(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{Errors{{Code: CodeConfigInvalid}}, 255},
		{Errors{{}}, 255},
		{fmt.Errorf("load: %w", Errors{{Code: CodeFileOpen}, {Code: CodeConfigInvalid}}), 18},
		{Error{Code: CodePidLocked}, 11},
	} {
		if got := ExitCode(tt.err); got != tt.want {
			t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, err := Parse(Source{File: "conf/nosuch.conf", Getenv: src("").Getenv}, testSpecs)
	if err == nil || !strings.HasPrefix(err.Error(), "no config file at conf/nosuch.conf") || ExitCode(err) != 255 {
		t.Errorf("got %v", err)
	}
	_, err = Parse(Source{Getenv: src("").Getenv}, testSpecs)
	if err == nil || !strings.HasPrefix(err.Error(), "empty config") {
		t.Errorf("got %v", err)
	}
}

func TestSuggest(t *testing.T) {
	words := []string{"listen", "hls_fragment", "hls_window", "on", "enabled", "mw_msgs"}
	for _, tt := range []struct{ name, want string }{
		{"listne", "listen"}, {"lisen", "listen"}, {"hls_fragmnt", "hls_fragment"}, {"fragment", ""}, {"enable", "enabled"},
		{"o", "on"}, {"xyz", ""}, {"", ""}, {strings.Repeat("x", 5000), ""}, {"mw_msg", "mw_msgs"},
	} {
		want := tt.want
		if want != "" {
			want = "did you mean " + want + "?"
		}
		if got := suggest(tt.name, words); got != want {
			t.Errorf("suggest(%.20q) = %q, want %q", tt.name, got, want)
		}
	}
}

// TestBadBlocksPanic proves that a block whose tags make no sense does not get
// as far as a running server.
func TestBadBlocksPanic(t *testing.T) {
	for name, declare := range map[string]func(){
		"no struct": func() { NewServer[int]("x") },
		"no unit": func() {
			NewServer[struct {
				A time.Duration `conf:"a"`
			}]("x")
		},
		"bool, no default": func() {
			NewServer[struct {
				A bool `conf:"a"`
			}]("x")
		},
		"type": func() {
			NewServer[struct {
				A map[string]int `conf:"a"`
			}]("x")
		},
		"reload": func() {
			NewServer[struct {
				A int `conf:"a" reload:"later"`
			}]("x")
		},
		"default": func() {
			NewServer[struct {
				A int `conf:"a" default:"ten"`
			}]("x")
		},
		"enum of a number": func() {
			NewServer[struct {
				A int `conf:"a" enum:"1|2"`
			}]("x")
		},
		"declared twice":    func() { newIndex([]Spec{tHLS, tHLS}) },
		"a directive twice": func() { newIndex([]Spec{tRoot, tRoot}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "BUG: ") {
					t.Errorf("panic is %v", r)
				}
			}()
			declare()
		})
	}
}
