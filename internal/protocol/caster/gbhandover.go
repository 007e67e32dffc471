package caster

import (
	"encoding/json"
	"net/netip"
	"time"
)

// heirloom is a device that is registered, for the process that takes our place: it
// invites the device as soon as we have hung up. Those that speak SIP by TCP come anew.
type heirloom struct {
	ID             string
	To, Local      netip.AddrPort
	Server, Domain string
	Until          time.Time
}

// known lists the devices that are registered, as JSON.
func (g *gbCaster) known() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := []heirloom{}
	for _, d := range g.devices {
		d.mu.Lock()
		if d.way.network == "UDP" {
			all = append(all, heirloom{d.id, d.way.to, d.way.local, d.server, d.domain, d.until})
		}
		d.mu.Unlock()
	}
	b, err := json.Marshal(all)
	if err != nil {
		return nil
	}
	return b
}

// meet takes the devices of the process that was before.
func (g *gbCaster) meet(known []byte) {
	var all []heirloom
	if len(g.sipUDP) == 0 || known == nil || json.Unmarshal(known, &all) != nil {
		return
	}
	for _, h := range all {
		pc := g.sipUDP[0]
		for _, other := range g.sipUDP {
			if own, err := netip.ParseAddrPort(other.LocalAddr().String()); err == nil && own.Port() == h.Local.Port() {
				pc = other
			}
		}
		if fresh, ok := g.enter(h.ID, wayBy(pc, h.To, h.Local), h.Server, h.Domain, h.Until); ok && fresh != nil {
			g.log.Info("GB28181 device taken over", "device", h.ID, "from", h.To.String())
			if !g.begin(fresh.run) {
				g.unregister(h.ID)
			}
		}
	}
}
