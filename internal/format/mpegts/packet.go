package mpegts

import (
	"bytes"
	"slices"
	"time"

	"weir/internal/media"
)

// Stream ids (ISO/IEC 13818-1 table 2-22).
const (
	streamPrivate  = 0xbd
	streamAudio    = 0xc0
	streamVideo    = 0xe0
	streamMetadata = 0xfc
)

// noClock stands for a packet without program clock reference.
const noClock = ^uint64(0)

// ticks returns d in ticks of 90 kHz, as 33 bits hold it.
func ticks(d time.Duration) uint64 { return uint64(media.Ticks(d, 90000)) & (1<<33 - 1) }

// appendTimes appends what follows the length in the header of a PES packet
// (2.4.3.6): flags and times, the decoding time only if it differs.
func appendTimes(dst []byte, pts, dts uint64) []byte {
	if pts == dts {
		return appendTime(append(dst, 0x84, 0x80, 5), 2, pts)
	}
	dst = appendTime(append(dst, 0x84, 0xc0, 10), 3, pts)
	return appendTime(dst, 1, dts)
}

func appendTime(dst []byte, mark byte, t uint64) []byte {
	return append(dst, mark<<4|byte(t>>29)&0x0e|1, byte(t>>22), byte(t>>14)|1, byte(t>>7), byte(t<<1)|1)
}

// appendPackets cuts a PES packet into packets of the transport stream. The
// clock, unless noClock, and the random access mark go into the first.
func appendPackets(dst []byte, pid uint16, cc *byte, pes []byte, clock uint64, access bool) []byte {
	for first := true; len(pes) > 0; first = false {
		at := len(dst)
		dst = append(dst, 0x47, byte(pid>>8), byte(pid), 0x10|*cc)
		*cc = (*cc + 1) & 15
		if first {
			dst[at+1] |= 0x40 // payload_unit_start_indicator
			if clock != noClock || access {
				dst = appendAdaptation(dst, clock, access)
				dst[at+3] |= 0x20
			}
		}
		room := at + PacketSize - len(dst)
		if len(pes) < room {
			dst = stuff(dst, at, room-len(pes))
			room = len(pes)
		}
		dst = append(dst, pes[:room]...)
		pes = pes[room:]
	}
	return dst
}

func pidOf(packet []byte) uint16 { return uint16(packet[1]&0x1f)<<8 | uint16(packet[2]) }

// payloadOf returns how many bytes of payload a packet has.
func payloadOf(packet []byte) int {
	switch packet[3] & 0x30 {
	case 0x10:
		return PacketSize - 4
	case 0x30:
		return PacketSize - 5 - int(packet[4])
	}
	return 0
}

// spread has the payload of the packet at at, which is longer than more bytes, go in so
// many more packets, and counts those of its PID on that follow.
func spread(b []byte, at, more int) []byte {
	var packet [PacketSize]byte
	copy(packet[:], b[at:])
	payload := packet[PacketSize-payloadOf(packet[:]):]
	first := payload[:len(payload)-more]
	out := append(make([]byte, 0, (more+1)*PacketSize), packet[:PacketSize-len(payload)]...)
	out = append(stuff(out, 0, more), first...)
	for i, c := range payload[len(first):] {
		n := len(out)
		out = append(out, 0x47, packet[1]&^0x40, packet[2], 0x10|(packet[3]+byte(i)+1)&15)
		out = append(stuff(out, n, PacketSize-5), c)
	}
	for q := at + PacketSize; q < len(b); q += PacketSize {
		if pidOf(b[q:]) == pidOf(packet[:]) {
			b[q+3] = b[q+3]&0xf0 | (b[q+3]+byte(more))&15
		}
	}
	return slices.Replace(b, at, at+PacketSize, out...)
}

// appendAdaptation appends an adaptation field (2.4.3.4).
func appendAdaptation(dst []byte, clock uint64, access bool) []byte {
	flags := byte(0)
	if access {
		flags = 0x40
	}
	if clock == noClock {
		return append(dst, 1, flags)
	}
	return append(dst, 7, flags|0x10, byte(clock>>25), byte(clock>>17), byte(clock>>9), byte(clock>>1), byte(clock<<7)|0x7e, 0)
}

// stuff makes the adaptation field of the packet at at n bytes longer.
func stuff(dst []byte, at, n int) []byte {
	if dst[at+3]&0x20 != 0 {
		dst[at+4] += byte(n)
	} else {
		dst[at+3] |= 0x20
		dst = append(dst, byte(n-1))
		n--
		if n > 0 {
			dst = append(dst, 0) // no flags
			n--
		}
	}
	for range n {
		dst = append(dst, 0xff)
	}
	return dst
}

// makeTables prepares the packets of PAT and PMT, all but their counters.
func (m *Muxer) makeTables() {
	pat := []byte{0x00, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | PIDMap>>8, PIDMap & 0xff}
	clock := byte(PIDVideo & 0xff)
	if m.video == nil {
		clock = PIDAudio & 0xff
	}
	pmt := []byte{0x02, 0xb0, 0, 0, 1, 0xc1, 0, 0, 0xe0 | PIDVideo>>8, clock, 0xf0, 0}
	if m.cues() {
		pmt[11] = byte(len(cueDescriptor))
		pmt = append(pmt, cueDescriptor...)
	}
	pmt = m.appendStreams(pmt)
	pmt[2] = byte(len(pmt) - 3 + 4)
	// Who has read a map reads it again only if its version is another.
	if m.mapped != nil && !bytes.Equal(m.mapped, pmt) {
		m.version = (m.version + 1) & 31
	}
	m.mapped = bytes.Clone(pmt)
	pmt[5] |= m.version << 1
	putTable(m.tables[:PacketSize], PIDTables, pat)
	putTable(m.tables[PacketSize:], PIDMap, pmt)
}

// appendStream appends a stream of the PMT, with a registration descriptor
// where the stream type alone is not known to all.
// appendStreams appends what the map says of each stream: the languages of sounds only if
// there is room for all, and for who is passed everything.
func (m *Muxer) appendStreams(pmt []byte) []byte {
	with := func(languages bool) (b []byte) {
		b = pmt
		for i := range m.outs {
			t, at := m.outs[i].track, len(b)
			if b = appendStream(b, t, m.outs[i].pid); languages && t.Kind == media.Audio && isLanguage(t.Lang) {
				b = append(append(append(b, tagLanguage, 4), t.Lang...), 0)
				b[at+4] += 6
			}
		}
		for i := range m.data {
			b = m.data[i].appendEntry(b)
		}
		return b
	}
	all := with(false)
	n := 0
	for _, o := range m.outs {
		if o.track.Kind == media.Audio && isLanguage(o.track.Lang) {
			n += 6
		}
	}
	if !m.passing || n == 0 || len(all)+n > mapRoom {
		return all
	}
	return with(true)
}

// mapRoom is how long a map may be, without its checksum.
const mapRoom = PacketSize - 5 - 4

func appendStream(dst []byte, t *media.Track, pid uint16) []byte {
	name := ""
	switch t.Codec {
	case media.H265:
		name = "HEVC"
	case media.AC3:
		name = "AC-3"
	case media.EAC3:
		name = "EAC3"
	case media.Opus:
		dst = append(dst, typePrivate, 0xe0|byte(pid>>8), byte(pid), 0xf0, 10, tagRegistration, 4)
		return append(append(dst, "Opus"...), tagExtension, 2, extensionOpus, byte(max(1, t.Channels)))
	}
	dst = append(dst, streamType(t), 0xe0|byte(pid>>8), byte(pid), 0xf0)
	if name == "" {
		return append(dst, 0)
	}
	return append(append(dst, 6, 5, 4), name...)
}

// putTable writes a section into a packet, with checksum and stuffing.
func putTable(packet []byte, pid uint16, section []byte) {
	b := append(packet[:0], 0x47, 0x40|byte(pid>>8), byte(pid), 0x10, 0)
	b = append(b, section...)
	sum := checksum(section)
	b = append(b, byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	for len(b) < PacketSize {
		b = append(b, 0xff)
	}
}

// checksum is the CRC of annex A.
func checksum(b []byte) uint32 {
	sum := ^uint32(0)
	for _, c := range b {
		sum ^= uint32(c) << 24
		for range 8 {
			if sum&0x80000000 != 0 {
				sum = sum<<1 ^ 0x04c11db7
			} else {
				sum <<= 1
			}
		}
	}
	return sum
}
