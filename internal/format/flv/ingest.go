package flv

import (
	"bytes"
	"fmt"
	"time"

	"weir/internal/format/amf"
	"weir/internal/media"
	"weir/internal/media/av1"
	"weir/internal/media/nal"
)

// An Ingest turns the messages of one publication into frames. It keeps the
// current track of each kind and ID. The zero value is ready; one goroutine
// uses it at a time.
type Ingest struct {
	// TryAnnexB lets H.264 and H.265 come with start codes instead of
	// lengths, in frames and in sequence headers.
	TryAnnexB bool
	// SkipSPS leaves parameter sets unread: tracks have no width, height,
	// profile and level, and what is wrong in a parameter set is no error.
	SkipSPS bool

	tracks  []state
	named   []naming
	parts   []Part
	dropped uint64
}

// state is what is known of one track.
type state struct {
	track *media.Track
	// length is in how many bytes the length of a unit is written.
	length int
	// head is the header of the newest sound frame, for codecs whose
	// parameters are in each frame.
	head [4]byte
}

// Dropped counts the frames that were left out because no configuration had
// come for their track.
func (in *Ingest) Dropped() uint64 { return in.dropped }

// Tracks appends the current tracks to dst, in the order in which they came.
func (in *Ingest) Tracks(dst []*media.Track) []*media.Track {
	for i := range in.tracks {
		dst = append(dst, in.tracks[i].track)
	}
	return dst
}

// Frames appends the frames in a message of the given kind to dst. Its time is
// ts, and the frames keep slices of body, so body must not be used again.
//
// A frame has Track, Source, CTO, Key and Payload. Sequence headers make no
// frame: the next frame of the track points to another Track, unless the
// configuration is the same as before; so it is with metadata about the picture.
// Silence and ends of sequences make none either.
//
// On an error the frames of the message's other tracks are still appended,
// and the Ingest can go on; what was wrong with the first broken part is told.
// A configuration that is usable although its parameter sets are not is kept,
// and its error returned.
func (in *Ingest) Frames(dst []*media.Frame, kind media.Kind, ts time.Duration, body []byte) ([]*media.Frame, error) {
	var first error
	switch kind {
	case media.Video:
		in.parts, first = ParseVideo(in.parts[:0], body)
	case media.Audio:
		in.parts, first = ParseAudio(in.parts[:0], body)
	default:
		return dst, fmt.Errorf("%w: %v message", ErrSyntax, kind)
	}
	for i := range in.parts {
		f, err := in.part(&in.parts[i])
		if err != nil && first == nil {
			first = fmt.Errorf("%v track %d: %w", kind, in.parts[i].Track, err)
		}
		if f != nil {
			f.Source = ts
			dst = append(dst, f)
		}
		in.parts[i] = Part{} // let go of the body
	}
	return dst, first
}

func (in *Ingest) part(p *Part) (*media.Frame, error) {
	switch p.Type {
	case Sequence, TSSequence:
		return nil, in.configure(p)
	case Coded:
		if p.Codec == 0 {
			return nil, unknown(p)
		}
		return in.frame(p)
	case Metadata:
		return nil, in.picture(p)
	}
	return nil, nil
}

// maxPicture is how long what is told of a picture may be, in bytes.
const maxPicture = 4 << 10

// picture keeps what is told of a track's picture, for those who come later. Before its
// sequence header there is no track that it could be told of.
func (in *Ingest) picture(p *Part) error {
	s := in.state(p)
	if s == nil || s.track.Codec != p.Codec || bytes.Equal(s.track.Picture, p.Payload) {
		return nil
	}
	if len(p.Payload) > maxPicture {
		return fmt.Errorf("%w: metadata of %d bytes", ErrLimit, len(p.Payload))
	}
	if _, err := amf.DecodeAll(p.Payload); err != nil {
		return fmt.Errorf("%w: metadata: %w", ErrSyntax, err)
	}
	t := *s.track
	t.Picture = trim(p.Payload)
	s.track = &t
	return nil
}

func unknown(p *Part) error {
	if p.Legacy {
		return fmt.Errorf("%w: %v id %d", ErrCodec, p.Kind, p.ID)
	}
	return fmt.Errorf("%w: %v %q", ErrCodec, p.Kind, p.FourCC.String())
}

// state returns the state of p's track, nil if there is none.
func (in *Ingest) state(p *Part) *state {
	for i := range in.tracks {
		if t := in.tracks[i].track; t.Kind == p.Kind && t.ID == p.Track {
			return &in.tracks[i]
		}
	}
	return nil
}

// set makes t the current track of its kind and ID, unless the one that is
// says the same.
func (in *Ingest) set(t *media.Track, length int) (*state, error) {
	for i := range in.tracks {
		s := &in.tracks[i]
		if s.track.Kind != t.Kind || s.track.ID != t.ID {
			continue
		}
		if !s.track.Same(t) {
			t.Picture = s.track.Picture
			in.name(t)
			*s = state{track: t, length: length}
		}
		return s, nil
	}
	if len(in.tracks) == MaxTracks {
		return nil, fmt.Errorf("%w: more than %d tracks", ErrLimit, MaxTracks)
	}
	in.name(t)
	in.tracks = append(in.tracks, state{track: t, length: length})
	return &in.tracks[len(in.tracks)-1], nil
}

// frame makes a frame of a coded part, or nil if there is none in it.
func (in *Ingest) frame(p *Part) (*media.Frame, error) {
	if len(p.Payload) == 0 {
		return nil, nil // silence
	}
	s := in.state(p)
	if s != nil && s.track.Codec != p.Codec {
		s = nil
	}
	if inBand(p.Codec) {
		var err error
		if s, err = in.fromFrame(p, s); err != nil {
			return nil, err
		}
	}
	if s == nil {
		in.dropped++
		return nil, nil
	}
	f := &media.Frame{Track: s.track, CTO: p.CTO, Payload: p.Payload}
	f.Key = p.Kind == media.Video && p.Frame.Key()
	var err error
	switch p.Codec {
	case media.H264, media.H265:
		f.Payload, err = in.units(p.Payload, s.length)
	case media.AV1:
		f.Payload, err = temporalUnit(p.Payload)
	case media.VP8, media.VP9:
		if f.Key {
			f.Track = s.sized(p)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrPayload, p.Codec, err)
	}
	if len(f.Payload) == 0 {
		return nil, nil
	}
	return f, nil
}

// units checks an access unit, and gives its units lengths if they have start
// codes. Lengths that add up are believed first: a length of 256 to 511 looks
// like a start code.
func (in *Ingest) units(b []byte, length int) ([]byte, error) {
	err := nal.Check(b, length)
	if err != nil && in.TryAnnexB && nal.IsAnnexB(b) {
		return nal.AppendLengths(make([]byte, 0, len(b)+64), b, length)
	}
	return b, err
}

// temporalUnit returns the units of an AV1 frame, each with a size, without
// temporal delimiters; b itself if it is so but for a delimiter at its start.
func temporalUnit(b []byte) ([]byte, error) {
	clean := true
	start := b
	for rest, first := b, true; len(rest) > 0; first = false {
		typ, whole, _, next, err := av1.Next(rest)
		if err != nil {
			return nil, err
		}
		switch {
		case typ == av1.TypeTemporalDelimiter && first:
			start = next
		case typ == av1.TypeTemporalDelimiter || whole[0]&2 == 0:
			clean = false
		}
		rest = next
	}
	if clean {
		return start, nil
	}
	return av1.AppendWithoutDelimiters(nil, b)
}

// trim copies a configuration, so that it does not keep its message.
func trim(b []byte) []byte { return bytes.Clone(b) }
