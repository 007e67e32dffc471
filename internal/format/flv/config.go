package flv

import (
	"bytes"
	"fmt"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/ac3"
	"weir/internal/media/av1"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
	"weir/internal/media/mp3"
	"weir/internal/media/nal"
	"weir/internal/media/opus"
	"weir/internal/media/vp9"
)

// configure takes a sequence header.
func (in *Ingest) configure(p *Part) error {
	if p.Codec == 0 {
		return unknown(p)
	}
	if len(p.Payload) > MaxConfig {
		return fmt.Errorf("%w: configuration of %d bytes", ErrLimit, len(p.Payload))
	}
	t := &media.Track{ID: p.Track, Kind: p.Kind, Codec: p.Codec, Config: p.Payload}
	length := 0
	var err error
	switch p.Codec {
	case media.H264:
		length, err = in.avc(t)
	case media.H265:
		t.Legacy = p.Legacy
		length, err = in.hevc(t)
	case media.AV1:
		err = in.av1(t, p.Type == TSSequence)
	case media.VP8, media.VP9:
		err = in.vp(t)
	case media.AAC:
		err = audioConfig(t)
	case media.Opus:
		err = opusConfig(t)
	case media.FLAC:
		err = flacConfig(t)
	default:
		return nil // the frames tell
	}
	if err != nil {
		err = fmt.Errorf("%w: %v: %w", ErrConfig, p.Codec, err)
	}
	if t.Config == nil {
		return err
	}
	t.Config = trim(t.Config)
	if _, limit := in.set(t, length); limit != nil {
		return limit
	}
	return err
}

// unusable says that no track comes of a configuration.
func unusable(t *media.Track, err error) error {
	t.Config = nil
	return err
}

func (in *Ingest) avc(t *media.Track) (length int, err error) {
	if in.TryAnnexB && nal.IsAnnexB(t.Config) {
		var sps, pps [][]byte
		for b := t.Config; ; {
			var u []byte
			if u, b = nal.NextAnnexB(b); len(u) == 0 {
				break
			}
			switch h264.Type(u) {
			case h264.TypeSPS:
				sps = append(sps, u)
			case h264.TypePPS:
				pps = append(pps, u)
			}
		}
		c, err := h264.NewConfig(sps, pps)
		if err != nil {
			return 0, unusable(t, err)
		}
		t.Config = c.Append(nil)
	}
	c, err := h264.ParseConfig(t.Config)
	if in.SkipSPS && err != nil && len(t.Config) >= 5 && t.Config[4]&3 != 2 {
		return int(t.Config[4]&3) + 1, nil
	}
	if err != nil {
		return 0, unusable(t, err)
	}
	if in.SkipSPS {
		return c.LengthSize, nil
	}
	t.Profile, t.Level = h264.ProfileName(c.Profile), h264.LevelName(c.Level)
	if len(c.SPS) > 0 {
		s, err := h264.ParseSPS(c.SPS[0])
		if err != nil {
			return c.LengthSize, err
		}
		t.Width, t.Height = s.Width, s.Height
	}
	return c.LengthSize, nil
}

func (in *Ingest) hevc(t *media.Track) (length int, err error) {
	if in.TryAnnexB && nal.IsAnnexB(t.Config) {
		sets := map[byte][][]byte{}
		for b, n := t.Config, 0; n < nal.MaxUnits; n++ {
			var u []byte
			if u, b = nal.NextAnnexB(b); len(u) == 0 {
				break
			}
			sets[h265.Type(u)] = append(sets[h265.Type(u)], u)
		}
		c, err := h265.NewConfig(sets[h265.TypeVPS], sets[h265.TypeSPS], sets[h265.TypePPS])
		if err != nil {
			return 0, unusable(t, err)
		}
		t.Config = c.Append(nil)
	}
	c, err := h265.ParseConfig(t.Config)
	if in.SkipSPS && err != nil && len(t.Config) >= 22 && t.Config[21]&3 != 2 {
		return int(t.Config[21]&3) + 1, nil
	}
	if err != nil {
		return 0, unusable(t, err)
	}
	if in.SkipSPS {
		return c.LengthSize, nil
	}
	t.Profile, t.Level = h265.ProfileName(c.Profile), h265.LevelName(c.Level)
	if sps := c.Units(h265.TypeSPS); len(sps) > 0 {
		s, err := h265.ParseSPS(sps[0])
		if err != nil {
			return c.LengthSize, err
		}
		t.Width, t.Height = s.Width, s.Height
	}
	return c.LengthSize, nil
}

func (in *Ingest) av1(t *media.Track, descriptor bool) error {
	if descriptor {
		// The AV1 video descriptor (tag 0x80, length) holds the first four
		// bytes of the record.
		if len(t.Config) < 6 || t.Config[0] != 0x80 {
			return unusable(t, fmt.Errorf("no AV1 video descriptor"))
		}
		t.Config = t.Config[2:6]
	}
	c, err := av1.ParseConfig(t.Config)
	if err != nil {
		return unusable(t, err)
	}
	if in.SkipSPS {
		return nil
	}
	t.Profile, t.Level = av1.ProfileName(c.Profile), av1.LevelName(c.Level)
	if len(c.Units) == 0 {
		return nil
	}
	s, err := c.SequenceHeader()
	if err != nil {
		return err
	}
	t.Width, t.Height = s.Width, s.Height
	return nil
}

func (in *Ingest) vp(t *media.Track) error {
	t.Config = vp9.Record(t.Config)
	c, err := vp9.ParseConfig(t.Config)
	if err != nil {
		return unusable(t, err)
	}
	t.Profile, t.Level = fmt.Sprint(c.Profile), vp9.LevelName(c.Level)
	// The size is in the frames; it stays what it was until one tells.
	if s := in.state(&Part{Kind: t.Kind, Track: t.ID}); s != nil && s.track.Codec == t.Codec {
		t.Width, t.Height = s.track.Width, s.track.Height
	}
	return nil
}

// sized returns the track with the size that a VP8 or VP9 key frame tells.
func (s *state) sized(p *Part) *media.Track {
	w, h, ok := vp9.Size(p.Payload)
	if p.Codec == media.VP8 {
		w, h, ok = vp9.SizeVP8(p.Payload)
	}
	if ok && (w != s.track.Width || h != s.track.Height) {
		t := *s.track
		t.Width, t.Height = w, h
		s.track = &t
	}
	return s.track
}

func audioConfig(t *media.Track) error {
	c, err := aac.ParseConfig(t.Config)
	if err != nil {
		return unusable(t, err)
	}
	t.SampleRate, t.Channels, t.Profile = c.OutputRate(), c.OutputChannels(), c.Profile()
	return nil
}

func opusConfig(t *media.Track) error {
	if len(t.Config) == 0 { // allowed: stereo then
		t.Config = opus.Head{Channels: 2, InputRate: opus.Rate}.Append(nil)
	}
	h, err := opus.ParseHead(t.Config)
	if err != nil {
		return unusable(t, err)
	}
	t.SampleRate, t.Channels = opus.Rate, h.Channels
	return nil
}

var flacMarker = []byte("fLaC")

// flacInfo is how long a STREAMINFO block is, in bytes.
const flacInfo = 34

// flacConfig keeps the STREAMINFO block alone (RFC 9639 8.2), whether the
// marker and the head of the block are before it or not.
func flacConfig(t *media.Track) error {
	b := bytes.TrimPrefix(t.Config, flacMarker)
	if len(b) >= 4+flacInfo && b[0]&0x7f == 0 && b[1] == 0 && b[2] == 0 && b[3] == flacInfo {
		b = b[4:]
	}
	if len(b) < flacInfo {
		return unusable(t, fmt.Errorf("stream info of %d bytes", len(b)))
	}
	t.Config = b[:flacInfo]
	t.SampleRate = int(b[10])<<12 | int(b[11])<<4 | int(b[12]>>4)
	t.Channels = int(b[12]>>1&7) + 1
	if t.SampleRate == 0 {
		return unusable(t, fmt.Errorf("sample rate 0"))
	}
	return nil
}

// inBand tells the codecs whose frames say all that a decoder must know.
func inBand(c media.Codec) bool {
	switch c {
	case media.MP3, media.AC3, media.EAC3, media.PCMA, media.PCMU, media.Speex, media.Opus:
		return true
	}
	return false
}

// fromFrame returns the state of a track that needs no sequence header. It
// reads the frame's header only where it differs from the one before.
func (in *Ingest) fromFrame(p *Part, s *state) (*state, error) {
	var head [4]byte
	t := &media.Track{ID: p.Track, Kind: p.Kind, Codec: p.Codec}
	switch p.Codec {
	case media.MP3:
		copy(head[:], p.Payload)
		head[2] &= 0x0c // the rate of bits and the padding vary
		head[3] &= 0xc0
	case media.AC3, media.EAC3:
		if len(p.Payload) >= 8 {
			copy(head[:], p.Payload[4:8])
		}
	default:
		head = [4]byte{1, p.Sound & 1}
	}
	if s != nil && (s.head == head || p.Codec == media.Opus) {
		return s, nil
	}
	if _, err := mp3.Parse(p.Payload); err != nil && s != nil && p.Codec == media.MP3 {
		return s, nil // the rest of a frame, perhaps
	}
	if err := describe(t, p); err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrPayload, p.Codec, err)
	}
	s, err := in.set(t, 0)
	if err == nil {
		s.head = head
	}
	return s, err
}

// describe fills t from a frame.
func describe(t *media.Track, p *Part) error {
	switch p.Codec {
	case media.MP3:
		h, err := mp3.Parse(p.Payload)
		switch {
		case err == nil:
			t.SampleRate, t.Channels = h.SampleRate, h.Channels
		case p.ID == formatMP38K:
			t.SampleRate, t.Channels = 8000, int(p.Sound&1)+1
		case p.Legacy:
			t.SampleRate, t.Channels = [4]int{5512, 11025, 22050, 44100}[p.Sound>>2&3], int(p.Sound&1)+1
		default:
			return err
		}
	case media.AC3, media.EAC3:
		h, err := ac3.Parse(p.Payload)
		if err != nil {
			return err
		}
		t.SampleRate, t.Channels, t.Config = h.SampleRate, h.Channels, h.AppendConfig(nil)
	case media.Opus:
		t.Config = nil
		return opusConfig(t)
	case media.Speex:
		t.SampleRate, t.Channels = 16000, 1
	default: // G.711
		t.SampleRate, t.Channels = 8000, int(p.Sound&1)+1
	}
	return nil
}
