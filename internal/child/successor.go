package child

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// succeeding is set in the environment of a process that is to take the place of the
// one which started it; descriptor reportFD is then its connection to that one.
const succeeding = "WEIR_SUCCESSOR"

// Path returns the path at which this program is found, also when another version
// has been put there: as it was called, so that a link is followed anew. It is asked
// before the working directory changes.
func Path() (string, error) {
	running, err := os.Executable()
	if err != nil {
		return "", err
	}
	called, err := exec.LookPath(os.Args[0])
	if err != nil {
		return running, nil
	}
	if called, err = filepath.Abs(called); err != nil {
		return running, nil
	}
	a, errA := os.Stat(called)
	b, errB := os.Stat(running)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return called, nil
	}
	return running, nil
}

// Succeed starts the program at path in dir with our arguments, to take our place; conn
// is its end of a connection. It has our environment and standard files, and outlives
// us.
func Succeed(path, dir string, conn *os.File) (*os.Process, error) {
	p, err := os.StartProcess(path, os.Args, &os.ProcAttr{
		Dir:   dir,
		Env:   append(os.Environ(), succeeding+"=1"),
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr, conn},
		Sys:   &syscall.SysProcAttr{},
	})
	if err != nil {
		return nil, err
	}
	family.Lock()
	family.ids[p.Pid] = true
	family.Unlock()
	return p, nil
}

// Gone waits until a process of [Succeed] has ended, and returns how.
func Gone(p *os.Process) (*os.ProcessState, error) {
	defer gone(p.Pid)
	return p.Wait()
}

// Succeeding returns the connection to the process that started this one to take its
// place, nil if none did.
func Succeeding() *os.File {
	if os.Getenv(succeeding) == "" {
		return nil
	}
	os.Unsetenv(succeeding)
	syscall.CloseOnExec(reportFD)
	return os.NewFile(reportFD, "predecessor")
}
