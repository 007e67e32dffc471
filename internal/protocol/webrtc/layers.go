package webrtc

import (
	"fmt"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	wire "weir/internal/wire/rtp"
	"weir/internal/wire/sdp"
)

// A publisher of simulcast sends one picture in several sizes, its layers, which the
// extension rid of RTP's header tells apart (RFC 8852, RFC 8853), or, as before that, their
// SSRCs. Players of WebRTC get
// the one that their way allows; for all others the best one that comes is the
// picture.

// layer is what a source is that is one of several.
type layer struct {
	rid    string
	id     uint8        // of its track for insiders
	own    *media.Track // that the frames have,
	inside *media.Track // and the same with id
	last   time.Time    // when a frame came
	meter  meter
}

// simulcast is what an ingest knows of layers.
type simulcast struct {
	bySSRC map[uint32]*source // of media and of repair
	lead   *source            // the first that came, by which the others are aligned
	best   *source            // the one that all see
}

const (
	// originsMost is how many SSRCs of layers are remembered.
	originsMost = 8 * hub.LayersMost
	// layerSilence is after what time a layer without a frame has stopped: publishers
	// stop layers that their own way does not allow.
	layerSilence = time.Second
)

// layerOf returns the layer that a packet is of, nil if that is not known. Publishers
// say it until they are told that packets came.
func (in *ingest) layerOf(h *wire.Header) *source {
	if s := in.bySSRC[h.SSRC]; s != nil {
		return s
	}
	l := in.sources[pictureTrack].line
	rid := h.Find(l.rid)
	if h.PayloadType == l.rtx && h.Find(l.repair) != nil {
		rid = h.Find(l.repair)
	}
	for _, s := range in.sources[pictureTrack:] {
		if len(rid) == 0 || s.layer.rid != string(rid) {
			continue
		}
		if in.bySSRC == nil || len(in.bySSRC) >= originsMost {
			in.bySSRC = map[uint32]*source{} // they say it again, or begin anew
		}
		in.bySSRC[h.SSRC] = s
		return s
	}
	return nil
}

// origin notes which SSRCs a layer comes by, where an offer has said so (a=ssrc-group:SIM).
func (in *ingest) origin(m *sdp.Media, ssrc uint32, s *source) {
	if in.bySSRC == nil {
		in.bySSRC = map[uint32]*source{}
	}
	in.bySSRC[ssrc] = s
	if repair, ok := m.Repairs(ssrc); ok {
		in.bySSRC[repair] = s
	}
}

// publishLayer publishes a frame of a layer: to insiders as what it is, and to all if
// it is the best one.
func (in *ingest) publishLayer(s *source, f *media.Frame) {
	l, now := s.layer, time.Now()
	l.last = now
	l.meter.add(now.UnixNano(), len(f.Payload))
	if in.lead == nil {
		in.lead = s
	}
	if f.Track != l.own {
		t := *f.Track
		t.ID = l.id
		l.own, l.inside = f.Track, &t
	}
	if f.Key && s != in.best && (in.best == nil || l.better(in.best.layer, now) || !in.best.layer.alive(now)) {
		in.best = s
	}
	in.pub.WriteInside(&media.Frame{Track: l.inside, Source: f.Source, CTO: f.CTO, Key: f.Key, Payload: f.Payload})
	if s == in.best {
		in.pub.Write(f)
	}
}

// better reports whether a layer is a better picture than another: larger, or as large with
// half as many bits more, as layers by SSRCs are that Chromium sends.
func (l *layer) better(than *layer, now time.Time) bool {
	if a, b := l.own, than.own; a.Width*a.Height != b.Width*b.Height {
		return larger(a, b)
	}
	at := now.UnixNano()
	return 2*l.meter.now(at) > 3*than.meter.now(at)
}

func larger(a, b *media.Track) bool { return a.Width*a.Height > b.Width*b.Height }

// alive reports whether frames of the layer come.
func (l *layer) alive(now time.Time) bool { return l.own != nil && now.Sub(l.last) < layerSilence }

// shown returns the source of the picture that all see, nil if there is none. Where the
// best layer has stopped it is the next best, which is asked for a key frame to go on
// with, as is one that has become better.
func (in *ingest) shown(now time.Time) *source {
	if in.best == nil {
		return in.sources[pictureTrack]
	}
	if in.best.layer.alive(now) {
		for _, s := range in.sources[pictureTrack:] {
			if s.layer.alive(now) && s.layer.better(in.best.layer, now) {
				s.askKey(now)
			}
		}
		return in.best
	}
	var next *source
	for _, s := range in.sources[pictureTrack:] {
		if s.layer.alive(now) && (next == nil || s.layer.better(next.layer, now)) {
			next = s
		}
	}
	if next == nil {
		return in.best
	}
	next.askKey(now)
	return next
}

// askLayer asks for a key frame of a layer, by its number from 0, or of the picture if
// there is one only.
func (in *ingest) askLayer(n int, now time.Time) {
	if i := pictureTrack + n; i < len(in.sources) && in.sources[i] != nil {
		in.sources[i].askKey(now)
	}
}

// wish is session.Visitor.Wish.
func (p *peer) wish(layer int) {
	_, _, st := p.session.Doing()
	if st == nil || layer < 0 || p.server.publisher(st) != p { // it comes or goes just now
		return
	}
	p.server.begin(func() { // who wishes may hold a lock of its own
		p.mu.Lock()
		defer p.mu.Unlock()
		p.ingest.askLayer(layer, time.Now())
	})
}

// inLayers has a stream's players know that its picture comes in layers.
func (s *server) inLayers(st *hub.Stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for key, l := range s.lanes {
		if key.stream == st {
			l.layered.Store(true)
		}
	}
}

// tellLayers tells of layers. p.mu is held.
func (p *peer) tellLayers(a *about) {
	if p.viewer != nil && p.estimate.Load() > 0 {
		n := int(p.layer.Load())
		a.Layer, a.Carries = &n, p.estimate.Load()
	}
	if p.ingest == nil {
		return
	}
	now := time.Now()
	for _, s := range p.ingest.sources {
		if s != nil && s.layer != nil && s.layer.alive(now) {
			a.Layers = append(a.Layers, fmt.Sprintf("%s %dx%d", s.layer.rid, s.layer.own.Width, s.layer.own.Height))
		}
	}
}
