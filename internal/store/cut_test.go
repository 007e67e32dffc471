package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// house publishes a synthetic stream and cuts it.
type house struct {
	t     *testing.T
	hub   *hub.Hub
	rec   *recorder
	index *Index[*Segment]
	got   []*Segment
	more  []*media.Track // others, that have frames as the picture has
}

var (
	key     = hub.Key{Vhost: "v", App: "live", Stream: "s"}
	picture = &media.Track{Kind: media.Video, Codec: media.H264, Config: avcC}
	sound   = &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}
)

// avcC is a decoder configuration with parameter sets of a 64x64 picture; their
// content does not matter here.
var avcC = []byte{1, 0x42, 0xc0, 0x0a, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, 0x0a, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80}

func newHouse(t *testing.T, r Rules) *house {
	h := &house{t: t, hub: hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Hour} }), index: NewIndex[*Segment](0)}
	h.rec = &recorder{sub: h.hub.Subscribe(key, hub.Options{Passive: true}), views: []*View{{Forms: func(*Run) Forms { return TS | MP4 | FLV }, Rules: func() Rules { return r }, Next: h.index.Next,
		Done: func(s *Segment) { h.got = append(h.got, s); h.index.Add(s, Window{Duration: time.Hour}) }}}}
	_, release := h.hub.Hold(key)
	t.Cleanup(release)
	return h
}

// record cuts what was published, to the end of the publication.
func (h *house) record() {
	h.t.Helper()
	var end *hub.EndError
	if err := h.rec.read(h.t.Context()); !errors.As(err, &end) {
		h.t.Fatal(err)
	}
}

// publish sends seconds of a stream at 25 frames a second with a key frame each
// gop seconds, and sound.
func (h *house) publish(seconds, gop float64, video, audio *media.Track) {
	h.t.Helper()
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, tr := range []*media.Track{video, audio} {
		if tr != nil {
			p.Announce(tr)
		}
	}
	every := int(gop * 25)
	a := time.Duration(0)
	for i := range int(seconds * 25) {
		at := time.Duration(i) * 40 * time.Millisecond
		for ; audio != nil && a <= at; a += 23219 * time.Microsecond {
			p.Write(&media.Frame{Track: audio, Source: a, Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}})
		}
		if video != nil {
			typ := byte(0x41)
			if i%every == 0 {
				typ = 0x65
			}
			p.Write(&media.Frame{Track: video, Source: at, Key: i%every == 0, Payload: []byte{0, 0, 0, 3, typ, 0x88, byte(i)}})
			for _, tr := range h.more {
				p.Write(&media.Frame{Track: tr, Source: at, Key: i%7 == 0, Payload: []byte{0, 0, 0, 3, 0x65, 0x88, byte(i)}})
			}
		}
	}
	p.Close(nil)
	h.record()
}

// list is what a playlist would say.
func (h *house) list() string {
	var b strings.Builder
	for _, s := range h.got {
		if s.Discontinuity {
			b.WriteString("| ")
		}
		fmt.Fprintf(&b, "%d:%.2f ", s.Seq, s.Duration.Seconds())
	}
	return strings.TrimSpace(b.String())
}

func (h *house) want(list string) {
	h.t.Helper()
	if got := h.list(); got != list {
		h.t.Errorf("segments\n%s\nwant\n%s", got, list)
	}
}

var usual = Rules{Fragment: 2 * time.Second, TDRatio: 1, AOFRatio: 2.1, WaitKey: true}

func TestCutsAtKeyFrames(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(9, 2, picture, sound)
	h.want("| 0:2.00 1:2.00 2:2.00 3:2.00 4:0.96")
	for _, s := range h.got {
		if len(s.Chunks) != 1 || len(s.Chunks[0].TS) == 0 || len(s.Chunks[0].TS)%188 != 0 || s.Chunks[0].TS[0] != 0x47 {
			t.Errorf("segment %d is no transport stream", s.Seq)
		}
	}
}

func TestKeyFramesFartherThanFragment(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(12, 3, picture, nil)
	h.want("| 0:3.00 1:3.00 2:3.00 3:2.96")
}

// As in SRS sound ends a segment at hls_aof_ratio, even without a key frame.
func TestSoundEndsWhatNoKeyFrameDoes(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(10, 100, picture, sound)
	h.want("| 0:4.20 1:4.20 2:1.56")
}

func TestSoundAlone(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(12, 1, nil, sound)
	h.want("| 0:4.20 1:4.20 2:3.55")
}

func TestWithoutWaitingForKeyFrames(t *testing.T) {
	r := usual
	r.WaitKey = false
	h := newHouse(t, r)
	h.publish(6, 100, picture, nil)
	h.want("| 0:2.00 1:2.00 2:1.96")
}

func TestRepublishGoesOn(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(3, 2, picture, sound)
	h.publish(3, 2, picture, sound)
	h.want("| 0:2.00 1:0.96 | 2:2.00 3:0.96")
}

func TestOtherParametersBreakTheLine(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := *picture
	other.Config = append([]byte(nil), avcC...)
	other.Config[3] = 0x0b
	for i := range 100 {
		tr := picture
		if i >= 40 {
			tr = &other
		}
		p.Write(&media.Frame{Track: tr, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%20 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
	}
	p.Close(nil)
	h.record()
	h.want("| 0:1.60 | 1:2.36")
}

func TestLateSoundJoinsTheSegment(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		at := time.Duration(i) * 40 * time.Millisecond
		p.Write(&media.Frame{Track: picture, Source: at, Key: i%25 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
		if i > 10 {
			p.Write(&media.Frame{Track: sound, Source: at, Payload: []byte{1, 2, 3}})
		}
	}
	p.Close(errors.New("gone"))
	h.record()
	h.want("| 0:1.96")
}

func TestFloorFollowsTheClock(t *testing.T) {
	r := usual
	r.Floor = true
	h := newHouse(t, r)
	// A key frame each 1.5 s: segments of 3 s, then some of 1.5 s, so that on the
	// whole there is one each 2 s.
	h.publish(60, 1.5, picture, nil)
	total := time.Duration(0)
	for _, s := range h.got {
		total += s.Duration
	}
	if mean := total / time.Duration(len(h.got)); mean < 1900*time.Millisecond || mean > 2600*time.Millisecond {
		t.Errorf("%d segments of %v on the mean: %s", len(h.got), mean, h.list())
	}
	for i := 1; i < len(h.got); i++ {
		if h.got[i].Floor != h.got[i-1].Floor+1 {
			t.Errorf("segment %d is counted as %d after %d", i, h.got[i].Floor, h.got[i-1].Floor)
		}
	}
}

// Whatever times a publisher has, no segment is longer than twice its target and
// none is empty.
func TestSegmentsOfBadTimes(t *testing.T) {
	for name, bend := range map[string]func(i int) time.Duration{
		"zero":      func(int) time.Duration { return 0 },
		"backwards": func(i int) time.Duration { return time.Hour - time.Duration(i)*40*time.Millisecond },
		"jump on": func(i int) time.Duration {
			return time.Duration(i)*40*time.Millisecond + time.Duration(i/100)*time.Hour
		},
		"jump back": func(i int) time.Duration { return time.Duration(i%100) * 40 * time.Millisecond },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, usual)
			p, err := h.hub.Publish(key, hub.PublishOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range 500 {
				p.Write(&media.Frame{Track: picture, Source: bend(i), Key: i%25 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
			}
			p.Close(nil)
			h.record()
			for _, s := range h.got {
				if s.Duration <= 0 || s.Duration > 2*usual.Target() {
					t.Errorf("segment %d lasts %v", s.Seq, s.Duration)
				}
			}
		})
	}
}

func TestIndexKeepsOneMoreWindow(t *testing.T) {
	x := NewIndex[*Segment](7)
	var gone []int64
	for i := range 20 {
		for _, g := range x.Add(&Segment{Seq: x.Next(), Duration: 2 * time.Second}, Window{Duration: 6 * time.Second}) {
			gone = append(gone, g.Seq)
		}
		if n := len(x.Listed()); n != min(i+1, 3) {
			t.Fatalf("after %d segments %d are listed", i+1, n)
		}
		if n := len(x.All()); n > 8 {
			t.Fatalf("%d segments are held for a window of 3", n)
		}
	}
	if x.Listed()[2].Seq != 26 || gone[0] != 7 || len(gone)+len(x.All()) != 20 {
		t.Errorf("newest is %d, gone %v, held %d", x.Listed()[2].Seq, gone, len(x.All()))
	}
	over := NewIndex[*Segment](0)
	for i := range 20 {
		over.Add(&Segment{Seq: over.Next(), Duration: 2 * time.Second}, Window{Duration: 6 * time.Second, Over: true})
		if n := len(over.Listed()); n != min(i+1, 4) {
			t.Fatalf("after %d segments %d are listed, with the one that reaches over the window's beginning", i+1, n)
		}
		if n := len(over.All()); n > 9 {
			t.Fatalf("%d segments are held for a window of 4", n)
		}
	}
	long := NewIndex[*Segment](0)
	long.Add(&Segment{Duration: time.Hour}, Window{Duration: time.Minute})
	if len(long.Listed()) != 1 {
		t.Error("a segment longer than the window is not listed at all")
	}
}

// A window of nothing holds one segment, and not all that ever were.
func TestIndexIsBounded(t *testing.T) {
	for _, w := range []Window{{}, {Duration: -time.Second}, {Count: 1}, {Count: 1, Duration: time.Hour}, {Over: true}, {Count: 1, Duration: time.Hour, Over: true}} {
		x := NewIndex[*Segment](0)
		for range 100 {
			x.Add(&Segment{Seq: x.Next(), Duration: 2 * time.Second}, w)
		}
		most := 4
		if w.Over {
			most++
		}
		if len(x.Listed()) != 1 || len(x.All()) > most {
			t.Errorf("%+v: %d are listed of %d", w, len(x.Listed()), len(x.All()))
		}
	}
}

func TestExpand(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 7e6, time.UTC)
	got := Expand("[vhost]/[app]/[stream]/[2006]-[01]-[02]T[15]:[04]:[05].[999]-[timestamp]-[seq]", key, at)
	if want := "v/live/s/2026-01-02T03:04:05.007-1767323045007-[seq]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := Expand("[app]/[timestamp]", key, time.Time{}); got != "live/[timestamp]" {
		t.Errorf("without a time: %s", got)
	}
}
