package dvr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
)

// clip asks the house's HTTP server for a clip.
func (h *house) clip(query string, header ...string) *httptest.ResponseRecorder {
	h.t.Helper()
	r := httptest.NewRequest("GET", "/api/v1/recordings/live/s/clip?"+query, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.Env.Media.ServeHTTP(w, r)
	return w
}

// span is a query for a time after another.
func span(t time.Time, from, until time.Duration) string {
	return url.Values{"start": {t.Add(from).Format(time.RFC3339Nano)}, "end": {t.Add(until).Format(time.RFC3339Nano)}}.Encode()
}

// shown are the frames of an MP4.
func shown(t *testing.T, b []byte) (all []frame) {
	t.Helper()
	d, err := mp4.NewDemuxer(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	for {
		f, err := d.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		mark, err := protocoltest.Mark(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, frame{mark, f.Source})
	}
}

// sameFrames checks that a clip holds frames, from 0 on.
func sameFrames(t *testing.T, got []frame, want []*media.Frame) {
	t.Helper()
	for i, w := range want {
		mark, _ := protocoltest.Mark(w)
		at := w.Source - want[0].Source
		if i >= len(got) || got[i].mark != mark || (got[i].at-at).Abs() > 2*time.Millisecond {
			t.Fatalf("frame %d of %d is %+v, want %q at %v", i, len(got), got[i:min(i+1, len(got))], mark, at)
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%d frames, want %d", len(got), len(want))
	}
}

// A clip has the frames of the recordings, from the key frame before its beginning on,
// also over files that follow one another, and of one that is still written.
func TestClip(t *testing.T) {
	for _, ext := range []string{".flv", ".mp4"} {
		t.Run(ext, func(t *testing.T) {
			h := start(t, "[app]/[stream].[timestamp]"+ext, "dvr_clips on; dvr_plan segment; dvr_duration 2;")
			p := h.publish(live)
			all := movie(0, 185) // 7.4 s, three frames each 40 ms
			write(p, all)
			var began time.Time
			h.Wait("three files and one more", func() bool {
				list, _ := h.answer("GET", "")
				if len(list) != 4 {
					return false
				}
				began = list[len(list)-1].Began // of the first; the others began at once, here
				return list[0].Active
			})
			// Files that were written in no time overlap: each is asked alone.
			list, _ := h.answer("GET", "")
			for i, r := range list[1:] {
				n := 2 - i
				got := h.service.one(t, r, 1200*time.Millisecond, 1800*time.Millisecond)
				sameFrames(t, got, all[n*150+75:n*150+135])
			}
			got := h.service.one(t, list[0], 0, time.Hour)
			if len(got) == 0 || got[0].mark != "video 150 key" {
				t.Errorf("of what is written: %v", got)
			}
			w := h.clip(span(began, -time.Hour/4, time.Hour/4))
			if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "video/mp4" || w.Header().Get("Content-Length") != fmt.Sprint(w.Body.Len()) {
				t.Fatal(w.Code, w.Header(), w.Body.Len())
			}
			whole := w.Body.Bytes()
			sameFrames(t, shown(t, whole)[:450], all[:450])
			// A part of it.
			part := h.clip(span(began, -time.Hour/4, time.Hour/4), "Range", "bytes=1000-2999")
			if part.Code != http.StatusPartialContent || !bytes.Equal(part.Body.Bytes(), whole[1000:3000]) {
				t.Errorf("%d, %d bytes", part.Code, part.Body.Len())
			}
		})
	}
}

// one is a clip of one recording.
func (s *server) one(t *testing.T, r *recording, from, until time.Duration) []frame {
	t.Helper()
	f, size, err := r.open()
	if err != nil {
		t.Fatal(err)
	}
	c := &clip{ctx: t.Context(), files: []*os.File{f}}
	defer c.Close()
	e := &editor{c: c}
	if err := e.take(f, r.name, size, from, until); err != nil || e.cut == nil {
		t.Fatal(err, e.cut)
	}
	if c.head, err = e.cut.Head(); err != nil {
		t.Fatal(err)
	}
	c.pieces = e.cut.Pieces()
	c.ends = ends(c.head, c.pieces)
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return shown(t, b)
}

func TestClipRefusals(t *testing.T) {
	h := start(t, "[stream].[timestamp].flv", "dvr_clips on; dvr_clip_most 60;")
	p := h.publish(live)
	write(p, movie(0, 50))
	p.Close()
	h.Wait("it is finished", func() bool { return len(h.files()) == 1 })
	list, _ := h.answer("GET", "")
	began := list[0].Began
	for query, want := range map[string]int{
		"start=yesterday":              400,
		"":                             400,
		"start=0":                      400,
		"start=-10&end=-20":            400,
		"start=NaN":                    400,
		"start=1e300":                  400,
		"start=-61":                    413,
		"start=-59":                    200,
		"start=-50&vhost=nowhere.test": 200, // the default one's
		"start=100&end=110":            404,
		span(began, -10*time.Second, -time.Second): 404,
		span(began, 0, time.Second):                200,
	} {
		if w := h.clip(query); w.Code != want {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
	// Who may not play gets no clip.
	h.Diary.Deny(func(r *session.Request) error {
		if r.Act == session.Play {
			return errors.New("not you")
		}
		return nil
	})
	if w := h.clip("start=-50"); w.Code != http.StatusForbidden {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	h.Diary.Deny(nil)
	// What is gone is not found.
	for _, f := range glob(h.dir + "/*.flv") {
		os.Remove(f)
	}
	if w := h.clip(span(began, 0, time.Second)); w.Code != http.StatusNotFound {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// A stream that changes its codec in the time has no clip of it.
func TestClipOfChange(t *testing.T) {
	h := start(t, "[stream].[timestamp].mp4", "dvr_clips on;")
	p := h.publish(live)
	write(p, movie(0, 50))
	for i := 50; i < 100; i++ {
		p.Write(protocoltest.Video(protocoltest.OtherPicture, i, 25, 500))
	}
	p.Close()
	h.Wait("both are finished", func() bool { return len(h.files()) == 2 })
	if w := h.clip("start=-1800&end=" + fmt.Sprint(time.Now().Unix()+600)); w.Code != http.StatusConflict || !strings.Contains(w.Body.String(), "change") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Without the directive nobody is told that there are recordings.
func TestClipsAreOff(t *testing.T) {
	h := start(t, "[stream].flv", "")
	h.record(movie(0, 50), 1)
	if w := h.clip("start=-60"); w.Code != http.StatusNotFound || filepath.Ext(h.files()[0]) != ".flv" {
		t.Error(w.Code)
	}
}
