package flv

import (
	"testing"
	"time"

	"weir/internal/media"
)

// What is told of a time below a millisecond comes back, in every codec and whatever number
// its track has; where there is nothing to tell the bytes are those for everybody.
func TestNanoseconds(t *testing.T) {
	tracks := []*media.Track{
		{Kind: media.Video, Codec: media.H264, Config: unhex(t, avcC720)}, {Kind: media.Video, ID: 3, Codec: media.H264, Config: unhex(t, avcC720)},
		{Kind: media.Video, Codec: media.VP9, Config: []byte{0, 10, 0x80, 1, 1, 1, 0, 0}},
		{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2},
		{Kind: media.Audio, ID: 1, Codec: media.Opus, Config: []byte("OpusHead\x01\x02\x38\x01\x80\xbb\x00\x00\x00\x00\x00")},
	}
	for _, track := range tracks {
		for _, at := range []struct{ dts, cto time.Duration }{
			{0, 0}, {40 * time.Millisecond, 80 * time.Millisecond}, {40*time.Millisecond + 100, 0}, {40 * time.Millisecond, 80*time.Millisecond + 1},
			{40*time.Millisecond + 999_999/2, 3}, {time.Second, 999_999}, {time.Second + 499_999, -40 * time.Millisecond},
		} {
			f := &media.Frame{Track: track, DTS: at.dts, CTO: at.cto, Key: true, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}}
			head := AppendExactBodyHeader(nil, f)
			if len(head) > 15 {
				t.Errorf("a header of %d bytes", len(head))
			}
			timed := track.Codec == media.H264
			exactly := timed || at.cto >= 0 && at.cto < time.Millisecond && at.dts+at.cto-at.dts.Round(time.Millisecond) >= 0
			if plain := AppendBodyHeader(nil, f); (at.dts+at.cto)%time.Millisecond == 0 && string(plain) != string(head) {
				t.Errorf("%v at %v: %x, want %x", track.Codec, at, head, plain)
			}
			var in Ingest
			config, _ := AppendConfigBody(nil, track)
			if _, err := in.Frames(nil, track.Kind, 0, config); err != nil {
				t.Fatal(err)
			}
			ms := time.Duration(media.Milliseconds(at.dts)) * time.Millisecond
			got, err := in.Frames(nil, track.Kind, ms, append(head, f.Payload...))
			if err != nil || len(got) != 1 || !got[0].Track.Same(in.Tracks(nil)[0]) {
				t.Fatalf("%v at %v: %d frames, %v", track.Codec, at, len(got), err)
			}
			if pts := ms + got[0].CTO; exactly && pts != at.dts+at.cto {
				t.Errorf("%v at %v: shown at %v, want %v", track.Codec, at, pts, at.dts+at.cto)
			}
			if string(got[0].Payload) != string(f.Payload) || got[0].Key != (track.Kind == media.Video) {
				t.Errorf("%v at %v: %x", track.Codec, at, got[0].Payload)
			}
		}
	}
}
