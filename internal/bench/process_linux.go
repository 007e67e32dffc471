package bench

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// sampleProcesses measures processes with all their children, and the machine.
// No pids means the machine alone.
func sampleProcesses(pids []int) (usage, error) {
	u := usage{at: time.Now()}
	u.self, _ = processClock(os.Getpid())
	for _, pid := range softThreads() {
		d, _ := processClock(pid)
		u.soft += d
	}
	u.machine()
	for _, root := range pids {
		for i, pid := range family(root) {
			err := u.process(pid)
			if err != nil && i == 0 { // a child may have just ended
				return u, fmt.Errorf("bench: process %d: %w", root, err)
			}
		}
	}
	return u, nil
}

// processClock reads the CPU clock of a process, which counts nanoseconds of all
// its threads, those that have ended too. Its number is made of the process id
// (clock_getcpuclockid(3)).
func processClock(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED of the kernel
	var ts syscall.Timespec
	clock := int32(^pid<<3 | scheduled)
	_, _, e := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&ts)), 0)
	if e != 0 {
		return 0, e
	}
	return time.Duration(ts.Nano()), nil
}

// process adds one.
func (u *usage) process(pid int) error {
	cpu, err := processClock(pid)
	if err != nil {
		return err
	}
	u.cpu += cpu
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return err
	}
	// The name, in brackets, may hold anything. Field 3 is the first behind it:
	// proc_pid_stat(5).
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 22 {
		return fmt.Errorf("its stat has %d fields", len(f))
	}
	field := func(i int) uint64 {
		n, _ := strconv.ParseUint(f[i-3], 10, 64)
		return n
	}
	u.user += field(14)
	u.sys += field(15)
	u.rss += int64(field(24)) * int64(os.Getpagesize())
	return nil
}

// machine reads what all processors did.
func (u *usage) machine() {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, f := range strings.Fields(line) {
		// cpu user nice system idle iowait irq softirq steal, and guests,
		// who are counted as user already.
		if i == 0 || i > 8 {
			continue
		}
		n, _ := strconv.ParseUint(f, 10, 64)
		if u.all += n; i == 4 || i == 5 {
			u.idle += n
		}
	}
}

// maxFamily bounds what counts as one server.
const maxFamily = 4096

// family returns a process and all that descend from it.
func family(pid int) []int {
	all := []int{pid}
	for i := 0; i < len(all) && len(all) < maxFamily; i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", all[i]))
		for _, list := range lists {
			b, _ := os.ReadFile(list)
			for f := range strings.FieldsSeq(string(b)) {
				if child, err := strconv.Atoi(f); err == nil {
					all = append(all, child)
				}
			}
		}
	}
	return all
}

// softThreads are the kernel's threads for what interrupts leave behind.
var softThreads = sync.OnceValue(func() (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	for _, name := range names {
		if b, _ := os.ReadFile(name); strings.HasPrefix(string(b), "ksoftirqd/") {
			if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name))); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
})
