//go:build !noaac

// Package aaclc is the only place that knows the library that decodes and encodes
// AAC-LC, which is under the LGPL: a program built with the tag noaac is without it.
package aaclc

import (
	"encoding/binary"
	"errors"
	"io"

	aac "github.com/tphakala/go-aac"
	"github.com/tphakala/go-aac/pcm"
)

// FrameSize is how many samples per channel an access unit holds.
const FrameSize = aac.FrameSize

// ErrOther is returned for units of what is more than AAC-LC of one or two channels,
// whatever their AudioSpecificConfig said.
var ErrOther = errors.New("this is more than AAC-LC of one or two channels")

// packetMost bounds an access unit (ISO/IEC 14496-3 4.5.3.1: 6,144 bits a channel,
// twice that to be generous).
const packetMost = 3072

// A Decoder decodes access units.
type Decoder struct {
	config         []byte
	rate, channels int
	d              *pcm.Decoder
	in             feed
	raw            []byte
	out            []int16
}

// NewDecoder returns a Decoder for an AudioSpecificConfig of AAC-LC.
func NewDecoder(config []byte, rate, channels int) (*Decoder, error) {
	d := &Decoder{config: config, rate: rate, channels: channels, raw: make([]byte, FrameSize*channels*2), out: make([]int16, FrameSize*channels)}
	var err error
	d.d, err = pcm.NewDecoder(&d.in, pcm.WithRawStream(config))
	return d, err
}

// Format returns the rate in Hz and the number of channels.
func (d *Decoder) Format() (rate, channels int) { return d.rate, d.channels }

// Decode decodes one access unit. After an error the next one is decoded as the
// first of a stream.
func (d *Decoder) Decode(packet []byte) ([]int16, error) {
	if len(packet) == 0 || len(packet) > packetMost {
		return nil, io.ErrUnexpectedEOF
	}
	// The library reads a stream of units, each behind its length in two bytes; it is
	// never asked for more than the units given hold.
	d.in = binary.BigEndian.AppendUint16(d.in[:0], uint16(len(packet)))
	d.in = append(d.in, packet...)
	if _, err := io.ReadFull(d.d, d.raw); err != nil {
		d.in = d.in[:0]
		if again := d.d.Reset(&d.in, pcm.WithRawStream(d.config)); again != nil {
			return nil, again
		}
		if errors.Is(err, pcm.ErrUnsupported) {
			return nil, ErrOther
		}
		return nil, err
	}
	for i := range d.out {
		d.out[i] = int16(binary.LittleEndian.Uint16(d.raw[2*i:]))
	}
	return d.out, nil
}

// feed is what has been given to the decoder and not been read.
type feed []byte

func (f *feed) Read(p []byte) (int, error) {
	if len(*f) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *f)
	*f = (*f)[n:]
	return n, nil
}

// An Encoder makes access units.
type Encoder struct{ e *aac.Encoder }

// NewEncoder returns an Encoder for a rate of 44.1 or 48 kHz, one or two channels,
// and so many bits a second.
func NewEncoder(rate, channels, bitrate int) (*Encoder, error) {
	// The search for where sum and difference of the channels need fewer bits than these
	// themselves takes a fifth of the time, and is of use where bits are scarce.
	plenty := bitrate >= 64000*channels
	e, err := aac.NewEncoder(aac.EncoderConfig{SampleRate: rate, Channels: channels, Bitrate: bitrate, Coder: aac.CoderFast, DisableMS: plenty, Cutoff: cutoff(bitrate / channels)})
	if err != nil {
		return nil, err
	}
	return &Encoder{e}, nil
}

// cutoff returns up to how many Hz sound is kept at so many bits a second for each channel,
// 0 for the library's choice. Below 40,000 that ends too early: at 24,000 at 8 kHz, as FFmpeg's does,
// which takes some 3 dB from the octave up to 12.8 kHz in music. With more of that octave than is
// kept here, those below would have too few bits.
func cutoff(bitrate int) int {
	if bitrate >= 40000 {
		return 0
	}
	return min(max(8000, 3600+bitrate*11/40), 13000)
}

// Encode appends the access unit of FrameSize samples in [-1, 1] for each channel.
func (e *Encoder) Encode(dst []byte, planes [][]float32) ([]byte, error) {
	return e.e.EncodeFrame(dst, planes)
}

// Delay returns by how many samples what is decoded lags behind.
func (e *Encoder) Delay() int { return e.e.Delay() }

// Config returns the AudioSpecificConfig.
func (e *Encoder) Config() []byte { return e.e.AudioSpecificConfig() }
