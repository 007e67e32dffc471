package hls

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
)

const lowConf = "hls_ctx off; hls_low_latency on; hls_use_fmp4 on; "

// parts are the URIs of parts in a playlist, with their durations.
func parts(text string) (names []string, lasts []float64) {
	for _, m := range regexp.MustCompile(`#EXT-X-PART:DURATION=([0-9.]+),URI="([^"]+)"`).FindAllStringSubmatch(text, -1) {
		d, _ := strconv.ParseFloat(m[1], 64)
		names, lasts = append(names, m[2]), append(lasts, d)
	}
	return names, lasts
}

// checkLow holds a playlist to the rules of low latency, and fetches what it lists.
func (h *house) checkLow(text string) {
	h.t.Helper()
	names, lasts := parts(text)
	target, _ := strconv.ParseFloat(regexp.MustCompile(`PART-TARGET=([0-9.]+)`).FindStringSubmatch(text)[1], 64)
	for i, d := range lasts {
		// All but the last of a segment have 85 % of the target at least.
		last := i+1 < len(names) && segmentOf(names[i]) != segmentOf(names[i+1])
		if d > target || d < 0.85*target && !last && i+1 < len(names) {
			h.t.Errorf("part %s lasts %.3f, of %.3f", names[i], d, target)
		}
	}
	byName := map[string][]byte{}
	for _, name := range names {
		w := h.get("/live/" + name)
		if w.Code != http.StatusOK || w.Body.Len() == 0 {
			h.t.Errorf("%s: %d", name, w.Code)
		}
		byName[segmentOf(name)] = append(byName[segmentOf(name)], w.Body.Bytes()...)
	}
	// The parts of a segment are the segment.
	for _, m := range regexp.MustCompile(`(?m)^(\S+-\d+)\.(ts|m4s)$`).FindAllStringSubmatch(text, -1) {
		if b, ok := byName[m[1]]; ok && string(b) != h.get("/live/"+m[0]).Body.String() {
			h.t.Errorf("%s is not its parts", m[0])
		}
	}
}

// segmentOf is the name without the part's number and the extension.
func segmentOf(part string) string {
	part = part[:strings.LastIndexByte(part, '.')]
	return part[:strings.LastIndexByte(part, '.')]
}

// Tracks by themselves are in parts too, with gaps where one has nothing, and tell how far
// the others are.
func TestLowLatencyTracks(t *testing.T) {
	for _, conf := range []string{lowConf, "hls_ctx off; hls_low_latency on; "} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			h := open(t, dir, conf)
			defer h.stop()
			quiet := func(i, track int) bool { return track != 3 || i < 153 || i > 190 } // the second sound
			leave := h.publishAll("s", 215, tracks(), quiet)
			defer leave()
			names, _ := parts(h.get("/live/s.m3u8").Body.String())
			last := names[len(names)-1] // s-4.1.m4s
			at := strings.Split(strings.TrimPrefix(last, "s-"), ".")
			for _, track := range []string{"video0", "video1", "audio0", "audio1"} {
				text := h.get("/live/s." + track + ".m3u8").Body.String()
				for _, other := range []string{"video0", "video1", "audio0", "audio1"} {
					want := fmt.Sprintf("#EXT-X-RENDITION-REPORT:URI=\"s.%s.m3u8\",LAST-MSN=%s,LAST-PART=%s\n", other, at[0], at[1])
					if strings.Contains(text, want) != (other != track) {
						t.Errorf("%s is told of %s wrongly, want %sin\n%s", track, other, want, text)
					}
				}
				if gaps := strings.Count(text, ",GAP=YES"); gaps > 0 != (track == "audio1") {
					t.Errorf("%s has %d gaps in\n%s", track, gaps, text)
				}
				own, _ := parts(text)
				if len(own) != len(names) || !strings.Contains(text, "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s."+track+"-") {
					t.Errorf("%s has parts %v, of %v", track, own, names)
				}
				if track != "audio1" {
					h.checkLow(text)
				}
				wait := h.get("/live/s." + track + ".m3u8?_HLS_msn=" + at[0] + "&_HLS_part=" + at[1])
				if wait.Code != http.StatusOK {
					t.Errorf("%s: %d", track, wait.Code)
				}
			}
		})
	}
}

func TestLowLatency(t *testing.T) {
	for _, conf := range []string{lowConf, "hls_ctx off; hls_low_latency on; ", lowConf + "hls_files off; hls_part 0.3; "} {
		t.Run(conf, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h := open(t, dir, conf)
				defer h.stop()
				leave := h.publish("s", 215)
				defer leave()
				text := h.get("/live/s.m3u8").Body.String()
				for _, want := range []string{"#EXT-X-VERSION:9\n", "CAN-BLOCK-RELOAD=YES", "PART-HOLD-BACK=", "INDEPENDENT=YES", "#EXT-X-PRELOAD-HINT:TYPE=PART"} {
					if !strings.Contains(text, want) {
						t.Errorf("no %s in\n%s", want, text)
					}
				}
				h.checkLow(text)
				// Ordinary players leave the lines that they do not know.
				if n := strings.Count(text, "#EXTINF:"); n != 3 {
					t.Errorf("%d segments in\n%s", n, text)
				}
			})
		})
	}
}

// later asks and tells when and what the answer is.
func (h *house) later(wg *sync.WaitGroup, url string) func() (*httptest.ResponseRecorder, time.Duration) {
	var w *httptest.ResponseRecorder
	var took time.Duration
	wg.Go(func() {
		began := time.Now()
		w = h.get(url)
		took = time.Since(began)
	})
	return func() (*httptest.ResponseRecorder, time.Duration) { return w, took }
}

// Who asks for a playlist or part that is not there yet has it when it is.
func TestBlockingReload(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, lowConf)
		defer h.stop()
		var wg sync.WaitGroup
		var next, whole, part, beyond, skip func() (*httptest.ResponseRecorder, time.Duration)
		wg.Go(func() {
			time.Sleep(6500 * time.Millisecond) // three segments, and one part of the next
			next = h.later(&wg, "/live/s.m3u8?_HLS_msn=3&_HLS_part=1")
			whole = h.later(&wg, "/live/s.m3u8?_HLS_msn=3")
			part = h.later(&wg, "/live/s-3.1.m4s")
			beyond = h.later(&wg, "/live/s.m3u8?_HLS_msn=3&_HLS_part=77")
			skip = h.later(&wg, "/live/s.m3u8?_HLS_msn=4&_HLS_part=0&_HLS_skip=YES")
		})
		leave := h.publish("s", 300)
		wg.Wait()
		for name, c := range map[string]struct {
			got      func() (*httptest.ResponseRecorder, time.Duration)
			has      string
			from, to time.Duration
		}{
			"part":   {next, "s-3.1.m4s\"", 300 * time.Millisecond, 600 * time.Millisecond},
			"whole":  {whole, "\ns-3.m4s\n", 1400 * time.Millisecond, 1700 * time.Millisecond},
			"hinted": {part, "", 300 * time.Millisecond, 600 * time.Millisecond},
			"beyond": {beyond, "\ns-3.m4s\n", 1400 * time.Millisecond, 1700 * time.Millisecond},
			"update": {skip, "s-4.0.m4s\"", 1800 * time.Millisecond, 2200 * time.Millisecond},
		} {
			w, took := c.got()
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), c.has) || took < c.from || took > c.to {
				t.Errorf("%s: %d after %v\n%s", name, w.Code, took, w.Body)
			}
		}
		// What does not go on is not waited for without end.
		leave()
		began := time.Now()
		if w := h.get("/live/s.m3u8?_HLS_msn=7&_HLS_part=3"); w.Code != http.StatusServiceUnavailable || time.Since(began) > 7*time.Second {
			t.Errorf("%d after %v", w.Code, time.Since(began))
		}
		hint := regexp.MustCompile(`PRELOAD-HINT:TYPE=PART,URI="([^"]+)"`).FindStringSubmatch(h.get("/live/s.m3u8").Body.String())[1]
		if w := h.get("/live/" + hint); w.Code != http.StatusNotFound {
			t.Errorf("hint %s: %d", hint, w.Code)
		}
	})
}

// Long playlists are updated without their old segments.
func TestDeltaUpdate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, strings.Replace(lowConf, "hls_ctx off; ", "", 1)+"hls_ts_ctx on; ")
		defer h.stop()
		h.svc.conf("").Window = time.Minute
		defer h.publish("s", 1010)()
		full := h.get("/live/s.m3u8?hls_ctx=abc&k=1").Body.String()
		update := h.get("/live/s.m3u8?hls_ctx=abc&k=1&_HLS_skip=YES").Body.String()
		m := regexp.MustCompile(`#EXT-X-SKIP:SKIPPED-SEGMENTS=(\d+)\n`).FindStringSubmatch(update)
		if m == nil {
			t.Fatal(update)
		}
		n, _ := strconv.Atoi(m[1])
		all, left := strings.Count(full, "#EXTINF:"), strings.Count(update, "#EXTINF:")
		if n == 0 || all != n+left {
			t.Errorf("%d segments, %d skipped, %d left", all, n, left)
		}
		head, rest, _ := strings.Cut(update, m[0])
		if !strings.HasPrefix(full, head) || !strings.HasSuffix(full, rest) {
			t.Errorf("an update that is not the end of what it updates:\n%s", update)
		}
		// Whatever is fetched carries the viewer's name, and its parameters, but not those
		// of low latency.
		for _, l := range strings.Split(update, "\n") {
			if uri := regexp.MustCompile(`^[^#].*|URI="[^"]*"`).FindString(l); uri != "" && !strings.Contains(uri, "?hls_ctx=abc&k=1") || strings.Contains(l, "_HLS_") {
				t.Errorf("line %s", l)
			}
		}
	})
}

// After an upgrade the new process lists the old one's segments in parts as that does, from
// the first playlist on, and those who wait there have them when they come.
func TestLowLatencyGoesOn(t *testing.T) {
	for _, conf := range []string{lowConf, "hls_ctx off; hls_low_latency on; "} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			old, young := open(t, dir, conf), open(t, dir, conf)
			defer old.stop()
			defer young.stop()
			key := hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}
			same := func(when string) {
				a, b := old.get("/live/s.m3u8").Body.String(), young.get("/live/s.m3u8").Body.String()
				if a != b || !strings.Contains(a, "#EXT-X-PART:") || !strings.Contains(a, "#EXT-X-PRELOAD-HINT") {
					t.Errorf("%s the old process has\n%s\nthe new one\n%s", when, a, b)
				}
				young.checkLow(b)
			}
			var wg sync.WaitGroup
			var next, part func() (*httptest.ResponseRecorder, time.Duration)
			wg.Go(func() {
				time.Sleep(6500 * time.Millisecond) // three segments, and one part of the next
				young.svc.streams.Borrow(key)
				old.stream("s").Lend(func(piece []byte) {
					if err := young.svc.streams.Take(key, piece); err != nil {
						t.Error(err)
					}
				})
				same("at the hand-over")
				ext := map[bool]string{true: ".m4s", false: ".ts"}[conf == lowConf]
				next = young.later(&wg, "/live/s.m3u8?_HLS_msn=3&_HLS_part=1")
				part = young.later(&wg, "/live/s-3.1"+ext)
			})
			leave := old.publish("s", 300)
			wg.Wait()
			for name, got := range map[string]func() (*httptest.ResponseRecorder, time.Duration){"list": next, "part": part} {
				if w, took := got(); w.Code != http.StatusOK || took < 300*time.Millisecond || took > 600*time.Millisecond {
					t.Errorf("%s: %d after %v", name, w.Code, took)
				}
			}
			same("in the end")
			leave()
		})
	}
}

func TestLowLatencyRefusals(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, lowConf)
		defer h.stop()
		defer h.publish("s", 215)()
		for query, want := range map[string]int{
			"_HLS_msn=-1":                             400,
			"_HLS_msn=x":                              400,
			"_HLS_msn=99999999999999999999999":        400,
			"_HLS_msn=9007199254740992":               400,
			"_HLS_msn=7":                              400, // 4 is open
			"_HLS_part=1":                             400,
			"_HLS_msn=1&_HLS_part=-1":                 400,
			"_HLS_msn=1&_HLS_msn=2":                   400,
			"_HLS_msn=":                               400,
			"_HLS_msn=0":                              200,
			"_HLS_msn=3&_HLS_part=99":                 200,
			"_HLS_msn=4&_HLS_part=0":                  200,
			"_HLS_skip=maybe":                         200,
			"_HLS_msn=1&_HLS_part=9007199254740991":   200,
			"_HLS_msn=4&_HLS_part=0&_HLS_unheard=yes": 200,
		} {
			if w := h.get("/live/s.m3u8?" + query); w.Code != want {
				t.Errorf("%s: %d", query, w.Code)
			}
		}
		if w := h.get("/live/s-4.99.m4s"); w.Code != http.StatusNotFound {
			t.Errorf("a part that nobody hinted at: %d", w.Code)
		}
	})
}

// A thousand requests whose peers go leave nothing behind, and parts leave the shelf.
func TestLowLatencyLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		h := open(t, dir, lowConf)
		leave := h.publish("s", 2000)
		for seq := range 40 - partsKept - 2 {
			if w := h.get(fmt.Sprintf("/live/s-%d.0.m4s", seq)); w.Code != http.StatusNotFound {
				t.Errorf("part of segment %d: %d", seq, w.Code)
			}
		}
		var wg sync.WaitGroup
		for i := range 1000 {
			ask := h.later(&wg, fmt.Sprintf("/live/s.m3u8?_HLS_msn=40&_HLS_part=%d", 1+i%4))
			_ = ask
		}
		synctest.Wait()
		leave()
		wg.Wait()
		h.stop()
	})
}

func FuzzWish(f *testing.F) {
	f.Add("_HLS_msn=3&_HLS_part=1&_HLS_skip=YES")
	f.Add("_HLS_part=-1")
	f.Fuzz(func(t *testing.T, query string) {
		r := httptest.NewRequest("GET", "/live/s.m3u8", nil)
		r.URL.RawQuery = query
		if w, ok := wishOf(r); ok && (w.seq < -1 || w.part < -1 || w.part >= 0 && !w.waits) {
			t.Errorf("%q: %+v", query, w)
		}
	})
}
