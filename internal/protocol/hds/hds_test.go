package hds

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/hds"
	"weir/internal/protocol/protocoltest"
)

func conf(more string) string {
	return "hds { enabled on; hds_fragment 2; hds_window 6; hds_path DIR; " + more + " }"
}

// list reads the bootstrap.
func list(t *testing.T, h *protocoltest.Sink) *hds.Bootstrap {
	t.Helper()
	w := h.Get("/live/s.abst")
	b, err := hds.Parse(w.Body.Bytes())
	if w.Code != 200 || err != nil {
		t.Fatalf("bootstrap: %d, %v", w.Code, err)
	}
	return b
}

func TestFragments(t *testing.T) {
	protocoltest.InSink(t, Protocol, t.TempDir(), conf(""), func(t *testing.T, h *protocoltest.Sink) {
		if w := h.Get("/live/s.f4m"); w.Code != 404 {
			t.Errorf("before there is anything: %d", w.Code)
		}
		b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10), Audio: protocoltest.SoundTrack()}
		h.Publish(b, 10.5)
		w := h.Get("/live/s.f4m")
		first, err := os.ReadFile(filepath.Join(h.Dir, "live/sSeg1-Frag1"))
		if err != nil {
			t.Fatal(err)
		}
		if want := string(hds.AppendManifest(nil, "s", "s", len(first)*8/2000)); w.Code != 200 || w.Body.String() != want || w.Header().Get("Content-Type") != hds.TypeManifest {
			t.Errorf("manifest: %d %v\n%s", w.Code, w.Header(), w.Body)
		}
		boot := list(t, h)
		if boot.Version != 4 || len(boot.Fragments) != 3 || boot.Fragments[0] != (hds.Fragment{Number: 3, Time: 4000, Duration: 2000}) {
			t.Errorf("bootstrap: %+v", boot)
		}
		if got, want := h.Files(), "live/s.abst live/s.f4m live/sSeg1-Frag1 live/sSeg1-Frag2 live/sSeg1-Frag3 live/sSeg1-Frag4 live/sSeg1-Frag5"; got != want {
			t.Errorf("files %s, want %s", got, want)
		}
		for _, name := range []string{"live/sSeg1-Frag4", "live/s.abst", "live/s.f4m"} {
			disk, err := os.ReadFile(filepath.Join(h.Dir, name))
			if err != nil || !bytes.Equal(disk, h.Get("/"+name).Body.Bytes()) {
				t.Errorf("%s on disk is something else: %v", name, err)
			}
		}
		headers, pictures, sounds := tags(t, h.Get("/live/sSeg1-Frag4").Body.Bytes(), 6000)
		if headers != 2 || pictures != 50 || sounds < 85 {
			t.Errorf("a fragment of %d headers, %d pictures, %d of sound", headers, pictures, sounds)
		}
		if w := h.Get("/live/sSeg1-Frag6"); w.Code != 404 {
			t.Errorf("what is to come: %d", w.Code)
		}
		h.Leave(b)
		b.Video = protocoltest.PictureTrack(11)
		h.Publish(b, 4.5) // numbers and time go on
		boot = list(t, h)
		last := boot.Fragments[len(boot.Fragments)-1]
		if last.Number != 8 || last.Time < 12000 || last.Time > 13000 {
			t.Errorf("after another publication: %+v", boot)
		}
		if n, _ := h.Env.Desk.Len(); n != 2 {
			t.Errorf("%d sessions, want publisher and one viewer", n)
		}
		h.Leave(b)
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		if n, _ := h.Env.Desk.Len(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
		if w := h.Get("/live/sSeg1-Frag7"); w.Code != 404 {
			t.Errorf("long after: %d", w.Code)
		}
	})
}

// tags counts what is in a fragment, which begins at so many milliseconds with what
// a decoder must know and a key frame.
func tags(t *testing.T, b []byte, at uint32) (headers, pictures, sounds int) {
	t.Helper()
	if len(b) < 8 || string(b[4:8]) != "mdat" {
		t.Fatalf("a fragment begins with %q", b[:min(8, len(b))])
	}
	r := flv.NewReader(io.MultiReader(bytes.NewReader(flv.AppendFileHeader(nil, true, true)), bytes.NewReader(b[8:])))
	if _, _, err := r.ReadHeader(); err != nil {
		t.Fatal(err)
	}
	for {
		tag, err := r.ReadTag()
		if errors.Is(err, io.EOF) {
			return headers, pictures, sounds
		}
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case tag.Type == flv.TypeScript:
		case tag.Body[1] == 0:
			headers++
		case tag.Type == flv.TypeVideo:
			if pictures == 0 && (tag.Body[0]>>4 != 1 || tag.Timestamp != at) {
				t.Errorf("the first picture is %x at %d", tag.Body[0], tag.Timestamp)
			}
			pictures++
		default:
			sounds++
		}
	}
}

// Players that stay over a restart of the server go on.
func TestRestartGoesOn(t *testing.T) {
	dir := t.TempDir()
	for _, first := range []uint32{1, 4} {
		protocoltest.InSink(t, Protocol, dir, conf(""), func(t *testing.T, h *protocoltest.Sink) {
			b := &protocoltest.Broadcast{Video: protocoltest.PictureTrack(10)}
			h.Publish(b, 5)
			h.Leave(b)
			if boot := list(t, h); boot.Fragments[0].Number != first {
				t.Errorf("begins at fragment %d, want %d", boot.Fragments[0].Number, first)
			}
		})
	}
}

func TestRefusedAndNoFiles(t *testing.T) {
	protocoltest.InSink(t, Protocol, t.TempDir(), conf("hds_files off;"), func(t *testing.T, h *protocoltest.Sink) {
		b := &protocoltest.Broadcast{Audio: protocoltest.SoundTrack()}
		h.Publish(b, 7)
		if boot := list(t, h); len(boot.Fragments) != 2 || boot.Fragments[1].Duration != 2020 {
			t.Errorf("sound alone: %+v", boot)
		}
		h.Env.Desk.Authorize(protocoltest.Deny{})
		for _, name := range []string{"/live/s.f4m", "/live/s.abst"} {
			if w := h.Get(name, "X-Real-IP", "10.0.0.8"); w.Code != 403 {
				t.Errorf("%s: %d", name, w.Code)
			}
		}
		if got := h.Files(); got != "" {
			t.Errorf("files %s", got)
		}
		h.Leave(b)
	})
}

// A publisher's name may be anything: what its manifest names is found.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b", "ü中", "a%20b", "a?b", "a#b", "a.b.c", "x:y", `a"b<c>&'`} {
		protocoltest.InSink(t, Protocol, t.TempDir(), conf(""), func(t *testing.T, h *protocoltest.Sink) {
			b := &protocoltest.Broadcast{Stream: name, Video: protocoltest.PictureTrack(10)}
			h.Publish(b, 5)
			var m struct {
				Bootstrap struct {
					URL string `xml:"url,attr"`
				} `xml:"bootstrapInfo"`
				Media struct {
					URL string `xml:"url,attr"`
				} `xml:"media"`
			}
			w := h.Get("/live/" + url.PathEscape(name) + ".f4m")
			if err := xml.Unmarshal(w.Body.Bytes(), &m); w.Code != 200 || err != nil {
				t.Fatalf("%q: %d, %v", name, w.Code, err)
			}
			for _, uri := range []string{m.Bootstrap.URL, m.Media.URL + "Seg1-Frag2"} {
				if w := h.Get("/live/" + uri); w.Code != 200 {
					t.Errorf("%q: %s: %d", name, uri, w.Code)
				}
			}
			h.Leave(b)
		})
	}
}
