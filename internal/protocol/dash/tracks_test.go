package dash

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// publishAll publishes n times 40 ms of several tracks, each as long as has says so.
func (h *house) publishAll(n int, all []*media.Track, has func(i, track int) bool) (leave func()) {
	h.t.Helper()
	s, err := h.Env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"})
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: "s"}, Said: session.Said{App: "live", Stream: "s"}})
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range n {
		for k, t := range all {
			if !has(i, k) {
				continue
			}
			f := &media.Frame{Track: t, Source: time.Duration(i) * 40 * time.Millisecond, Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}}
			if t.Kind == media.Video {
				f.Key, f.Payload = i%50 == 0, []byte{0, 0, 0, 3, 0x65, 0x88, byte(i)}
			}
			p.Write(f)
		}
		time.Sleep(40 * time.Millisecond)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	return func() {
		s.Close(nil)
		time.Sleep(time.Second)
		synctest.Wait()
	}
}

// tracks are three pictures, one of another codec, and two sounds.
func tracks() []*media.Track {
	second, comment := *picture, *sound
	second.ID, second.Width, second.Height = 1, 32, 24
	comment.ID, comment.Lang, comment.Label = 1, "eng", "Comment"
	vp9 := &media.Track{ID: 2, Kind: media.Video, Codec: media.VP9, Config: []byte{0, 10, 0x80, 1, 1, 1, 0, 0}, Width: 64, Height: 48}
	return []*media.Track{picture, &second, vp9, sound, &comment}
}

// Pictures of a codec are choices of one adaptation set, which begin together, and each
// sound is a set of its own.
func TestTracks(t *testing.T) {
	bubble(t, "dash_window_size 3;", func(t *testing.T, h *house) {
		h.publishAll(400, tracks(), func(int, int) bool { return true })
		text := h.Get("/live/s.mpd").Body.String()
		text = regexp.MustCompile(`(?s)\s*<S .*?</SegmentTimeline>|<SegmentTimeline>|bandwidth="\d+" `).ReplaceAllString(text, "")
		from, to := strings.Index(text, "<AdaptationSet"), strings.Index(text, "    </Period>")
		const sounds = `<AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>`
		tmpl := func(scale int) string {
			return fmt.Sprintf(`<SegmentTemplate timescale="%d" presentationTimeOffset="0" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="4"> </SegmentTemplate> </Representation>`, scale)
		}
		want := `<AdaptationSet id="0" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1"> <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/> ` +
			`<Representation id="audio" codecs="mp4a.40.2" audioSamplingRate="44100"> ` + sounds + " " + tmpl(44100) + ` </AdaptationSet> ` +
			`<AdaptationSet id="4" contentType="audio" mimeType="audio/mp4" lang="en" segmentAlignment="true" startWithSAP="1"> <Label>Comment</Label> <Role schemeIdUri="urn:mpeg:dash:role:2011" value="alternate"/> ` +
			`<Representation id="audio1" codecs="mp4a.40.2" audioSamplingRate="44100"> ` + sounds + " " + tmpl(44100) + ` </AdaptationSet> ` +
			`<AdaptationSet id="1" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1"> <Role schemeIdUri="urn:mpeg:dash:role:2011" value="main"/> ` +
			`<Representation id="video" codecs="avc1.42c00a" width="64" height="48" frameRate="25"> ` + tmpl(90000) + " " +
			`<Representation id="video1" codecs="avc1.42c00a" width="32" height="24" frameRate="25"> ` + tmpl(90000) + ` </AdaptationSet> ` +
			`<AdaptationSet id="7" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1"> <Role schemeIdUri="urn:mpeg:dash:role:2011" value="alternate"/> ` +
			`<Representation id="video2" codecs="vp09.00.10.08" width="64" height="48" frameRate="25"> ` + tmpl(90000) + ` </AdaptationSet> `
		if got := strings.Join(strings.Fields(text[from:to]), " ") + " "; got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
		m := h.manifest()
		if sets := m.Periods[0].Sets; len(sets) != 5 || len(sets[0].Timeline) != 3 {
			t.Fatalf("%+v", m)
		}
		for _, name := range []string{"audio", "audio1", "video", "video1", "video2"} {
			for _, f := range []string{"-init.mp4", "-5.m4s"} {
				if w := h.Get("/live/s/" + name + f); w.Code != 200 || !strings.Contains(h.Files(), "live/s/"+name+f) {
					t.Errorf("%s%s: %d, files %s", name, f, w.Code, h.Files())
				}
			}
		}
	})
}

// A track that comes begins a period; where one pauses its numbers go on, and the manifest
// keeps to the rules.
func TestTracksComeAndGo(t *testing.T) {
	bubble(t, "dash_window_size 12;", func(t *testing.T, h *house) {
		h.publishAll(500, tracks()[:4], func(i, k int) bool { return k == 0 || k == 3 || k == 1 && (i >= 100 && i < 200 || i >= 300) })
		m := h.manifest()
		if len(m.Periods) != 2 || len(m.Periods[0].Sets) != 2 || len(m.Periods[1].Sets) != 3 {
			t.Fatalf("%+v", m)
		}
		first, second := m.Periods[1].Sets[1], m.Periods[1].Sets[2]
		if second.ID != "video1" || second.First != 0 || len(second.Timeline) != len(first.Timeline)-2 || second.Timeline[0] != first.Timeline[0] || second.Timeline[2] != first.Timeline[4] {
			t.Errorf("the second picture has %+v, the first %+v", second, first)
		}
		if text := h.Get("/live/s.mpd").Body.String(); !strings.Contains(text, `segmentAlignment="false"`) {
			t.Error("choices that do not begin together pass for such")
		}
	})
}

func TestFirstTracksOnly(t *testing.T) {
	bubble(t, "dash_tracks first;", func(t *testing.T, h *house) {
		h.publishAll(200, tracks(), func(int, int) bool { return true })
		if m := h.manifest(); len(m.Periods) != 1 || len(m.Periods[0].Sets) != 2 {
			t.Errorf("%+v", m)
		}
		if got := h.Files(); strings.Contains(got, "video1") {
			t.Errorf("files %s", got)
		}
	})
}
