package service

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/session"
)

// CORS lets any page read the answer, with SRS's headers.
func CORS(h http.Header) {
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Access-Control-Allow-Headers", "*")
	h.Set("Access-Control-Allow-Methods", "*")
	h.Set("Access-Control-Expose-Headers", "*")
	h.Set("Access-Control-Allow-Credentials", "false")
	h.Set("Access-Control-Request-Private-Network", "true")
}

// VhostName returns the vhost that a request names: by the parameter vhost (or
// domain), else by the host.
func VhostName(r *http.Request) string {
	for _, param := range []string{"vhost", "domain"} {
		if name, _ := Param(r, param); name != "" {
			return name
		}
	}
	return hostname(r.Host)
}

// AsSent returns the path of a request as it was sent, where that is another than
// r.URL.Path. SRS decodes no path, so a stream whose own name has escapes
// (rtmp://host/live/%E4%BD%A0) is asked for by them.
func AsSent(r *http.Request) (path string, differs bool) {
	path = r.URL.EscapedPath()
	return path, path != r.URL.Path
}

// Whole reports whether a URI is one of HTTP that has its host.
func Whole(uri string) bool {
	return strings.HasPrefix(uri, "http://") || strings.HasPrefix(uri, "https://")
}

// Param returns the first value of a parameter of the query, and how often it is there,
// as [url.URL.Query] has it, but without a map of all where the query is a plain one: it
// is asked for with each segment.
func Param(r *http.Request, name string) (value string, times int) {
	query := r.URL.RawQuery
	if strings.ContainsAny(query, "%+;") {
		all := r.URL.Query()[name]
		if len(all) > 0 {
			value = all[0]
		}
		return value, len(all)
	}
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		if pair == "" {
			continue
		}
		if key, v, _ := strings.Cut(pair, "="); key == name {
			if times++; times == 1 {
				value = v
			}
		}
	}
	return value, times
}

func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// Visitor describes who sends a request. Its address is that of the connection, or
// the one that a trusted proxy in front has told, see [Clients].
func Visitor(r *http.Request, protocol, app string) session.Visitor {
	host := VhostName(r)
	if host == hub.DefaultVhost {
		host = hostname(r.Host)
	}
	v := session.Visitor{Protocol: protocol, PageURL: r.Header.Get("Referer"), TLS: r.TLS != nil, TcURL: "http://" + host + "/" + app}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.Remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if at, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		ap := at.AddrPort()
		v.Local = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if ip := told(r); ip.IsValid() {
		v.IP = ip.String()
	}
	if token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok {
		v.Bearer = token
	}
	return v
}

// Asked is what a request for a stream by HTTP wants to play: kind is SRS's word for such
// clients ("flv-play"), and ext what its name ends with (".flv").
func Asked(r *http.Request, key hub.Key, kind, ext string) session.Ask {
	param := ""
	if r.URL.RawQuery != "" {
		param = "?" + r.URL.RawQuery
	}
	return session.Ask{Key: key, Type: kind, Name: key.Stream + ext, Said: session.Said{Vhost: VhostName(r), App: key.App, Stream: key.Stream, Param: param,
		TcURL: "rtmp://" + key.Vhost + "/" + key.App}}
}

// Enter signs the client of a request in that has one answer, if it may play the stream.
// Who called it closes the session.
func (e Env) Enter(r *http.Request, protocol string, ask session.Ask) (*session.Session, error) {
	s, err := e.Desk.Connect(r.Context(), Visitor(r, protocol, ask.Key.App))
	if err != nil {
		return nil, err
	}
	if err := s.Watch(r.Context(), ask); err != nil {
		s.Close(nil)
		return nil, err
	}
	return s, nil
}

// told returns the address of X-Forwarded-For, the first, or of X-Real-IP.
func told(r *http.Request) netip.Addr {
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	for _, s := range []string{first, r.Header.Get("X-Real-IP")} {
		if ip, ok := address(s); ok {
			return ip
		}
	}
	return netip.Addr{}
}

// address reads an address, perhaps with a port.
func address(s string) (netip.Addr, bool) {
	s = strings.TrimSpace(s)
	if ip, err := netip.ParseAddr(s); err == nil {
		return ip.Unmap(), true
	}
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap(), true
	}
	return netip.Addr{}, false
}

// Trusts reports whether the word of a peer about where a client comes from counts.
func Trusts(s *config.Snapshot, peer netip.Addr) bool {
	nets, any := blocks.Root.In(s).Proxies()
	return any || within(nets, peer)
}

func within(nets []netip.Prefix, ip netip.Addr) bool {
	ip = ip.Unmap().WithZone("")
	return slices.ContainsFunc(nets, func(n netip.Prefix) bool { return n.Contains(ip) })
}

type forwardedKey struct{}

// Clients leaves of what proxies told about where a request comes from only what
// counts: one address, in X-Forwarded-For, and nothing if the peer is no trusted
// proxy. Of several addresses it is the last one that is no trusted proxy's: those
// before it are the client's own words.
func Clients(s *config.Snapshot, r *http.Request) *http.Request {
	h := r.Header
	if h.Get("X-Forwarded-For") == "" && h.Get("X-Real-Ip") == "" && h.Get("Forwarded") == "" && h.Get("Via") == "" {
		return r
	}
	r = r.WithContext(context.WithValue(r.Context(), forwardedKey{}, true))
	nets, any := blocks.Root.In(s).Proxies()
	if any {
		return r
	}
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	client := netip.Addr{}
	if err == nil && within(nets, peer.Addr()) {
		all := strings.Split(strings.Join(h.Values("X-Forwarded-For"), ","), ",")
		for _, word := range slices.Backward(all) {
			ip, ok := address(word)
			if !ok {
				break // what is left of it is not a proxy's work
			}
			client = ip
			if !within(nets, ip) {
				break
			}
		}
		if ip, ok := address(h.Get("X-Real-Ip")); ok && !client.IsValid() {
			client = ip
		}
	}
	h.Del("X-Forwarded-For")
	h.Del("X-Real-Ip")
	if client.IsValid() {
		h.Set("X-Forwarded-For", client.String())
	}
	return r
}

// Forwarded reports whether a request that went through [Clients] came through a
// proxy, or says so.
func Forwarded(r *http.Request) bool {
	return r.Context().Value(forwardedKey{}) != nil
}

// Proxied is a listener of which trusted proxies begin each connection with a PROXY
// header, where the configuration says so.
func Proxied(l net.Listener, conf *config.Store) net.Listener {
	return link.ProxyListener{Listener: l, Expect: func(peer netip.Addr) bool {
		s := conf.Load()
		return blocks.Root.In(s).ProxyProtocol && Trusts(s, peer)
	}}
}
