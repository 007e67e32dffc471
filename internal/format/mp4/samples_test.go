package mp4

import (
	"errors"
	"reflect"
	"testing"

	"weir/internal/media"
)

func samplesOf(t *media.Track, n int) (all []Sample) {
	for i := range n {
		s := Sample{Payload: make([]byte, 3*i+1), Time: int64(1000 + 3600*i), Duration: 3600, Key: true}
		for k := range s.Payload {
			s.Payload[k] = byte(i + k)
		}
		if t.Kind == media.Video {
			s.Key, s.Offset = i%5 == 0, int64(i%3*3600-3600)
		}
		all = append(all, s)
	}
	return all
}

// What is read is what was written, of fragments one behind the other.
func TestReadSamples(t *testing.T) {
	for _, tr := range []*media.Track{{Kind: media.Video, Codec: media.H264}, {Kind: media.Audio, Codec: media.AAC, SampleRate: 48000}} {
		want := samplesOf(tr, 13)
		b := AppendSamples(AppendSamples(nil, 1, tr, want[:7]), 2, tr, want[7:])
		got, err := ReadSamples(b)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %v\n%v", err, got, want)
		}
		// The first of them is there although the second breaks off.
		got, err = ReadSamples(b[:len(b)-1])
		if !errors.Is(err, ErrFile) || !reflect.DeepEqual(got, want[:7]) {
			t.Errorf("%v: %d samples", err, len(got))
		}
	}
	for _, bad := range []string{"x", "\x00\x00\x00\x08mdat", "\x00\x00\x00\x08moof"} {
		if got, err := ReadSamples([]byte(bad)); !errors.Is(err, ErrFile) || got != nil {
			t.Errorf("%q: %v, %v", bad, got, err)
		}
	}
}

func FuzzReadSamples(f *testing.F) {
	for _, t := range []*media.Track{{Kind: media.Video, Codec: media.H264}, {Kind: media.Audio, Codec: media.AAC, SampleRate: 48000}} {
		f.Add(AppendSamples(nil, 1, t, samplesOf(t, 6)))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := ReadSamples(b)
		if err != nil && !errors.Is(err, ErrFile) {
			t.Fatal(err)
		}
		// Runs may point to the same data, each of which costs its row of the table.
		if len(all) > len(b)/8 {
			t.Fatalf("%d samples of %d bytes", len(all), len(b))
		}
	})
}
