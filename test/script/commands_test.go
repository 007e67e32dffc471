package script

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// commands are the words of the scripts beside testscript's own.
var commands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	// weir CODE [K=V...] ARGS... runs the server to its end, which must have that
	// exit code; stdout and stderr look at what it said.
	"weir": cmdWeir,
	// server [log=FILE] [files=N] [disk=OPTIONS:DIR] [K=V...] ARGS... starts the server
	// and waits until it is ready: with at most N descriptors, or with a disk of its
	// own in DIR ("size=200k", "ro"). What it says goes to out.txt.
	"server": cmdServer,
	// container DIR [K=V...] starts what the Dockerfile starts, with its
	// environment, in DIR, as process 1.
	"container": cmdContainer,
	// layout DIR makes the image's folders.
	"layout": cmdLayout,
	// signal NAME [PIDFILE] sends a signal to the server.
	"signal": cmdSignal,
	// waitexit CODE [WITHIN] waits until the server has ended.
	"waitexit": cmdWaitExit,
	// gone PIDFILE waits until the process of a pid file has ended.
	"gone": cmdGone,
	// running [PIDFILE] sees that it has not.
	"running": cmdRunning,
	// waitlog PATTERN [FILE] waits until out.txt, or the file, has a line.
	"waitlog": cmdWaitLog,
	// publish NAME URL starts ffmpeg as an encoder; play NAME URL as a player.
	"publish": cmdPublish,
	"play":    cmdPlay,
	// [!] watch URL reads the beginning of a stream with ffprobe.
	"watch": cmdWatch,
	// stop NAME ends a client, freeze NAME halts it; ended NAME waits until it has
	// ended of itself.
	"stop":   cmdStop,
	"freeze": cmdFreeze,
	"ended":  cmdEnded,
	// live STREAM waits until the API says that frames come.
	"live": cmdLive,
	// http STATUS METHOD URL [HEADER: VALUE] asks, once; stdout looks at the answer's
	// body, stderr at its header.
	"http": cmdHTTP,
	// await PATTERN URL asks until the answer matches.
	"await": cmdAwait,
	// hooks starts a callback server at $HOOK that accepts all but what is asked
	// below /refuse, and answers below /slow after a while. called N ACTION... waits
	// until the Nth client's calls are these, in this order.
	"hooks":  cmdHooks,
	"called": cmdCalled,
	// listen ADDRESS holds a port. flood ADDRESS N opens connections and says
	// nothing; release closes all that.
	"listen":  cmdListen,
	"flood":   cmdFlood,
	"release": cmdRelease,
}

type houseKey struct{}

func of(ts *testscript.TestScript) *house { return ts.Value(houseKey{}).(*house) }

// need stops the script if a word is used wrongly.
func need(ts *testscript.TestScript, ok bool, usage string) {
	if !ok {
		ts.Fatalf("usage: %s", usage)
	}
}

var setting = regexp.MustCompile(`^[A-Z0-9_]+=`)

// settings splits "K=V" words off the front of args.
func settings(args []string) (env, rest []string) {
	for i, a := range args {
		if !setting.MatchString(a) {
			return args[:i], args[i:]
		}
	}
	return args, nil
}

func cmdWeir(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "weir CODE [K=V...] ARGS...")
	nobody := false
	if args[0] == "nobody" {
		nobody, args = true, args[1:]
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	env, rest := settings(args[1:])
	c := of(ts).command(ts.MkAbs("."), env, binary, rest...)
	if nobody && os.Geteuid() == 0 {
		c.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
	}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	p, err := start(c)
	ts.Check(err)
	code, ok := p.wait(15 * time.Second)
	ts.Stdout().Write(out.Bytes())
	ts.Stderr().Write(errs.Bytes())
	if !ok {
		ts.Fatalf("weir did not end")
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

func cmdServer(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "server [log=FILE] [K=V...] ARGS...")
	log := ""
	if f, ok := strings.CutPrefix(args[0], "log="); ok {
		log, args = f, args[1:]
	}
	name, before := binary, []string(nil)
	if n, ok := strings.CutPrefix(args[0], "files="); ok {
		name, before, args = "sh", []string{"-c", `ulimit -n "$0"; exec "$@"`, n, binary}, args[1:]
	}
	if o, ok := strings.CutPrefix(args[0], "disk="); ok {
		options, dir, ok := strings.Cut(o, ":")
		need(ts, ok, "disk=OPTIONS:DIR")
		const mount = `mount -t tmpfs -o "$0" none "$1" && shift && exec "$@"`
		name, before, args = "unshare", []string{"--map-root-user", "--mount", "sh", "-c", mount, options, dir, binary}, args[1:]
	}
	env, rest := settings(args)
	of(ts).serve(ts, of(ts).command(ts.MkAbs("."), env, name, append(before, rest...)...), log)
}

func cmdSignal(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "signal NAME [PIDFILE]")
	sig, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "QUIT": syscall.SIGQUIT,
		"HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL, "USR1": syscall.SIGUSR1, "USR2": syscall.SIGUSR2}[args[0]]
	need(ts, ok, "signal TERM|INT|QUIT|HUP|KILL|USR1|USR2")
	ts.Check(syscall.Kill(of(ts).pid(ts, args[1:]), sig))
}

func cmdWaitExit(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "waitexit CODE [WITHIN]")
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	within := 5 * time.Second
	if len(args) > 1 {
		within, err = time.ParseDuration(args[1])
		ts.Check(err)
	}
	h := of(ts)
	code, ok := h.server.wait(within)
	if !ok {
		ts.Fatalf("the server has not ended within %v:\n%s", within, h.tail(h.out))
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d:\n%s", code, want, h.tail(h.out))
	}
}

func cmdGone(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "gone PIDFILE")
	pid := of(ts).pid(ts, args)
	if !poll(5*time.Second, func() bool { return !alive(pid) }) {
		ts.Fatalf("process %d has not ended", pid)
	}
}

func cmdRunning(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) < 2, "running [PIDFILE]")
	if pid := of(ts).pid(ts, args); alive(pid) == neg {
		ts.Fatalf("process %d runs: %v", pid, !neg)
	}
}

func cmdWaitLog(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && (len(args) == 1 || len(args) == 2), "waitlog PATTERN [FILE]")
	re, err := regexp.Compile("(?m)" + args[0])
	ts.Check(err)
	file := of(ts).out
	if len(args) == 2 {
		file = ts.MkAbs(args[1])
	}
	var b []byte
	if !poll(10*time.Second, func() bool { b, _ = os.ReadFile(file); return re.Match(b) }) {
		ts.Fatalf("no line matches %s in\n%s", args[0], b)
	}
}

func cmdPublish(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "publish NAME URL")
	of(ts).client(ts, args[0], "-re", "-stream_loop", "-1", "-i", loop, "-c", "copy", "-f", "flv", args[1])
}

func cmdPlay(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "play NAME URL")
	of(ts).client(ts, args[0], "-i", args[1], "-c", "copy", "-f", "null", "-")
}

func cmdWatch(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, "watch URL")
	c := exec.Command("ffprobe", "-v", "error", "-rw_timeout", "8000000", "-read_intervals", "%+#40", "-show_entries", "packet=codec_type", "-of", "csv", args[0])
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	p, err := start(c)
	ts.Check(err)
	code, _ := p.wait(15 * time.Second)
	n := strings.Count(out.String(), "packet,video")
	if ok := code == 0 && n > 5; ok == neg {
		ts.Fatalf("ffprobe %s: exit code %d, %d pictures\n%s", args[0], code, n, errs.String())
	}
}

func cmdStop(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "stop NAME")
	p := of(ts).clients[args[0]]
	need(ts, p != nil, "stop NAME")
	p.signal(syscall.SIGINT)
	if _, ok := p.wait(5 * time.Second); !ok {
		ts.Fatalf("%s does not end", args[0])
	}
}

func cmdFreeze(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1 && of(ts).clients[args[0]] != nil, "freeze NAME")
	of(ts).clients[args[0]].signal(syscall.SIGSTOP)
}

func cmdEnded(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, len(args) == 1, "ended NAME")
	p := of(ts).clients[args[0]]
	need(ts, p != nil, "ended NAME")
	if neg {
		if p.ended() {
			ts.Fatalf("%s has ended", args[0])
		}
		return
	}
	if _, ok := p.wait(10 * time.Second); !ok {
		ts.Fatalf("%s has not ended", args[0])
	}
}

func cmdLive(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "live STREAM")
	var b []byte
	is := func() bool {
		var answer struct {
			Streams []struct {
				Name    string
				Frames  int
				Publish struct{ Active bool }
			}
		}
		_, _, b, _ = request(http.MethodGet, "http://"+of(ts).api+"/api/v1/streams/?count=100", "")
		if json.Unmarshal(b, &answer) != nil {
			return false
		}
		for _, s := range answer.Streams {
			if s.Name == args[0] && s.Publish.Active && s.Frames > 0 {
				return true
			}
		}
		return false
	}
	if !poll(10*time.Second, is) {
		ts.Fatalf("stream %s is not live:\n%s", args[0], b)
	}
}

func cmdHTTP(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && (len(args) == 3 || len(args) == 4), "http STATUS METHOD URL [HEADER: VALUE]")
	status, header, body, err := request(args[1], args[2], strings.Join(args[3:], ""))
	ts.Check(err)
	ts.Stdout().Write(body)
	header.Write(ts.Stderr())
	if status != args[0] {
		ts.Fatalf("status %s, want %s", status, args[0])
	}
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 2, "await PATTERN URL")
	re, err := regexp.Compile("(?s)" + args[0])
	ts.Check(err)
	var b []byte
	if !poll(10*time.Second, func() bool { _, _, b, _ = request(http.MethodGet, args[1], ""); return re.Match(b) }) {
		ts.Fatalf("%s never matched %s; last:\n%s", args[1], args[0], b)
	}
	ts.Stdout().Write(b)
}

// request asks once and returns status, header and body.
func request(method, url, header string) (string, http.Header, []byte, error) {
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		return "", nil, nil, err
	}
	if k, v, ok := strings.Cut(header, ": "); ok {
		req.Header.Set(k, v)
		if k == "Host" {
			req.Host = v
		}
	}
	res, err := asker.Do(req)
	if err != nil {
		return "", nil, nil, err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	return strconv.Itoa(res.StatusCode), res.Header, b, err
}

// poll asks until it is true.
func poll(within time.Duration, is func() bool) bool {
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		if is() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}

func cmdCalled(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 1, "called N ACTION...")
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	var got []string
	if !poll(10*time.Second, func() bool { got = of(ts).actions(n); return slices.Equal(got, args[1:]) }) {
		ts.Fatalf("client %d: %v, want %v", n, got, args[1:])
	}
}

// cmdLayout makes the folders of the image by the script that makes them there.
func cmdLayout(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) == 1, "layout DIR")
	c := exec.Command("sh", filepath.Join(root, "packaging", "layout.sh"), ts.MkAbs(args[0]), binary)
	out, err := c.CombinedOutput()
	if err != nil {
		ts.Fatalf("layout.sh: %v\n%s", err, out)
	}
}

// cmdContainer starts what the Dockerfile says, as process 1 of a namespace.
func cmdContainer(ts *testscript.TestScript, neg bool, args []string) {
	need(ts, !neg && len(args) > 0, "container DIR [K=V...]")
	d, err := readDockerfile(filepath.Join(root, "Dockerfile"))
	ts.Check(err)
	wrap := []string{"--pid", "--fork", "--kill-child", "--mount-proc"}
	if os.Geteuid() != 0 {
		wrap = append([]string{"--map-root-user"}, wrap...)
	}
	h := of(ts)
	c := h.command(ts.MkAbs(args[0]), slices.Concat(d.env, args[1:]), "unshare", append(wrap, d.cmd...)...)
	h.serve(ts, c, "")
	// The namespace's process 1 is unshare's only child.
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", h.server.cmd.Process.Pid)
	// The kernel may leave one out of the list while others come and go (proc(5)).
	if !poll(10*time.Second, func() bool {
		b, _ := os.ReadFile(children)
		h.inner, err = strconv.Atoi(strings.TrimSpace(string(b)))
		return err == nil
	}) {
		ts.Fatalf("unshare has no child: %v", err)
	}
}

// pid returns whom a word is about: the process of a pid file, else the server.
func (h *house) pid(ts *testscript.TestScript, args []string) int {
	if len(args) == 0 {
		return cmp.Or(h.inner, h.server.cmd.Process.Pid)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(ts.ReadFile(args[0])))
	ts.Check(err)
	return pid
}
