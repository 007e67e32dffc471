// Package mpegts writes and reads MPEG transport streams (ISO/IEC 13818-1) of one
// program, with one picture and one sound, as HLS wants them, or several. A [Demuxer]
// reads.
//
// A [Muxer] keeps the continuity counters, so what it appends call after call
// is one stream, and may be cut into segments wherever [Muxer.AppendTables] is
// called. Numbers are those of SRS: program 1, PMT on PID 0x1001, picture on
// 0x100, sound on 0x101, and further ones from 0x111 and 0x121 on. The program clock is the decoding time of the picture,
// or of the sound if there is no picture.
//
// Carried are H.264, H.265, AAC, MP3, AC-3, E-AC-3, and Opus of one or two channels. Into a warm buffer
// nothing is allocated.
package mpegts

import (
	"errors"
	"fmt"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
	"weir/internal/media/nal"
)

// PacketSize is the size of a packet, in bytes.
const PacketSize = 188

// The PIDs that are used.
const (
	PIDTables = 0x0000 // PAT
	PIDMap    = 0x1001 // PMT
	PIDVideo  = 0x0100
	PIDAudio  = 0x0101

	pidMoreVideo, pidMoreAudio = 0x0110, 0x0120 // and its number
)

// maxVideos and maxAudios are how many pictures and sounds are carried, each way.
const maxVideos, maxAudios = 4, 8

// ErrFrame means that a frame has no form in a transport stream.
var ErrFrame = errors.New("mpegts: bad frame")

// Stream types (ISO/IEC 13818-1 table 2-34; 0x81 and 0x87 of ATSC A/52).
const (
	typeMP3MPEG1 = 0x03
	typeMP3MPEG2 = 0x04
	typeAAC      = 0x0f
	typeLATM     = 0x11
	typeH264     = 0x1b
	typeH265     = 0x24
	typeAC3      = 0x81
	typeEAC3     = 0x87
)

func streamType(t *media.Track) byte {
	switch t.Codec {
	case media.H264:
		return typeH264
	case media.H265:
		return typeH265
	case media.AAC:
		return typeAAC
	case media.MP3:
		if t.SampleRate != 0 && t.SampleRate < 32000 {
			return typeMP3MPEG2
		}
		return typeMP3MPEG1
	case media.AC3:
		return typeAC3
	case media.EAC3:
		return typeEAC3
	case media.Opus:
		if t.Channels <= 2 { // more have a mapping of their own
			return typePrivate
		}
	}
	return 0
}

// Supported reports whether tracks like t are carried.
func Supported(t *media.Track) bool { return streamType(t) != 0 }

// A Muxer makes one transport stream. One goroutine uses it at a time.
type Muxer struct {
	passing      bool // all tracks are carried, and data
	outs         []out
	video, audio *out // the first of outs
	data         []dataOut
	tables       [2 * PacketSize]byte
	mapped       []byte // the PMT as if its version were 0
	version      byte   // of the PMT
	// Continuity counters: the next value of each PID, for tracks by their place.
	tablesCC byte
	cc       [maxVideos + maxAudios]byte
	pes      []byte // the packet in the making
}

// out is one track that is carried.
type out struct {
	track      *media.Track
	pid        uint16
	place      int    // of its counter
	length     int    // bytes of a unit's length in the payload
	parameters []byte // parameter sets with start codes
	adts       aac.Config
}

// NewMuxer returns a muxer of the first track of each kind that is carried.
func NewMuxer(l *media.Layout) *Muxer {
	m := &Muxer{pes: make([]byte, 0, 64<<10)}
	m.SetLayout(l)
	return m
}

// NewPassing returns a muxer that carries all pictures and sounds, up to four and eight,
// and the data of transport streams, such as SCTE-35 and KLV, as far as the map has room
// for them.
func NewPassing(l *media.Layout) *Muxer {
	m := &Muxer{pes: make([]byte, 0, 64<<10), passing: true}
	m.SetLayout(l)
	return m
}

// SetLayout goes over to another layout within the stream. Tables should
// follow.
func (m *Muxer) SetLayout(l *media.Layout) {
	m.outs, m.video, m.audio = nil, nil, nil
	videos, audios := 0, 0
	if l != nil {
		m.outs = make([]out, 0, len(l.Tracks)) // pointers into it are kept
		for _, t := range l.Tracks {
			switch {
			case !Supported(t):
			case t.Kind == media.Video && videos < m.most(maxVideos):
				o := m.add(t, PIDVideo, pidMoreVideo, videos, videos)
				if videos++; m.video == nil {
					m.video = o
				}
			case t.Kind == media.Audio && audios < m.most(maxAudios):
				o := m.add(t, PIDAudio, pidMoreAudio, audios, maxVideos+audios)
				if audios++; m.audio == nil {
					m.audio = o
				}
			}
		}
	}
	m.setData(l)
	m.makeTables()
}

// most is how many tracks of a kind are carried, of n that might be.
func (m *Muxer) most(n int) int {
	if m.passing {
		return n
	}
	return 1
}

// add adds the nth track of its kind.
func (m *Muxer) add(t *media.Track, pid, more uint16, n, place int) *out {
	if n > 0 {
		pid = more + uint16(n)
	}
	m.outs = append(m.outs, out{track: t, pid: pid, place: place, length: 4})
	o := &m.outs[len(m.outs)-1]
	switch {
	case t.Kind == media.Video:
		o.configure(t)
	case t.Codec == media.AAC:
		c, err := aac.ParseConfig(t.Config)
		if err != nil { // the track says enough for a header
			c = aac.Config{Type: aac.TypeLC, SampleRate: t.SampleRate, Channels: t.Channels}
		}
		o.adts = c
	}
	return o
}

// of returns the one of f's track, nil if it is not carried.
func (m *Muxer) of(f *media.Frame) *out {
	for i := range m.outs {
		if carries(m.outs[i].track, f) {
			return &m.outs[i]
		}
	}
	return nil
}

// configure takes the parameter sets out of the configuration. Without them
// the stream must bring its own.
func (o *out) configure(t *media.Track) {
	var sets [][]byte
	if t.Codec == media.H264 {
		if c, err := h264.ParseConfig(t.Config); err == nil {
			o.length = c.LengthSize
			sets = append(append(sets, c.SPS...), c.PPS...)
		}
	} else if c, err := h265.ParseConfig(t.Config); err == nil {
		o.length = c.LengthSize
		for _, typ := range []byte{h265.TypeVPS, h265.TypeSPS, h265.TypePPS} {
			sets = append(sets, c.Units(typ)...)
		}
	}
	for _, s := range sets {
		o.parameters = append(append(o.parameters, 0, 0, 0, 1), s...)
	}
}

// Carries reports whether f belongs to one of the muxer's tracks.
func (m *Muxer) Carries(f *media.Frame) bool {
	return m.of(f) != nil || m.dataOf(f) != nil
}

func carries(t *media.Track, f *media.Frame) bool {
	return t != nil && t.Kind == f.Track.Kind && t.ID == f.Track.ID && t.Codec == f.Track.Codec
}

// AppendTables appends the PAT and the PMT. They belong at the start of each
// segment, and in an endless stream at least every half second.
func (m *Muxer) AppendTables(dst []byte) []byte {
	m.tables[3] = 0x10 | m.tablesCC
	m.tables[PacketSize+3] = 0x10 | m.tablesCC
	m.tablesCC = (m.tablesCC + 1) & 15
	return append(dst, m.tables[:]...)
}

// TablesCounter returns the continuity counter of the next tables.
func (m *Muxer) TablesCounter() byte { return m.tablesCC }

// AppendTablesAt appends the tables with a counter, and counts nothing: for
// somebody who joins a stream whose next tables have the counter after it.
func (m *Muxer) AppendTablesAt(dst []byte, cc byte) []byte {
	at := len(dst)
	dst = append(dst, m.tables[:]...)
	dst[at+3] = 0x10 | cc&15
	dst[at+PacketSize+3] = 0x10 | cc&15
	return dst
}

// AppendBegin appends the tables at the beginning of a piece of the stream that any muxer
// of the same layout makes alike, wherever it stands: all counters begin at zero. The
// tables' own say so by their discontinuity_indicator (2.4.3.5), if there is room; those
// of tracks go on if the piece before was ended by [Muxer.Align].
func (m *Muxer) AppendBegin(dst []byte) []byte {
	m.tablesCC, m.cc = 0, [len(m.cc)]byte{}
	at := len(dst)
	dst = m.AppendTables(dst)
	for _, p := range [][]byte{dst[at : at+PacketSize], dst[at+PacketSize:]} {
		if 8+int(p[7]) > PacketSize-2 { // a section of one packet is shorter than 256 bytes
			continue
		}
		copy(p[6:], p[4:PacketSize-2])
		p[3], p[4], p[5] = p[3]|0x20, 1, 0x80
	}
	return dst
}

// headerMost is how long the header of a PES packet with its times is, which stays in one
// packet where that can be.
const headerMost = 19

// Align ends a piece b: it spreads what tracks have last over so many more packets that
// their counters come to zero. mark is a place in b, which moves along.
func (m *Muxer) Align(b []byte, mark int) (aligned []byte, moved int) {
	for i := range m.outs {
		o := &m.outs[i]
		for _, least := range []int{headerMost, 1} {
			for at := len(b) - PacketSize; at >= 0 && m.cc[o.place] != 0; at -= PacketSize {
				more := min(int(-m.cc[o.place]&15), payloadOf(b[at:at+PacketSize])-least)
				if pidOf(b[at:]) != o.pid || more <= 0 {
					continue
				}
				if b = spread(b, at, more); at < mark {
					mark += more * PacketSize
				}
				m.cc[o.place] = (m.cc[o.place] + byte(more)) & 15
			}
		}
	}
	return b, mark
}

// AppendAlone is [Muxer.AppendFrame] with counters that begin at zero, so that
// muxers of the same layout make the same of a frame, wherever they stand. What
// it made is put into a stream by [Muxer.AppendPackets].
func (m *Muxer) AppendAlone(dst []byte, f *media.Frame, dts time.Duration) ([]byte, error) {
	cc := m.cc
	m.cc = [len(m.cc)]byte{}
	dst, err := m.AppendFrame(dst, f, dts)
	m.cc = cc
	return dst, err
}

// AppendPackets appends what [Muxer.AppendAlone] made, with counters that go on
// from what the muxer appended before.
func (m *Muxer) AppendPackets(dst, packets []byte) []byte {
	for len(packets) >= PacketSize {
		at := len(dst)
		dst = append(dst, packets[:PacketSize]...)
		packets = packets[PacketSize:]
		cc := &m.cc[m.placeOf(uint16(dst[at+1]&0x1f)<<8|uint16(dst[at+2]))]
		dst[at+3] = dst[at+3]&0xf0 | *cc
		*cc = (*cc + 1) & 15
	}
	return dst
}

// placeOf returns where the counter of a PID is.
func (m *Muxer) placeOf(pid uint16) int {
	for i := range m.outs {
		if m.outs[i].pid == pid {
			return m.outs[i].place
		}
	}
	return 0
}

// FrameSize returns how many bytes [Muxer.AppendFrame] appends for f at most, 0
// if it is not carried.
func (m *Muxer) FrameSize(f *media.Frame) int {
	o := m.of(f)
	if o == nil && m.dataOf(f) == nil {
		return 0
	}
	// A unit's length may have one byte where a start code has four.
	pes := len(f.Payload) + len(f.Payload)/255 + 64
	if f.Track.Kind == media.Video {
		pes += len(o.parameters) + 3*len(f.Payload)/max(1, o.length)
		if o.length == 4 {
			pes = len(f.Payload) + len(o.parameters) + 64
		}
	}
	const room = PacketSize - 4
	return (pes/room + 2) * PacketSize
}

// AppendFrame appends f, decoded at dts and presented f.CTO later. Frames of
// tracks that the muxer does not carry append nothing. On an error, which
// wraps [ErrFrame], nothing is appended either.
func (m *Muxer) AppendFrame(dst []byte, f *media.Frame, dts time.Duration) ([]byte, error) {
	o := m.of(f)
	switch {
	case f.Track.Kind == media.Data:
		if d := m.dataOf(f); d != nil {
			dst = d.append(dst, f, dts)
		}
		return dst, nil
	case o == nil:
		return dst, nil
	case f.Track.Kind == media.Audio:
		return m.appendAudio(dst, o, f, nil, dts)
	}
	pes := append(m.pes[:0], 0, 0, 1, streamVideo, 0, 0)
	pes = appendTimes(pes, ticks(dts+f.CTO), ticks(dts))
	pes, err := o.appendUnits(pes, f)
	m.pes = pes
	if err != nil {
		return dst, fmt.Errorf("%w: %v: %w", ErrFrame, f.Track.Codec, err)
	}
	// Zero says that the length is unknown, for picture only.
	if n := len(pes) - 6; n <= 0xffff {
		pes[4], pes[5] = byte(n>>8), byte(n)
	}
	clock := noClock
	if o == m.video {
		clock = ticks(dts)
	}
	return appendPackets(dst, o.pid, &m.cc[o.place], pes, clock, f.Key), nil
}

// AppendAudio appends audio frames of one track as one packet of the
// elementary stream, as far as it can hold them; the first is heard at pts,
// the others by their distance to the first.
func (m *Muxer) AppendAudio(dst []byte, pts time.Duration, frames ...*media.Frame) ([]byte, error) {
	if len(frames) == 0 {
		return dst, nil
	}
	o := m.of(frames[0])
	if o == nil || o.track.Kind != media.Audio {
		return dst, nil
	}
	return m.appendAudio(dst, o, frames[0], frames[1:], pts)
}

// maxAudio is how many bytes of sound go into a packet of the elementary
// stream, whose length has 16 bits.
const maxAudio = 60000

func (m *Muxer) appendAudio(dst []byte, o *out, f *media.Frame, more []*media.Frame, pts time.Duration) ([]byte, error) {
	start, cc := len(dst), m.cc[o.place]
	base := f.DTS
	for {
		id := byte(streamAudio)
		switch f.Track.Codec {
		case media.AC3, media.EAC3, media.Opus:
			id = streamPrivate
		}
		at := pts + f.DTS - base
		pes := append(m.pes[:0], 0, 0, 1, id, 0, 0)
		pes = appendTimes(pes, ticks(at), ticks(at))
		for {
			limit := maxAudio
			if f.Track.Codec == media.AAC {
				limit = aac.MaxFrame
				if len(f.Payload) <= limit {
					pes = o.adts.AppendADTS(pes, len(f.Payload))
				}
			}
			if len(f.Payload) > limit {
				m.cc[o.place] = cc
				return dst[:start], fmt.Errorf("%w: %v of %d bytes", ErrFrame, f.Track.Codec, len(f.Payload))
			}
			if f.Track.Codec == media.Opus {
				pes = appendOpusHeader(pes, len(f.Payload))
			}
			pes = append(pes, f.Payload...)
			if len(more) == 0 || len(pes)+len(more[0].Payload) > maxAudio {
				break
			}
			f, more = more[0], more[1:]
		}
		n := len(pes) - 6
		pes[4], pes[5] = byte(n>>8), byte(n)
		m.pes = pes
		clock, access := noClock, m.video == nil && o == m.audio
		if access {
			clock = ticks(at)
		}
		dst = appendPackets(dst, o.pid, &m.cc[o.place], pes, clock, access)
		if len(more) == 0 {
			return dst, nil
		}
		f, more = more[0], more[1:]
	}
}

// appendOpusHeader appends the control header of a packet of Opus, which says its length
// and trims nothing, as FFmpeg and GStreamer have it.
func appendOpusHeader(dst []byte, n int) []byte {
	dst = append(dst, 0x7f, 0xe0)
	for ; n >= 0xff; n -= 0xff {
		dst = append(dst, 0xff)
	}
	return append(dst, byte(n))
}

// Access unit delimiters, any type of slice.
var (
	audH264 = []byte{0, 0, 0, 1, h264.TypeAUD, 0xf0}
	audH265 = []byte{0, 0, 0, 1, h265.TypeAUD << 1, 1, 0x50}
)

// appendUnits appends f with start codes: a delimiter first, then before a key
// frame the parameter sets, unless it brings its own.
func (o *out) appendUnits(dst []byte, f *media.Frame) ([]byte, error) {
	typ, aud, aut, sps := h264.Type, audH264, byte(h264.TypeAUD), byte(h264.TypeSPS)
	if f.Track.Codec == media.H265 {
		typ, aud, aut, sps = h265.Type, audH265, h265.TypeAUD, h265.TypeSPS
	}
	dst = append(dst, aud...)
	if f.Key && !has(f.Payload, o.length, typ, sps) {
		dst = append(dst, o.parameters...)
	}
	for n, b := 0, f.Payload; len(b) > 0; n++ {
		if n == nal.MaxUnits {
			return dst, nal.ErrUnits
		}
		unit, rest, err := nal.Next(b, o.length)
		if err != nil {
			return dst, err
		}
		b = rest
		if len(unit) > 0 && typ(unit) != aut {
			dst = append(append(dst, 0, 0, 0, 1), unit...)
		}
	}
	return dst, nil
}

func has(b []byte, size int, typ func([]byte) byte, want byte) bool {
	for n := 0; len(b) > 0 && n < nal.MaxUnits; n++ {
		unit, rest, err := nal.Next(b, size)
		if err != nil {
			return false
		}
		if typ(unit) == want {
			return true
		}
		b = rest
	}
	return false
}
