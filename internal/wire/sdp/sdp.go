// Package sdp reads the offers of WebRTC's peers and writes the answers to them
// (RFC 8866, RFC 8829).
//
// It knows the part of the language that WebRTC uses and keeps nothing else. An offer
// is bounded in all it has ([MaxSize], [MaxMedia], [MaxCodecs] ...), so that what a
// stranger sends costs no more than its size.
package sdp

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Limits of an offer.
const (
	MaxSize       = 64 << 10
	MaxMedia      = 32
	MaxCodecs     = 128 // of one medium
	maxExtensions = 64
	maxSources    = 64
	maxCandidates = 256
	maxLayers     = 16
)

// ErrSyntax is wrapped by errors of what is no SDP at all, or is over a limit.
var ErrSyntax = errors.New("not an SDP that can be read")

// A Session is an offer or an answer.
type Session struct {
	// Bundle lists the mids of the group BUNDLE, nil if there is none.
	Bundle []string
	Media  []*Media
	// ICELite says that the other side does no checks of its own.
	ICELite bool
	// Ufrag and Pwd are those of the first medium that has them, or of the session.
	Ufrag, Pwd string
	// Fingerprints are the hashes of the certificate that the peer will show, each
	// "sha-256 AA:BB:...".
	Fingerprints []string
	// Setup is the peer's part in DTLS: "actpass", "active", "passive", "" if not said.
	Setup string
	// Restart says that it can restart ICE, or trickle.
	Options []string
}

// A Media is one m= line and what belongs to it.
type Media struct {
	Kind      string // "audio", "video", "application"
	Proto     string // "UDP/TLS/RTP/SAVPF"
	Rejected  bool   // its port is 0
	MID       string
	Direction string // "sendrecv", "sendonly", "recvonly", "inactive"
	RTCPMux   bool
	RTCPRsize bool
	Codecs    []Codec
	Extmap    []Extension
	Sources   []Source
	// Groups are ssrc-groups: "FID 1 2".
	Groups []Group
	// Layers are the rids that the peer sends, of simulcast, in its order.
	Layers     []string
	Candidates []string // values of a=candidate
	Bandwidth  int      // b=AS, in kbit/s
	StreamID   string   // of a=msid
}

// A Codec is one payload type.
type Codec struct {
	Type     uint8
	Name     string // as the peer spells it: "H264", "opus"
	Clock    int    // in Hz
	Channels int    // 0 if not said
	Params   string // of a=fmtp
	Feedback []string
}

// Is reports whether the codec has a name, however it is spelled.
func (c *Codec) Is(name string) bool { return strings.EqualFold(c.Name, name) }

// Param returns a parameter of a=fmtp, "" if it is not there.
func (c *Codec) Param(name string) string {
	for p := range strings.SplitSeq(c.Params, ";") {
		k, v, _ := strings.Cut(strings.TrimSpace(p), "=")
		if strings.EqualFold(k, name) {
			return v
		}
	}
	return ""
}

// Has reports whether the peer wants a feedback, as "nack pli".
func (c *Codec) Has(feedback string) bool {
	for _, f := range c.Feedback {
		if f == feedback {
			return true
		}
	}
	return false
}

// An Extension is an extension of RTP's header.
type Extension struct {
	ID  uint8
	URI string
}

// The extensions that we use.
const (
	ExtTWCC = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	ExtMID  = "urn:ietf:params:rtp-hdrext:sdes:mid"
	ExtRID  = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
	// ExtDelay is how much longer than it must a player may keep pictures.
	ExtDelay  = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	ExtRepair = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
)

// A Source is one SSRC with what is said of it.
type Source struct {
	SSRC uint32
	Name string // its cname
}

// A Group says what sources have to do with each other.
type Group struct {
	Semantics string // "FID", "SIM"
	SSRC      []uint32
}

// Codec returns the codec with a payload type, or nil.
func (m *Media) Codec(typ uint8) *Codec {
	for i := range m.Codecs {
		if m.Codecs[i].Type == typ {
			return &m.Codecs[i]
		}
	}
	return nil
}

// Repair returns the payload type in which lost packets of another are sent again
// (RFC 4588); ok is false if there is none.
func (m *Media) Repair(typ uint8) (rtx uint8, ok bool) {
	for i := range m.Codecs {
		if c := &m.Codecs[i]; c.Is("rtx") && c.Param("apt") == strconv.Itoa(int(typ)) {
			return c.Type, true
		}
	}
	return 0, false
}

// Ext returns the number of an extension, 0 if it is not there.
func (m *Media) Ext(uri string) uint8 {
	for _, e := range m.Extmap {
		if e.URI == uri {
			return e.ID
		}
	}
	return 0
}

// Sends and Receives tell what the peer wants to do.
func (m *Media) Sends() bool { return m.Direction == "sendrecv" || m.Direction == "sendonly" }

// Receives reports whether the peer wants to be sent the medium.
func (m *Media) Receives() bool { return m.Direction == "sendrecv" || m.Direction == "recvonly" }

// Parse reads an offer or an answer. Lines may end with a line feed alone.
func Parse(text string) (*Session, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrSyntax, len(text), MaxSize)
	}
	if !strings.HasPrefix(text, "v=0") {
		return nil, fmt.Errorf("%w: it does not begin with v=0", ErrSyntax)
	}
	return parse(text)
}

// ParseFragment reads a fragment, as it is sent to add candidates or to restart ICE
// (RFC 8840 9).
func ParseFragment(text string) (*Session, error) {
	if len(text) > MaxSize {
		return nil, fmt.Errorf("%w: it has %d bytes, more than %d", ErrSyntax, len(text), MaxSize)
	}
	return parse(text)
}

func parse(text string) (*Session, error) {
	p := parser{direction: "sendrecv"}
	for n := 1; text != ""; n++ {
		var line string
		line, text, _ = strings.Cut(text, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			continue
		}
		if len(line) < 2 || line[1] != '=' {
			return nil, fmt.Errorf("%w: line %d is %.40q, not a letter and =", ErrSyntax, n, line)
		}
		if err := p.line(line[0], line[2:]); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrSyntax, n, err)
		}
	}
	return &p.s, nil
}

type parser struct {
	s         Session
	m         *Media
	direction string // of the session
	setup     bool   // a medium has said it
}

func (p *parser) line(typ byte, v string) error {
	switch typ {
	case 'm':
		return p.medium(v)
	case 'a':
		name, value, _ := strings.Cut(v, ":")
		if p.m == nil {
			return p.sessionAttribute(name, value)
		}
		return p.mediaAttribute(name, value)
	case 'b':
		if as, ok := strings.CutPrefix(v, "AS:"); ok && p.m != nil {
			p.m.Bandwidth, _ = strconv.Atoi(as)
		}
	}
	return nil
}

func (p *parser) medium(v string) error {
	if len(p.s.Media) == MaxMedia {
		return fmt.Errorf("more than %d media", MaxMedia)
	}
	f := strings.Fields(v)
	if len(f) < 3 {
		return fmt.Errorf("m=%.40s has no port or protocol", v)
	}
	p.m = &Media{Kind: f[0], Proto: f[2], Rejected: f[1] == "0", Direction: p.direction}
	p.s.Media = append(p.s.Media, p.m)
	if p.m.Kind != "audio" && p.m.Kind != "video" {
		return nil
	}
	if len(f)-3 > MaxCodecs {
		return fmt.Errorf("more than %d formats", MaxCodecs)
	}
	for _, t := range f[3:] {
		n, err := strconv.ParseUint(t, 10, 7)
		if err != nil {
			return fmt.Errorf("format %.20q is no payload type", t)
		}
		if p.m.Codec(uint8(n)) != nil {
			continue
		}
		c := Codec{Type: uint8(n)}
		switch n { // RFC 3551 table 4: these need no rtpmap
		case 0:
			c.Name, c.Clock = "PCMU", 8000
		case 8:
			c.Name, c.Clock = "PCMA", 8000
		}
		p.m.Codecs = append(p.m.Codecs, c)
	}
	return nil
}

func (p *parser) sessionAttribute(name, v string) error {
	switch name {
	case "group":
		if mids := strings.Fields(v); len(mids) > 0 && mids[0] == "BUNDLE" {
			p.s.Bundle = mids[1:]
		}
	case "ice-lite":
		p.s.ICELite = true
	case "sendrecv", "sendonly", "recvonly", "inactive":
		p.direction = name
	}
	return p.transport(name, v)
}

// transport takes what may stand at the session or at a medium.
func (p *parser) transport(name, v string) error {
	switch name {
	case "ice-ufrag":
		if p.s.Ufrag == "" {
			p.s.Ufrag = v
		}
	case "ice-pwd":
		if p.s.Pwd == "" {
			p.s.Pwd = v
		}
	case "ice-options":
		p.s.Options = strings.Fields(v)
	case "fingerprint":
		if len(p.s.Fingerprints) == maxSources {
			return fmt.Errorf("more than %d fingerprints", maxSources)
		}
		for _, had := range p.s.Fingerprints {
			if had == v {
				return nil
			}
		}
		p.s.Fingerprints = append(p.s.Fingerprints, v)
	case "setup":
		if p.s.Setup == "" || p.m != nil && !p.setup {
			p.s.Setup, p.setup = v, p.m != nil
		}
	}
	return nil
}

func (p *parser) mediaAttribute(name, v string) error {
	m := p.m
	switch name {
	case "mid":
		m.MID = v
	case "sendrecv", "sendonly", "recvonly", "inactive":
		m.Direction = name
	case "rtcp-mux":
		m.RTCPMux = true
	case "rtcp-rsize":
		m.RTCPRsize = true
	case "msid":
		m.StreamID, _, _ = strings.Cut(v, " ")
	case "rtpmap", "fmtp", "rtcp-fb":
		return m.codec(name, v)
	case "extmap":
		return m.extension(v)
	case "ssrc", "ssrc-group":
		return m.source(name, v)
	case "rid":
		if id, what, _ := strings.Cut(v, " "); strings.HasPrefix(what, "send") {
			if len(m.Layers) == maxLayers {
				return fmt.Errorf("more than %d rids", maxLayers)
			}
			m.Layers = append(m.Layers, id)
		}
	case "candidate":
		if len(m.Candidates) == maxCandidates {
			return fmt.Errorf("more than %d candidates", maxCandidates)
		}
		m.Candidates = append(m.Candidates, v)
	default:
		return p.transport(name, v)
	}
	return nil
}

func (m *Media) codec(name, v string) error {
	typ, value, _ := strings.Cut(v, " ")
	if typ == "*" && name == "rtcp-fb" {
		for i := range m.Codecs {
			if err := m.Codecs[i].feedback(value); err != nil {
				return err
			}
		}
		return nil
	}
	n, err := strconv.ParseUint(typ, 10, 7)
	if err != nil {
		return fmt.Errorf("a=%s:%.20s names no payload type", name, v)
	}
	c := m.Codec(uint8(n))
	if c == nil {
		return nil // of a format that the m= line does not have
	}
	switch name {
	case "fmtp":
		c.Params = value
	case "rtcp-fb":
		return c.feedback(value)
	case "rtpmap":
		f := strings.Split(value, "/")
		c.Name, c.Clock, c.Channels = f[0], 0, 0
		if len(f) > 1 {
			if c.Clock, err = strconv.Atoi(f[1]); err != nil || c.Clock <= 0 {
				return fmt.Errorf("a=rtpmap:%.40s has no clock rate", v)
			}
		}
		if len(f) > 2 {
			c.Channels, _ = strconv.Atoi(f[2])
		}
	}
	return nil
}

func (c *Codec) feedback(v string) error {
	if len(c.Feedback) == maxLayers {
		return fmt.Errorf("more than %d feedbacks of one format", maxLayers)
	}
	c.Feedback = append(c.Feedback, v)
	return nil
}

func (m *Media) extension(v string) error {
	id, uri, _ := strings.Cut(v, " ")
	uri, _, _ = strings.Cut(uri, " ")
	id, _, _ = strings.Cut(id, "/") // a direction
	n, err := strconv.ParseUint(id, 10, 8)
	if err != nil || n == 0 || uri == "" {
		return fmt.Errorf("a=extmap:%.60s is no number and URI", v)
	}
	if len(m.Extmap) == maxExtensions {
		return fmt.Errorf("more than %d extensions", maxExtensions)
	}
	m.Extmap = append(m.Extmap, Extension{uint8(n), uri})
	return nil
}

// Simulcast returns the SSRCs of the layers of a picture where these are told apart so, as
// browsers did before rid: a=ssrc-group:SIM, in the order of the peer.
func (m *Media) Simulcast() []uint32 {
	for _, g := range m.Groups {
		if g.Semantics == "SIM" {
			return g.SSRC
		}
	}
	return nil
}

// Repairs returns the SSRC by which packets of another are sent again (a=ssrc-group:FID).
func (m *Media) Repairs(ssrc uint32) (repair uint32, ok bool) {
	for _, g := range m.Groups {
		if g.Semantics == "FID" && len(g.SSRC) == 2 && g.SSRC[0] == ssrc {
			return g.SSRC[1], true
		}
	}
	return 0, false
}

func (m *Media) source(name, v string) error {
	if len(m.Sources) == maxSources || len(m.Groups) == maxSources {
		return fmt.Errorf("more than %d sources", maxSources)
	}
	f := strings.Fields(v)
	if len(f) == 0 {
		return fmt.Errorf("a=%s is empty", name)
	}
	if name == "ssrc-group" {
		g := Group{Semantics: f[0]}
		for _, s := range f[1:] {
			n, err := strconv.ParseUint(s, 10, 32)
			if err != nil || len(g.SSRC) == maxLayers {
				return fmt.Errorf("a=ssrc-group:%.60s has a wrong number", v)
			}
			g.SSRC = append(g.SSRC, uint32(n))
		}
		m.Groups = append(m.Groups, g)
		return nil
	}
	n, err := strconv.ParseUint(f[0], 10, 32)
	if err != nil {
		return fmt.Errorf("a=ssrc:%.40s is no number", v)
	}
	cname := ""
	if len(f) > 1 {
		cname, _ = strings.CutPrefix(f[1], "cname:")
	}
	for i := range m.Sources {
		if m.Sources[i].SSRC == uint32(n) {
			return nil
		}
	}
	m.Sources = append(m.Sources, Source{uint32(n), cname})
	return nil
}
