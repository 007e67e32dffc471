package script

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	pion "github.com/pion/webrtc/v4"

	"weir/internal/format/flv"
	"weir/internal/format/m3u8"
	link "weir/internal/link/rtmp"
	"weir/internal/protocol/protocoltest"
	wire "weir/internal/wire/rtmp"
)

var connects = flag.Int("connects", 1000, "how many connects an upgrade is tried with")

// place is a server that can be upgraded: a program of its own, in its own folder.
type place struct {
	*house
	t          *testing.T
	rtmp, http string
	conf       string
}

// openPlace starts one, with more in its default vhost and its environment.
func openPlace(t *testing.T, root, more string, env ...string) *place {
	t.Helper()
	p := &place{house: &house{dir: t.TempDir()}, t: t}
	p.clients = map[string]*process{}
	for _, at := range []*string{&p.rtmp, &p.http, &p.api} {
		var err error
		if *at, err = protocoltest.FreePort(); err != nil {
			t.Fatal(err)
		}
	}
	p.program(binary)
	root = strings.ReplaceAll(root, "RTMP/", p.rtmp+"/")
	p.conf = fmt.Sprintf("listen %s;\ndaemon off;\nsrs_log_tank file;\nsrs_log_file ./weir.log;\npid ./weir.pid;\nhttp_api { enabled on; listen %s; }\nhttp_server { enabled on; listen %s; dir ./html; }\n%s\nvhost __defaultVhost__ { http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }\n%s\n}\n",
		p.rtmp, p.api, p.http, root, more)
	p.write("weir.conf", p.conf)
	c := p.command(p.dir, env, filepath.Join(p.dir, "weir"), "-c", "weir.conf")
	out, err := os.Create(filepath.Join(p.dir, "out.txt"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	if p.server, err = start(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.clear() // which kills by the pid file too
		if t.Failed() {
			t.Logf("the log:\n%s\n%s", p.tail(filepath.Join(p.dir, "weir.log")), p.tail(filepath.Join(p.dir, "out.txt")))
		}
	})
	p.until("the server is ready", func() bool { return strings.Contains(p.log(), "ready in") })
	return p
}

// program puts a program in place, as a package manager does: by a rename.
func (p *place) program(from string) {
	p.t.Helper()
	next := filepath.Join(p.dir, "weir.new")
	if err := os.Link(from, next); err != nil {
		b, err := os.ReadFile(from)
		if err != nil {
			p.t.Fatal(err)
		}
		p.script(b)
		return
	}
	p.rename(next)
}

// script puts a program in place that consists of a text.
func (p *place) script(text []byte) {
	p.t.Helper()
	next := filepath.Join(p.dir, "weir.new")
	// While it is open for writing nothing is forked, which would keep it open.
	syscall.ForkLock.RLock()
	err := os.WriteFile(next, text, 0o755)
	syscall.ForkLock.RUnlock()
	if err != nil {
		p.t.Fatal(err)
	}
	p.rename(next)
}

func (p *place) rename(next string) {
	p.t.Helper()
	if err := os.Rename(next, filepath.Join(p.dir, "weir")); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) write(name, text string) {
	p.t.Helper()
	if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
		p.t.Fatal(err)
	}
}

func (p *place) log() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "weir.log"))
	return string(b)
}

func (p *place) until(what string, is func() bool) {
	p.t.Helper()
	if !poll(20*time.Second, is) {
		p.t.Fatalf("not within 20 s: %s", what)
	}
}

// pid returns what the pid file says.
func (p *place) pid() int {
	b, _ := os.ReadFile(filepath.Join(p.dir, "weir.pid"))
	n, _ := strconv.Atoi(strings.TrimSpace(string(b)))
	return n
}

// upgrade runs weir upgrade, and returns what it says.
func (p *place) upgrade() (said string, err error) {
	c := exec.Command(binary, "upgrade", "-c", filepath.Join(p.dir, "weir.conf"))
	c.Dir = p.dir
	out, err := c.CombinedOutput()
	return string(out), err
}

// upgraded is upgrade that must succeed; it returns the old process and the new one.
func (p *place) upgraded() (before, after int) {
	p.t.Helper()
	before = p.pid()
	said, err := p.upgrade()
	if err != nil {
		p.t.Fatalf("weir upgrade: %v: %s", err, said)
	}
	if after = p.pid(); after == before || !strings.Contains(said, fmt.Sprintf("pid %d;", after)) || !alive(after) {
		p.t.Fatalf("the pid file names %d, before %d; it said %s", after, before, said)
	}
	return before, after
}

// alone is a client whose requests each have a connection of their own.
var alone = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// get asks by a connection of its own.
func get(url string) (int, string, error) {
	res, err := asker.Get(url)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// Nobody who connects is refused while servers take over from one another, and the old
// ones end.
func TestUpgradeRefusesNobody(t *testing.T) {
	t.Parallel()
	p := openPlace(t, "grace_final_wait 1000;", "")
	const upgrades, askers = 3, 4
	least := int64(*connects)
	var asked, failed atomic.Int64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range askers {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				status, _, err := get("http://" + p.api + "/api/v1/versions")
				if asked.Add(1); (err != nil || status != http.StatusOK) && failed.Add(1) == 1 {
					t.Errorf("refused: status %d, %v", status, err)
				}
			}
		})
	}
	done := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer done()
	first := p.pid()
	for range upgrades {
		before, _ := p.upgraded()
		p.until("the old server has ended", func() bool { return !alive(before) })
	}
	p.until("enough were asked", func() bool { return asked.Load() >= least })
	done()
	t.Logf("%d of %d connects failed in %d upgrades", failed.Load(), asked.Load(), upgrades)
	if code, ok := p.server.wait(5 * time.Second); code != 0 || !ok || p.server.cmd.Process.Pid != first {
		t.Errorf("the first server ended with %d", code)
	}
	last := p.pid()
	syscall.Kill(last, syscall.SIGTERM)
	p.until("the last server ends", func() bool { return !alive(last) })
}

// A new program that does not start, in whatever way, leaves the old one untouched.
func TestUpgradeThatFails(t *testing.T) {
	t.Parallel()
	p := openPlace(t, "", "")
	first := p.pid()
	refused := func(want string) {
		t.Helper()
		said, err := p.upgrade()
		if err == nil || !strings.Contains(said, want) {
			t.Errorf("it said %q, %v; want %q", said, err, want)
		}
		if status, _, err := get("http://" + p.api + "/api/v1/versions"); status != http.StatusOK || err != nil || p.pid() != first {
			t.Errorf("afterwards: status %d, %v, pid %d", status, err, p.pid())
		}
	}
	p.script([]byte("#!/bin/sh\nexit 3\n"))
	refused("died at its start (exit status 3)")
	p.script([]byte("no program at all"))
	refused("cannot be started")
	p.script([]byte("#!/bin/sh\nexec 3>&-\nexec sleep 100\n"))
	refused("none that can take over")
	p.program(binary)
	p.write("weir.conf", p.conf+"nonsense on;\n")
	c, err := http.Post("http://"+p.api+"/api/v1/upgrade", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	var answer struct{ Error string }
	json.NewDecoder(c.Body).Decode(&answer)
	c.Body.Close()
	if c.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(answer.Error, "nonsense") {
		t.Errorf("a configuration that is none: %d %q", c.StatusCode, answer.Error)
	}
	// A port that another has is none for it.
	taken, err := protocoltest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", taken)
	if err != nil {
		t.Fatal(err)
	}
	p.write("weir.conf", strings.Replace(p.conf, "listen ", "listen "+taken+" ", 1))
	refused("in use by another program")
	l.Close()
	// Two at once: the second is told to wait.
	p.script([]byte("#!/bin/sh\nexec cat <&3\n"))
	p.write("weir.conf", p.conf)
	done := make(chan struct{})
	began := strings.Count(p.log(), "upgrade: starting")
	go func() {
		defer close(done)
		p.upgrade()
	}()
	p.until("the first begins", func() bool { return strings.Count(p.log(), "upgrade: starting") > began })
	refused("under way already")
	p.server.kill()
	<-done
}

// Clients of the old server stay with it, until the time is over.
func TestUpgradeDrains(t *testing.T) {
	t.Parallel()
	p := openPlace(t, "upgrade_drain 10; max_connections 1;", "")
	viewer, err := net.Dial("tcp", p.http)
	if err != nil {
		t.Fatal(err)
	}
	defer viewer.Close()
	io.WriteString(viewer, "GET /live/s.flv HTTP/1.1\r\nHost: h\r\n\r\n") // it waits for a publisher
	p.until("the viewer is there", func() bool {
		_, b, _ := get("http://" + p.api + "/api/v1/clients/")
		return strings.Contains(b, "flv-play")
	})
	// One who keeps his connection is answered by the old server once more, and told to
	// come anew.
	keep := &http.Client{Transport: &http.Transport{}}
	defer keep.CloseIdleConnections()
	answered := func() (by int, last bool) {
		t.Helper()
		res, err := keep.Get("http://" + p.api + "/api/v1/versions")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		var answer struct{ PID string }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, res.Body)
		by, _ = strconv.Atoi(answer.PID)
		return by, res.Close
	}
	if _, last := answered(); last {
		t.Error("connections are not kept")
	}
	before, after := p.upgraded()
	if by, last := answered(); by != before || !last {
		t.Errorf("a connection from before is answered by %d, and kept: %v", by, !last)
	}
	if by, last := answered(); by != after || last {
		t.Errorf("the next one is answered by %d, and kept: %v", by, !last)
	}
	p.until("the old server waits", func() bool { return strings.Contains(p.log(), "upgrade: waiting") })
	// The limit holds for both together.
	hasty := &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{DisableKeepAlives: true}}
	p.until("there is no room for another", func() bool {
		res, err := hasty.Get("http://" + p.http + "/live/s.flv") // who is let in waits for a publisher
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode >= 400
	})
	if !alive(before) {
		t.Error("it has not waited")
	}
	p.until("it has ended", func() bool { return !alive(before) })
	if log := p.log(); !strings.Contains(log, "those who are still there are ended, sessions=1") {
		t.Error("the log does not tell that a client was ended")
	}
	if io.Copy(io.Discard, viewer); !alive(after) {
		t.Error("the new server has ended")
	}
}

// publish starts ffmpeg as an encoder.
func (p *place) publish(name string) *process {
	p.t.Helper()
	return p.encode(name, "flv", "rtmp://"+p.rtmp+"/live/s")
}

func (p *place) encode(name, format, to string) *process {
	p.t.Helper()
	return p.ffmpeg(name, "-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-re", "-f", "lavfi", "-i", "sine", "-map", "0", "-map", "1",
		"-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-pix_fmt", "yuv420p", "-c:a", "aac", "-f", format, to)
}

func (p *place) ffmpeg(name string, args ...string) *process {
	p.t.Helper()
	out, err := os.Create(filepath.Join(p.dir, name+".txt"))
	if err != nil {
		p.t.Fatal(err)
	}
	defer out.Close()
	c := p.command(p.dir, nil, "ffmpeg", append([]string{"-hide_banner", "-nostdin", "-nostats", "-y", "-loglevel", "warning"}, args...)...)
	c.Stdout, c.Stderr = out, out
	x, err := start(c)
	if err != nil {
		p.t.Fatal(err)
	}
	p.clients[name] = x
	return x
}

// viewer counts pictures, and the longest time from one to the next in the stream.
type viewer struct {
	conn     io.Closer
	pictures atomic.Int64
	gap      atomic.Int64 // milliseconds
	last     int64
	ended    atomic.Bool
}

// see takes the body of a picture of FLV.
func (v *viewer) see(timestamp uint32, body []byte) {
	if len(body) < 2 || body[1] == 0 { // a sequence header
		return
	}
	at := int64(timestamp)
	if v.pictures.Load() > 0 {
		v.gap.Store(max(v.gap.Load(), at-v.last, v.last-at))
	}
	v.last = at
	v.pictures.Add(1)
}

// watch watches by HTTP-FLV; that ends with the publisher.
func (p *place) watch() *viewer { return p.watchOf("s") }

func (p *place) watchOf(stream string) *viewer {
	p.t.Helper()
	res, err := alone.Get("http://" + p.http + "/live/" + stream + ".flv")
	if err != nil {
		p.t.Fatal(err)
	}
	v := &viewer{conn: res.Body}
	p.closers = append(p.closers, res.Body)
	go func() {
		defer v.ended.Store(true)
		for r := flv.NewReader(res.Body); ; {
			tag, err := r.ReadTag()
			if err != nil {
				return
			}
			if tag.Type == flv.TypeVideo {
				v.see(tag.Timestamp, tag.Body)
			}
		}
	}()
	return v
}

// watchRTMP watches by RTMP, also when the publisher goes and another comes.
func (p *place) watchRTMP() *viewer {
	p.t.Helper()
	c, err := link.Dial(p.t.Context(), "rtmp://"+p.rtmp+"/live/s", link.DialOptions{})
	if err == nil {
		err = c.Play()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	v := &viewer{conn: c}
	p.closers = append(p.closers, c)
	go func() {
		defer v.ended.Store(true)
		for {
			m, err := c.ReadMessage(time.Minute)
			if err != nil {
				return
			}
			if m.Type == wire.TypeVideo {
				v.see(m.Timestamp, m.Payload)
			}
		}
	}()
	return v
}

// moves waits until a viewer has seen more.
func (p *place) moves(what string, v *viewer, pictures int64) {
	p.t.Helper()
	from := v.pictures.Load()
	p.until(what, func() bool { return v.pictures.Load() >= from+pictures || v.ended.Load() })
	if v.ended.Load() {
		p.t.Fatalf("%s: it was ended", what)
	}
}

// playlist reads a playlist, and each segment that is new in it, and keeps to what
// segments has: the name of each number, and what was in it.
type segments struct {
	p     *place
	names map[uint64]string
	sizes map[uint64]int
	first uint64
	last  uint64
}

func (g *segments) read() {
	t := g.p.t
	t.Helper()
	status, text, err := get("http://" + g.p.http + "/live/s.m3u8")
	if err != nil || status != http.StatusOK {
		t.Fatalf("the playlist is not there: %d, %v", status, err)
	}
	l, err := m3u8.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if l.Sequence < g.first || len(g.names) > 0 && l.Sequence > g.last+1 {
		t.Errorf("the playlist begins at %d; before it did at %d and ended at %d", l.Sequence, g.first, g.last)
	}
	g.first = l.Sequence
	for i, s := range l.Segments {
		n := l.Sequence + uint64(i)
		if old, ok := g.names[n]; ok && old != s.URI {
			t.Errorf("segment %d is called %s, and was %s", n, s.URI, old)
		}
		status, body, err := get("http://" + g.p.http + "/live/" + s.URI)
		if err != nil || status != http.StatusOK {
			t.Errorf("segment %s: %d, %v", s.URI, status, err)
		}
		if old, ok := g.sizes[n]; ok && old != len(body) {
			t.Errorf("segment %s has %d bytes, and had %d", s.URI, len(body), old)
		}
		g.names[n], g.sizes[n] = s.URI, len(body)
		g.last = max(g.last, n)
	}
}

// upTo reads on until some segments more have come.
func (g *segments) upTo(what string, more uint64) {
	g.p.t.Helper()
	want := g.last + more
	g.p.until(what, func() bool { g.read(); return g.last >= want })
	for n := range g.last {
		if _, ok := g.names[n]; !ok && n >= 1 && g.names[n-1] != "" {
			g.p.t.Errorf("segment %d was in no playlist", n)
		}
	}
}

// Viewers that were there stay and see on, viewers that come see it, and segments go on
// without a gap or another name; so it is when the publisher comes back, to the new
// server.
func TestUpgradeKeepsStreams(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	called := map[string]int{}
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c struct{ Action string }
		json.NewDecoder(r.Body).Decode(&c)
		mu.Lock()
		defer mu.Unlock()
		called[c.Action]++
		io.WriteString(w, "0")
	}))
	defer hooks.Close()
	p := openPlace(t, "grace_final_wait 500;", "hls { enabled on; hls_path ./html; hls_fragment 0.4; hls_window 60; hls_ctx off; }\n"+
		"dvr { enabled on; dvr_path ./dvr/[stream].[timestamp].flv; }\nhttp_hooks { enabled on; on_publish "+hooks.URL+"; on_unpublish "+hooks.URL+"; on_dvr "+hooks.URL+"; }")
	pub := p.publish("one")
	p.until("the stream is listed", func() bool { status, _, _ := get("http://" + p.http + "/live/s.m3u8"); return status == http.StatusOK })
	old, flash := p.watchRTMP(), p.watch()
	p.moves("the first viewer", old, 10)
	p.ffmpeg("hls", "-i", "http://"+p.http+"/live/s.m3u8", "-c", "copy", "-copyts", "-flush_packets", "1", "-f", "mpegts", "hls.ts")
	g := &segments{p: p, names: map[uint64]string{}, sizes: map[uint64]int{}}
	g.upTo("the first segments", 1)
	before, after := p.upgraded()
	g.read()
	p.moves("the viewer from before", old, 30)
	p.moves("the viewer of FLV from before", flash, 10)
	young, late := p.watchRTMP(), p.watch()
	p.moves("a viewer from afterwards", young, 30)
	p.moves("a viewer of FLV from afterwards", late, 10)
	g.upTo("segments after the upgrade", 2)
	// Another version, while the first still has its clients.
	between := after
	_, after = p.upgraded()
	third := p.watchRTMP()
	p.moves("a viewer of the third server", third, 30)
	p.moves("the viewer from before both", old, 10)
	p.moves("the viewer from between", young, 10)
	g.upTo("segments after another upgrade", 2)
	// The name is taken, at both.
	c := exec.Command("ffmpeg", "-hide_banner", "-nostdin", "-loglevel", "error", "-re", "-i", loop, "-c", "copy", "-f", "flv", "rtmp://"+p.rtmp+"/live/s")
	if out, err := c.CombinedOutput(); err == nil || pub.ended() {
		t.Errorf("a second publisher was let in: %s", out)
	}
	for _, v := range []*viewer{old, flash, young, late, third} {
		if gap := v.gap.Load(); gap > 100 || v.ended.Load() { // 25 pictures a second
			t.Errorf("a viewer had a gap of %d ms, or was ended: %v", gap, v.ended.Load())
		}
	}
	p.sees(6, "fmle-publish", "rtmp-play", "flv-play", "rtmp-play", "flv-play", "rtmp-play")
	p.ends("clients", p.clientOf("flv-play"))
	p.until("the viewer of FLV from before is ended", flash.ended.Load)
	p.sees(5, "fmle-publish", "rtmp-play", "rtmp-play", "rtmp-play", "flv-play")
	// The publisher is ended, and another comes.
	p.ends("streams", p.streamID())
	p.until("the publisher is ended", pub.ended)
	p.publish("two")
	p.moves("the viewer from before, after the publisher has moved", old, 10)
	p.moves("the viewer from between, then", young, 10)
	p.moves("the viewer of the third server, then", third, 10)
	g.upTo("segments then", 2)
	files, _ := filepath.Glob(filepath.Join(p.dir, "html", "live", "s-*.ts"))
	if len(files) < 3 {
		t.Errorf("%d files of segments", len(files))
	}
	// One more of each is of the publisher that was refused.
	calls := func() string { mu.Lock(); defer mu.Unlock(); return fmt.Sprint(called) }
	if want := "map[on_dvr:1 on_publish:3 on_unpublish:2]"; !poll(20*time.Second, func() bool { return calls() == want }) {
		t.Errorf("callbacks: %s", calls())
	}
	var recordings []string
	p.until("both publications are recorded", func() bool {
		recordings, _ = filepath.Glob(filepath.Join(p.dir, "dvr", "*"))
		return len(recordings) >= 2
	})
	if len(recordings) != 2 {
		t.Errorf("recordings of two publications: %v", recordings)
	}
	if !alive(before) {
		t.Error("the old server has ended while a viewer is there")
	}
	p.player("hls", 4*time.Second)
	old.conn.Close()
	p.until("the old server ends", func() bool { return !alive(before) })
	p.moves("the viewer from between, in the end", young, 10)
	young.conn.Close()
	late.conn.Close()
	p.until("the server between ends", func() bool { return !alive(between) })
	p.moves("the viewer of the new server", third, 10)
	g.upTo("segments in the end", 1)
	if !alive(after) {
		t.Error("the new server has ended")
	}
}

// ask asks the API for something, into to.
func (p *place) ask(what string, to any) {
	p.t.Helper()
	status, text, err := get("http://" + p.api + "/api/v1/" + what)
	if err == nil {
		err = json.Unmarshal([]byte(text), to)
	}
	if err != nil || status != http.StatusOK {
		p.t.Fatalf("%s: %d %s, %v", what, status, text, err)
	}
}

type clientRow struct {
	ID, Type, Stream string
	Alive            float64
}

// sees waits until the API lists the clients of both servers, of these types, and one
// stream, which has all of them.
func (p *place) sees(n int, types ...string) {
	p.t.Helper()
	var got string
	ok := poll(10*time.Second, func() bool {
		var c struct{ Clients []clientRow }
		var s struct {
			Streams []struct {
				ID      string
				Clients int
				Publish struct{ Active bool }
			}
		}
		var v struct {
			Vhosts []struct{ Clients, Streams int }
		}
		p.ask("clients/?count=100", &c)
		p.ask("streams/", &s)
		p.ask("vhosts/", &v)
		var have []string
		for _, c := range c.Clients {
			if c.Type != "hls-play" {
				have = append(have, c.Type)
			}
		}
		slices.Sort(have)
		slices.Sort(types)
		got = fmt.Sprint(have, s.Streams, v.Vhosts)
		return slices.Equal(have, types) && len(s.Streams) == 1 && s.Streams[0].Clients >= n && s.Streams[0].Publish.Active && v.Vhosts[0].Clients == s.Streams[0].Clients && v.Vhosts[0].Streams == 1
	})
	if !ok {
		p.t.Fatalf("the API lists %s, want %d of %v", got, n, types)
	}
}

// clientOf returns the oldest client of a type.
func (p *place) clientOf(typ string) (id string) {
	p.t.Helper()
	var c struct{ Clients []clientRow }
	p.ask("clients/?count=100", &c)
	oldest := 0.0
	for _, c := range c.Clients {
		if c.Type == typ && c.Alive > oldest {
			id, oldest = c.ID, c.Alive
		}
	}
	var one struct{ Client clientRow }
	if p.ask("clients/"+id, &one); one.Client.ID != id {
		p.t.Errorf("client %s is told of as %+v", id, one)
	}
	return id
}

func (p *place) streamID() string {
	p.t.Helper()
	var s struct{ Streams []struct{ ID string } }
	p.ask("streams/", &s)
	return s.Streams[0].ID
}

// ends ends one of what the API lists.
func (p *place) ends(what, id string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodDelete, "http://"+p.api+"/api/v1/"+what+"/"+id, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	res, err := asker.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	if b, _ := io.ReadAll(res.Body); res.StatusCode != http.StatusOK || !strings.Contains(string(b), `"code":0`) {
		p.t.Errorf("DELETE %s %s: %d %s", what, id, res.StatusCode, b)
	}
}

// whep watches by WebRTC, and counts packets of the picture. It returns where its session
// is ended.
func (p *place) whep(packets *atomic.Int64) (resource string) {
	p.t.Helper()
	var settings pion.SettingEngine
	settings.SetIncludeLoopbackCandidate(true) // a machine may have no other address
	pc, err := pion.NewAPI(pion.WithSettingEngine(settings)).NewPeerConnection(pion.Configuration{})
	if err != nil {
		p.t.Fatal(err)
	}
	p.closers = append(p.closers, pc)
	pc.OnTrack(func(track *pion.TrackRemote, _ *pion.RTPReceiver) {
		for {
			if _, _, err := track.ReadRTP(); err != nil {
				return
			}
			packets.Add(1)
		}
	})
	if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: pion.RTPTransceiverDirectionRecvonly}); err != nil {
		p.t.Fatal(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	gathered := pion.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		p.t.Fatal(err)
	}
	<-gathered
	res, err := alone.Post("http://"+p.api+"/rtc/v1/whep/?app=live&stream=s", "application/sdp", strings.NewReader(pc.LocalDescription().SDP))
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, _ := io.ReadAll(res.Body)
	if res.StatusCode != http.StatusCreated {
		p.t.Fatalf("WHEP: %d %s", res.StatusCode, answer)
	}
	if err := pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: string(answer)}); err != nil {
		p.t.Fatal(err)
	}
	return "http://" + p.api + res.Header.Get("Location")
}

// An encoder and a viewer of SRT, and one of WebRTC, live through an upgrade: what they
// send reaches the old server through the new one, which has the sockets. Others come.
func TestUpgradeKeepsDatagrams(t *testing.T) {
	t.Parallel()
	srt, err := protocoltest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	rtc, err := protocoltest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	cast, err := protocoltest.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	p := openPlace(t, "grace_final_wait 500; srt_server { enabled on; listen "+srt+"; } rtc_server { enabled on; listen "+rtc+"; candidate 127.0.0.1; }\n"+
		"stream_caster { enabled on; caster mpegts_over_udp; listen "+cast+"; output rtmp://RTMP/live/cast; }",
		"srt { enabled on; } rtc { enabled on; rtmp_to_rtc on; }")
	datagrams := "[f=mpegts]udp://" + cast + "?pkt_size=1316"
	// With a second of patience for who is kept from reading, by other work on the machine.
	pub := p.encode("pub", "tee", "[f=mpegts]srt://"+srt+"?streamid=#!::r=live/s,m=publish&pkt_size=1316&latency=1000000|"+datagrams)
	flash, stray := p.watch(), p.watchOf("cast")
	p.moves("a viewer of FLV", flash, 10)
	grows := func(what, name string) {
		t.Helper()
		size := func() int64 {
			st, err := os.Stat(filepath.Join(p.dir, name))
			if err != nil {
				return 0
			}
			return st.Size()
		}
		from := size()
		p.until(what+" sees on", func() bool { return size() > from+30_000 })
	}
	p.ffmpeg("view", "-analyzeduration", "500000", "-probesize", "50000", "-i", "srt://"+srt+"?streamid=#!::r=live/s,m=request", "-c", "copy", "-flush_packets", "1", "-f", "mpegts", "view.ts")
	grows("the viewer of SRT", "view.ts")
	var packets atomic.Int64
	resource := p.whep(&packets)
	sees := func(what string) {
		t.Helper()
		from := packets.Load()
		p.until(what, func() bool { return packets.Load() > from+30 })
	}
	sees("the viewer of WebRTC sees")
	p.moves("a viewer of the caster", stray, 10)
	before, _ := p.upgraded()
	sees("the viewer of WebRTC sees on")
	p.moves("the viewer of the caster", stray, 10)
	grows("the viewer of SRT", "view.ts")
	p.moves("the viewer of FLV", flash, 10)
	p.upgraded() // datagrams of the first server's go through two others now
	sees("the viewer of WebRTC sees on, then")
	grows("the viewer of SRT", "view.ts")
	p.moves("the viewer of FLV", flash, 10)
	p.moves("the viewer of the caster, then", stray, 10)
	p.ffmpeg("late", "-analyzeduration", "500000", "-probesize", "50000", "-i", "srt://"+srt+"?streamid=#!::r=live/s,m=request", "-c", "copy", "-flush_packets", "1", "-f", "mpegts", "late.ts")
	grows("one that came afterwards", "late.ts")
	var more atomic.Int64
	p.whep(&more)
	p.until("a viewer of WebRTC that came afterwards sees", func() bool { return more.Load() > 30 })
	if pub.ended() || flash.ended.Load() {
		t.Error("the encoder or a viewer has been ended")
	}
	if gap := max(flash.gap.Load(), stray.gap.Load()); gap > 100 {
		t.Errorf("a gap of %d ms", gap)
	}
	// The session of WebRTC is at the old server, and ended by the new one's address.
	req, err := http.NewRequest(http.MethodDelete, resource, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := asker.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if !strings.Contains(p.log(), "RTC session is ended by its client") {
		t.Errorf("DELETE %s: %d, and the session goes on", resource, res.StatusCode)
	}
	flash.conn.Close()
	p.clients["view"].signal(syscall.SIGINT)
	pub.signal(syscall.SIGINT)
	stray.conn.Close()
	p.until("the old server ends", func() bool { return !alive(before) })
	p.encode("again", "tee", datagrams)
	p.moves("a viewer of the caster, which is the new server's", p.watchOf("cast"), 10)
}

// player ends a player of HLS, that has put what it got in a file, and sees that this has
// at least so much of the picture, without a gap or a repetition.
func (p *place) player(name string, least time.Duration) {
	p.t.Helper()
	file := filepath.Join(p.dir, name+".ts")
	var times []float64
	read := func() bool {
		out, err := exec.Command("ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=dts_time", "-of", "csv=p=0", file).Output()
		if times = nil; err != nil {
			return false
		}
		for line := range strings.Lines(string(out)) {
			if at, err := strconv.ParseFloat(strings.Trim(line, ", \n"), 64); err == nil {
				times = append(times, at)
			}
		}
		return len(times) > 0 && times[len(times)-1]-times[0] >= least.Seconds()
	}
	p.until("the player of HLS has enough", read)
	p.clients[name].kill()
	for i := range times[1:] {
		if d := times[i+1] - times[i]; d <= 0 || d > 0.5 {
			p.t.Errorf("the player of HLS had %.3f s after %.3f", times[i+1], times[i])
		}
	}
}

// systemd is told which process is the main one.
func TestUpgradeTellsSystemd(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	expect := func(want string) {
		t.Helper()
		b := make([]byte, 100)
		l.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := l.Read(b)
		if got := string(b[:n]); err != nil || got != want {
			t.Fatalf("got %q, %v; want %q", got, err, want)
		}
	}
	p := openPlace(t, "grace_final_wait 10;", "", "NOTIFY_SOCKET="+path)
	expect("READY=1")
	p.script([]byte("#!/bin/sh\nexit 3\n"))
	p.upgrade()
	expect("RELOADING=1")
	expect("READY=1")
	p.program(binary)
	_, after := p.upgraded()
	expect("RELOADING=1")
	expect(fmt.Sprintf("MAINPID=%d\nREADY=1", after))
	syscall.Kill(after, syscall.SIGTERM)
	expect("STOPPING=1")
}

// storm publishes. Who comes back before the end of the last one was read is busy, as
// ever, and tries again.
func (p *place) storm(n int) (c *link.Client, err error) {
	for range 100 {
		c, err = link.Dial(p.t.Context(), fmt.Sprintf("rtmp://%s/live/storm%d", p.rtmp, n), link.DialOptions{FMLE: true})
		if err != nil {
			return nil, err
		}
		if err = c.Publish(); err == nil {
			return c, nil
		}
		c.Close()
		if !strings.Contains(err.Error(), "already being published") {
			return nil, err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil, err
}

// While publishers come and go without end each of them is let in, by one or the other.
func TestUpgradeInAStorm(t *testing.T) {
	t.Parallel()
	p := openPlace(t, "grace_final_wait 200;", "hls { enabled on; hls_path ./html; hls_fragment 1; }")
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var published atomic.Int64
	end := sync.OnceFunc(func() {
		close(stop)
		wg.Wait()
	})
	defer end()
	for n := range 8 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := p.storm(n)
				if err != nil {
					t.Errorf("publisher %d: %v", n, err)
					return
				}
				published.Add(1)
				c.Close()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	enough := func() {
		t.Helper()
		from := published.Load()
		p.until("publishers come", func() bool { return published.Load() >= from+16 })
	}
	enough()
	for range 2 {
		before, _ := p.upgraded()
		enough()
		p.until("the old server ends", func() bool { return !alive(before) })
	}
	end()
	p.until("nobody is left", func() bool {
		_, text, _ := get("http://" + p.api + "/api/v1/clients/")
		return strings.Contains(text, `"total":0`)
	})
}
