package api

// index is SRS's list of the endpoints, in its order.
type index struct {
	Versions        string `json:"versions"`
	Summaries       string `json:"summaries"`
	Rusages         string `json:"rusages"`
	SelfProcStats   string `json:"self_proc_stats"`
	SystemProcStats string `json:"system_proc_stats"`
	Meminfos        string `json:"meminfos"`
	Authors         string `json:"authors"`
	Features        string `json:"features"`
	Requests        string `json:"requests"`
	Vhosts          string `json:"vhosts"`
	Streams         string `json:"streams"`
	Clients         string `json:"clients"`
	Raw             string `json:"raw"`
	Clusters        string `json:"clusters"`
}

type tests struct {
	Requests  string `json:"requests"`
	Errors    string `json:"errors"`
	Redirects string `json:"redirects"`
}

var v1Index = index{
	Versions:        "the SRS level that this server speaks",
	Summaries:       "process and machine: cpu, memory, network, load",
	Rusages:         "resource usage of the process",
	SelfProcStats:   "state of the process, as the kernel counts",
	SystemProcStats: "processor times of the machine",
	Meminfos:        "memory of the machine",
	Authors:         "license and contributors",
	Features:        "what this server can do",
	Requests:        "this list, as in SRS; see tests",
	Vhosts:          "all vhosts, or one by id",
	Streams:         "all streams, or one by id; start and count page",
	Clients:         "all clients, or one by id; DELETE ends one; start and count page",
	Raw:             "the configuration, with rpc=raw; rpc=reload, reload-fetch",
	Clusters:        "where a stream is: vhost, app, stream, ip",
}

var v1Tests = tests{
	Requests:  "what the server saw of the request",
	Errors:    "always code 100",
	Redirects: "always redirects to errors",
}

type rootIndex struct {
	API string   `json:"api"`
	RTC rtcIndex `json:"rtc"`
}

type rtcIndex struct {
	V1 struct {
		Play    string `json:"play"`
		Publish string `json:"publish"`
		Nack    string `json:"nack"`
	} `json:"v1"`
}

func newRootIndex() rootIndex {
	x := rootIndex{API: "the api root"}
	x.RTC.V1.Play, x.RTC.V1.Publish, x.RTC.V1.Nack = "Play stream", "Publish stream", "Simulate the NACK"
	return x
}
