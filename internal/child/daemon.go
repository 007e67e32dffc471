// Package child starts programs. It is the only room that does, so that what a
// child inherits, and how it ends, is decided in one place.
//
// The idea: [Keep] keeps a program running, from a thread that lives as long as the
// process, in a process group of its own, with three descriptors and no terminal, and a
// watcher ([Watch]) outlives us for a moment. The promise: it is started again after a
// while and never in a storm; when it is stopped or ends nothing of its group stays, and
// when this process dies in whatever way, nothing of all that was started. What leaves its
// group and clears its environment is lost sight of.
package child

import (
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// detached is set in the environment of the process that Detach starts; the
// value is the number of the descriptor by which it reports.
const detached = "WEIR_DETACHED"

// reportFD is the first descriptor after the standard ones.
const reportFD = 3

// Detached reports whether this process was started by Detach. report tells the
// process that waits there how the start went, nil for well; it must be called
// once.
func Detached() (yes bool, report func(error)) {
	if os.Getenv(detached) == "" {
		return false, func(error) {}
	}
	os.Unsetenv(detached)
	syscall.CloseOnExec(reportFD)
	f := os.NewFile(reportFD, "report")
	return true, func(err error) {
		if err == nil {
			io.WriteString(f, "ready")
		} else {
			io.WriteString(f, err.Error())
		}
		f.Close()
	}
}

// A StartError is how a start in the background went wrong.
type StartError struct {
	Text string // what the process said
	Code int    // its exit code
}

// Error returns what the process said.
func (e *StartError) Error() string { return e.Text }

// SRSCode returns the exit code, which is the low byte of SRS's number.
func (e *StartError) SRSCode() int { return e.Code }

// Detach starts this program again, with the same arguments, in a session of its
// own without a terminal, and waits until it reports. The error is a
// [StartError] if it reported one, or died.
func Detach() (pid int, err error) {
	exe, err := os.Executable()
	if err != nil {
		return 0, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	p, err := os.StartProcess(exe, os.Args, &os.ProcAttr{
		Env:   append(os.Environ(), detached+"=1"),
		Files: []*os.File{null, null, null, w},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		return 0, fmt.Errorf("start in the background: %w", err)
	}
	said, err := io.ReadAll(io.LimitReader(r, 64<<10))
	switch text := strings.TrimSpace(string(said)); {
	case err != nil:
		return 0, err
	case text == "ready":
		return p.Pid, nil
	default:
		state, err := p.Wait()
		if err != nil {
			return 0, err
		}
		if text == "" {
			text = "the process in the background died at its start (" + state.String() + "); start it with daemon off to see why"
		}
		return 0, &StartError{Text: text, Code: max(1, state.ExitCode())}
	}
}
