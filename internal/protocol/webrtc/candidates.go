package webrtc

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/wire/sdp"
)

// resolveTime is how long the name by which the API was called may take to be found.
const resolveTime = 2 * time.Second

// reach is what is known of the ways to us.
type reach struct {
	conf     *blocks.RTCServerConfig
	udp, tcp uint16 // ports; 0 if there is none
	// addresses returns those of this machine's interfaces; resolve those of a name.
	addresses func() []netip.Addr
	resolve   func(ctx context.Context, name string) []netip.Addr
}

// hosts returns the addresses that a peer is told, in SRS's order of finding them:
// what it asks for itself, the host by which it called the API, what is configured, and
// if that is nothing, those of the interfaces. near says that the caller is on this
// machine.
func (r *reach) hosts(ctx context.Context, asked, host string, near bool) (all []string) {
	add := func(h string) {
		if h != "" && !slices.Contains(all, h) {
			all = append(all, h)
		}
	}
	add(asked)
	if r.conf.APIAsCandidates {
		for _, h := range r.called(ctx, host) {
			add(h)
		}
	}
	if named := r.conf.Candidates(); len(named) > 0 {
		for _, h := range named {
			add(h)
		}
		return all
	}
	found := r.addresses()
	if r.conf.AutoDetect {
		for _, ip := range found {
			if !ip.IsLoopback() && !ip.IsLinkLocalUnicast() && r.family(ip) {
				add(ip.String())
			}
		}
	}
	if len(all) == 0 {
		for _, ip := range found {
			if ip.Is4() {
				add(ip.String())
			}
		}
	}
	if near {
		add("127.0.0.1")
	}
	return all
}

// called returns what the name by which the API was called says.
func (r *reach) called(ctx context.Context, host string) (all []string) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if !ip.IsLoopback() {
			all = append(all, host)
		}
		return all
	}
	if host == "" || host == "localhost" || !strings.Contains(host, ".") {
		return nil
	}
	if r.conf.KeepAPIDomain {
		all = append(all, host)
	}
	if r.conf.ResolveAPIDomain {
		ctx, cancel := context.WithTimeout(ctx, resolveTime)
		defer cancel()
		for _, ip := range r.resolve(ctx, host) {
			if !ip.IsLoopback() && r.family(ip) {
				all = append(all, ip.String())
			}
		}
	}
	return all
}

func (r *reach) family(ip netip.Addr) bool {
	switch r.conf.IPFamily {
	case "ipv4":
		return ip.Is4()
	case "ipv6":
		return ip.Is6()
	}
	return true
}

// candidates are the hosts with the ports, each host perhaps with one of its own.
func (r *reach) candidates(hosts []string) (all []sdp.Candidate) {
	for _, h := range hosts {
		host, port := splitPort(h)
		if r.conf.Protocol != "tcp" && r.udp != 0 {
			all = append(all, sdp.Candidate{Host: host, Port: either(port, r.udp)})
		}
		if r.conf.Protocol != "udp" && r.tcp != 0 {
			all = append(all, sdp.Candidate{TCP: true, Host: host, Port: either(port, r.tcp)})
		}
	}
	return all
}

func either(port, otherwise uint16) uint16 {
	if port != 0 {
		return port
	}
	return otherwise
}

// splitPort cuts the port off "host:port", "[ip6]:port", "ip6" or "host"; 0 if there is
// none.
func splitPort(s string) (host string, port uint16) {
	if _, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return strings.Trim(s, "[]"), 0
	}
	h, p, err := net.SplitHostPort(s)
	if err != nil {
		return s, 0
	}
	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil {
		return s, 0
	}
	return h, uint16(n)
}

// interfaces returns the addresses of this machine.
func interfaces() (all []netip.Addr) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				all = append(all, ip.Unmap())
			}
		}
	}
	return all
}

// lookup returns the addresses of a name.
func lookup(ctx context.Context, name string) []netip.Addr {
	all, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil
	}
	for i := range all {
		all[i] = all[i].Unmap()
	}
	return all
}
