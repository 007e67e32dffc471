// Package caster takes streams that come as something else than a protocol of
// live streams: transport streams in UDP datagrams, FLV as the body of an HTTP
// request, and the program streams of GB/T 28181's cameras. What its output names on this server becomes an ordinary publisher there,
// without a connection; anything else is pushed by RTMP.
package caster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
	"weir/internal/service"
	"weir/internal/wire/rtmp"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "stream_caster",
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.Casters, blocks.Root, blocks.Publish, blocks.HTTPAPI},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		for i, c := range blocks.Casters.In(env.Conf.Load()) {
			if !c.Enabled || c.Caster != blocks.CasterTS && c.Caster != blocks.CasterFLV && c.Caster != blocks.CasterGB {
				continue
			}
			log := env.Log.With(slog.String("caster", c.Caster), slog.String("listen", strings.Join(c.Listen, " ")))
			if _, err := rtmp.ParseURL(strings.NewReplacer("[app]", "a", "[stream]", "s").Replace(c.Output)); err != nil {
				return nil, fmt.Errorf("stream_caster: output %q: %w; write an address such as rtmp://127.0.0.1/live/livestream", c.Output, err)
			}
			part := "stream_caster " + strconv.Itoa(i)
			switch c.Caster {
			case blocks.CasterTS:
				s.ts = append(s.ts, &tsCaster{server: s, conf: c, log: log})
			case blocks.CasterFLV:
				s.flv = append(s.flv, &flvCaster{server: s, conf: c, log: log, entrance: link.NewEntrance(), part: part})
			case blocks.CasterGB:
				s.gb = append(s.gb, newGB(s, c, log, part))
			}
		}
		if len(s.ts)+len(s.flv)+len(s.gb) == 0 {
			return nil, nil
		}
		s.announce()
		return s, nil
	},
}

type server struct {
	env service.Env
	ts  []*tsCaster
	flv []*flvCaster
	gb  []*gbCaster

	running atomic.Bool
}

// announce has the API take what programs that speak SIP announce: for the first
// gb28181 caster that does not speak it itself, or else the first of all.
func (s *server) announce() {
	if len(s.gb) == 0 {
		return
	}
	to := s.gb[0]
	if i := slices.IndexFunc(s.gb, func(g *gbCaster) bool { return !g.conf.SIP.Enabled }); i >= 0 {
		to = s.gb[i]
	}
	s.env.Handover.Answer(publishPath, func(w http.ResponseWriter, r *http.Request) { to.handle(w, r) })
	s.env.API.Handle(service.OrderAPI, to.handle)
	s.env.Media.Handle(service.OrderAPI, func(w http.ResponseWriter, r *http.Request) bool {
		snap := s.env.Conf.Load()
		return blocks.HTTPAPI.In(snap).Enabled && blocks.OnePort(snap) && to.handle(w, r)
	})
}

// Doors implements service.Door, for what comes by TCP.
func (s *server) Doors(*config.Snapshot) (all []link.Want) {
	for _, f := range s.flv {
		all = append(all, link.Want{Part: f.part, Name: "FLV-Caster", Listen: f.conf.Listen, To: f.entrance})
	}
	for _, g := range s.gb {
		all = append(all, g.doors()...)
	}
	return all
}

// Bind implements service.Binder, for what comes by UDP.
func (s *server) Bind(ctx context.Context) error {
	for _, t := range s.ts {
		if err := t.bind(ctx); err != nil {
			s.Unbind()
			return err
		}
	}
	for _, g := range s.gb {
		if err := g.bind(ctx); err != nil {
			s.Unbind()
			return err
		}
	}
	return nil
}

// Unbind implements service.Binder.
func (s *server) Unbind() {
	for _, t := range s.ts {
		for _, pc := range t.sockets {
			pc.Close()
		}
	}
	if !s.running.Load() { // devices are told when it ends
		for _, g := range s.gb {
			g.unbind()
		}
	}
}

// Listening implements service.Listener, for what comes by UDP.
func (s *server) Listening() (all []service.Listen) {
	add := func(name string, socks []*net.UDPConn) {
		for _, pc := range socks {
			all = append(all, service.Listen{Name: name, URL: "udp://" + pc.LocalAddr().String()})
		}
	}
	for _, t := range s.ts {
		add("MPEGTS-Caster", t.sockets)
	}
	for _, g := range s.gb {
		add("GB28181-Media", g.mediaUDP)
		add("GB28181-SIP", g.sipUDP)
	}
	return all
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	s.running.Store(true)
	var wg sync.WaitGroup
	for _, g := range s.gb {
		wg.Go(func() { g.run(ctx) })
	}
	for _, t := range s.ts {
		for i, pc := range t.sockets {
			wg.Go(func() { t.run(ctx, pc, t.floors[i]) })
		}
	}
	for _, f := range s.flv {
		wg.Go(func() { f.run(ctx) })
	}
	<-ctx.Done()
	s.Unbind()
	wg.Wait()
	return nil
}

// ours reports whether an address is one at which this server takes RTMP.
func (s *server) ours(t rtmp.Target) bool {
	if t.Schema != "rtmp" {
		return false
	}
	ip, err := netip.ParseAddr(t.Host)
	if err != nil && t.Host != "localhost" {
		return false
	}
	for _, l := range blocks.Root.In(s.env.Conf.Load()).Listen {
		_, address, err := link.Address(l)
		if err != nil {
			continue
		}
		at, err := netip.ParseAddrPort(address)
		if err != nil || int(at.Port()) != t.Port {
			continue
		}
		if t.Host == "localhost" || ip == at.Addr() || at.Addr().IsUnspecified() && (ip.IsLoopback() || local(ip)) {
			return true
		}
	}
	return false
}

// local reports whether an address is one of this machine.
func local(ip netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Unmap() == ip.Unmap() {
			return true
		}
	}
	return false
}

// errSilent ends a stream of which nothing has come for long.
var errSilent = errors.New("nothing comes any more")
