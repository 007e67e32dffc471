package service

import (
	"net/http"
	"net/netip"
	"strings"

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
	q := r.URL.Query()
	for _, name := range []string{q.Get("vhost"), q.Get("domain")} {
		if name != "" {
			return name
		}
	}
	return hostname(r.Host)
}

func hostname(host string) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host = host[:i]
	}
	return strings.Trim(host, "[]")
}

// Visitor describes who sends a request. Where a proxy in front names the real
// client (X-Forwarded-For, X-Real-IP), its address is the one reported, as in
// SRS; the address of the connection stays in Remote.
func Visitor(r *http.Request, protocol, app string) session.Visitor {
	v := session.Visitor{Protocol: protocol, PageURL: r.Header.Get("Referer"), TLS: r.TLS != nil, TcURL: "http://" + hostname(r.Host) + "/" + app}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		v.Remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	first, _, _ := strings.Cut(r.Header.Get("X-Forwarded-For"), ",")
	for _, s := range []string{first, r.Header.Get("X-Real-IP")} {
		s = strings.TrimSpace(s)
		if ip, err := netip.ParseAddr(s); err == nil {
			v.IP = ip.Unmap().String()
			break
		}
		if ap, err := netip.ParseAddrPort(s); err == nil {
			v.IP = ap.Addr().Unmap().String()
			break
		}
	}
	return v
}
