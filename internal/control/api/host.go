package api

import (
	"context"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"weir/internal/sender"
)

// sampleEvery is how often the use of the processor is measured.
const sampleEvery = 3 * time.Second

// host knows the machine and the process. What the system does not tell is 0.
type host struct {
	started time.Time

	mu   sync.Mutex
	last reading // guarded by mu
	now  usage   // guarded by mu
}

// reading is what the kernel has counted up to a moment.
type reading struct {
	at            time.Time
	self          float64 // processor seconds of the process
	busy, total   float64 // processor seconds of the machine
	diskRead      float64 // sectors of 512 bytes
	diskWrite     float64
	diskMS        float64
	netIn, netOut int64 // bytes of interfaces that lead out
	loIn, loOut   int64 // bytes of the loopback interface
}

// usage is what two readings make.
type usage struct {
	at                  time.Time
	self, system        float64 // shares, 0 to 1 (self may exceed 1 with more cores)
	diskRead, diskWrite int64   // KiB/s
	diskBusy            float64 // 0 to 1
}

func newHost() *host {
	h := &host{started: time.Now()}
	h.last = read()
	return h
}

func (h *host) run(ctx context.Context) error {
	t := time.NewTicker(sampleEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			h.sample(read())
		case <-ctx.Done():
			return nil
		}
	}
}

func (h *host) sample(r reading) {
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

func (h *host) usage() (usage, reading) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.now, h.last
}

type selfSummary struct {
	Version    string `json:"version"`
	PID        int    `json:"pid"`
	PPID       int    `json:"ppid"`
	Argv       string `json:"argv"`
	Cwd        string `json:"cwd"`
	MemKbyte   int64  `json:"mem_kbyte"`
	MemPercent fixed2 `json:"mem_percent"`
	CPUPercent fixed2 `json:"cpu_percent"`
	Uptime     int64  `json:"srs_uptime"`
}

type systemSummary struct {
	CPUPercent   fixed2 `json:"cpu_percent"`
	DiskRead     int64  `json:"disk_read_KBps"`
	DiskWrite    int64  `json:"disk_write_KBps"`
	DiskBusy     fixed2 `json:"disk_busy_percent"`
	RAMKbyte     int64  `json:"mem_ram_kbyte"`
	RAMPercent   fixed2 `json:"mem_ram_percent"`
	SwapKbyte    int64  `json:"mem_swap_kbyte"`
	SwapPercent  fixed2 `json:"mem_swap_percent"`
	CPUs         int    `json:"cpus"`
	CPUsOnline   int    `json:"cpus_online"`
	Uptime       fixed2 `json:"uptime"`
	IdleTime     fixed2 `json:"ilde_time"` // SRS's spelling
	Load1        fixed2 `json:"load_1m"`
	Load5        fixed2 `json:"load_5m"`
	Load15       fixed2 `json:"load_15m"`
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

// senderState tells how viewers are sent to, and what each send loop is doing.
type senderState struct {
	Kind  string             `json:"kind"`
	Loops []sender.LoopState `json:"loops,omitempty"`
}

func (a *API) summaries(w http.ResponseWriter, r *http.Request) {
	now := time.Now()
	u, last := a.host.usage()
	m := memory()
	conns, _ := a.env.Desk.Len()
	total := a.env.Desk.Traffic()[""]
	share := func(part, whole int64) fixed2 {
		if whole == 0 {
			return 0
		}
		return fixed2(float64(part) / float64(whole))
	}
	self := selfSummary{Version: a.env.Level, PID: a.env.PID, PPID: os.Getppid(), Argv: strings.Join(os.Args, " "), Cwd: a.env.Cwd,
		MemKbyte: m.rss, MemPercent: share(m.rss, m.total), CPUPercent: fixed2(u.self), Uptime: int64(now.Sub(a.host.started).Seconds())}
	load := loads()
	up, idle := uptime()
	sys := systemSummary{CPUPercent: fixed2(u.system), DiskRead: u.diskRead, DiskWrite: u.diskWrite, DiskBusy: fixed2(u.diskBusy),
		RAMKbyte: m.total, RAMPercent: share(m.total-m.available, m.total), SwapKbyte: m.swap, SwapPercent: share(m.swap-m.swapFree, m.swap),
		CPUs: runtime.NumCPU(), CPUsOnline: runtime.NumCPU(), Uptime: fixed2(up), IdleTime: fixed2(idle),
		Load1: fixed2(load[0]), Load5: fixed2(load[1]), Load15: fixed2(load[2]),
		NetSample: last.at.UnixMilli(), NetRecv: last.netIn, NetSend: last.netOut, NetRecvInner: last.loIn, NetSendInner: last.loOut,
		SrsSample: now.UnixMilli(), SrsRecv: total.In, SrsSend: total.Out, ConnSrs: conns}
	sys.Conn, sys.ConnEst, sys.ConnWait, sys.ConnUDP = sockets()
	a.data(w, r, struct {
		OK      bool              `json:"ok"`
		NowMS   int64             `json:"now_ms"`
		Self    selfSummary       `json:"self"`
		System  systemSummary     `json:"system"`
		Weir    string            `json:"weir_version"`
		Notices map[string]string `json:"notices,omitempty"`
		Sender  senderState       `json:"sender"`
	}{true, now.UnixMilli(), self, sys, a.env.Version, a.env.Notices.All(), senderState{a.env.Loops.Kind(), a.env.Loops.States()}})
}

// facts answers the endpoints that repeat what the kernel tells.
func (a *API) facts(w http.ResponseWriter, r *http.Request, name string) {
	u, last := a.host.usage()
	sampled := last.at.UnixMilli()
	switch name {
	case "rusages":
		a.data(w, r, rusage(sampled))
	case "self_proc_stats":
		a.data(w, r, selfStat(sampled, u.self))
	case "system_proc_stats":
		a.data(w, r, systemStat(sampled, u.system))
	case "meminfos":
		m := memory()
		percent := func(free, all int64) fixed2 {
			if all == 0 {
				return 0
			}
			return fixed2(1 - float64(free)/float64(all))
		}
		a.data(w, r, struct {
			OK          bool   `json:"ok"`
			Sampled     int64  `json:"sample_time"`
			PercentRAM  fixed2 `json:"percent_ram"`
			PercentSwap fixed2 `json:"percent_swap"`
			Active      int64  `json:"MemActive"`
			InUse       int64  `json:"RealInUse"`
			NotInUse    int64  `json:"NotInUse"`
			Total       int64  `json:"MemTotal"`
			Free        int64  `json:"MemFree"`
			Buffers     int64  `json:"Buffers"`
			Cached      int64  `json:"Cached"`
			SwapTotal   int64  `json:"SwapTotal"`
			SwapFree    int64  `json:"SwapFree"`
		}{true, sampled, percent(m.available, m.total), percent(m.swapFree, m.swap), m.total - m.free, m.total - m.available, m.available,
			m.total, m.free, m.buffers, m.cached, m.swap, m.swapFree})
	case "authors":
		a.data(w, r, struct {
			License      string `json:"license"`
			Contributors string `json:"contributors"`
		}{"MIT", "the weir authors"})
	case "features":
		a.data(w, r, features(a.env.Version))
	}
}

type featureList struct {
	SSL         bool `json:"ssl"`
	HLS         bool `json:"hls"`
	HDS         bool `json:"hds"`
	Callback    bool `json:"callback"`
	API         bool `json:"api"`
	HTTPD       bool `json:"httpd"`
	DVR         bool `json:"dvr"`
	Transcode   bool `json:"transcode"`
	Ingest      bool `json:"ingest"`
	Stat        bool `json:"stat"`
	Caster      bool `json:"caster"`
	ComplexSend bool `json:"complex_send"`
	TCPNoDelay  bool `json:"tcp_nodelay"`
	SendBuf     bool `json:"so_sendbuf"`
	MergedRead  bool `json:"mr"`
}

// features tells what works in this version.
func features(version string) any {
	return struct {
		Options  string      `json:"options"`
		Options2 string      `json:"options2"`
		Build    string      `json:"build"`
		Build2   string      `json:"build2"`
		Features featureList `json:"features"`
	}{"weir " + version, runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, "", "",
		featureList{HLS: true, Callback: true, API: true, HTTPD: true, Stat: true, ComplexSend: true, TCPNoDelay: true}}
}
