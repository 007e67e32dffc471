package dvr

import (
	"encoding/json"
	"errors"
	"io"
	"path"
	"time"

	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/media"
)

// A note is what a file says of itself, so that whoever finds it can tell of it.
type note struct {
	Vhost    string    `json:"vhost"`
	App      string    `json:"app"`
	Stream   string    `json:"stream"`
	Param    string    `json:"param,omitempty"`
	TcURL    string    `json:"tcUrl,omitempty"`
	Client   string    `json:"client_id,omitempty"`
	IP       string    `json:"ip,omitempty"`
	StreamID string    `json:"stream_id,omitempty"`
	Began    time.Time `json:"began"`
}

// text returns the note as it is kept. What a client said at length is left out.
func (n note) text() []byte {
	b, err := json.Marshal(n)
	if err == nil && len(b) > mp4.NoteLen {
		n.Param, n.TcURL = "", ""
		b, err = json.Marshal(n)
	}
	if err != nil || len(b) > mp4.NoteLen {
		return []byte("{}")
	}
	return b
}

// A tape is a file in the making. Its methods are called by one goroutine. After an
// error of add or flush it holds what it held before.
type tape interface {
	// add takes a frame, at a time of the file.
	add(f *media.Frame, at time.Duration) error
	// flush writes what add has gathered.
	flush() error
	// seal makes the file a whole one, and returns its duration.
	seal() (time.Duration, error)
	// takes reports whether frames of a layout may follow in the file.
	takes(l *media.Layout) bool
}

const (
	// pieceTime and pieceBytes are how much is gathered before it is written: what a
	// crash costs.
	pieceTime  = time.Second
	pieceBytes = 4 << 20
)

// file is what a recording is written to: an [os.File], or what a test has of one.
type file interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// disk is a file that only grows by what was written whole.
type disk struct {
	f   file
	end int64
}

func (d *disk) append(b []byte) error {
	n, err := d.f.WriteAt(b, d.end)
	if err != nil {
		d.f.Truncate(d.end) // half a piece is of no use
		return err
	}
	d.end += int64(n)
	return nil
}

// fits reports whether a layout may follow another in a file: no track has become
// another. A track that is new is for the format to judge.
func fits(old, l *media.Layout) (ok, more bool) {
	for _, t := range l.Tracks {
		if t.Kind == media.Data {
			continue
		}
		switch o := old.Track(t.Kind, t.ID); {
		case o == nil:
			more = true
		case !o.Same(t):
			return false, more
		}
	}
	return true, more
}

// flvTape records FLV.
type flvTape struct {
	disk
	sheet  flv.Sheet
	layout *media.Layout
	buf    []byte
	since  time.Duration // time of the first frame in buf
	until  time.Duration // end of the newest frame
	safe   time.Duration // until, of what is written
}

func newFLV(f file, n note, l *media.Layout, room int) (*flvTape, error) {
	t := &flvTape{disk: disk{f: f}, sheet: flv.Sheet{Note: string(n.text()), Room: room, Audio: l.Main(media.Audio) != nil, Video: l.Main(media.Video) != nil}}
	if l.Meta != nil {
		if v, _, err := amf.Decode(l.Meta); err == nil {
			t.sheet.Meta, _ = amf.Properties(v)
		}
	}
	return t, t.append(flv.AppendSheet(nil, &t.sheet))
}

func (t *flvTape) takes(l *media.Layout) bool {
	if t.layout == nil {
		return true
	}
	ok, _ := fits(t.layout, l)
	return ok
}

func (t *flvTape) add(f *media.Frame, at time.Duration) error {
	if f.Track.Codec == media.TSData {
		return nil
	}
	if len(t.buf) > 0 && (at-t.since >= pieceTime || len(t.buf) >= pieceBytes) {
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(t.buf) == 0 {
		t.since = at
	}
	if f.Layout != t.layout {
		t.buf = t.appendHeaders(t.buf, f.Layout, at)
		t.layout = f.Layout
	}
	if f.Key && f.Track == f.Layout.Main(media.Video) {
		t.sheet.Keys = append(t.sheet.Keys, flv.Entry{At: at, Off: t.end + int64(len(t.buf))})
	}
	t.buf = flv.AppendFrameTag(t.buf, f, flv.Timestamp(at))
	if f.Track.Kind != media.Data {
		t.until = max(t.until, at+mp4.FrameDuration(f))
	}
	return nil
}

// appendHeaders appends the sequence headers that are new.
func (t *flvTape) appendHeaders(dst []byte, l *media.Layout, at time.Duration) []byte {
	for _, tr := range l.Tracks {
		if t.layout.Track(tr.Kind, tr.ID).Same(tr) {
			continue
		}
		if body, ok := flv.AppendConfigBody(nil, tr); ok {
			dst = flv.AppendTag(dst, flv.Type(tr.Kind), flv.Timestamp(at), body)
		}
	}
	return dst
}

func (t *flvTape) flush() error {
	err := t.append(t.buf)
	if err != nil { // the list must not name what is not there
		for n := len(t.sheet.Keys); n > 0 && t.sheet.Keys[n-1].Off >= t.end; n-- {
			t.sheet.Keys = t.sheet.Keys[:n-1]
		}
	} else {
		t.safe = t.until
	}
	t.buf = t.buf[:0]
	return err
}

func (t *flvTape) seal() (time.Duration, error) {
	t.sheet.Size, t.sheet.Duration = t.end, t.safe
	_, err := t.f.WriteAt(flv.AppendSheet(nil, &t.sheet), 0)
	return t.safe, err
}

// mp4Tape records MP4.
type mp4Tape struct {
	disk
	layout *media.Layout // of the beginning
	seq    uint32
	frames []*media.Frame
	bytes  int
	until  time.Duration // end of the newest frame
	safe   time.Duration // until, of what is written
}

func newMP4(f file, n note, l *media.Layout) (*mp4Tape, error) {
	head, err := mp4.AppendMovie(nil, l, n.text())
	if err != nil {
		return nil, err
	}
	t := &mp4Tape{disk: disk{f: f}, layout: l}
	return t, t.append(head)
}

func (t *mp4Tape) takes(l *media.Layout) bool {
	ok, more := fits(t.layout, l)
	if !more {
		return ok
	}
	for _, tr := range l.Tracks {
		if t.layout.Track(tr.Kind, tr.ID) == nil && mp4.Supported(tr) {
			return false // the beginning says which tracks there are
		}
	}
	return ok
}

func (t *mp4Tape) add(f *media.Frame, at time.Duration) error {
	if !mp4.Supported(f.Track) {
		return nil
	}
	own := &media.Frame{Layout: f.Layout, Track: f.Track, DTS: at, Prev: at - (f.DTS - f.Prev), CTO: f.CTO, Key: f.Key, Payload: f.Payload}
	if len(t.frames) > 0 && (at-t.frames[0].DTS >= pieceTime || t.bytes >= pieceBytes) {
		if err := t.piece([]*media.Frame{own}); err != nil {
			return err
		}
	}
	t.frames = append(t.frames, own)
	t.bytes += len(f.Payload) + 64
	t.until = max(t.until, at+mp4.FrameDuration(own))
	return nil
}

// piece writes a fragment, which next follows.
func (t *mp4Tape) piece(next []*media.Frame) error {
	t.seq++
	err := t.append(mp4.AppendFragment(make([]byte, 0, mp4.FragmentSize(t.frames)), t.seq, t.frames, next))
	clear(t.frames)
	t.frames, t.bytes = t.frames[:0], 0
	if err == nil {
		t.safe = t.until
	}
	return err
}

func (t *mp4Tape) flush() error {
	if len(t.frames) == 0 {
		return nil
	}
	return t.piece(nil)
}

func (t *mp4Tape) seal() (time.Duration, error) {
	if t.safe == 0 {
		return 0, nil
	}
	return t.safe, finishMP4(t.f, t.end)
}

// finishMP4 makes an ordinary file of one that is in fragments. If there is no room
// for that it stays one in fragments, which is whole too.
func finishMP4(f file, size int64) error {
	moov, end, err := mp4.Finish(nil, f, size)
	if err != nil {
		return err
	}
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err := f.WriteAt(moov, end); err != nil {
		return errors.Join(err, f.Truncate(end))
	}
	_, err = f.WriteAt(mp4.AppendLid(nil, end), mp4.LidAt)
	return err
}

// newTape begins a file of a layout.
func newTape(f file, name string, n note, l *media.Layout, room int) (tape, error) {
	if path.Ext(name) == ".mp4" {
		return newMP4(f, n, l)
	}
	return newFLV(f, n, l, room)
}
