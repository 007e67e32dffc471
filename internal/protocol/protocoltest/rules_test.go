package protocoltest

import (
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/service"
)

// serve answers from a map, what is not there with 404.
func (h *Sink) serve(files map[string]string) {
	h.Env.Media.Handle(service.OrderSegments, func(w http.ResponseWriter, r *http.Request) bool {
		body, ok := files[r.URL.Path]
		if !ok {
			return false
		}
		if strings.HasSuffix(r.URL.Path, ".m3u8") {
			w.Header().Set("Content-Type", "application/vnd.apple.mpegurl")
		}
		w.Write([]byte(body))
		return true
	})
}

const (
	goodList = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:3\n#EXT-X-TARGETDURATION:2\n#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:04.000Z\n" +
		"#EXTINF:2.000, no desc\ns-3.ts\n#EXTINF:2.000, no desc\ns-4.ts\n"
	laterList = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:4\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-TARGETDURATION:2\n#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:06.000Z\n" +
		"#EXTINF:2.000, no desc\ns-4.ts\n#EXTINF:1.000, no desc\ns-5.ts\n"
)

// streamTS is three segments of a transport stream, of a frame each.
func streamTS(t *testing.T) (segments [3]string) {
	t.Helper()
	m := mpegts.NewMuxer((&media.Layout{}).With(PictureTrack(10)))
	for i := range segments {
		f := &media.Frame{Track: PictureTrack(10), Key: true, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}}
		b, err := m.AppendFrame(m.AppendTables(nil), f, time.Duration(1+2*i)*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		segments[i] = string(b)
	}
	return segments
}

// The checker of playlists lets good ones pass, and finds each fault.
func TestHLSRulesFindFaults(t *testing.T) {
	ts := streamTS(t)
	for _, c := range []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"a long segment", "EXTINF:1.000", "EXTINF:3.000", "target 2"},
		{"a segment of nothing", "EXTINF:1.000", "EXTINF:0.000", "EXTINF:0"},
		{"another duration", "EXTINF:2.000", "EXTINF:1.900", "4 was"},
		{"another name", "s-4.ts", "s-3.ts", "3 was"},
		{"a number lost", "SEQUENCE:4", "SEQUENCE:5", "4 was"},
		{"a number again", "MEDIA-SEQUENCE:4", "MEDIA-SEQUENCE:2", "went back"},
		{"a lost discontinuity", "DISCONTINUITY-SEQUENCE:1", "DISCONTINUITY-SEQUENCE:0", "4 was"},
		{"a clock that steps", "00:00:06.000", "00:00:07.000", "was at"},
		{"a shrinking target", "DURATION:2", "DURATION:1", "target 1"},
		{"no segment", "s-5.ts", "s-6.ts", "404"},
		{"an unknown line", "#EXTINF:1", "#X\n#EXTINF:1", `line "#X"`},
		{"no time", "#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:06.000Z\n", "", "no time"},
		{"a map too early", "#EXTINF:1", "#EXT-X-MAP:URI=\"s-3.ts\"\n#EXTINF:1", "version 3"},
	} {
		InSink(t, none, t.TempDir(), "", func(t *testing.T, h *Sink) {
			files := map[string]string{"/live/s.m3u8": goodList, "/live/s-3.ts": ts[0], "/live/s-4.ts": ts[1], "/live/s-5.ts": ts[2]}
			h.serve(files)
			r := &HLSRules{Sink: h, Path: "/live/s.m3u8", Window: 4 * time.Second}
			if err := r.Look(); err != nil {
				t.Fatal(err)
			}
			files["/live/s.m3u8"] = strings.Replace(laterList, c.from, c.to, 1)
			err := r.Look()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
	}
	var stream tsRules
	if err := stream.segment([]byte(ts[0]), true, true); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string]string{
		"one that was lost": ts[2], "the same again": ts[0], "cut": ts[1][:500], "no tables": ts[1][188:], "nothing": "",
		"noise": strings.Replace(ts[1], "\x47", "\x48", 1), "no key frame": ts[1][:2*188+5] + "\x10" + ts[1][2*188+6:],
	} {
		r := tsRules{counters: maps.Clone(stream.counters), pts: maps.Clone(stream.pts)}
		if err := r.segment([]byte(bad), false, true); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	InSink(t, none, t.TempDir(), "", func(t *testing.T, h *Sink) {
		files := map[string]string{"/live/s.m3u8": goodList, "/live/s-3.ts": ts[0], "/live/s-4.ts": ts[1], "/live/s-5.ts": ts[2]}
		h.serve(files)
		r := &HLSRules{Sink: h, Path: "/live/s.m3u8", Window: 4 * time.Second}
		if err := r.Look(); err != nil {
			t.Fatal(err)
		}
		files["/live/s.m3u8"] = laterList
		delete(files, "/live/s-3.ts")
		if err := r.Look(); err == nil || !strings.Contains(err.Error(), "has left") {
			t.Errorf("a segment that is gone at once: %v", err)
		}
	})
}

const goodMPD = `<MPD type="dynamic" availabilityStartTime="1999-12-31T23:59:50.000Z" publishTime="2000-01-01T00:00:00.000Z" minimumUpdatePeriod="PT1.000S" timeShiftBufferDepth="PT6.000S" suggestedPresentationDelay="PT2.000S" minBufferTime="PT2.000S">
<BaseURL>s/</BaseURL><Period id="1" start="PT0.000S"><AdaptationSet mimeType="video/mp4"><Representation id="video" bandwidth="5000" codecs="avc1.42c00a">
<SegmentTemplate timescale="1000" presentationTimeOffset="0" initialization="init.mp4" media="$Number$.m4s" startNumber="1"><SegmentTimeline>
<S t="0" d="2000" /><S t="2000" d="2000" /></SegmentTimeline></SegmentTemplate></Representation></AdaptationSet></Period>
<UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/time"/></MPD>`

// The checker of manifests does so, too.
func TestDASHRulesFindFaults(t *testing.T) {
	segment := func(at int64) string {
		return string(mp4.AppendSamples(nil, 1, PictureTrack(10), []mp4.Sample{{Payload: []byte{1}, Time: at, Duration: 2000, Key: true}}))
	}
	for _, c := range []struct{ name, from, to, want string }{
		{"nothing", "", "", ""},
		{"one more", `d="2000" /></`, `d="2000" /><S t="4000" d="2000" /></`, ""},
		{"another start", "23:59:50", "23:59:51", "availabilityStartTime was"},
		{"published before", `publishTime="2000-01-01T00:00:00.000Z"`, `publishTime="1999-01-01T00:00:00.000Z"`, "publishTime was"},
		{"another time", `t="2000" d="2000"`, `t="2000" d="2001"`, "it was"},
		{"an overlap", `t="2000" d="2000"`, `t="1999" d="2000"`, "ends at 2000"},
		{"a lost number", `startNumber="1"`, `startNumber="2"`, "it was"},
		{"not what is in it", `d="2000" /></`, `d="2000" /><S t="4000" d="1999" /></`, "it holds"},
		{"not yet due", `d="2000" /></`, `d="2000" /><S t="9000" d="2000" /></`, "before it is due"},
		{"a moved period", `start="PT0.000S"`, `start="PT1.000S"`, "period 1 began"},
		{"no clock", "http-iso", "none", "UTCTiming"},
		{"no codecs", "avc1.42c00a", "", "representation"},
	} {
		InSink(t, none, t.TempDir(), "", func(t *testing.T, h *Sink) {
			files := map[string]string{"/live/s.mpd": goodMPD, "/live/s/init.mp4": "x", "/live/s/1.m4s": segment(0), "/live/s/2.m4s": segment(2000), "/live/s/3.m4s": segment(4000),
				"/time": "2000-01-01T00:00:00.000Z"}
			h.serve(files)
			r := &DASHRules{Sink: h, Path: "/live/s.mpd"}
			if err := r.Look(); err != nil {
				t.Fatal(err)
			}
			files["/live/s.mpd"] = strings.Replace(goodMPD, c.from, c.to, 1)
			err := r.Look()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("%s: %v, want %q", c.name, err, c.want)
			}
		})
	}
}
