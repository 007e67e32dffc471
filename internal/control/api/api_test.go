package api

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// house is an API with what it tells of.
type house struct {
	t                *testing.T
	env              service.Env
	api              *API
	auth, cors       bool
	bearer           bool
	keep             time.Duration
	raw              Raw
	publisher        *session.Session
	publication      *hub.Publication
	stream           *hub.Stream
	player, flv, hls *session.Session
}

func newHouse(t *testing.T) *house {
	t.Helper()
	hb := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Second} })
	h := &house{t: t, cors: true, keep: time.Minute}
	desk := session.New(hb, session.Rules{Vhost: func(string) (string, bool) { return hub.DefaultVhost, true }, History: func() time.Duration { return h.keep }})
	h.env = service.Env{Log: slog.New(slog.DiscardHandler), Desk: desk, Hub: hb, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}, Host: host.New(func() host.Stats { return host.Stats{On: true} }),
		Identity: service.Identity{Server: "weir/1", Version: "0.1.0", Level: "7.0.18", ID: "vid-0123456", Service: "abcdefgh", PID: 42, Cwd: "/srv"}}
	h.raw = Raw{Enabled: true, Listen: "1985", CrossDomain: true}
	h.api = New(h.env, Settings{
		Vhosts: func() []Vhost { return []Vhost{{Name: hub.DefaultVhost, HLS: true, HLSFragment: 10 * time.Second}} },
		Auth: func() Auth {
			return Auth{On: h.auth, User: "admin", Password: "pass word", Bearer: h.bearer, Token: "let me in"}
		},
		Ports:       func() (int, string) { return 1935, "1985" },
		CrossDomain: func() bool { return h.cors },
		Raw:         func() Raw { return h.raw },
		Listening:   func() []service.Listen { return nil },
	})
	h.env.API.Handle(service.OrderFiles, h.api.Handle)
	h.env.Media.Handle(service.OrderAPI, h.api.HandleMedia)
	t.Cleanup(func() {
		for s := range desk.Sessions() {
			s.Close(nil)
		}
	})
	return h
}

func (h *house) connect(v session.Visitor) *session.Session {
	h.t.Helper()
	v.Remote = netip.MustParseAddrPort("[::ffff:10.0.0.7]:5000")
	s, err := h.env.Desk.Connect(h.t.Context(), v)
	if err != nil {
		h.t.Fatal(err)
	}
	return s
}

func key(stream string) hub.Key { return hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: stream} }

func (h *house) publish(stream string) (*session.Session, *hub.Publication) {
	h.t.Helper()
	s := h.connect(session.Visitor{Protocol: "rtmp", TcURL: "rtmp://10.0.0.1/live", PageURL: "http://page/", SwfURL: "http://swf/"})
	p, err := s.Publish(h.t.Context(), session.Ask{Key: key(stream), Said: session.Said{Stream: stream, Param: "?token=1"}, Type: "fmle-publish"})
	if err != nil {
		h.t.Fatal(err)
	}
	return s, p
}

func (h *house) play(kind, stream, name string) *session.Session {
	h.t.Helper()
	s := h.connect(session.Visitor{Protocol: "x", TcURL: "http://10.0.0.1/live"})
	if _, err := s.Play(h.t.Context(), session.Ask{Key: key(stream), Said: session.Said{Stream: stream}, Name: name, Type: kind}, hub.Options{}); err != nil {
		h.t.Fatal(err)
	}
	return s
}

// crowd lets a publisher and a player of each kind in.
func (h *house) crowd() {
	h.t.Helper()
	h.publisher, h.publication = h.publish("livestream")
	h.stream = h.publication.Stream()
	h.publication.Announce(&media.Track{Kind: media.Audio, Codec: media.AAC, SampleRate: 44100, Channels: 2, Profile: "LC"})
	picture := &media.Track{Kind: media.Video, Codec: media.H264, Profile: "Baseline", Level: "3", Width: 640, Height: 360}
	for i := range 5 {
		h.publication.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i == 0, Payload: []byte{1}})
	}
	h.publisher.Count(1000, 20)
	h.player = h.play("rtmp-play", "livestream", "")
	h.player.Count(30, 4000)
	h.flv = h.play("flv-play", "livestream", "livestream.flv")
	h.hls = h.connect(session.Visitor{Protocol: "hls", TcURL: "http://10.0.0.1/live"})
	if err := h.hls.Watch(h.t.Context(), session.Ask{Key: key("livestream"), Said: session.Said{Stream: "livestream.m3u8"}, Type: "hls-play"}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) ask(method, path string, header ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	return h.askMux(h.env.API, method, path, header...)
}

func (h *house) askMux(m *service.Mux, method, path string, header ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

// object decodes an answer.
func (h *house) object(path string) map[string]any {
	h.t.Helper()
	var o map[string]any
	if err := json.Unmarshal(h.ask("GET", path).Body.Bytes(), &o); err != nil {
		h.t.Fatal(err)
	}
	return o
}

func (h *house) list(path, name string) (rows []map[string]any) {
	h.t.Helper()
	for _, v := range h.object(path)[name].([]any) {
		rows = append(rows, v.(map[string]any))
	}
	return rows
}

func TestValues(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	o := h.object("/api/v1/versions")
	if o["server"] != "vid-0123456" || o["service"] != "abcdefgh" || o["pid"] != "42" {
		t.Errorf("envelope: %v", o)
	}
	if v := fmt.Sprint(o["data"]); v != "map[major:7 minor:0 revision:18 version:7.0.18]" {
		t.Errorf("versions: %s", v)
	}

	vhost := h.list("/api/v1/vhosts/", "vhosts")[0]
	if vhost["name"] != "__defaultVhost__" || vhost["clients"] != float64(4) || vhost["streams"] != float64(1) || vhost["recv_bytes"] != float64(1030) || vhost["send_bytes"] != float64(4020) {
		t.Errorf("vhost: %v", vhost)
	}
	stream := h.list("/api/v1/streams/", "streams")[0]
	for name, want := range map[string]any{"id": h.stream.ID, "name": "livestream", "vhost": vhost["id"], "app": "live", "tcUrl": "rtmp://10.0.0.1/live",
		"url": "/live/livestream", "clients": 4.0, "frames": 5.0, "send_bytes": 4020.0, "recv_bytes": 1030.0} {
		if stream[name] != want {
			t.Errorf("stream: %s is %v, want %v", name, stream[name], want)
		}
	}
	if now, ms := time.Now().UnixMilli(), int64(stream["live_ms"].(float64)); ms > now || ms < now-5000 {
		t.Errorf("live_ms is %d, not the time %d", ms, now)
	}
	if got := fmt.Sprint(stream["publish"], stream["video"], stream["audio"]); got != "map[active:true cid:"+h.publisher.ID+"] map[codec:H264 height:360 level:3 profile:Baseline width:640] map[channel:2 codec:AAC profile:LC sample_rate:44100]" {
		t.Errorf("stream: %s", got)
	}

	for _, c := range []struct {
		s                 *session.Session
		name, typ, tcURL  string
		publish           bool
		page              string
		recv, send, count float64
	}{
		{h.publisher, "livestream", "fmle-publish", "rtmp://10.0.0.1/live", true, "http://page/", 1000, 20, 0},
		{h.player, "livestream", "rtmp-play", "http://10.0.0.1/live", false, "", 30, 4000, 0},
		{h.flv, "livestream.flv", "flv-play", "http://10.0.0.1/live", false, "", 0, 0, 0},
		{h.hls, "livestream.m3u8", "hls-play", "http://10.0.0.1/live", false, "", 0, 0, 0},
	} {
		row := h.object("/api/v1/clients/" + c.s.ID)["client"].(map[string]any)
		for name, want := range map[string]any{"id": c.s.ID, "vhost": vhost["id"], "stream": h.stream.ID, "ip": "10.0.0.7", "pageUrl": c.page, "tcUrl": c.tcURL,
			"url": "/live/livestream", "name": c.name, "type": c.typ, "publish": c.publish, "recv_bytes": c.recv, "send_bytes": c.send} {
			if row[name] != want {
				t.Errorf("%s: %s is %v, want %v", c.typ, name, row[name], want)
			}
		}
	}
}

func TestUnknownIDs(t *testing.T) {
	h := newHouse(t)
	for path, want := range map[string]string{
		"/api/v1/vhosts/vid-0000000":  `{"code":2014}`,
		"/api/v1/streams/vid-0000000": `{"code":2048}`,
		"/api/v1/clients/zzzzzzz":     `{"code":2049}`,
		"/api/v1/raw":                 `{"code":1060}`,
		"/api/v1/raw?rpc=nothing":     `{"code":1061}`,
		"/api/v1/tests/errors":        `{"code":100}`,
		"/metrics":                    `{"code":1090}`,
		// JSONP's method counts with a callback only.
		"/api/v1/clients/zzzzzzz?method=DELETE": `{"code":2049}`,
	} {
		if res := h.ask("GET", path); res.Code != 200 || res.Body.String() != want {
			t.Errorf("%s: %d %s, want 200 %s", path, res.Code, res.Body, want)
		}
	}
	// A visitor who does nothing yet is no client.
	s := h.connect(session.Visitor{Protocol: "rtmp"})
	if got := h.ask("GET", "/api/v1/clients/"+s.ID).Body.String(); got != `{"code":2049}` {
		t.Errorf("a visitor is told of: %s", got)
	}
}

func TestDelete(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	for _, id := range []string{"", "zzzzzzz"} {
		if got := h.ask("DELETE", "/api/v1/clients/"+id).Body.String(); got != `{"code":2049}` {
			t.Errorf("id %q: %s", id, got)
		}
	}
	for _, s := range []*session.Session{h.player, h.flv, h.hls, h.publisher} {
		res := h.ask("DELETE", "/api/v1/clients/"+s.ID)
		if want := `{"code":0,"server":"vid-0123456","service":"abcdefgh","pid":"42"}`; res.Body.String() != want {
			t.Errorf("got %s, want %s", res.Body, want)
		}
		if err := s.Context().Err(); err == nil {
			t.Error("the session goes on")
		}
	}
	// By JSONP, which can only GET.
	s := h.play("rtmp-play", "other", "")
	if got := h.ask("GET", "/api/v1/clients/"+s.ID+"?callback=f&method=DELETE").Body.String(); !strings.HasPrefix(got, `f({"code":0,`) || s.Context().Err() == nil {
		t.Errorf("by JSONP: %s, session %v", got, s.Context().Err())
	}
}

func TestMethods(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"POST", "/api/v1/streams/", 405}, {"PUT", "/api/v1/streams/", 405}, {"PATCH", "/api/v1/streams/", 405}, {"DELETE", "/api/v1/streams/", 405},
		{"HEAD", "/api/v1/streams/", 405}, {"POST", "/api/v1/vhosts/", 405}, {"DELETE", "/api/v1/vhosts/vid-1", 405}, {"PUT", "/api/v1/clients/", 405},
		{"POST", "/api/v1/clients/" + h.player.ID, 405},
		{"POST", "/api/v1/versions", 200}, {"PATCH", "/api/v1/versions", 200}, {"HEAD", "/api/v1/versions", 200}, {"DELETE", "/api/v1/versions", 200},
		{"POST", "/api/v1/summaries", 200}, {"POST", "/api/v1/raw?rpc=raw", 200}, {"POST", "/api/v1/tests/requests", 200},
	} {
		res := h.ask(c.method, c.path)
		if res.Code != c.want {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, res.Code, c.want)
		}
		if c.want == 405 && strings.TrimSpace(res.Body.String()) != "Method Not Allowed" {
			t.Errorf("%s %s: %q", c.method, c.path, res.Body)
		}
	}
	if h.player.Context().Err() != nil {
		t.Error("POST has ended a client")
	}
}

func TestRedirects(t *testing.T) {
	h := newHouse(t)
	for path, want := range map[string]struct {
		code int
		to   string
	}{
		"/api": {302, "/api/"}, "/api/v1": {302, "/api/v1/"}, "/api/v1/streams": {302, "/api/v1/streams/"}, "/api/v1/clients": {302, "/api/v1/clients/"},
		"/api/v1/vhosts": {302, "/api/v1/vhosts/"}, "/api/v1/tests/redirects": {301, "/api/v1/tests/errors"},
	} {
		res := h.ask("GET", path)
		if res.Code != want.code || res.Header().Get("Location") != want.to || res.Body.String() != "Redirect to "+want.to {
			t.Errorf("%s: %d to %s, %q", path, res.Code, res.Header().Get("Location"), res.Body)
		}
	}
}

func TestPaging(t *testing.T) {
	h := newHouse(t)
	for i := range 18 {
		h.publish(fmt.Sprintf("p%02d", i))
	}
	for query, want := range map[string]int{"": 10, "?count=1": 10, "?start=0&count=5": 10, "?start=0&count=12": 12, "?start=10": 8, "?start=10&count=2": 8,
		"?start=100": 0, "?count=0": 10, "?count=abc": 10, "?start=abc": 10, "?count=-1": 10, "?start=-5": 10, "?start=9223372036854775807": 0,
		"?start=5&count=9223372036854775807": 13} {
		for _, name := range []string{"streams", "clients"} {
			rows := h.list("/api/v1/"+name+"/"+query, name)
			if len(rows) != want {
				t.Errorf("%s%s: %d entries, want %d", name, query, len(rows), want)
			}
			if !slices.IsSortedFunc(rows, func(a, b map[string]any) int { return strings.Compare(a["id"].(string), b["id"].(string)) }) {
				t.Errorf("%s%s: not in the order of the ids", name, query)
			}
		}
	}
}

func TestJSONP(t *testing.T) {
	h := newHouse(t)
	res := h.ask("GET", "/api/v1/tests/errors?callback=cb_1.x$")
	if res.Body.String() != `cb_1.x$({"code":100})` || res.Header().Get("Content-Type") != "text/javascript" {
		t.Errorf("got %s, %s", res.Body, res.Header().Get("Content-Type"))
	}
	// A name that could carry script is no name; the answer is plain JSON.
	for _, name := range []string{"alert(1)//", "<script>", "a;b", "1a", "a b", "a'b", "a\"b", "é", "a%0ab", "a()", "a[0]", strings.Repeat("a", 200), ""} {
		res := h.ask("GET", "/api/v1/tests/errors?callback="+strings.ReplaceAll(strings.ReplaceAll(name, " ", "%20"), ";", "%3b"))
		if res.Body.String() != `{"code":100}` || res.Header().Get("Content-Type") != "application/json" {
			t.Errorf("callback %q: %s, %s", name, res.Body, res.Header().Get("Content-Type"))
		}
	}
	// What peers say cannot end the script that it stands in.
	s := h.connect(session.Visitor{PageURL: "</script>\u2028"})
	if err := s.Watch(t.Context(), session.Ask{Key: key("x"), Type: "hls-play"}); err != nil {
		t.Fatal(err)
	}
	if got := h.ask("GET", "/api/v1/clients/?callback=f").Body.String(); strings.ContainsAny(got, "<\u2028") {
		t.Errorf("a peer's words are not escaped: %s", got)
	}
}

var cors = map[string]string{"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Headers": "*", "Access-Control-Allow-Methods": "*",
	"Access-Control-Expose-Headers": "*", "Access-Control-Allow-Credentials": "false", "Access-Control-Request-Private-Network": "true"}

func TestCORS(t *testing.T) {
	h := newHouse(t)
	for _, method := range []string{"GET", "OPTIONS"} {
		with, without := h.ask(method, "/api/v1/versions", "Origin", "http://a"), h.ask(method, "/api/v1/versions")
		for name, want := range cors {
			if got := with.Header().Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", method, name, got, want)
			}
			if got := without.Header().Get(name); got != "" {
				t.Errorf("%s without Origin: %s is %q", method, name, got)
			}
		}
		if with.Code != 200 || without.Code != 200 || method == "OPTIONS" && with.Body.Len() != 0 {
			t.Errorf("%s: %d and %d, %d bytes", method, with.Code, without.Code, with.Body.Len())
		}
	}
	h.cors = false
	if res := h.ask("OPTIONS", "/api/v1/versions", "Origin", "http://a"); res.Code != 405 || len(res.Header()) != 0 {
		t.Errorf("OPTIONS with crossdomain off: %d, %v", res.Code, res.Header())
	}
	if res := h.ask("GET", "/api/v1/versions", "Origin", "http://a"); res.Code != 200 || res.Header().Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("GET with crossdomain off: %d, %v", res.Code, res.Header())
	}
}

func TestBasicAuth(t *testing.T) {
	h := newHouse(t)
	h.auth = true
	basic := func(s string) string { return "Basic " + base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, path := range []string{"/api/v1/versions", "/api/", "/api/v1/nosuch", "/api/v1/clients/", "/api/v1/versions?callback=f", "/x/api/y"} {
		for _, c := range []struct {
			header string
			want   int
		}{
			{"", 401}, {basic("admin:x"), 401}, {basic("x:pass word"), 401}, {"Basic !!!", 401}, {basic("admin"), 401}, {"Bearer abc", 401},
			{basic("admin:pass word "), 401}, {basic(":"), 401}, {basic("admin:pass word"), 200},
		} {
			var header []string
			if c.header != "" {
				header = []string{"Authorization", c.header}
			}
			res := h.ask("GET", path, header...)
			if res.Code != c.want {
				t.Errorf("%s with %q: %d, want %d", path, c.header, res.Code, c.want)
			}
			if c.want == 401 && (res.Body.Len() != 0 || !strings.HasPrefix(res.Header().Get("WWW-Authenticate"), "Basic")) {
				t.Errorf("%s with %q: %q, %v", path, c.header, res.Body, res.Header())
			}
		}
	}
	// The root, and what is asked before a request, need none.
	for _, c := range [][2]string{{"GET", "/"}, {"OPTIONS", "/api/v1/clients/"}, {"GET", "/api"}} {
		if res := h.ask(c[0], c[1]); res.Code == 401 {
			t.Errorf("%s %s: 401", c[0], c[1])
		}
	}
	if res := h.ask("GET", "/api/v1/versions?username=admin&password=pass%20word"); res.Code != 401 {
		t.Errorf("by query: %d", res.Code)
	}
	// A DELETE without a name ends nobody.
	s := h.play("rtmp-play", "a", "")
	if h.ask("DELETE", "/api/v1/clients/"+s.ID); s.Context().Err() != nil {
		t.Error("a stranger has ended a client")
	}
	// The media's port asks for it too.
	if res := h.askMux(h.env.Media, "GET", "/api/v1/versions"); res.Code != 401 {
		t.Errorf("at the media port: %d", res.Code)
	}
}

func TestBearerAuth(t *testing.T) {
	h := newHouse(t)
	h.auth, h.bearer = true, true
	for header, want := range map[string]int{"": 401, "Bearer x": 401, "Bearer ": 401, "bearer let me in": 401, "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:pass word")): 401,
		"Bearer let me in": 200} {
		res := h.ask("GET", "/api/v1/versions", "Authorization", header)
		if res.Code != want || (want == 401) != strings.HasPrefix(res.Header().Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%q: %d, %v", header, res.Code, res.Header())
		}
	}
	// What nobody configured is nobody's.
	for _, a := range []Auth{{On: true}, {On: true, Bearer: true}} {
		for _, header := range []string{"Bearer ", "Basic " + base64.StdEncoding.EncodeToString([]byte(":"))} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("Authorization", header)
			if a.proved(r) {
				t.Errorf("%+v admits %q", a, header)
			}
		}
	}
}

// Where a stream is, as another server of an origin cluster asks.
func TestClusters(t *testing.T) {
	h := newHouse(t)
	h.publish("livestream")
	for query, want := range map[string]string{
		"": `{"code":0,"data":{"query":{"ip":"","vhost":"","app":"","stream":""},"origin":null}}`,
		"?vhost=__defaultVhost__&ip=127.0.0.1&app=live&stream=nope&coworker=127.0.0.1:9090":       `{"code":0,"data":{"query":{"ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","stream":"nope"},"origin":null}}`,
		"?vhost=__defaultVhost__&ip=127.0.0.1&app=live&stream=livestream&coworker=127.0.0.1:9090": `{"code":0,"data":{"query":{"ip":"127.0.0.1","vhost":"__defaultVhost__","app":"live","stream":"livestream"},"origin":{"ip":"127.0.0.1","port":1935,"vhost":"__defaultVhost__","api":"127.0.0.1:1985","routers":["127.0.0.1:1985"]}}}`,
	} {
		for _, method := range []string{"GET", "POST"} {
			if got := h.ask(method, "/api/v1/clusters"+query).Body.String(); got != want {
				t.Errorf("%s %s:\n%s, want\n%s", method, query, got, want)
			}
		}
	}
}

func TestMediaPort(t *testing.T) {
	h := newHouse(t)
	for path, want := range map[string]int{"/api/v1/versions": 200, "/api/v1/streams/": 404, "/api/v1/clients/": 404, "/api/": 404} {
		if res := h.askMux(h.env.Media, "GET", path); res.Code != want {
			t.Errorf("%s: %d, want %d", path, res.Code, want)
		}
	}
	if h.api.HandleShared(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/live/s.flv", nil)) {
		t.Error("the shared port's API takes streams")
	}
	if !h.api.HandleShared(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/api/v1/streams/", nil)) {
		t.Error("the shared port's API does not take its own")
	}
}

func TestRaw(t *testing.T) {
	h := newHouse(t)
	const off = `{"code":0,"http_api":{"enabled":true,"listen":"1985","crossdomain":true,"raw_api":{"enabled":false,"allow_reload":false,"allow_query":false,"allow_update":false}}}`
	if got := h.ask("GET", "/api/v1/raw?rpc=raw").Body.String(); got != off {
		t.Errorf("got %s, want %s", got, off)
	}
	h.raw.RawAPI.Enabled = true
	for rpc, want := range map[string]string{"": `{"code":1060}`, "nothing": `{"code":1060}`, "query": `{"code":1060}`, "reload": `{"code":1061}`} {
		if got := h.ask("GET", "/api/v1/raw?rpc="+rpc).Body.String(); got != want {
			t.Errorf("rpc %q: %s, want %s", rpc, got, want)
		}
	}
}

// Totals outlive the sessions that made them, as long as the stream lives.
func TestTotalsGoOn(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	h.player.Close(errors.New("gone"))
	stream := h.list("/api/v1/streams/", "streams")[0]
	if stream["send_bytes"] != 4020.0 || stream["clients"] != 3.0 {
		t.Errorf("send_bytes %v with %v clients, want 4020 with 3", stream["send_bytes"], stream["clients"])
	}
	total := h.object("/api/v1/summaries")["data"].(map[string]any)["system"].(map[string]any)
	if total["srs_send_bytes"] != 4020.0 || total["conn_srs"] != 3.0 {
		t.Errorf("summaries: %v bytes, %v sessions", total["srs_send_bytes"], total["conn_srs"])
	}
}

func TestNoticesAreShown(t *testing.T) {
	h := newHouse(t)
	h.env.Notices.Set("disk", "no space left")
	data := h.object("/api/v1/summaries")["data"].(map[string]any)
	if fmt.Sprint(data["notices"]) != "map[disk:no space left]" {
		t.Errorf("notices: %v", data["notices"])
	}
}
