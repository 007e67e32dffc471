package script

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// place is a server that can be upgraded: a program of its own, in its own folder.
type place struct {
	*house
	t          *testing.T
	rtmp, http string
	conf       string
}

// openPlace starts one. more stands in the default vhost.
func openPlace(t *testing.T, root, more string) *place {
	t.Helper()
	p := &place{house: &house{dir: t.TempDir()}, t: t}
	p.clients = map[string]*process{}
	for _, at := range []*string{&p.rtmp, &p.http, &p.api} {
		var err error
		if *at, err = freePort(); err != nil {
			t.Fatal(err)
		}
	}
	p.program(binary)
	p.conf = fmt.Sprintf("listen %s;\ndaemon off;\nsrs_log_tank file;\nsrs_log_file ./weir.log;\npid ./weir.pid;\nhttp_api { enabled on; listen %s; }\nhttp_server { enabled on; listen %s; dir ./html; }\n%s\nvhost __defaultVhost__ { http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }\n%s\n}\n",
		p.rtmp, p.api, p.http, root, more)
	p.write("weir.conf", p.conf)
	c := p.command(p.dir, nil, filepath.Join(p.dir, "weir"), "-c", "weir.conf")
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
	b, err := os.ReadFile(from)
	if err != nil {
		p.t.Fatal(err)
	}
	p.script(b)
}

func (p *place) script(text []byte) {
	p.t.Helper()
	next := filepath.Join(p.dir, "weir.new")
	if err := os.WriteFile(next, text, 0o755); err != nil {
		p.t.Fatal(err)
	}
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
	const upgrades, askers, least = 3, 4, 1000
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
	first := p.pid()
	for range upgrades {
		before, _ := p.upgraded()
		p.until("the old server has ended", func() bool { return !alive(before) })
	}
	p.until("enough were asked", func() bool { return asked.Load() >= least })
	close(stop)
	wg.Wait()
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
	taken, err := freePort()
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
	p := openPlace(t, "upgrade_drain 3;", "")
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
	before, after := p.upgraded()
	p.until("the old server waits", func() bool { return strings.Contains(p.log(), "upgrade: waiting") })
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
