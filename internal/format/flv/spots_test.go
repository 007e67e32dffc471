package flv

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"weir/internal/media"
)

// film is a file of ten seconds, with a key frame each second, whose first tag is at 5 s.
func film(t testing.TB) []byte {
	l := (&media.Layout{}).With(&media.Track{Kind: media.Video, Codec: media.H264, Config: unhex(t, avcC720)}).With(&media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2})
	b := AppendFileHeader(nil, true, true)
	b = AppendLayout(b, l, 5000)
	video, audio := l.Main(media.Video), l.Main(media.Audio)
	for i := range 250 {
		at := 5*time.Second + time.Duration(i)*40*time.Millisecond
		b = AppendFrameTag(b, &media.Frame{Track: video, Key: i%25 == 0, CTO: 80 * time.Millisecond, Payload: fmt.Appendf(nil, "\x00\x00\x00\x05v%04d", i)}, Timestamp(at))
		b = AppendFrameTag(b, &media.Frame{Track: audio, Payload: fmt.Appendf(nil, "a%04d", i)}, Timestamp(at))
	}
	return b
}

func TestSpots(t *testing.T) {
	b := film(t)
	for _, c := range []struct {
		from, until time.Duration
		first, last string
	}{
		{0, 400 * time.Millisecond, "v0000", "a0009"},
		{3500 * time.Millisecond, 4 * time.Second, "v0075", "a0099"},
		{4 * time.Second, 4*time.Second + 1, "v0100", "a0100"},
		{-time.Second, 40 * time.Millisecond, "v0000", "a0000"},
		{time.Hour, 2 * time.Hour, "v0225", "a0249"},
		{3 * time.Second, 2 * time.Second, "v0025", "a0049"},
	} {
		var got []string
		err := Spots(bytes.NewReader(b), int64(len(b)), c.from, c.until, func(f *media.Frame, off int64) error {
			at := b[off : off+int64(len(f.Payload))]
			if !bytes.Equal(at, f.Payload) {
				t.Fatalf("at %d lies %q, not %q", off, at, f.Payload)
			}
			got = append(got, string(bytes.TrimLeft(at, "\x00\x05")))
			return nil
		})
		if err != nil || len(got) == 0 || got[0] != c.first || got[len(got)-1] != c.last {
			t.Errorf("%v to %v: %v, %q", c.from, c.until, err, got)
		}
	}
	stop := errors.New("enough")
	if err := Spots(bytes.NewReader(b), int64(len(b)), 0, time.Hour, func(*media.Frame, int64) error { return stop }); err != stop {
		t.Error(err)
	}
	if err := Spots(bytes.NewReader(b[1:]), int64(len(b)-1), 0, time.Hour, nil); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func FuzzSpots(f *testing.F) {
	f.Add(film(f)[:4000], int64(0), int64(time.Second))
	f.Fuzz(func(t *testing.T, b []byte, from, until int64) {
		Spots(bytes.NewReader(b), int64(len(b)), time.Duration(from), time.Duration(until), func(f *media.Frame, off int64) error {
			if off < 0 || off+int64(len(f.Payload)) > int64(len(b)) || !bytes.Equal(b[off:off+int64(len(f.Payload))], f.Payload) {
				t.Fatalf("%d bytes at %d of %d", len(f.Payload), off, len(b))
			}
			return nil
		})
	})
}
