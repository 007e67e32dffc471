package child

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// mostOutput bounds what [Output] returns.
const mostOutput = 1 << 20

// Output runs a program to its end, at most for patience, and returns what it wrote.
func Output(patience time.Duration, path string, argv ...string) ([]byte, error) {
	spec := Spec{Path: path, Argv: argv}
	files, pipe, err := spec.files()
	if err != nil {
		return nil, err
	}
	defer pipe.Close()
	p, err := launch(path, argv, files, nil)
	for _, f := range files {
		f.Close()
	}
	if err != nil {
		return nil, err
	}
	defer gone(p.Pid)
	late := time.AfterFunc(patience, func() { syscall.Kill(-p.Pid, syscall.SIGKILL) })
	pipe.SetReadDeadline(time.Now().Add(patience + time.Second))
	var out bytes.Buffer
	io.Copy(&out, io.LimitReader(pipe, mostOutput))
	ended(p)
	late.Stop()
	guard.remove(p.Pid)
	state, err := p.Wait()
	switch {
	case err != nil:
		return nil, err
	case !state.Success():
		return out.Bytes(), fmt.Errorf("%s: %v", path, state)
	}
	return out.Bytes(), nil
}

// Runs reports whether a file is a program that may be started.
func Runs(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// Find returns the file of a program: of a name without a slash the first in PATH.
func Find(name string) (string, error) { return exec.LookPath(name) }
