package script

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// house is what one script has: a server, clients, a callback server.
type house struct {
	dir, api, hook string
	out            string // what the server says
	server         *process
	inner          int // the server's process inside of a container
	clients        map[string]*process
	closers        []io.Closer

	mu    sync.Mutex
	calls []call // guarded by mu
}

// call is one callback.
type call struct{ client, action string }

// asker asks the server; long silence is no answer.
var asker = &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// command returns a program in a process group of its own, without any SRS_
// variable but those of env.
func (h *house) command(dir string, env []string, name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Dir = dir
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, "SRS_") && !strings.HasPrefix(e, "NOTIFY_") {
			c.Env = append(c.Env, e)
		}
	}
	c.Env = append(c.Env, env...)
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return c
}

// serve starts the server and waits until it says in log, or to its output,
// that it is ready.
func (h *house) serve(ts *testscript.TestScript, c *exec.Cmd, log string) {
	h.out = filepath.Join(h.dir, "out.txt")
	out, err := os.Create(h.out)
	ts.Check(err)
	defer out.Close()
	file, before := h.out, 0
	if log != "" {
		file = ts.MkAbs(log)
		b, _ := os.ReadFile(file)
		before = len(b)
	}
	c.Stdout, c.Stderr = out, out
	h.inner = 0
	if h.server, err = start(c); err != nil {
		ts.Fatalf("%v", err)
	}
	ready := func() bool {
		b, _ := os.ReadFile(file)
		return len(b) > before && bytes.Contains(b[before:], []byte("ready in"))
	}
	if !poll(10*time.Second, func() bool { return ready() || h.server.ended() }) || !ready() {
		ts.Fatalf("the server is not ready:\n%s", h.tail(h.out))
	}
}

// client starts ffmpeg.
func (h *house) client(ts *testscript.TestScript, name string, args ...string) {
	out, err := os.Create(filepath.Join(h.dir, name+".txt"))
	ts.Check(err)
	defer out.Close()
	c := h.command(h.dir, nil, "ffmpeg", append([]string{"-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning"}, args...)...)
	c.Stdout, c.Stderr = out, out
	p, err := start(c)
	ts.Check(err)
	h.clients[name] = p
}

// tail returns the end of a file.
func (h *house) tail(file string) string {
	b, _ := os.ReadFile(file)
	lines := strings.Split(strings.TrimRight(string(b), "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}

// clear ends all that the script started, those in the background too, which a
// pid file names.
func (h *house) clear() {
	for _, p := range h.clients {
		p.kill()
	}
	if h.server != nil {
		h.server.kill()
	}
	for _, c := range h.closers {
		c.Close()
	}
	pids, _ := filepath.Glob(filepath.Join(h.dir, "*.pid"))
	more, _ := filepath.Glob(filepath.Join(h.dir, "*", "*.pid"))
	deep, _ := filepath.Glob(filepath.Join(h.dir, "*", "objs", "*.pid"))
	for _, f := range slices.Concat(pids, more, deep) {
		b, _ := os.ReadFile(f)
		pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
		if err != nil {
			continue
		}
		// Only a server that runs below our folder is ours.
		cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
		if cwd == h.dir || strings.HasPrefix(cwd, h.dir+"/") {
			syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// alive reports whether a process runs. One that has ended and that nobody has
// asked for its exit code does not.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	i := bytes.LastIndexByte(b, ')')
	return i < 0 || i+2 >= len(b) || b[i+2] != 'Z'
}

// process is a program that runs.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

func start(c *exec.Cmd) (*process, error) {
	c.WaitDelay = time.Second // what it started may hold its output
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("%w (test/install.sh installs what the tests need)", err)
	}
	p := &process{cmd: c, done: make(chan struct{})}
	go func() {
		c.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// signal sends to the process alone.
func (p *process) signal(s syscall.Signal) {
	if !p.ended() {
		syscall.Kill(p.cmd.Process.Pid, s)
	}
}

// wait returns the exit code, or false and has it killed if it takes too long.
func (p *process) wait(within time.Duration) (code int, ok bool) {
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), true
	case <-time.After(within):
		p.kill()
		return -1, false
	}
}

// kill ends the process and what it started.
func (p *process) kill() {
	if !p.ended() {
		syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.done
	}
}

// cmdHooks starts the callback server.
func cmdHooks(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "hooks")
	h := of(ts)
	l, err := net.Listen("tcp", h.hook)
	ts.Check(err)
	out, err := os.Create(filepath.Join(h.dir, "hooks.txt"))
	ts.Check(err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		var said struct {
			Action string
			Client string `json:"client_id"`
		}
		json.Unmarshal(b, &said)
		h.mu.Lock()
		h.calls = append(h.calls, call{said.Client, said.Action})
		fmt.Fprintf(out, "%s %s\n", r.URL, b)
		h.mu.Unlock()
		switch {
		case strings.HasPrefix(r.URL.Path, "/refuse"):
			io.WriteString(w, `{"code":1}`)
		case strings.HasPrefix(r.URL.Path, "/slow"):
			time.Sleep(2 * time.Second)
			fallthrough
		default:
			io.WriteString(w, "0")
		}
	})}
	h.closers = append(h.closers, srv, out)
	go srv.Serve(l)
}

// actions returns the calls about the Nth client that called, from 1.
func (h *house) actions(n int) (actions []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var order []string
	for _, c := range h.calls {
		i := slices.Index(order, c.client)
		if i < 0 {
			i, order = len(order), append(order, c.client)
		}
		if i == n-1 {
			actions = append(actions, c.action)
		}
	}
	return actions
}

func cmdListen(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "listen ADDRESS")
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	of(ts).closers = append(of(ts).closers, l)
}

func cmdFlood(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "flood ADDRESS N")
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for range n {
		nc, err := net.DialTimeout("tcp", args[0], 2*time.Second)
		ts.Check(err)
		of(ts).closers = append(of(ts).closers, nc)
	}
}

func cmdRelease(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 0, "release")
	for _, c := range of(ts).closers {
		c.Close()
	}
	of(ts).closers = nil
}
