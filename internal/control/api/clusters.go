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
	type query struct {
		IP     string `json:"ip"`
		Vhost  string `json:"vhost"`
		App    string `json:"app"`
		Stream string `json:"stream"`
	}
	type origin struct {
		IP      string   `json:"ip"`
		Port    int      `json:"port"`
		Vhost   string   `json:"vhost"`
		API     string   `json:"api"`
		Routers []string `json:"routers"`
	}
	v := r.URL.Query()
	answer := struct {
		Query  query   `json:"query"`
		Origin *origin `json:"origin"`
	}{Query: query{v.Get("ip"), v.Get("vhost"), v.Get("app"), v.Get("stream")}}
	q := answer.Query
	if st := a.env.Hub.Stream(hub.Key{Vhost: q.Vhost, App: q.App, Stream: q.Stream}); st != nil && st.Live() {
		// The address by which the one who asks knows us is one that it can reach.
		ip := q.IP
		if host, _ := config.SplitListen(v.Get("coworker")); host != "" {
			ip = host
		}
		rtmp, api := a.set.Ports()
		at := net.JoinHostPort(ip, api)
		answer.Origin = &origin{ip, rtmp, q.Vhost, at, []string{at}}
	}
	a.send(w, r, struct {
		Code int `json:"code"`
		Data any `json:"data"`
	}{0, answer})
}
