package sdp

import (
	"fmt"
	"strings"
)

// An Answer is what [Answer.Text] writes, in the order and the words of SRS.
type Answer struct {
	// Origin is the software's name, ID a number of this answer, Name that of the
	// session: "SRSPlaySession".
	Origin string
	ID     uint64
	Name   string
	// Stream is app/stream.
	Stream string
	// Bundle are the mids of the media that are not rejected.
	Bundle      []string
	Ufrag, Pwd  string
	Fingerprint string // "sha-256 AA:BB:..."
	Setup       string // "passive" or "active"
	Candidates  []Candidate
	Media       []AnswerMedia
}

// A Candidate is an address at which we can be reached.
type Candidate struct {
	TCP  bool
	Host string
	Port uint16
}

// String is the value of a=candidate for the candidate with a number, all of one
// component of type host.
func (c Candidate) text(n int) string {
	transport, typ := "udp", ""
	if c.TCP {
		transport, typ = "tcp", " tcptype passive"
	}
	return fmt.Sprintf("%d 1 %s 2130706431 %s %d typ host%s generation 0", n, transport, c.Host, c.Port, typ)
}

// An AnswerMedia is one m= line of an answer. Without a codec it is rejected.
type AnswerMedia struct {
	Kind, Proto, MID string
	Direction        string
	Codecs           []Codec
	Extmap           []Extension
	// Sources are ours, if we send; of two the second is the first's repair.
	Sources []uint32
	CName   string
	Label   string
	// Layers are the rids that we take.
	Layers []string
}

// Text writes the answer.
func (a *Answer) Text() string {
	var b strings.Builder
	line := func(format string, args ...any) {
		fmt.Fprintf(&b, format, args...)
		b.WriteString("\r\n")
	}
	line("v=0")
	line("o=%s %d 2 IN IP4 0.0.0.0", a.Origin, a.ID)
	line("s=%s", a.Name)
	line("t=0 0")
	line("a=ice-lite")
	line("a=group:BUNDLE %s", strings.Join(a.Bundle, " "))
	line("a=msid-semantic: WMS %s", a.Stream)
	for i := range a.Media {
		a.medium(&a.Media[i], line)
	}
	return b.String()
}

func (a *Answer) medium(m *AnswerMedia, line func(string, ...any)) {
	if len(m.Codecs) == 0 {
		line("m=%s 0 %s 0", m.Kind, m.Proto)
		line("c=IN IP4 0.0.0.0")
		line("a=mid:%s", m.MID)
		line("a=inactive")
		return
	}
	types := ""
	for i := range m.Codecs {
		types += fmt.Sprintf(" %d", m.Codecs[i].Type)
	}
	line("m=%s 9 %s%s", m.Kind, m.Proto, types)
	line("c=IN IP4 0.0.0.0")
	line("a=ice-ufrag:%s", a.Ufrag)
	line("a=ice-pwd:%s", a.Pwd)
	line("a=fingerprint:%s", a.Fingerprint)
	line("a=setup:%s", a.Setup)
	line("a=mid:%s", m.MID)
	for _, e := range m.Extmap {
		line("a=extmap:%d %s", e.ID, e.URI)
	}
	line("a=%s", m.Direction)
	if len(m.Sources) > 0 {
		line("a=msid:%s %s", a.Stream, m.Label)
	}
	line("a=rtcp-mux")
	line("a=rtcp-rsize")
	for i := range m.Codecs {
		codecLines(&m.Codecs[i], line)
	}
	for _, l := range m.Layers {
		line("a=rid:%s recv", l)
	}
	if len(m.Layers) > 0 {
		line("a=simulcast:recv %s", strings.Join(m.Layers, ";"))
	}
	if len(m.Sources) == 2 {
		line("a=ssrc-group:FID %d %d", m.Sources[0], m.Sources[1])
	}
	for _, s := range m.Sources {
		line("a=ssrc:%d cname:%s", s, m.CName)
		line("a=ssrc:%d label:%s", s, m.Label)
	}
	for n, c := range a.Candidates {
		line("a=candidate:%s", c.text(n))
	}
}

func codecLines(c *Codec, line func(string, ...any)) {
	channels := ""
	if c.Channels > 1 {
		channels = fmt.Sprintf("/%d", c.Channels)
	}
	line("a=rtpmap:%d %s/%d%s", c.Type, c.Name, c.Clock, channels)
	for _, f := range c.Feedback {
		line("a=rtcp-fb:%d %s", c.Type, f)
	}
	if c.Params != "" {
		line("a=fmtp:%d %s", c.Type, c.Params)
	}
}

// Fragment writes the answer to a restart of ICE (RFC 8840 9).
func (a *Answer) Fragment() string {
	var b strings.Builder
	fmt.Fprintf(&b, "a=ice-lite\r\na=group:BUNDLE %s\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\n", strings.Join(a.Bundle, " "), a.Ufrag, a.Pwd)
	kind, proto, mid, typ := "audio", "UDP/TLS/RTP/SAVPF", "", uint8(0)
	for i := range a.Media { // the one that carries all
		if m := &a.Media[i]; len(m.Codecs) > 0 {
			kind, proto, mid, typ = m.Kind, m.Proto, m.MID, m.Codecs[0].Type
			break
		}
	}
	fmt.Fprintf(&b, "m=%s 9 %s %d\r\na=mid:%s\r\n", kind, proto, typ, mid)
	for n, c := range a.Candidates {
		fmt.Fprintf(&b, "a=candidate:%s\r\n", c.text(n))
	}
	b.WriteString("a=end-of-candidates\r\n")
	return b.String()
}
