package host

import (
	"os"
	"runtime"
	"syscall"
)

// Uname is what the call of that name tells of the system.
type Uname struct{ Sysname, Nodename, Release, Version, Machine string }

func unknown() Uname {
	name, _ := os.Hostname()
	return Uname{Sysname: runtime.GOOS, Nodename: name, Machine: runtime.GOARCH}
}

// CPUSeconds returns the processor time that the process has used.
func CPUSeconds() float64 {
	var ru syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) != nil {
		return 0
	}
	return float64(ru.Utime.Nano()+ru.Stime.Nano()) / 1e9
}
