package sender

import (
	"hash/fnv"
	"math/rand/v2"
	"net"
	"strconv"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/wire/rtcp"
	"weir/internal/wire/rtp"
	"weir/internal/wire/rtsp"
)

// Players of RTSP are sent packets of RTP between the messages of their connection. Who
// has the same tracks on the same channels shares their bytes, sequence numbers
// included: they count what the reel has, not what one viewer was sent.

// The tracks of RTSP: the main one of each kind, in SRS's order.
const (
	RTSPSound = iota
	RTSPPicture
	rtspTracks
)

// An RTSPChannel is where one track goes; On is false for a track that was not set up.
type RTSPChannel struct {
	On        bool
	RTP, RTCP uint8
}

// An RTSPViewer is what one viewer was told.
type RTSPViewer struct {
	// Told are the tracks that it was told of; nil for those that there were not.
	Told [rtspTracks]*media.Track
	// Control are their addresses, which the header RTP-Info repeats.
	Control [rtspTracks]string
}

// RTSPTrack returns the place of f's track, -1 if it has no form or is not the main one
// of its kind.
func RTSPTrack(t *media.Track, l *media.Layout) int {
	switch {
	case !rtsp.Carries(t) || l.Main(t.Kind) != t:
		return -1
	case t.Kind == media.Audio:
		return RTSPSound
	}
	return RTSPPicture
}

// RTSPSource returns the SSRC of a track of a stream, and where its time stamps begin.
// They are the same for all viewers, before there is a packet.
func RTSPSource(s *hub.Stream, track int) (ssrc, clock uint32) {
	h := fnv.New64a()
	h.Write([]byte(s.ID + strconv.Itoa(track)))
	sum := h.Sum64()
	return uint32(sum >> 32), uint32(sum)
}

const (
	// reportEvery is the longest time without a sender report, of the stream.
	reportEvery = 5 * time.Second
	// rtspName is what all sources of a stream have in common (RFC 3550 6.5.1): what
	// players keep in sync.
	rtspName = "weir"
	// reportSize is the length of a sender report with that name and what stands before.
	reportSize = rtsp.FrameHead + 28 + 8 + 8
	// snap is how far the time of AAC may be from where the sound before it ends and be
	// taken for that: encoders tell whole milliseconds.
	snap = 2 * time.Millisecond
)

// rtspForm makes packets of RTP.
type rtspForm struct {
	channels [rtspTracks]RTSPChannel
	tracks   [rtspTracks]rtspTrack
	made     []rtp.Payload // of the frame that is next
	zero     time.Time     // the moment at which the stream's time was 0, as reports have it
	epoch    uint32
	reported time.Duration // when reports were sent last
}

// rtspTrack is one of its tracks.
type rtspTrack struct {
	packer      rtp.Packer
	ssrc, clock uint32
	seq         uint16
	packets     uint32
	octets      uint32

	track *media.Track
	step  int64 // ticks of a frame of AAC
	next  int64 // where the sound so far ends, in ticks
}

func newRTSP(s *hub.Stream, channels [rtspTracks]RTSPChannel) *rtspForm {
	f := &rtspForm{channels: channels}
	for i := range f.tracks {
		t := &f.tracks[i]
		t.ssrc, t.clock = RTSPSource(s, i)
		t.seq = uint16(rand.Uint32())
		t.packer.KeepB = true
	}
	return f
}

func (f *rtspForm) size(fr *media.Frame) int {
	i := RTSPTrack(fr.Track, fr.Layout)
	if i < 0 || !f.channels[i].On {
		return 0
	}
	clear(f.made)
	f.made = f.tracks[i].packer.Append(f.made[:0], fr)
	if len(f.made) == 0 {
		return 0
	}
	n := rtspTracks * reportSize
	for j := range f.made {
		n += rtsp.FrameHead + rtp.HeaderSize + f.made[j].Size()
	}
	return n
}

func (f *rtspForm) appendFrame(dst []byte, fr *media.Frame) []byte {
	i := RTSPTrack(fr.Track, fr.Layout)
	t := &f.tracks[i]
	f.anchor(fr)
	if d := fr.DTS - f.reported; d >= reportEvery || d < 0 {
		dst = f.reports(dst, rtspMains(fr.Layout), f.moment(fr))
		f.reported = fr.DTS
	}
	typ, _ := rtsp.Type(fr.Track.Codec)
	stamp := t.clock + uint32(t.ticks(fr))
	for j := range f.made {
		p := &f.made[j]
		at := len(dst)
		dst = append(dst, make([]byte, rtsp.FrameHead+rtp.HeaderSize)...)
		rtsp.PutFrame(dst[at:], f.channels[i].RTP, rtp.HeaderSize+p.Size())
		rtp.PutHeader(dst[at+rtsp.FrameHead:], p.Marker, typ, t.seq, stamp, t.ssrc)
		dst = p.AppendTo(dst)
		t.seq++
		t.packets++
		t.octets += uint32(p.Size())
	}
	return dst
}

// anchor notes what moment the stream's time stands for, once per publication: reports
// keep to one line, however frames come, since players follow what they say.
func (f *rtspForm) anchor(fr *media.Frame) {
	if f.zero.IsZero() || f.epoch != fr.Epoch {
		f.zero, f.epoch = fr.Arrived.Add(-fr.DTS), fr.Epoch
	}
}

// ticks returns the time of a frame. What follows on the sound before, but for what an
// encoder rounds, does so exactly.
func (t *rtspTrack) ticks(fr *media.Frame) int64 {
	if fr.Track != t.track {
		t.track, t.step = fr.Track, 0
		if fr.Track.Codec == media.AAC {
			if c, err := aac.ParseConfig(fr.Track.Config); err == nil {
				t.step = media.Ticks(c.FrameDuration(), rtsp.Clock(fr.Track))
			}
		}
		t.next = -1 << 62
	}
	at := media.Ticks(fr.PTS(), rtsp.Clock(fr.Track))
	if t.step == 0 {
		return at
	}
	if near := media.Ticks(snap, rtsp.Clock(fr.Track)); at-t.next <= near && t.next-at <= near {
		at = t.next
	}
	t.next = at + t.step
	return at
}

// A rtspMoment is how things stand before a frame.
type rtspMoment struct {
	dts  time.Duration
	ntp  uint64
	seq  [rtspTracks]uint16
	sent [rtspTracks]struct{ packets, octets uint32 }
}

func (f *rtspForm) moment(fr *media.Frame) (m rtspMoment) {
	m.dts, m.ntp = fr.DTS, rtcp.NTP(f.zero.Add(fr.DTS))
	for i := range f.tracks {
		t := &f.tracks[i]
		m.seq[i], m.sent[i].packets, m.sent[i].octets = t.seq, t.packets, t.octets
	}
	return m
}

// stamp is the time stamp of a moment for a track.
func (f *rtspForm) stamp(i int, t *media.Track, at rtspMoment) uint32 {
	return f.tracks[i].clock + uint32(media.Ticks(at.dts, rtsp.Clock(t)))
}

// reports appends a sender report of each track.
func (f *rtspForm) reports(dst []byte, of [rtspTracks]*media.Track, at rtspMoment) []byte {
	for i, t := range of {
		if t == nil || !f.channels[i].On {
			continue
		}
		from, ssrc := len(dst), f.tracks[i].ssrc
		dst = append(dst, 0, 0, 0, 0)
		dst = rtcp.AppendSR(dst, ssrc, rtcp.Sender{NTP: at.ntp, Timestamp: f.stamp(i, t, at), Packets: at.sent[i].packets, Octets: at.sent[i].octets})
		dst = rtcp.AppendSDES(dst, ssrc, rtspName)
		rtsp.PutFrame(dst[from:], f.channels[i].RTCP, len(dst)-from-rtsp.FrameHead)
	}
	return dst
}

// rtspMains returns the tracks of a layout that have a form.
func rtspMains(l *media.Layout) (all [rtspTracks]*media.Track) {
	for _, t := range [...]*media.Track{l.Main(media.Audio), l.Main(media.Video)} {
		if t != nil {
			if i := RTSPTrack(t, l); i >= 0 {
				all[i] = t
			}
		}
	}
	return all
}

func (f *rtspForm) note(s *start, fr *media.Frame, _ bool) {
	f.anchor(fr)
	m := f.moment(fr)
	s.rtsp = &m
}

func (f *rtspForm) prologue(dst []byte, v *progress, s *start) []byte {
	if !v.headed {
		dst = f.info(dst, v.rtsp, *s.rtsp)
		dst = append(dst, "\r\n"...)
	}
	v.headed = true
	if !f.fits(v.rtsp, s.layout) {
		v.over = true
		return dst
	}
	// What the viewer was told of may be younger than where it begins.
	return f.reports(dst, v.rtsp.Told, *s.rtsp)
}

// info appends the header that says with which packets a viewer begins (RFC 2326
// 12.33): one moment for all tracks, before which there is nothing.
func (f *rtspForm) info(dst []byte, v *RTSPViewer, at rtspMoment) []byte {
	before := "RTP-Info: url="
	for i, t := range v.Told {
		if t == nil || !f.channels[i].On {
			continue
		}
		dst = append(append(dst, before...), v.Control[i]...)
		dst = append(strconv.AppendUint(append(dst, ";seq="...), uint64(at.seq[i]), 10), ";rtptime="...)
		dst = strconv.AppendUint(dst, uint64(f.stamp(i, t, at)), 10)
		before = ",url="
	}
	return append(dst, "\r\n"...)
}

// fits reports whether a viewer can play a layout by what it was told.
func (f *rtspForm) fits(v *RTSPViewer, l *media.Layout) bool {
	for i, t := range rtspMains(l) {
		if told := v.Told[i]; told != nil && t != nil && f.channels[i].On && !rtsp.Fits(told, t) {
			return false
		}
	}
	return true
}

func (*rtspForm) epilogue(dst []byte) []byte { return dst }

// RTSP encodes for a player of RTSP that no loop can serve.
type RTSP struct {
	form   *rtspForm
	viewer progress
	layout *media.Layout
}

// NewRTSP returns the encoder for one viewer of a stream.
func NewRTSP(s *hub.Stream, channels [rtspTracks]RTSPChannel, v *RTSPViewer) *RTSP {
	return &RTSP{form: newRTSP(s, channels), viewer: progress{rtsp: v}}
}

// Restart implements Encoder. A gap in the sequence numbers would be taken for a loss,
// and there is none on the way.
func (e *RTSP) Restart() {}

// Over reports whether the stream has become something that the viewer cannot play.
func (e *RTSP) Over() bool { return e.viewer.over }

// Finish ends the head of the answer, if no frame has come that does.
func (e *RTSP) Finish(dst []byte) []byte {
	if e.viewer.headed {
		return dst
	}
	e.viewer.headed = true
	return append(dst, "\r\n"...)
}

// Append implements Encoder.
func (e *RTSP) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	n := e.form.size(f)
	if n == 0 || e.viewer.over {
		return bufs
	}
	var dst []byte
	if f.Layout != e.layout {
		s := &start{layout: f.Layout, dts: f.DTS, seq: f.Seq}
		e.form.note(s, f, true)
		dst = e.form.prologue(make([]byte, 0, n+rtspTracks*reportSize), &e.viewer, s)
		e.layout = f.Layout
	}
	if !e.viewer.over {
		dst = e.form.appendFrame(dst, f)
	}
	return append(bufs, dst)
}
