// Package golive tells encoders which ladder to send: the endpoint that OBS asks for its
// multitrack video (GetClientConfiguration), for vhosts with multitrack_video.
//
//	POST /multitrack_video/APP[?vhost=V]
//
// The request says what the encoder has, the answer what it is to send and where to. Both
// are OBS's shapes (schema_version 2024-06-04 and 2025-01-25); a refusal is an answer too,
// whose text OBS shows to its user. Who asks is not judged here: what it publishes is.
package golive

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
)

// prefix is where the endpoint is.
const prefix = "/multitrack_video/"

// bodyLimit bounds a request in bytes; OBS's have about two thousand.
const bodyLimit = 64 << 10

// GoLive is a handler. Make one with New.
type GoLive struct{ env service.Env }

// New returns the handler.
func New(env service.Env) *GoLive { return &GoLive{env} }

// Handle answers, or returns false if the request is none of its own: of another path, or
// of a vhost without multitrack_video.
func (g *GoLive) Handle(w http.ResponseWriter, r *http.Request) bool {
	app, ok := strings.CutPrefix(r.URL.Path, prefix)
	if !ok || app == "" {
		return false
	}
	snap := g.env.Conf.Load()
	vhost, ok := snap.Vhost(service.VhostName(r))
	if !ok {
		return false
	}
	conf := blocks.MultitrackVideo.Of(vhost)
	if !conf.Enabled {
		return false
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "POST what the encoder has, as OBS does", http.StatusMethodNotAllowed)
		return true
	}
	var ask request
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyLimit))
	if err == nil {
		err = json.Unmarshal(body, &ask)
	}
	if err != nil {
		http.Error(w, "this is not what OBS asks with: "+err.Error(), http.StatusBadRequest)
		return true
	}
	a := answer(conf, &ask)
	a.Endpoints = g.endpoints(snap, conf, r, app)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	json.NewEncoder(w).Encode(a)
	return true
}

// endpoints are where the encoder may publish, as it was told where to ask.
func (g *GoLive) endpoints(snap *config.Snapshot, conf *blocks.MultitrackVideoConfig, r *http.Request, app string) (all []endpoint) {
	// What follows the key OBS appends to what it publishes.
	path, query := (&url.URL{Path: "/" + app}).EscapedPath()+"/{stream_key}", ""
	for _, name := range []string{"vhost", "domain"} {
		if v := r.URL.Query().Get(name); v != "" && query == "" {
			query = "?vhost=" + url.QueryEscape(v)
		}
	}
	add := func(base string) {
		protocol, _, _ := strings.Cut(base, ":")
		all = append(all, endpoint{Protocol: strings.ToUpper(protocol), URL: strings.TrimSuffix(base, "/") + path + query})
	}
	if conf.Ingest != "" {
		add(conf.Ingest)
		return all
	}
	host := r.Host
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	at := func(scheme string, listen []string, usual int) {
		if len(listen) == 0 {
			return
		}
		base := scheme + "://" + host
		if _, port := config.SplitListen(listen[0]); port != usual {
			base += ":" + strconv.Itoa(port)
		}
		add(base)
	}
	at("rtmp", blocks.Root.In(snap).Listen, 1935)
	if t := blocks.RTMPS.In(snap); t.Enabled {
		at("rtmps", t.Listen, 443)
	}
	return all
}

// configID names a configuration: the same for the same ladder. OBS adds it to what it
// publishes, as the parameter clientConfigId.
func configID(v any) string {
	b, _ := json.Marshal(v)
	return fmt.Sprintf("weir-%08x", fnv32(b))
}
