package mp4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"weir/internal/media"
	"weir/internal/media/opus"
)

// ErrFile means that a file is no MP4 that can be read: it is damaged, has no tables
// of its samples (as one that is fragmented), or no track of a codec that is known.
var ErrFile = errors.New("mp4: no file that can be read")

const (
	// maxTables bounds the moov of a file that is read: a day of sound and picture.
	maxTables = 256 << 20
	// maxSample bounds one sample.
	maxSample = 64 << 20
	// maxDepth bounds how boxes are nested.
	maxDepth = 8
)

// A Demuxer reads the frames of an ordinary MP4 file, the first track of picture and
// the first of sound, in the order of their decoding times. It keeps the tables of the
// samples in memory, and reads the samples when it comes to them. It is for one
// goroutine.
type Demuxer struct {
	r      io.ReaderAt
	size   int64
	tracks []*shelf
}

// A shelf is where the samples of one track are.
type shelf struct {
	track *media.Track
	scale int64 // ticks in a second
	shift int64 // to add to its times, in ticks

	sizes, chunks, keys []byte // the tables, without their heads
	same                uint32 // size of all samples, 0 if there is a table
	wide                bool   // offsets have 64 bits
	steps, shifts, runs []byte // stts, ctts, stsc
	total               int
	hasKeys             bool

	// Where it is.
	n          int   // sample
	dts        int64 // of it
	offset     int64 // of it
	inChunk    uint32
	chunk      int
	perChunk   uint32
	run        int
	step, left uint32 // of stts
	cts, more  uint32 // of ctts
	stepAt     int
	shiftAt    int
	keyAt      int
}

// NewDemuxer reads the tables of a file. The error wraps [ErrFile].
func NewDemuxer(r io.ReaderAt, size int64) (*Demuxer, error) {
	d := &Demuxer{r: r, size: size}
	for at := int64(0); ; {
		name, n, ok := boxAt(r, size, at)
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: it has no moov", ErrFile)
		case name != "moov":
			at += n
			continue
		case n > maxTables:
			return nil, fmt.Errorf("%w: its moov has %d bytes", ErrFile, n)
		}
		b, ok := read(r, at, n)
		if !ok {
			return nil, fmt.Errorf("%w: it breaks off", ErrFile)
		}
		if err := d.moov(b[8:]); err != nil {
			return nil, err
		}
		break
	}
	if len(d.tracks) == 0 {
		return nil, fmt.Errorf("%w: it has no track that is known, with samples", ErrFile)
	}
	return d, d.Rewind()
}

// Tracks returns the tracks that are read.
func (d *Demuxer) Tracks() (all []*media.Track) {
	for _, s := range d.tracks {
		all = append(all, s.track)
	}
	return all
}

// Rewind goes back to the beginning.
func (d *Demuxer) Rewind() error {
	for _, s := range d.tracks {
		if err := s.rewind(); err != nil {
			return err
		}
	}
	return nil
}

// Next returns the next frame, with its time as Source, or io.EOF behind the last. Other
// errors wrap [ErrFile].
func (d *Demuxer) Next() (*media.Frame, error) {
	f, at, err := d.Spot()
	if f == nil {
		return nil, err
	}
	b, ok := read(d.r, at.Off, int64(at.Size))
	if !ok {
		return nil, fmt.Errorf("%w: it breaks off", ErrFile)
	}
	f.Payload = b
	return f, err
}

// Spot is Next without the frame's Payload: it tells where that lies.
func (d *Demuxer) Spot() (*media.Frame, Spot, error) {
	var s *shelf
	for _, o := range d.tracks {
		if o.n < o.total && (s == nil || o.at() < s.at()) {
			s = o
		}
	}
	if s == nil {
		return nil, Spot{}, io.EOF
	}
	at := Spot{s.offset, s.sizeOf(s.n)}
	if at.Size > maxSample || at.Off < 0 || at.Off > d.size-int64(at.Size) {
		return nil, Spot{}, fmt.Errorf("%w: sample %d of %v is not in it", ErrFile, s.n, s.track.Codec)
	}
	f := &media.Frame{Track: s.track, Source: s.at(), CTO: media.Duration(int64(int32(s.cts)), s.scale)}
	f.Key = s.track.Kind == media.Video && s.isKey()
	return f, at, s.advance(at.Size)
}

// End returns when what is behind the last frame that was read begins: the end of the
// longest track so far.
func (d *Demuxer) End() (end time.Duration) {
	for _, s := range d.tracks {
		end = max(end, s.at())
	}
	return end
}

// at is the decoding time of the sample where it is.
func (s *shelf) at() time.Duration { return media.Duration(s.dts+s.shift, s.scale) }

func (s *shelf) rewind() error {
	*s = shelf{track: s.track, scale: s.scale, shift: s.shift, sizes: s.sizes, chunks: s.chunks, keys: s.keys, same: s.same, wide: s.wide,
		steps: s.steps, shifts: s.shifts, runs: s.runs, total: s.total, hasKeys: s.hasKeys, chunk: -1, run: -1}
	s.nextStep()
	s.nextShift()
	return s.nextChunk()
}

func (s *shelf) sizeOf(n int) uint32 {
	if s.same > 0 {
		return s.same
	}
	return binary.BigEndian.Uint32(s.sizes[4*n:])
}

// isKey reports whether the sample is a sync sample: all are without a table.
func (s *shelf) isKey() bool {
	if !s.hasKeys {
		return true
	}
	for 4*s.keyAt < len(s.keys) && int64(binary.BigEndian.Uint32(s.keys[4*s.keyAt:])) < int64(s.n)+1 {
		s.keyAt++
	}
	return 4*s.keyAt < len(s.keys) && int64(binary.BigEndian.Uint32(s.keys[4*s.keyAt:])) == int64(s.n)+1
}

// advance goes to the sample behind one of a size.
func (s *shelf) advance(size uint32) error {
	s.dts += int64(s.step)
	s.n++
	if s.left--; s.left == 0 {
		s.nextStep()
	}
	if s.more--; s.more == 0 {
		s.nextShift()
	}
	s.offset += int64(size)
	if s.inChunk++; s.inChunk >= s.perChunk && s.n < s.total {
		return s.nextChunk()
	}
	return nil
}

// pair returns two numbers of a table; skips those runs that are of no sample.
func pair(b []byte, at *int) (count, value uint32) {
	for *at+8 <= len(b) && count == 0 {
		count, value = binary.BigEndian.Uint32(b[*at:]), binary.BigEndian.Uint32(b[*at+4:])
		*at += 8
	}
	return count, value
}

func (s *shelf) nextStep() { // a table that ends too early leaves the last step
	if count, value := pair(s.steps, &s.stepAt); count > 0 {
		s.left, s.step = count, value
	} else {
		s.left = math.MaxUint32
	}
}

func (s *shelf) nextShift() {
	s.more, s.cts = pair(s.shifts, &s.shiftAt)
	if s.more == 0 {
		s.more = math.MaxUint32
	}
}

func (s *shelf) nextChunk() error {
	s.chunk++
	s.inChunk = 0
	width := 4
	if s.wide {
		width = 8
	}
	if (s.chunk+1)*width > len(s.chunks) {
		return fmt.Errorf("%w: it has fewer chunks than samples need", ErrFile)
	}
	if s.wide {
		s.offset = int64(min(binary.BigEndian.Uint64(s.chunks[8*s.chunk:]), math.MaxInt64))
	} else {
		s.offset = int64(binary.BigEndian.Uint32(s.chunks[4*s.chunk:]))
	}
	for next := s.run + 1; 12*(next+1) <= len(s.runs) && int64(binary.BigEndian.Uint32(s.runs[12*next:])) <= int64(s.chunk)+1; next++ {
		s.run, s.perChunk = next, binary.BigEndian.Uint32(s.runs[12*next+4:])
	}
	if s.perChunk == 0 {
		return fmt.Errorf("%w: a chunk has no samples", ErrFile)
	}
	return nil
}

// moov takes the tracks of a file.
func (d *Demuxer) moov(b []byte) error {
	var scale int64
	return asFile(children(b, func(name string, _, body []byte) error {
		if name == "mvhd" {
			scale = clock(body)
		}
		if name != "trak" {
			return nil
		}
		p := &trak{movieScale: scale}
		if err := p.parse(body, 0); err != nil {
			return err
		}
		s, err := p.shelf()
		if err != nil || s == nil {
			return err
		}
		for _, o := range d.tracks {
			if o.track.Kind == s.track.Kind {
				return nil
			}
		}
		d.tracks = append(d.tracks, s)
		return nil
	}))
}

func asFile(err error) error {
	if err != nil && !errors.Is(err, ErrFile) {
		return fmt.Errorf("%w: %w", ErrFile, err)
	}
	return err
}

// trak are the boxes of a track, without their heads.
type trak struct {
	boxes      map[string][]byte
	movieScale int64 // ticks in a second of the movie's clock
}

func (p *trak) parse(b []byte, depth int) error {
	if p.boxes == nil {
		p.boxes = map[string][]byte{}
	}
	return children(b, func(name string, _, body []byte) error {
		switch name {
		case "mdia", "minf", "stbl", "edts":
			if depth < maxDepth {
				return p.parse(body, depth+1)
			}
		case "mdhd", "elst", "stsd", "stts", "ctts", "stsc", "stsz", "stco", "co64", "stss":
			p.boxes[name] = body
		}
		return nil
	})
}

// table returns what a box has behind its count, which it must have whole.
func (p *trak) table(name string, each int) ([]byte, error) {
	b := p.boxes[name]
	if len(b) < 8 {
		return nil, fmt.Errorf("%w: a track has no %s", ErrFile, name)
	}
	n := int64(binary.BigEndian.Uint32(b[4:])) * int64(each)
	if n > int64(len(b)-8) {
		return nil, fmt.Errorf("%w: %s breaks off", ErrFile, name)
	}
	return b[8 : 8+n], nil
}

// shelf makes the tables of a track usable; nil if it is of no known codec, or empty.
func (p *trak) shelf() (s *shelf, err error) {
	entry := p.boxes["stsd"]
	if len(entry) < 8 {
		return nil, nil
	}
	s = &shelf{}
	if err := children(entry[8:], func(name string, _, body []byte) error {
		if s.track == nil {
			s.track = sampleEntry(name, body)
		}
		return nil
	}); err != nil || s.track == nil {
		return nil, nil
	}
	if s.scale = clock(p.boxes["mdhd"]); s.scale == 0 {
		return nil, fmt.Errorf("%w: a track has no clock", ErrFile)
	}
	sizes := p.boxes["stsz"]
	if len(sizes) < 12 {
		return nil, fmt.Errorf("%w: a track has no stsz", ErrFile)
	}
	n := binary.BigEndian.Uint32(sizes[8:])
	switch s.same, s.sizes = binary.BigEndian.Uint32(sizes[4:]), sizes[12:]; {
	case n == 0:
		return nil, nil
	case n > maxSamples || s.same == 0 && int(n) > len(s.sizes)/4:
		return nil, fmt.Errorf("%w: stsz breaks off", ErrFile)
	}
	s.total = int(n)
	if s.steps, err = p.table("stts", 8); err != nil {
		return nil, err
	}
	if s.runs, err = p.table("stsc", 12); err != nil {
		return nil, err
	}
	if s.chunks, err = p.table("stco", 4); err != nil {
		if s.chunks, err = p.table("co64", 8); err != nil {
			return nil, err
		}
		s.wide = true
	}
	if p.boxes["ctts"] != nil {
		if s.shifts, err = p.table("ctts", 8); err != nil {
			return nil, err
		}
	}
	if p.boxes["stss"] != nil {
		if s.keys, err = p.table("stss", 4); err != nil {
			return nil, err
		}
		s.hasKeys = true
	}
	s.shift = p.shift(s.scale)
	return s, nil
}

// clock returns how many ticks a second has, by mdhd or mvhd.
func clock(b []byte) int64 {
	switch {
	case len(b) >= 24 && b[0] == 1:
		return int64(binary.BigEndian.Uint32(b[20:]))
	case len(b) >= 16:
		return int64(binary.BigEndian.Uint32(b[12:]))
	}
	return 0
}

// shift returns what an edit list adds to the times, in ticks of the track: an empty
// edit before the first sample, less what it leaves out of the beginning, which pictures
// out of order, or a coder of sound, need before the first that is shown.
func (p *trak) shift(scale int64) (shift int64) {
	const most = 24 * 3600 // seconds
	b := p.boxes["elst"]
	if len(b) < 8 {
		return 0
	}
	wide, n := b[0] == 1, binary.BigEndian.Uint32(b[4:])
	for b = b[8:]; n > 0; n-- {
		var lasts, at int64
		switch {
		case wide && len(b) >= 20:
			lasts, at, b = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[8:])), b[20:]
		case !wide && len(b) >= 12:
			lasts, at, b = int64(binary.BigEndian.Uint32(b)), int64(int32(binary.BigEndian.Uint32(b[4:]))), b[12:]
		default:
			return shift
		}
		if at >= 0 {
			return shift - min(at, most*scale)
		}
		if p.movieScale > 0 {
			shift += media.Ticks(media.Duration(max(0, min(lasts, most*p.movieScale)), p.movieScale), scale)
		}
	}
	return shift
}

// sampleEntry returns the track that an entry of stsd describes, nil if its codec is
// not known.
func sampleEntry(name string, b []byte) *media.Track {
	const video, audio = 78, 28 // what stands before the boxes of an entry
	t := &media.Track{Kind: media.Video}
	head := video
	switch name {
	case "avc1", "avc3":
		t.Codec = media.H264
	case "hvc1", "hev1":
		t.Codec = media.H265
	case "av01":
		t.Codec = media.AV1
	case "vp08":
		t.Codec = media.VP8
	case "vp09":
		t.Codec = media.VP9
	case "mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3":
		t.Kind, head = media.Audio, audio
	default:
		return nil
	}
	if len(b) < head {
		return nil
	}
	if t.Kind == media.Video {
		t.Width, t.Height = int(binary.BigEndian.Uint16(b[24:])), int(binary.BigEndian.Uint16(b[26:]))
	} else {
		t.Channels, t.SampleRate = int(binary.BigEndian.Uint16(b[16:])), int(binary.BigEndian.Uint16(b[24:]))
		switch binary.BigEndian.Uint16(b[8:]) { // QuickTime's longer heads
		case 1:
			head += 16
		case 2:
			head += 36
		}
		if len(b) < head {
			return nil
		}
	}
	switch name {
	case ".mp3":
		t.Codec = media.MP3
	case "ac-3":
		t.Codec = media.AC3
	case "ec-3":
		t.Codec = media.EAC3
	}
	children(b[head:], func(name string, _, body []byte) error { configure(t, name, body); return nil })
	if t.Codec == 0 || len(t.Config) == 0 && t.Codec != media.MP3 && t.Codec != media.AC3 && t.Codec != media.EAC3 {
		return nil
	}
	return t
}

// configure takes the box of an entry that says how to decode.
func configure(t *media.Track, name string, b []byte) {
	switch name {
	case "avcC", "hvcC", "av1C":
		t.Config = b
	case "vpcC", "dfLa":
		if len(b) < 4 {
			return
		}
		b = b[4:]
		if name == "vpcC" {
			t.Config = b
			return
		}
		if t.Codec = media.FLAC; len(b) >= 4+34 {
			t.Config = b[4 : 4+34] // STREAMINFO comes first
		}
	case "dOps":
		t.Codec = media.Opus
		if len(b) < 11 {
			return
		}
		h := opus.Head{Channels: int(b[1]), PreSkip: int(binary.BigEndian.Uint16(b[2:])), InputRate: int(binary.BigEndian.Uint32(b[4:])),
			Gain: int16(binary.BigEndian.Uint16(b[8:])), Family: b[10]}
		if rest := b[11:]; h.Family != 0 && len(rest) >= 2+h.Channels {
			h.Streams, h.Coupled, h.Mapping = rest[0], rest[1], rest[2:2+h.Channels]
		}
		t.Config = h.Append(nil)
		t.SampleRate = 48000
	case "esds":
		if len(b) > 4 {
			descriptor(t, b[4:], 0)
		}
	}
}

// descriptor takes a descriptor of ISO/IEC 14496-1 and those in it.
func descriptor(t *media.Track, b []byte, depth int) {
	for len(b) >= 2 && depth < maxDepth {
		tag, n, at := b[0], 0, 1
		for ; at < len(b) && at <= 4; at++ {
			n = n<<7 | int(b[at]&0x7f)
			if b[at]&0x80 == 0 {
				at++
				break
			}
		}
		if n > len(b)-at {
			return
		}
		body := b[at : at+n]
		b = b[at+n:]
		switch tag {
		case 3: // of the stream
			if len(body) < 3 {
				return
			}
			skip, flags := 3, body[2]
			if flags&0x80 != 0 {
				skip += 2
			}
			if flags&0x40 != 0 {
				return // it is elsewhere
			}
			if flags&0x20 != 0 {
				skip += 2
			}
			if skip < len(body) {
				descriptor(t, body[skip:], depth+1)
			}
		case 4: // of the decoder
			if len(body) < 13 {
				return
			}
			switch body[0] {
			case objectAAC, 0x66, 0x67, 0x68:
				t.Codec = media.AAC
			case objectMP3, objectMPEG2:
				t.Codec = media.MP3
			}
			descriptor(t, body[13:], depth+1)
		case 5: // its configuration
			if t.Codec == media.AAC {
				t.Config = body
			}
		}
	}
}
