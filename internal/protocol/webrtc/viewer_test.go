package webrtc

import (
	"testing"
	"time"

	"weir/internal/media"
)

// A track that begins has reports sent of both, so that sound is put beside picture from
// the start.
func TestTrackThatBeginsIsReported(t *testing.T) {
	v := &viewer{}
	v.tracks[pictureTrack] = out{on: true, payload: payload{is: media.H264}}
	v.tracks[soundTrack] = out{on: true, payload: payload{is: media.Opus}}
	for _, p := range []packet{
		{track: pictureTrack, codec: media.H264, key: true, first: true},
		{track: soundTrack, codec: media.Opus, first: true},
	} {
		v.reports = time.Unix(1e9, 0)
		if !v.begin(&p, 1) || !v.reports.IsZero() {
			t.Errorf("track %d: begun %v, reported %v", p.track, v.tracks[p.track].live, v.reports)
		}
		v.reports = time.Unix(1e9, 0)
		if !v.begin(&p, 2) || v.reports.IsZero() {
			t.Errorf("track %d is reported again for its next packet", p.track)
		}
	}
}
