package hls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/m3u8"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// tracks are two pictures and two sounds.
func tracks() []*media.Track {
	second := *picture
	second.ID = 1
	sound := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2, Lang: "deu", Label: "Deutsch"}
	comment := *sound
	comment.ID, comment.Lang, comment.Label = 1, "eng", ""
	return []*media.Track{picture, &second, sound, &comment}
}

// publishAll publishes n times 40 ms of tracks, each as long as has says so.
func (h *house) publishAll(stream string, n int, all []*media.Track, has func(i, track int) bool) (leave func()) {
	h.t.Helper()
	s, err := h.env.Desk.Connect(context.Background(), session.Visitor{IP: "10.0.0.9"})
	if err != nil {
		h.t.Fatal(err)
	}
	p, err := s.Publish(context.Background(), session.Ask{Key: hub.Key{App: "live", Stream: stream}, Said: session.Said{App: "live", Stream: stream}})
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
				f.Key, f.Payload = i%50 == 0, append([]byte{0, 0, 0, 3, 0x65, 0x88}, byte(i))
				f.Payload = append(f.Payload, 0, 0, 0, byte(40*t.ID+2))
				f.Payload = append(f.Payload, 0x6, 5)
				f.Payload = append(f.Payload, make([]byte, 40*t.ID)...)
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

func always(int, int) bool { return true }

// A stream of several tracks is a ladder: each is a playlist of its own, cut where the
// others are, from memory and on disk, in either form; the stream's own playlist is that of
// the first picture and sound as ever.
func TestTracks(t *testing.T) {
	for form, conf := range map[string]string{"ts": "", "m4s": "hls_use_fmp4 on;"} {
		bubble(t, conf, func(h *house, dir string) {
			h.publishAll("s", 400, tracks(), always)
			master := h.get("http://x/live/s.m3u8?k=1").Body.String()
			m := ctxRE.FindStringSubmatch(master)
			if m == nil {
				t.Fatalf("no hls_ctx in\n%s", master)
			}
			measured := regexp.MustCompile(`BANDWIDTH=\d+`).ReplaceAllString(master, "BANDWIDTH=N")
			query := "?hls_ctx=" + m[1] + "&k=1"
			want := `#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="Deutsch",LANGUAGE="de",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",URI="/live/s.audio0.m3u8` + query + `"
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="eng",LANGUAGE="en",AUTOSELECT=YES,CHANNELS="2",URI="/live/s.audio1.m3u8` + query + `"
#EXT-X-STREAM-INF:BANDWIDTH=N,AVERAGE-BANDWIDTH=N,CODECS="avc1.42c00a,mp4a.40.2",FRAME-RATE=25.000,AUDIO="aac"
/live/s.video0.m3u8` + query + `
#EXT-X-STREAM-INF:BANDWIDTH=N,AVERAGE-BANDWIDTH=N,CODECS="avc1.42c00a,mp4a.40.2",FRAME-RATE=25.000,AUDIO="aac"
/live/s.video1.m3u8` + query + "\n"
			if measured != want {
				t.Errorf("%s: the multivariant playlist is\n%s\nwant\n%s", form, measured, want)
			}
			first := h.get("http://x/live/s.m3u8" + query).Body.String()
			mark := regexp.MustCompile(`\.(video|audio)\d`)
			for _, name := range []string{"s.video0", "s.video1", "s.audio0", "s.audio1"} {
				text := h.get("http://x/live/" + name + ".m3u8" + query).Body.String()
				if mark.ReplaceAllString(text, "") != first {
					t.Errorf("%s is not cut as the stream is:\n%s\nand\n%s", name, text, first)
				}
				onDisk, err := os.ReadFile(filepath.Join(dir, "live", name+".m3u8"))
				if err != nil {
					t.Error(err)
				}
				p, err := m3u8.Parse(onDisk)
				if err != nil || len(p.Segments) < 3 {
					t.Fatalf("%s: %d segments, %v", name, len(p.Segments), err)
				}
				for _, sg := range p.Segments {
					w := h.get("http://x/live/" + sg.URI)
					file, err := os.ReadFile(filepath.Join(dir, "live", sg.URI))
					if w.Code != 200 || err != nil || !bytes.Equal(w.Body.Bytes(), file) || len(file) == 0 || !strings.HasSuffix(sg.URI, "."+form) {
						t.Errorf("%s: %d, %d bytes, on disk %d, %v", sg.URI, w.Code, w.Body.Len(), len(file), err)
					}
					if sg.Map != "" {
						if init := h.get("http://x/live/" + sg.Map); init.Code != 200 || !bytes.HasPrefix(init.Body.Bytes()[4:], []byte("ftyp")) {
							t.Errorf("%s: %d", sg.Map, init.Code)
						}
					}
				}
			}
			all, err := os.ReadFile(filepath.Join(dir, "live", "s.all.m3u8"))
			if relative := strings.ReplaceAll(strings.ReplaceAll(master, query, ""), "/live/", ""); err != nil || string(all) != relative {
				t.Errorf("on disk, %v:\n%s\nwant\n%s", err, all, relative)
			}
			if got := h.get("http://x/live/s.all.m3u8" + query).Body.String(); got != master {
				t.Errorf("by its own name:\n%s", got)
			}
		})
	}
}

// Tracks that come and go leave every playlist valid: numbers and discontinuities are the
// same in all, what is missing is a gap, and who is silent for a whole window is listed no
// more. What is silent does not stop the others.
func TestTracksComeAndGo(t *testing.T) {
	bubble(t, "hls_ctx off;", func(h *house, dir string) {
		leave := h.publishAll("s", 550, tracks(), func(i, k int) bool {
			switch k {
			case 1:
				return i >= 100 && i < 400 || i >= 500
			case 3:
				return i < 200
			}
			return true
		})
		get := func(name string) string {
			return regexp.MustCompile(`\d{4}-\d\d-\d\dT.*`).ReplaceAllString(h.get("http://x/live/"+name+".m3u8").Body.String(), "T")
		}
		if w := h.get("http://x/live/s.audio1.m3u8"); w.Code != 404 {
			t.Errorf("a sound that ended is there: %d\n%s", w.Code, w.Body)
		}
		for _, f := range []string{"s.audio1.m3u8", "s.audio1-0.ts"} {
			if _, err := os.Stat(filepath.Join(dir, "live", f)); err == nil {
				t.Errorf("%s is left on disk", f)
			}
		}
		with := strings.Replace(strings.Replace(get("s"), "VERSION:3", "VERSION:8", 1), "#EXTINF:2.000, no desc\ns-8", "#EXT-X-GAP\n#EXTINF:2.000, no desc\ns-8", 1)
		with = strings.Replace(with, "#EXTINF:2.000, no desc\ns-9", "#EXT-X-GAP\n#EXTINF:2.000, no desc\ns-9", 1)
		if got := get("s.video1"); strings.ReplaceAll(got, "s.video1-", "s-") != with {
			t.Errorf("the second picture has\n%s\nwant\n%s", got, with)
		}
		if got := get("s.all"); strings.Count(got, "STREAM-INF") != 2 || strings.Count(got, "TYPE=AUDIO") != 1 {
			t.Errorf("listed are\n%s", got)
		}
		leave()
		// Another publisher, with one of each: nobody is left waiting.
		h.publishAll("s", 300, tracks(), func(i, k int) bool { return k == 0 || k == 2 })
		if got := get("s.video0"); !strings.Contains(got, "s.video0-") || strings.Contains(got, "GAP") {
			t.Errorf("who watches the first picture by itself has\n%s", got)
		}
		for _, gone := range []string{"s.video1", "s.all"} {
			if w := h.get("http://x/live/" + gone + ".m3u8"); w.Code != 404 {
				t.Errorf("%s is there: %d\n%s", gone, w.Code, w.Body)
			}
		}
	})
}

// With hls_tracks first nothing is made of the others; and what all are called follows the
// configured names.
func TestTracksConfigured(t *testing.T) {
	bubble(t, "hls_tracks first;", func(h *house, dir string) {
		h.publishAll("s", 200, tracks(), always)
		if got := h.get("http://x/live/s.m3u8").Body.String(); strings.Contains(got, "video0") || strings.Contains(got, "AUDIO") {
			t.Errorf("listed are\n%s", got)
		}
		if files, _ := filepath.Glob(filepath.Join(dir, "live", "s.*")); fmt.Sprint(files) != "["+filepath.Join(dir, "live", "s.m3u8")+"]" {
			t.Errorf("on disk: %v", files)
		}
	})
	bubble(t, "hls_ts_file [app]/all-[seq].ts; hls_keys on; hls_fragments_per_key 2; hls_cacheable on; hls_entry_prefix http://cdn/;", func(h *house, _ string) {
		h.publishAll("s", 300, tracks(), always)
		text := h.get("http://x/live/s.audio1.m3u8").Body.String()
		if !strings.Contains(text, "\nhttp://cdn/all-4.audio1.ts\n") || !strings.Contains(text, `URI="s-4.key"`) {
			t.Errorf("a track has\n%s", text)
		}
		w, first := h.get("http://x/live/all-4.audio1.ts"), h.get("http://x/live/all-4.ts")
		if w.Code != 200 || w.Body.Len()%16 != 0 || bytes.Equal(w.Body.Bytes(), first.Body.Bytes()) {
			t.Errorf("%d, %d bytes", w.Code, w.Body.Len())
		}
		master := h.get("http://x/live/s.all.m3u8")
		if master.Code != 200 || strings.Contains(master.Body.String(), "hls_ctx") || !strings.Contains(master.Header().Get("Cache-Control"), "max-age") {
			t.Errorf("%d %v\n%s", master.Code, master.Header(), master.Body)
		}
	})
}

// The first picture of each segment is listed by its bytes, for each picture and in either
// form; a player needs no more of the file.
func TestIFrames(t *testing.T) {
	for form, conf := range map[string]string{"ts": "", "m4s": "hls_use_fmp4 on;"} {
		bubble(t, conf+"hls_iframes on;", func(h *house, dir string) {
			h.publishAll("s", 300, tracks(), always)
			h.publishAll("one", 300, tracks()[:1], always)
			master := h.get("http://x/live/s.m3u8").Body.String()
			ctx := ctxRE.FindStringSubmatch(master)[1]
			for _, uri := range []string{"/live/s.video0.iframes.m3u8", "/live/s.video1.iframes.m3u8"} {
				if !regexp.MustCompile(`#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=\d+,AVERAGE-BANDWIDTH=\d+,CODECS="avc1.42c00a",URI="` + uri + `\?hls_ctx=` + ctx + `"`).MatchString(master) {
					t.Errorf("%s is not in\n%s", uri, master)
				}
			}
			if single := h.get("http://x/live/one.m3u8").Body.String(); !strings.Contains(single, `URI="/live/one.iframes.m3u8?hls_ctx=`) || strings.Contains(single, "AUDIO") {
				t.Errorf("a stream of one picture has\n%s", single)
			}
			for _, name := range []string{"s", "s.video0", "s.video1", "one"} {
				text := h.get("http://x/live/" + name + ".iframes.m3u8?hls_ctx=" + ctx).Body.String()
				entries := regexp.MustCompile(`#EXTINF:2.000, no desc\n#EXT-X-BYTERANGE:(\d+)@0\n(.*)\?hls_ctx=`+ctx+`\n`).FindAllStringSubmatch(text, -1)
				if len(entries) < 3 || !strings.Contains(text, "#EXT-X-I-FRAMES-ONLY\n") || strings.Contains(text, "GAP") {
					t.Fatalf("%s: %s", name, text)
				}
				for _, e := range entries {
					n, _ := strconv.Atoi(e[1])
					whole := h.get("http://x/live/" + e[2]).Body.Bytes()
					part := h.get("http://x/live/"+e[2], "Range", fmt.Sprintf("bytes=0-%d", n-1))
					if part.Code != 206 || n >= len(whole) || !bytes.Equal(part.Body.Bytes(), whole[:n]) || form == "ts" && n%188 != 0 {
						t.Errorf("%s: %d, %d bytes of %d", e[2], part.Code, n, len(whole))
					}
					if !strings.HasSuffix(e[2], form) || !bytes.Contains(part.Body.Bytes(), []byte{0x65, 0x88}) {
						t.Errorf("%s has no picture in its first %d bytes", e[2], n)
					}
				}
				if onDisk, err := os.ReadFile(filepath.Join(dir, "live", name+".iframes.m3u8")); err != nil || string(onDisk) != strings.ReplaceAll(text, "?hls_ctx="+ctx, "") {
					t.Errorf("on disk: %v\n%s", err, onDisk)
				}
			}
		})
	}
	bubble(t, "hls_iframes on; hls_keys on;", func(h *house, _ string) {
		h.publish("s", 300)
		if master := h.get("http://x/live/s.m3u8").Body.String(); strings.Contains(master, "I-FRAME") {
			t.Errorf("what is encrypted is listed by bytes:\n%s", master)
		}
		if w := h.get("http://x/live/s.iframes.m3u8"); w.Code != 404 {
			t.Errorf("%d", w.Code)
		}
	})
}
