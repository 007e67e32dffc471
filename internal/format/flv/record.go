package flv

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weir/internal/format/amf"
	"weir/internal/media"
)

// A Sheet is the metadata of a recording. It stands at the beginning of the file,
// and is written once before and once behind what it describes, in the same number
// of bytes.
type Sheet struct {
	// Note is kept as it is, for whoever made the recording.
	Note string
	// Meta are the publisher's own properties.
	Meta amf.Object
	// Room is how many key frames may be listed. Of more, every second is, or every
	// fourth, and so on.
	Room int

	Audio, Video bool
	Duration     time.Duration
	Size         int64 // of the file, in bytes
	Keys         []Entry
}

// An Entry is a key frame of a file.
type Entry struct {
	At  time.Duration
	Off int64
}

// entryLen is how long an entry is in AMF0: two numbers.
const entryLen = 18

// ours are the properties that a Sheet makes; a publisher's do not stand.
var ours = map[string]bool{"recording": true, "duration": true, "filesize": true, "hasAudio": true, "hasVideo": true, "hasKeyframes": true, "canSeekToEnd": true,
	"keyframes": true, "filler": true, "lasttimestamp": true}

// maxMeta bounds the publisher's properties, in bytes of AMF0.
const maxMeta = 16 << 10

// AppendSheet appends the header of a file, and the script tag with its metadata.
// Sheets that differ in duration, size and keys only are of one length.
func AppendSheet(dst []byte, s *Sheet) []byte {
	dst = AppendFileHeader(dst, s.Audio, s.Video)
	keys := thin(s.Keys, s.Room)
	meta := s.Meta
	if len(amf.Append(nil, meta)) > maxMeta {
		meta = nil
	}
	list := amf.ECMAArray{{Key: "recording", Value: s.Note}, {Key: "duration", Value: s.Duration.Seconds()}, {Key: "filesize", Value: float64(s.Size)},
		{Key: "hasAudio", Value: s.Audio}, {Key: "hasVideo", Value: s.Video}, {Key: "hasKeyframes", Value: len(keys) > 0}, {Key: "canSeekToEnd", Value: true}}
	for _, p := range meta {
		switch p.Value.(type) {
		case float64, bool, string:
			if !ours[p.Key] {
				list = append(list, p)
			}
		}
	}
	positions, times := amf.StrictArray{}, amf.StrictArray{}
	for _, k := range keys {
		positions, times = append(positions, float64(k.Off)), append(times, k.At.Seconds())
	}
	list = append(list, amf.Property{Key: "keyframes", Value: amf.Object{{Key: "filepositions", Value: positions}, {Key: "times", Value: times}}},
		amf.Property{Key: "filler", Value: filler((s.Room - len(keys)) * entryLen)})
	return AppendTag(dst, TypeScript, 0, amf.AppendAll(nil, "onMetaData", list))
}

// stuffing is how long a string of the filler is with its head, in bytes; ffmpeg
// gives metadata up at one of a kilobyte.
const stuffing = 50 * entryLen

// filler is n bytes of what is not used, n being some entries.
func filler(n int) (a amf.StrictArray) {
	for ; n > 0; n -= stuffing {
		a = append(a, strings.Repeat(" ", min(n, stuffing)-3))
	}
	return a
}

// thin returns at most room of the keys, evenly.
func thin(keys []Entry, room int) []Entry {
	if room <= 0 {
		return nil
	}
	step := 1
	for len(keys) > room*step {
		step *= 2
	}
	if step == 1 {
		return keys
	}
	var out []Entry
	for i := 0; i < len(keys); i += step {
		out = append(out, keys[i])
	}
	return out
}

// ErrNote means that a file was not begun with [AppendSheet].
var ErrNote = errors.New("flv: no recording of ours")

// maxSheet bounds a sheet that is read, in bytes.
const maxSheet = 256 << 10

// ReadSheet reads the sheet of a file, and how long it is with the file's header.
// Keys are not read. The error is [ErrNote], or one of syntax.
func ReadSheet(r io.ReaderAt, size int64) (s *Sheet, n int64, err error) {
	var b [headerLen]byte
	if n, _ := r.ReadAt(b[:], 0); n < headerLen || string(b[:3]) != "FLV" {
		return nil, 0, ErrSyntax
	}
	p, ok := tagAt(r, size, headerLen)
	if !ok || p.typ != TypeScript || p.size > maxSheet {
		return nil, 0, ErrNote
	}
	body := make([]byte, p.size)
	if n, _ := r.ReadAt(body, p.off+tagHeaderLen); n < len(body) {
		return nil, 0, ErrNote
	}
	values, err := amf.DecodeAll(body)
	if err != nil || len(values) < 2 || values[0] != "onMetaData" {
		return nil, 0, ErrNote
	}
	o, _ := amf.Properties(values[1])
	note, ok := o.Get("recording").(string)
	fill, full := o.Get("filler").(amf.StrictArray)
	if !ok || !full {
		return nil, 0, ErrNote
	}
	s = &Sheet{Note: note}
	for _, f := range fill {
		text, _ := f.(string)
		s.Room += (len(text) + 3) / entryLen
	}
	if k, ok := amf.Properties(o.Get("keyframes")); ok {
		positions, _ := k.Get("filepositions").(amf.StrictArray)
		s.Room += len(positions)
	}
	s.Audio, s.Video = o.Get("hasAudio") == true, o.Get("hasVideo") == true
	seconds, _ := o.Number("duration")
	s.Duration = time.Duration(seconds * float64(time.Second))
	bytes, _ := o.Number("filesize")
	s.Size = int64(bytes)
	s.Meta = slices.DeleteFunc(slices.Clone(o), func(p amf.Property) bool { return ours[p.Key] })
	if got := int64(len(AppendSheet(nil, s))); got != p.end() {
		return nil, 0, fmt.Errorf("%w: its sheet is of another length", ErrNote)
	}
	return s, p.end(), nil
}

// Survey reads a file that was begun with [AppendSheet] and perhaps never finished,
// and returns its sheet as it should be, and where the last whole tag ends.
func Survey(r io.ReaderAt, size int64) (s *Sheet, end int64, err error) {
	s, end, err = ReadSheet(r, size)
	if err != nil {
		return nil, 0, err
	}
	s.Keys, s.Audio, s.Video = nil, false, false
	var last [3]survey // by kind
	for {
		p, ok := tagAt(r, size, end)
		if !ok {
			break
		}
		at := stampAt(r, end)
		end = p.end()
		if p.typ == TypeScript || p.isConfig() {
			continue
		}
		kind := &last[media.Audio]
		if p.typ == TypeVideo {
			kind = &last[media.Video]
			if p.isKey() {
				s.Keys = append(s.Keys, Entry{at, p.off})
			}
		}
		kind.add(at)
	}
	s.Audio, s.Video, s.Size = last[media.Audio].n > 0, last[media.Video].n > 0, end
	s.Duration = max(last[media.Audio].end(), last[media.Video].end())
	return s, end, nil
}

// survey is what is known of the times of one kind of tag.
type survey struct {
	n        int
	at, step time.Duration
}

func (s *survey) add(at time.Duration) {
	if s.n++; s.n > 1 && at > s.at {
		s.step = at - s.at
	}
	s.at = max(s.at, at)
}

func (s *survey) end() time.Duration { return s.at + s.step }

// stampAt reads the time of the tag at off.
func stampAt(r io.ReaderAt, off int64) time.Duration {
	var b [4]byte
	r.ReadAt(b[:], off+4)
	ms := binary.BigEndian.Uint32(b[:])>>8 | uint32(b[3])<<24
	return time.Duration(ms) * time.Millisecond
}
