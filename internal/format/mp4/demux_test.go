package mp4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// What was recorded is read again, sample by sample in the order of time.
func TestDemuxer(t *testing.T) {
	b, _, _ := movieOf(t, 40)
	done := finish(t, b)
	d, err := NewDemuxer(bytes.NewReader(done), int64(len(done)))
	if err != nil {
		t.Fatal(err)
	}
	want := tracks(t)
	for range 2 {
		for i := range 80 {
			f, err := d.Next()
			if err != nil {
				t.Fatal(err)
			}
			n := i / 2
			kind, payload, at, cto := want["h264"], fmt.Sprintf("v%03d", n), time.Duration(n)*40*time.Millisecond, time.Duration(n%3)*40*time.Millisecond
			if i%2 == 1 {
				kind, payload, at, cto = want["aac"], fmt.Sprintf("a%d", n), at+5*time.Millisecond, 0
			}
			if !f.Track.Same(kind) && f.Track.Codec != kind.Codec || !bytes.Equal(f.Track.Config, kind.Config) {
				t.Fatalf("frame %d is of %+v, want %+v", i, f.Track, kind)
			}
			if string(f.Payload) != payload || f.Source.Round(time.Millisecond) != at || f.CTO != cto || f.Key != (i%2 == 0 && n%10 == 0) {
				t.Fatalf("frame %d is %q at %v, shown %v later, key %v; want %q at %v, %v", i, f.Payload, f.Source, f.CTO, f.Key, payload, at, cto)
			}
		}
		if _, err := d.Next(); err != io.EOF {
			t.Fatalf("behind the last: %v", err)
		}
		if end := d.End().Round(time.Millisecond); end != 1593*time.Millisecond {
			t.Errorf("it ends at %v", end)
		}
		if err := d.Rewind(); err != nil {
			t.Fatal(err)
		}
	}
	for name, bad := range map[string][]byte{"nothing": nil, "text": []byte(strings.Repeat("no film ", 100)), "one of fragments": b} {
		if _, err := NewDemuxer(bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDemuxer(f *testing.F) {
	b, _, _ := movieOf(f, 15)
	done := finish(f, b)
	f.Add(done)
	f.Add(done[:len(done)-20])
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := NewDemuxer(bytes.NewReader(b), int64(len(b)))
		for n := 0; err == nil && n < 1000; n++ {
			_, err = d.Next()
		}
	})
}
