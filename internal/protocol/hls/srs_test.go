package hls

import (
	"regexp"
	"testing"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/m3u8"
	"weir/internal/protocol/protocoltest"
	"weir/internal/store"
)

// srsList is what SRS 7.0.18 lists with the configuration of TestShapeIsSRSs; the
// IVs are its.
const srsList = `#EXTM3U
#EXT-X-VERSION:3
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-TARGETDURATION:3
#EXT-X-DISCONTINUITY
#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:8080/live/s-0.key",IV=0x002A5A10951D010B884FD301879EEEA5
#EXTINF:2.023, no desc
s-0.ts
#EXTINF:2.000, no desc
s-1.ts
#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:8080/live/s-2.key",IV=0xF4F4375E240516C8F1AF5F0202A65BD1
#EXTINF:2.000, no desc
s-2.ts
#EXTINF:2.000, no desc
s-3.ts
#EXT-X-KEY:METHOD=AES-128,URI="http://127.0.0.1:8080/live/s-4.key",IV=0x2856D4A0C81BD4013B2A70DC9DD4A154
#EXTINF:2.000, no desc
s-4.ts
#EXTINF:2.000, no desc
s-5.ts
`

// Less what is ours and told in docs/differences.md, a playlist is SRS's letter by
// letter.
func TestShapeIsSRSs(t *testing.T) {
	conf := "hls { enabled on; hls_path DIR; hls_fragment 2; hls_window 12; hls_ctx off; hls_keys on; hls_fragments_per_key 2; hls_key_file [app]/[stream]-[seq].key;" +
		" hls_key_file_path DIR; hls_key_url http://127.0.0.1:8080/; }"
	protocoltest.InSink(t, Protocol, t.TempDir(), conf, func(t *testing.T, h *protocoltest.Sink) {
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
		h.Publish(b, 12.5)
		body := h.Get("/live/s.m3u8").Body.String()
		for _, norm := range []struct{ re, to string }{
			{`#EXT-X-(INDEPENDENT-SEGMENTS|PROGRAM-DATE-TIME:.*)\n`, ""},
			{`IV=0x[0-9A-F]{32}`, "IV"},
			{`TARGETDURATION:[23]`, "TARGETDURATION"}, // SRS's first segment
			{`EXTINF:2\.0[0-9]{2}`, "EXTINF:2"},       // was longer by a frame of sound
		} {
			body = regexp.MustCompile(norm.re).ReplaceAllString(body, norm.to)
		}
		want := srsList
		for _, norm := range []struct{ re, to string }{{`IV=0x[0-9A-F]{32}`, "IV"}, {`TARGETDURATION:3`, "TARGETDURATION"}, {`EXTINF:2\.0[0-9]{2}`, "EXTINF:2"}} {
			want = regexp.MustCompile(norm.re).ReplaceAllString(want, norm.to)
		}
		if body != want {
			t.Errorf("got\n%s\nwant\n%s", body, want)
		}
		h.Leave(b)
	})
}

// No path, however it is written, leads to what is not listed.
func TestTraversal(t *testing.T) {
	protocoltest.InSink(t, Protocol, t.TempDir(), "hls { enabled on; hls_path DIR; hls_fragment 2; hls_ctx off; }", func(t *testing.T, h *protocoltest.Sink) {
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10)}
		h.Publish(b, 5)
		for path, status := range map[string]int{
			"/live/s-0.ts": 200, "/live/../live/s-0.ts": 200, "/live/./s-0.ts": 200, "//live//s-0.ts": 200,
			"/live/%2e%2e/live/s-0.ts":   200, // the same path, and one of ours
			"/../live/s-0.ts":            200,
			"/live/..%2f..%2fetc/passwd": 404, "/live/s-0.ts/": 200, "/live/s-0.ts%00": 404, "/live/s-0.TS": 404, "/live/S-0.ts": 404, "/live/s-0.ts.tmp": 404, "/live/..%5cs-0.ts": 404,
		} {
			if w := h.Get(path); w.Code != status {
				t.Errorf("%s: %d, want %d", path, w.Code, status)
			}
		}
		h.Leave(b)
	})
}

// The target does not shrink when a long segment has gone, but it does when shorter
// ones are configured.
func TestTarget(t *testing.T) {
	list := func(meant time.Duration, durations ...time.Duration) (all []*segment) {
		for _, d := range durations {
			all = append(all, &segment{Segment: &store.Segment{Duration: d * time.Second, Run: &store.Run{}}, meant: meant * time.Second})
		}
		return all
	}
	st := &stream{}
	for _, c := range []struct {
		listed []*segment
		want   int
	}{
		{list(2, 2, 2), 2}, {list(2, 2, 4), 4}, {list(2, 2, 2), 4}, // a long one has been
		{append(list(2, 2), list(6, 6)...), 6}, {list(6, 6, 6), 6},
		{append(list(6, 6), list(1, 1)...), 6}, {append(list(6, 3), list(1, 1)...), 3}, {list(1, 1, 1), 3},
	} {
		x := store.NewIndex[*segment](0)
		for _, g := range c.listed {
			x.Add(g, store.Window{Duration: time.Hour})
		}
		st.index = x
		if p, err := m3u8.Parse(st.render(&blocks.HLSConfig{}).text); err != nil || p.Target != c.want {
			t.Errorf("%v: target %d, want %d, %v", c.listed, p.Target, c.want, err)
		}
	}
}
