package host

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// What Linux tells of itself below /proc. Elsewhere the files are missing and
// the numbers stay 0.

// tick is the unit of processor times in /proc, which Linux fixes at 1/100 s
// for programs.
const tick = 0.01

func proc(name string) []byte {
	if runtime.GOOS != "linux" {
		return nil
	}
	b, err := os.ReadFile("/proc/" + name)
	if err != nil {
		return nil
	}
	return b
}

func floats(fields []string) []float64 {
	out := make([]float64, len(fields))
	for i, s := range fields {
		out[i], _ = strconv.ParseFloat(s, 64)
	}
	return out
}

func (h *Host) read() reading {
	r := reading{at: time.Now(), self: CPUSeconds()}
	if cpu := cpuTimes(); len(cpu) >= 5 {
		for i, v := range cpu {
			if i < 8 {
				r.total += v * tick
			}
		}
		r.busy = r.total - (cpu[3]+cpu[4])*tick
	}
	r.disks(proc("diskstats"), h.stats().Disks)
	public := publicInterfaces()
	lines(proc("net/dev"), func(f []string) {
		name, ok := strings.CutSuffix(f[0], ":")
		if !ok || len(f) < 10 {
			return
		}
		n := floats(f[1:])
		if public[name] {
			r.netIn, r.netOut = r.netIn+int64(n[0]), r.netOut+int64(n[8])
		} else {
			r.innerIn, r.innerOut = r.innerIn+int64(n[0]), r.innerOut+int64(n[8])
		}
	})
	return r
}

// disks adds up /proc/diskstats: of the disks that are named, or of all.
func (r *reading) disks(stats []byte, names []string) {
	lines(stats, func(f []string) {
		if len(f) < 13 || len(names) > 0 && !slices.Contains(names, f[2]) || len(names) == 0 && !wholeDisk(f[2]) {
			return
		}
		n := floats(f[3:])
		r.diskRead += n[2]
		r.diskWrite += n[6]
		r.diskMS += n[9]
	})
}

func lines(b []byte, f func(fields []string)) {
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		if fields := strings.Fields(sc.Text()); len(fields) > 0 {
			f(fields)
		}
	}
}

// wholeDisk reports whether a block device is a disk rather than a part of one or
// something made of others.
func wholeDisk(name string) bool {
	switch {
	case strings.HasPrefix(name, "sd"), strings.HasPrefix(name, "vd"), strings.HasPrefix(name, "hd"):
		return len(name) == 3
	case strings.HasPrefix(name, "xvd"):
		return len(name) == 4
	case strings.HasPrefix(name, "nvme"):
		return !strings.Contains(name, "p")
	}
	return false
}

// cpuTimes returns the first line of /proc/stat: user, nice, system, idle,
// iowait, irq, softirq, steal, guest.
func cpuTimes() []float64 {
	line, _, _ := bytes.Cut(proc("stat"), []byte("\n"))
	if f := strings.Fields(string(line)); len(f) > 1 {
		return floats(f[1:])
	}
	return nil
}

// memoryInfo is in KiB.
type memoryInfo struct {
	rss, total, free, available, buffers, cached, swap, swapFree int64
}

func memory() (m memoryInfo) {
	into := map[string]*int64{"MemTotal:": &m.total, "MemFree:": &m.free, "MemAvailable:": &m.available, "Buffers:": &m.buffers,
		"Cached:": &m.cached, "SwapTotal:": &m.swap, "SwapFree:": &m.swapFree}
	lines(proc("meminfo"), func(f []string) {
		if p := into[f[0]]; p != nil && len(f) > 1 {
			*p, _ = strconv.ParseInt(f[1], 10, 64)
		}
	})
	if f := strings.Fields(string(proc("self/statm"))); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		m.rss = pages * int64(os.Getpagesize()) / 1024
	}
	return m
}

func loads() (l [3]float64) {
	if f := strings.Fields(string(proc("loadavg"))); len(f) >= 3 {
		copy(l[:], floats(f[:3]))
	}
	return l
}

func uptime() (up, idle float64) {
	if f := strings.Fields(string(proc("uptime"))); len(f) >= 2 {
		n := floats(f)
		return n[0], n[1]
	}
	return 0, 0
}

// sockets counts the machine's connections: all of TCP, established, waiting,
// UDP. The counts come from sockstat, not from reading every socket.
func sockets() (all, established, wait, udp int) {
	lines(append(proc("net/sockstat"), proc("net/sockstat6")...), func(f []string) {
		for i := 1; i+1 < len(f); i += 2 {
			n, _ := strconv.Atoi(f[i+1])
			switch f[0] + f[i] {
			case "TCP:inuse", "TCP6:inuse":
				established += n
				all += n
			case "TCP:tw":
				wait += n
				all += n
			case "UDP:inuse", "UDP6:inuse":
				udp += n
			}
		}
	})
	return all, established, wait, udp
}

type rusageRow struct {
	OK       bool  `json:"ok"`
	Sampled  int64 `json:"sample_time"`
	Utime    int64 `json:"ru_utime"`
	Stime    int64 `json:"ru_stime"`
	Maxrss   int64 `json:"ru_maxrss"`
	Ixrss    int64 `json:"ru_ixrss"`
	Idrss    int64 `json:"ru_idrss"`
	Isrss    int64 `json:"ru_isrss"`
	Minflt   int64 `json:"ru_minflt"`
	Majflt   int64 `json:"ru_majflt"`
	Nswap    int64 `json:"ru_nswap"`
	Inblock  int64 `json:"ru_inblock"`
	Oublock  int64 `json:"ru_oublock"`
	Msgsnd   int64 `json:"ru_msgsnd"`
	Msgrcv   int64 `json:"ru_msgrcv"`
	Nsignals int64 `json:"ru_nsignals"`
	Nvcsw    int64 `json:"ru_nvcsw"`
	Nivcsw   int64 `json:"ru_nivcsw"`
}

// Rusage is the answer of SRS's rusages.
func (h *Host) Rusage() any {
	_, last := h.usage()
	sampled := last.at.UnixMilli()
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return rusageRow{err == nil, sampled, int64(u.Utime.Sec), int64(u.Stime.Sec), int64(u.Maxrss), int64(u.Ixrss), int64(u.Idrss), int64(u.Isrss),
		int64(u.Minflt), int64(u.Majflt), int64(u.Nswap), int64(u.Inblock), int64(u.Oublock), int64(u.Msgsnd), int64(u.Msgrcv),
		int64(u.Nsignals), int64(u.Nvcsw), int64(u.Nivcsw)}
}

// selfStatFields are the columns of /proc/self/stat after pid, comm and state,
// in the order and spelling of SRS's answer.
var selfStatFields = []string{"ppid", "pgrp", "session", "tty_nr", "tpgid", "flags", "minflt", "cminflt", "majflt", "cmajflt", "utime", "stime",
	"cutime", "cstime", "priority", "nice", "num_threads", "itrealvalue", "starttime", "vsize", "rss", "rsslim", "startcode", "endcode",
	"startstack", "kstkesp", "kstkeip", "signal", "blocked", "sigignore", "sigcatch", "wchan", "nswap", "cnswap", "exit_signal", "processor",
	"rt_priority", "policy", "delayacct_blkio_ticks", "guest_time", "cguest_time"}

// ordered is an object whose members keep their order.
type ordered []member

type member struct {
	name  string
	value string // JSON
}

// MarshalJSON implements json.Marshaler.
func (o ordered) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, m.name)
		b = append(b, ':')
		b = append(b, m.value...)
	}
	return append(b, '}'), nil
}

// quote returns s as JSON. The name of a program may be any bytes.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

// SelfStat is the answer of SRS's self_proc_stats.
func (h *Host) SelfStat() any {
	u, last := h.usage()
	sampled, share := last.at.UnixMilli(), u.self
	o := ordered{{"ok", "true"}, {"sample_time", strconv.FormatInt(sampled, 10)}, {"percent", strconv.FormatFloat(share, 'f', 2, 64)},
		{"pid", strconv.Itoa(os.Getpid())}}
	stat := string(proc("self/stat"))
	open, closed := strings.IndexByte(stat, '('), strings.LastIndexByte(stat, ')')
	comm, state := "", ""
	var rest []string
	if open >= 0 && closed > open {
		comm = stat[open : closed+1]
		if f := strings.Fields(stat[closed+1:]); len(f) > 0 {
			state, rest = f[0], f[1:]
		}
	}
	o = append(o, member{"comm", quote(comm)}, member{"state", quote(state)})
	for i, name := range selfStatFields {
		v := "0"
		if i < len(rest) {
			if _, err := strconv.ParseInt(rest[i], 10, 64); err == nil {
				v = rest[i]
			} else if _, err := strconv.ParseUint(rest[i], 10, 64); err == nil {
				v = "-1" // RLIM_INFINITY, which SRS prints so
			}
		}
		o = append(o, member{name, v})
	}
	return o
}

// SystemStat is the answer of SRS's system_proc_stats.
func (h *Host) SystemStat() any {
	u, last := h.usage()
	sampled, share := last.at.UnixMilli(), u.system
	o := ordered{{"ok", "true"}, {"sample_time", strconv.FormatInt(sampled, 10)}, {"percent", strconv.FormatFloat(share, 'f', 2, 64)}}
	cpu := cpuTimes()
	for i, name := range []string{"user", "nice", "sys", "idle", "iowait", "irq", "softirq", "steal", "guest"} {
		v := "0"
		if i < len(cpu) {
			v = strconv.FormatInt(int64(cpu[i]), 10)
		}
		o = append(o, member{name, v})
	}
	return o
}
