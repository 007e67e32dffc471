package pull

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/internal/media"
)

// What is no ordinary file of a known form is told, and not waited for.
func TestFileRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.flv")
	if err := os.WriteFile(text, make([]byte, 1000), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, dir, os.DevNull} {
		if err := File(t.Context(), nil, path, Options{}); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if err := File(t.Context(), nil, filepath.Join(dir, "missing"), Options{}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

// The next turn of a file begins when all that was in it is over, in decoding and on
// the screen; a kind that began later may end later.
func TestSpans(t *testing.T) {
	const ms = time.Millisecond
	video, audio := &media.Track{Kind: media.Video}, &media.Track{Kind: media.Audio}
	for name, c := range map[string]struct {
		shown []time.Duration // of pictures that are decoded each 40 ms
		sound []time.Duration
		want  time.Duration
	}{
		"pictures":         {[]time.Duration{0, 40 * ms, 80 * ms}, nil, 120 * ms},
		"sound is longer":  {[]time.Duration{0, 40 * ms, 80 * ms}, []time.Duration{0, 60 * ms, 120 * ms}, 180 * ms},
		"sound is later":   {[]time.Duration{0, 40 * ms, 80 * ms}, []time.Duration{60 * ms, 90 * ms, 120 * ms}, 120 * ms},
		"out of order":     {[]time.Duration{80 * ms, 160 * ms, 120 * ms}, nil, 120 * ms},
		"cut out of order": {[]time.Duration{80 * ms, 240 * ms, 160 * ms}, nil, 200 * ms},
		"one picture":      {[]time.Duration{80 * ms}, nil, 1 * ms},
	} {
		const start = time.Hour
		var s spans
		for i, at := range c.shown {
			dts := time.Duration(i) * 40 * ms
			s.add(&media.Frame{Track: video, Source: start + dts, CTO: at - dts})
		}
		for _, at := range c.sound {
			s.add(&media.Frame{Track: audio, Source: start + at})
		}
		if got := s.end(start) - start; got != c.want {
			t.Errorf("%s: the turn lasts %v, want %v", name, got, c.want)
		}
	}
}
