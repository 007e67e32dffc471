package dash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/mpd"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
)

// bubble runs f where time is free.
func bubble(t *testing.T, dash string, f func(t *testing.T, h *house)) {
	dir := t.TempDir()
	protocoltest.InSink(t, Protocol, dir, "dash { enabled on; "+dash+" dash_fragment 2; dash_update_period 1; dash_path DIR; }", func(t *testing.T, h *protocoltest.Sink) {
		f(t, &house{h, t})
	})
}

type house struct {
	*protocoltest.Sink
	t *testing.T
}

var picture, sound = protocoltest.PictureTrack(10), protocoltest.SoundTrack()

// publish sends seconds of a stream; leave ends the publication.
func (h *house) publish(seconds float64, video, audio *media.Track) (leave func()) {
	h.t.Helper()
	b := &protocoltest.Broadcast{Video: video, Audio: audio}
	h.Publish(b, seconds)
	return func() { h.Leave(b) }
}

// manifest returns the manifest as it is read.
func (h *house) manifest() *mpd.Manifest {
	h.t.Helper()
	w := h.Get("/live/s.mpd")
	if w.Code != 200 {
		h.t.Fatalf("manifest: %d %s", w.Code, w.Body)
	}
	m, err := mpd.Parse(w.Body.Bytes())
	if err != nil {
		h.t.Fatal(err)
	}
	return m
}

func TestManifest(t *testing.T) {
	bubble(t, "dash_window_size 3;", func(t *testing.T, h *house) {
		if w := h.Get("/live/s.mpd"); w.Code != 404 {
			t.Errorf("before there is anything: %d", w.Code)
		}
		leave := h.publish(10.5, picture, sound)
		w := h.Get("/live/s.mpd")
		// When the recorder looks at the stream is its own affair.
		if got := published.ReplaceAllString(w.Body.String(), `publishTime="2000-01-01T00:00:10.000Z"`); got != golden {
			t.Errorf("got\n%s\nwant\n%s", got, golden)
		}
		if w.Header().Get("Content-Type") != "application/dash+xml" || w.Header().Get("Cache-Control") != "no-cache" {
			t.Errorf("headers %v", w.Header())
		}
		if got, want := h.Files(), "live/s/audio-0.m4s live/s/audio-1.m4s live/s/audio-2.m4s live/s/audio-3.m4s live/s/audio-4.m4s live/s/audio-init.mp4 "+
			"live/s/video-0.m4s live/s/video-1.m4s live/s/video-2.m4s live/s/video-3.m4s live/s/video-4.m4s live/s/video-init.mp4 live/s.mpd"; got != want {
			t.Errorf("files %s", got)
		}
		for name, typ := range map[string]string{"video-init.mp4": "video/mp4", "audio-init.mp4": "video/mp4", "video-3.m4s": "video/iso.segment", "audio-3.m4s": "video/iso.segment"} {
			w := h.Get("/live/s/" + name)
			disk, err := os.ReadFile(filepath.Join(h.Dir, "live/s", name))
			if w.Code != 200 || w.Header().Get("Content-Type") != typ || err != nil || !bytes.Equal(disk, w.Body.Bytes()) {
				t.Errorf("%s: %d, %s, %v", name, w.Code, w.Header().Get("Content-Type"), err)
			}
		}
		if got := h.Get("/live/s/video-3.m4s").Header().Get("Cache-Control"); got != "max-age=12, immutable" {
			t.Errorf("a segment is cached %s", got)
		}
		if got := h.Get("/live/s/time").Body.String(); got != string(mpd.AppendTime(nil, time.Now())) {
			t.Errorf("the clock says %s", got)
		}
		if n, _ := h.Env.Desk.Len(); n != 2 {
			t.Errorf("%d sessions, want publisher and one viewer", n)
		}
		leave()
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := h.Files(); got != "" {
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
                        <S t="175104" d="88064" />
                        <S t="263168" d="88064" />
                        <S t="351232" d="88064" />
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
	bubble(t, "dash_window_size 10;", func(t *testing.T, h *house) {
		h.publish(4.2, picture, sound)()
		first := h.manifest()
		time.Sleep(20 * time.Second)
		h.publish(4.2, protocoltest.PictureTrack(11), sound)()
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
		if w := h.Get("/live/s/video-init-3.mp4"); w.Code != 200 || !strings.Contains(w.Body.String(), "avcC") {
			t.Errorf("its initialization segment: %d", w.Code)
		}
	})
}

func TestDASHFiles(t *testing.T) {
	for conf, want := range map[string]string{
		"dash_mpd_file [app]/d/[stream].mpd; dash_window_size 2;": "live/d/s/video-2.m4s live/d/s/video-3.m4s live/d/s/video-4.m4s live/d/s/video-5.m4s live/d/s/video-6.m4s live/d/s/video-init.mp4 live/d/s.mpd",
		"dash_cleanup off; dash_window_size 1;":                   "live/s/video-0.m4s live/s/video-1.m4s live/s/video-2.m4s live/s/video-3.m4s live/s/video-4.m4s live/s/video-5.m4s live/s/video-6.m4s live/s/video-init.mp4 live/s.mpd",
	} {
		bubble(t, conf, func(t *testing.T, h *house) {
			leave := h.publish(14.5, picture, nil)
			if got := h.Files(); got != want {
				t.Errorf("%s: files %s, want %s", conf, got, want)
			}
			leave()
		})
	}
}

func TestSoundAlone(t *testing.T) {
	bubble(t, "", func(t *testing.T, h *house) {
		leave := h.publish(9, nil, sound)
		m := h.manifest()
		if len(m.Periods) != 1 || len(m.Periods[0].Sets) != 1 || m.Periods[0].Sets[0].ID != "audio" || len(m.Periods[0].Sets[0].Timeline) != 4 {
			t.Errorf("%+v", m)
		}
		leave()
	})
}

func TestPictureAlone(t *testing.T) {
	bubble(t, "", func(t *testing.T, h *house) {
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
		protocoltest.InSink(t, Protocol, dir, "dash { enabled on; dash_fragment 2; dash_path DIR; }", func(t *testing.T, sink *protocoltest.Sink) {
			time.Sleep(time.Duration(round) * time.Minute) // each bubble begins at the same time
			h := &house{sink, t}
			h.publish(4.2, picture, nil)()
			m := h.manifest()
			p := m.Periods[0]
			if p.ID != fmt.Sprint(round+1) || p.Sets[0].First != int64(3*round) || p.Start != time.Duration(round)*time.Minute {
				t.Errorf("round %d: %+v", round, m)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	bubble(t, "dash_files off;", func(t *testing.T, h *house) {
		h.Env.Desk.Authorize(protocoltest.Deny{})
		leave := h.publish(5, picture, nil)
		if w := h.Get("/live/s.mpd"); w.Code != 403 {
			t.Errorf("manifest: %d", w.Code)
		}
		if got := h.Files(); got != "" {
			t.Errorf("files %s", got)
		}
		leave()
	})
}

// disk reads a manifest from the folder.
func (h *house) disk(t *testing.T, name string) *mpd.Manifest {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(h.Dir, name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := mpd.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
