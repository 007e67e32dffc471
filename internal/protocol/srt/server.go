// Package srt is the door for SRT: encoders that publish a transport stream, and
// players that are sent one.
//
// A socket has one goroutine that reads for all its peers and one that looks after
// their time; a peer has one that publishes or plays. What is said on the wire is in
// wire/srt; here is what is decided. A caller is admitted by the desk before it is
// answered, so that a refusal is one of SRT's own, with its code.
package srt

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/link"
	"weir/internal/service"
	wire "weir/internal/wire/srt"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "srt",
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.SRTServer, blocks.SRT, blocks.Publish, blocks.Play},
	New: func(env service.Env) (service.Service, error) {
		conf := blocks.SRTServer.In(env.Conf.Load())
		if !conf.Enabled {
			return nil, nil
		}
		return &server{env: env, conf: conf}, nil
	},
}

type server struct {
	env   service.Env
	conf  *blocks.SRTServerConfig // that of the start: nothing of it can change
	socks []*socket
	wg    sync.WaitGroup // peers
	shut  atomic.Bool    // nobody new is let in
}

// socketBuffer is what the system is asked to hold of what comes and goes, in bytes.
const socketBuffer = 4 << 20

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
		pc, err := new(net.ListenConfig).ListenPacket(ctx, "udp"+network[len("tcp"):], address)
		if err != nil {
			s.close()
			return fmt.Errorf("listen at UDP %s: %w; configure another port for srt_server", address, err)
		}
		u := pc.(*net.UDPConn)
		u.SetReadBuffer(socketBuffer) // less will do
		u.SetWriteBuffer(socketBuffer)
		secret := make([]byte, 32)
		rand.Read(secret)
		s.socks = append(s.socks, &socket{server: s, conf: conf, mode: mode, pc: u, peers: map[uint32]*peer{}, asked: map[caller]*request{}, some: make(chan struct{}, 1),
			listener: wire.Listener{Secret: secret, KeyLength: conf.PBKeyLen}})
	}
	return nil
}

// Listening implements service.Listener.
func (s *server) Listening() (all []service.Listen) {
	for _, k := range s.socks {
		all = append(all, service.Listen{Name: "SRT", URL: "udp://" + k.pc.LocalAddr().String()})
	}
	return all
}

// Unbind implements service.Binder.
func (s *server) Unbind() { s.shut.Store(true) }

func (s *server) close() {
	for _, k := range s.socks {
		k.pc.Close()
	}
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	for _, k := range s.socks {
		readers.Go(func() { k.read(ctx) })
		readers.Go(func() { k.watch(ctx) })
	}
	<-ctx.Done()
	s.shut.Store(true)
	s.wg.Wait() // their last words need the sockets
	s.close()
	readers.Wait()
	return nil
}

// params are the connection's, as configured.
func (s *server) params() wire.Params {
	recv, peer := s.conf.Latencies()
	const packet = 1472
	return wire.Params{
		RecvLatency: recv, PeerLatency: peer, NoTSBPD: !s.conf.TSBPDMode, KeepLate: !s.conf.TLPktDrop,
		MSS: s.conf.MSS, RecvPackets: max(1, s.conf.RecvBuf/packet), SendPackets: max(1, s.conf.SendBuf/packet),
		MaxBW: max(0, s.conf.MaxBW), Idle: s.conf.PeerIdleTimeout, KeyLength: s.conf.PBKeyLen, Rand: rand.Reader,
	}
}

// newID returns a random socket id of 30 bits.
func newID() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return max(1, binary.BigEndian.Uint32(b[:])&0x3fffffff)
}

const tick = 10 * time.Millisecond
