package host

import (
	"os"
	"runtime"
	"strconv"
	"strings"
)

// CPUs returns how many processors the process may use: those it is allowed to run
// on, or less where a quota of its control group gives it less time.
func CPUs() float64 {
	n := float64(runtime.NumCPU())
	if q := quota(); q > 0 && q < n {
		return q
	}
	return n
}

// quota returns the quota of the control group in processors, 0 for none. Inside
// of a container its own group is the root of what it sees.
func quota() float64 {
	if runtime.GOOS != "linux" {
		return 0
	}
	best := 0.0
	consider := func(q float64) {
		if q > 0 && (best == 0 || q < best) {
			best = q
		}
	}
	for _, dir := range groups() {
		if b, err := os.ReadFile(dir + "/cpu.max"); err == nil {
			consider(parseQuota(b))
		}
	}
	q, err1 := os.ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
	p, err2 := os.ReadFile("/sys/fs/cgroup/cpu/cpu.cfs_period_us")
	if err1 == nil && err2 == nil {
		consider(parseQuota([]byte(strings.TrimSpace(string(q)) + " " + string(p))))
	}
	return best
}

// groups lists the folders of the process's group and those above it.
func groups() []string {
	const root = "/sys/fs/cgroup"
	dirs := []string{root}
	for line := range strings.Lines(string(proc("self/cgroup"))) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !ok {
			continue
		}
		dir := root
		for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
			if part != "" && part != ".." {
				dir += "/" + part
				dirs = append(dirs, dir)
			}
		}
	}
	return dirs
}

// parseQuota reads cpu.max: "max 100000", or microseconds in each period.
func parseQuota(b []byte) float64 {
	f := strings.Fields(string(b))
	if len(f) != 2 {
		return 0
	}
	quota, err1 := strconv.ParseFloat(f[0], 64)
	period, err2 := strconv.ParseFloat(f[1], 64)
	if err1 != nil || err2 != nil || quota <= 0 || period <= 0 {
		return 0
	}
	return quota / period
}
