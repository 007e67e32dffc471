// Package sound turns the sound of a stream from one codec into another: AAC, MP3
// or G.711 into Opus for browsers, Opus into AAC for everybody else.
//
// A [Transcoder] does it at once and in the caller's goroutine. A [Line] has one
// with a goroutine and a bounded queue, so that whoever publishes never waits for it. What
// a Transcoder cannot do an ffmpeg does, where there is one ([NewProgram]).
package sound

import (
	"errors"
	"fmt"
	"time"

	"weir/internal/media"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
	"weir/internal/sound/layer3"
)

// ErrUnsupported is wrapped by the errors of what cannot be decoded or made here.
var ErrUnsupported = errors.New("sound: not supported")

// A Target is what sound is turned into.
type Target struct {
	// Codec is Opus or AAC.
	Codec media.Codec
	// Bitrate is in bits a second; 0 is 64,000 for Opus and 128,000 for AAC.
	Bitrate int
}

// outRate is the sampling rate in Hz of all that is made: Opus knows no other
// (RFC 7587 4.1), and AAC of 48 kHz is what SRS makes of WebRTC's sound.
const outRate = 48000

// A decoder turns packets into samples, interleaved where there are two channels.
type decoder interface {
	// decode appends the samples of a packet. After an error it goes on with the
	// next packet as well as it can.
	decode(dst []float32, packet []byte) ([]float32, error)
	// format is known after the first packet at the latest.
	format() (rate, channels int)
}

// A concealer is a decoder that makes something of packets that were lost.
type concealer interface {
	// conceal appends so many samples per channel for what was lost; next is the packet
	// behind it, which may have a copy of it, or nil if that is not the very next.
	conceal(dst []float32, samples int, next []byte) ([]float32, error)
}

// An encoder turns a fixed number of samples into a packet.
type encoder interface {
	// encode appends the packet of frame()*channels samples; an empty one says that
	// there is none yet.
	encode(dst []byte, pcm []float32) ([]byte, error)
	// frame counts samples per channel in a packet, delay those by which what is
	// decoded lags behind what was encoded.
	frame() int
	delay() int
	// config is what stands in [media.Track.Config].
	config() []byte
}

// A Transcoder turns the frames of one track into packets of another codec.
//
// Its output runs at an even pace, which players need: their times are exactly as
// far apart as their samples last. Time stamps that tremble do not show in it; where
// the input has a hole there is silence, and a clock that runs away from its samples
// is followed by whole packets, so that sound and picture stay together.
type Transcoder struct {
	from    *media.Track
	to      Target
	dec     decoder
	enc     encoder
	res     *resampler
	track   *media.Track
	clock   pace
	pcm     []float32 // decoded
	pending []float32 // at outRate, not encoded
	packet  []byte
	out     int // channels of what is made
	faults  int
	strange int // packets in a row that are more than their configuration said
}

// New returns a Transcoder. The error wraps [ErrUnsupported] if this codec, or a
// variant such as HE-AAC or more than two channels, is beyond it.
func New(from *media.Track, to Target) (*Transcoder, error) {
	dec, err := newDecoder(from)
	if err != nil {
		return nil, err
	}
	t := &Transcoder{from: from, to: to, dec: dec, out: 2}
	if from.Channels == 1 && from.Codec != media.Opus { // Opus changes between one and two as it likes
		t.out = 1
	}
	if t.enc, err = newEncoder(to, t.out); err != nil {
		return nil, err
	}
	t.track = &media.Track{ID: from.ID, Kind: media.Audio, Codec: to.Codec, Config: t.enc.config(), SampleRate: outRate, Channels: t.out, Lang: from.Lang, Label: from.Label}
	if to.Codec == media.AAC {
		t.track.Profile = "LC"
	}
	return t, nil
}

// Track describes what comes out.
func (t *Transcoder) Track() *media.Track { return t.track }

const (
	// faultsMost is how many packets in a row may be broken before it is an error.
	faultsMost = 50
	// strangeMost is the same for those that are whole and beyond the decoder: one may
	// be broken so that it looks like that.
	strangeMost = 2
)

// concealMost is how many lost packets in a row something is made of.
const concealMost = 5

// WriteLossy is Write where so many packets before this one were lost: where the codec
// can, something is made of them, of the copy that this one has or of the sound before.
func (t *Transcoder) WriteLossy(packet []byte, pts time.Duration, lost int, emit func(pts time.Duration, packet []byte)) error {
	c, can := t.dec.(concealer)
	n := opus.Samples(packet)
	for back := lost; can && t.clock.begun && t.from.Codec == media.Opus && n > 0 && lost <= concealMost && back > 0; back-- {
		var next []byte
		if back == 1 {
			next = packet
		}
		pcm, err := guard(t.from.Codec, func() ([]float32, error) { return c.conceal(t.pcm[:0], n, next) })
		if t.pcm = pcm; err != nil {
			break // a hole in time
		}
		if err := t.take(pts-samplesTime(int64(back*n), opus.Rate), emit); err != nil {
			return err
		}
	}
	return t.Write(packet, pts, emit)
}

// Write takes one packet with its presentation time, and calls emit for each
// packet that is ready; the bytes are valid during the call. A packet that cannot be
// decoded is left out; many in a row are an error, which wraps [ErrUnsupported] where
// the codec turns out to be a variant that [New] would have refused: transport streams do not
// say of HE-AAC that it is that, nor which layer MPEG audio has.
func (t *Transcoder) Write(packet []byte, pts time.Duration, emit func(pts time.Duration, packet []byte)) error {
	pcm, err := guard(t.from.Codec, func() ([]float32, error) { return t.dec.decode(t.pcm[:0], packet) })
	if t.pcm = pcm; err != nil {
		if errors.Is(err, aaclc.ErrOther) || errors.Is(err, layer3.ErrOther) {
			if t.strange++; t.strange > strangeMost {
				return fmt.Errorf("%w: %w", ErrUnsupported, err)
			}
			return nil
		}
		if t.faults++; t.faults > faultsMost {
			return fmt.Errorf("%d packets in a row: %w", t.faults, err)
		}
		return nil // a hole in time, which the next packet shows
	}
	t.faults, t.strange = 0, 0
	return t.take(pts, emit)
}

// take takes what was decoded.
func (t *Transcoder) take(pts time.Duration, emit func(pts time.Duration, packet []byte)) error {
	pcm := t.pcm
	rate, channels := t.dec.format()
	if len(pcm) == 0 || rate == 0 {
		return nil
	}
	if t.res == nil || t.res.from != rate || t.res.channels != channels {
		t.res = newResampler(rate, outRate, channels)
	}
	n := len(pcm) / channels
	step := t.clock.next(pts, n, rate)
	switch {
	case step.restart:
		t.pending = t.pending[:0]
		t.res.reset()
	case step.skip:
		return nil
	case step.drop > 0:
		pcm = pcm[min(step.drop, n)*channels:]
	}
	if step.silence > 0 {
		t.pending = append(t.pending, make([]float32, step.silence*outRate/rate*t.out)...)
	}
	at := len(t.pending)
	t.pending = t.res.append(t.pending, pcm)
	if channels != t.out {
		t.pending = mix(t.pending, at, channels, t.out)
	}
	return t.encode(emit)
}

// guard has a library decode what comes from a peer: a fault of the one is an error of
// the other.
func guard(codec media.Codec, decode func() ([]float32, error)) (pcm []float32, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding %v: %v", codec, p)
		}
	}()
	return decode()
}

// encode makes packets of what waits.
func (t *Transcoder) encode(emit func(time.Duration, []byte)) error {
	size := t.enc.frame() * t.out
	done := 0
	for ; len(t.pending)-done >= size; done += size {
		var err error
		if t.packet, err = t.enc.encode(t.packet[:0], t.pending[done:done+size]); err != nil {
			return err
		}
		at := t.clock.out(t.enc.frame()) - time.Duration(t.enc.delay())*time.Second/outRate
		if len(t.packet) > 0 {
			emit(max(at, 0), t.packet)
		}
	}
	t.pending = t.pending[:copy(t.pending, t.pending[done:])]
	return nil
}

// mix changes the number of channels of all samples from an index on, between one
// and two.
func mix(pcm []float32, at, from, to int) []float32 {
	switch {
	case from == 2 && to == 1:
		n := at
		for i := at; i+1 < len(pcm); i += 2 {
			pcm[n] = (pcm[i] + pcm[i+1]) / 2
			n++
		}
		return pcm[:n]
	case from == 1 && to == 2:
		n := len(pcm) - at
		pcm = append(pcm, pcm[at:]...)
		for i := n - 1; i >= 0; i-- {
			s := pcm[at+i]
			pcm[at+2*i], pcm[at+2*i+1] = s, s
		}
	}
	return pcm
}
