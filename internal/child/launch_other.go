//go:build !linux

package child

import (
	"net/netip"
	"os"
	"syscall"
)

func stay() {}

// attributes put a child into a group of its own. Only Linux ends it by itself when
// this process is killed; elsewhere the watcher does.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func seal() {}

func ended(*os.Process) {}

// Adopt waits until stop is closed: there are no orphans to reap.
func Adopt(stop <-chan struct{}) { <-stop }

// Sockets is empty: it is not known how to find them.
func (p *Program) Sockets() []netip.AddrPort { return nil }
