package dash

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/mpd"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// house is a server with nothing but DASH in it.
type house struct {
	t    *testing.T
	env  service.Env
	stop func()
}

func open(t *testing.T, dir, dash string) *house {
	t.Helper()
	text := "listen 1935; http_server { enabled on; dir " + dir + "; } vhost __defaultVhost__ { dash { enabled on; " + dash +
		" dash_fragment 2; dash_update_period 1; dash_path " + dir + "; } }"
	snap, err := config.Parse(config.Source{File: "test", Text: []byte(text), Getenv: func(string) string { return "" }}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	conf := config.NewStore(snap)
	hb := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	h := &house{t: t}
	desk := session.New(hb, session.Rules{Vhost: func(name string) (string, bool) {
		v, ok := conf.Load().Vhost(name)
		if !ok {
			return "", false
		}
		return v.Name, true
	}})
	h.env = service.Env{Log: slog.New(slog.DiscardHandler), Conf: conf, Desk: desk, Hub: hb, Media: &service.Mux{}, API: &service.Mux{}, Notices: &service.Notices{}}
	h.env.Store = service.NewStore(h.env.Log, hb)
	svc, err := Protocol.New(h.env)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		svc.Run(ctx)
	}()
	h.stop = func() {
		cancel()
		<-done
	}
	return h
}

// bubble runs f where time is free.
func bubble(t *testing.T, dash string, f func(h *house, dir string)) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, dash)
		defer h.stop()
		f(h, dir)
	})
}

var (
	picture = &media.Track{Kind: media.Video, Codec: media.H264, Width: 64, Height: 48,
		Config: []byte{1, 0x42, 0xc0, 0x0a, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x0a, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80}}
	sound = &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}
)

// publish sends seconds of a stream in real time, with a key frame each two
// seconds; leave ends the publication.
func (h *house) publish(seconds float64, video, audio *media.Track) (leave func()) {
	h.t.Helper()
	s, err := h.env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"})
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: "s"}, Said: session.Said{App: "live", Stream: "s"}})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, t := range []*media.Track{video, audio} {
		if t != nil {
			p.Announce(t)
		}
	}
	a := time.Duration(0)
	for i := range int(seconds * 25) {
		at := time.Duration(i) * 40 * time.Millisecond
		for ; audio != nil && a <= at; a += 23219 * time.Microsecond {
			p.Write(&media.Frame{Track: audio, Source: a.Truncate(time.Millisecond), Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}})
		}
		if video != nil {
			typ := byte(0x41)
			if i%50 == 0 {
				typ = 0x65
			}
			p.Write(&media.Frame{Track: video, Source: at, Key: i%50 == 0, Payload: []byte{0, 0, 0, 3, typ, 0x88, byte(i)}})
		}
		time.Sleep(40 * time.Millisecond)
	}
	synctest.Wait()
	return func() {
		s.Close(nil)
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

func (h *house) get(url string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest("GET", url, nil)
	r.RemoteAddr = "10.0.0.7:1234"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.env.Media.ServeHTTP(w, r)
	return w
}

// manifest returns the manifest as it is read.
func (h *house) manifest() *mpd.Manifest {
	h.t.Helper()
	w := h.get("http://x/live/s.mpd")
	if w.Code != 200 {
		h.t.Fatalf("manifest: %d %s", w.Code, w.Body)
	}
	m, err := mpd.Parse(w.Body.Bytes())
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func files(t *testing.T, dir string) string {
	t.Helper()
	var all []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			rel, _ := filepath.Rel(dir, p)
			all = append(all, rel)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(all, " ")
}

func TestManifest(t *testing.T) {
	bubble(t, "dash_window_size 3;", func(h *house, dir string) {
		if w := h.get("http://x/live/s.mpd"); w.Code != 404 {
			t.Errorf("before there is anything: %d", w.Code)
		}
		leave := h.publish(10.5, picture, sound)
		w := h.get("http://x/live/s.mpd")
		// When the recorder looks at the stream is its own affair.
		if got := published.ReplaceAllString(w.Body.String(), `publishTime="2000-01-01T00:00:10.000Z"`); got != golden {
			t.Errorf("got\n%s\nwant\n%s", got, golden)
		}
		if w.Header().Get("Content-Type") != "application/dash+xml" || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("headers %v", w.Header())
		}
		if got, want := files(t, dir), "live/s/audio-0.m4s live/s/audio-1.m4s live/s/audio-2.m4s live/s/audio-3.m4s live/s/audio-4.m4s live/s/audio-init.mp4 "+
			"live/s/video-0.m4s live/s/video-1.m4s live/s/video-2.m4s live/s/video-3.m4s live/s/video-4.m4s live/s/video-init.mp4 live/s.mpd"; got != want {
			t.Errorf("files %s", got)
		}
		for name, typ := range map[string]string{"video-init.mp4": "video/mp4", "audio-init.mp4": "video/mp4", "video-3.m4s": "video/iso.segment", "audio-3.m4s": "video/iso.segment"} {
			w := h.get("http://x/live/s/" + name)
			disk, err := os.ReadFile(filepath.Join(dir, "live/s", name))
			if w.Code != 200 || w.Header().Get("Content-Type") != typ || err != nil || !bytes.Equal(disk, w.Body.Bytes()) {
				t.Errorf("%s: %d, %s, %v", name, w.Code, w.Header().Get("Content-Type"), err)
			}
		}
		if got := h.get("http://x/live/s/video-3.m4s").Header().Get("Cache-Control"); got != "max-age=12, immutable" {
			t.Errorf("a segment is cached %s", got)
		}
		if got := h.get("http://x/live/s/time").Body.String(); got != string(mpd.AppendTime(nil, time.Now())) {
			t.Errorf("the clock says %s", got)
		}
		if n, _ := h.env.Desk.Len(); n != 2 {
			t.Errorf("%d sessions, want publisher and one viewer", n)
		}
		leave()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := files(t, dir); got != "" {
			t.Errorf("files are left: %s", got)
		}
	})
}

var published = regexp.MustCompile(`publishTime="2000-01-01T00:00:10\.[0-9]{3}Z"`)

const golden = `<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:mpeg:dash:schema:mpd:2011 DASH-MPD.xsd" profiles="urn:mpeg:dash:profile:isoff-live:2011,http://dashif.org/guidelines/dash-if-simple" type="dynamic" availabilityStartTime="2000-01-01T00:00:00.000Z" publishTime="2000-01-01T00:00:10.000Z" minimumUpdatePeriod="PT1.000S" timeShiftBufferDepth="PT6.000S" suggestedPresentationDelay="PT4.000S" minBufferTime="PT2.000S">
    <BaseURL>s/</BaseURL>
    <Period id="1" start="PT0.000S">
        <AdaptationSet id="0" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="audio" bandwidth="5224" codecs="mp4a.40.2" audioSamplingRate="44100">
                <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
                <SegmentTemplate timescale="44100" presentationTimeOffset="0" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="2">
                    <SegmentTimeline>
                        <S t="177142" d="88064" />
                        <S t="265206" d="88064" />
                        <S t="353270" d="88064" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
        <AdaptationSet id="1" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="video" bandwidth="5000" codecs="avc1.42c00a" width="64" height="48" frameRate="25">
                <SegmentTemplate timescale="90000" presentationTimeOffset="0" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="2">
                    <SegmentTimeline>
                        <S t="360000" d="180000" />
                        <S t="540000" d="180000" />
                        <S t="720000" d="180000" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
    </Period>
    <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/live/s/time"/>
</MPD>
`

// A publication is a period, which starts when it did; what all counts from stays,
// and numbers go on.
func TestRepublishIsAPeriod(t *testing.T) {
	bubble(t, "dash_window_size 10;", func(h *house, _ string) {
		h.publish(4.2, picture, sound)()
		first := h.manifest()
		time.Sleep(20 * time.Second)
		other := *picture
		other.Config = bytes.Clone(other.Config)
		other.Config[3] = 0x0b
		h.publish(4.2, &other, sound)()
		m := h.manifest()
		if !m.Start.Equal(first.Start) || len(m.Periods) != 2 || m.Periods[0].ID != "1" || m.Periods[1].ID != "2" {
			t.Fatalf("%+v", m)
		}
		if got := m.Periods[1].Start; got != 25200*time.Millisecond {
			t.Errorf("the second period starts at %v", got)
		}
		video := m.Periods[1].Sets[1]
		if video.First != 3 || video.Init != "$RepresentationID$-init-3.mp4" || video.Codecs != "avc1.42c00b" || video.Timeline[0].Time != video.Offset {
			t.Errorf("its picture is %+v", video)
		}
		if a := m.Periods[1].Sets[0]; a.Init != "$RepresentationID$-init.mp4" { // the sound did not change
			t.Errorf("its sound is %+v", a)
		}
		if w := h.get("http://x/live/s/video-init-3.mp4"); w.Code != 200 || !strings.Contains(w.Body.String(), "avcC") {
			t.Errorf("its initialization segment: %d", w.Code)
		}
	})
}

func TestDASHFiles(t *testing.T) {
	for conf, want := range map[string]string{
		"dash_mpd_file [app]/d/[stream].mpd; dash_window_size 2;": "live/d/s/video-2.m4s live/d/s/video-3.m4s live/d/s/video-4.m4s live/d/s/video-5.m4s live/d/s/video-6.m4s live/d/s/video-init.mp4 live/d/s.mpd",
		"dash_cleanup off; dash_window_size 1;":                   "live/s/video-0.m4s live/s/video-1.m4s live/s/video-2.m4s live/s/video-3.m4s live/s/video-4.m4s live/s/video-5.m4s live/s/video-6.m4s live/s/video-init.mp4 live/s.mpd",
	} {
		bubble(t, conf, func(h *house, dir string) {
			leave := h.publish(14.5, picture, nil)
			if got := files(t, dir); got != want {
				t.Errorf("%s: files %s, want %s", conf, got, want)
			}
			leave()
		})
	}
}

func TestSoundAlone(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		leave := h.publish(9, nil, sound)
		m := h.manifest()
		if len(m.Periods) != 1 || len(m.Periods[0].Sets) != 1 || m.Periods[0].Sets[0].ID != "audio" || len(m.Periods[0].Sets[0].Timeline) != 4 {
			t.Errorf("%+v", m)
		}
		leave()
	})
}

func TestPictureAlone(t *testing.T) {
	bubble(t, "", func(h *house, _ string) {
		leave := h.publish(9, picture, nil)
		m := h.manifest()
		if len(m.Periods) != 1 || len(m.Periods[0].Sets) != 1 || m.Periods[0].Sets[0].ID != "video" || len(m.Periods[0].Sets[0].Timeline) != 4 {
			t.Errorf("%+v", m)
		}
		leave()
	})
}

// Players that stay over a restart of the server go on: what all counts from is
// the same, and numbers and periods follow.
func TestRestartGoesOn(t *testing.T) {
	dir := t.TempDir()
	for round := range 3 {
		synctest.Test(t, func(t *testing.T) {
			time.Sleep(time.Duration(round) * time.Minute) // each bubble begins at the same time
			h := open(t, dir, "")
			h.publish(4.2, picture, nil)()
			m := h.manifest()
			p := m.Periods[0]
			if p.ID != fmt.Sprint(round+1) || p.Sets[0].First != int64(3*round) || p.Start != time.Duration(round)*time.Minute {
				t.Errorf("round %d: %+v", round, m)
			}
			h.stop()
		})
	}
}

func TestRefused(t *testing.T) {
	bubble(t, "dash_files off;", func(h *house, dir string) {
		h.env.Desk.Authorize(deny{})
		leave := h.publish(5, picture, nil)
		if w := h.get("http://x/live/s.mpd"); w.Code != 403 {
			t.Errorf("manifest: %d", w.Code)
		}
		if got := files(t, dir); got != "" {
			t.Errorf("files %s", got)
		}
		leave()
	})
}

type deny struct{}

func (deny) Authorize(_ context.Context, r *session.Request) error {
	if r.Act == session.Play {
		return session.ErrDenied
	}
	return nil
}
