package api

import (
	"net"
	"net/http"

	"weir/internal/config"
	"weir/internal/hub"
)

// clusters tells another server of an origin cluster where a stream is: here, if
// somebody publishes it.
func (a *API) clusters(w http.ResponseWriter, r *http.Request) {
	v := r.URL.Query()
	answer := clustersData{Query: clustersQuery{v.Get("ip"), v.Get("vhost"), v.Get("app"), v.Get("stream")}}
	q := answer.Query
	if st := a.env.Hub.Stream(hub.Key{Vhost: q.Vhost, App: q.App, Stream: q.Stream}); st != nil && st.Live() {
		// The address by which the one who asks knows us is one that it can reach.
		ip := q.IP
		if host, _ := config.SplitListen(v.Get("coworker")); host != "" {
			ip = host
		}
		rtmp, api := a.set.Ports()
		at := net.JoinHostPort(ip, api)
		answer.Origin = &clustersOrigin{ip, rtmp, q.Vhost, at, []string{at}}
	}
	a.send(w, r, clustersReply{0, answer})
}

type clustersReply struct {
	Code int          `json:"code"`
	Data clustersData `json:"data"`
}

type clustersData struct {
	Query  clustersQuery   `json:"query"`
	Origin *clustersOrigin `json:"origin"`
}

type clustersQuery struct {
	IP     string `json:"ip"`
	Vhost  string `json:"vhost"`
	App    string `json:"app"`
	Stream string `json:"stream"`
}

type clustersOrigin struct {
	IP      string   `json:"ip"`
	Port    int      `json:"port"`
	Vhost   string   `json:"vhost"`
	API     string   `json:"api"`
	Routers []string `json:"routers"`
}
