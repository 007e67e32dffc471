package media

import (
	"slices"
	"testing"
	"time"
)

func TestMixerOrdersByTime(t *testing.T) {
	v, a := &Track{Kind: Video}, &Track{Kind: Audio}
	var m Mixer
	var got []*Frame
	// Sound comes in bursts of five frames, each burst late.
	sound := 0
	for i := range 100 {
		got = m.Push(got, &Frame{Track: v, Source: time.Duration(i) * 40 * time.Millisecond})
		if i%3 == 2 {
			for range 5 {
				got = m.Push(got, &Frame{Track: a, Source: time.Duration(sound) * 23 * time.Millisecond})
				sound++
			}
		}
	}
	got = m.Flush(got)
	if len(got) != 100+sound {
		t.Fatalf("%d frames came out of %d", len(got), 100+sound)
	}
	if !slices.IsSortedFunc(got, func(x, y *Frame) int { return int(x.Source - y.Source) }) {
		t.Error("frames are not in the order of their time")
	}
}

func TestMixerLetsOneKindPass(t *testing.T) {
	v := &Track{Kind: Video}
	var m Mixer
	var got []*Frame
	for i := range 50 {
		got = m.Push(got, &Frame{Track: v, Source: time.Duration(i)})
		if held := i + 1 - len(got); held >= mixMost {
			t.Fatalf("%d frames are held with no sound coming", held)
		}
	}
}
