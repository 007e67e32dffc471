package caster

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/link"
	"weir/internal/service"
)

const (
	// maxDevices is how many devices may be registered, and maxSlots how many
	// sources of media may be waited for.
	maxDevices = 4096
	maxSlots   = 2 * maxDevices
)

// gbCaster takes the cameras of GB/T 28181: it answers their SIP, invites them, and
// takes program streams in RTP by TCP and UDP.
type gbCaster struct {
	server *server
	conf   blocks.StreamCasterConfig
	log    *slog.Logger
	part   string

	sip, media *link.Entrance
	sipUDP     []*net.UDPConn
	mediaUDP   []*net.UDPConn
	secret     []byte         // of the nonces
	floor      *service.Floor // of all its sockets
	wg         sync.WaitGroup

	mu sync.Mutex
	// All below is guarded by mu.
	ctx     context.Context // of run; nil before, and when it ends
	devices map[string]*device
	calls   map[string]*call // by Call-ID
	slots   map[uint32]*slot // by SSRC
}

func newGB(s *server, conf blocks.StreamCasterConfig, log *slog.Logger, part string) *gbCaster {
	g := &gbCaster{server: s, conf: conf, log: log, part: part, sip: link.NewEntrance(), media: link.NewEntrance(),
		devices: map[string]*device{}, calls: map[string]*call{}, slots: map[uint32]*slot{}, secret: make([]byte, 32)}
	rand.Read(g.secret)
	h := s.env.Handover
	g.floor = h.Floor(g.place())
	h.OnConn(g.place(), g.media.Return)
	h.OnConn(g.place()+sipDoor, g.sip.Return)
	return g
}

// sipDoor tells connections of SIP from those of media, in an upgrade.
const sipDoor = " sip"

// place tells the caster from others, in both processes of an upgrade.
func (g *gbCaster) place() string { return "gb28181 " + strings.Join(g.conf.Listen, " ") }

// doors are those of TCP.
func (g *gbCaster) doors() []link.Want {
	all := []link.Want{{Part: g.part, Name: "GB28181-Media", Listen: g.conf.Listen, To: g.media}}
	if g.conf.SIP.Enabled {
		all = append(all, link.Want{Part: g.part + " sip", Name: "GB28181-SIP", Listen: g.conf.SIP.Listen, To: g.sip})
	}
	return all
}

// bind opens the sockets of UDP.
func (g *gbCaster) bind(ctx context.Context) (err error) {
	if g.mediaUDP, err = g.listenUDP(ctx, g.conf.Listen); err != nil {
		return err
	}
	if g.conf.SIP.Enabled {
		g.sipUDP, err = g.listenUDP(ctx, g.conf.SIP.Listen)
	}
	return err
}

func (g *gbCaster) listenUDP(ctx context.Context, listen []string) (all []*net.UDPConn, err error) {
	for _, l := range listen {
		network, address, err := link.Address(l)
		if err != nil {
			return all, fmt.Errorf("stream_caster: %w", err)
		}
		network = "udp" + network[len("tcp"):]
		u, err := g.server.env.Handover.KeepUDP(network, address, func() (*net.UDPConn, error) {
			pc, err := new(net.ListenConfig).ListenPacket(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return pc.(*net.UDPConn), nil
		})
		if err != nil {
			return all, fmt.Errorf("stream_caster: listen at udp %s: %w; stop what has the port, or configure another", address, err)
		}
		u.SetReadBuffer(receiveBuffer) // less is no failure
		all = append(all, u)
	}
	return all, nil
}

func (g *gbCaster) unbind() {
	for _, pc := range g.mediaUDP {
		pc.Close()
	}
	for _, pc := range g.sipUDP {
		pc.Close()
	}
}

func (g *gbCaster) run(ctx context.Context) {
	ctx, done := context.WithCancel(ctx)
	defer done()
	g.mu.Lock()
	g.ctx = ctx
	g.mu.Unlock()
	// SIP goes on for as long as devices are told that it ends.
	talk, hush := context.WithCancel(context.WithoutCancel(ctx))
	defer hush()
	var readers sync.WaitGroup
	readers.Go(func() { g.serveMedia(ctx) })
	if g.conf.SIP.Enabled {
		readers.Go(func() { g.serveSIP(ctx, talk) })
	}
	readers.Go(func() { g.read(ctx, &readers) })
	go g.leave(ctx, done)
	<-ctx.Done()
	known := g.known()
	g.mu.Lock()
	g.ctx = nil
	g.mu.Unlock()
	g.wg.Wait()
	hush()
	g.unbind()
	readers.Wait()
	if g.floor.Mine() {
		g.floor.Give(known)
	}
}

// read reads what comes by UDP, from when it is ours.
func (g *gbCaster) read(ctx context.Context, readers *sync.WaitGroup) {
	known, ok := g.floor.Await(ctx)
	if !ok {
		return
	}
	for _, pc := range g.mediaUDP {
		readers.Go(func() { g.readMedia(ctx, pc) })
	}
	for _, pc := range g.sipUDP {
		readers.Go(func() { g.readSIP(pc) })
	}
	g.meet(known)
}

// leaveBeat is how often it is looked whether there is still something to do here.
const leaveBeat = time.Second

// leave calls done when another process has taken our place and nobody is here.
func (g *gbCaster) leave(ctx context.Context, done func()) {
	beat := time.NewTicker(leaveBeat)
	defer beat.Stop()
	for {
		select {
		case <-beat.C:
		case <-ctx.Done():
			return
		}
		g.mu.Lock()
		empty := len(g.devices)+len(g.slots) == 0
		g.mu.Unlock()
		if empty && g.floor.Mine() && g.floor.IsDue() {
			done()
			return
		}
	}
}

// passes reports whether a connection was passed on to the process that was before, which
// has the devices still.
func (g *gbCaster) passes(door string, nc net.Conn) bool {
	if g.floor.Mine() {
		return false
	}
	if err := g.server.env.Handover.PassConn(g.place()+door, nc); err != nil {
		g.log.Debug("a connection cannot be passed on", "from", nc.RemoteAddr().String(), "err", err)
	}
	return true
}

// begin runs f in a goroutine that run waits for, until the server stops.
func (g *gbCaster) begin(f func(ctx context.Context)) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	ctx := g.ctx
	if ctx != nil {
		g.wg.Go(func() { f(ctx) })
	}
	return ctx != nil
}

// candidate is the address that devices are told, where they reached another.
func (g *gbCaster) candidate(reached string) string {
	for _, c := range g.conf.SIP.Candidate {
		if name, ok := strings.CutPrefix(c, "$"); ok {
			c = os.Getenv(name)
		}
		if c != "" && c != "*" {
			return c
		}
	}
	return reached
}

// mediaPort is the port that devices are told.
func (g *gbCaster) mediaPort() int {
	_, address, _ := link.Address(g.conf.Listen[0])
	_, port, _ := net.SplitHostPort(address)
	n, _ := strconv.Atoi(port)
	return n
}

// output is where a stream goes.
func (g *gbCaster) output(stream string) string {
	return strings.NewReplacer("[stream]", stream, "[app]", "live").Replace(g.conf.Output)
}

var (
	errSSRC     = errors.New("another stream has that SSRC")
	errStreamID = errors.New("that stream is waited for, or on the air, already")
	errSlots    = errors.New("too many streams are waited for")
)

// announce waits for media of an SSRC, which become a stream.
func (g *gbCaster) announce(ssrc uint32, stream string) (*slot, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.slots) >= maxSlots {
		return nil, errSlots
	}
	if g.slots[ssrc] != nil {
		return nil, errSSRC
	}
	for _, s := range g.slots {
		if s.name == stream {
			return nil, errStreamID
		}
	}
	s := newSlot(g, ssrc, stream)
	g.slots[ssrc] = s
	return s, nil
}

// invent is announce with an SSRC that is free: 0, five digits of the domain, and four
// that are random, as GB/T 28181 has it.
func (g *gbCaster) invent(domain, stream string) (s *slot, err error) {
	head := 0
	if len(domain) >= 8 {
		head, _ = strconv.Atoi(domain[3:8])
	}
	for range 100 {
		n, _ := rand.Int(rand.Reader, big.NewInt(10000))
		ssrc := uint32(head)*10000 + uint32(n.Int64())
		if ssrc == 0 {
			continue
		}
		if s, err = g.announce(ssrc, stream); !errors.Is(err, errSSRC) {
			return s, err
		}
	}
	return nil, err
}

func (g *gbCaster) forget(s *slot) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.slots[s.ssrc] == s {
		delete(g.slots, s.ssrc)
	}
}

func (g *gbCaster) slot(ssrc uint32) *slot {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.slots[ssrc]
}

// SRS's numbers for what the API answers, and its names of them.
const (
	codeBusy = 1028
	codeBody = 3008
)

var codeNames = map[int]string{codeBusy: "StreamBusy", codeBody: "HttpResponseData"}

// announced is what the API answers: SRS's fields, and behind those of a refusal what was
// wrong in words.
type announced struct {
	Code  int    `json:"code"`
	Port  int    `json:"port,omitempty"`
	IsTCP bool   `json:"is_tcp,omitempty"`
	Desc  string `json:"desc,omitempty"`
	Data  string `json:"data,omitempty"`
}

// publishPath is where programs that speak SIP themselves announce a stream.
const publishPath = "/gb/v1/publish/"

// handle answers it.
func (g *gbCaster) handle(w http.ResponseWriter, r *http.Request) bool {
	if r.URL.Path != publishPath && r.URL.Path != strings.TrimSuffix(publishPath, "/") {
		return false
	}
	if !g.floor.Mine() && g.passed(w, r) {
		return true
	}
	w.Header().Set("Server", g.server.env.Server)
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		http.Error(w, `send {"id":"STREAM","ssrc":"NUMBER"} with POST`, http.StatusMethodNotAllowed)
		return true
	}
	code, said := g.publish(r)
	reply := announced{Code: code, Port: g.mediaPort(), IsTCP: true}
	if code != 0 {
		reply = announced{Code: code, Desc: codeNames[code], Data: said}
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(reply)
	return true
}

// passed has the process that was before answer, which takes the media still.
func (g *gbCaster) passed(w http.ResponseWriter, r *http.Request) bool {
	to := r.Clone(r.Context())
	to.RequestURI, to.URL.Scheme, to.URL.Host = "", "http", "elder"
	to.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	res, err := g.server.env.Handover.PassToElder(to)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	maps.Copy(w.Header(), res.Header)
	w.WriteHeader(res.StatusCode)
	io.Copy(w, res.Body)
	return true
}

func (g *gbCaster) publish(r *http.Request) (code int, said string) {
	var ask struct{ ID, SSRC string }
	b, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err == nil {
		err = json.Unmarshal(b, &ask)
	}
	ssrc, numErr := strconv.ParseUint(ask.SSRC, 10, 32)
	switch {
	case err != nil:
		return codeBody, `the body is not {"id":"STREAM","ssrc":"NUMBER"}`
	case !goodID(ask.ID):
		return codeBody, "id is no name of a stream"
	case numErr != nil || ssrc == 0:
		return codeBody, "ssrc is no number of 32 bits, as text, or it is 0"
	}
	s, err := g.announce(uint32(ssrc), ask.ID)
	if err != nil {
		return codeBusy, err.Error()
	}
	g.log.Info("stream announced", "stream", ask.ID, "ssrc", s.text(), "by", r.RemoteAddr)
	if !g.begin(func(ctx context.Context) {
		defer g.forget(s)
		for ctx.Err() == nil && !errors.Is(err, errNoMedia) {
			err = s.wait(ctx, g.conf.SIP.Timeout)
		}
		g.log.Info("stream is not waited for any more", "stream", s.name, "ssrc", s.text(), "err", err)
	}) {
		g.forget(s)
		return codeBusy, "the server is starting or stopping"
	}
	return 0, ""
}

// goodID reports whether a device's or stream's id can be part of an address.
func goodID(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// guarded runs f, whose faults end nothing else.
func (g *gbCaster) guarded(f func() error) error { return service.Guard(g.log, f) }
