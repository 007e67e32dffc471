package child

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A process that is killed cannot end what it started, and the kernel ends only its own
// children for it, not theirs. So another one looks on: this program again, as a
// watcher, which holds the end of a pipe. When the pipe breaks, the server is gone,
// however it went; then the watcher kills the groups that it has been told of, and
// whoever bears the server's mark in its environment, though it has left its group.

const (
	// watching is set in the environment of the watcher; its value is the mark.
	watching = "WEIR_WATCHER"
	// marking is set in the environment of programs.
	marking = "WEIR_HAND"
	// pipeFD is the descriptor by which the watcher is told.
	pipeFD = 3
	// clearTime is how long the watcher looks for what is left.
	clearTime = 5 * time.Second
	// watcherPause is before another watcher is started.
	watcherPause = 100 * time.Millisecond
)

// Watch must be the first that a program calls which is to be watched. It returns true
// when this process has been a watcher, and should end.
func Watch() bool {
	mark := os.Getenv(watching)
	if mark == "" {
		guard.mu.Lock()
		guard.able = true
		guard.mu.Unlock()
		return false
	}
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	os.Chdir("/")
	watch(os.NewFile(pipeFD, "pipe"), mark)
	return true
}

// watch reads what groups there are until the pipe breaks, and ends what is left.
func watch(pipe io.Reader, mark string) {
	groups := map[int32]bool{}
	var b [4]byte
	for {
		if _, err := io.ReadFull(pipe, b[:]); err != nil {
			break
		}
		if g := int32(binary.LittleEndian.Uint32(b[:])); g > 0 {
			groups[g] = true
		} else {
			delete(groups, -g)
		}
	}
	for g := range groups {
		syscall.Kill(-int(g), syscall.SIGKILL)
	}
	// What forks while it is looked for may be missed once.
	for deadline, clear := time.Now().Add(clearTime), 0; clear < 2 && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if clear++; killMarked(mark) {
			clear = 0
		}
	}
}

// killMarked kills the processes that bear a mark; it returns false if there are none.
func killMarked(mark string) (found bool) {
	files, _ := filepath.Glob("/proc/[0-9]*/environ")
	want := []byte(marking + "=" + mark)
	for _, f := range files {
		env, _ := os.ReadFile(f)
		for _, e := range bytes.Split(env, []byte{0}) {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f))); err == nil && bytes.Equal(e, want) {
				syscall.Kill(pid, syscall.SIGKILL)
				found = true
			}
		}
	}
	return found
}

// guard tells the watcher.
var guard watcher

type watcher struct {
	mu     sync.Mutex
	able   bool // Watch has been called; guarded by mu, as is all below
	mark   string
	pipe   *os.File
	groups map[int]bool
}

// environment returns what programs are to have in theirs.
func (w *watcher) environment() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.able {
		return nil
	}
	if w.mark == "" {
		b := make([]byte, 16)
		rand.Read(b)
		w.mark = hex.EncodeToString(b)
	}
	return []string{marking + "=" + w.mark}
}

// add tells of a group that is there, and remove of one that is no longer.
func (w *watcher) add(group int)    { w.tell(group, true) }
func (w *watcher) remove(group int) { w.tell(group, false) }

func (w *watcher) tell(group int, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.able {
		return
	}
	if w.groups == nil {
		w.groups = map[int]bool{}
	}
	if there {
		w.groups[group] = true
	} else {
		delete(w.groups, group)
		group = -group
	}
	if w.pipe != nil {
		w.write(group) // if that fails it has ended, which is noticed
		return
	}
	w.begin()
}

// begin starts a watcher and tells it all. w.mu is held.
func (w *watcher) begin() {
	if w.pipe = w.start(); w.pipe == nil {
		return // programs run unwatched
	}
	for g := range w.groups {
		w.write(g)
	}
}

func (w *watcher) write(group int) {
	w.pipe.Write(binary.LittleEndian.AppendUint32(nil, uint32(int32(group))))
}

// again puts another watcher in the place of one that somebody has killed.
func (w *watcher) again() {
	time.Sleep(watcherPause)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pipe.Close()
	w.begin()
}

// start starts a watcher and returns the pipe to it. w.mu is held.
func (w *watcher) start() *os.File {
	exe := "/proc/self/exe" // also when the file has been replaced
	if runtime.GOOS != "linux" {
		var err error
		if exe, err = os.Executable(); err != nil {
			return nil
		}
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil
	}
	defer null.Close()
	r, pipe, err := os.Pipe()
	if err != nil {
		return nil
	}
	defer r.Close()
	family.Lock() // so that nobody takes it for an orphan
	// Under another name, so that "pidof weir" is the server alone.
	p, err := os.StartProcess(exe, []string{filepath.Base(os.Args[0]) + "-watcher", "(watches " + strconv.Itoa(os.Getpid()) + ")"}, &os.ProcAttr{
		Env: []string{watching + "=" + w.mark}, Files: []*os.File{null, null, null, r}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err == nil {
		family.ids[p.Pid] = true
	}
	family.Unlock()
	if err != nil {
		pipe.Close()
		return nil
	}
	go func() {
		p.Wait()
		gone(p.Pid)
		w.again()
	}()
	return pipe
}
