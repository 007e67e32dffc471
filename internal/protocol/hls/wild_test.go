package hls

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

// wild is a publisher of tracks that come, go and change as they like, in whatever order.
type wild struct {
	rnd    *rand.Rand
	tracks []*media.Track
	at     int
	off    [6]bool
	late   [6]int // by how many frames its key frames are late
}

func newWild(seed uint64) *wild {
	w := &wild{rnd: rand.New(rand.NewPCG(seed, 9)), tracks: append(tracks(), nil, nil)}
	vp9, opus := *w.tracks[1], *w.tracks[3]
	vp9.ID, vp9.Codec, vp9.Config = 2, media.VP9, []byte{0, 10, 0x80, 1, 1, 1, 0, 0}
	opus.ID, opus.Codec, opus.Config, opus.SampleRate = 2, media.Opus, []byte("OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00"), 48000
	w.tracks[4], w.tracks[5] = &vp9, &opus
	for k := range w.off {
		w.off[k] = k > 1 && w.rnd.IntN(2) == 0
	}
	return w
}

// change has something become different.
func (w *wild) change() {
	k := w.rnd.IntN(len(w.tracks))
	switch w.rnd.IntN(4) {
	case 0, 1:
		w.off[k] = !w.off[k] && k > 0
	case 2:
		w.late[k] = w.rnd.IntN(12) - 6
	default:
		if k == 0 || k == 2 {
			return // what the first ones do is TestHours's
		}
		t := *w.tracks[k]
		if t.Codec == media.H264 {
			t.Config = bytes.Clone(t.Config)
			t.Config[len(t.Config)-1] ^= 1
		}
		t.Label = fmt.Sprint("label ", w.rnd.IntN(10))
		w.tracks[k] = &t
	}
}

// frames are those of the next 40 ms.
func (w *wild) frames() (all []*media.Frame) {
	for _, k := range w.rnd.Perm(len(w.tracks)) {
		t := w.tracks[k]
		if w.off[k] {
			continue
		}
		f := &media.Frame{Track: t, Source: time.Duration(w.at) * 40 * time.Millisecond, Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}}
		if t.Kind == media.Video {
			f.Key, f.Payload = (w.at-w.late[k])%50 == 0, []byte{0, 0, 0, 3, 0x65, 0x88, byte(w.at)}
		}
		all = append(all, f)
	}
	w.at++
	return all
}

// numbered reads a playlist: of each segment by its number, its duration and how many
// discontinuities there were.
func numberedIn(t *testing.T, text string) map[int64]string {
	t.Helper()
	tag := func(name string) int64 {
		_, rest, _ := strings.Cut(text, "#EXT-X-"+name+":")
		line, _, _ := strings.Cut(rest, "\n")
		n, _ := strconv.ParseInt(line, 10, 64)
		return n
	}
	n, breaks := tag("MEDIA-SEQUENCE"), tag("DISCONTINUITY-SEQUENCE")
	all := map[int64]string{}
	for line := range strings.SplitSeq(text, "\n") {
		switch {
		case line == "#EXT-X-DISCONTINUITY":
			breaks++
		case strings.HasPrefix(line, "#EXTINF:"):
			all[n] = fmt.Sprint(line, " ", breaks)
			n++
		}
	}
	return all
}

// Whatever tracks do, the stream's own playlist keeps the rules, and those of the tracks
// have its numbers, its durations and its discontinuities, and nothing that is not there.
func TestWildTracks(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			more := []string{"", "hls_use_fmp4 on;", "hls_iframes on;"}[seed%3]
			conf := "hls { enabled on; hls_path DIR; hls_ctx off; hls_fragment 2; hls_window 8; hls_files off; " + more + " }"
			protocoltest.InSink(t, Protocol, t.TempDir(), conf, func(t *testing.T, h *protocoltest.Sink) {
				s, err := h.Env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"})
				if err != nil {
					t.Fatal(err)
				}
				p, err := s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: "s"}, Said: session.Said{App: "live", Stream: "s"}})
				if err != nil {
					t.Fatal(err)
				}
				r := &protocoltest.HLSRules{Sink: h, Path: "/live/s.m3u8", Window: 8 * time.Second}
				w, renditions := newWild(seed), 0
				for range 90 {
					for range 26 {
						for _, f := range w.frames() {
							p.Write(f)
						}
						time.Sleep(40 * time.Millisecond)
					}
					synctest.Wait()
					if w.rnd.IntN(3) == 0 {
						w.change()
					}
					if h.Get("/live/s.m3u8").Code == 404 {
						continue
					}
					if err := r.Look(); err != nil {
						t.Fatalf("at frame %d: %v", w.at, err)
					}
					renditions += look(t, h)
				}
				if renditions < 50 {
					t.Errorf("only %d playlists of tracks were seen", renditions)
				}
				s.Close(nil)
			})
		})
	}
}

// look compares the playlists of tracks with the stream's own, and returns how many there
// are.
func look(t *testing.T, h *protocoltest.Sink) (n int) {
	t.Helper()
	all := h.Get("/live/s.all.m3u8")
	if all.Code != 200 {
		return 0
	}
	main := numberedIn(t, h.Get("/live/s.m3u8").Body.String())
	for _, m := range regexp.MustCompile(`(?m)(?:URI="|^)(s\.[a-z0-9.]+\.m3u8)`).FindAllStringSubmatch(all.Body.String(), -1) {
		n++
		w := h.Get("/live/" + m[1])
		text := w.Body.String()
		if w.Code != 200 {
			t.Fatalf("%s is listed and is not there: %d", m[1], w.Code)
		}
		for k, line := range numberedIn(t, text) {
			if want, ok := main[k]; !ok || line != want {
				t.Fatalf("%s: %d is %q, in the stream's own %q:\n%s", m[1], k, line, want, text)
			}
		}
		gap := false
		for line := range strings.SplitSeq(text, "\n") {
			switch {
			case line == "#EXT-X-GAP":
				gap = true
			case strings.HasPrefix(line, "#EXT-X-MAP:"):
				if uri := strings.Split(line, `"`)[1]; h.Get("/live/"+uri).Code != 200 {
					t.Fatalf("%s: %s is not there", m[1], uri)
				}
			case line != "" && line[0] != '#':
				if w := h.Get("/live/" + line); !gap && (w.Code != 200 || w.Body.Len() == 0) {
					t.Fatalf("%s: %s is not there: %d", m[1], line, w.Code)
				}
				gap = false
			}
		}
	}
	return n
}
