package store

import (
	"reflect"
	"testing"
	"time"

	"weir/internal/media"
)

// A segment comes out of Pack as it went in, but for the number of its run; segments of
// one run share it, and what is the same track is one.
func TestPack(t *testing.T) {
	v := &media.Track{Kind: media.Video, Codec: media.H264, Config: []byte{1, 2}, Width: 640}
	a := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{3}, SampleRate: 44100}
	run := &Run{ID: 3, Start: time.Second, Began: time.Unix(1000, 5), Layout: &media.Layout{Tracks: []*media.Track{v, a}, Meta: []byte("m")}, Video: v, Audio: a,
		Init: []byte("va"), VideoInit: []byte("v"), AudioInit: []byte("a"), Tracks: []*media.Track{v, a}, Inits: [][]byte{[]byte("v"), []byte("a")}}
	both := []byte("pictures sound")
	g := &Segment{Seq: 7, Duration: 2 * time.Second, Start: 3 * time.Second, Began: time.Unix(1001, 0), Discontinuity: true, Key: true, Run: run,
		Chunks: []*Chunk{{Run: run, Start: 3 * time.Second, Key: true, Pictures: 50, MP4: both, Video: Piece{Bytes: both[:9:9], Time: 9}, Audio: Piece{Bytes: both[9:], Time: 4},
			Parts: []Part{{Frames: 50, Key: true}, {Frames: 90}}}}}
	var u Unpacker
	var last *Segment
	for range 2 {
		b, err := Pack(g)
		if err != nil {
			t.Fatal(err)
		}
		got, err := u.Segment(b)
		if err != nil {
			t.Fatal(err)
		}
		if last != nil && last.Run != got.Run {
			t.Error("a run has become two")
		}
		if last = got; got.Run.ID != elsewhere(3) || got.Run.Video != got.Run.Layout.Tracks[0] || got.Run.Tracks[1] != got.Run.Audio || got.Chunks[0].Run != got.Run {
			t.Errorf("the run is %+v", got.Run)
		}
		run.ID = elsewhere(3)
		run.chunks = got.Run.chunks
		same := *got
		if !same.Began.Equal(g.Began) || !got.Run.Began.Equal(run.Began) {
			t.Errorf("it began at %v", same.Began)
		}
		same.Began, got.Run.Began = g.Began, run.Began
		if !reflect.DeepEqual(&same, g) {
			t.Errorf("got %+v of %+v\nwant %+v of %+v", same.Chunks[0], same.Run, g.Chunks[0], run)
		}
		run.ID = 3
	}
	if a, b, c := elsewhere(1), elsewhere(elsewhere(1)), elsewhere(2); a >= 0 || b >= 0 || a == b || a == c {
		t.Errorf("numbers of runs: %d, %d, %d", a, b, c)
	}
	if _, err := u.Segment([]byte("nonsense")); err == nil {
		t.Error("nonsense was taken")
	}
}
