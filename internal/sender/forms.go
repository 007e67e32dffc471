package sender

import (
	"cmp"
	"encoding/binary"
	"net"
	"time"

	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/media"
	"weir/internal/wire/rtmp"
)

// Times says which time viewers get.
type Times uint8

// The times.
const (
	// Line is the stream's own line: repaired, growing, going on over
	// publications.
	Line Times = iota
	// Source is the publisher's own time, as it came (SRS's atc, and
	// time_jitter off).
	Source
)

func (t Times) of(f *media.Frame) time.Duration {
	if t == Source {
		return f.Source
	}
	return f.DTS
}

// Only says which tracks a viewer gets.
type Only struct {
	NoAudio, NoVideo bool
	// Main leaves one track of each kind, for who knows of no more.
	Main bool
	// Nano, which is for RTMP, tells presentation times to the nanosecond.
	Nano bool
}

// body appends what stands before f's payload in a message.
func (o Only) body(dst []byte, f *media.Frame) []byte {
	if o.Nano {
		return flv.AppendExactBodyHeader(dst, f)
	}
	return flv.AppendBodyHeader(dst, f)
}

// takes reports whether t of a layout is taken.
func (o Only) takes(t *media.Track, l *media.Layout) bool {
	switch {
	case t.Kind == media.Data:
		return true
	case o.NoAudio && t.Kind == media.Audio, o.NoVideo && t.Kind == media.Video:
		return false
	}
	return !o.Main || l.Main(t.Kind) == t
}

// picture is the body of what is told of t's picture, for viewers who know of several
// tracks: among the others some take it for a fault.
func (o Only) picture(t *media.Track) ([]byte, bool) {
	if o.Main {
		return nil, false
	}
	return flv.AppendPictureBody(nil, t)
}

// flvLayout appends what a viewer of FLV must have before the frames of l.
func (o Only) flvLayout(dst []byte, l *media.Layout, ts uint32) []byte {
	l = o.layout(l)
	dst = flv.AppendLayout(dst, l, ts)
	for _, t := range l.Tracks {
		if body, ok := o.picture(t); ok {
			dst = flv.AppendTag(dst, flv.TypeVideo, ts, body)
		}
	}
	return dst
}

// layout returns l without the tracks that are not taken.
func (o Only) layout(l *media.Layout) *media.Layout {
	if o == (Only{}) {
		return l
	}
	n := &media.Layout{Meta: l.Meta}
	for _, t := range l.Tracks {
		if o.takes(t, l) {
			n.Tracks = append(n.Tracks, t)
		}
	}
	return n
}

// RTMP encodes for a player. Its shared bytes carry time as the distance to the
// frame before (chunk headers of type 1), so that players who started at
// different moments share them although each counts from zero. What starts a
// player, and starts it again after a gap, are chunk headers of type 0 of its
// own.
type RTMP struct {
	// ChunkSize is what the player was told.
	ChunkSize int
	Times     Times
	// Stream is the message stream, 1 if it is 0.
	Stream uint32
	// Publish says that the far side is a server that is published to.
	Publish bool
	// Takes reports whether the far side takes a track; nil takes all.
	Takes func(t *media.Track) bool
	// Only leaves tracks out.
	Only Only

	layout  *media.Layout
	zero    time.Duration
	began   bool
	started []*media.Track // whose chunk stream goes on from the frame before
}

// csid returns the chunk stream of a track: SRS's for the first ones, so that
// distances count within one track.
func csid(t *media.Track) uint32 {
	switch {
	case t.Kind == media.Data:
		return rtmp.CSIDStream
	case t.ID == 0 && t.Kind == media.Audio:
		return rtmp.CSIDAudio
	case t.ID == 0:
		return rtmp.CSIDVideo
	}
	return 64 + 2*uint32(t.ID) + uint32(t.Kind&1)
}

// Restart implements Encoder.
func (e *RTMP) Restart() { e.started, e.layout = e.started[:0], nil }

// Append implements Encoder.
func (e *RTMP) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if !e.takes(f.Track, f.Layout) {
		return bufs
	}
	if f.Layout != e.layout && f.Layout.Own {
		e.Times = Source
	}
	if !e.began {
		e.began, e.zero = true, f.DTS
	}
	if f.Layout != e.layout {
		e.layout = f.Layout
		e.started = e.started[:0]
		bufs = append(bufs, e.headers(f))
	}
	if f.Track.Kind != media.Data && e.goesOn(f) && !e.Only.Nano && (e.Times == Line || e.stream() == rtmp.StreamID) {
		if b := e.shared(f); b != nil {
			return append(bufs, b)
		}
	}
	return append(bufs, e.absolute(f))
}

func (e *RTMP) takes(t *media.Track, l *media.Layout) bool {
	return t.Codec != media.TSData && e.Only.takes(t, l) && (e.Takes == nil || e.Takes(t))
}

// stream returns the message stream.
func (e *RTMP) stream() uint32 { return cmp.Or(e.Stream, rtmp.StreamID) }

// goesOn reports whether the chunk stream of f's track has been started for this
// viewer, and notes that it is from now on. A frame from before the viewer's zero
// starts nothing: it is sent at zero, and a distance counted from there would put
// the track late for good.
func (e *RTMP) goesOn(f *media.Frame) bool {
	for _, s := range e.started {
		if s == f.Track {
			return true
		}
	}
	if e.Times == Source || f.DTS >= e.zero {
		e.started = append(e.started, f.Track)
	}
	return false
}

// shared returns the bytes that all players get, nil if they were made for
// another chunk size. With the publisher's time they name the message stream,
// which is that of players.
func (e *RTMP) shared(f *media.Frame) []byte {
	form := media.FormRTMP
	if e.Times == Source {
		form = media.FormRTMPSource
	}
	b := f.Encoded(form, func(f *media.Frame) []byte {
		var head [16]byte
		dst := make([]byte, 0, 4+32+len(f.Payload)+8*(len(f.Payload)/max(1, e.ChunkSize)))
		dst = binary.BigEndian.AppendUint32(dst, uint32(e.ChunkSize))
		body := flv.AppendBodyHeader(head[:0], f)
		if e.Times == Source {
			return rtmp.AppendParts(dst, e.message(f), e.ChunkSize, body, f.Payload)
		}
		delta := uint32(media.Milliseconds(f.DTS) - media.Milliseconds(f.Prev))
		return rtmp.AppendDelta(dst, csid(f.Track), delta, rtmp.MessageType(flv.Type(f.Track.Kind)), e.ChunkSize, body, f.Payload)
	})
	if binary.BigEndian.Uint32(b) != uint32(e.ChunkSize) {
		return nil
	}
	return b[4:]
}

// time returns the player's time of f in milliseconds; it is never before the
// start.
func (e *RTMP) time(f *media.Frame) uint32 {
	if e.Times == Source {
		return uint32(media.Milliseconds(f.Source))
	}
	return uint32(max(0, media.Milliseconds(f.DTS)-media.Milliseconds(e.zero)))
}

func (e *RTMP) message(f *media.Frame) rtmp.Message {
	return rtmp.Message{Type: rtmp.MessageType(flv.Type(f.Track.Kind)), StreamID: e.stream(), CSID: csid(f.Track), Timestamp: e.time(f)}
}

func (e *RTMP) absolute(f *media.Frame) []byte {
	var head [16]byte
	m := e.message(f)
	if f.Track.Kind == media.Data {
		return rtmp.AppendParts(nil, m, e.ChunkSize, f.Payload)
	}
	// Where a chunk size of another player stood in the way, the chunk stream
	// goes on all the same: this header names the same time.
	return rtmp.AppendParts(nil, m, e.ChunkSize, e.Only.body(head[:0], f), f.Payload)
}

// headers returns what a player must have before f: metadata and sequence
// headers.
func (e *RTMP) headers(f *media.Frame) []byte {
	var dst []byte
	at := e.time(f)
	if f.Layout.Meta != nil {
		// Always at 0: ffmpeg takes metadata elsewhere for a subtitle.
		var body []byte
		if e.Publish { // as encoders say it, which every server knows
			body = amf.Append(body, "@setDataFrame")
		}
		body = amf.Append(body, "onMetaData")
		dst = rtmp.AppendParts(dst, rtmp.Message{Type: rtmp.TypeDataAMF0, StreamID: e.stream(), CSID: rtmp.CSIDStream}, e.ChunkSize, body, f.Layout.Meta)
	}
	// Sound first, as SRS has it.
	for _, kind := range []media.Kind{media.Audio, media.Video} {
		for _, t := range f.Layout.Tracks {
			if t.Kind != kind || !e.takes(t, f.Layout) {
				continue
			}
			if body, ok := flv.AppendConfigBody(nil, t); ok {
				dst = rtmp.AppendParts(dst, rtmp.Message{Type: rtmp.MessageType(flv.Type(kind)), StreamID: e.stream(), CSID: csid(t), Timestamp: at}, e.ChunkSize, body)
			}
			if body, ok := e.Only.picture(t); ok {
				dst = rtmp.AppendParts(dst, rtmp.Message{Type: rtmp.TypeVideo, StreamID: e.stream(), CSID: csid(t), Timestamp: at}, e.ChunkSize, body)
			}
		}
	}
	return dst
}

// Promise is what the header of FLV says is there: what really is, unless it is
// Set.
type Promise struct{ Set, Audio, Video bool }

func (p Promise) append(dst []byte, l *media.Layout) []byte {
	if !p.Set {
		p.Audio, p.Video = l.Main(media.Audio) != nil, l.Main(media.Video) != nil
	}
	return flv.AppendFileHeader(dst, p.Audio, p.Video)
}

// FLV encodes for a viewer of HTTP-FLV: the stream's bytes, with the time of
// the stream, are the same for all.
type FLV struct {
	Only  Only
	Times Times
	// Promise is what the file's header says is there.
	Promise Promise

	headed bool
	layout *media.Layout
}

// Restart implements Encoder.
func (e *FLV) Restart() {}

// Append implements Encoder.
func (e *FLV) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if f.Layout != e.layout {
		e.layout = f.Layout
		if f.Layout.Own {
			e.Times = Source
		}
		var dst []byte
		if !e.headed {
			e.headed = true
			dst = e.Promise.append(dst, f.Layout)
		}
		bufs = append(bufs, e.Only.flvLayout(dst, f.Layout, flv.Timestamp(e.Times.of(f))))
	}
	if !e.Only.takes(f.Track, f.Layout) || f.Track.Codec == media.TSData {
		return bufs
	}
	form := media.FormFLV
	if e.Times == Source {
		form = media.FormFLVSource
	}
	return append(bufs, f.Encoded(form, func(f *media.Frame) []byte {
		return flv.AppendFrameTag(make([]byte, 0, flv.TagSize(f)), f, flv.Timestamp(e.Times.of(f)))
	}))
}

// MP4 encodes for Media Source Extensions: one movie, fragmented, a fragment a
// frame.
type MP4 struct {
	Only Only

	layout *media.Layout
	ready  bool
}

// Restart implements Encoder.
func (e *MP4) Restart() {}

// Append implements Encoder.
func (e *MP4) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if f.Layout != e.layout {
		e.layout = f.Layout
		head, err := mp4.AppendInit(nil, e.Only.layout(f.Layout))
		e.ready = err == nil
		if e.ready {
			bufs = append(bufs, head)
		}
	}
	if !e.ready || f.Track.Kind == media.Data || !e.Only.takes(f.Track, f.Layout) {
		return bufs
	}
	b := f.Encoded(media.FormMP4, func(f *media.Frame) []byte { return mp4.AppendFrameFragment(nil, f) })
	if len(b) == 0 {
		return bufs
	}
	return append(bufs, b)
}
