package store

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
)

// several are two pictures and two sounds.
func severalTracks() (v1, a1 *media.Track) {
	v, a := *picture, *sound
	v.ID, a.ID = 1, 2
	return &v, &a
}

// each has the view of a house want all tracks.
func (h *house) each() {
	v := h.rec.views[0]
	v.Each = func() bool { return true }
	v.Forms = func(*Run) Forms { return TS | MP4 | FLV | Each }
}

// write publishes frames in the order in which they stand.
func (h *house) write(frames ...*media.Frame) {
	h.t.Helper()
	p, err := h.hub.Publish(key, hub.PublishOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range frames {
		p.Write(f)
	}
	p.Close(nil)
	h.record()
}

func shown(t *media.Track, at time.Duration, key bool) *media.Frame {
	typ := byte(0x41)
	if key {
		typ = 0x65
	}
	return &media.Frame{Track: t, Source: at, Key: key, Payload: []byte{0, 0, 0, 3, typ, 0x88, byte(at / time.Millisecond)}}
}

func heard(t *media.Track, at time.Duration) *media.Frame {
	return &media.Frame{Track: t, Source: at, Payload: []byte{0x21, 0x10, 4, 0x60, 0x8c, 0x1c}}
}

// Who wants each track gets it by itself, and everything else is as without.
func TestEachTrack(t *testing.T) {
	one, all := newHouse(t, usual), newHouse(t, usual)
	all.each()
	one.each()
	v1, a1 := severalTracks()
	all.more = []*media.Track{v1, a1}
	for _, h := range []*house{one, all} {
		h.publish(10, 2, picture, sound)
	}
	all.want(one.list())
	for i, s := range all.got {
		a, b := one.got[i].Chunks[0], s.Chunks[0]
		if a.Parts != nil {
			t.Fatal("a stream with one track of a kind has parts")
		}
		if !bytes.Equal(a.TS, b.TS) || !bytes.Equal(a.MP4, b.MP4) || !bytes.Equal(a.FLV, b.FLV) || a.Pictures != b.Pictures {
			t.Errorf("segment %d has %d, %d and %d bytes, want %d, %d and %d", i, len(b.TS), len(b.MP4), len(b.FLV), len(a.TS), len(a.MP4), len(a.FLV))
		}
		if got := fmt.Sprint(len(b.Parts), len(b.Run.Tracks), len(b.Run.Inits)); got != "4 4 4" {
			t.Fatalf("parts, tracks, inits: %s", got)
		}
		for j, p := range b.Parts {
			if len(p.Bytes) == 0 || len(p.TS) == 0 || len(p.TS)%188 != 0 || p.Frames == 0 || len(b.Run.Inits[j]) == 0 {
				t.Errorf("segment %d, part %d: %d bytes of MP4, %d of TS, %d frames", i, j, len(p.Bytes), len(p.TS), p.Frames)
			}
		}
	}
}

// However the tracks of a publisher are interleaved, and though their key frames are not
// quite at the same time, each part begins with a key frame, no frame is lost, and times go
// on without a gap.
func TestCutsAreAligned(t *testing.T) {
	for name, off := range map[string]time.Duration{"together": 0, "later": 80 * time.Millisecond, "sooner": -80 * time.Millisecond} {
		for _, second := range []bool{false, true} { // the second picture comes first
			t.Run(fmt.Sprint(name, second), func(t *testing.T) {
				h := newHouse(t, usual)
				h.each()
				v1, a1 := severalTracks()
				var frames []*media.Frame
				for i := range 250 {
					at := 100*time.Millisecond + time.Duration(i)*40*time.Millisecond
					turn := []*media.Frame{shown(picture, at, i%50 == 0), shown(v1, at, i == 0 || (at-100*time.Millisecond-off)%(2*time.Second) == 0)}
					if second {
						turn[0], turn[1] = turn[1], turn[0]
					}
					frames = append(append(frames, turn...), heard(sound, at), heard(a1, at))
				}
				h.write(frames...)
				h.want("| 0:2.00 1:2.00 2:2.00 3:2.00 4:1.96")
				count := [4]int{}
				var ends [4]int64
				for i, s := range h.got {
					for j, p := range s.Chunks[0].Parts {
						count[j] += p.Frames
						if !p.Key {
							t.Errorf("segment %d, part %d begins with no key frame", i, j)
						}
						if i > 0 && j < 2 && p.Time != ends[j] {
							t.Errorf("segment %d, part %d begins at %d, the one before ended at %d", i, j, p.Time, ends[j])
						}
						ends[j] = p.Time + p.Duration
					}
				}
				if count != [4]int{250, 250, 250, 250} {
					t.Errorf("frames of the tracks: %v", count)
				}
			})
		}
	}
}

// A track that comes later begins a run; one that pauses, or stops, does not; one whose
// configuration changes does. What the first tracks have is whole all the while.
func TestTracksComeAndGo(t *testing.T) {
	h := newHouse(t, usual)
	h.each()
	v1, a1 := severalTracks()
	other := *v1
	other.Config = bytes.Clone(avcC)
	other.Config[len(other.Config)-1] ^= 1
	var frames []*media.Frame
	for i := range 500 {
		at := time.Duration(i) * 40 * time.Millisecond
		frames = append(frames, shown(picture, at, i%50 == 0), heard(sound, at))
		switch {
		case i >= 100 && i < 200, i >= 250 && i < 300:
			frames = append(frames, shown(v1, at, i%50 == 0))
		case i >= 350 && i < 450:
			frames = append(frames, shown(&other, at, i%50 == 0))
		}
		if i >= 150 {
			frames = append(frames, heard(a1, at))
		}
	}
	h.write(frames...)
	h.want("| 0:2.00 1:2.00 | 2:2.00 | 3:2.00 4:2.00 5:2.00 6:2.00 | 7:2.00 8:2.00 9:1.96")
	var got string
	pictures := 0
	for _, s := range h.got {
		for _, c := range s.Chunks {
			pictures += c.Pictures
			got += " "
			for j, p := range c.Parts {
				got += fmt.Sprintf("%v%d", s.Run.Tracks[j].Kind, s.Run.Tracks[j].ID)[:1]
				if p.Frames == 0 {
					got += "-"
				}
				if (p.Frames > 0) != (len(p.Bytes) > 0) || (p.Frames > 0) != (len(p.TS) > 0) {
					t.Errorf("a part of %d frames has %d and %d bytes", p.Frames, len(p.Bytes), len(p.TS))
				}
			}
			if init := mp4.Supported(picture) && len(s.Run.Inits) != len(s.Run.Tracks); init {
				t.Error("a track has no initialization segment")
			}
		}
	}
	if want := "   vva vvaa vv-aa vvaa vv-aa vvaa vvaa vv-aa"; got != want || pictures != 500 {
		t.Errorf("parts %q, want %q; %d pictures", got, want, pictures)
	}
}
