package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// picture is a track of video.
var picture = &media.Track{Kind: media.Video, Codec: media.H264, Profile: "High", Level: "3.1", Width: 640, Height: 360}

// fits reports how a value differs from a JSON schema, "" if it does not: as far as
// our schemas go.
func fits(at string, schema map[string]any, v any) string {
	if either, ok := schema["anyOf"].([]any); ok {
		var all []string
		for _, s := range either {
			why := fits(at, s.(map[string]any), v)
			if why == "" {
				return ""
			}
			all = append(all, why)
		}
		return strings.Join(all, "; or ")
	}
	var kinds []string
	switch t := schema["type"].(type) {
	case nil:
		return ""
	case string:
		kinds = []string{t}
	case []any:
		for _, k := range t {
			kinds = append(kinds, k.(string))
		}
	}
	kind := map[string]string{"float64": "number", "string": "string", "bool": "boolean", "<nil>": "null", "map[string]interface {}": "object", "[]interface {}": "array"}[fmt.Sprintf("%T", v)]
	if n, ok := v.(float64); ok && n == float64(int64(n)) && !slices.Contains(kinds, "number") {
		kind = "integer"
	}
	if !slices.Contains(kinds, kind) {
		return fmt.Sprintf("%s is a %s, not %v", at, kind, kinds)
	}
	switch v := v.(type) {
	case []any:
		for i, x := range v {
			if why := fits(fmt.Sprintf("%s[%d]", at, i), schema["items"].(map[string]any), x); why != "" {
				return why
			}
		}
	case map[string]any:
		props, _ := schema["properties"].(map[string]any)
		for name, x := range v {
			p, ok := props[name].(map[string]any)
			if !ok {
				if p, ok = schema["additionalProperties"].(map[string]any); !ok {
					return fmt.Sprintf("%s.%s is not in the document", at, name)
				}
			}
			if why := fits(at+"."+name, p, x); why != "" {
				return why
			}
		}
		required, _ := schema["required"].([]any)
		for _, name := range required {
			if _, ok := v[name.(string)]; !ok {
				return fmt.Sprintf("%s.%s is missing", at, name)
			}
		}
	}
	return ""
}

// Every endpoint answers as the document says, and the document tells of every
// endpoint.
func TestOpenAPI(t *testing.T) {
	h := newHouse(t)
	type plan struct {
		Changes []string `json:"changes"`
	}
	h.api.set.PlanType = plan{}
	type things struct {
		Things []string `json:"things"`
	}
	h.api.env.Endpoints = &service.Endpoints{}
	h.api.env.Endpoints.Add(service.Endpoint{Method: "GET", Path: "things/", Summary: "a part's", Reply: things{}, Params: [][2]string{{"where", "of none"}},
		Answer: func(*http.Request) (any, *service.Refusal) { return things{[]string{"a"}}, nil }},
		service.Endpoint{Method: "POST", Path: "things/none", Summary: "a part's refusal", Reply: struct{}{},
			Answer: func(*http.Request) (any, *service.Refusal) {
				return nil, &service.Refusal{Status: 404, Code: 2048, Text: "none"}
			}})
	h.api.set.Plan = func([]byte) (any, error) { return plan{[]string{"a"}}, nil }
	h.api.set.Reload = func(context.Context) Reload {
		return Reload{Text: "Success", State: 90, ID: "1234567", Plan: plan{[]string{}}}
	}
	h.api.set.Reloaded = func() Reload { return Reload{Text: "Success", ID: "1234567"} }
	h.raw.RawAPI.Enabled, h.raw.RawAPI.AllowReload = true, true
	h.crowd()
	h.play("rtmp-play", "gone", "").Close(session.ErrKicked)
	past, _ := h.publish("past")
	past.Close(nil)
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			Responses map[string]struct {
				Content map[string]struct{ Schema map[string]any }
			}
		}
		Components struct{ Schemas map[string]map[string]any }
	}
	if err := json.Unmarshal(h.ask("GET", "/api/v1/openapi.json").Body.Bytes(), &doc); err != nil || doc.OpenAPI != "3.1.0" {
		t.Fatalf("%q, %v", doc.OpenAPI, err)
	}
	n := 0
	// check asks and holds the answer against what the document has under a path.
	check := func(method, path, request string, refused bool) {
		t.Helper()
		n++
		op, ok := doc.Paths[path][strings.ToLower(method)]
		if !ok {
			t.Fatalf("%s %s is not in the document", method, path)
		}
		r := httptest.NewRequest(method, request, strings.NewReader("listen 1935;"))
		r.RemoteAddr = "127.0.0.1:5000"
		w := httptest.NewRecorder()
		h.env.API.ServeHTTP(w, r)
		status := fmt.Sprint(w.Code)
		if refused && w.Code >= 400 {
			status = "4XX"
		}
		answer, ok := op.Responses[status]
		if !ok {
			t.Errorf("%s %s: status %d is not in the document: %s", method, request, w.Code, w.Body)
			return
		}
		schema := answer.Content["application/json"].Schema
		if status == "4XX" {
			schema = doc.Components.Schemas["refusal"]
		}
		var v any
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Errorf("%s %s: %v: %s", method, request, err, w.Body)
			return
		}
		if why := fits("", schema, v); why != "" {
			t.Errorf("%s %s: %s in %s", method, request, why, w.Body)
		}
	}
	for path, ops := range doc.Paths {
		for method := range ops {
			if path == "/api/v1/openapi.json" || path == "/metrics" || path == "/healthz" || path == "/readyz" || path == "/api/v1/events" || path == "/api/v1/tests/redirects" || method == "delete" {
				continue // they are text, told of elsewhere, have no end, or end what others want
			}
			request := path
			if path == "/api/v1/things/none" {
				check("POST", path, path, true)
				continue
			}
			if what, ok := strings.CutSuffix(path, "/{id}"); ok {
				known := map[string]string{"/api/v1/vhosts": h.api.vhostID("__defaultVhost__"), "/api/v1/streams": h.stream.ID, "/api/v1/clients": h.publisher.ID}[what]
				check("GET", path, what+"/nosuch", false)
				request = what + "/" + known
			}
			check(strings.ToUpper(method), path, request, false)
		}
	}
	for _, rpc := range []string{"raw", "reload", "reload-fetch", "x"} {
		check("GET", "/api/v1/raw", "/api/v1/raw?rpc="+rpc, false)
	}
	check("GET", "/api/v1/clusters", "/api/v1/clusters?vhost=__defaultVhost__&app=live&stream=livestream&ip=1.2.3.4", false)
	check("GET", "/api/v1/streams/", "/api/v1/streams/?sort=nosuch", true)
	check("GET", "/api/v1/clients/", "/api/v1/clients/?where=nosuch:1", true)
	check("GET", "/api/v1/history/clients", "/api/v1/history/clients?limit=0", true)
	check("DELETE", "/api/v1/clients/{id}", "/api/v1/clients/"+h.player.ID, false)
	check("DELETE", "/api/v1/streams/{id}", "/api/v1/streams/"+h.stream.ID+"?who=nobody", true)
	check("DELETE", "/api/v1/streams/{id}", "/api/v1/streams/nosuch", false)
	check("DELETE", "/api/v1/streams/{id}", "/api/v1/streams/"+h.stream.ID, false)
	if n < 35 {
		t.Errorf("only %d answers were checked", n)
	}
	// What is listed is answered by no index, and what answers is listed.
	index := h.ask("GET", "/api/v1/nosuch").Body.String()
	urls := regexp.MustCompile(`"urls":\{(.*?)\}`).FindStringSubmatch(index)
	for _, m := range regexp.MustCompile(`"(\w+)":`).FindAllStringSubmatch(urls[1], -1) {
		name := m[1]
		known := slices.ContainsFunc(slices.Collect(func(yield func(string) bool) {
			for p := range doc.Paths {
				if !yield(p) {
					return
				}
			}
		}), func(p string) bool { return p == "/api/v1/"+name || strings.HasPrefix(p, "/api/v1/"+name+"/") })
		if !known && name != "requests" {
			t.Errorf("the index has %s, the document has not", name)
		}
	}
}

// A page of a list, in an order, of what has a value.
func TestSelect(t *testing.T) {
	h := newHouse(t)
	for i := range 15 {
		s := h.play([]string{"rtmp-play", "flv-play"}[i%2], fmt.Sprintf("s%02d", i), "")
		s.Count(i, 2*i)
	}
	names := func(query string) string {
		t.Helper()
		w := h.ask("GET", "/api/v1/clients/"+query)
		var v struct {
			Total   int
			Error   string
			Clients []struct{ Name string }
		}
		if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, c := range v.Clients {
			all = append(all, c.Name)
		}
		return fmt.Sprint(v.Total, " ", strings.Join(all, " "), v.Error)
	}
	for query, want := range map[string]string{
		"?sort=name&limit=2":                              "15 s00 s01",
		"?sort=-name&limit=2":                             "15 s14 s13",
		"?sort=-send_bytes&limit=2&start=1":               "15 s13 s12",
		"?sort=name&limit=3&where=type:flv-play":          "7 s01 s03 s05",
		"?where=name:s04":                                 "1 s04",
		"?where=name:s04&where=type:flv-play":             "0 ",
		"?where=publish:true":                             "0 ",
		"?where=vhost:__defaultVhost__&limit=1&sort=name": "15 s00",
		"?sort=kbps.recv_30s&limit=1&where=name:s00":      "1 s00",
		"?limit=1001":                                     "0 limit is a number from 1 to 1000",
		"?sort=x":                                         `0 there is no field "x"`,
		"?sort=kbps":                                      `0 the field "kbps" has no one value`,
	} {
		if got := names(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// Who has gone is told of, with the reason.
func TestHistory(t *testing.T) {
	h := newHouse(t)
	s := h.play("rtmp-play", "s", "")
	s.Count(3, 50)
	s.Close(session.ErrKicked)
	p, pub := h.publish("s")
	for i := range 5 {
		pub.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i == 0, Payload: []byte{1}})
	}
	p.Close(nil)
	got := h.ask("GET", "/api/v1/history/clients?where=publish:false").Body.String()
	if !regexp.MustCompile(`"id":"` + s.ID + `".*"type":"rtmp-play","ip":"10.0.0.7","publish":false,"began":"[^"]+Z","ended":"[^"]+Z","ms":\d+,"send_bytes":50,"recv_bytes":3,"dropped_frames":0,"code":9001,"why":"kicked by the API"}\],"total":1}`).MatchString(got) {
		t.Errorf("clients: %s", got)
	}
	got = h.ask("GET", "/api/v1/history/streams").Body.String()
	if !strings.Contains(got, `"name":"s"`) || !strings.Contains(got, `"frames":5,"video_frames":5,`) || !strings.Contains(got, `"code":0,"why":"ended by the client"`) || !strings.Contains(got, `"video":{"codec":"H264"`) {
		t.Errorf("streams: %s", got)
	}
	h.keep = 0
	if got := h.ask("GET", "/api/v1/history/clients").Body.String(); !strings.Contains(got, `"clients":[],"total":0`) {
		t.Errorf("with history 0: %s", got)
	}
}

func TestGuarded(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	path := "/api/v1/streams/" + h.stream.ID + "?who=players"
	for _, c := range []struct {
		remote string
		header []string
		auth   bool
		want   int
	}{
		{"192.0.2.1:1", nil, false, 403},
		{"127.0.0.1:1", []string{"Origin", "http://evil.test"}, false, 403},
		{"127.0.0.1:1", []string{"Origin", "null"}, false, 403},
		{"127.0.0.1:1", []string{"X-Forwarded-For", "1.2.3.4"}, false, 403},
		{"192.0.2.1:1", nil, true, 401},
		{"127.0.0.1:1", []string{"Origin", "http://example.com"}, false, 200}, // the host of the request
		{"127.0.0.1:1", nil, false, 200},
	} {
		h.auth = c.auth
		r := httptest.NewRequest("DELETE", path+"&callback=f", nil)
		r.RemoteAddr = c.remote
		for i := 0; i+1 < len(c.header); i += 2 {
			r.Header.Set(c.header[i], c.header[i+1])
		}
		w := httptest.NewRecorder()
		h.env.API.ServeHTTP(w, r)
		if w.Code != c.want || bytes.HasPrefix(w.Body.Bytes(), []byte("f(")) || w.Header().Get("Access-Control-Allow-Origin") != "" && c.want != 401 {
			t.Errorf("%+v: %d %s %v", c, w.Code, w.Body, w.Header())
		}
	}
	if h.player.Context().Err() == nil || h.publisher.Context().Err() != nil {
		t.Error("the players go on, or the publisher does not")
	}
	// SRS's method by JSONP does not reach it.
	if w := h.ask("GET", path+"&callback=f&method=DELETE"); w.Code != 405 {
		t.Errorf("by JSONP: %d %s", w.Code, w.Body)
	}
}

// What is wrong with a stream is told.
func TestHealth(t *testing.T) {
	for _, c := range []struct {
		d    streamDetail
		want string
	}{
		{streamDetail{KeyMS: 2000, FrameMS: 40, GOPMS: 2000}, ""},
		{streamDetail{KeyMS: 2000, FrameMS: 5000, GOPMS: 2000}, "no-frames"},
		{streamDetail{KeyMS: 20000, FrameMS: 40, GOPMS: 2000}, "no-key-frame"},
		{streamDetail{KeyMS: 20000, FrameMS: 40, GOPMS: 10000}, ""},
		{streamDetail{KeyMS: -1, FrameMS: 40}, "no-key-frame"},
		{streamDetail{KeyMS: 0, DriftMS: -1500}, "drift"},
		{streamDetail{KeyMS: 0, DriftMS: 900, Jumps: 2, Dropped: 7}, "jumps slow-viewers"},
	} {
		var codes []string
		for _, w := range health(c.d, true) {
			codes = append(codes, w.Code)
		}
		if got := strings.Join(codes, " "); got != c.want {
			t.Errorf("%+v: %q, want %q", c.d, got, c.want)
		}
	}
	if len(health(streamDetail{KeyMS: -1}, false)) != 0 {
		t.Error("a stream of sound alone needs no key frame")
	}
}

// A body that is too long, or a configuration that is broken, is refused in words.
func TestPlanRefuses(t *testing.T) {
	h := newHouse(t)
	h.api.set.Plan = func(text []byte) (any, error) { return nil, fmt.Errorf("line 1: %d bytes of nonsense", len(text)) }
	for _, c := range []struct {
		body   string
		status int
		want   string
	}{
		{strings.Repeat("x", textLimit), 422, `{"code":1023,"error":"line 1: 1048576 bytes of nonsense"}`},
		{strings.Repeat("x", textLimit+1), 413, `"error":"http: request body too large"`},
	} {
		r := httptest.NewRequest("POST", "/api/v1/plan", strings.NewReader(c.body))
		r.RemoteAddr = "127.0.0.1:1"
		w := httptest.NewRecorder()
		h.env.API.ServeHTTP(w, r)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.want) {
			t.Errorf("%d bytes: %d %s", len(c.body), w.Code, w.Body)
		}
	}
}
