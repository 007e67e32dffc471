package sound

import (
	"fmt"

	"github.com/thesyncim/gopus"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
	"weir/internal/sound/layer3"
)

func newDecoder(t *media.Track) (decoder, error) {
	switch t.Codec {
	case media.Opus:
		if h, err := opus.ParseHead(t.Config); err == nil && h.Channels > 2 {
			return nil, fmt.Errorf("%w: Opus of %d channels", ErrUnsupported, h.Channels)
		}
		d, err := gopus.NewDecoder(gopus.DefaultDecoderConfig(opus.Rate, 2))
		return &opusDecoder{d: d, pcm: make([]float32, 5760*2)}, err
	case media.AAC:
		c, err := aac.ParseConfig(t.Config)
		switch {
		case err != nil:
			return nil, err
		case c.Type != aac.TypeLC || c.SBR || c.PS || c.Short || c.Channels > 2:
			return nil, fmt.Errorf("%w: AAC other than LC of one or two channels", ErrUnsupported)
		}
		d, err := aaclc.NewDecoder(t.Config, c.SampleRate, c.Channels)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		return pcm16{d}, nil
	case media.MP3:
		return pcm16{layer3.NewDecoder()}, nil
	case media.PCMA, media.PCMU:
		return g711{law: t.Codec, channels: max(1, t.Channels)}, nil
	}
	return nil, fmt.Errorf("%w: %v", ErrUnsupported, t.Codec)
}

type opusDecoder struct {
	d   *gopus.Decoder
	pcm []float32
}

func (o *opusDecoder) decode(dst []float32, packet []byte) ([]float32, error) {
	if opus.Samples(packet) == 0 {
		return dst, opus.ErrSyntax
	}
	n, err := o.d.Decode(packet, o.pcm)
	if err != nil {
		return dst, err
	}
	return append(dst, o.pcm[:n*2]...), nil
}

// conceal implements concealer, by the copy in the next packet (RFC 6716 2.1.7) or else by
// the sound before.
func (o *opusDecoder) conceal(dst []float32, samples int, next []byte) ([]float32, error) {
	pcm := o.pcm[:2*samples]
	n, err := o.d.DecodeWithFEC(next, pcm, true)
	if err != nil {
		return dst, err
	}
	return append(dst, pcm[:n*2]...), nil
}

func (o *opusDecoder) format() (rate, channels int) { return opus.Rate, 2 }

// pcm16 makes a decoder of one that gives 16-bit samples.
type pcm16 struct {
	d interface {
		// Decode returns interleaved samples, in the machine's memory until the next
		// call.
		Decode(packet []byte) ([]int16, error)
		Format() (rate, channels int)
	}
}

func (p pcm16) decode(dst []float32, packet []byte) ([]float32, error) {
	pcm, err := p.d.Decode(packet)
	for _, s := range pcm {
		dst = append(dst, float32(s)/(1<<15))
	}
	return dst, err
}

func (p pcm16) format() (rate, channels int) { return p.d.Format() }

// g711 decodes ITU-T G.711 at 8 kHz.
type g711 struct {
	law      media.Codec
	channels int
}

func (g g711) decode(dst []float32, packet []byte) ([]float32, error) {
	expand := muLaw
	if g.law == media.PCMA {
		expand = aLaw
	}
	for _, b := range packet[:len(packet)/g.channels*g.channels] {
		dst = append(dst, float32(expand(b))/(1<<15))
	}
	return dst, nil
}

func (g g711) format() (rate, channels int) { return 8000, g.channels }

// muLaw expands a byte of mu-law to 16 bits (G.711 table 2a).
func muLaw(b byte) int16 {
	b = ^b
	v := (int16(b&0x0f)<<3 + 0x84) << (b >> 4 & 7)
	if v -= 0x84; b&0x80 != 0 {
		return -v
	}
	return v
}

// aLaw expands a byte of A-law to 16 bits (G.711 table 1a).
func aLaw(b byte) int16 {
	b ^= 0x55
	v := int16(b&0x0f)<<4 + 8
	if e := b >> 4 & 7; e > 0 {
		v = (v + 0x100) << (e - 1)
	}
	if b&0x80 == 0 {
		return -v
	}
	return v
}
