package slate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/media/aac"
)

const (
	// stillEvery is how often the last picture is sent again: players start with it, and
	// segments with each.
	stillEvery = time.Second
	// soundEvery is how often silence is sent, as much as is due.
	soundEvery = 100 * time.Millisecond
	// fileMost bounds a slate's file, in bytes, and framesMost what is in it.
	fileMost   = 64 << 20
	framesMost = 100_000
)

// A show publishes until ctx is done.
type show func(ctx context.Context, p *hub.Publication)

// still shows the last key frame, with silence.
func (w *watch) still() show {
	return func(ctx context.Context, p *hub.Publication) {
		silence, step := silenceOf(w.sound)
		if w.picture != nil {
			p.Announce(w.picture.Track)
		}
		if silence != nil {
			p.Announce(w.sound)
		}
		tick := time.NewTicker(soundEvery)
		defer tick.Stop()
		began := time.Now()
		var pictured, sounded time.Duration
		for {
			now := time.Since(began)
			if w.picture != nil && pictured <= now {
				p.Write(&media.Frame{Track: w.picture.Track, Source: pictured, CTO: w.picture.CTO, Key: true, Payload: w.picture.Payload})
				pictured += stillEvery
			}
			for ; silence != nil && sounded <= now; sounded += step {
				p.Write(&media.Frame{Track: w.sound, Source: sounded, Payload: silence})
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}
}

// silenceOf returns a frame of silence as a track has them, and how long it lasts; nil if
// none is known.
func silenceOf(t *media.Track) (frame []byte, lasts time.Duration) {
	if t == nil {
		return nil, 0
	}
	lasts = mp4.FrameDuration(&media.Frame{Track: t})
	switch t.Codec {
	case media.AAC:
		if c, err := aac.ParseConfig(t.Config); err == nil && c.Type == aac.TypeLC {
			frame = silentAAC[c.Channels]
		}
	case media.Opus:
		// Nothing is heard in a packet of CELT that has nothing but its header (RFC 6716 3.1):
		// full band, 20 ms.
		return []byte{0xfc, 0xff, 0xfe}, 20 * time.Millisecond
	case media.PCMA:
		return repeated(0xd5, t), 20 * time.Millisecond
	case media.PCMU:
		return repeated(0xff, t), 20 * time.Millisecond
	}
	if frame == nil || lasts <= 0 {
		return nil, 0
	}
	return frame, lasts
}

// repeated is 20 ms of one sample of G.711.
func repeated(sample byte, t *media.Track) []byte {
	b := make([]byte, max(t.SampleRate, 8000)/50*max(t.Channels, 1))
	for i := range b {
		b[i] = sample
	}
	return b
}

// silentAAC are raw data blocks of AAC-LC in which all spectra are zero, by the number of
// channels (ISO/IEC 14496-3 4.4.2.1).
var silentAAC = map[int][]byte{
	1: {0x01, 0x18, 0x20, 0x07},
	2: {0x21, 0x10, 0x04, 0x60, 0x8c, 0x1c},
}

// A loop is a file that is shown over and over.
type loop struct {
	modified time.Time
	frames   []*media.Frame
	lasts    time.Duration
}

// file reads a slate, or returns what was read of it before.
func (s *server) file(path string) (*loop, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l := s.files[path]; l != nil && l.modified.Equal(st.ModTime()) {
		return l, nil
	}
	if st.Size() > fileMost {
		return nil, fmt.Errorf("%s has %d MB, %d are the most for a slate", path, st.Size()>>20, fileMost>>20)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := readLoop(io.LimitReader(f, fileMost))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	l.modified = st.ModTime()
	if s.files == nil {
		s.files = map[string]*loop{}
	}
	s.files[path] = l
	return l, nil
}

// readLoop reads an FLV file.
func readLoop(r io.Reader) (*loop, error) {
	in, tags := flv.Ingest{}, flv.NewReader(r)
	l := &loop{}
	for {
		tag, err := tags.ReadTag()
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // one that was cut short is shown as far as it goes
			return l, l.check()
		case err != nil:
			return nil, err
		}
		kind, ok := flv.KindOf(tag.Type)
		if !ok {
			continue
		}
		// Of a broken frame the others are shown.
		l.frames, _ = in.Frames(l.frames, kind, time.Duration(tag.Timestamp)*time.Millisecond, tag.Body)
		if len(l.frames) > framesMost {
			return nil, fmt.Errorf("it has more than %d frames", framesMost)
		}
	}
}

// check finds how long the file is, and whether it can be shown.
func (l *loop) check() error {
	if len(l.frames) == 0 {
		return errors.New("there is no frame in it; it must be FLV")
	}
	first := l.frames[0].Source
	for _, f := range l.frames {
		f.Source = max(f.Source-first, 0)
		l.lasts = max(l.lasts, f.Source+max(mp4.FrameDuration(f), 20*time.Millisecond))
	}
	for _, f := range l.frames {
		if f.Track.Kind == media.Video && !f.Key {
			return errors.New("its picture does not begin with a key frame")
		}
		if f.Track.Kind == media.Video {
			break
		}
	}
	return nil
}

// play shows the file over and over.
func (l *loop) play(ctx context.Context, p *hub.Publication) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	began := time.Now()
	for round := time.Duration(0); ; round += l.lasts {
		for _, f := range l.frames {
			at := round + f.Source
			if wait := at - time.Since(began); wait > 0 {
				timer.Reset(wait)
				select {
				case <-timer.C:
				case <-ctx.Done():
					return
				}
			}
			if ctx.Err() != nil {
				return
			}
			p.Write(&media.Frame{Track: f.Track, Source: at, CTO: f.CTO, Key: f.Key, Payload: f.Payload})
		}
	}
}
