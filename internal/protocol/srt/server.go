// Package srt is the door for SRT: encoders that publish a transport stream, and
// players that are sent one.
//
// An address has a socket per core, and a socket one goroutine that speaks to all its
// peers: see [socket]. A peer has another that admits it, and publishes or waits for its
// end. What is said on the wire is in wire/srt; here is what is decided. A caller is
// admitted by the desk before it is answered, so that a refusal is one of SRT's own, with
// its code. What players are sent is made once per stream: see [feed].
package srt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
	"weir/internal/service"
	wire "weir/internal/wire/srt"
)

// protocol is our name, at the desk too.
const protocol = "srt"

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  protocol,
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.SRTServer, blocks.SRT, blocks.Publish, blocks.Play},
	New: func(env service.Env) (service.Service, error) {
		conf := blocks.SRTServer.In(env.Conf.Load())
		if !conf.Enabled {
			return nil, nil
		}
		return &server{env: env, conf: conf, feeds: feeds{all: map[feedKey]*feed{}}, callers: callers{all: map[netip.Addr]int{}}}, nil
	},
}

type server struct {
	env     service.Env
	conf    *blocks.SRTServerConfig // that of the start: nothing of it can change
	socks   []*socket
	wg      sync.WaitGroup // peers
	shut    atomic.Bool    // nobody new is let in
	feeds   feeds
	callers callers

	running atomic.Bool // the sockets are the loops'
}

// Bind implements service.Binder.
func (s *server) Bind(ctx context.Context) error {
	if err := s.bind(ctx, s.conf, "both"); err != nil {
		return err
	}
	for i := range s.conf.Listeners {
		l := &s.conf.Listeners[i]
		if err := s.bind(ctx, s.conf.At(l), l.Mode); err != nil {
			return err
		}
	}
	return nil
}

// bind opens the sockets of a port's configuration.
func (s *server) bind(ctx context.Context, conf *blocks.SRTServerConfig, mode string) error {
	for _, l := range conf.Listen {
		network, address, err := link.Address(l)
		if err != nil {
			return err
		}
		all, err := s.env.Handover.Datagrams(ctx, "udp"+network[len("tcp"):], address, runtime.GOMAXPROCS(0))
		if err != nil {
			s.close()
			return fmt.Errorf("listen at UDP %s: %w; configure another port for srt_server", address, err)
		}
		secret := s.env.Handover.Secret("srt " + address)
		for _, u := range all {
			s.socks = append(s.socks, &socket{server: s, conf: conf, mode: mode, sock: u, done: make(chan struct{}), peers: map[uint32]*peer{},
				asked: map[caller]*request{}, listener: wire.Listener{Secret: secret, KeyLength: conf.PBKeyLen}})
		}
	}
	return nil
}

// Listening implements service.Listener.
func (s *server) Listening() (all []service.Listen) {
	for _, k := range s.socks {
		l := service.Listen{Name: "SRT", URL: "udp://" + k.sock.LocalAddr().String()}
		if !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// Unbind implements service.Binder.
func (s *server) Unbind() {
	s.shut.Store(true)
	if !s.running.Load() {
		s.close()
	}
}

// close closes sockets that nobody uses yet.
func (s *server) close() {
	for _, k := range s.socks {
		k.sock.Close()
	}
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	s.running.Store(true)
	var loops sync.WaitGroup
	for _, k := range s.socks {
		loops.Go(func() { k.run(ctx) })
	}
	<-ctx.Done()
	s.shut.Store(true)
	s.wg.Wait() // their last words need the sockets
	for _, k := range s.socks {
		k.post(func() { k.quit = true })
	}
	loops.Wait()
	return nil
}

// params are the connection's, as configured.
func (s *server) params() wire.Params {
	recv, peer := s.conf.Latencies()
	const packet = 1472
	return wire.Params{
		RecvLatency: recv, PeerLatency: peer, NoTSBPD: !s.conf.TSBPDMode, KeepLate: !s.conf.TLPktDrop,
		MSS: s.conf.MSS, RecvPackets: max(1, s.conf.RecvBuf/packet), SendPackets: max(1, s.conf.SendBuf/packet),
		MaxBW: max(0, s.conf.MaxBW), Reorder: s.conf.LossMaxTTL, Idle: s.conf.PeerIdleTimeout, KeyLength: s.conf.PBKeyLen, Rand: rand.Reader,
	}
}

// newID returns a random socket id of 30 bits.
func newID() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return max(1, binary.BigEndian.Uint32(b[:])&0x3fffffff)
}
