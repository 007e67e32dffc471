package sound

import (
	"fmt"

	"github.com/thesyncim/gopus"

	"weir/internal/media"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
)

const (
	opusBitrate, aacBitrate = 64000, 128000
	// complexity is between the encoder's speed (0) and its quality (10); above 5
	// nobody hears the difference at these rates.
	complexity = 5
	// packetMost bounds an Opus packet (RFC 6716 3.4, rounded up).
	packetMost = 4000
)

func newEncoder(to Target, channels int) (encoder, error) {
	switch to.Codec {
	case media.Opus:
		return newOpusEncoder(to.Bitrate, channels)
	case media.AAC:
		if to.Bitrate <= 0 {
			to.Bitrate = aacBitrate
		}
		e, err := aaclc.NewEncoder(outRate, channels, to.Bitrate)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
		return &aacEncoder{e: e, channels: channels, starved: to.Bitrate < 28000*channels}, nil
	}
	return nil, fmt.Errorf("%w: making %v", ErrUnsupported, to.Codec)
}

type opusEncoder struct {
	e        *gopus.Encoder
	channels int
	buf      []byte
}

func newOpusEncoder(bitrate, channels int) (encoder, error) {
	e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: outRate, Channels: channels, Application: gopus.ApplicationAudio})
	if err != nil {
		return nil, err
	}
	if bitrate <= 0 {
		bitrate = opusBitrate
	}
	if err := e.SetBitrate(bitrate); err != nil {
		return nil, fmt.Errorf("opus_bitrate: %w", err)
	}
	if err := e.SetComplexity(complexity); err != nil {
		return nil, err
	}
	return &opusEncoder{e: e, channels: channels, buf: make([]byte, packetMost)}, nil
}

func (o *opusEncoder) encode(dst []byte, pcm []float32) ([]byte, error) {
	n, err := o.e.Encode(pcm, o.buf)
	return append(dst, o.buf[:n]...), err
}

func (o *opusEncoder) frame() int { return outRate / 50 }
func (o *opusEncoder) delay() int { return o.e.Lookahead() }
func (o *opusEncoder) config() []byte {
	return opus.Head{Channels: o.channels, PreSkip: o.e.Lookahead(), InputRate: outRate}.Append(nil)
}

const (
	// At rates where the encoder leaves out some of what is high and quiet, treble is
	// raised by 0.3 to 0.5 dB, to be as far above as below what it was: this is what is
	// added of what a filter of one pole at 8 kHz lets pass.
	treble = 0.08
	pole   = 0.649 // 1 - exp(-2π 8/48)
)

type aacEncoder struct {
	e        *aaclc.Encoder
	channels int
	starved  bool // of bits
	low      [2]float32
	planes   [2][]float32
}

func (a *aacEncoder) encode(dst []byte, pcm []float32) ([]byte, error) {
	for c := range a.channels {
		p := a.planes[c][:0]
		for i := c; i < len(pcm); i += a.channels {
			p = append(p, pcm[i])
		}
		if a.starved {
			low := a.low[c]
			for i, v := range p {
				low += pole * (v - low)
				p[i] += treble * (v - low)
			}
			a.low[c] = low
		}
		a.planes[c] = p
	}
	return a.e.Encode(dst, a.planes[:a.channels])
}

func (a *aacEncoder) frame() int { return aaclc.FrameSize }

// delay includes the frame by which the encoder looks ahead.
func (a *aacEncoder) delay() int     { return a.e.Delay() + aaclc.FrameSize }
func (a *aacEncoder) config() []byte { return a.e.Config() }
