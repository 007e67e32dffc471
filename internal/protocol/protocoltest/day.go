package protocoltest

import (
	"testing"
	"time"

	"weir/internal/media"
)

// Day publishes hours of a stream to which happens what happens in such a time, and
// has look look each two seconds, as a player would: publishers go and come, with
// other codecs, with sound or picture alone; key frames do not come for a minute;
// clocks jump by an hour; sound breaks off.
func Day(t *testing.T, h *Sink, hours int, look func() error) {
	t.Helper()
	b := &Broadcast{Video: PictureTrack(10), Audio: SoundTrack()}
	what := ""
	run := func(name string, seconds int) {
		what = name
		for range (seconds + 1) / 2 {
			h.Publish(b, 2)
			if err := look(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	away := func(seconds int) {
		h.Leave(b)
		for range seconds / 2 {
			time.Sleep(2 * time.Second)
			if err := look(); err != nil {
				t.Fatalf("nobody publishes after %s: %v", what, err)
			}
		}
	}
	well := 1800
	if Raced { // slow machines have a shorter day
		well = 300
	}
	h.Publish(b, 6) // until there is something to look at
	for hour := range hours {
		run("all is well", well)
		away(10)
		run("the publisher is back", 120)
		b.Video = PictureTrack(byte(11 + hour%2))
		run("other parameters", 120)
		b.GOP = 1500
		run("no key frame for a minute", 180)
		b.GOP = 0
		run("key frames again", 60)
		b.Bend = func(d time.Duration) time.Duration { return d + time.Hour }
		run("an hour forth", 60)
		b.Bend = nil
		run("an hour back", 60)
		audio := b.Audio
		b.Audio = nil
		run("no more sound", 60)
		b.Audio = audio
		run("sound again", 60)
		away(4)
		video := b.Video
		b.Video = nil
		run("sound alone", 300)
		away(60)
		b.Video, b.Audio = video, nil
		run("picture alone", 300)
		b.Audio = &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x11, 0x90}, SampleRate: 48000, Channels: 2}
		run("late sound of another rate", 300)
		away(2)
		b.Audio = SoundTrack()
	}
	h.Leave(b)
}
