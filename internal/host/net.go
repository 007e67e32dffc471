package host

import (
	"net"
	"net/netip"
)

// addresses returns the addresses of an interface that is up.
func addresses(i net.Interface) (all []netip.Addr) {
	if i.Flags&net.FlagUp == 0 {
		return nil
	}
	as, err := i.Addrs()
	if err != nil {
		return nil
	}
	for _, a := range as {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				all = append(all, ip.Unmap())
			}
		}
	}
	return all
}

// publicInterfaces names the interfaces that have an IPv4 address of the
// internet, whose traffic SRS's summaries tell apart from the rest.
func publicInterfaces() map[string]bool {
	public := map[string]bool{}
	is, err := net.Interfaces()
	if err != nil {
		return public
	}
	for _, i := range is {
		for _, ip := range addresses(i) {
			if ip.Is4() && !ip.IsPrivate() && !ip.IsLoopback() && !ip.IsLinkLocalUnicast() {
				public[i.Name] = true
			}
		}
	}
	return public
}

// An Address is one of the machine's own.
type Address struct {
	IP        netip.Addr
	Interface string
}

// Addresses lists the machine's addresses in the order in which stats.network
// counts them: IPv4, then IPv6, each in the order of the interfaces; without
// any, those of the loopback interface.
func Addresses() []Address {
	is, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var four, six, loop []Address
	for _, i := range is {
		for _, ip := range addresses(i) {
			a := Address{ip, i.Name}
			switch {
			case ip.IsLoopback():
				loop = append(loop, a)
			case ip.Is4():
				four = append(four, a)
			case !ip.IsLinkLocalUnicast():
				six = append(six, a)
			}
		}
	}
	if all := append(four, six...); len(all) > 0 {
		return all
	}
	return loop
}
