package dvr

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store/past"
)

// A clip is a range of what was recorded of a stream, as one MP4 file. Nothing is encoded
// nor copied: its head is made for the answer, and the samples are read from the
// recordings as the client takes them.

const (
	clipPrefix, clipSuffix = "/api/v1/recordings/", "/clip"
	// clips is how many are served at a time: each keeps its head and the places of its
	// samples in memory, some 10 MB an hour.
	clips = 64
	// cuts is how many are made at a time, which takes three times as much.
	cuts = 2
)

// Why there is no clip.
var (
	errNoClip  = errors.New("nothing was recorded of that stream in that time")
	errChanged = errors.New("codecs or sizes change in that time, which one file cannot show; ask for a shorter time")
	errBusy    = errors.New("too many clips are being served, try again later")
)

// onClip answers the path of clips, for everybody who may play the stream.
func (s *server) onClip(w http.ResponseWriter, r *http.Request) bool {
	rest, ok := strings.CutPrefix(r.URL.Path, clipPrefix)
	name, yes := strings.CutSuffix(rest, clipSuffix)
	if !ok || !yes {
		return false
	}
	app, stream := path.Split(name)
	vhost, known := s.env.Conf.Load().Vhost(cmp.Or(r.URL.Query().Get("vhost"), service.VhostName(r)))
	if app = strings.TrimSuffix(app, "/"); app == "" || stream == "" || !known || !vhost.Enabled || !blocks.DVR.Of(vhost).Clips {
		return false
	}
	if blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "a clip is fetched with GET", http.StatusMethodNotAllowed)
		return true
	}
	key := hub.Key{Vhost: vhost.Name, App: app, Stream: stream}
	now := time.Now()
	start, err1 := past.ParseStart(r.URL.Query().Get("start"))
	end, err2 := past.ParseStart(cmp.Or(r.URL.Query().Get("end"), "0"))
	if err := errors.Join(err1, err2); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return true
	}
	from, until := start.Moment(now), end.Moment(now)
	if !from.Before(until) {
		http.Error(w, "end is not behind start", http.StatusBadRequest)
		return true
	}
	if most := blocks.DVR.Of(vhost).ClipMost; until.Sub(from) > most {
		http.Error(w, fmt.Sprintf("a clip has %v at most (dvr_clip_most)", most), http.StatusRequestEntityTooLarge)
		return true
	}
	s.serveClip(w, r, key, from, until)
	return true
}

// serveClip signs the client in and sends what it asks for.
func (s *server) serveClip(w http.ResponseWriter, r *http.Request, key hub.Key, from, until time.Time) {
	sess, err := s.env.Enter(r, "dvr", service.Asked(r, key, "dvr-play", ".mp4"))
	if err != nil {
		refuseClip(w, err)
		return
	}
	defer func() { sess.Close(nil) }()
	select {
	case s.clips <- struct{}{}:
		defer func() { <-s.clips }()
	default:
		refuseClip(w, errBusy)
		return
	}
	select {
	case s.cuts <- struct{}{}:
	case <-sess.Context().Done():
		refuseClip(w, context.Cause(sess.Context()))
		return
	case <-r.Context().Done():
		return
	}
	c, err := s.cut(sess.Context(), key, from, until)
	<-s.cuts
	if err != nil {
		refuseClip(w, err)
		return
	}
	defer c.Close()
	c.session = sess
	w.Header().Set("Content-Type", "video/mp4")
	w.Header().Set("ETag", c.tag)
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Disposition", fmt.Sprintf("inline; filename=%q", from.UTC().Format("20060102T150405Z")+".mp4"))
	http.ServeContent(w, r, "", time.Time{}, c)
}

func refuseClip(w http.ResponseWriter, err error) {
	status := http.StatusForbidden
	switch {
	case errors.Is(err, errNoClip):
		status = http.StatusNotFound
	case errors.Is(err, errChanged):
		status = http.StatusConflict
	case errors.Is(err, errBusy), errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		status = http.StatusServiceUnavailable
	case errors.Is(err, session.ErrBadName):
		status = http.StatusBadRequest
	}
	http.Error(w, err.Error(), status)
}

// between returns what was recorded of a stream in a time, the oldest first, with what is
// being recorded.
func (s *server) between(key hub.Key, from, until, now time.Time) (all []*recording) {
	for _, r := range s.list.of(key.Vhost) {
		if r.App == key.App && r.Stream == key.Stream && r.Began.Before(until) && r.ended().After(from) {
			all = append(all, r)
		}
	}
	if rec := s.recorder(key); rec != nil {
		if r := rec.now(); r != nil && r.Began.Before(until) && now.After(from) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, older)
	return all
}

// clip is the file as it is read: the head, then pieces of recordings.
type clip struct {
	head    []byte
	pieces  []mp4.Piece
	ends    []int64 // of the pieces, in the clip
	files   []*os.File
	tag     string
	at      int64
	ctx     context.Context
	session *session.Session // is told of the bytes; may be nil
}

// cut makes the clip of a time. The error is one that refuseClip knows, or of the disk.
func (s *server) cut(ctx context.Context, key hub.Key, from, until time.Time) (*clip, error) {
	c := &clip{ctx: ctx}
	e := &editor{c: c}
	sum := sha256.New()
	for _, r := range s.between(key, from, until, time.Now()) {
		f, size, err := r.open()
		if err != nil {
			continue // it was deleted meanwhile
		}
		c.files = append(c.files, f)
		fmt.Fprintln(sum, r.File, size, r.Active)
		if err := e.take(f, r.name, size, from.Sub(r.Began), until.Sub(r.Began)); err != nil {
			c.Close()
			return nil, err
		}
	}
	if e.cut == nil {
		c.Close()
		return nil, errNoClip
	}
	var err error
	if c.head, err = e.cut.Head(); err != nil {
		c.Close()
		return nil, errNoClip
	}
	c.pieces = e.cut.Pieces()
	c.ends = ends(c.head, c.pieces)
	fmt.Fprintln(sum, from.UnixMilli(), until.UnixMilli())
	c.tag = fmt.Sprintf(`"%x"`, sum.Sum(nil)[:12])
	return c, nil
}

// ends are where pieces end that follow a head.
func ends(head []byte, pieces []mp4.Piece) (all []int64) {
	end := int64(len(head))
	for _, p := range pieces {
		end += int64(p.Size)
		all = append(all, end)
	}
	return all
}

// open opens the file, which has [ending] while it is written.
func (r *recording) open() (*os.File, int64, error) {
	name := r.name
	if r.Active {
		name += ending
	}
	root, err := os.OpenRoot(r.dir)
	if err != nil {
		return nil, 0, err
	}
	defer root.Close()
	f, err := root.Open(filepath.FromSlash(name))
	if err != nil {
		return nil, 0, err
	}
	st, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, st.Size(), nil
}

// An editor puts the frames of files one behind the other.
type editor struct {
	c      *clip
	cut    *mp4.Cut
	layout *media.Layout
	end    time.Duration // of the pictures that there are, or of the sound
}

// found is a frame and where it lies.
type found struct {
	f  *media.Frame
	at mp4.Spot
}

// take adds what a file has between two times of its own.
func (e *editor) take(f *os.File, name string, size int64, from, until time.Duration) error {
	frames, err := frames(e.c.ctx, f, name, size, from, until)
	if err != nil || len(frames) == 0 {
		return err
	}
	if e.cut == nil {
		e.layout = &media.Layout{}
		for _, o := range frames {
			if e.layout.Main(o.f.Track.Kind) == nil && mp4.Supported(o.f.Track) {
				e.layout = e.layout.With(o.f.Track)
			}
		}
		if e.cut, err = mp4.NewCut(e.layout); err != nil {
			e.cut = nil
			return nil // nothing that MP4 carries
		}
	}
	// Files join where their pictures do: sound, whose frames are longer, overlaps a little.
	lead := e.layout.Main(media.Video)
	if lead == nil {
		lead = e.layout.Main(media.Audio)
	}
	begins, last := frames[0].f.Source, e.end
	for i := len(frames) - 1; i >= 0; i-- {
		if frames[i].f.Track.Kind == lead.Kind {
			begins = frames[i].f.Source
		}
	}
	before := map[*media.Track]time.Duration{}
	for _, o := range frames {
		t := e.layout.Main(o.f.Track.Kind)
		if t == nil || o.f.Track.ID != t.ID {
			continue
		}
		if !t.Same(o.f.Track) {
			return errChanged
		}
		o.f.DTS, o.f.Prev = o.f.Source, before[t]
		before[t] = o.f.Source
		at, lasts := last+o.f.Source-begins, mp4.FrameDuration(o.f)
		if err := e.cut.Add(t, at, lasts, o.f.CTO, o.f.Key, len(e.c.files)-1, o.at); err != nil {
			return err
		}
		if t == lead {
			e.end = at + lasts
		}
	}
	return nil
}

// frames lists those of a file between two times: from the last key frame at or before
// the first.
func frames(ctx context.Context, f io.ReaderAt, name string, size int64, from, until time.Duration) (all []found, err error) {
	if path.Ext(name) == ".flv" {
		err = flv.Spots(f, size, from, until, func(f *media.Frame, off int64) error {
			all = append(all, found{f, mp4.Spot{Off: off, Size: uint32(len(f.Payload))}})
			f.Payload = bytes.Clone(f.Payload[:min(len(f.Payload), 16)]) // enough to tell how long it lasts
			return ctx.Err()
		})
		if errors.Is(err, flv.ErrSyntax) {
			return nil, nil
		}
		return all, err
	}
	d, err := mp4.OpenMovie(f, size)
	if err != nil {
		return nil, nil // it holds nothing yet
	}
	video := slices.ContainsFunc(d.Tracks(), func(t *media.Track) bool { return t.Kind == media.Video })
	keyed := false
	for {
		f, at, err := d.Spot()
		switch {
		case f == nil && errors.Is(err, io.EOF), f != nil && f.Source >= until:
			return all, ctx.Err()
		case f == nil:
			return all, nil // what is behind it is damaged
		}
		if video && f.Key && (f.Source <= from || !keyed) {
			all, keyed = all[:0], true
		}
		if video && keyed || !video && f.Source >= from {
			all = append(all, found{f, at})
		}
		if err != nil || ctx.Err() != nil {
			return all, ctx.Err()
		}
	}
}

// size is how long the file is.
func (c *clip) size() int64 { return c.ends[len(c.ends)-1] }

// Seek implements io.Seeker.
func (c *clip) Seek(off int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		off += c.at
	case io.SeekEnd:
		off += c.size()
	}
	if off < 0 {
		return 0, errors.New("before the beginning")
	}
	c.at = off
	return off, nil
}

// Read implements io.Reader. A piece that is not there any more ends it.
func (c *clip) Read(b []byte) (n int, err error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	for n < len(b) {
		got := 0
		switch {
		case c.at < int64(len(c.head)):
			got = copy(b[n:], c.head[c.at:])
		case c.at >= c.size():
			if n == 0 {
				return 0, io.EOF
			}
			return c.told(n), nil
		default:
			i, _ := slices.BinarySearch(c.ends, c.at+1)
			p := c.pieces[i]
			left := c.ends[i] - c.at
			got, err = c.files[p.File].ReadAt(b[n:][:min(left, int64(len(b)-n))], p.Off+int64(p.Size)-left)
			if got == 0 {
				return c.told(n), cmp.Or(err, io.ErrUnexpectedEOF)
			}
		}
		n += got
		c.at += int64(got)
	}
	return c.told(n), nil
}

func (c *clip) told(n int) int {
	if c.session != nil {
		c.session.Count(0, n)
	}
	return n
}

// Close lets the files go.
func (c *clip) Close() {
	for _, f := range c.files {
		f.Close()
	}
}
