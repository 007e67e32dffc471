package webrtc

import (
	"context"
	"crypto/rand"
	"encoding/binary"

	"weir/internal/config"
	"weir/internal/hub"
	"weir/internal/media"
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
			if len(l.layers) > 0 && l.origins == nil {
				m.Layers = l.layers
				for _, uri := range []string{sdp.ExtMID, sdp.ExtRID, sdp.ExtRepair} {
					if id := l.media.Ext(uri); id != 0 {
						m.Extmap = append(m.Extmap, sdp.Extension{ID: id, URI: uri})
					}
				}
			}
			if l.delay != 0 {
				m.Extmap = append(m.Extmap, sdp.Extension{ID: l.delay, URI: sdp.ExtDelay})
			}
			if !p.plan.publish {
				m.Label = l.media.Kind + "-" + word(8)
				own := ssrc
				ssrc++
				if p.conf.KeepOriginalSSRC {
					own = s.original(v.ask.Key, l, own)
				}
				m.Sources = append(m.Sources, own)
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

// original returns the SSRC under which a publisher of WebRTC sends a medium, otherwise
// if there is none.
func (s *server) original(key hub.Key, l *line, otherwise uint32) uint32 {
	if v, ok := s.env.Conf.Load().Vhost(key.Vhost); ok {
		key.Vhost = v.Name
	}
	st := s.env.Hub.Stream(key)
	if st == nil {
		return otherwise
	}
	p := s.publisher(st)
	if p == nil {
		return otherwise
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if src := p.ingest.sources[trackOf(l.is.Kind())]; src != nil && src.known {
		return src.ssrc
	}
	return otherwise
}

// trackOf is the track of a kind.
func trackOf(k media.Kind) int {
	if k == media.Audio {
		return soundTrack
	}
	return pictureTrack
}

// reach tells the ways to this server.
func (s *server) reach() *reach {
	r := &reach{conf: s.conf, addresses: interfaces, resolve: lookup}
	if len(s.socks) > 0 {
		r.udp = s.socks[0].sock.LocalAddr().Port()
	}
	if s.conf.TCP.Enabled && len(s.conf.TCP.Listen) > 0 {
		_, port := config.SplitListen(s.conf.TCP.Listen[0])
		r.tcp = uint16(port)
	}
	return r
}

// number returns a number that nobody can guess.
func number() uint32 {
	var b [4]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}
