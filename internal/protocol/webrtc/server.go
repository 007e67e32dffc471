// Package webrtc is the door for WebRTC: browsers and others that publish and play by
// WHIP, WHEP or SRS's own requests.
//
// A visitor says in an offer what it can do and is told in an answer what will be done
// (signal.go, negotiate.go); the desk has let it in by then. What follows comes over
// one UDP port for all: STUN proves an address, DTLS agrees on keys, and the rest is
// RTP and RTCP (socket.go, peer.go, secure.go).
//
// Players of a stream share its packets, which are made once ([lane]); a player is a
// record of a [loop], with no goroutine of its own.
package webrtc

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "webrtc",
	Phase: service.Doors,
	Conf:  []config.Spec{blocks.RTCServer, blocks.RTC, blocks.HTTPAPI, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, conf: blocks.RTCServer.In(env.Conf.Load()), peers: map[string]*peer{}, ids: map[string]*peer{}, lanes: map[laneKey]*lane{}, bell: make(chan struct{}, 1), entrance: link.NewEntrance(), streams: map[*stream]bool{}}
		env.API.Handle(service.OrderLive, s.handle)
		env.Media.Handle(service.OrderLive, func(w http.ResponseWriter, r *http.Request) bool {
			return blocks.OnePort(env.Conf.Load()) && s.handle(w, r)
		})
		if !s.conf.Enabled {
			return nil, nil
		}
		env.Hub.OnAnyPublish(s.published)
		env.Handover.Answer("/rtc/", func(w http.ResponseWriter, r *http.Request) { s.handle(w, r) })
		return s, nil
	},
}

type server struct {
	env  service.Env
	conf *blocks.RTCServerConfig // that of the start: nothing of it can change

	// Immutable after Bind.
	identity *identity
	socks    []*socket
	loops    []*loop
	hole     *hole // nil unless it is on

	bell     chan struct{}  // wakes pulse
	entrance *link.Entrance // of TCP
	shut     atomic.Bool    // nobody new is let in

	mu      sync.Mutex
	ctx     context.Context   // of Run; guarded by mu
	peers   map[string]*peer  // by our name; guarded by mu
	ids     map[string]*peer  // by the name when they came; guarded by mu
	lanes   map[laneKey]*lane // guarded by mu
	streams map[*stream]bool  // guarded by mu
	wg      sync.WaitGroup    // what runs for peers
	ending  sync.Mutex
	ended   bool           // nothing more is begun for peers; guarded by ending
	conns   sync.WaitGroup // TCP connections
}

// Bind implements service.Binder.
func (s *server) Bind(ctx context.Context) (err error) {
	if s.identity, err = newIdentity(s.conf.Certificate, s.conf.ECDSA, func(err error) {
		s.env.Log.Warn("the certificate of DTLS cannot be kept, the next start makes another", "file", s.conf.Certificate, "err", err)
	}); err != nil {
		return err
	}
	for _, l := range s.conf.Listen {
		network, address, err := link.Address(l)
		if err != nil {
			return fmt.Errorf("rtc_server: %w", err)
		}
		all, err := s.env.Handover.Datagrams(ctx, "udp"+network[len("tcp"):], address, min(s.conf.ReusePort, 64))
		if err != nil {
			s.close()
			return fmt.Errorf("listen at UDP %s: %w; configure another port for rtc_server", address, err)
		}
		for _, u := range all {
			s.socks = append(s.socks, newSocket(s, u))
		}
		s.env.Log.Info("RTC listen at udp://"+all[0].LocalAddr().String(), "sockets", len(all), "sends", all[0].Batching())
	}
	if s.conf.BlackHole.Enabled {
		if s.hole, err = newHole(s.conf.BlackHole.Addr); err != nil {
			s.close()
			return err
		}
	}
	for _, v := range s.env.Conf.Load().Vhosts() {
		if blocks.RTC.Of(v).DTLSVersion == "dtls1.0" {
			s.env.Log.Warn("DTLS 1.0 is not spoken any more; 1.2 is taken in its place", "vhost", v.Name)
		}
	}
	for i := range loopCount() {
		s.loops = append(s.loops, newLoop(s, i))
	}
	return nil
}

// Doors implements service.Door, for what comes by TCP: perhaps at a port of HTTP's, as
// servers of one port have it.
func (s *server) Doors(*config.Snapshot) []link.Want {
	if !s.conf.TCP.Enabled {
		return nil
	}
	return []link.Want{{Part: "rtc_server", Name: "RTC-TCP", Listen: s.conf.TCP.Listen, To: s.entrance, Beside: true}}
}

// Unbind implements service.Binder.
func (s *server) Unbind() { s.shut.Store(true) }

func (s *server) close() {
	for _, k := range s.socks {
		k.sock.Close()
	}
}

// begin runs f for a peer, in a goroutine that Run waits for. Once Run waits it returns
// false and does nothing.
func (s *server) begin(f func()) bool {
	s.ending.Lock()
	defer s.ending.Unlock()
	if s.ended {
		return false
	}
	s.wg.Go(f)
	return true
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	var own sync.WaitGroup
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	for _, k := range s.socks {
		own.Go(k.read)
	}
	stop := make(chan struct{})
	for _, l := range s.loops {
		own.Go(func() { l.run(stop) })
	}
	own.Go(func() { s.watch(stop) })
	own.Go(func() { s.pulse(stop) })
	own.Go(s.accept)
	<-ctx.Done()
	s.shut.Store(true)
	for _, p := range s.all() {
		p.end(session.ErrShutdown)
	}
	s.ending.Lock()
	s.ended = true
	s.ending.Unlock()
	s.wg.Wait() // their last words need the sockets
	s.entrance.Close()
	s.mu.Lock()
	for t := range s.streams {
		t.close()
	}
	s.mu.Unlock()
	s.conns.Wait()
	close(stop)
	for _, k := range s.socks {
		k.stop()
	}
	own.Wait()
	s.close()
	return nil
}

// all returns those who are there.
func (s *server) all() []*peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*peer, 0, len(s.peers))
	for _, p := range s.peers {
		if p != nil { // else it has a name only
			all = append(all, p)
		}
	}
	return all
}

// find returns the peer that has one of our names, or nil.
func (s *server) find(name []byte) *peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peers[string(name)]
}

// watchEvery is how often peers are looked at.
const watchEvery = time.Second

// watch ends peers that are silent.
func (s *server) watch(stop chan struct{}) {
	beat := time.NewTicker(watchEvery)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-stop:
			return
		}
		now := time.Now()
		for _, p := range s.all() {
			p.look(now)
		}
	}
}

// serves returns what the vhost that serves a name says of WebRTC.
func (s *server) serves(vhost string) (*config.Vhost, *blocks.RTCConfig, error) {
	v, ok := s.env.Conf.Load().Vhost(vhost)
	if !ok {
		return nil, nil, session.ErrNoVhost
	}
	c := blocks.RTC.Of(v)
	if !s.conf.Enabled || !c.Enabled {
		return nil, nil, errOff
	}
	return v, c, nil
}

// published is told of each publication, before its first frame.
func (s *server) published(p *hub.Publication) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lanes {
		if key.stream == p.Stream() {
			l.open.Store(s.mayPlay(p))
			l.near.Store(byPeer(p))
			l.layered.Store(false) // unless its publisher says so
		}
	}
}

// mayPlay reports whether WebRTC may play what is published.
func (s *server) mayPlay(p *hub.Publication) bool {
	if p == nil || byPeer(p) {
		return true
	}
	v, ok := s.env.Conf.Load().Vhost(p.Stream().Key.Vhost)
	return ok && !p.Private && blocks.RTC.Of(v).RTMPToRTC
}

// byPeer reports whether a peer publishes.
func byPeer(p *hub.Publication) bool { return p != nil && p.By == protocol }

// protocol is our name at the desk.
const protocol = "webrtc"

// logger returns the log of a session.
func (s *server) logger(sess *session.Session) *slog.Logger {
	return s.env.Log.With(slog.String("cid", sess.ID))
}
