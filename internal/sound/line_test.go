package sound

import (
	"testing"
	"time"

	"weir/internal/media"
)

// A Line makes of frames what its Transcoder does, in their order and with their
// own payloads, and nothing after Close.
func TestLine(t *testing.T) {
	track, packets := aacOf(t, 44100, 2, tone(44100, 2, 440, time.Second))
	got := make(chan *media.Frame, 1000)
	l, err := NewLine(track, Target{Codec: media.Opus}, func(f *media.Frame) { got <- f }, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	const shift = 10 * time.Second
	for i, p := range packets {
		at := samplesTime(int64(i)*1024, 44100)
		l.Write(&media.Frame{Track: track, DTS: at, Source: at + shift, Payload: p})
	}
	var frames []*media.Frame
	for len(frames) < 45 {
		frames = append(frames, <-got)
	}
	l.Close()
	l.Write(&media.Frame{Track: track, Payload: packets[0]})
	for i, f := range frames {
		if f.Track != l.Track() || f.Source != f.DTS+shift || len(f.Payload) == 0 {
			t.Errorf("frame %d: %+v", i, f)
		}
		if i > 0 && (f.DTS <= frames[i-1].DTS || &f.Payload[0] == &frames[i-1].Payload[0]) {
			t.Errorf("frame %d at %v follows one at %v", i, f.DTS, frames[i-1].DTS)
		}
	}
	if l.Lost() != 0 {
		t.Errorf("%d lost", l.Lost())
	}
}

// A Line that gives up says so once and takes no more; Close does not wait for it.
func TestLineFails(t *testing.T) {
	track, _ := aacOf(t, 48000, 2, tone(48000, 2, 440, 100*time.Millisecond))
	failed := make(chan error, 10)
	l, err := NewLine(track, Target{Codec: media.Opus}, func(*media.Frame) {}, func(err error) { failed <- err })
	if err != nil {
		t.Fatal(err)
	}
	for range faultsMost + 20 {
		l.Write(&media.Frame{Track: track, Payload: []byte{0xff}})
	}
	if err := <-failed; err == nil {
		t.Error("no error")
	}
	l.Close()
	if len(failed) != 0 {
		t.Error("it failed twice")
	}
}

// A goroutine that does not keep up costs the oldest packets.
func TestLineIsBounded(t *testing.T) {
	track, packets := aacOf(t, 48000, 2, tone(48000, 2, 440, time.Second))
	started, hold := make(chan bool, 1000), make(chan bool)
	l, err := NewLine(track, Target{Codec: media.Opus}, func(*media.Frame) { started <- true; <-hold }, func(err error) { t.Error(err) })
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; len(started) == 0; i++ {
		l.Write(&media.Frame{Track: track, DTS: samplesTime(int64(i)*1024, 48000), Payload: packets[i%len(packets)]})
		time.Sleep(time.Millisecond)
	}
	for range 2 * queueMost {
		l.Write(&media.Frame{Track: track, Payload: packets[0]})
	}
	if l.Lost() < queueMost {
		t.Errorf("%d lost", l.Lost())
	}
	close(hold)
	l.Close()
}
