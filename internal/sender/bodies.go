package sender

import (
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/media/aac"
)

// The formats of reels: what [FLV], [MP4], [TS], [ADTS] and [MP3] do for a viewer
// of its own, for all viewers at once.

// flvBody makes FLV tags.
type flvBody struct {
	only    Only
	promise Promise
}

func (b flvBody) size(f *media.Frame) int {
	if !b.only.takes(f.Track, f.Layout) || f.Track.Codec == media.TSData {
		return 0
	}
	return flv.TagSize(f)
}

func (flvBody) appendFrame(dst []byte, f *media.Frame) []byte {
	return flv.AppendFrameTag(dst, f, flv.Timestamp(f.DTS))
}

func (flvBody) note(*start, *media.Frame, bool) {}

func (b flvBody) prologue(dst []byte, v *progress, s *start) []byte {
	if !v.headed {
		v.headed = true
		dst = b.promise.append(dst, s.layout)
	}
	return b.only.flvLayout(dst, s.layout, flv.Timestamp(s.dts))
}

// mp4Body makes movie fragments.
type mp4Body struct{ only Only }

func (b mp4Body) size(f *media.Frame) int {
	if !mp4.Supported(f.Track) || !b.only.takes(f.Track, f.Layout) {
		return 0
	}
	return mp4.FrameFragmentSize(f)
}

func (mp4Body) appendFrame(dst []byte, f *media.Frame) []byte {
	return mp4.AppendFrameFragment(dst, f)
}

func (mp4Body) note(*start, *media.Frame, bool) {}

func (b mp4Body) prologue(dst []byte, _ *progress, s *start) []byte {
	head, err := mp4.AppendInit(dst, b.only.layout(s.layout))
	if err != nil {
		return dst
	}
	return head
}

// tablesEvery is the longest time without tables in a transport stream.
const tablesEvery = 500 * time.Millisecond

// tsBody makes one transport stream, whose counters go on from frame to frame, so
// that whoever begins at some frame has them right from there on. Tables stand
// before each key frame, and twice a second.
type tsBody struct {
	only   Only
	mux    *mpegts.Muxer
	layout *media.Layout
	due    bool          // tables stand before the next frame
	last   time.Duration // of the tables
}

func (b *tsBody) size(f *media.Frame) int {
	if f.Layout != b.layout {
		b.layout, b.due = f.Layout, true
		l := b.only.layout(f.Layout)
		if b.mux == nil {
			b.mux = mpegts.NewPassing(l)
		} else {
			b.mux.SetLayout(l)
		}
	}
	n := b.mux.FrameSize(f)
	if n == 0 {
		return 0
	}
	b.due = b.due || tablesDue(f, b.last)
	return n + 2*mpegts.PacketSize
}

// tablesDue reports whether tables belong before f, which were sent last at some
// time.
func tablesDue(f *media.Frame, last time.Duration) bool {
	return f.Track.Kind == media.Video && f.Key || f.DTS-last >= tablesEvery
}

func (b *tsBody) appendFrame(dst []byte, f *media.Frame) []byte {
	if b.due {
		b.due, b.last = false, f.DTS
		dst = b.mux.AppendTables(dst)
	}
	// A frame that has no form is left out.
	dst, _ = b.mux.AppendFrame(dst, f, f.DTS)
	return dst
}

func (b *tsBody) note(s *start, _ *media.Frame, _ bool) {
	if !b.due {
		s.tables = b.mux.AppendTablesAt(nil, b.mux.TablesCounter()-1)
	}
}

func (*tsBody) prologue(dst []byte, v *progress, s *start) []byte {
	if v.headed {
		return dst
	}
	v.headed = true
	return append(dst, s.tables...)
}

// adts makes AAC with ADTS headers.
type adts struct {
	track  *media.Track
	config aac.Config
}

// carries reports whether f is of the main sound, and AAC.
func (a *adts) carries(f *media.Frame) bool {
	if !mainSound(f, media.AAC) || len(f.Payload) > aac.MaxFrame {
		return false
	}
	if f.Track != a.track {
		a.track = f.Track
		var err error
		if a.config, err = aac.ParseConfig(f.Track.Config); err != nil { // the track says enough for a header
			a.config = aac.Config{Type: aac.TypeLC, SampleRate: f.Track.SampleRate, Channels: f.Track.Channels}
		}
	}
	return true
}

func (a *adts) append(dst []byte, f *media.Frame) []byte {
	return append(a.config.AppendADTS(dst, len(f.Payload)), f.Payload...)
}

func mainSound(f *media.Frame, c media.Codec) bool {
	return f.Track.Codec == c && f.Track == f.Layout.Main(media.Audio)
}

// adtsBody makes bare AAC.
type adtsBody struct {
	adts
	before func(seq uint64) []*media.Frame
}

func (b *adtsBody) size(f *media.Frame) int {
	if !b.carries(f) {
		return 0
	}
	return aac.HeaderLen + len(f.Payload)
}

func (b *adtsBody) appendFrame(dst []byte, f *media.Frame) []byte { return b.append(dst, f) }

func (*adtsBody) note(*start, *media.Frame, bool) {}

func (b *adtsBody) prologue(dst []byte, v *progress, s *start) []byte {
	if v.headed || b.before == nil {
		return dst
	}
	v.headed = true
	var own adts // the body's is for whoever publishes
	for _, f := range b.before(s.seq) {
		if own.carries(f) {
			dst = own.append(dst, f)
		}
	}
	return dst
}

// id3 is an empty tag of ID3v2, with which SRS begins MP3.
var id3 = []byte("ID3\x03\x00\x00\x00\x00\x00\x0a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// mp3Body makes bare MP3.
type mp3Body struct {
	before func(seq uint64) []*media.Frame
}

func (mp3Body) size(f *media.Frame) int {
	if !mainSound(f, media.MP3) {
		return 0
	}
	return len(f.Payload)
}

func (mp3Body) appendFrame(dst []byte, f *media.Frame) []byte { return append(dst, f.Payload...) }

func (mp3Body) note(*start, *media.Frame, bool) {}

func (b mp3Body) prologue(dst []byte, v *progress, s *start) []byte {
	if v.headed {
		return dst
	}
	v.headed = true
	dst = append(dst, id3...)
	if b.before == nil {
		return dst
	}
	for _, f := range b.before(s.seq) {
		if mainSound(f, media.MP3) {
			dst = append(dst, f.Payload...)
		}
	}
	return dst
}
