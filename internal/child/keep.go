package child

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	// Retry is how long after its end a program is started again, as in SRS. If it
	// fails again and again the time doubles, up to retryMost.
	Retry     = 3 * time.Second
	retryMost = time.Minute
	// settled is how long a program must have run to have begun well.
	settled = 30 * time.Second
	// Patience is how long a program may take to end after SIGTERM, before it is
	// killed.
	Patience = 5 * time.Second
)

var errStopped = errors.New("stopped before it began")

// A Spec is one start of a program.
type Spec struct {
	// Path is the program's file; it is not looked for.
	Path string
	// Argv are the arguments, the program's name first.
	Argv []string
	// LogDir and LogName name the file that is told what the program writes. Without
	// a name, or with /dev/null for a folder, only the last lines are remembered.
	LogDir, LogName string
	// Hide, if set, makes an argument what may be written to the log.
	Hide func(string) string
	// Stdout and Stderr, if set, are files that the program appends to instead.
	Stdout, Stderr string
	// Talk, if set, is called when the program has started, with pipes to its standard
	// input and from its standard output, which are closed when it has ended. It
	// must not wait.
	Talk func(in io.Writer, out io.Reader)
}

// line is the command line as the log may tell it.
func (s *Spec) line() string {
	said := append([]string{}, s.Argv...)
	for i := range said {
		if s.Hide != nil {
			said[i] = s.Hide(said[i])
		}
	}
	return fmt.Sprintf("%q", said)
}

// States of a program.
const (
	Starting = "starting"
	Running  = "running"
	Waiting  = "waiting" // to be started again
	Stopping = "stopping"
	Stopped  = "stopped"
)

// A Status says how a program does.
type Status struct {
	State    string
	PID      int // 0 while it does not run
	Began    time.Time
	Restarts int
	// Exit is how it ended last: "exit status 1", or why it could not be started.
	Exit string
	// Lines are the last that it wrote, and Progress ffmpeg's.
	Lines    []string
	Progress string
}

// Options say what is kept running.
type Options struct {
	// Spec is asked before each start; an error of it is a start that failed.
	Spec func() (Spec, error)
	// Told is called when the program started (pid) and when it ended or could not
	// be started (0 and why, nil for a good end). May be nil.
	Told func(pid int, err error)
	// Retry and Patience replace the constants of these names; 0 means those.
	Retry, Patience time.Duration
}

// A Program is kept running until it is stopped.
type Program struct {
	o    Options
	stop chan struct{}
	done chan struct{}
	once sync.Once

	mu       sync.Mutex
	patience time.Duration // guarded by mu, as is all below
	process  *os.Process   // nil unless it runs and may be signalled
	state    string
	began    time.Time
	restarts int
	exit     string
	record   *record
}

// Keep starts a program, and starts it again whenever it ended, until
// [Program.Stop].
func Keep(o Options) *Program {
	if o.Retry == 0 {
		o.Retry = Retry
	}
	if o.Patience == 0 {
		o.Patience = Patience
	}
	p := &Program{o: o, stop: make(chan struct{}), done: make(chan struct{}), state: Starting, patience: o.Patience}
	go p.run()
	return p
}

// Done is closed when the program has ended and will not be started again.
func (p *Program) Done() <-chan struct{} { return p.done }

// Stop has the program end: its group gets SIGTERM, once more after a quarter of
// patience (an ffmpeg that waits for its input heeds only the second), and SIGKILL if it does not end within patience, 0 for the usual. It does not wait; see [Program.Done].
func (p *Program) Stop(patience time.Duration) {
	p.mu.Lock()
	if patience > 0 {
		p.patience = patience
	}
	if p.state != Stopped {
		p.state = Stopping
	}
	p.mu.Unlock()
	p.once.Do(func() { close(p.stop) })
}

// Status returns how the program does.
func (p *Program) Status() Status {
	p.mu.Lock()
	s := Status{State: p.state, Began: p.began, Restarts: p.restarts, Exit: p.exit}
	if p.process != nil {
		s.PID = p.process.Pid
	}
	r := p.record
	p.mu.Unlock()
	if r != nil {
		s.Lines, s.Progress = r.last()
	}
	return s
}

func (p *Program) run() {
	defer close(p.done)
	delay := p.o.Retry
	for {
		began := time.Now()
		err := p.start()
		if errors.Is(err, errStopped) {
			break
		}
		delay = nextDelay(p.o.Retry, delay, time.Since(began), err)
		if !p.turn(Waiting, err) {
			break
		}
		if p.o.Told != nil {
			p.o.Told(0, err)
		}
		select {
		case <-p.stop:
		case <-time.After(delay):
		}
		if !p.turn(Starting, err) {
			break
		}
		p.mu.Lock()
		p.restarts++
		p.mu.Unlock()
	}
	p.mu.Lock()
	p.state = Stopped
	p.mu.Unlock()
}

// nextDelay returns how long to wait after a run that ended with err: as at first
// after one that was good or long, else twice as long as before.
func nextDelay(first, before, ran time.Duration, err error) time.Duration {
	if err == nil || ran >= settled {
		return first
	}
	return min(max(retryMost, first), 2*before)
}

// turn sets the state, and returns false if the program is to stop.
func (p *Program) turn(state string, err error) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exit = ending(err)
	if p.state == Stopping {
		return false
	}
	p.state = state
	return true
}

// start runs the program once.
func (p *Program) start() error {
	spec, err := p.o.Spec()
	if err != nil {
		return err
	}
	rec, err := newRecord(spec.LogDir, spec.LogName)
	if err != nil {
		rec.Write([]byte(err.Error() + "\n")) // it runs without a log
	}
	defer rec.close()
	files, pipe, err := spec.files()
	if err != nil {
		return err
	}
	var in, out *os.File
	if spec.Talk != nil {
		if in, out, err = talk(&files); err != nil {
			if pipe != nil {
				pipe.Close()
			}
			return err
		}
		defer in.Close()
		defer out.Close()
	}
	rec.note("start: " + spec.line())
	process, err := launch(spec.Path, spec.Argv, files, p.stop)
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		if pipe != nil {
			pipe.Close()
		}
		return err
	}
	copied := make(chan struct{})
	go func() {
		defer close(copied)
		if pipe != nil {
			rec.copyFrom(pipe)
			pipe.Close()
		}
	}()
	p.mu.Lock()
	p.process, p.began, p.record = process, time.Now(), rec
	if p.state != Stopping {
		p.state = Running
	}
	p.mu.Unlock()
	if p.o.Told != nil {
		p.o.Told(process.Pid, nil)
	}
	if spec.Talk != nil {
		spec.Talk(in, out)
	}
	err = p.await(process)
	if pipe != nil {
		pipe.SetReadDeadline(time.Now().Add(time.Second)) // one that left the group may hold it
	}
	<-copied
	rec.note("end: " + ending(err))
	return err
}

// ending says how a program ended.
func ending(err error) string {
	switch {
	case err == nil:
		return "exit status 0"
	case errors.Is(err, errStopped):
		return "stopped"
	}
	return err.Error()
}

// await waits for the end of a process, which it brings about if the program is to
// stop, and of all that is left of its group.
func (p *Program) await(process *os.Process) error {
	over := make(chan struct{})
	var state *os.ProcessState
	var err error
	go func() {
		defer close(over)
		ended(process)
		p.mu.Lock()
		p.process = nil // from here on nobody else signals it
		p.mu.Unlock()
		syscall.Kill(-process.Pid, syscall.SIGKILL)
		guard.remove(process.Pid)
		state, err = process.Wait()
		gone(process.Pid)
	}()
	select {
	case <-over:
	case <-p.stop:
		p.signal(syscall.SIGTERM)
		p.mu.Lock()
		patience := p.patience
		p.mu.Unlock()
		for _, next := range []struct {
			after time.Duration
			then  syscall.Signal
		}{{patience / 4, syscall.SIGTERM}, {patience - patience/4, syscall.SIGKILL}} {
			select {
			case <-over:
			case <-time.After(next.after):
				p.signal(next.then)
			}
		}
		<-over
		return errStopped
	}
	switch {
	case err != nil:
		return err
	case !state.Success():
		return errors.New(state.String())
	}
	return nil
}

// signal signals the group while its leader has not been waited for.
func (p *Program) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.process != nil {
		syscall.Kill(-p.process.Pid, s)
	}
}

// files opens the standard files of a program. What it writes comes out of pipe,
// which is nil if both its outputs go to files.
func (s *Spec) files() (files [3]*os.File, pipe *os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			if pipe != nil {
				pipe.Close()
			}
		}
	}()
	if files[0], err = os.Open(os.DevNull); err != nil {
		return files, nil, err
	}
	var w *os.File
	if s.Stdout == "" || s.Stderr == "" {
		if pipe, w, err = os.Pipe(); err != nil {
			return files, nil, err
		}
		defer w.Close()
	}
	for i, name := range []string{s.Stdout, s.Stderr} {
		if name == "" {
			files[i+1], err = again(w)
		} else {
			files[i+1], err = os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		}
		if err != nil {
			return files, pipe, err
		}
	}
	return files, pipe, nil
}

// talk puts pipes in the place of a program's standard input and output, and returns our
// ends of them.
func talk(files *[3]*os.File) (in, out *os.File, err error) {
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
		}
	}()
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		theirIn.Close()
		in.Close()
		return nil, nil, err
	}
	files[0].Close()
	files[1].Close()
	files[0], files[1] = theirIn, theirOut
	return in, out, nil
}

// again returns another descriptor of a file.
func again(f *os.File) (*os.File, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := syscall.Dup(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	syscall.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), f.Name()), nil
}
