package mp4

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"time"

	"weir/internal/media"
)

// A cut of two recordings, of which one is still written, has their frames one behind
// the other.
func TestCut(t *testing.T) {
	b, _, _ := movieOf(t, 40)
	files := [][]byte{finish(t, bytes.Clone(b)), b}
	type shown struct {
		kind    media.Kind
		at, cto time.Duration
		key     bool
		payload string
	}
	var want []shown
	var c *Cut
	var layout *media.Layout
	for i, b := range files {
		d, err := OpenMovie(bytes.NewReader(b), int64(len(b)))
		if err != nil {
			t.Fatal(i, err)
		}
		if c == nil {
			layout = &media.Layout{}
			for _, tr := range d.Tracks() {
				layout = layout.With(tr)
			}
			if c, err = NewCut(layout); err != nil {
				t.Fatal(err)
			}
		}
		for {
			f, at, err := d.Spot()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			when := f.Source + time.Duration(i)*1600*time.Millisecond
			if err := c.Add(layout.Main(f.Track.Kind), when, 40*time.Millisecond, f.CTO, f.Key, i, at); err != nil {
				t.Fatal(err)
			}
			want = append(want, shown{f.Track.Kind, when.Round(time.Millisecond), f.CTO, f.Key, string(b[at.Off : at.Off+int64(at.Size)])})
		}
	}
	out, err := c.Head()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range c.Pieces() {
		out = append(out, files[p.File][p.Off:p.Off+int64(p.Size)]...)
	}
	d, err := NewDemuxer(bytes.NewReader(out), int64(len(out)))
	if err != nil {
		t.Fatal(err)
	}
	for i, w := range want {
		f, err := d.Next()
		if err != nil {
			t.Fatal(i, err)
		}
		got := shown{f.Track.Kind, f.Source, f.CTO, f.Key, string(f.Payload)}
		if got.at = got.at.Round(time.Millisecond); got != w {
			t.Fatalf("frame %d is %+v, want %+v", i, got, w)
		}
	}
	if _, err := d.Next(); err != io.EOF {
		t.Error(err)
	}
	if d.End() < 3200*time.Millisecond {
		t.Errorf("it lasts for %v", d.End())
	}
}

func TestCutOfNothing(t *testing.T) {
	if _, err := NewCut(&media.Layout{}); !errors.Is(err, ErrTracks) {
		t.Error(err)
	}
	l := (&media.Layout{}).With(tracks(t)["h264"])
	c, err := NewCut(l)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Head(); !errors.Is(err, ErrTracks) {
		t.Error(err)
	}
	// Of much the offsets are long.
	for i := range 5 {
		if err := c.Add(l.Tracks[0], time.Duration(i)*time.Second, time.Second, 0, true, i, Spot{9, 1 << 30}); err != nil {
			t.Fatal(err)
		}
	}
	head, err := c.Head()
	if err != nil || bytes.Contains(head, []byte("co64")) || !bytes.Contains(head, []byte("stco")) {
		t.Error(err, len(head)) // one chunk, which begins early
	}
}
