package golive

import (
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
)

const ladder = "multitrack_video { enabled on; rung 1920x1080 60 6000; rung 1280x720 60 3500 h265; rung 1280x720 30 2500; rung 640x360 30 800 av1; rung 640x360 30 600; }"

// ask asks a server of a configuration.
func ask(t *testing.T, conf, method, url, body string) *httptest.ResponseRecorder {
	t.Helper()
	snap, err := config.Parse(config.Source{File: "test", Text: []byte("listen 1935; " + conf), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	w := httptest.NewRecorder()
	if !New(service.Env{Conf: config.NewStore(snap)}).Handle(w, httptest.NewRequest(method, url, strings.NewReader(body))) {
		w.Code = 0
	}
	return w
}

func question(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// needs is what OBS refuses to read an answer without, or of another type
// (GoLiveApi::Config of its models/multitrack-video.hpp).
type needs struct {
	Meta struct {
		Service, Schema_version, Config_id *string
	}
	Status struct {
		Result     string
		Html_en_us *string
	}
	Ingest_endpoints       []struct{ Protocol, Url_template string }
	Encoder_configurations []struct {
		Type          string
		Width, Height uint32
		Framerate     struct{ Numerator, Denominator *uint32 }
		Settings      map[string]any
		Canvas_index  uint32
	}
	Audio_configurations struct {
		Live, VOD []struct {
			Codec              *string
			Track_id, Channels *uint32
			Settings           map[string]any
		}
	}
}

// What OBS asks, of either schema, is answered in its shapes.
func TestOBS(t *testing.T) {
	const conf = "rtmps { enabled on; listen 4443; key k; cert c; } vhost __defaultVhost__ { " + ladder + " }"
	for _, name := range []string{"obs-2025-01-25", "obs-2024-06-04"} {
		w := ask(t, conf, "POST", "http://live.example.com:8080/multitrack_video/live", question(t, name+".json"))
		if w.Code != 200 || w.Header().Get("Content-Type") != "application/json" {
			t.Fatalf("%s: %d %v", name, w.Code, w.Header())
		}
		var n needs
		if err := json.Unmarshal(w.Body.Bytes(), &n); err != nil {
			t.Fatal(err)
		}
		if n.Meta.Service == nil || n.Meta.Schema_version == nil || n.Meta.Config_id == nil || n.Status.Result != "success" || len(n.Audio_configurations.Live) == 0 {
			t.Errorf("%s: OBS would not read %s", name, w.Body)
		}
		for _, a := range append(n.Audio_configurations.Live, n.Audio_configurations.VOD...) {
			if a.Codec == nil || a.Track_id == nil || a.Channels == nil || a.Settings == nil {
				t.Errorf("%s: OBS would not read its sound %+v", name, a)
			}
		}
		for _, v := range n.Encoder_configurations {
			if v.Type == "" || v.Framerate.Numerator == nil || v.Framerate.Denominator == nil || v.Settings["bitrate"] == nil {
				t.Errorf("%s: OBS would not read its picture %+v", name, v)
			}
		}
		var pretty strings.Builder
		e := json.NewEncoder(&pretty)
		e.SetIndent("", "  ")
		e.Encode(json.RawMessage(w.Body.Bytes()))
		if want := question(t, name+".answer.json"); pretty.String() != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, pretty.String(), want)
		}
	}
}

// What an encoder has, and its user allows, decides what it is to send.
func TestChoice(t *testing.T) {
	const conf = "vhost __defaultVhost__ { " + ladder + " }"
	for _, c := range []struct{ name, body, want string }{
		{"software only", `{"client":{"supported_codecs":["h264","h265","av1"]},"preferences":{"canvases":[{"width":1920,"height":1080,"framerate":{"numerator":30,"denominator":1}}]}}`,
			"obs_x264 1920x1080 30/1 6000 0, obs_x264 1280x720 30/1 2500 0, ffmpeg_svt_av1 640x360 30/1 800 0, obs_x264 640x360 30/1 600 0"},
		{"a small canvas", `{"client":{"supported_codecs":["h264"]},"preferences":{"canvases":[{"width":1281,"height":720,"framerate":{"numerator":60000,"denominator":1001}}]}}`,
			"obs_x264 1280x720 30/1 2500 0, obs_x264 640x360 30/1 600 0"},
		{"one smaller than all", `{"client":{"supported_codecs":["h264"]},"preferences":{"canvases":[{"width":321,"height":181}]}}`, "obs_x264 320x180 30/1 600 0"},
		{"two canvases, one upright, and few tracks", `{"client":{"supported_codecs":["h264"]},"capabilities":{"gpu":[{"vendor_id":1},{"vendor_id":4318}]},"preferences":{"composition_gpu_index":1,"maximum_video_tracks":4,
			"canvases":[{"width":1920,"height":1080},{"width":1080,"height":1920}]}}`,
			"obs_nvenc_h264_tex 1920x1080 60/1 6000 0, obs_nvenc_h264_tex 1280x720 30/1 2500 0, obs_nvenc_h264_tex 640x360 30/1 600 0, obs_nvenc_h264_tex 1080x1920 60/1 6000 1"},
		{"not much in all", `{"client":{"supported_codecs":["h264"]},"preferences":{"maximum_aggregate_bitrate":3200,"canvases":[{"width":1920,"height":1080}]}}`,
			"obs_x264 1280x720 30/1 2500 0, obs_x264 640x360 30/1 600 0"},
		{"nearly nothing", `{"client":{"supported_codecs":["h264"]},"preferences":{"maximum_aggregate_bitrate":1,"maximum_video_tracks":0,"canvases":[{"width":1920,"height":1080}]}}`, "obs_x264 1920x1080 60/1 6000 0"},
		{"no codec", `{"client":{"supported_codecs":["vp9"]},"preferences":{"canvases":[{"width":1920,"height":1080}]}}`, "error"},
		{"no canvas", `{}`, "error"},
		{"nonsense", `{"capabilities":{"gpu":[]},"preferences":{"composition_gpu_index":4294967295,"canvases":[{"width":-5,"height":-7,"framerate":{"numerator":1,"denominator":0}},{},{},{}]}}`, "error"},
	} {
		w := ask(t, conf, "POST", "http://h/multitrack_video/live", c.body)
		var a reply
		if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v in %s", c.name, err, w.Body)
		}
		var got []string
		for _, v := range a.Video {
			b, _ := json.Marshal([]any{v.Type, v.Width, v.Height, v.Rate.Numerator, v.Rate.Denominator, v.Settings.Kbps, v.Canvas})
			s := strings.NewReplacer("[", "", "]", "", `"`, "").Replace(string(b))
			p := strings.Split(s, ",")
			got = append(got, p[0]+" "+p[1]+"x"+p[2]+" "+p[3]+"/"+p[4]+" "+p[5]+" "+p[6])
		}
		if a.Status.Result == "error" {
			got = []string{"error"}
			if a.Status.Text == "" {
				t.Errorf("%s: OBS has nothing to show", c.name)
			}
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s, want %s", c.name, s, c.want)
		}
	}
}

func TestOthers(t *testing.T) {
	const conf = "vhost __defaultVhost__ { } vhost on { " + inVhost + " }"
	for _, c := range []struct {
		method, url, body string
		code              int
	}{
		{"POST", "http://h/multitrack_video/live", "{}", 0},
		{"POST", "http://on/multitrack_video/", "{}", 0},
		{"POST", "http://on/live/s.m3u8", "{}", 0},
		{"GET", "http://on/multitrack_video/live", "", 405},
		{"POST", "http://on/multitrack_video/live", "{", 400},
		{"POST", "http://on/multitrack_video/live", `{"preferences":[]}`, 400},
		{"POST", "http://on/multitrack_video/live", `{"x":"` + strings.Repeat("x", bodyLimit) + `"}`, 400},
		{"POST", "http://on/multitrack_video/live", "{}", 200},
	} {
		if w := ask(t, conf, c.method, c.url, c.body); w.Code != c.code {
			t.Errorf("%s %s: %d, want %d", c.method, c.url, w.Code, c.code)
		}
	}
	w := ask(t, conf, "POST", "http://h/multitrack_video/a%20b?vhost=on", "{}")
	if want := `"url_template":"rtmps://in.example.com/a%20b/{stream_key}?vhost=on"`; !strings.Contains(w.Body.String(), want) {
		t.Errorf("%s, want %s", w.Body, want)
	}
}

const inVhost = "multitrack_video { enabled on; ingest rtmps://in.example.com/; rung 1280x720 30 2500; }"

func TestConfigured(t *testing.T) {
	for text, want := range map[string]string{
		"": "has no rung", "rung 1280 30 2500;": "WIDTHxHEIGHT", "rung 1280x720 30;": "write it as", "rung 1280x720 30 x;": "no usable number", "rung 1280x720 0 1;": "no usable number",
		"rung 1281x720 30 1;": "even numbers", "rung 1280x720 30 1 vp9;": "h264, h265 or av1", "rung 1280x720 30 1; ingest http://x;": "no address of RTMP",
		"rung 1280x720 30 1; key_interval 0;": "key_interval", strings.Repeat("rung 1280x720 30 1;", 11): "more than 10",
	} {
		_, err := config.Parse(config.Source{File: "test", Text: []byte("listen 1935; vhost v { multitrack_video { enabled on; " + text + " } }"), Getenv: func(string) string { return "" }}, blocks.All())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

// Whatever is asked, the answer is one that OBS can read.
func FuzzAnswer(f *testing.F) {
	for _, name := range []string{"obs-2025-01-25.json", "obs-2024-06-04.json"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	conf := &blocks.MultitrackVideoConfig{Enabled: true, Encoder: "auto", KeyInterval: 2, Rungs: []config.Rule{{Name: "rung", Args: []string{"1280x720", "30", "2500"}}, {Name: "rung", Args: []string{"640x360", "30", "600", "av1"}}}}
	f.Fuzz(func(t *testing.T, b []byte) {
		var ask request
		if json.Unmarshal(b, &ask) != nil {
			return
		}
		a := answer(conf, &ask)
		if (a.Status.Result == "success") != (len(a.Video) > 0) || len(a.Video) > maxTracks || len(a.Audio.Live) != 1 {
			t.Errorf("%+v", a)
		}
		for _, v := range a.Video {
			if v.Width < 2 || v.Height < 2 || v.Rate.Numerator < 1 || v.Rate.Denominator < 1 || v.Canvas >= maxCanvases {
				t.Errorf("%+v", v)
			}
		}
	})
}
