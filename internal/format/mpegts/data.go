package mpegts

import (
	"bytes"
	"encoding/binary"
	"time"

	"weir/internal/media"
)

// Types of streams of data (ISO/IEC 13818-1 table 2-34, SCTE 35).
const (
	typeSections = 0x05
	typeMetadata = 0x15 // KLV with times, ID3
	typeSCTE35   = 0x86
)

const (
	// maxData is how many streams of data are carried, each way.
	maxData = 4
	// maxDescriptors bounds what the map says of one, in bytes.
	maxDescriptors = 48
	// maxPrivate is the longest section of data.
	maxPrivate = 4096
	// pidData is the first that is used for data.
	pidData = 0x0102
)

// cueDescriptor registers a program that has SCTE-35 (SCTE 35 8.1).
var cueDescriptor = []byte{5, 4, 'C', 'U', 'E', 'I'}

// isSections reports whether a stream of data comes in sections.
func isSections(typ byte) bool { return typ == typeSCTE35 || typ == typeSections }

// dataName is how a stream of data is called.
func dataName(typ byte, descriptors []byte) string {
	switch {
	case typ == typeSCTE35:
		return "SCTE-35"
	case bytes.Contains(descriptors, []byte("KLVA")):
		return "KLV"
	case bytes.Contains(descriptors, []byte("ID3 ")):
		return "ID3"
	}
	return ""
}

// dataIn is a stream of data of a program that is read.
type dataIn struct {
	id          uint8
	descriptors []byte
	track       *media.Track
	section     []byte // that is being gathered
	open        bool
	counter     byte
}

func newDataIn(typ byte, descriptors []byte, id uint8) *dataIn {
	d := &dataIn{id: id}
	if len(descriptors) <= maxDescriptors {
		d.descriptors = bytes.Clone(descriptors)
	}
	// As which streams come by their types; the first packet may show another.
	streamID := byte(streamPrivate)
	switch {
	case isSections(typ):
		streamID = 0
	case typ == typeMetadata:
		streamID = streamMetadata
	}
	d.learn(typ, streamID)
	return d
}

func (d *dataIn) learn(typ, streamID byte) {
	d.track = &media.Track{ID: d.id, Kind: media.Data, Codec: media.TSData, Config: append([]byte{typ, streamID}, d.descriptors...), Label: dataName(typ, d.descriptors)}
}

// frame returns what a section, or the content of a packet, is.
func (d *dataIn) frame(typ, streamID byte, body []byte, at time.Duration) *media.Frame {
	if d.track.Config[1] != streamID {
		d.learn(typ, streamID)
	}
	return &media.Frame{Track: d.track, Source: at, Payload: bytes.Clone(body)}
}

// add takes the payload of a packet of sections; whole is told of those that are whole.
func (d *dataIn) add(body []byte, start bool, counter byte, whole func([]byte)) {
	follows := counter == (d.counter+1)&15
	d.counter = counter
	if start {
		if len(body) == 0 || int(body[0]) >= len(body) {
			d.open = false
			return
		}
		if tail := body[1 : 1+int(body[0])]; d.open && follows {
			d.section = append(d.section, tail...)
			d.take(whole)
		}
		body = body[1+int(body[0]):]
		d.section, d.open = d.section[:0], true
	} else if !d.open || !follows {
		d.open = false
		return
	}
	d.section = append(d.section, body...)
	d.take(whole)
}

// take takes what is whole of what was gathered.
func (d *dataIn) take(whole func([]byte)) {
	for d.open {
		if len(d.section) > 0 && d.section[0] == 0xff { // stuffing
			d.open = false
			return
		}
		if len(d.section) < 3 {
			return
		}
		size := 3 + int(binary.BigEndian.Uint16(d.section[1:]))&0x0fff
		if size > maxPrivate || size < 8 {
			d.open = false
			return
		}
		if len(d.section) < size {
			return
		}
		// SCTE-35 and long sections end with a checksum.
		if b := d.section[:size]; b[0] != 0xfc && b[1]&0x80 == 0 || checksum(b) == 0 {
			whole(b)
		}
		d.section = append(d.section[:0], d.section[size:]...)
	}
}

// dataOut is one that is written.
type dataOut struct {
	track *media.Track
	pid   uint16
	cc    byte
}

// setData takes the streams of data of a layout that there is room for.
func (m *Muxer) setData(l *media.Layout) {
	old := m.data
	m.data = nil
	if !m.passing || l == nil {
		return
	}
	for _, t := range l.Tracks {
		if t.Codec != media.TSData || len(t.Config) < 2 || len(t.Config) > 2+maxDescriptors || len(m.data) == maxData || int(t.ID) >= maxData {
			continue
		}
		d := dataOut{track: t, pid: pidData + uint16(t.ID)}
		for _, o := range old {
			if o.pid == d.pid {
				d.cc = o.cc
			}
		}
		m.data = append(m.data, d)
	}
}

func (m *Muxer) cues() bool {
	for _, d := range m.data {
		if d.track.Config[0] == typeSCTE35 {
			return true
		}
	}
	return false
}

func (m *Muxer) dataOf(f *media.Frame) *dataOut {
	for i := range m.data {
		if carries(m.data[i].track, f) {
			return &m.data[i]
		}
	}
	return nil
}

// appendEntry appends what the map says, unless it has no room for it.
func (d *dataOut) appendEntry(pmt []byte) []byte {
	const room = PacketSize - 5 - 4
	descriptors := d.track.Config[2:]
	if len(pmt)+5+len(descriptors) > room {
		return pmt
	}
	pmt = append(pmt, d.track.Config[0], 0xe0|byte(d.pid>>8), byte(d.pid), 0xf0, byte(len(descriptors)))
	return append(pmt, descriptors...)
}

// append appends a frame: a section, or a packet with the time if it had one.
func (d *dataOut) append(dst []byte, f *media.Frame, at time.Duration) []byte {
	if len(f.Payload) > maxAudio || len(f.Payload) == 0 {
		return dst
	}
	if d.track.Config[1] == 0 {
		return d.appendSection(dst, f.Payload)
	}
	b := make([]byte, 0, len(f.Payload)+32)
	b = append(b, 0, 0, 1, d.track.Config[1], 0, 0)
	if t := ticks(at); d.track.Config[0] == typeMetadata {
		b = appendTimes(b, t, t)
	} else {
		b = append(b, 0x80, 0, 0)
	}
	b = append(b, f.Payload...)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)-6))
	return appendPackets(dst, d.pid, &d.cc, b, noClock, false)
}

func (d *dataOut) appendSection(dst, section []byte) []byte {
	b := append([]byte{0}, section...) // the pointer
	for first := true; len(b) > 0; first = false {
		head := [4]byte{0x47, byte(d.pid >> 8), byte(d.pid), 0x10 | d.cc}
		if first {
			head[1] |= 0x40
		}
		d.cc = (d.cc + 1) & 15
		dst = append(dst, head[:]...)
		n := min(len(b), PacketSize-4)
		dst = append(dst, b[:n]...)
		for range PacketSize - 4 - n {
			dst = append(dst, 0xff)
		}
		b = b[n:]
	}
	return dst
}
