//go:build !linux

package child

import (
	"os"
	"syscall"
)

func stay() {}

// attributes put a child into a group of its own. Only Linux ends it when this
// process is killed.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func seal() {}

func ended(*os.Process) {}

// Adopt waits until stop is closed: there are no orphans to reap.
func Adopt(stop <-chan struct{}) { <-stop }
