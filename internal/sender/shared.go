package sender

import (
	"strconv"

	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/media"
	"weir/internal/wire/rtmp"
)

// The forms of reels: what [RTMP], [FLV] and [MP4] do for a viewer of its own,
// for all viewers at once.

// rtmpForm makes chunks whose time is a distance (see [RTMP]). A viewer's clock
// is set by the headers that it gets first: one message with an absolute time on
// each chunk stream, after which the distances count.
type rtmpForm struct {
	chunk int
	clock []base // by track: the time of the newest message in ms
	head  [16]byte
}

func (f *rtmpForm) size(fr *media.Frame) int {
	n := len(fr.Payload) + 16
	return n + 18 + n/f.chunk*7 + 7
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
	return rtmp.AppendDelta(dst, f.csid(fr.Track), uint32(delta), typ, f.chunk, flv.AppendBodyHeader(f.head[:0], fr), fr.Payload)
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

func (f *rtmpForm) bases(fr *media.Frame, fresh bool) []base {
	if fresh {
		for _, t := range fr.Layout.Tracks {
			if f.at(t) == nil {
				f.clock = append(f.clock, base{t, media.Milliseconds(fr.DTS)})
			}
		}
	}
	var out []base
	for _, t := range fr.Layout.Tracks {
		out = append(out, base{t, f.at(t).ms})
	}
	return out
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

// httpChunk makes one chunk of HTTP/1.1's chunked coding of what fill appends at
// most n bytes of.
func httpChunk(dst []byte, n int, fill func(dst []byte) []byte) []byte {
	// The size stands before what it counts: room for it is left and filled in,
	// with leading zeros, which the grammar allows (RFC 9112 7.1).
	digits := len(strconv.FormatInt(int64(n), 16))
	at := len(dst)
	for range digits {
		dst = append(dst, '0')
	}
	dst = append(dst, '\r', '\n')
	body := len(dst)
	dst = fill(dst)
	size := len(dst) - body
	if size == 0 {
		return dst[:at] // an empty chunk would end the answer
	}
	const hex = "0123456789abcdef"
	for i := digits - 1; i >= 0; i-- {
		dst[at+i] = hex[size&15]
		size >>= 4
	}
	return append(dst, '\r', '\n')
}

// chunkOverhead is the most that httpChunk adds.
const chunkOverhead = 8 + 4

// flvForm makes FLV tags in HTTP chunks.
type flvForm struct{}

func (flvForm) size(f *media.Frame) int { return flv.TagSize(f) + chunkOverhead }

func (flvForm) appendFrame(dst []byte, f *media.Frame) []byte {
	return httpChunk(dst, flv.TagSize(f), func(dst []byte) []byte { return flv.AppendFrameTag(dst, f, flv.Timestamp(f.DTS)) })
}

func (flvForm) bases(*media.Frame, bool) []base { return nil }

func (flvForm) prologue(dst []byte, v *progress, s *start) []byte {
	return httpChunk(dst, 1<<20, func(dst []byte) []byte {
		if !v.headed {
			v.headed = true
			dst = flv.AppendFileHeader(dst, s.layout.Main(media.Audio) != nil, s.layout.Main(media.Video) != nil)
		}
		return flv.AppendLayout(dst, s.layout, flv.Timestamp(s.dts))
	})
}

func (flvForm) epilogue(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }

// mp4Form makes movie fragments in HTTP chunks.
type mp4Form struct{}

func (mp4Form) size(f *media.Frame) int {
	if !mp4.Supported(f.Track) {
		return 0
	}
	return mp4.FrameFragmentSize(f) + chunkOverhead
}

func (mp4Form) appendFrame(dst []byte, f *media.Frame) []byte {
	return httpChunk(dst, mp4.FrameFragmentSize(f), func(dst []byte) []byte { return mp4.AppendFrameFragment(dst, f) })
}

func (mp4Form) bases(*media.Frame, bool) []base { return nil }

func (mp4Form) prologue(dst []byte, v *progress, s *start) []byte {
	return httpChunk(dst, 1<<20, func(dst []byte) []byte {
		head, err := mp4.AppendInit(dst, s.layout)
		if err != nil {
			return dst
		}
		return head
	})
}

func (mp4Form) epilogue(dst []byte) []byte { return append(dst, "0\r\n\r\n"...) }
