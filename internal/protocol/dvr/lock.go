package dvr

import (
	"os"
	"syscall"
)

// lock marks a file as being written, until it is closed or the process is gone. It
// returns false if another process has marked it.
func lock(f *os.File) bool {
	c, err := f.SyscallConn()
	if err != nil {
		return false
	}
	held := false
	err = c.Control(func(fd uintptr) {
		held = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB) == syscall.EWOULDBLOCK
	})
	return err == nil && !held
}
