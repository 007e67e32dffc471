package elementary

import (
	"bytes"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/ac3"
	"weir/internal/media/mp3"
)

// MaxAudio is how long a sound frame may be, in bytes, and how many bytes that are
// none are looked through for one.
const MaxAudio = 16 << 10

// Audio makes frames of one sound stream whose frames have headers: AAC with ADTS or in
// LATM, MP3, AC-3, E-AC-3. For PCMA and PCMU each piece is a frame, mono at 8 kHz.
type Audio struct {
	Codec media.Codec
	ID    uint8
	// LATM says that AAC comes in LATM with LOAS's headers, and not with ADTS.
	LATM bool
	// Lang is the language of its tracks, as media.Track has it.
	Lang string

	mux   aac.LATM
	track *media.Track
	left  []byte
	at    time.Duration // of the frame that left begins with
	timed bool          // at is known
}

// Reset forgets an unfinished frame, as after a loss.
func (a *Audio) Reset() { a.left, a.timed = a.left[:0], false }

// header is what the header of a frame says.
type header struct {
	head, size int
	duration   time.Duration
	track      func() *media.Track
	same       func(*media.Track) bool
	frames     [][]byte // those of LATM; otherwise the frame follows the head
}

// Append appends the frames that end in a piece of the stream. pts is the time of
// the first frame that begins in the piece, if timed says so; without it frames
// follow those before.
func (a *Audio) Append(dst []*media.Frame, piece []byte, pts time.Duration, timed bool) []*media.Frame {
	if a.Codec == media.PCMA || a.Codec == media.PCMU {
		return a.plain(dst, piece, pts, timed)
	}
	fresh := -1
	if timed {
		fresh = len(a.left)
		if fresh == 0 || !a.timed {
			a.at, a.timed = pts, true
		}
	}
	if len(a.left)+len(piece) > 2*MaxAudio && len(a.left) > MaxAudio { // no frame is that long
		a.left, fresh = a.left[:0], 0
	}
	a.left = append(a.left, piece...)
	b, off := a.left, 0
	for a.timed {
		h, ok, more := a.parse(b[off:])
		if more || ok && len(b)-off < h.size {
			break
		}
		if !ok { // look for the next header
			skip := bytes.IndexByte(b[off+1:], a.sync())
			if skip < 0 {
				off = len(b)
				break
			}
			off += 1 + skip
			continue
		}
		if off >= fresh && fresh >= 0 {
			a.at, fresh = pts, -1 // it begins in this piece, whose time counts
		}
		if a.track == nil || !h.same(a.track) {
			a.track = h.track()
			a.track.Lang = a.Lang
		}
		if h.frames == nil {
			dst = append(dst, &media.Frame{Track: a.track, Source: a.at, Payload: bytes.Clone(b[off+h.head : off+h.size])})
			a.at += h.duration
		}
		for _, f := range h.frames {
			dst = append(dst, &media.Frame{Track: a.track, Source: a.at, Payload: f})
			a.at += h.duration
		}
		off += h.size
	}
	if off >= fresh && fresh >= 0 && off < len(b) {
		a.at = pts
	}
	a.left = append(a.left[:0], b[off:]...)
	return dst
}

func (a *Audio) plain(dst []*media.Frame, piece []byte, pts time.Duration, timed bool) []*media.Frame {
	const rate = 8000
	if timed {
		a.at, a.timed = pts, true
	}
	if !a.timed || len(piece) == 0 || len(piece) > MaxAudio {
		return dst
	}
	if a.track == nil {
		a.track = &media.Track{ID: a.ID, Kind: media.Audio, Codec: a.Codec, SampleRate: rate, Channels: 1}
	}
	dst = append(dst, &media.Frame{Track: a.track, Source: a.at, Payload: bytes.Clone(piece)})
	a.at += time.Duration(len(piece)) * time.Second / rate
	return dst
}

// sync is the first byte of a header.
func (a *Audio) sync() byte {
	switch {
	case a.Codec == media.AC3, a.Codec == media.EAC3:
		return 0x0b
	case a.LATM:
		return 0x56
	}
	return 0xff
}

// latm reads the element of LATM that b begins with.
func (a *Audio) latm(b []byte) (h header, ok, more bool) {
	if len(b) < aac.LOASHeaderLen {
		return h, false, true
	}
	size, ok := aac.ParseLOAS(b)
	switch {
	case !ok:
		return h, false, false
	case len(b) < size:
		return h, false, true
	}
	frames, c, err := a.mux.Frames(nil, b[aac.LOASHeaderLen:size])
	if err != nil {
		return h, false, false
	}
	return header{aac.LOASHeaderLen, size, c.FrameDuration(), a.ofAAC(c), sameAAC(c), frames}, true, false
}

func (a *Audio) ofAAC(c aac.Config) func() *media.Track {
	return func() *media.Track {
		return &media.Track{ID: a.ID, Kind: media.Audio, Codec: media.AAC, Config: c.Append(nil), Profile: c.Profile(), SampleRate: c.OutputRate(), Channels: c.OutputChannels()}
	}
}

func sameAAC(c aac.Config) func(*media.Track) bool {
	return func(t *media.Track) bool { return bytes.Equal(t.Config, c.Append(nil)) }
}

// parse reads the header that b begins with. more says that there are too few bytes
// to know.
func (a *Audio) parse(b []byte) (h header, ok, more bool) {
	switch a.Codec {
	case media.AAC:
		if a.LATM {
			return a.latm(b)
		}
		if len(b) < aac.HeaderLen+2 {
			return h, false, true
		}
		c, head, size, err := aac.ParseADTS(b)
		if err != nil || c.SampleRate == 0 || size <= head {
			return h, false, false
		}
		return header{head, size, c.FrameDuration(), a.ofAAC(c), sameAAC(c), nil}, true, false
	case media.MP3:
		if len(b) < mp3.HeaderLen {
			return h, false, true
		}
		m, err := mp3.Parse(b)
		if err != nil || m.Size < mp3.HeaderLen || m.Size > MaxAudio {
			return h, false, false
		}
		return header{0, m.Size, m.Duration(), func() *media.Track {
			return &media.Track{ID: a.ID, Kind: media.Audio, Codec: media.MP3, SampleRate: m.SampleRate, Channels: m.Channels}
		}, func(t *media.Track) bool { return t.SampleRate == m.SampleRate && t.Channels == m.Channels }, nil}, true, false
	}
	if len(b) < 8 {
		return h, false, true
	}
	c, err := ac3.Parse(b)
	if err != nil || c.Size < 8 || c.Size > MaxAudio || c.Enhanced != (a.Codec == media.EAC3) {
		return h, false, false
	}
	config := c.AppendConfig(nil)
	return header{0, c.Size, c.Duration(), func() *media.Track {
		return &media.Track{ID: a.ID, Kind: media.Audio, Codec: a.Codec, Config: config, SampleRate: c.SampleRate, Channels: c.Channels}
	}, func(t *media.Track) bool { return bytes.Equal(t.Config, config) }, nil}, true, false
}
