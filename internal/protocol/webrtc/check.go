package webrtc

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
)

// A Finding is one line of what [Check] found out.
type Finding struct {
	Warning bool
	Text    string
}

// Check tells at which addresses peers will be told to reach a server with this
// configuration, whether its sockets can be had, and what is likely to go wrong. It
// opens the sockets for a moment and asks the system for names and interfaces.
func Check(ctx context.Context, s *config.Snapshot) (all []Finding) {
	say := func(format string, args ...any) { all = append(all, Finding{false, fmt.Sprintf(format, args...)}) }
	warn := func(format string, args ...any) { all = append(all, Finding{true, fmt.Sprintf(format, args...)}) }
	conf := blocks.RTCServer.In(s)
	if !conf.Enabled {
		warn("WebRTC is off; turn on rtc_server { enabled on; }")
	}
	on := false
	for _, v := range s.Vhosts() {
		on = on || v.Enabled && blocks.RTC.Of(v).Enabled
	}
	if !on {
		warn("no vhost has rtc { enabled on; }")
	}
	r := &reach{conf: conf, addresses: interfaces, resolve: lookup}
	r.udp = tryUDP(ctx, conf.Listen, say, warn)
	if conf.TCP.Enabled {
		r.tcp = tryTCP(ctx, conf.TCP.Listen, say, warn)
	}
	if conf.Protocol != "udp" && !conf.TCP.Enabled {
		warn("rtc_server protocol is %s, but rtc_server { tcp { enabled on; } } is not", conf.Protocol)
	}
	hosts := r.hosts(ctx, "", "", false)
	for _, c := range r.candidates(hosts) {
		typ := "udp"
		if c.TCP {
			typ = "tcp"
		}
		say("candidate %s %s", typ, net.JoinHostPort(c.Host, fmt.Sprint(c.Port)))
	}
	if len(hosts) == 0 {
		warn("no address can be told; name one in rtc_server { candidate; }")
	}
	if conf.APIAsCandidates {
		say("candidate, besides: the address by which the API is called (api_as_candidates)")
	}
	for _, h := range hosts {
		host, _ := splitPort(h)
		if why := doubt(ctx, host); why != "" {
			warn("candidate %s %s", host, why)
		}
	}
	for _, w := range conf.Candidate {
		if name, ok := strings.CutPrefix(w, "$"); ok && len(conf.Candidates()) == 0 {
			warn("candidate $%s: the environment has no %s, so addresses are found out", name, name)
		}
	}
	return all
}

// tryUDP opens the sockets for a moment, and returns the port of the first.
func tryUDP(ctx context.Context, listen []string, say, warn func(string, ...any)) (port uint16) {
	for i, l := range listen {
		network, address, err := link.Address(l)
		if err != nil {
			warn("%v", err)
			continue
		}
		pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp"+network[len("tcp"):], address)
		if err != nil {
			warn("UDP %s cannot be had: %v; perhaps the server runs already", address, err)
		} else {
			say("UDP %s is free", address)
			pc.Close()
		}
		if at, err := netip.ParseAddrPort(address); err == nil && i == 0 {
			port = at.Port()
		}
	}
	return port
}

// tryTCP does the same for TCP.
func tryTCP(ctx context.Context, listen []string, say, warn func(string, ...any)) (port uint16) {
	for i, l := range listen {
		_, address, err := link.Address(l)
		if err != nil {
			warn("%v", err)
			continue
		}
		if ln, err := link.Listen(ctx, l); err != nil {
			warn("TCP %v; perhaps the server runs already", err)
		} else {
			say("TCP %s is free", address)
			ln.Close()
		}
		if at, err := netip.ParseAddrPort(address); err == nil && i == 0 {
			port = at.Port()
		}
	}
	return port
}

// bridges are the networks that container engines make by default.
var bridges = []netip.Prefix{netip.MustParsePrefix("172.17.0.0/16"), netip.MustParsePrefix("10.88.0.0/16")}

// doubt tells why peers may not reach an address, "" if nothing speaks against it.
func doubt(ctx context.Context, host string) string {
	ip, err := netip.ParseAddr(host)
	if err != nil {
		if len(lookup(ctx, host)) == 0 {
			return "is a name that has no address here; peers may know more, or nothing"
		}
		return ""
	}
	for _, b := range bridges {
		if b.Contains(ip) {
			return "is an address of a container's bridge, which only this machine reaches; name the machine's own in rtc_server { candidate; }, or CANDIDATE"
		}
	}
	switch {
	case ip.IsLoopback():
		return "is reached from this machine only"
	case ip.IsPrivate():
		return "is private: only peers of the same network reach it; name the public one in rtc_server { candidate; }"
	}
	return ""
}
