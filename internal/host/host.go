// Package host knows the machine and the process: processor, memory, disks,
// network, as SRS's summaries, heartbeat and metrics tell of them.
//
// What the kernel counts is read when it is asked for, but for rates, which are
// made of samples; what a system does not tell is 0.
package host

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// sampleEvery is how often the use of the processor is measured.
const sampleEvery = 3 * time.Second

// Stats is what SRS's block stats says.
type Stats struct {
	On    bool
	Disks []string // names below /dev; empty means every whole disk
}

// A Host samples the machine while it runs. Make one with New.
type Host struct {
	started time.Time
	stats   func() Stats

	mu   sync.Mutex
	last reading // guarded by mu
	now  usage   // guarded by mu
}

// reading is what the kernel has counted up to a moment.
type reading struct {
	at                time.Time
	self              float64 // processor seconds of the process
	busy, total       float64 // processor seconds of the machine
	diskRead          float64 // sectors of 512 bytes
	diskWrite         float64
	diskMS            float64
	netIn, netOut     int64 // bytes of interfaces with an address of the internet
	innerIn, innerOut int64 // bytes of the others
}

// usage is what two readings make.
type usage struct {
	at                  time.Time
	self, system        float64 // shares, 0 to 1 (self may exceed 1 with more cores)
	diskRead, diskWrite int64   // KiB/s
	diskBusy            float64 // 0 to 1
}

// New returns a host; stats is asked at each sample.
func New(stats func() Stats) *Host {
	h := &Host{started: time.Now(), stats: stats}
	h.last = h.read()
	return h
}

// Run takes the samples until ctx is done.
func (h *Host) Run(ctx context.Context) error {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if h.stats().On {
				h.sample(h.read())
			}
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *Host) sample(r reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	d := r.at.Sub(h.last.at).Seconds()
	if d <= 0 {
		return
	}
	h.now = usage{at: r.at, self: (r.self - h.last.self) / d, diskBusy: min(1, (r.diskMS-h.last.diskMS)/1000/d),
		diskRead: int64((r.diskRead - h.last.diskRead) / 2 / d), diskWrite: int64((r.diskWrite - h.last.diskWrite) / 2 / d)}
	if t := r.total - h.last.total; t > 0 {
		h.now.system = (r.busy - h.last.busy) / t
	}
	h.last = r
}

func (h *Host) usage() (usage, reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now, h.last
}

// Self is what the summaries say of the process.
type Self struct {
	Version    string `json:"version"`
	PID        int    `json:"pid"`
	PPID       int    `json:"ppid"`
	Argv       string `json:"argv"`
	Cwd        string `json:"cwd"`
	MemKbyte   int64  `json:"mem_kbyte"`
	MemPercent Fixed2 `json:"mem_percent"`
	CPUPercent Fixed2 `json:"cpu_percent"`
	Uptime     int64  `json:"srs_uptime"`
}

// System is what they say of the machine.
type System struct {
	CPUPercent   Fixed2 `json:"cpu_percent"`
	DiskRead     int64  `json:"disk_read_KBps"`
	DiskWrite    int64  `json:"disk_write_KBps"`
	DiskBusy     Fixed2 `json:"disk_busy_percent"`
	RAMKbyte     int64  `json:"mem_ram_kbyte"`
	RAMPercent   Fixed2 `json:"mem_ram_percent"`
	SwapKbyte    int64  `json:"mem_swap_kbyte"`
	SwapPercent  Fixed2 `json:"mem_swap_percent"`
	CPUs         int    `json:"cpus"`
	CPUsOnline   int    `json:"cpus_online"`
	Uptime       Fixed2 `json:"uptime"`
	IdleTime     Fixed2 `json:"ilde_time"` // SRS's spelling
	Load1        Fixed2 `json:"load_1m"`
	Load5        Fixed2 `json:"load_5m"`
	Load15       Fixed2 `json:"load_15m"`
	NetSample    int64  `json:"net_sample_time"`
	NetRecv      int64  `json:"net_recv_bytes"`
	NetSend      int64  `json:"net_send_bytes"`
	NetRecvInner int64  `json:"net_recvi_bytes"`
	NetSendInner int64  `json:"net_sendi_bytes"`
	SrsSample    int64  `json:"srs_sample_time"`
	SrsRecv      int64  `json:"srs_recv_bytes"`
	SrsSend      int64  `json:"srs_send_bytes"`
	Conn         int    `json:"conn_sys"`
	ConnEst      int    `json:"conn_sys_et"`
	ConnWait     int    `json:"conn_sys_tw"`
	ConnUDP      int    `json:"conn_sys_udp"`
	ConnSrs      int    `json:"conn_srs"`
}

// A Summary is the data of SRS's summaries.
type Summary struct {
	OK     bool   `json:"ok"`
	NowMS  int64  `json:"now_ms"`
	Self   Self   `json:"self"`
	System System `json:"system"`
}

// A Server is what a summary tells that the server knows itself.
type Server struct {
	Version, Cwd string
	In, Out      int64 // bytes of all sessions
	Sessions     int
}

func share(part, whole int64) Fixed2 {
	if whole == 0 {
		return 0
	}
	return Fixed2(float64(part) / float64(whole))
}

// Summary returns the summary of now.
func (h *Host) Summary(s Server) Summary {
	now := time.Now()
	u, last := h.usage()
	m := memory()
	self := Self{Version: s.Version, PID: os.Getpid(), PPID: os.Getppid(), Argv: strings.Join(os.Args, " "), Cwd: s.Cwd,
		MemKbyte: m.rss, MemPercent: share(m.rss, m.total), CPUPercent: Fixed2(u.self), Uptime: int64(now.Sub(h.started).Seconds())}
	load := loads()
	up, idle := uptime()
	sys := System{CPUPercent: Fixed2(u.system), DiskRead: u.diskRead, DiskWrite: u.diskWrite, DiskBusy: Fixed2(u.diskBusy),
		RAMKbyte: m.total, RAMPercent: share(m.total-m.available, m.total), SwapKbyte: m.swap, SwapPercent: share(m.swap-m.swapFree, m.swap),
		CPUs: runtime.NumCPU(), CPUsOnline: runtime.NumCPU(), Uptime: Fixed2(up), IdleTime: Fixed2(idle),
		Load1: Fixed2(load[0]), Load5: Fixed2(load[1]), Load15: Fixed2(load[2]),
		NetSample: last.at.UnixMilli(), NetRecv: last.netIn, NetSend: last.netOut, NetRecvInner: last.innerIn, NetSendInner: last.innerOut,
		SrsSample: now.UnixMilli(), SrsRecv: s.In, SrsSend: s.Out, ConnSrs: s.Sessions}
	sys.Conn, sys.ConnEst, sys.ConnWait, sys.ConnUDP = sockets()
	return Summary{h.stats().On, now.UnixMilli(), self, sys}
}

// Memory is the answer of SRS's meminfos, in KiB.
func (h *Host) Memory() any {
	_, last := h.usage()
	m := memory()
	used := func(free, all int64) Fixed2 {
		if all == 0 {
			return 0
		}
		return Fixed2(1 - float64(free)/float64(all))
	}
	return struct {
		OK          bool   `json:"ok"`
		Sampled     int64  `json:"sample_time"`
		PercentRAM  Fixed2 `json:"percent_ram"`
		PercentSwap Fixed2 `json:"percent_swap"`
		Active      int64  `json:"MemActive"`
		InUse       int64  `json:"RealInUse"`
		NotInUse    int64  `json:"NotInUse"`
		Total       int64  `json:"MemTotal"`
		Free        int64  `json:"MemFree"`
		Buffers     int64  `json:"Buffers"`
		Cached      int64  `json:"Cached"`
		SwapTotal   int64  `json:"SwapTotal"`
		SwapFree    int64  `json:"SwapFree"`
	}{true, last.at.UnixMilli(), used(m.available, m.total), used(m.swapFree, m.swap), m.total - m.free, m.total - m.available, m.available,
		m.total, m.free, m.buffers, m.cached, m.swap, m.swapFree}
}

// Resident returns the memory of the process in KiB.
func Resident() int64 { return memory().rss }

// CPU returns the share of one core that the process used in the last sample: 2
// is two cores.
func (h *Host) CPU() float64 {
	u, _ := h.usage()
	return u.self
}

// Fixed2 is a number that JSON has with two decimals, as SRS writes it.
type Fixed2 float64

// MarshalJSON implements json.Marshaler.
func (f Fixed2) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'f', 2, 64), nil
}
