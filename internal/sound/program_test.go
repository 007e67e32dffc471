package sound

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
)

// lineOf is NewProgram of a program by its path.
func lineOf(path string, argv []string, from *media.Track, to Target, emit func(*media.Frame), fail func(error)) (*Line, error) {
	track := programTrack(from, to)
	p, err := newProgram(path, argv, from, track, emit)
	if err != nil {
		return nil, err
	}
	return newLine(track, p, fail), nil
}

// What a program says comes out with the times of what it was given, and nothing after
// Close; it is not in the way while it does not read.
func TestProgram(t *testing.T) {
	track, packets := aacOf(t, 48000, 2, tone(48000, 2, 440, time.Second))
	got := make(chan *media.Frame, 1000)
	l, err := lineOf("/bin/cat", []string{"cat"}, track, Target{Codec: media.AAC}, func(f *media.Frame) { got <- f }, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	const began, shift = 30 * time.Hour, time.Second // beyond what 33 bits hold
	at := func(i int) time.Duration { return began + samplesTime(int64(i)*1024, 48000) }
	for i, p := range packets {
		l.Write(&media.Frame{Track: track, DTS: at(i), Source: at(i) + shift, Payload: p})
	}
	for i, p := range packets {
		f := <-got
		if d := f.DTS - at(i); d.Abs() > time.Millisecond || string(f.Payload) != string(p) || f.Track != l.Track() || f.Source != f.DTS+shift {
			t.Fatalf("packet %d is %v off, %d bytes of %d", i, d, len(f.Payload), len(p))
		}
	}
	l.Close()
	l.Write(&media.Frame{Track: track, DTS: began, Payload: packets[0]})
	if len(got) != 0 || l.Lost() != 0 {
		t.Errorf("%d frames after the end, %d lost", len(got), l.Lost())
	}
}

// One that is started again goes on, also where time has jumped.
func TestProgramEnds(t *testing.T) {
	track, packets := aacOf(t, 48000, 2, tone(48000, 2, 440, time.Second))
	got := make(chan *media.Frame, 1000)
	l, err := lineOf("/bin/sh", []string{"sh", "-c", "head -c 1880"}, track, Target{Codec: media.AAC}, func(f *media.Frame) { got <- f }, func(error) {})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	last := time.Duration(0)
	for i := 0; last < time.Hour; i++ {
		at := samplesTime(int64(i)*1024, 48000)
		if last > 0 {
			at += time.Hour
		}
		l.Write(&media.Frame{Track: track, DTS: at, Source: at, Payload: packets[i%len(packets)]})
		select {
		case f := <-got:
			last = f.DTS
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// One that cannot do it is given up, with what it said.
func TestProgramFails(t *testing.T) {
	track, packets := aacOf(t, 48000, 2, tone(48000, 2, 440, time.Second))
	failed := make(chan error, 1)
	l, err := lineOf("/bin/sh", []string{"sh", "-c", "echo Unknown encoder >&2; exit 1"}, track, Target{Codec: media.Opus}, func(*media.Frame) {}, func(err error) { failed <- err })
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for {
		l.Write(&media.Frame{Track: track, Payload: packets[1]})
		select {
		case err := <-failed:
			if !strings.Contains(err.Error(), "Unknown encoder") {
				t.Error(err)
			}
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Where there is no program that is told as such.
func TestNoProgram(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	six := &media.Track{Kind: media.Audio, Codec: media.AC3, Channels: 6}
	if _, err := NewProgram(six, Target{Codec: media.Opus}, nil, nil); !errors.Is(err, ErrNoProgram) {
		t.Error(err)
	}
}

// What turns out to be HE-AAC, as that of transport streams does, an ffmpeg goes on with;
// where there is none it is said what is missing.
func TestHEAACThatDoesNotSay(t *testing.T) {
	b, err := os.ReadFile("testdata/he.aac")
	if err != nil {
		t.Fatal(err)
	}
	c, _, _, err := aac.ParseADTS(b)
	if err != nil {
		t.Fatal(err)
	}
	track := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: c.Append(nil), SampleRate: c.SampleRate, Channels: c.Channels}
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	feed := func(l *Line, from time.Duration) time.Duration {
		for rest := b; len(rest) > 0; from += samplesTime(1024, c.SampleRate) {
			_, head, size, err := aac.ParseADTS(rest)
			if err != nil {
				t.Fatal(err)
			}
			l.Write(&media.Frame{Track: track, DTS: from, Source: from, Payload: rest[head:size]})
			rest = rest[size:]
		}
		return from
	}
	failed := make(chan error, 1)
	l, err := Open(track, Target{Codec: media.AAC}, func(*media.Frame) { t.Error("a frame came of nothing") }, func(err error) { failed <- err })
	if err != nil {
		t.Fatal(err)
	}
	feed(l, 0)
	if err := <-failed; !errors.Is(err, ErrUnsupported) || !errors.Is(err, ErrNoProgram) {
		t.Error(err)
	}
	l.Close()

	if err := os.WriteFile(filepath.Join(dir, "ffmpeg"), []byte("#!/bin/sh\nexec /bin/cat\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	got := make(chan *media.Frame, 1000)
	if l, err = Open(track, Target{Codec: media.AAC}, func(f *media.Frame) { got <- f }, func(err error) { t.Error(err) }); err != nil {
		t.Fatal(err)
	}
	end := feed(l, time.Hour)
	for i := range 10 {
		f := <-got
		want := time.Hour + samplesTime(int64(strangeMost+i)*1024, c.SampleRate)
		if d := f.DTS - want; d.Abs() > time.Millisecond || f.Track != l.Track() {
			t.Errorf("packet %d is at %v, want %v", i, f.DTS, want)
		}
	}
	feed(l, end)
	l.Close()
}
