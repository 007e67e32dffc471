package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// How many programs may run at once: small ones, which copy or decode a little;
// encoders, which make the sources; and big ones, such as browsers, for the whole
// of the test that takes a hall, so that no publisher waits for its player.
var (
	seats = make(chan struct{}, 6)
	ovens = make(chan struct{}, 2)
	halls = make(chan struct{}, 2)
)

// hall lets the test run big programs until it ends. It comes before all that the
// test starts.
func hall(t *testing.T) {
	t.Helper()
	halls <- struct{}{}
	t.Cleanup(func() { <-halls })
}

// clientTime is how long a program may take that is to end by itself.
const clientTime = 60 * time.Second

// result is how a program ended.
type result struct {
	out, errors string
	err         error
}

// String tells all of it.
func (r result) String() string {
	return fmt.Sprintf("%v\nstdout: %s\nstderr: %s", r.err, tail(r.out, 10), tail(r.errors, 30))
}

// run runs a small program to its end.
func run(t *testing.T, name string, args ...string) result {
	t.Helper()
	seats <- struct{}{}
	defer func() { <-seats }()
	return runIn(t, exec.Command(name, args...))
}

// runIn runs a program to its end.
func runIn(t *testing.T, cmd *exec.Cmd) result {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	p := start(t, cmd, nil)
	err := p.wait(clientTime)
	return result{out.String(), errs.String(), err}
}

// must runs a program that has to end well and say nothing.
func must(t *testing.T, name string, args ...string) string {
	t.Helper()
	r := run(t, name, args...)
	if r.err != nil || r.errors != "" {
		t.Fatalf("%s %q: %v", name, args, r)
	}
	return r.out
}

// process is a program that runs, with all the programs that it started.
type process struct {
	cmd  *exec.Cmd
	log  *journal
	done chan struct{} // closed when it has ended
	err  error         // why, set before done is closed
}

// start starts a program in a process group of its own. It is killed at the end
// of the test if it lives so long. The journal is what its output goes to, if
// any.
func start(t *testing.T, cmd *exec.Cmd, log *journal) *process {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = 2 * time.Second // a grandchild may hold its output
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (test/install.sh installs what the tests need)", err)
	}
	p := &process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(p.kill)
	return p
}

func (p *process) signal(s syscall.Signal) {
	select {
	case <-p.done: // its id may be another's by now
	default:
		syscall.Kill(-p.cmd.Process.Pid, s)
	}
}

// kill ends the group at once.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// wait waits until the program has ended, and kills it if that takes too long.
func (p *process) wait(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.kill()
		return fmt.Errorf("did not end within %v", within)
	}
}

// running reports whether the program has not ended.
func (p *process) running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// background starts a program whose output goes to its journal.
func background(t *testing.T, name string, args ...string) *process {
	t.Helper()
	log := newJournal()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = log, log
	return start(t, cmd, log)
}

// exitCode returns the status with which a program ended, -1 for a signal.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return -1
	}
	return -2
}
