package webrtc

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/sdp"
)

// Why an offer is refused, with SRS's numbers.
const (
	codeDecode   = 5012
	codeExchange = 5018
	codeBody     = 5019
	codeBusy     = 5020
	codeOff      = 5021
	codeSession  = 5036
	codeICE      = 5037
)

var errOff = &session.Error{Code: codeOff, Text: "WebRTC is not enabled; turn on rtc_server { enabled on; } and, in the vhost, rtc { enabled on; }"}

func exchange(format string, args ...any) error {
	return &session.Error{Code: codeExchange, Text: fmt.Sprintf(format, args...)}
}

// A line is what becomes of one medium of an offer.
type line struct {
	media *sdp.Media
	index int
	// codec is what was agreed on; nil if the medium is rejected.
	codec *sdp.Codec
	is    media.Codec
	rtx   uint8 // payload type of repair, 0 if there is none
	twcc  uint8 // number of the extension, 0 if there is none
	// layers are the rids of simulcast that are taken, of a publisher; rid and
	// repair are the numbers of the extensions that tell them apart.
	layers      []string
	rid, repair uint8
	origins     []uint32 // of layers that are told apart by their SSRC instead
	delay       uint8    // likewise, of how long pictures are kept
	// others are the codecs that a player may be sent besides: what will be published is
	// not known yet.
	others []format
}

// A format is a codec of an offer that may be sent.
type format struct {
	codec *sdp.Codec
	is    media.Codec
	rtx   uint8 // as line's
}

// plan is what was agreed on.
type plan struct {
	offer        *sdp.Session
	publish      bool
	setup        string // ours: "passive" or "active"
	audio, video *line  // nil if the offer has none
	lines        []*line
}

// names are the codecs of RTP by the names that SDP has for them.
var names = map[string]media.Codec{"h264": media.H264, "h265": media.H265, "vp8": media.VP8, "vp9": media.VP9, "av1": media.AV1, "av1x": media.AV1, "opus": media.Opus, "pcma": media.PCMA, "pcmu": media.PCMU}

// rank is the order in which codecs are taken that nobody asks for.
var rank = []media.Codec{media.H264, media.H265, media.AV1, media.VP9, media.VP8, media.Opus, media.PCMA, media.PCMU}

// wanted reads the parameter codec of a request: "av1", "hevc"; 0 if it is no such.
func wanted(name string) media.Codec {
	name = strings.ToLower(name)
	switch name {
	case "hevc":
		return media.H265
	case "avc":
		return media.H264
	}
	return names[name]
}

// agree looks at an offer. want is a codec of picture that is asked for, or 0; live is
// what the stream consists of, if it is live. Who plays is refused where it could see
// nothing, as in SRS: it would not know why.
func agree(offer *sdp.Session, publish bool, want media.Codec, live *media.Layout, conf *blocks.RTCConfig) (*plan, error) {
	p := &plan{offer: offer, publish: publish}
	switch {
	case len(offer.Media) == 0:
		return nil, exchange("the offer has no media; add sound or picture before making it")
	case offer.Ufrag == "" || offer.Pwd == "":
		return nil, exchange("the offer has no ice-ufrag and ice-pwd")
	case len(offer.Fingerprints) == 0:
		return nil, exchange("the offer has no fingerprint of a certificate")
	}
	switch offer.Setup {
	case "passive":
		p.setup = "active"
	case "actpass", "active", "":
		p.setup = "passive"
		if offer.Setup == "actpass" && conf.DTLSRole == "active" {
			p.setup = "active"
		}
	default:
		return nil, exchange("the offer has setup:%.20s, which is none of actpass, active and passive", offer.Setup)
	}
	for i, m := range offer.Media {
		l := &line{media: m, index: i}
		p.lines = append(p.lines, l)
		if err := p.take(l, want, live, conf); err != nil {
			return nil, err
		}
	}
	if p.audio == nil && p.video == nil {
		return nil, exchange("the offer has neither sound nor picture")
	}
	if (p.audio == nil || p.audio.codec == nil) && (p.video == nil || p.video.codec == nil) {
		return nil, exchange("the offer has no codec that is known here%s", offered(p.offer.Media...))
	}
	if publish {
		for _, l := range []*line{p.audio, p.video} {
			if l != nil && l.codec == nil {
				return nil, exchange("the offer's %s has no codec that is known here%s", l.media.Kind, offered(l.media))
			}
		}
	}
	return p, nil
}

// helpers are names that are no codecs of picture or sound, but go with any.
var helpers = []string{"rtx", "red", "ulpfec", "flexfec-03", "cn", "telephone-event"}

// offered tells the codecs of an offer, for who must find out what is wrong with it.
func offered(media ...*sdp.Media) string {
	var all []string
	for _, m := range media {
		for i := range m.Codecs {
			if n := m.Codecs[i].Name; n != "" && !slices.Contains(all, n) && !slices.Contains(helpers, strings.ToLower(n)) {
				all = append(all, n)
			}
		}
	}
	if len(all) == 0 {
		return ""
	}
	return "; it has " + strings.Join(all, ", ")
}

// take decides about one medium.
func (p *plan) take(l *line, want media.Codec, live *media.Layout, conf *blocks.RTCConfig) error {
	m := l.media
	slot, kind := &p.audio, media.Audio
	switch m.Kind {
	case "audio":
	case "video":
		slot, kind = &p.video, media.Video
	default:
		return exchange("the offer has m=%.20s; only audio and video are taken", m.Kind)
	}
	if m.Rejected && m.MID == "" {
		return nil
	}
	switch {
	case p.publish && !m.Sends():
		return exchange("the offer's %s is %s; to publish it must be sendonly or sendrecv", m.Kind, m.Direction)
	case !p.publish && m.Direction == "sendonly":
		return exchange("the offer's %s is sendonly; to play it must be recvonly or sendrecv", m.Kind)
	case *slot != nil && p.publish:
		return exchange("the offer has more than one %s; publish one of each, layers of simulcast by rid", m.Kind)
	case *slot != nil || !p.publish && !m.Receives():
		return nil // rejected
	}
	*slot = l
	if kind == media.Audio {
		want = 0
		if p.publish {
			want = foremost(m)
		}
	}
	if t := live.Main(kind); t != nil && want == 0 && !p.publish && names[strings.ToLower(t.Codec.String())] != 0 {
		want = t.Codec
	} else if t != nil && !p.publish && t.Codec == media.H265 && want == 0 {
		want = media.H265
	}
	l.codec, l.is = choose(m, kind, want, profile(live, kind))
	if !p.publish && kind == media.Video && want != 0 && l.is != want {
		return exchange("the picture is %[1]s, which the offer has not%[2]s; take a player that has %[1]s, or publish what this one has", want, offered(m))
	}
	if l.codec == nil {
		return nil
	}
	l.rtx = p.repair(m, l.codec, conf)
	if !p.publish && kind == media.Video && want == 0 {
		for _, is := range rank {
			if c, found := choose(m, kind, is, ""); found == is && is != l.is {
				f := format{codec: c, is: is}
				if l.rtx != 0 { // else there is no SSRC for it
					f.rtx = p.repair(m, c, conf)
				}
				l.others = append(l.others, f)
			}
		}
	}
	if conf.TWCC && l.codec.Has("transport-cc") {
		l.twcc = m.Ext(sdp.ExtTWCC)
	}
	if l.rid = m.Ext(sdp.ExtRID); p.publish && kind == media.Video && l.rid != 0 && len(m.Layers) > 1 {
		l.repair = m.Ext(sdp.ExtRepair)
		l.layers = m.Layers[:min(len(m.Layers), hub.LayersMost)]
	} else if sim := m.Simulcast(); p.publish && kind == media.Video && len(sim) > 1 {
		l.origins = sim[:min(len(sim), hub.LayersMost)]
		for n := range l.origins {
			l.layers = append(l.layers, strconv.Itoa(n))
		}
	}
	if !p.publish && kind == media.Video && conf.PlayoutDelay > 0 {
		l.delay = m.Ext(sdp.ExtDelay)
	}
	return nil
}

// repair returns the payload type in which packets of a codec are sent again, 0 if that is
// their own.
func (p *plan) repair(m *sdp.Media, c *sdp.Codec, conf *blocks.RTCConfig) uint8 {
	if rtx, ok := m.Repair(c.Type); ok && conf.NACK && c.Has("nack") && (p.publish || conf.NACKPreferRTX) {
		return rtx
	}
	return 0
}

// foremost is the codec of sound that an offer would like best.
func foremost(m *sdp.Media) media.Codec {
	for i := range m.Codecs {
		if c := names[strings.ToLower(m.Codecs[i].Name)]; c != 0 && c.Kind() == media.Audio {
			return c
		}
	}
	return 0
}

// profile returns the profile_idc of a live stream's H.264 as SDP begins it, "" if it
// is not known.
func profile(live *media.Layout, kind media.Kind) string {
	t := live.Main(kind)
	if t == nil || t.Codec != media.H264 || len(t.Config) < 4 {
		return ""
	}
	return fmt.Sprintf("%02x", t.Config[1])
}

// choose returns the codec of a medium to be taken: the wanted one, or the first in
// rank. Of several of H.264 that is the one with the stream's profile, else SRS's
// favourite 42e01f, with packetization-mode 1 if there is one.
func choose(m *sdp.Media, kind media.Kind, want media.Codec, profile string) (*sdp.Codec, media.Codec) {
	var best *sdp.Codec
	var is media.Codec
	score := -1
	for i := range m.Codecs {
		c := &m.Codecs[i]
		codec := names[strings.ToLower(c.Name)]
		if codec == 0 || codec.Kind() != kind || codec == media.VP9 && c.Param("profile-id") != "" && c.Param("profile-id") != "0" {
			continue
		}
		n := 100 * (len(rank) - slices.Index(rank, codec))
		if codec == want {
			n += 10000
		}
		if codec == media.H264 {
			id := strings.ToLower(c.Param("profile-level-id"))
			if profile != "" && strings.HasPrefix(id, profile) {
				n += 16
			}
			if strings.HasPrefix(id, "42e0") {
				n += 8
			}
			if c.Param("packetization-mode") == "1" {
				n += 32
			}
			if c.Param("level-asymmetry-allowed") == "1" {
				n += 4
			}
		}
		if n > score {
			best, is, score = c, codec, n
		}
	}
	return best, is
}

// feedback returns what we answer of the feedback that a codec was offered with, in
// SRS's order.
func (l *line) feedback(c *sdp.Codec, conf *blocks.RTCConfig) (all []string) {
	if l.twcc != 0 {
		all = append(all, "transport-cc")
	}
	if l.is.Kind() == media.Audio {
		return all
	}
	for _, f := range []string{"nack", "nack pli", "ccm fir"} {
		if c.Has(f) && (f != "nack" || conf.NACK) && (f != "ccm fir" || !c.Has("nack pli")) {
			all = append(all, f)
		}
	}
	return all
}

// codecs are the formats of the answer.
func (l *line) codecs(publish bool, conf *blocks.RTCConfig) (all []sdp.Codec) {
	for _, f := range append([]format{{l.codec, l.is, l.rtx}}, l.others...) {
		c := *f.codec
		c.Feedback = l.feedback(f.codec, conf)
		if l.is == media.Opus && !publish {
			params := ""
			if c.Param("stereo") == "1" {
				params = c.Params + ";sprop-stereo=1"
			}
			c.Params = params
		} else if l.is == media.Opus && c.Param("stereo") == "" && c.Params != "" {
			c.Params += ";stereo=1"
		}
		all = append(all, c)
		if f.rtx != 0 {
			all = append(all, sdp.Codec{Type: f.rtx, Name: "rtx", Clock: c.Clock, Params: fmt.Sprintf("apt=%d", c.Type)})
		}
	}
	return all
}
