// Package aac reads and writes the two descriptions of AAC audio (ISO/IEC
// 14496-3): the AudioSpecificConfig of FLV and MP4, and the ADTS header of
// MPEG-TS and bare files.
//
// It decodes no sound. All input is bounded by its own length.
package aac

import (
	"errors"
	"fmt"
	"time"

	"weir/internal/media/bits"
)

// Audio object types (ISO/IEC 14496-3 table 1.17).
const (
	TypeMain = 1
	TypeLC   = 2
	TypeSSR  = 3
	TypeLTP  = 4
	TypeSBR  = 5
	TypePS   = 29
)

// FrameSamples is how many samples per channel an ordinary frame has, at the
// rate of the core.
const FrameSamples = 1024

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("aac: bad syntax")

var rates = [...]int{96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350}

// Config is what we use of an AudioSpecificConfig.
type Config struct {
	// Type is the audio object type of the core: TypeLC also where SBR or PS
	// is on top of it.
	Type int
	// SampleRate is the rate of the core in Hz.
	SampleRate int
	// ChannelConfig is channelConfiguration, 0 if a program config element
	// says it.
	ChannelConfig int
	// Channels counts the channels of the core.
	Channels int
	// SBR and PS tell that spectral band replication and parametric stereo
	// are said to be there.
	SBR, PS bool
	// ExtensionRate is the rate in Hz that SBR gives, 0 without.
	ExtensionRate int
	// Short tells of frames with 960 samples instead of 1,024.
	Short bool
}

// ParseConfig parses an AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1), with
// SBR and PS told in either of the two explicit ways.
func ParseConfig(b []byte) (Config, error) {
	r := bits.New(b)
	c, ok := specific(&r)
	if !ok {
		return Config{}, fmt.Errorf("%w: audio specific config %x", ErrSyntax, b[:min(len(b), 16)])
	}
	// The backward compatible way comes last, if there is room for it.
	if !c.SBR && r.OK() && r.Left() >= 16 && r.Bits(11) == 0x2b7 && objectType(&r) == TypeSBR && r.Flag() {
		if ext := rate(&r); r.OK() && ext != 0 {
			c.SBR, c.ExtensionRate = true, ext
			c.PS = r.Left() >= 12 && r.Bits(11) == 0x548 && r.Flag()
		}
	}
	return c, nil
}

// specific parses an AudioSpecificConfig as far as it tells its own length.
func specific(r *bits.Reader) (c Config, ok bool) {
	c.Type = objectType(r)
	c.SampleRate = rate(r)
	c.ChannelConfig = int(r.Bits(4))
	if c.Type == TypeSBR || c.Type == TypePS {
		c.SBR, c.PS = true, c.Type == TypePS
		c.ExtensionRate = rate(r)
		c.Type = objectType(r)
	}
	if !r.OK() || c.SampleRate == 0 || c.Type == 0 {
		return Config{}, false
	}
	c.Channels = channels(c.ChannelConfig)
	switch c.Type {
	case TypeMain, TypeLC, TypeSSR, TypeLTP, 6, 7:
		c.general(r)
	}
	return c, true
}

// general parses GASpecificConfig (ISO/IEC 14496-3 4.4.1).
func (c *Config) general(r *bits.Reader) {
	c.Short = r.Flag()
	if r.Flag() { // dependsOnCoreCoder
		r.Skip(14)
	}
	ext := r.Flag()
	if c.ChannelConfig == 0 {
		if n := program(r); r.OK() {
			c.Channels = n
		}
	}
	if c.Type == 6 {
		r.Skip(3)
	}
	if ext {
		r.Skip(1)
	}
}

// program parses a program config element (4.4.1.1) and returns its channels.
func program(r *bits.Reader) int {
	r.Skip(4 + 2 + 4)
	front, side, back := int(r.Bits(4)), int(r.Bits(4)), int(r.Bits(4))
	lfe, assoc, cc := int(r.Bits(2)), int(r.Bits(3)), int(r.Bits(4))
	for _, n := range []int{4, 4, 3} { // mono, stereo and matrix mixdown
		if r.Flag() {
			r.Skip(n)
		}
	}
	total := lfe
	for range front + side + back {
		total++
		if r.Flag() { // a channel pair
			total++
		}
		r.Skip(4)
	}
	r.Skip(4*lfe + 4*assoc + 5*cc)
	r.Align()
	r.Skip(8 * int(r.Bits(8))) // comment
	return total
}

func objectType(r *bits.Reader) int {
	t := int(r.Bits(5))
	if t == 31 {
		t = 32 + int(r.Bits(6))
	}
	return t
}

func rate(r *bits.Reader) int {
	i := int(r.Bits(4))
	switch {
	case i < len(rates):
		return rates[i]
	case i == 15:
		return int(r.Bits(24))
	}
	return 0
}

func channels(config int) int {
	switch {
	case config <= 6:
		return config
	case config == 7, config == 12, config == 14:
		return 8
	case config == 11:
		return 7
	}
	return 0
}

// Append appends the AudioSpecificConfig. SBR and PS are told in the
// hierarchical way. Where channels were told by a program config element, the
// number of channels stands for it.
func (c Config) Append(dst []byte) []byte {
	var w writer
	config := c.ChannelConfig
	if config == 0 {
		config = c.Channels
		if config == 8 {
			config = 7
		}
	}
	typ := c.Type
	switch {
	case c.PS:
		typ = TypePS
	case c.SBR:
		typ = TypeSBR
	}
	w.objectType(typ)
	w.rate(c.SampleRate)
	w.bits(uint32(config), 4)
	if c.SBR {
		w.rate(c.ExtensionRate)
		w.objectType(c.Type)
	}
	if c.Short {
		w.bits(1, 1)
	} else {
		w.bits(0, 1)
	}
	w.bits(0, 2)
	return w.append(dst)
}

// writer gathers up to 128 bits.
type writer struct {
	b [16]byte
	n int
}

func (w *writer) bits(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		w.b[w.n>>3] |= byte(v>>i&1) << (7 - w.n&7)
		w.n++
	}
}

func (w *writer) objectType(t int) {
	if t < 31 {
		w.bits(uint32(t), 5)
		return
	}
	w.bits(31, 5)
	w.bits(uint32(t-32), 6)
}

func (w *writer) rate(hz int) {
	if i := rateIndex(hz); i < 15 {
		w.bits(uint32(i), 4)
		return
	}
	w.bits(15, 4)
	w.bits(uint32(hz), 24)
}

func (w *writer) append(dst []byte) []byte { return append(dst, w.b[:(w.n+7)/8]...) }

// rateIndex returns samplingFrequencyIndex, 15 if there is none.
func rateIndex(hz int) int {
	for i, r := range rates {
		if r == hz {
			return i
		}
	}
	return 15
}

// OutputRate returns the rate in Hz at which a decoder gives samples.
func (c Config) OutputRate() int {
	if c.ExtensionRate > 0 {
		return c.ExtensionRate
	}
	return c.SampleRate
}

// OutputChannels returns how many channels a decoder gives.
func (c Config) OutputChannels() int {
	if c.PS && c.Channels == 1 {
		return 2
	}
	return c.Channels
}

// FrameDuration returns how long a frame sounds.
func (c Config) FrameDuration() time.Duration {
	n := FrameSamples
	if c.Short {
		n = 960
	}
	return time.Duration(n) * time.Second / time.Duration(max(c.SampleRate, 1))
}

// Profile returns the name of the profile as SRS's API has it: "LC", "HE",
// "HEv2", "Main", "SSR", or "Other".
func (c Config) Profile() string {
	switch {
	case c.PS:
		return "HEv2"
	case c.SBR:
		return "HE"
	case c.Type == TypeLC:
		return "LC"
	case c.Type == TypeMain:
		return "Main"
	case c.Type == TypeSSR:
		return "SSR"
	}
	return "Other"
}

// HeaderLen is how long an ADTS header without checksum is, in bytes.
const HeaderLen = 7

// MaxFrame is the longest frame that ADTS can carry, in bytes, header not
// included.
const MaxFrame = 1<<13 - 1 - HeaderLen

// AppendADTS appends the ADTS header (ISO/IEC 14496-3 1.A.2.2) of a frame of
// size bytes. ADTS knows four object types and the rates of the table: others
// become LC and the nearest rate. A size over MaxFrame has no form; the caller
// leaves such a frame out.
func (c Config) AppendADTS(dst []byte, size int) []byte {
	profile := c.Type - 1
	if profile < 0 || profile > 3 {
		profile = TypeLC - 1
	}
	freq, n := rateIndex(c.SampleRate), size+HeaderLen
	if freq == 15 {
		freq = 0
		for i, r := range rates {
			if abs(r-c.SampleRate) < abs(rates[freq]-c.SampleRate) {
				freq = i
			}
		}
	}
	ch := c.ChannelConfig
	if ch == 0 || ch > 7 { // no room for it: go by the number of channels
		ch = c.Channels
		if ch == 8 {
			ch = 7
		}
		ch &= 7
	}
	return append(dst,
		0xff, 0xf1, // MPEG-4, no checksum
		byte(profile<<6|freq<<2|ch>>2),
		byte(ch&3<<6|n>>11&3),
		byte(n>>3),
		byte(n&7<<5|0x1f), // buffer fullness: variable rate
		0xfc,
	)
}

func abs(n int) int { return max(n, -n) }

// ParseADTS parses the header of the frame that b begins with. The frame is
// b[head:size]. Frames with more than one block of data are refused: what is
// in them cannot be told apart without decoding.
func ParseADTS(b []byte) (c Config, head, size int, err error) {
	if len(b) < HeaderLen || b[0] != 0xff || b[1]&0xf6 != 0xf0 {
		return Config{}, 0, 0, fmt.Errorf("%w: no ADTS header", ErrSyntax)
	}
	head = HeaderLen
	if b[1]&1 == 0 {
		head += 2
	}
	freq := int(b[2] >> 2 & 15)
	size = int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5]>>5)
	if freq >= len(rates) || size < head || b[6]&3 != 0 {
		return Config{}, 0, 0, fmt.Errorf("%w: ADTS header %x", ErrSyntax, b[:HeaderLen])
	}
	c = Config{Type: int(b[2]>>6) + 1, SampleRate: rates[freq], ChannelConfig: int(b[2]&1)<<2 | int(b[3]>>6)}
	c.Channels = channels(c.ChannelConfig)
	return c, head, size, nil
}
