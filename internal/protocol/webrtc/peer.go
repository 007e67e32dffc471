package webrtc

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/dtls/v3"
	"github.com/pion/srtp/v3"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtp"
	"weir/internal/wire/sdp"
	"weir/internal/wire/stun"
)

// A peer is one who publishes or plays.
type peer struct {
	// Immutable once it is in the server's list.
	server  *server
	session *session.Session
	log     *slog.Logger
	conf    *blocks.RTCConfig
	ask     session.Ask
	plan    *plan
	answer  *sdp.Answer
	token   string
	id      string        // ours of its names when it came, by which it is asked for ever after
	clear   bool          // media are not encrypted, for who looks at packets
	bare    bool          // nor are keys agreed on
	silence time.Duration // the longest that is borne
	began   time.Time
	viewer  *viewer // of who plays
	ingest  *ingest // of who publishes

	seen     atomic.Int64 // when something proved came last, in Unix ns
	heard    atomic.Bool  // media or reports have come, so the peer has its keys
	checks   atomic.Int64 // of STUN that were right
	invalid  atomic.Int64 // datagrams that could not be decrypted
	layer    atomic.Int32 // of a viewer's picture, from 0
	estimate atomic.Int64 // of what its way carries, in bits a second; 0 if nobody asks
	lose     atomic.Int64 // packets that are to be lost, for tests

	once  sync.Once
	cause error // set once

	mu sync.Mutex
	// All below is guarded by mu.
	ufrag, pwd string    // ours
	theirs     string    // their ufrag
	path       path      // where it is sent to; no socket before the first check
	used       time.Time // when something came from there
	known      []path    // where it is
	pipe       *pipe
	conn       *dtls.Conn    // while it may be needed; see shelve
	state      *dtls.State   // of the connection, once it is there
	secured    time.Time     // when keys were agreed on
	in         *srtp.Context // nil before keys are agreed on, and if media are clear
	ready      bool          // media may come
	candidates []string      // that it has told
	early      [][]byte      // of a publisher, that came before in
	over       bool
}

// maxKnown is at how many addresses a peer may be.
const maxKnown = 8

// admit lets a visitor in and makes its peer.
func (s *server) admit(ctx context.Context, v *want, agreed *plan, conf *blocks.RTCConfig) (*peer, error) {
	s.mu.Lock()
	base := s.ctx
	s.mu.Unlock()
	if base == nil {
		base = context.Background()
	}
	p := &peer{server: s, conf: conf, plan: agreed, clear: v.clear || !s.conf.Encrypt, bare: v.bare, silence: max(time.Second, conf.STUNTimeout), began: time.Now(), ufrag: v.ufrag, pwd: v.pwd, theirs: agreed.offer.Ufrag, token: word(9)}
	for _, m := range agreed.offer.Media[:min(1, len(agreed.offer.Media))] {
		p.trickled(m.Candidates)
	}
	v.visitor.Detail = p.detail
	if v.publish {
		v.visitor.Wish = p.wish
	}
	sess, err := s.env.Desk.Connect(context.WithoutCancel(base), v.visitor)
	if err != nil {
		return nil, err
	}
	p.session, p.log = sess, s.logger(sess)
	p.log.Info("RTC client", "ip", sess.IP, "type", v.ask.Type, "vhost", v.ask.Key.Vhost, "app", v.ask.Key.App, "stream", v.ask.Key.Stream, "param", session.Mask(v.ask.Said.Param))
	err = service.Guard(p.log, func() error { return p.begin(ctx, v) })
	if err != nil {
		s.unname(p)
		sess.Close(err)
		return nil, err
	}
	return p, nil
}

// unname gives the name back of a peer that was not let in after all.
func (s *server) unname(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.id != "" && s.peers[p.id] == nil {
		delete(s.peers, p.id)
	}
}

// begin asks the desk and takes what it grants.
func (p *peer) begin(ctx context.Context, v *want) error {
	s := p.server
	var pub *hub.Publication
	var sub *hub.Subscription
	var err error
	if v.publish {
		v.ask.Private = !p.conf.RTCToRTMP
		pub, err = p.session.Publish(ctx, v.ask)
	} else {
		sub, err = p.session.Play(ctx, v.ask, hub.Options{Inside: protocol})
	}
	if err = cmp.Or(err, v.never); err != nil {
		return err
	}
	p.ask = v.ask
	if err := s.name(p); err != nil {
		return err
	}
	answer := s.reply(ctx, p, v)
	p.mu.Lock() // the API may ask already
	p.answer = answer
	p.mu.Unlock()
	var in *ingest
	var out *viewer
	if pub != nil {
		in = newIngest(p, pub)
	} else {
		sub.Park()
		out = s.seat(p, sub.Stream())
	}
	p.mu.Lock()
	p.ingest, p.viewer = in, out
	p.mu.Unlock()
	p.seen.Store(time.Now().UnixNano())
	s.list(p)
	if p.ingest != nil && len(p.ingest.sources) > pictureTrack+1 {
		s.inLayers(pub.Stream())
	}
	context.AfterFunc(p.session.Context(), func() { p.end(context.Cause(p.session.Context())) })
	return nil
}

// name gives the peer a name of its own, which nobody is found by yet.
func (s *server) name(p *peer) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, taken := s.peers[p.ufrag]; taken {
		return &session.Error{Code: codeICE, Text: "another session has that ice-ufrag"}
	}
	if p.ufrag == "" {
		p.ufrag = s.freeName()
	}
	if p.pwd == "" {
		p.pwd = word(32)
	}
	p.id = p.ufrag
	s.peers[p.ufrag] = nil
	return nil
}

// freeName returns a name that nobody has. s.mu is held.
func (s *server) freeName() string {
	for {
		name := word(8)
		if _, taken := s.peers[name]; !taken {
			return name
		}
	}
}

// list lets the peer be found by its name.
func (s *server) list(p *peer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.peers[p.ufrag], s.ids[p.id] = p, p
}

// restart gives the peer new names, at its wish (RFC 8445 9). The path that it has stays
// until a check with the new names proves another.
func (p *peer) restart(f *sdp.Session) (ufrag, pwd string, ok bool) {
	s := p.server
	p.mu.Lock()
	defer p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.over {
		return "", "", false
	}
	ufrag, pwd = s.freeName(), word(32)
	delete(s.peers, p.ufrag)
	s.peers[ufrag] = p
	p.ufrag, p.pwd, p.theirs = ufrag, pwd, f.Ufrag
	if p.candidates = nil; len(f.Media) > 0 { // those of before count no more (RFC 9725 4.3.3)
		p.keep(f.Media[0].Candidates)
	}
	return ufrag, pwd, true
}

// word returns n random digits and small letters that nobody can guess.
func word(n int) string {
	const letters = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := make([]byte, n)
	rand.Read(b)
	for i := range b {
		b[i] = letters[int(b[i])*len(letters)>>8]
	}
	return string(b)
}

// name is SRS's id of the session.
func (p *peer) name() string {
	return p.id + ":" + p.plan.offer.Ufrag
}

// etag tells one generation of ICE from another (RFC 9725 4.3.1).
func (p *peer) etag() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return `"` + p.ufrag + `"`
}

// location is where the session can be asked for.
func (p *peer) location() string {
	q := fmt.Sprintf("action=delete&token=%s&app=%s&stream=%s&session=", p.token, url.QueryEscape(p.ask.Said.App), url.QueryEscape(p.ask.Said.Stream))
	return root + "whip/?" + q + p.name()
}

// checked takes a check of STUN that proved to be the peer's, and returns our answer.
//
// It is sent to where it has nominated last. Where a NAT gives it another address it does
// not know that, and few nominate again; so it is also sent to where its checks come from
// if nothing else came from where it was for a while.
func (p *peer) checked(from path, m *stun.Message, now time.Time) []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return nil
	}
	p.seen.Store(now.UnixNano())
	p.checks.Add(1)
	if p.path == from {
		p.used = now
	}
	if !p.knows(from) {
		if len(p.known) == maxKnown {
			p.known[0].sock.forget(p.known[0].addr, p)
			p.known = p.known[1:]
		}
		p.known = append(p.known, from)
		from.sock.remember(from.addr, p)
	}
	if first := p.path.sock == nil; first || p.path != from && (m.Nominated || now.Sub(p.used) >= moveAfter) {
		p.path, p.used = from, now
		switch {
		case first && p.bare:
			p.open(nil, nil)
		case first:
			p.pipe = newPipe(p) // the answer may bring the peer's first flight before secure runs
			p.server.begin(p.secure)
		default:
			p.log.Info("RTC client moved", "to", from.addr.String())
		}
		if p.viewer != nil {
			p.viewer.move(p.path)
		}
	}
	return stun.AppendSuccess(nil, m, from.addr, []byte(p.pwd))
}

func (p *peer) knows(from path) bool {
	return slices.ContainsFunc(p.known, func(k path) bool { return k.sock == from.sock && k.addr == from.addr })
}

// handle takes a datagram from an address that is known to be the peer's.
func (p *peer) handle(b []byte, from path, now time.Time) {
	p.session.Count(len(b), 0)
	if !rtp.Is(b) {
		p.record(b)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.path == from {
		p.used = now
	}
	p.media(b, now)
}

// moveAfter is after what silence of an address a peer has another, by its checks alone.
// Peers report each second, and check each two or three.
const moveAfter = 3 * time.Second

// earlyMost is how many packets of a publisher are kept that come before it is known
// here that keys are agreed on: it knows first.
const earlyMost = 128

// media takes a packet of RTP or RTCP. p.mu is held.
func (p *peer) media(b []byte, now time.Time) {
	if p.over {
		return
	}
	if !p.ready {
		if p.ingest != nil && len(p.early) < earlyMost {
			p.early = append(p.early, append([]byte(nil), b...))
		}
		return
	}
	var err error
	if rtp.IsRTCP(b) {
		if !p.clear {
			b, err = p.in.DecryptRTCP(b[:0:len(b)], b, nil)
		}
		if err == nil {
			p.proved(now)
			p.reports(b, now)
		}
	} else if p.ingest != nil && !p.loses() {
		if !p.clear {
			b, err = p.in.DecryptRTP(b[:0:len(b)], b, &p.ingest.header)
		}
		if err == nil {
			p.proved(now)
			p.server.hole.copy(b)
			p.ingest.packet(b, now)
		}
	}
	if err != nil {
		p.invalid.Add(1)
	}
}

func (p *peer) proved(now time.Time) {
	p.seen.Store(now.UnixNano())
	p.heard.Store(true)
}

// look ends the peer if it has been silent, and puts away what it needs no more.
func (p *peer) look(now time.Time) {
	last := time.Unix(0, p.seen.Load())
	if now.Sub(last) > p.silence {
		why := fmt.Errorf("%w: RTC client was silent for %v", session.ErrTimeout, p.silence)
		if all := p.silentCandidates(); len(all) > 0 {
			why = fmt.Errorf("%w: no check of STUN came to %s in %v; weir check --rtc says what may be wrong with that", session.ErrTimeout, strings.Join(all, ", "), p.silence)
		}
		p.end(why)
		return
	}
	p.shelve(now)
}

// end ends the peer, with its reason; later calls do nothing.
func (p *peer) end(cause error) {
	p.once.Do(func() {
		p.cause = cause
		if !p.server.begin(p.finish) {
			go p.finish() // its session must hear of it, late as it is
		}
	})
}

// finish takes the peer out of everything.
func (p *peer) finish() {
	s := p.server
	p.mu.Lock()
	p.over = true
	known, at, ufrag := p.known, p.path, p.ufrag
	p.mu.Unlock()
	s.mu.Lock()
	if s.peers[ufrag] == p {
		delete(s.peers, ufrag)
	}
	delete(s.ids, p.id)
	s.mu.Unlock()
	if at.sock != nil {
		p.farewell()
		for _, k := range known {
			k.sock.forget(k.addr, p)
		}
	}
	if p.viewer != nil {
		s.leave(p.viewer)
	}
	if p.ingest != nil {
		p.ingest.close()
	}
	p.session.Close(p.cause)
	in, out := p.session.Bytes()
	p.log.Info("RTC client is gone", "recv", in, "send", out, "err", p.cause)
}

// send sends a datagram to the peer.
func (p *peer) send(b []byte) {
	p.mu.Lock()
	at := p.path
	p.mu.Unlock()
	if at.sock != nil {
		p.session.Count(0, len(b))
		at.write(b)
	}
}

// about is what the API tells of a peer that only WebRTC knows.
type about struct {
	State   string   `json:"state"`
	Address string   `json:"address"`
	Checks  int64    `json:"stun_checks"`
	Invalid int64    `json:"packets_invalid"`
	Told    []string `json:"candidates"`
	Silent  []string `json:"candidates_without_stun"`
	Theirs  []string `json:"peer_candidates"`
	Codecs  []string `json:"codecs"`
	Layers  []string `json:"layers,omitempty"`       // of a publisher: rid and size, those that come
	Layer   *int     `json:"layer,omitempty"`        // that a player gets, from 0
	Carries int64    `json:"bits_carried,omitempty"` // what its way is taken to carry, in a second
}

func (p *peer) detail() any {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := about{State: "no address has been proved yet", Checks: p.checks.Load(), Invalid: p.invalid.Load()}
	switch {
	case p.ready:
		a.State = "connected"
	case p.path.sock != nil:
		a.State = "agreeing on keys"
	}
	if p.path.sock != nil {
		a.Address = p.path.addr.String()
	}
	if p.answer != nil {
		for _, c := range p.answer.Candidates {
			a.Told = append(a.Told, fmt.Sprintf("%s:%d", c.Host, c.Port))
		}
		for _, m := range p.answer.Media {
			for _, c := range m.Codecs {
				a.Codecs = append(a.Codecs, c.Name)
			}
		}
	}
	a.Silent = p.silentCandidates()
	p.tellLayers(&a)
	a.Theirs = append(a.Theirs, p.candidates...)
	return a
}
