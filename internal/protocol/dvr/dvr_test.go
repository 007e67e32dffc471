package dvr

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/service"
	"weir/internal/session"
)

var live = protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}

// house is a server that records into a folder.
type house struct {
	*protocoltest.House
	t   *testing.T
	dir string

	service *server

	mu   sync.Mutex
	told []session.Event
}

// Observe implements session.Observer.
func (h *house) Observe(e session.Event) {
	if e.What == session.Recorded {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.told = append(h.told, e)
	}
}

// files returns the files that on_dvr was told of.
func (h *house) files() (all []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.told {
		all = append(all, e.Recording.File)
	}
	return all
}

// start starts a house with a name below its folder, and more directives of dvr.
func start(t *testing.T, name, more string) *house {
	t.Helper()
	return startIn(t, t.TempDir(), name, more)
}

func startIn(t *testing.T, dir, name, more string) *house {
	t.Helper()
	h := &house{t: t, dir: dir}
	heard := Protocol
	heard.New = func(env service.Env) (service.Service, error) {
		env.Desk.Observe(h)
		s, err := Protocol.New(env)
		if err == nil {
			h.service = s.(*server)
			h.service.uploads.first = 10 * time.Millisecond
		}
		return s, err
	}
	h.House = protocoltest.Open(t, protocoltest.Options{Protocol: heard, Vhost: "dvr { enabled on; dvr_path " + h.dir + "/" + name + "; " + more + " }", Root: "http_server { enabled on; dir " + h.dir + "; }"})
	return h
}

func (h *house) publish(n protocoltest.Name) protocoltest.Publisher {
	h.t.Helper()
	p, err := protocoltest.Publish(h.t.Context(), h.House, n)
	if err != nil {
		h.t.Fatal(err)
	}
	pub := h.Env.Hub.Stream(n.Key()).Publication()
	pub.Announce(protocoltest.Picture)
	pub.Announce(protocoltest.Sound)
	h.t.Cleanup(func() { p.Close() })
	return p
}

// movie returns a picture with a key frame each second, and its sound.
func movie(from, to int) (frames []*media.Frame) {
	for i := from; i < to; i++ {
		frames = append(frames, protocoltest.Video(protocoltest.Picture, i, 25, 500), protocoltest.Audio(2*i), protocoltest.Audio(2*i+1))
	}
	return frames
}

func write(p protocoltest.Publisher, frames []*media.Frame) {
	for _, f := range frames {
		p.Write(f)
	}
}

// record publishes frames and returns the files.
func (h *house) record(frames []*media.Frame, files int) []string {
	h.t.Helper()
	p := h.publish(live)
	write(p, frames)
	p.Close()
	h.Wait(fmt.Sprintf("%d files are finished", files), func() bool { return len(h.files()) >= files })
	return h.files()
}

// frame is one frame of a file.
type frame struct {
	mark string
	at   time.Duration
}

// readFLV returns the frames of a file and checks what it says of itself.
func readFLV(t *testing.T, file string) (all []frame) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	sheet, n, err := flv.ReadSheet(bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	surveyed, end, err := flv.Survey(bytes.NewReader(b), int64(len(b)))
	if err != nil || end != int64(len(b)) || sheet.Size != end {
		t.Errorf("%s: %d bytes of %d are whole, it says %d, %v", file, end, len(b), sheet.Size, err)
	}
	if d := sheet.Duration - surveyed.Duration; d < -50*time.Millisecond || d > 50*time.Millisecond {
		t.Errorf("%s: says %v, lasts %v", file, sheet.Duration, surveyed.Duration)
	}
	if want := flv.AppendSheet(nil, surveyed); len(want) != int(n) || !bytes.Equal(tail(want), tail(b[:n])) {
		t.Errorf("%s: its list of key frames is not what the file holds", file)
	}
	r := flv.NewReader(bytes.NewReader(b))
	r.ReadHeader()
	var in flv.Ingest
	for {
		tag, err := r.ReadTag()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kind := map[uint8]media.Kind{flv.TypeVideo: media.Video, flv.TypeAudio: media.Audio}[tag.Type]
		if kind == 0 {
			continue
		}
		frames, err := in.Frames(nil, kind, time.Duration(tag.Timestamp)*time.Millisecond, slices.Clone(tag.Body))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range frames {
			mark, err := protocoltest.Mark(f)
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			all = append(all, frame{mark, f.Source})
		}
	}
}

// tail is the part of a sheet with the list.
func tail(b []byte) []byte { return b[bytes.Index(b, []byte("keyframes")):] }

// same checks that files hold frames, one file after the other, each from 0 on.
func same(t *testing.T, files []string, want []*media.Frame) {
	t.Helper()
	for _, file := range files {
		got := readFLV(t, file)
		if len(got) == 0 || len(got) > len(want) {
			t.Fatalf("%s: %d frames, %d are left", file, len(got), len(want))
		}
		base := want[0].Source
		for i, g := range got {
			mark, _ := protocoltest.Mark(want[i])
			if g.mark != mark || g.at != want[i].Source-base {
				t.Fatalf("%s: frame %d is %q at %v, want %q at %v", file, i, g.mark, g.at, mark, want[i].Source-base)
			}
		}
		want = want[len(got):]
	}
	if len(want) > 0 {
		t.Errorf("%d frames are in no file", len(want))
	}
}

func TestSession(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].flv", "")
	frames := movie(0, 100)
	files := h.record(frames, 1)
	same(t, files, frames)
	if !strings.HasPrefix(files[0], h.dir+"/live/s.1") || !strings.HasSuffix(files[0], ".flv") {
		t.Errorf("file %s", files[0])
	}
	e := h.told[0]
	if e.Session.ID == "" || e.Ask.Key != live.Key() || e.StreamID == "" {
		t.Errorf("told %+v", e)
	}
	if left, _ := filepath.Glob(h.dir + "/*/*" + ending); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

func TestSegments(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].[duration].flv", "dvr_plan segment; dvr_duration 2;")
	frames := movie(0, 130)
	files := h.record(frames, 3)
	same(t, files, frames)
	if !strings.Contains(files[0], ".200") {
		t.Errorf("a file of two seconds is %s", files[0])
	}
	for _, f := range files {
		if first := readFLV(t, f)[0].mark; !strings.HasSuffix(first, "key") {
			t.Errorf("%s begins with %s", f, first)
		}
	}
}

func TestSegmentsWithoutKeyFrames(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].flv", "dvr_plan segment; dvr_duration 1.5; dvr_wait_keyframe off;")
	frames := movie(0, 80)
	files := h.record(frames, 3)
	same(t, files, frames)
}

func TestSoundAlone(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].flv", "dvr_plan segment; dvr_duration 1;")
	p, err := protocoltest.Publish(t.Context(), h.House, live)
	if err != nil {
		t.Fatal(err)
	}
	var frames []*media.Frame
	for i := range 120 {
		frames = append(frames, protocoltest.Audio(i))
	}
	write(p, frames)
	p.Close()
	h.Wait("three files", func() bool { return len(h.files()) == 3 })
	same(t, h.files(), frames)
}

// Another codec begins another file, so that each can be played; nothing that a
// player could show is lost.
func TestCodecChange(t *testing.T) {
	for _, ext := range []string{"flv", "mp4"} {
		t.Run(ext, func(t *testing.T) {
			h := start(t, "[app]/[stream].[timestamp]."+ext, "")
			frames := movie(0, 50)
			for i := 50; i < 100; i++ {
				frames = append(frames, protocoltest.Video(protocoltest.OtherPicture, i, 25, 500), protocoltest.Audio(2*i), protocoltest.Audio(2*i+1))
			}
			files := h.record(frames, 2)
			if len(files) != 2 {
				t.Fatalf("files %v", files)
			}
			if ext == "flv" {
				same(t, files, frames)
				return
			}
			for _, f := range files {
				if d := duration(t, f); d.Round(10*time.Millisecond) != 2*time.Second {
					t.Errorf("%s lasts %v", f, d)
				}
			}
		})
	}
}

func duration(t *testing.T, file string) time.Duration {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d, err := mp4.Duration(f)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return d
}

// A file that is there is never written over, and each publication has its own.
func TestFixedName(t *testing.T) {
	h := start(t, "fixed.flv", "")
	for i := range 3 {
		p := h.publish(live)
		write(p, movie(0, 30))
		p.Close()
		h.Wait("it is finished", func() bool { return len(h.files()) == i+1 })
	}
	want := []string{h.dir + "/fixed.flv", h.dir + "/fixed-2.flv", h.dir + "/fixed-3.flv"}
	if got := h.files(); !slices.Equal(got, want) {
		t.Errorf("files %v", got)
	}
	for _, f := range want {
		same(t, []string{f}, movie(0, 30))
	}
}

func TestFileNames(t *testing.T) {
	at := time.Date(2026, 11, 22, 9, 17, 47, 820e6, time.UTC)
	key := hub.Key{Vhost: "v", App: "live/deep", Stream: "s"}
	for template, want := range map[string]string{
		"./objs/nginx/html/[app]/[stream].[timestamp].flv":                                         "./objs/nginx/html|live/deep/s.1795339067820.flv",
		"./objs/nginx/html/[vhost]_[stream]_[2006]_[01]_[02]_[15]_[04]_[05]_[999]_[timestamp].flv": "./objs/nginx/html|v_s_2026_11_22_09_17_47_820_1795339067820.flv",
		"./objs/nginx/html/dvr":  "./objs/nginx/html/dvr|s.1795339067820.flv",
		"./objs/nginx/html/dvr/": "./objs/nginx/html/dvr|s.1795339067820.flv",
		"./objs/[stream].ts":     "./objs|s.ts/s.1795339067820.flv",
		"./objs/fixed.mp4":       "./objs|fixed.mp4",
		"/[stream].mp4":          "/|s.mp4",
		"fixed.flv":              ".|fixed.flv",
		"./objs/[app]/[nosuch]/[stream].[duration].flv": "./objs|live/deep/[nosuch]/s.[duration].flv",
		"./objs/d-[app]/[stream].flv":                   "./objs|d-live/deep/s.flv",
	} {
		dir, name := folder(template)
		if got := dir + "|" + expand(name, key, at); got != want {
			t.Errorf("%s: %s, want %s", template, got, want)
		}
	}
	for _, evil := range []string{"../../x", "..", "a/../../../x", strings.Repeat("x", 10000), "/etc/x", "x\x00y"} {
		got := expand("[stream].flv", hub.Key{Stream: evil}, at)
		if strings.HasPrefix(got, "../") || strings.HasPrefix(got, "/") || strings.Contains(got, "/../") {
			t.Errorf("%q became %q", evil, got)
		}
		for part := range strings.SplitSeq(got, "/") {
			if len(part) > 255-len(ending)-10 {
				t.Errorf("%.20q became a name of %d bytes", evil, len(part))
			}
		}
	}
}

// Whatever a stream is called, its file is below the folder, or there is none.
func TestStreamsOfOddNames(t *testing.T) {
	h := start(t, "in/[app]/[stream].flv", "")
	n := 0
	for _, name := range []string{"a b", "é", "-rf", "$(id)", "a;b", "a|b", "x.flv", strings.Repeat("n", 255), "..", "a/../b", "x\x00y", strings.Repeat("n", 10000)} {
		odd := live
		odd.Stream = name
		p, err := protocoltest.Publish(t.Context(), h.House, odd)
		if err != nil {
			continue // the desk refuses what could not be a file
		}
		write(p, movie(0, 30))
		p.Close()
		n++
	}
	h.Wait("all are finished", func() bool { return len(h.files()) == n })
	if n != 8 {
		t.Errorf("%d streams were recorded, want 8", n)
	}
	for _, f := range h.files() {
		if !strings.HasPrefix(f, h.dir+"/in/live/") {
			t.Errorf("file %s", f)
		}
		same(t, []string{f}, movie(0, 30))
	}
}

func TestApply(t *testing.T) {
	for apply, want := range map[string][2]bool{ // of live/cam1, and of other/x
		"all": {true, true}, "live/cam1": {true, false}, "live/cam*": {true, false}, "live/cam2": {false, false}, "*/*": {true, true}, "*": {false, false}, "other/x live/cam?": {true, true}, "live/[": {false, false},
	} {
		c := blocks.DVRConfig{Enabled: true, Apply: strings.Fields(apply)}
		if got := [2]bool{c.Applies("live", "cam1"), c.Applies("other", "x")}; got != want {
			t.Errorf("%s: %v", apply, got)
		}
	}
	h := start(t, "[app]/[stream].flv", "dvr_apply live/other;")
	p := h.publish(live)
	write(p, movie(0, 30))
	p.Close()
	other := live
	other.Stream = "other"
	p = h.publish(other)
	write(p, movie(0, 30))
	p.Close()
	h.Wait("the other is finished", func() bool { return len(h.files()) == 1 })
	if got := h.files(); got[0] != h.dir+"/live/other.flv" {
		t.Errorf("files %v", got)
	}
}

// answer asks the API.
func (h *house) answer(method, path string) (list []*recording, code int) {
	h.t.Helper()
	name, query, _ := strings.Cut(path, "?")
	f, ok := h.Env.Endpoints.Find(method, "dvrs/"+name)
	if !ok || f.Method != method {
		h.t.Fatalf("%s %s: nobody answers", method, path)
	}
	body, no := f.Answer(httptest.NewRequest(method, "/api/v1/dvrs/"+name+"?"+query, nil))
	if no != nil {
		return nil, no.Code
	}
	p, _ := body.(page)
	return p.DVRs, 0
}

// Recordings are started, split, stopped and listed by the API.
func TestAPI(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].flv", "dvr_apply none/none;")
	if _, code := h.answer("POST", "start?app=live&stream=s"); code != codeNoStream {
		t.Errorf("start of nothing: %d", code)
	}
	p := h.publish(live)
	write(p, movie(0, 25))
	if _, code := h.answer("POST", "stop?app=live&stream=s"); code != codeNoStream {
		t.Errorf("stop of nothing: %d", code)
	}
	for range 2 {
		if _, code := h.answer("POST", "start?app=live&stream=s"); code != 0 {
			t.Errorf("start: %d", code)
		}
	}
	write(p, movie(25, 60))
	active := func() bool { l, _ := h.answer("GET", ""); return len(l) > 0 && l[0].Active }
	h.Wait("it is listed", active)
	h.answer("POST", "split?app=live&stream=s")
	write(p, movie(60, 110))
	h.Wait("the first file is finished", func() bool { return len(h.files()) == 1 })
	h.Wait("the second is listed", active)
	h.answer("POST", "stop?app=live&stream=s")
	h.Wait("both are finished", func() bool { return len(h.files()) == 2 })
	// From the group that was live when it started, on.
	same(t, h.files(), movie(0, 110))
	list, _ := h.answer("GET", "?count=100")
	if len(list) != 2 || list[0].Active || list[0].Bytes == 0 || list[0].Duration < 1 || list[0].Client == "" || list[0].URL != "/live/"+filepath.Base(list[0].File) {
		t.Errorf("list %+v", list)
	}
	if list, _ := h.answer("GET", "?stream=other"); len(list) != 0 {
		t.Errorf("list of another %+v", list)
	}
	if list, _ := h.answer("GET", "?start=1&count=1"); len(list) != 1 {
		t.Errorf("a page %+v", list)
	}
}

// What an earlier run has left, at whatever moment it was killed, is finished, told
// of and listed by the next, with what the client was.
func TestLeftOver(t *testing.T) {
	for _, ext := range []string{".flv", ".mp4"} {
		t.Run(ext, func(t *testing.T) {
			h := start(t, "[app]/[stream].[timestamp]"+ext, "")
			p := h.publish(live)
			write(p, movie(0, 120))
			var whole []byte
			h.Wait("four seconds are written", func() bool {
				for _, f := range glob(h.dir + "/live/*" + ending) {
					whole, _ = os.ReadFile(f)
				}
				return len(whole) > 60000
			})
			p.Close()
			h.Wait("it is finished", func() bool { return len(h.files()) == 1 })
			finished, err := os.ReadFile(h.files()[0])
			if err != nil {
				t.Fatal(err)
			}
			r := rand.New(rand.NewPCG(3, 4))
			dir := t.TempDir()
			os.Mkdir(dir+"/live", 0o755)
			old := time.Now().Add(-time.Minute)
			put := func(name string, b []byte) {
				os.WriteFile(dir+"/live/"+name, b, 0o644)
				os.Chtimes(dir+"/live/"+name, old, old)
			}
			const n = 31
			put("whole"+ext+ending, finished) // it was killed before it had its name
			for i := range n - 1 {
				put(fmt.Sprint(i, ext, ending), whole[:len(whole)-r.IntN(len(whole)/2)])
			}
			put("init"+ext+ending, []byte("somebody else's, which is left alone"))
			next := startIn(t, dir, "[app]/[stream].[timestamp]"+ext, "")
			next.Wait("all are finished", func() bool { return len(next.files()) == n })
			listed := func(h *house) (l []*recording) {
				h.Wait("all are listed", func() bool { l, _ = h.answer("GET", "?count=100"); return len(l) == n })
				return l
			}
			listed(next)
			if left := glob(dir + "/live/*" + ending); len(left) != 1 || filepath.Base(left[0]) != "init"+ext+ending {
				t.Errorf("left %v", left)
			}
			for _, f := range next.files() {
				if ext == ".mp4" {
					duration(t, f)
					continue
				}
				got := readFLV(t, f)
				for i, want := range movie(0, 120)[:len(got)] {
					if mark, _ := protocoltest.Mark(want); got[i].mark != mark || got[i].at != want.Source {
						t.Fatalf("%s: frame %d is %+v", f, i, got[i])
					}
				}
			}
			if e := next.told[0]; e.Session.ID == "" || e.Ask.Key != live.Key() {
				t.Errorf("told %+v", e)
			}
			// The start after that has nothing to do but list them.
			if l := listed(startIn(t, dir, "[app]/[stream].[timestamp]"+ext, "")); l[0].Duration <= 0 || l[0].App != "live" || l[0].Client == "" {
				t.Errorf("listed %+v", l[0])
			}
		})
	}
}

func glob(pattern string) []string { l, _ := filepath.Glob(pattern); return l }

// Old recordings are deleted, and the oldest where there is too much; nothing that
// is not a recording.
func TestRetention(t *testing.T) {
	h := start(t, "[app]/[stream].[timestamp].flv", "dvr_plan segment; dvr_duration 1; dvr_keep_age 3600; dvr_keep_size 1;")
	files := h.record(movie(0, 250), 10)
	os.WriteFile(h.dir+"/live/holiday.flv", make([]byte, 2<<20), 0o644)
	s := newServer(h.Env)
	for i, f := range files {
		r, err := s.enter(note{Vhost: live.Vhost, Began: time.Now().Add(time.Duration(i) * time.Second)}, h.dir, strings.TrimPrefix(f, h.dir+"/"), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		r.Bytes = 200 << 10 // as if they were bigger
	}
	s.clear(time.Now())
	left := glob(h.dir + "/live/s.*")
	if len(left) != 5 || left[0] != files[5] {
		t.Errorf("with a bound of a megabyte these are left: %v of %v", left, files)
	}
	s.clear(time.Now().Add(2 * time.Hour))
	if left := glob(h.dir + "/live/*"); len(left) != 1 {
		t.Errorf("after two hours these are left: %v", left)
	}
}

// A folder that cannot be written costs the recording only, and it is said; when it
// can, recording goes on.
func TestFolderThatCannotBeWritten(t *testing.T) {
	h := start(t, "[app]/[stream].flv", "")
	blocker := h.dir + "/live"
	os.WriteFile(blocker, nil, 0o644) // where the folder belongs
	p := h.publish(live)
	v, err := protocoltest.Play(t.Context(), h.House, live)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	write(p, movie(0, 60))
	if _, err := v.Read(); err != nil {
		t.Errorf("who watches: %v", err)
	}
	h.Wait("it is said", func() bool {
		return strings.Contains(h.Env.Notices.All()["dvr of __defaultVhost__/live/s"], "cannot be written")
	})
	if len(h.files()) != 0 {
		t.Errorf("files %v", h.files())
	}
}

// A configuration that turns recording on begins for those who are live, and one
// that turns it off ends the file.
func TestReload(t *testing.T) {
	h := start(t, "[app]/[stream].flv", "dvr_apply none/none;")
	p := h.publish(live)
	write(p, movie(0, 30))
	with := func(apply string) *config.Snapshot {
		text := "listen 1; vhost __defaultVhost__ { dvr { enabled on; dvr_path " + h.dir + "/[app]/[stream].flv; dvr_apply " + apply + "; } }"
		snap, err := config.Parse(config.Source{File: "next.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, []config.Spec{blocks.Root, blocks.VhostRoot, blocks.DVR, blocks.HTTPServer, blocks.Publish, blocks.Play})
		if err != nil {
			t.Fatal(err)
		}
		return snap
	}
	svr := newServer(h.Env)
	take := func(apply string) {
		old, next := h.Env.Conf.Load(), with(apply)
		turn, err := svr.Prepare(t.Context(), old, next)
		if err != nil {
			t.Fatal(err)
		}
		h.Env.Conf.Swap(next)
		turn.Commit()
	}
	take("all")
	write(p, movie(30, 80))
	h.Wait("a file is written", func() bool { return len(glob(h.dir+"/live/*"+ending)) == 1 })
	take("none/none")
	h.Wait("it is finished", func() bool { return len(h.files()) == 1 })
	got := readFLV(t, h.files()[0])
	if len(got) < 60 || got[0].mark != "video 25 key" {
		t.Errorf("%d frames, from %v", len(got), got[0])
	}
	svr.wg.Wait()
}

// slowFile is on a disk that does nothing until it is told to.
type slowFile struct {
	file
	gate chan struct{}
}

func (s *slowFile) WriteAt(b []byte, at int64) (int, error) {
	<-s.gate
	return s.file.WriteAt(b, at)
}

// A disk that blocks costs the recording, which says so, and neither the publisher
// nor who watches.
func TestSlowDisk(t *testing.T) {
	h := start(t, "[app]/[stream].flv", "dvr_apply none/none; } play { queue_length 2;")
	svr := newServer(h.Env)
	gate := make(chan struct{})
	svr.create = func(dir, name string) (*os.Root, file, string, error) {
		root, f, as, err := create(dir, name)
		return root, &slowFile{f, gate}, as, err
	}
	p := h.publish(live)
	svr.start(h.Env.Hub.Stream(live.Key()).Publication())
	v, err := protocoltest.Play(t.Context(), h.House, live)
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range 40 {
		for _, f := range movie(25*i, 25*i+25) {
			p.Write(f)
			got, err := v.Read()
			if err != nil {
				t.Fatal(err)
			}
			if a, _ := protocoltest.Mark(got); a == "" {
				t.Fatal("a viewer lacks frames")
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	close(gate)
	time.Sleep(2 * gather)
	write(p, movie(1000, 1050))
	p.Close()
	h.Wait("it is finished", func() bool { return len(h.files()) == 1 })
	got := readFLV(t, h.files()[0])
	gaps := 0
	for i := 1; i < len(got); i++ {
		if d := got[i].at - got[i-1].at; d > time.Second {
			gaps++
			if !strings.HasSuffix(got[i].mark, "key") {
				t.Errorf("behind a gap of %v is %s", d, got[i].mark)
			}
		}
	}
	if gaps == 0 || got[len(got)-1].mark != "audio 2099" {
		t.Errorf("%d gaps, the last frame is %v", gaps, got[len(got)-1])
	}
	svr.wg.Wait()
}

// A disk that blocks holds no stop up; what is not finished then is left for the
// next start.
func TestBlockedDiskAtTheEnd(t *testing.T) {
	h := start(t, "[app]/[stream].mp4", "dvr_apply none/none;")
	svr := newServer(h.Env)
	gate := make(chan struct{})
	svr.create = func(dir, name string) (*os.Root, file, string, error) {
		root, f, as, err := create(dir, name)
		return root, &slowFile{f, gate}, as, err
	}
	p := h.publish(live)
	svr.start(h.Env.Hub.Stream(live.Key()).Publication())
	write(p, movie(0, 60))
	p.Close()
	stopped := make(chan struct{})
	go func() {
		svr.await()
		close(stopped)
	}()
	h.Wait("the stop is over", func() bool {
		select {
		case <-stopped:
			return true
		default:
			return false
		}
	})
	if left := glob(h.dir + "/live/*" + ending); len(left) != 1 {
		t.Errorf("left %v", left)
	}
	close(gate)
	svr.wg.Wait()
}

// Whatever times a publisher has, those of the file grow in small steps, and nothing
// is lost; a picture without a key frame for long is in it too.
func TestOddTimes(t *testing.T) {
	for name, bend := range map[string]func(i int) time.Duration{
		"an hour on":   func(i int) time.Duration { return time.Duration(i/50) * time.Hour },
		"an hour back": func(i int) time.Duration { return -time.Duration(i/50) * time.Hour },
		"standing":     func(i int) time.Duration { return -time.Duration(i) * 40 * time.Millisecond },
	} {
		for _, ext := range []string{".flv", ".mp4"} {
			t.Run(name+ext, func(t *testing.T) {
				h := start(t, "[app]/[stream]"+ext, "")
				var frames []*media.Frame
				for i := range 150 {
					f := protocoltest.Video(protocoltest.Picture, i, 1000, 300) // one key frame
					f.Source += bend(i) + 100*time.Hour
					frames = append(frames, f)
				}
				file := h.record(frames, 1)[0]
				if ext == ".mp4" {
					if d := duration(t, file); d < 100*time.Millisecond || d > 15*time.Second {
						t.Errorf("lasts %v", d)
					}
					return
				}
				got := readFLV(t, file)
				if len(got) != len(frames) {
					t.Fatalf("%d frames of %d", len(got), len(frames))
				}
				for i := 1; i < len(got); i++ {
					if d := got[i].at - got[i-1].at; d < 0 || d > time.Second {
						t.Fatalf("frame %d is %v after the one before", i, d)
					}
				}
			})
		}
	}
}

// With time_jitter off the file has the publisher's own time, else the stream's,
// which begins at 0 and does not jump.
func TestTimeJitter(t *testing.T) {
	for mode, want := range map[string]time.Duration{"full": 0, "zero": 0, "off": time.Hour} {
		h := start(t, "[app]/[stream].flv", "time_jitter "+mode+";")
		frames := movie(0, 50)
		for _, f := range frames {
			f.Source += time.Hour
		}
		got := readFLV(t, h.record(frames, 1)[0])
		if got[0].at != want || got[len(got)-1].at-want != 49*40*time.Millisecond+20*time.Millisecond {
			t.Errorf("%s: from %v to %v", mode, got[0].at, got[len(got)-1].at)
		}
	}
}

// A file that is being begun while the server looks for what was left is nothing that was
// left, though it is empty, not yet marked, and stamped with the tick before.
func TestBegunIsNotLeft(t *testing.T) {
	h := start(t, "[app]/[stream].flv", "")
	for name, c := range map[string]struct {
		ago  time.Duration
		gone bool
	}{"begun.flv": {10 * time.Millisecond, false}, "left.flv": {time.Second, true}} {
		file := filepath.Join(h.dir, name+ending)
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		at := h.Env.Started.Add(-c.ago)
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
		newServer(h.Env).search(h.dir)
		if _, err := os.Stat(file); (err != nil) != c.gone {
			t.Errorf("%s: %v", name, err)
		}
	}
}
