package api

import (
	"net/http"
	"runtime"

	"weir/internal/host"
	"weir/internal/sender"
)

// senderState tells how viewers are sent to, and what each send loop is doing.
type senderState struct {
	Kind  string             `json:"kind"`
	Loops []sender.LoopState `json:"loops,omitempty"`
}

// summary is SRS's, and what is ours.
type summary struct {
	host.Summary
	Weir    string            `json:"weir_version"`
	Notices map[string]string `json:"notices,omitempty"`
	Sender  senderState       `json:"sender"`
}

func (a *API) summaries(w http.ResponseWriter, r *http.Request) {
	a.data(w, r, summary{a.env.Summary(), a.env.Version, a.env.Notices.All(), senderState{a.env.Loops.Kind(), a.env.Loops.States()}})
}

// facts answers the endpoints that repeat what the kernel tells.
func (a *API) facts(w http.ResponseWriter, r *http.Request, name string) {
	switch name {
	case "rusages":
		a.data(w, r, a.env.Host.Rusage())
	case "self_proc_stats":
		a.data(w, r, a.env.Host.SelfStat())
	case "system_proc_stats":
		a.data(w, r, a.env.Host.SystemStat())
	case "meminfos":
		a.data(w, r, a.env.Host.Memory())
	case "authors":
		a.data(w, r, authors{"MIT", "the weir authors"})
	case "features":
		a.data(w, r, features(a.env.Version))
	}
}

type authors struct {
	License      string `json:"license"`
	Contributors string `json:"contributors"`
}

type featureReply struct {
	Options  string      `json:"options"`
	Options2 string      `json:"options2"`
	Build    string      `json:"build"`
	Build2   string      `json:"build2"`
	Features featureList `json:"features"`
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
func features(version string) featureReply {
	return featureReply{"weir " + version, runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH, "", "",
		featureList{SSL: true, HLS: true, HDS: true, Callback: true, API: true, HTTPD: true, DVR: true, Transcode: true, Ingest: true, Stat: true, Caster: true, ComplexSend: true, TCPNoDelay: true, MergedRead: true}}
}
