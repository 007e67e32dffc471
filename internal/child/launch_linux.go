package child

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// stay binds the goroutine to its thread for good.
func stay() { runtime.LockOSThread() }

// attributes put a child into a group of its own, and have the kernel kill it when
// this process is gone, however it went.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

const (
	sysCloseRange   = 436 // on every architecture
	closeRangeCLOEX = 4
)

// seal marks all descriptors but the standard ones as not to be inherited: Go does
// that with its own, but not with those that this process was started with.
func seal() {
	syscall.Syscall(sysCloseRange, 3, uintptr(^uint32(0)), closeRangeCLOEX) // Linux 5.11; before it those remain
}

const (
	pAll    = 0
	pPID    = 1
	wNoWait = 0x01000000
)

// A siginfo is the kernel's siginfo_t, of which only the id of the process is read.
type siginfo [16]uint64 // 128 bytes, aligned

// pid returns the id in a siginfo of a child: after three ints, which 64 bits pad.
func (s *siginfo) pid() int {
	at := uintptr(12)
	if unsafe.Sizeof(uintptr(0)) == 8 {
		at = 16
	}
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(s), at)))
}

// waitid waits for a child to end and leaves it for somebody to reap. It returns 0
// if none has ended and flags say not to wait.
func waitid(kind, id, flags int) (pid int, err error) {
	for {
		var info siginfo
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, uintptr(kind), uintptr(id), uintptr(unsafe.Pointer(&info)),
			uintptr(syscall.WEXITED|wNoWait|flags), 0, 0)
		switch errno {
		case 0:
			return info.pid(), nil
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

// ended waits until a child has ended, whose id then still is its own.
func ended(p *os.Process) { waitid(pPID, p.Pid, 0) }

// Adopt has this process reap what its children leave behind, if that falls to it:
// as the first process of a container it is the parent of all that have none. Those
// that [Keep] started are left to who waits for them. It runs until stop is closed.
func Adopt(stop <-chan struct{}) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGCHLD)
	defer signal.Stop(signals)
	const again = 50 * time.Millisecond // somebody else is to reap the first one
	for {
		var retry <-chan time.Time
		if !reap() {
			retry = time.After(again)
		}
		select {
		case <-signals:
		case <-retry:
		case <-stop:
			return
		}
	}
}

// reap reaps orphans until there are none; it returns false if one that is not an
// orphan is in the way.
func reap() bool {
	for {
		family.Lock()
		pid, err := waitid(pAll, 0, syscall.WNOHANG)
		ours := family.ids[pid]
		if err == nil && pid > 0 && !ours {
			syscall.Wait4(pid, nil, syscall.WNOHANG, nil)
		}
		family.Unlock()
		if err != nil || pid == 0 {
			return true
		}
		if ours {
			return false
		}
	}
}
