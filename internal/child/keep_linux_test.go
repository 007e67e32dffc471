package child

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// role says, in a process that a test started, what it is to be.
const role = "CHILD_TEST_ROLE"

func TestMain(m *testing.M) {
	if Watch() {
		return
	}
	switch os.Getenv(role) {
	case "server":
		beServer()
	case "first":
		beFirst()
	default:
		os.Exit(m.Run())
	}
}

// shell is a program that runs a script.
func shell(script string) Spec {
	return Spec{Path: "/bin/sh", Argv: []string{"sh", "-c", script}}
}

// keep keeps a script running until the test ends.
func keep(t *testing.T, o Options, s Spec) *Program {
	t.Helper()
	o.Spec = func() (Spec, error) { return s, nil }
	if o.Retry == 0 {
		o.Retry = time.Hour
	}
	p := Keep(o)
	t.Cleanup(func() { p.Stop(time.Millisecond); <-p.Done() })
	return p
}

// until waits for something that is to come true.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it is not true that: %s", what)
		}
	}
}

// alive reports whether a process is there and no zombie.
func alive(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return rest[0] != 'Z' && rest[0] != 'X'
}

// said returns the numbers that a program wrote, a line each, once there are n.
func said(t *testing.T, p *Program, n int) (pids []int) {
	t.Helper()
	until(t, "the program has said its numbers", func() bool {
		pids = nil
		for _, l := range p.Status().Lines {
			if pid, err := strconv.Atoi(l); err == nil {
				pids = append(pids, pid)
			}
		}
		return len(pids) >= n
	})
	return pids
}

// churn has a thousand goroutines end with their threads.
func churn() {
	for range 40 {
		var wg sync.WaitGroup
		for range 25 {
			wg.Go(func() { runtime.LockOSThread() })
		}
		wg.Wait()
	}
}

func TestChildOutlivesThreads(t *testing.T) {
	p := keep(t, Options{}, shell("echo $$; exec sleep 1000"))
	pid := said(t, p, 1)[0]

	// That a child of a thread that ends is killed is what makes this a test.
	other, over := make(chan *os.Process), make(chan struct{})
	defer close(over)
	var begin func()
	begin = func() {
		runtime.LockOSThread()
		if syscall.Gettid() == os.Getpid() { // the one thread that Go does not end
			go begin()
			<-over
			return
		}
		q, err := os.StartProcess("/bin/sleep", []string{"sleep", "30"}, &os.ProcAttr{Sys: attributes()})
		if err != nil {
			t.Error(err)
		}
		other <- q
	}
	go begin()
	q := <-other
	churn()
	if state, err := q.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Errorf("a child of a thread that ended: %v, %v", state, err)
	}
	if s := p.Status(); !alive(pid) || s.State != Running || s.PID != pid || s.Restarts != 0 {
		t.Errorf("after 1000 threads ended the child is %+v", s)
	}
}

// beServer keeps a program running that says its id, and those of what it started: in
// its group, out of it, and with nobody who knows them.
func beServer() {
	p := Keep(Options{Spec: func() (Spec, error) {
		return shell("trap '' TERM; sleep 1000 & echo $!; setsid sleep 1000 & echo $!; sh -c 'sh -c \"sleep 1000 & echo \\$!\" &'; echo $$; while :; do sleep 1; done"), nil
	}})
	for len(p.Status().Lines) < 4 {
		time.Sleep(time.Millisecond)
	}
	// Somebody kills the watcher: another one takes its place.
	first := awaitChild(0)
	syscall.Kill(first, syscall.SIGKILL)
	awaitChild(first)
	fmt.Println(p.Status().Lines)
	select {}
}

// another runs this test as another process.
func another(t *testing.T, as string) (*os.Process, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{os.Args[0]}, &os.ProcAttr{
		Env: append(os.Environ(), role+"="+as), Files: []*os.File{nil, w, w}})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); r.Close() })
	return p, r
}

func TestServerKilled(t *testing.T) {
	server, out := another(t, "server")
	b := make([]byte, 100)
	n, err := out.Read(b)
	said := strings.Fields(strings.Trim(strings.TrimSpace(string(b[:n])), "[]"))
	if err != nil || len(said) != 4 {
		t.Fatalf("the server's children are %q, %v", b[:n], err)
	}
	var pids []int
	for _, s := range said {
		pid, err := strconv.Atoi(s)
		if err != nil || !alive(pid) {
			t.Fatalf("%q of %v does not live: %v", s, said, err)
		}
		pids = append(pids, pid)
	}
	watchers := children(server.Pid, watching)
	if len(watchers) == 0 {
		t.Error("nobody watches")
	}
	server.Kill()
	server.Wait()
	for _, pid := range append(pids, watchers...) {
		until(t, fmt.Sprintf("%d of %v, watched by %v, is gone with the server", pid, pids, watchers), func() bool { return !alive(pid) })
	}
}

// awaitChild waits for a watcher of this process that is not the one before.
func awaitChild(before int) int {
	for ; ; time.Sleep(time.Millisecond) {
		for _, pid := range children(os.Getpid(), watching) {
			if pid != before {
				return pid
			}
		}
	}
}

// children lists the children of a process that have a name in their environment.
func children(parent int, name string) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		stat, _ := os.ReadFile(d + "/stat")
		_, rest, _ := strings.Cut(string(stat), ") ")
		env, _ := os.ReadFile(d + "/environ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) && bytes.Contains(env, []byte(name+"=")) {
			pid, _ := strconv.Atoi(filepath.Base(d))
			pids = append(pids, pid)
		}
	}
	return pids
}

// A log that was moved away is begun anew, and is not for everybody to read; secrets
// in the command line are not written there.
func TestReopenLogs(t *testing.T) {
	dir := t.TempDir()
	s := shell("echo first; while [ ! -e go ]; do sleep 0.01; done; echo second; sleep 1000")
	s.Argv[2] = "cd " + dir + "; " + s.Argv[2]
	s.LogDir, s.LogName, s.Hide = dir, "x.log", func(a string) string { return strings.ReplaceAll(a, "sleep 1000", "***") }
	p := keep(t, Options{}, s)
	until(t, "it has begun", func() bool { return len(p.Status().Lines) == 1 })
	file := filepath.Join(dir, "x.log")
	if err := os.Rename(file, file+".moved"); err != nil {
		t.Fatal(err)
	}
	if err := ReopenLogs(); err != nil {
		t.Fatal(err)
	}
	os.WriteFile(filepath.Join(dir, "go"), nil, 0o644)
	until(t, "it has gone on", func() bool { return len(p.Status().Lines) == 2 })
	first, _ := os.ReadFile(file + ".moved")
	second, _ := os.ReadFile(file)
	if !strings.HasSuffix(string(first), "\nfirst\n") || string(second) != "second\n" || strings.Contains(string(first), "sleep 1000") {
		t.Errorf("the logs are %q and %q", first, second)
	}
	if info, err := os.Stat(file); err != nil || info.Mode()&0o007 != 0 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestStopEndsTheGroup(t *testing.T) {
	p := keep(t, Options{}, shell("sleep 1000 & echo $!; echo $$; wait"))
	pids := said(t, p, 2)
	p.Stop(0)
	<-p.Done()
	for _, pid := range pids {
		until(t, "a member of the group is gone", func() bool { return !alive(pid) })
	}
	if s := p.Status(); s.State != Stopped || s.PID != 0 {
		t.Errorf("after its end: %+v", s)
	}
}

// What a program leaves behind in its group goes with it.
func TestEndEndsTheGroup(t *testing.T) {
	p := keep(t, Options{}, shell("sleep 1000 & echo $!; exit 3"))
	pid := said(t, p, 1)[0]
	until(t, "it has ended", func() bool { return p.Status().State == Waiting })
	until(t, "what it started is gone", func() bool { return !alive(pid) })
	if s := p.Status(); s.Exit != "exit status 3" {
		t.Errorf("exit is %q", s.Exit)
	}
}

func TestStubborn(t *testing.T) {
	p := keep(t, Options{Patience: 100 * time.Millisecond}, shell("trap '' TERM; echo $$; while :; do sleep 0.1; done"))
	pid := said(t, p, 1)[0]
	p.Stop(0)
	<-p.Done()
	if alive(pid) {
		t.Error("it ignored SIGTERM and lives")
	}
}

func TestRestart(t *testing.T) {
	var starts, ends atomic.Int32
	p := keep(t, Options{Retry: time.Millisecond, Told: func(pid int, err error) {
		if pid > 0 {
			starts.Add(1)
		} else if err == nil {
			ends.Add(1)
		}
	}}, shell("exit 0"))
	until(t, "it was started again", func() bool { return p.Status().Restarts >= 3 })
	p.Stop(0)
	<-p.Done()
	if starts.Load() < 3 || ends.Load() < 3 {
		t.Errorf("told of %d starts and %d ends", starts.Load(), ends.Load())
	}
}

func TestNextDelay(t *testing.T) {
	failed := os.ErrInvalid
	var got []time.Duration
	d := Retry
	for range 6 {
		d = nextDelay(Retry, d, time.Second, failed)
		got = append(got, d/time.Second)
	}
	if fmt.Sprint(got) != fmt.Sprint([]time.Duration{6, 12, 24, 48, 60, 60}) {
		t.Errorf("a program that dies at once waits %v", got)
	}
	if d := nextDelay(Retry, d, time.Second, nil); d != Retry {
		t.Errorf("after a good end %v", d)
	}
	if d := nextDelay(Retry, time.Minute, settled, failed); d != Retry {
		t.Errorf("after a long run %v", d)
	}
}

func TestMissingProgram(t *testing.T) {
	p := keep(t, Options{}, Spec{Path: "/nowhere/ffmpeg", Argv: []string{"ffmpeg"}})
	until(t, "its start has failed", func() bool { return p.Status().State == Waiting })
	if s := p.Status(); !strings.Contains(s.Exit, "no such file") {
		t.Errorf("exit is %q", s.Exit)
	}
}

func TestDescriptors(t *testing.T) {
	// A descriptor such as a careless parent leaves open.
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	t.Setenv("SRS_HTTP_API_AUTH_PASSWORD", "secret")
	dir := t.TempDir()
	s := shell("for f in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do readlink /proc/$$/fd/$f; done; env | grep -c SRS_; cat; echo err >&2")
	s.Stderr = filepath.Join(dir, "out.txt")
	p := keep(t, Options{}, s)
	until(t, "it has ended", func() bool { return p.Status().State == Waiting })
	got := strings.Join(p.Status().Lines, "\n")
	lines := strings.Split(got, "\n")
	if len(lines) != 4 || lines[0] != os.DevNull || !strings.HasPrefix(lines[1], "pipe:") || lines[2] != s.Stderr || lines[3] != "0" {
		t.Errorf("the child has these descriptors, and so many passwords:\n%s", got)
	}
	if b, _ := os.ReadFile(s.Stderr); string(b) != "err\n" {
		t.Errorf("stderr is %q", b)
	}
}

func TestFlood(t *testing.T) {
	dir := t.TempDir()
	s := shell("yes 'a line that nobody reads' | head -c 10000000 >&2; echo the end")
	s.LogDir, s.LogName = dir, "x.log"
	p := keep(t, Options{}, s)
	until(t, "it has ended", func() bool { return p.Status().State == Waiting })
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	for _, f := range files {
		if info, err := os.Stat(f); err != nil || info.Size() > logSize {
			t.Errorf("%s has %d bytes, %v", f, info.Size(), err)
		}
	}
	if st := p.Status(); len(st.Lines) != keptLines || st.Lines[keptLines-1] != "the end" {
		t.Errorf("the last lines are %q", st.Lines)
	}
}

func TestLogTurnsOver(t *testing.T) {
	dir := t.TempDir()
	r, err := newRecord(dir, "x.log")
	if err != nil {
		t.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcde\n"), 1<<12) // 64 KiB
	for range 2*logSize/len(block) + 2 {
		r.budget, r.second = logRate, time.Now().Unix()
		r.Write(block)
	}
	r.close()
	old, _ := os.Stat(filepath.Join(dir, "x.log.1"))
	now, _ := os.Stat(filepath.Join(dir, "x.log"))
	if old == nil || now == nil || old.Size() > logSize || now.Size() > logSize {
		t.Errorf("logs are %v and %v", old, now)
	}
}

func TestProgress(t *testing.T) {
	r, _ := newRecord(os.DevNull, "x.log")
	r.Write([]byte("Input #0\nframe=    1 fps=0.0\rframe=   25 fps= 25 speed=1x\rerror: \xff" + strings.Repeat("x", 1000) + "\n"))
	lines, progress := r.last()
	if len(lines) != 2 || lines[0] != "Input #0" || len(lines[1]) != lineSize || progress != "frame=   25 fps= 25 speed=1x" {
		t.Errorf("lines %q, progress %q", lines, progress)
	}
}

func TestOutput(t *testing.T) {
	if b, err := Output(time.Minute, "/bin/sh", "sh", "-c", "echo out; echo err >&2"); err != nil || string(b) != "out\nerr\n" {
		t.Errorf("Output: %q, %v", b, err)
	}
	if _, err := Output(50*time.Millisecond, "/bin/sh", "sh", "-c", "exec sleep 1000"); err == nil {
		t.Error("a program that hangs gave no error")
	}
	if _, err := Output(time.Minute, "/nowhere"); err == nil {
		t.Error("a program that is missing gave no error")
	}
}

// A program that is talked to gets what is written, and what it says comes back; both
// pipes end with it.
func TestTalk(t *testing.T) {
	s := shell("read line; echo said $line; echo aside >&2")
	said := make(chan string, 1)
	s.Talk = func(in io.Writer, out io.Reader) {
		io.WriteString(in, "hello\n")
		go func() {
			b, _ := io.ReadAll(out)
			said <- string(b)
		}()
	}
	p := keep(t, Options{}, s)
	if got := <-said; got != "said hello\n" {
		t.Errorf("it said %q", got)
	}
	until(t, "what it says aside is remembered", func() bool { return slices.Equal(p.Status().Lines, []string{"aside"}) })
}
