package server

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"weir/internal/hub"
)

// An ExitError is an error with the number that SRS gives it; the process exits
// with its low eight bits.
type ExitError struct {
	Code int
	Err  error
}

// Error tells what happened.
func (e *ExitError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ExitError) Unwrap() error { return e.Err }

// SRS's numbers.
const (
	codeRunning = 1035
	codePidFile = 1034
)

// lockPid writes our pid to a file and locks it for as long as the process
// lives, as SRS does, so that a second server with the same file does not
// start. Close the file to give it up.
func lockPid(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, &ExitError{codePidFile, fmt.Errorf("folder %s of the pid file cannot be made: %w; let pid name another file", filepath.Dir(path), bare(err))}
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, &ExitError{codePidFile, fmt.Errorf("pid file %s cannot be written: %w; let pid name another file", path, bare(err))}
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart}
	if err := syscall.FcntlFlock(f.Fd(), syscall.F_SETLK, &lock); err != nil {
		held, _ := io.ReadAll(io.LimitReader(f, 32))
		f.Close()
		if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EAGAIN) {
			return nil, &ExitError{codeRunning, fmt.Errorf("already running as pid %s, which holds %s; stop it first, or configure another pid file", strings.TrimSpace(string(held)), path)}
		}
		return nil, &ExitError{codePidFile, fmt.Errorf("lock pid file %s: %w", path, err)}
	}
	// In this order it works also on a disk that is full, where there is a file.
	pid := []byte(strconv.Itoa(os.Getpid()))
	if _, err = f.WriteAt(pid, 0); err == nil {
		err = f.Truncate(int64(len(pid)))
	}
	if err != nil {
		f.Close()
		return nil, &ExitError{codePidFile, fmt.Errorf("write pid file: %w", err)}
	}
	return f, nil
}

// serverID returns the id that survives restarts: the configured one, else the
// one kept in a file beside the pid file (X.id for X.pid), made at the first
// start.
func serverID(configured, pidFile string) string {
	if configured != "" {
		return configured
	}
	if pidFile == "" {
		return hub.NewID("vid-", 7)
	}
	path := strings.TrimSuffix(pidFile, ".pid") + ".id"
	if b, err := os.ReadFile(path); err == nil {
		if id := strings.TrimSpace(string(b)); id != "" && len(id) < 64 {
			return id
		}
	}
	id := hub.NewID("vid-", 7)
	// Without a file to write to, the id is new at each start: no reason to fail.
	_ = os.WriteFile(path, []byte(id), 0o644)
	return id
}
