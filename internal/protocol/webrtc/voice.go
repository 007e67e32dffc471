package webrtc

import (
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/media"
	"weir/internal/sound"
	"weir/internal/wire/rtp"
)

// foreign reports whether browsers do not know the sound of a track: they take Opus of
// one or two channels.
func foreign(t *media.Track) bool {
	return !rtp.Knows(t.Codec) || t.Codec == media.Opus && t.Channels > 2
}

// A voice makes Opus of a stream's sound for a lane, where browsers do not know it. It works while the lane has viewers and something is published.
type voice struct {
	// has says that the publisher's own Opus comes, beside what others have of it.
	has atomic.Bool

	mu sync.Mutex
	// All below is guarded by mu.
	line *sound.Line
	from *media.Track // what line is made for, or what it cannot be made for
}

// take hands a frame of the stream over. It is called under the stream's lock and
// does not wait.
func (v *voice) take(l *lane, f *media.Frame) {
	if v.has.Load() || f.Layout.Main(media.Audio) != f.Track {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !f.Track.Same(v.from) {
		v.drop()
		v.from = f.Track
		go v.begin(l, f.Track) // it takes milliseconds, and the publisher has no time
	}
	if v.line != nil {
		v.line.Write(f)
	}
}

// begin makes the line for a track, unless another has come meanwhile.
func (v *voice) begin(l *lane, from *media.Track) {
	line := l.speaker(from)
	v.mu.Lock()
	late := v.from != from
	if !late {
		v.line = line
	}
	v.mu.Unlock()
	if late && line != nil {
		line.Close()
	}
}

// stop ends the work.
func (v *voice) stop() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.drop()
}

// drop forgets the line, which comes to its end by itself: its last packet may be
// waiting for the lane.
func (v *voice) drop() {
	if v.line != nil {
		go v.line.Close()
	}
	v.line, v.from = nil, nil
}

// speaker returns what turns a track into Opus for the lane, nil if that cannot be
// done.
func (l *lane) speaker(from *media.Track) *sound.Line {
	s, key := l.server, l.key.stream.Key
	vhost, _ := s.env.Conf.Load().Vhost(key.Vhost)
	layout := &media.Layout{}
	line, err := sound.Open(from, sound.Target{Codec: media.Opus, Bitrate: blocks.RTC.Of(vhost).OpusBitrate}, func(f *media.Frame) {
		f.Layout, f.Arrived = layout, time.Now()
		l.add(f)
	}, func(err error) {
		s.env.Log.Warn("the sound cannot be decoded, players of WebRTC have the picture alone", "stream", key, "codec", from.Codec.String(), "err", err)
	})
	if err != nil {
		s.env.Log.Warn("players of WebRTC have the picture alone: this sound cannot be made Opus; AAC-LC and MP3 of one or two channels can, with ffmpeg also HE-AAC, AC-3 and more channels", "stream", key, "codec", from.Codec.String(), "profile", from.Profile, "err", err)
		return nil
	}
	layout.Tracks = []*media.Track{line.Track()}
	return line
}
