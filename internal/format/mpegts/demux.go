package mpegts

import (
	"bytes"
	"encoding/binary"
	"strings"
	"time"

	"weir/internal/format/elementary"
	"weir/internal/media"
	"weir/internal/media/opus"
)

// Limits of a Demuxer.
const (
	// maxPES bounds a packet of the elementary stream, which is a picture.
	maxPES = 8 << 20
	// bigPES is one whose memory is not kept.
	bigPES = 1 << 20
	// maxSection is the longest section of PAT and PMT, with its head.
	maxSection = 1024
	// maxStreams is how many streams of a program are looked at.
	maxStreams = 32
)

// A Demuxer turns a transport stream into frames: those of the pictures and sounds that it
// knows, four and eight at most, of one program. It takes bytes cut anywhere, finds
// its place again after bytes that were lost or are no packets, and follows tables
// that change.
//
// Known are H.264, H.265, AAC with ADTS and in LATM, MP3, AC-3, E-AC-3 and Opus. Times are
// unwrapped over the 33 bits that the stream has for them. A Demuxer is for one
// goroutine; frames and their payloads are the caller's.
type Demuxer struct {
	// Program is the number of the program to take, 0 for the first one.
	Program uint16

	left    []byte // of a packet that is not all there
	mapPID  uint16 // 0 before a PAT has come
	pat     section
	pmt     section
	mapped  []byte // the PMT in force
	maps    int
	streams []*stream
	clock   media.Unwrapper
	at      time.Duration // of the newest packet with a time, for data that have none
	lost    uint64
}

// stream is one elementary stream of the program.
type stream struct {
	pid     uint16
	typ     byte
	video   *elementary.Video
	audio   *elementary.Audio
	opus    *media.Track
	data    *dataIn
	counter byte
	counted bool // counter is known
	pes     []byte
	open    bool // pes is being gathered
	size    int  // of the whole packet, 0 if it ends where the next begins
}

// id is the number of the track.
func (s *stream) id() uint8 {
	switch {
	case s.video != nil:
		return s.video.ID
	case s.audio != nil:
		return s.audio.ID
	case s.opus != nil:
		return s.opus.ID
	}
	return s.data.id
}

// section gathers a section of a table.
type section struct {
	b       []byte
	open    bool
	counter byte
}

// NewDemuxer returns a Demuxer of the first program.
func NewDemuxer() *Demuxer { return &Demuxer{clock: media.Unwrapper{Bits: 33, Rate: 90000}} }

// Data returns the tracks of data that the program has, whether frames of them have come
// or not. The slice is the Demuxer's until the next Feed.
func (d *Demuxer) Data() (all []*media.Track) {
	for _, s := range d.streams {
		if s.data != nil {
			all = append(all, s.data.track)
		}
	}
	return all
}

// Lost counts the packets that are known to have been lost, by their counters, and
// the places where the stream had to be found again.
func (d *Demuxer) Lost() uint64 { return d.lost }

// Feed takes bytes and appends the frames that are whole now. A picture may be
// known to be whole only when the next one begins.
func (d *Demuxer) Feed(dst []*media.Frame, b []byte) []*media.Frame {
	if len(d.left) > 0 {
		n := min(len(b), PacketSize-len(d.left))
		d.left = append(d.left, b[:n]...)
		b = b[n:]
		if len(d.left) < PacketSize {
			return dst
		}
		if d.left[0] == syncByte {
			dst = d.packet(dst, d.left)
			d.left = d.left[:0]
		} else { // what was kept is no packet: look in it, and in what follows
			again := append(bytes.Clone(d.left), b...)
			d.left = d.left[:0]
			return d.Feed(dst, d.resync(again))
		}
	}
	for len(b) >= PacketSize {
		if b[0] != syncByte {
			b = d.resync(b)
			continue
		}
		dst = d.packet(dst, b[:PacketSize])
		b = b[PacketSize:]
	}
	if len(b) > 0 && b[0] != syncByte {
		b = d.resync(b)
	}
	d.left = append(d.left[:0], b...)
	return dst
}

const syncByte = 0x47

// resync drops bytes up to one that may begin a packet, and, as far as can be seen,
// is followed by another one.
func (d *Demuxer) resync(b []byte) []byte {
	d.lost++
	for len(b) > 0 {
		i := bytes.IndexByte(b[1:], syncByte)
		if i < 0 {
			return nil
		}
		b = b[1+i:]
		if len(b) <= PacketSize || b[PacketSize] == syncByte {
			return b
		}
	}
	return nil
}

// Flush appends the frames that have not been known to be whole so far, at the end
// of the stream.
func (d *Demuxer) Flush(dst []*media.Frame) []*media.Frame {
	for _, s := range d.streams {
		dst = d.finish(dst, s)
	}
	return dst
}

// packet takes a packet (2.4.3.2).
func (d *Demuxer) packet(dst []*media.Frame, p []byte) []*media.Frame {
	pid := uint16(p[1]&0x1f)<<8 | uint16(p[2])
	if p[1]&0x80 != 0 || p[3]&0xc0 != 0 || p[3]&0x10 == 0 { // damaged, scrambled, or without payload
		return dst
	}
	start, counter := p[1]&0x40 != 0, p[3]&15
	body := p[4:]
	jump := false // the counter may jump (2.4.3.5)
	if p[3]&0x20 != 0 {
		n := int(body[0])
		if n >= len(body) {
			return dst
		}
		jump = n > 0 && body[1]&0x80 != 0
		body = body[1+n:]
	}
	switch {
	case pid == PIDTables:
		d.pat.add(body, start, counter, d.programs)
		return dst
	case pid == d.mapPID && d.mapPID != 0:
		d.pmt.add(body, start, counter, func(b []byte) { dst = d.program(dst, b) })
		return dst
	}
	for _, s := range d.streams {
		if s.pid == pid {
			return d.add(dst, s, body, start, counter, jump)
		}
	}
	return dst
}

// add takes the payload of a packet of a table; whole is told of sections that are
// whole and have the right checksum.
func (s *section) add(body []byte, start bool, counter byte, whole func([]byte)) {
	follows := counter == (s.counter+1)&15
	s.counter = counter
	if start {
		if len(body) == 0 || int(body[0]) >= len(body) {
			s.open = false
			return
		}
		body = body[1+int(body[0]):]
		s.b, s.open = s.b[:0], true
	} else if !s.open || !follows {
		s.open = false
		return
	}
	s.b = append(s.b, body...)
	if len(s.b) < 3 {
		return
	}
	size := 3 + (int(s.b[1]&0x0f)<<8 | int(s.b[2]))
	if size > maxSection || size < 12 {
		s.open = false
		return
	}
	if len(s.b) < size {
		return
	}
	s.open = false
	if b := s.b[:size]; checksum(b) == 0 && b[5]&1 != 0 { // of what is current
		whole(b[:size-4])
	}
}

// programs reads the PAT (2.4.4.3).
func (d *Demuxer) programs(b []byte) {
	if b[0] != 0 {
		return
	}
	for e := b[8:]; len(e) >= 4; e = e[4:] {
		number, pid := binary.BigEndian.Uint16(e), binary.BigEndian.Uint16(e[2:])&0x1fff
		if number == 0 || d.Program != 0 && number != d.Program {
			continue
		}
		if pid != d.mapPID {
			d.mapPID, d.pmt, d.mapped = pid, section{}, nil
		}
		return
	}
}

// program reads the PMT (2.4.4.8) and appends what the streams before it have left.
func (d *Demuxer) program(dst []*media.Frame, b []byte) []*media.Frame {
	if b[0] != 2 || len(b) < 12 || bytes.Equal(b, d.mapped) {
		return dst
	}
	if d.Program != 0 && binary.BigEndian.Uint16(b[3:]) != d.Program {
		return dst
	}
	d.mapped = bytes.Clone(b)
	skip := int(binary.BigEndian.Uint16(b[10:])) & 0x0fff
	if 12+skip > len(b) {
		return dst
	}
	var now []*stream
	var videos, audios, data uint8
	for e := b[12+skip:]; len(e) >= 5 && len(now) < maxStreams; {
		n := int(binary.BigEndian.Uint16(e[3:])) & 0x0fff
		if 5+n > len(e) {
			break
		}
		typ, pid, descriptors := e[0], binary.BigEndian.Uint16(e[1:])&0x1fff, e[5:5+n]
		s := newStream(typ, pid, descriptors)
		if lang := languageOf(descriptors); s != nil && s.audio != nil {
			s.audio.Lang = lang
		} else if s != nil && s.opus != nil {
			s.opus.Lang = lang
		}
		e = e[5+n:]
		if s == nil && data < maxData && isData(typ) {
			s = &stream{pid: pid, typ: typ, data: newDataIn(typ, descriptors, data)}
			data++
			now = append(now, s)
			continue
		}
		switch {
		case s == nil, s.video != nil && videos == maxVideos, s.video == nil && audios == maxAudios:
			continue
		case s.video != nil:
			s.video.ID = videos
			videos++
		case s.audio != nil:
			s.audio.ID = audios
			audios++
		default:
			s.opus.ID = audios
			audios++
		}
		now = append(now, s)
	}
	// A stream that goes on keeps what it has.
	for i, s := range now {
		for _, old := range d.streams {
			if old.pid == s.pid && old.typ == s.typ && (old.opus == nil) == (s.opus == nil) && (old.data == nil) == (s.data == nil) && old.id() == s.id() {
				now[i] = old
			}
		}
	}
	for _, old := range d.streams {
		kept := false
		for _, s := range now {
			kept = kept || s == old
		}
		if !kept {
			dst = d.finish(dst, old)
		}
	}
	d.streams = now
	d.maps++
	return dst
}

// Maps counts the maps of the program that have come, each other than the one before.
func (d *Demuxer) Maps() int { return d.maps }

// isData reports whether a stream whose type has no codec of ours is one of data; others
// are pictures and sound that we do not know.
func isData(typ byte) bool {
	return typ == typePrivate || typ == typeSections || typ == typeMetadata || typ == typeSCTE35
}

// newStream returns a stream of a type, nil if it is none that we know.
func newStream(typ byte, pid uint16, descriptors []byte) *stream {
	s := &stream{pid: pid, typ: typ}
	audio := func(c media.Codec) *stream {
		s.audio = &elementary.Audio{Codec: c}
		return s
	}
	switch typ {
	case typeH264:
		s.video = &elementary.Video{Codec: media.H264}
		return s
	case typeH265:
		s.video = &elementary.Video{Codec: media.H265}
		return s
	case typeAAC:
		return audio(media.AAC)
	case typeLATM:
		audio(media.AAC).audio.LATM = true
		return s
	case typeMP3MPEG1, typeMP3MPEG2:
		return audio(media.MP3)
	case typeAC3:
		return audio(media.AC3)
	case typeEAC3:
		return audio(media.EAC3)
	case typePrivate:
		return private(s, descriptors, audio)
	}
	return nil
}

// typePrivate is the type of private data, whose descriptors say what it is.
const typePrivate = 0x06

// Descriptors (ISO/IEC 13818-1 2.6.8, EN 300 468 annex D, and for Opus
// the ETSI draft that everybody uses).
const (
	tagRegistration = 0x05
	tagLanguage     = 0x0a
	tagAC3          = 0x6a
	tagEAC3         = 0x7a
	tagExtension    = 0x7f
	extensionOpus   = 0x80
)

// languageOf returns the language that descriptors name (ISO 639-2), empty for none.
func languageOf(d []byte) string {
	for len(d) >= 2 && 2+int(d[1]) <= len(d) {
		if b := d[2 : 2+int(d[1])]; d[0] == tagLanguage && len(b) >= 3 && isLanguage(string(b[:3])) {
			return string(b[:3])
		}
		d = d[2+int(d[1]):]
	}
	return ""
}

func isLanguage(s string) bool {
	return len(s) == 3 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz") == ""
}

func private(s *stream, d []byte, audio func(media.Codec) *stream) *stream {
	isOpus, channels := false, 2
	for len(d) >= 2 && 2+int(d[1]) <= len(d) {
		tag, b := d[0], d[2:2+int(d[1])]
		d = d[2+int(d[1]):]
		switch {
		case tag == tagAC3:
			return audio(media.AC3)
		case tag == tagEAC3:
			return audio(media.EAC3)
		case tag == tagRegistration && len(b) >= 4:
			switch string(b[:4]) {
			case "AC-3":
				return audio(media.AC3)
			case "EAC3":
				return audio(media.EAC3)
			case "HEVC":
				s.video = &elementary.Video{Codec: media.H265}
				return s
			case "Opus":
				isOpus = true
			}
		case tag == tagExtension && len(b) >= 2 && b[0] == extensionOpus:
			channels = int(b[1])
		}
	}
	if !isOpus || channels < 1 || channels > 2 { // more have a mapping of their own
		return nil
	}
	head := opus.Head{Channels: channels, PreSkip: 312, InputRate: opus.Rate}
	s.opus = &media.Track{Kind: media.Audio, Codec: media.Opus, Config: head.Append(nil), SampleRate: opus.Rate, Channels: channels}
	return s
}

// add takes the payload of a packet of an elementary stream.
func (d *Demuxer) add(dst []*media.Frame, s *stream, body []byte, start bool, counter byte, jump bool) []*media.Frame {
	if s.counted && !jump && counter == s.counter {
		return dst // sent twice
	}
	if s.counted && !jump && counter != (s.counter+1)&15 {
		d.lost++
		// What has a gap is of no use: a picture would be shown broken.
		s.open = false
		if s.audio != nil {
			s.audio.Reset()
		}
	}
	s.counter, s.counted = counter, true
	if s.data != nil && isSections(s.typ) {
		s.data.add(body, start, counter, func(b []byte) { dst = append(dst, s.data.frame(s.typ, 0, b, d.at)) })
		return dst
	}
	if start {
		dst = d.finish(dst, s)
		if len(body) < 9 || body[0] != 0 || body[1] != 0 || body[2] != 1 {
			return dst
		}
		s.pes, s.open, s.size = s.pes[:0], true, 0
		if n := int(body[4])<<8 | int(body[5]); n > 0 {
			s.size = 6 + n
		}
	}
	if !s.open {
		return dst
	}
	if len(s.pes)+len(body) > maxPES || len(s.pes) > bigPES && d.held() > 2*maxPES {
		d.lost++
		s.open = false
		return dst
	}
	s.pes = append(s.pes, body...)
	if s.size > 0 && len(s.pes) >= s.size {
		s.pes = s.pes[:s.size]
		dst = d.finish(dst, s)
	}
	return dst
}

// held is how many bytes are being gathered.
func (d *Demuxer) held() (n int) {
	for _, s := range d.streams {
		n += cap(s.pes)
	}
	return n
}

// finish reads the packet of the elementary stream that was gathered (2.4.3.6).
func (d *Demuxer) finish(dst []*media.Frame, s *stream) []*media.Frame {
	if !s.open {
		return dst
	}
	s.open = false
	p := s.pes
	if cap(s.pes) > bigPES {
		s.pes = nil // one great picture does not hold the memory for ever
	}
	if s.size > 0 && len(p) < s.size || len(p) < 9 || p[6]&0xc0 != 0x80 || p[6]&0x30 != 0 {
		return dst
	}
	flags, head := p[7], int(p[8])
	if 9+head > len(p) {
		return dst
	}
	body := p[9+head:]
	var pts, dts time.Duration
	timed := flags&0x80 != 0 && head >= 5
	if timed {
		pts = d.clock.Unwrap(readTime(p[9:]))
		dts = pts
		if flags&0xc0 == 0xc0 && head >= 10 {
			dts = d.clock.Unwrap(readTime(p[14:]))
		}
		if s.data == nil {
			d.at = dts
		}
	}
	switch {
	case s.data != nil && len(body) > 0:
		if !timed {
			pts = d.at
		}
		return append(dst, s.data.frame(s.typ, p[3], body, pts))
	case s.video != nil && timed:
		return s.video.Append(dst, body, dts, pts-dts)
	case s.audio != nil:
		return s.audio.Append(dst, body, pts, timed)
	case s.opus != nil && timed:
		return opusFrames(dst, s.opus, body, pts)
	}
	return dst
}

func readTime(b []byte) uint64 {
	return uint64(b[0]>>1&7)<<30 | uint64(b[1])<<22 | uint64(b[2]>>1)<<15 | uint64(b[3])<<7 | uint64(b[4]>>1)
}

// opusFrames appends the packets of Opus, each behind its control header.
func opusFrames(dst []*media.Frame, t *media.Track, b []byte, pts time.Duration) []*media.Frame {
	for len(b) >= 3 && b[0] == 0x7f && b[1]&0xe0 == 0xe0 {
		flags, size := b[1], 0
		b = b[2:]
		for len(b) > 0 {
			n := b[0]
			size += int(n)
			b = b[1:]
			if n != 0xff {
				break
			}
		}
		skip := 0
		if flags&0x10 != 0 { // start_trim
			skip += 2
		}
		if flags&0x08 != 0 { // end_trim
			skip += 2
		}
		if flags&0x04 != 0 && skip < len(b) { // control_extension
			skip += 1 + int(b[skip])
		}
		if size == 0 || skip+size > len(b) {
			return dst
		}
		packet := b[skip : skip+size]
		b = b[skip+size:]
		d := opus.Duration(packet)
		if d == 0 {
			return dst
		}
		dst = append(dst, &media.Frame{Track: t, Source: pts, Payload: bytes.Clone(packet)})
		pts += d
	}
	return dst
}
