package process

import (
	"fmt"
	"net"
	"net/http"
	"path"
	"strings"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// An order is an ingest that was asked for by the API. It lasts until it is taken back
// or the server ends, is had without a program, and only from where ingest_allow says.
type order struct {
	url      string
	onDemand bool
}

// permit returns why an address may not be had for the API, nil if it may. Patterns are
// scheme://host or scheme://host:port, where a host of * is any, and *.name any below
// that one. Addresses that parsers could understand in more than one way are refused.
func permit(patterns []string, url string) error {
	s, host, port, ok := authority(url)
	if !ok {
		return fmt.Errorf("%.200q is no address that may be pulled for the API", session.Mask(url))
	}
	if s == "" || pullers[s] == nil {
		return fmt.Errorf("the scheme %s is none that may be pulled for the API", s)
	}
	for _, p := range patterns {
		ps, ph, pp, ok := authority(strings.Replace(p, "://*", "://"+anyHost, 1))
		if !ok || ps != s || pp != "" && pp != port {
			continue
		}
		below, wild := strings.CutPrefix(ph, anyHost)
		if ph == host || wild && (below == "" || below[0] == '.' && strings.HasSuffix(host, below) && len(host) > len(below)) {
			return nil
		}
	}
	return fmt.Errorf("%s://%s is not in http_api.ingest_allow", s, net.JoinHostPort(host, port))
}

// anyHost stands for * in the host of a pattern.
const anyHost = "--any--"

// authority takes an address apart. ok is false unless it is plain: a scheme, a host of
// letters, digits, dots and dashes or an IPv6 address in brackets, perhaps a port, and
// nothing that could be a user's name.
func authority(url string) (scheme, host, port string, ok bool) {
	scheme, rest, ok := strings.Cut(url, "://")
	if !ok || strings.ContainsFunc(url, func(r rune) bool { return r <= ' ' || r == 0x7f || r == '\\' }) {
		return "", "", "", false
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	scheme, host = strings.ToLower(scheme), strings.ToLower(rest)
	if inner, after, bracket := strings.Cut(host, "]"); bracket {
		if host, ok = strings.CutPrefix(inner, "["); !ok || net.ParseIP(host) == nil {
			return "", "", "", false
		}
		if port, ok = strings.CutPrefix(after, ":"); !ok && after != "" {
			return "", "", "", false
		}
	} else {
		host, port, _ = strings.Cut(host, ":")
		if host == "" || strings.Trim(host, "abcdefghijklmnopqrstuvwxyz0123456789.-") != "" {
			return "", "", "", false
		}
	}
	return scheme, host, port, strings.Trim(port, "0123456789") == ""
}

// orders adds what the API asked for.
func (p *planner) orders(all map[hub.Key]order) {
	allowed := blocks.HTTPAPI.In(p.snap).IngestAllow
	for key, o := range all {
		v, ok := p.snap.Vhost(key.Vhost)
		if !ok || v.Name != key.Vhost || permit(allowed, o.url) != nil {
			continue
		}
		if o.onDemand && !p.demanded(key, blocks.OnDemandKeep) {
			continue
		}
		p.add(want{id: "ingest/api/" + key.String(), kind: "ingest", name: "api", key: key, made: []any{"api", o, allowed},
			url: o.url, target: rtmp.Target{Schema: "rtmp", Host: p.house.Host, Port: p.house.port, Vhost: key.Vhost, App: key.App, Stream: key.Stream},
			allow: func(url string) error { return permit(allowed, url) }})
	}
}

var ordered = [][2]string{{"app", "the app"}, {"stream", "the stream"}, {"vhost", "the vhost, if it is not the default one"}}

type nothing struct{}

func (s *server) orderEndpoints() []service.Endpoint {
	return []service.Endpoint{
		{Method: "POST", Path: "ingests/start", Reply: nothing{}, Answer: s.onStart,
			Summary: "have a stream from elsewhere, without a program, until it is stopped or the server ends",
			Params: append([][2]string{{"url", "its address, as http_api.ingest_allow permits"},
				{"on_demand", "on to have it only while somebody plays it"}}, ordered...)},
		{Method: "POST", Path: "ingests/stop", Summary: "end what ingests/start began", Params: ordered, Reply: nothing{}, Answer: s.onStop},
	}
}

// codeOrder is SRS's number for an ingest that cannot be.
const codeOrder = 3035

func (s *server) onStart(r *http.Request) (any, *service.Refusal) {
	q := r.URL.Query()
	no := func(status int, text string) (any, *service.Refusal) {
		return nil, &service.Refusal{Status: status, Code: codeOrder, Text: text}
	}
	snap := s.env.Conf.Load()
	v, ok := snap.Vhost(q.Get("vhost"))
	if !ok {
		return no(http.StatusNotFound, "there is no such vhost")
	}
	key := hub.Key{Vhost: v.Name, App: q.Get("app"), Stream: q.Get("stream")}
	if !plain(key.App) || !plain(key.Stream) || strings.Contains(key.Stream, "/") {
		return no(http.StatusBadRequest, "app and stream must be names")
	}
	if err := permit(blocks.HTTPAPI.In(snap).IngestAllow, q.Get("url")); err != nil {
		return no(http.StatusForbidden, err.Error())
	}
	elder := s.askElder(orderPath, key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, there := s.asked[key]; there || elder {
		return no(http.StatusConflict, "that stream is had already")
	}
	if len(s.asked) >= most {
		return no(http.StatusServiceUnavailable, "too many are had already")
	}
	s.asked[key] = order{url: q.Get("url"), onDemand: q.Get("on_demand") == "on"}
	s.nudge()
	return nothing{}, nil
}

func (s *server) onStop(r *http.Request) (any, *service.Refusal) {
	q := r.URL.Query()
	v, _ := s.env.Conf.Load().Vhost(q.Get("vhost"))
	if v == nil {
		return nil, &service.Refusal{Status: http.StatusNotFound, Code: codeOrder, Text: "there is no such vhost"}
	}
	key := hub.Key{Vhost: v.Name, App: q.Get("app"), Stream: q.Get("stream")}
	if !s.takeBack(key) {
		return nil, &service.Refusal{Status: http.StatusNotFound, Code: codeOrder, Text: "that stream was not started by the API"}
	}
	return nothing{}, nil
}

// plain reports whether a text is a name that means the same in an address.
func plain(name string) bool {
	return name != "" && path.Clean("/"+name) == "/"+name && !strings.ContainsAny(name, "?#&=\\%") &&
		!strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f })
}
