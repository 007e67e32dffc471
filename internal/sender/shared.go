package sender

import (
	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/media"
	"weir/internal/wire/rtmp"
)

// rtmpForm does for all viewers of a reel what [RTMP] does for one. It makes chunks whose time is a distance. A viewer's clock is set by the headers that it gets first: one message with an absolute time on
// each chunk stream, after which the distances count.
type rtmpForm struct {
	chunk int
	only  Only
	clock []base // by track: the time of the newest message in ms
	head  [16]byte
}

func (f *rtmpForm) size(fr *media.Frame) int {
	if !f.takes(fr.Track, fr.Layout) {
		return 0
	}
	n := len(fr.Payload) + 16
	return n + 18 + n/f.chunk*7 + 7
}

func (f *rtmpForm) takes(t *media.Track, l *media.Layout) bool {
	return t.Codec != media.TSData && f.only.takes(t, l)
}

func (f *rtmpForm) at(t *media.Track) *base {
	for i := range f.clock {
		if b := &f.clock[i]; b.track.Kind == t.Kind && b.track.ID == t.ID {
			b.track = t
			return b
		}
	}
	return nil
}

func (f *rtmpForm) appendFrame(dst []byte, fr *media.Frame) []byte {
	ms := media.Milliseconds(fr.DTS)
	b := f.at(fr.Track)
	// The timeline never goes back, but a track that is new may begin before
	// the moment at which its clock was set.
	delta := max(0, ms-b.ms)
	b.ms += delta
	typ := rtmp.MessageType(flv.Type(fr.Track.Kind))
	return rtmp.AppendDelta(dst, f.csid(fr.Track), uint32(delta), typ, f.chunk, f.only.body(f.head[:0], fr), fr.Payload)
}

// csidData is the chunk stream of script data in a reel; the one of the
// protocol's own messages has no clock to count from.
const csidData = 7

func (f *rtmpForm) csid(t *media.Track) uint32 {
	if t.Kind == media.Data {
		return csidData
	}
	return csid(t)
}

func (f *rtmpForm) note(s *start, fr *media.Frame, fresh bool) {
	if fresh {
		for _, t := range fr.Layout.Tracks {
			if f.takes(t, fr.Layout) && f.at(t) == nil {
				f.clock = append(f.clock, base{t, media.Milliseconds(fr.DTS)})
			}
		}
	}
	for _, t := range fr.Layout.Tracks {
		if !f.takes(t, fr.Layout) {
			continue
		}
		s.bases = append(s.bases, base{t, f.at(t).ms})
	}
}

func (f *rtmpForm) prologue(dst []byte, v *progress, s *start) []byte {
	if !v.headed {
		v.headed = true
		v.zero = media.Milliseconds(s.dts)
		for _, b := range s.bases {
			v.zero = min(v.zero, b.ms)
		}
	}
	if s.layout.Meta != nil {
		// Always at 0: ffmpeg takes metadata elsewhere for a subtitle.
		m := rtmp.Message{Type: rtmp.TypeDataAMF0, StreamID: rtmp.StreamID, CSID: rtmp.CSIDStream}
		dst = rtmp.AppendParts(dst, m, f.chunk, onMetaData, s.layout.Meta)
	}
	for _, kind := range []media.Kind{media.Audio, media.Video, media.Data} {
		for _, b := range s.bases {
			if b.track.Kind != kind {
				continue
			}
			m := rtmp.Message{Type: rtmp.MessageType(flv.Type(kind)), StreamID: rtmp.StreamID, CSID: f.csid(b.track), Timestamp: uint32(max(0, b.ms-v.zero))}
			dst = rtmp.AppendParts(dst, m, f.chunk, clockBody(b.track))
			if body, ok := f.only.picture(b.track); ok {
				dst = rtmp.AppendParts(dst, m, f.chunk, body)
			}
		}
	}
	return dst
}

func (f *rtmpForm) epilogue(dst []byte) []byte { return dst }

var (
	onMetaData   = amf.Append(nil, "onMetaData")
	sampleAccess = amf.AppendAll(nil, "|RtmpSampleAccess", true, true)
)

// clockBody is a message body that sets the clock of a track's chunk stream: its
// sequence header where the codec has one, else a message without payload, which
// means silence, or for data one that players know and pass over.
func clockBody(t *media.Track) []byte {
	if t.Kind == media.Data {
		return sampleAccess
	}
	if b, ok := flv.AppendConfigBody(nil, t); ok {
		return b
	}
	return flv.AppendBodyHeader(nil, &media.Frame{Track: t})
}
