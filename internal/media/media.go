// Package media defines the words that the rest of the server speaks: codecs,
// tracks, layouts and frames.
//
// Everything here is a value that is made once and then only read. A [Frame]
// that has been published is shared by every viewer of its stream, on every
// protocol, and so are the [Track] and [Layout] it points to. The package
// imports nothing of the project, starts no goroutine and reads no clock.
package media

import (
	"bytes"
	"slices"
	"sync/atomic"
	"time"
)

// Kind says what a track carries.
type Kind uint8

// The kinds of track.
const (
	Video Kind = iota + 1
	Audio
	Data
)

// String returns "video", "audio" or "data".
func (k Kind) String() string {
	switch k {
	case Video:
		return "video"
	case Audio:
		return "audio"
	case Data:
		return "data"
	}
	return "unknown"
}

// Codec names the coding of a track.
type Codec uint8

// The codecs that a track can have. What the configuration and the payload of
// each look like is told at [Track.Config] and [Frame.Payload].
const (
	H264 Codec = iota + 1
	H265
	AV1
	VP8
	VP9
	AAC
	MP3
	Opus
	AC3
	EAC3
	FLAC
	PCMA
	PCMU
	Speex
	AMF0   // script data: one message, the name first
	TSData // data of a transport stream, such as SCTE-35 and KLV: one section, or one packet's content
)

var codecs = [...]struct {
	name string
	kind Kind
}{
	H264:   {"H264", Video},
	H265:   {"HEVC", Video},
	AV1:    {"AV1", Video},
	VP8:    {"VP8", Video},
	VP9:    {"VP9", Video},
	AAC:    {"AAC", Audio},
	MP3:    {"MP3", Audio},
	Opus:   {"Opus", Audio},
	AC3:    {"AC-3", Audio},
	EAC3:   {"E-AC-3", Audio},
	FLAC:   {"FLAC", Audio},
	PCMA:   {"PCMA", Audio},
	PCMU:   {"PCMU", Audio},
	Speex:  {"Speex", Audio},
	AMF0:   {"AMF0", Data},
	TSData: {"TS data", Data},
}

// String returns the codec's name as SRS's API spells it: "H264", "HEVC",
// "AAC".
func (c Codec) String() string {
	if int(c) < len(codecs) && c != 0 {
		return codecs[c].name
	}
	return "unknown"
}

// Kind returns the kind of track that has the codec, or 0.
func (c Codec) Kind() Kind {
	if int(c) < len(codecs) {
		return codecs[c].kind
	}
	return 0
}

// A Track describes one elementary stream. A Track is immutable: a change of
// codec parameters is a new Track value, and a reader notices it by comparing
// pointers.
type Track struct {
	// ID tells tracks of one kind apart; 0 is the default track, as in
	// Enhanced RTMP.
	ID    uint8
	Kind  Kind
	Codec Codec

	// Config is the out-of-band decoder configuration: an
	// AVCDecoderConfigurationRecord (H264), HEVCDecoderConfigurationRecord
	// (H265), AV1CodecConfigurationRecord (AV1), VPCodecConfigurationRecord
	// without its full-box header (VP8, VP9), AudioSpecificConfig (AAC),
	// OpusHead (Opus), STREAMINFO block (FLAC), or the body of the MP4 box
	// dac3 or dec3, made of the first frame (AC3, EAC3), or for TSData the stream type,
	// the stream id (0 for sections) and the descriptors. Others have none.
	Config []byte

	// Width and Height are in pixels, 0 if unknown.
	Width, Height int
	// Profile and Level are the codec's names for them, "" if unknown:
	// "High" and "3.1", "Main", "LC".
	Profile, Level string
	// SampleRate is in Hz and Channels counts channels; 0 if unknown.
	SampleRate, Channels int

	// Legacy says that H265 came with FLV codec id 12, from before Enhanced
	// RTMP; FLV and RTMP viewers get it back in that form.
	Legacy bool

	Lang, Label string

	// Picture is what Enhanced RTMP tells of the picture's colours and brightness: the AMF0
	// values of its newest metadata frame; nil if none came. Decoders do without.
	Picture []byte
}

// Same reports whether two tracks would configure a decoder alike.
func (t *Track) Same(o *Track) bool {
	return t == o || t != nil && o != nil && t.ID == o.ID && t.Kind == o.Kind && t.Codec == o.Codec &&
		t.Legacy == o.Legacy && t.SampleRate == o.SampleRate && t.Channels == o.Channels &&
		bytes.Equal(t.Config, o.Config)
}

// A Layout is what a stream consists of at some moment. It is immutable:
// every frame points to the layout that it belongs to, and a reader notices a
// change by comparing pointers.
type Layout struct {
	// Tracks are in order of kind (video, audio, data), then ID.
	Tracks []*Track
	// Meta is the publisher's last onMetaData: the AMF0 value that follows
	// the name, ready to be sent; nil if there was none.
	Meta []byte
	// Own says that viewers get the publisher's own time, because it asked for
	// that in its metadata (SRS's atc_auto).
	Own bool
}

// Main returns the track of kind k with the lowest ID, or nil.
func (l *Layout) Main(k Kind) *Track {
	if l == nil {
		return nil
	}
	for _, t := range l.Tracks {
		if t.Kind == k {
			return t
		}
	}
	return nil
}

// Track returns the track of kind k with the given ID, or nil.
func (l *Layout) Track(k Kind, id uint8) *Track {
	if l == nil {
		return nil
	}
	for _, t := range l.Tracks {
		if t.Kind == k && t.ID == id {
			return t
		}
	}
	return nil
}

// With returns a layout in which t stands in place of the track of its kind
// and ID, if any.
func (l *Layout) With(t *Track) *Layout {
	n := &Layout{}
	if l != nil {
		n.Meta, n.Own = l.Meta, l.Own
		n.Tracks = slices.DeleteFunc(slices.Clone(l.Tracks), func(o *Track) bool { return o.Kind == t.Kind && o.ID == t.ID })
	}
	at := slices.IndexFunc(n.Tracks, func(o *Track) bool { return o.Kind > t.Kind || o.Kind == t.Kind && o.ID > t.ID })
	if at < 0 {
		at = len(n.Tracks)
	}
	n.Tracks = slices.Insert(n.Tracks, at, t)
	return n
}

// WithMeta returns a layout with other metadata.
func (l *Layout) WithMeta(meta []byte) *Layout {
	n := &Layout{Meta: meta}
	if l != nil {
		n.Tracks, n.Own = l.Tracks, l.Own
	}
	return n
}

// A Frame is one access unit or one audio packet. Once published it is shared
// by every reader and must not be modified.
//
// A protocol that publishes fills Track, Source, CTO, Key and Payload; the hub
// fills the rest when the frame is published.
type Frame struct {
	Layout *Layout
	Track  *Track

	// DTS is the decoding time on the stream's own line, which starts at
	// zero, never goes back within a track and goes on over publications.
	DTS time.Duration
	// CTO is the presentation time less DTS; it may be negative.
	CTO time.Duration
	// Source is the publisher's own decoding time, with the wraps of its
	// wire format undone.
	Source time.Duration
	// Prev is the DTS of the frame before this one in the same track, equal
	// to DTS in the first.
	Prev time.Duration
	// Arrived is when the frame was published.
	Arrived time.Time

	// Seq counts the frames of a stream, from 1.
	Seq uint64
	// Epoch counts the publications of a stream, from 1.
	Epoch uint32
	// Key marks a video frame from which decoding can start. It has no
	// meaning for other kinds.
	Key bool
	// First marks the first frame of its Layout.
	First bool
	// Lost is how many frames of sound just before this one were lost on the
	// way from the publisher, where its protocol tells; 0 after a pause.
	Lost uint8

	// Payload holds, for H264 and H265, NAL units each behind its length in
	// as many bytes as Config says, as in FLV and MP4; for AV1, the OBUs of a
	// temporal unit with their sizes and without temporal delimiters; for
	// AAC, a raw_data_block without ADTS header; for AMF0, a whole script
	// message; for the others, one packet.
	Payload []byte

	encoded [forms]atomic.Pointer[[]byte]
}

// PTS returns the presentation time on the stream's line.
func (f *Frame) PTS() time.Duration { return f.DTS + f.CTO }

// Form names an encoding of frames that all viewers share.
type Form uint8

// The shared forms.
const (
	FormFLV        Form = iota // an FLV tag with the stream's time
	FormFLVSource              // an FLV tag with the publisher's time
	FormRTMP                   // RTMP chunks with time as deltas
	FormRTMPSource             // RTMP chunks with the publisher's time
	FormMP4                    // one movie fragment
	FormTS                     // packets of a transport stream, counted from zero
	FormADTS                   // AAC with its ADTS header
	forms
	FormMP3  = forms     // the payload as it is: nothing to make, nothing to keep
	FormRTSP = forms + 1 // packets of RTP between RTSP's messages: counted, so not kept on the frame
)

// Encoded returns the bytes of f in a form, calling encode the first time.
// Two first calls at once may both encode, and one result is kept, so encode
// must give equal bytes each time. The bytes are shared: nobody may write to
// them.
func (f *Frame) Encoded(form Form, encode func(f *Frame) []byte) []byte {
	p := &f.encoded[form]
	if b := p.Load(); b != nil {
		return *b
	}
	b := encode(f)
	if p.CompareAndSwap(nil, &b) {
		return b
	}
	return *p.Load()
}
