package webrtc

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"weir/internal/wire/sdp"
)

// reply makes the answer to a peer's offer.
func (s *server) reply(ctx context.Context, p *peer, v *want) *sdp.Answer {
	a := &sdp.Answer{Origin: s.env.Server, ID: uint64(number())<<16 | uint64(number())>>16, Name: "SRSPlaySession", Stream: v.ask.Key.App + "/" + v.ask.Key.Stream,
		Ufrag: p.ufrag, Pwd: p.pwd, Fingerprint: s.identity.fingerprint, Setup: p.plan.setup}
	direction := "sendonly"
	if p.plan.publish {
		a.Name, direction = "SRSPublishSession", "recvonly"
	}
	r := s.reach()
	a.Candidates = r.candidates(r.hosts(ctx, v.asked, v.host, v.near))
	cname, ssrc := word(16), number()>>1
	for _, l := range p.plan.lines {
		m := sdp.AnswerMedia{Kind: l.media.Kind, Proto: l.media.Proto, MID: l.media.MID, CName: cname}
		if l.codec != nil {
			a.Bundle = append(a.Bundle, l.media.MID)
			m.Direction = direction
			m.Codecs = l.codecs(p.plan.publish, p.conf)
			if l.twcc != 0 {
				m.Extmap = append(m.Extmap, sdp.Extension{ID: l.twcc, URI: sdp.ExtTWCC})
			}
			if !p.plan.publish {
				m.Label = l.media.Kind + "-" + word(8)
				m.Sources = append(m.Sources, ssrc)
				ssrc++
				if l.rtx != 0 {
					m.Sources = append(m.Sources, ssrc)
					ssrc++
				}
			}
		}
		a.Media = append(a.Media, m)
	}
	return a
}

// reach tells the ways to this server.
func (s *server) reach() *reach {
	r := &reach{conf: s.conf, addresses: interfaces, resolve: lookup}
	if len(s.socks) > 0 {
		r.udp = s.socks[0].port()
	}
	return r
}

// number returns a number that nobody can guess.
func number() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
