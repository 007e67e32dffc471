package store

import (
	"bytes"
	"testing"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
)

// Views of other rules share chunks: each is written once, and every view has the
// whole stream.
func TestViewsShareChunks(t *testing.T) {
	h := newHouse(t, usual)
	var long []*Segment
	number := int64(-1)
	rules := usual
	rules.Fragment = 4 * time.Second
	h.rec.views = append(h.rec.views, &View{Rules: func() Rules { return rules }, Forms: func(*Run) Forms { return MP4 },
		Next: func() int64 { number++; return number }, Done: func(s *Segment) { long = append(long, s) }})
	h.publish(20, 2, picture, sound)
	if len(h.got) != 10 || len(long) != 5 {
		t.Fatalf("%d and %d segments", len(h.got), len(long))
	}
	for i, s := range long {
		if s.Discontinuity != (i == 0) || len(s.Chunks) != 2 || s.Chunks[0] != h.got[2*i].Chunks[0] || s.Chunks[1] != h.got[2*i+1].Chunks[0] {
			t.Errorf("segment %d of %v has %d chunks", i, s.Duration, len(s.Chunks))
		}
	}
	if len(h.got[3].Bytes(func(c *Chunk) []byte { return c.FLV })) != 1 {
		t.Error("no FLV")
	}
}

// Of several pictures and sounds a segment has the first ones, as if there were no others.
func TestSecondTracks(t *testing.T) {
	one, several := newHouse(t, usual), newHouse(t, usual)
	second, comment := *picture, *sound
	second.ID, comment.ID = 1, 2
	several.more = []*media.Track{&second, &comment}
	for _, h := range []*house{one, several} {
		h.publish(10, 2, picture, sound)
	}
	several.want(one.list())
	for i, s := range several.got {
		a, b := one.got[i].Chunks[0], s.Chunks[0]
		if !bytes.Equal(a.TS, b.TS) || !bytes.Equal(a.MP4, b.MP4) || !bytes.Equal(a.FLV, b.FLV) || a.Pictures != b.Pictures {
			t.Errorf("segment %d has %d, %d and %d bytes, want %d, %d and %d", i, len(b.TS), len(b.MP4), len(b.FLV), len(a.TS), len(a.MP4), len(a.FLV))
		}
	}
}

// Sound goes on to the tick over cuts, though its times came in milliseconds.
func TestSoundHasNoGaps(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(20, 2, picture, sound)
	for i, s := range h.got {
		c := s.Chunks[0]
		if !bytes.Equal(c.MP4, append(bytes.Clone(c.Video.Bytes), c.Audio.Bytes...)) {
			t.Fatal("MP4 is not picture and sound")
		}
		if c.Audio.Duration%1024 != 0 || c.Video.Duration%3600 != 0 {
			t.Errorf("segment %d: %d ticks of sound, %d of picture", i, c.Audio.Duration, c.Video.Duration)
		}
		if i == 0 {
			continue
		}
		p := h.got[i-1].Chunks[0]
		if c.Video.Time != p.Video.Time+p.Video.Duration || c.Audio.Time != p.Audio.Time+p.Audio.Duration {
			t.Errorf("segment %d begins at %d and %d, the one before ends at %d and %d", i, c.Video.Time, c.Audio.Time, p.Video.Time+p.Video.Duration, p.Audio.Time+p.Audio.Duration)
		}
	}
}

// Sound whose time does go away from its length is kept to its time.
func TestSoundFollowsItsTime(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 { // 1 % slow
		p.Write(&media.Frame{Track: sound, Source: time.Duration(i) * 23452 * time.Microsecond, Payload: []byte{1, 2, 3}})
	}
	p.Close(nil)
	h.record()
	for _, s := range h.got {
		if d := media.Duration(s.Chunks[0].Audio.Time, 44100) - s.Start; d > 15*time.Millisecond || d < -15*time.Millisecond {
			t.Errorf("segment %d is off by %v", s.Seq, d)
		}
	}
}

// A key frame that comes after none did for long begins a segment, so that players
// can begin.
func TestLateKeyFrameBeginsASegment(t *testing.T) {
	h := newHouse(t, usual)
	h.publish(15, 5, picture, sound)
	h.want("| 0:4.20 1:0.80 2:4.20 3:0.80 4:4.20 5:0.76")
	for i, s := range h.got {
		if s.Key != (i%2 == 0) {
			t.Errorf("segment %d: decoding can start there is %v", i, s.Key)
		}
	}
}

// A track that comes late, when chunks were already made without it, begins a run,
// since an initialization segment told of them.
func TestLateSoundBeginsARun(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		at := time.Duration(i) * 40 * time.Millisecond
		p.Write(&media.Frame{Track: picture, Source: at, Key: i%25 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
		if i > 60 {
			p.Write(&media.Frame{Track: sound, Source: at, Payload: []byte{1, 2, 3}})
		}
	}
	p.Close(nil)
	h.record()
	h.want("| 0:2.00 1:0.44 | 2:0.56 3:2.00 4:0.96")
	if a, b := h.got[0].Run, h.got[2].Run; a.Audio != nil || b.Audio == nil || bytes.Equal(a.Init, b.Init) || b.ID != a.ID+1 {
		t.Errorf("runs %+v and %+v", a, b)
	}
}

// What one stream's frames break ends no other's, and not its own for good.
func TestFaultIsGuarded(t *testing.T) {
	hb := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Hour} })
	faults := 0
	s := New(hb, func(_ hub.Key, f func() error) (err error) {
		defer func() {
			if p := recover(); p != nil {
				faults++
				err = hub.ErrBusy
			}
		}()
		return f()
	})
	number := int64(0)
	told := make(chan *Segment, 100)
	s.Attach(key, &View{Rules: func() Rules { return usual }, Forms: func(*Run) Forms { return TS }, Next: func() int64 { number++; return number },
		Done: func(g *Segment) {
			if g.Seq == 1 {
				panic("a fault")
			}
			told <- g
		}})
	h := &house{t: t, hub: hb}
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for i := range 1000 {
			p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%25 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
		}
		p.Close(nil)
	}()
	if g := <-told; g.Seq < 2 {
		t.Errorf("told of segment %d", g.Seq)
	}
	s.Stop()
	if faults != 1 {
		t.Errorf("%d faults", faults)
	}
}

// A track that comes with the key frame that ended a segment begins the run with
// it, and leaves no segment of nothing.
func TestSoundThatComesWithACut(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 150 {
		at := time.Duration(i) * 40 * time.Millisecond
		p.Write(&media.Frame{Track: picture, Source: at, Key: i%50 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
		if i >= 50 {
			p.Write(&media.Frame{Track: sound, Source: at, Payload: []byte{1, 2, 3}})
		}
	}
	p.Close(nil)
	h.record()
	h.want("| 0:2.00 | 1:2.00 2:1.96")
	if s := h.got[1]; !s.Key || s.Run.Audio == nil || s.Chunks[0].Run != s.Run || !s.Chunks[0].Broken {
		t.Errorf("the second is %+v", s)
	}
}

// A track that is announced and does not come is in no initialization segment; when
// it comes after all, a run begins.
func TestSoundThatWasOnlyAnnounced(t *testing.T) {
	h := newHouse(t, usual)
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Announce(picture)
	p.Announce(sound)
	for i := range 200 {
		at := time.Duration(i) * 40 * time.Millisecond
		p.Write(&media.Frame{Track: picture, Source: at, Key: i%50 == 0, Payload: []byte{0, 0, 0, 2, 0x65, 0x88}})
		if i >= 110 {
			p.Write(&media.Frame{Track: sound, Source: at, Payload: []byte{1, 2, 3}})
		}
	}
	p.Close(nil)
	h.record()
	h.want("| 0:2.00 1:2.00 2:0.40 | 3:1.60 4:1.96")
	if a, b := h.got[0].Run, h.got[3].Run; a.Audio != nil || bytes.Contains(a.Init, []byte("mp4a")) || !bytes.Contains(b.Init, []byte("mp4a")) {
		t.Errorf("runs %+v and %+v", a, b)
	}
}

// What a frame of 5 kB costs in each form, with its share of cutting.
func BenchmarkRecorder(b *testing.B) {
	for name, forms := range map[string]Forms{"ts": TS, "mp4": MP4, "flv": FLV, "all": TS | MP4 | FLV} {
		b.Run(name, func(b *testing.B) {
			r := &recorder{views: []*View{{Rules: func() Rules { return usual }, Forms: func(*Run) Forms { return forms }, Next: func() int64 { return 0 }, Done: func(*Segment) {}}}}
			layout := (&media.Layout{}).With(picture)
			payload := append([]byte{0, 0, 0x13, 0x84, 0x41}, make([]byte, 4995)...)
			f := &media.Frame{Layout: layout, Track: picture, Payload: payload}
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				g := &media.Frame{Layout: layout, Track: picture, DTS: time.Duration(i) * 40 * time.Millisecond, Key: i%50 == 0, Payload: f.Payload}
				r.frame(g)
			}
		})
	}
}
