package httplive

import (
	"fmt"

	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/sender"
)

// format is how a stream is sent.
type format struct {
	ext, mime string
	name      string
	form      media.Form
	// carries reports whether a stream has something for the format; nil is always.
	carries func(l *media.Layout) bool
	sound   bool // it is sound alone
}

var formats = map[string]format{
	".flv": {ext: ".flv", mime: "video/x-flv", name: "FLV", form: media.FormFLV},
	".ts":  {ext: ".ts", mime: "video/MP2T", name: "TS", form: media.FormTS, carries: some(mpegts.Supported)},
	".mp4": {ext: ".mp4", mime: "video/mp4", name: "MP4", form: media.FormMP4, carries: some(mp4.Supported)},
	".aac": {ext: ".aac", mime: "audio/x-aac", name: "AAC", form: media.FormADTS, carries: heard(media.AAC), sound: true},
	".mp3": {ext: ".mp3", mime: "audio/mpeg", name: "MP3", form: media.FormMP3, carries: heard(media.MP3), sound: true},
}

func some(supported func(t *media.Track) bool) func(l *media.Layout) bool {
	return func(l *media.Layout) bool {
		for _, t := range l.Tracks {
			if supported(t) {
				return true
			}
		}
		return false
	}
}

func heard(c media.Codec) func(l *media.Layout) bool {
	return func(l *media.Layout) bool {
		t := l.Main(media.Audio)
		return t != nil && t.Codec == c
	}
}

// nothingError refuses a viewer who asks for a format of a stream that has nothing
// for it.
type nothingError struct{ format string }

// Error says what to do.
func (e nothingError) Error() string {
	return fmt.Sprintf("stream has no track that %s can carry; ask for .flv", e.format)
}

// spec is what the viewer's bytes depend on.
func (v *viewer) spec(conf *blocks.HTTPRemuxConfig) sender.Spec {
	s := sender.Spec{Form: v.format.form, Framing: v.framing}
	_, ask, _ := v.session.Doing()
	s.Only.Main = !ask.AllTracks()
	if conf.GuessHasAV {
		return s
	}
	if v.format.ext == ".flv" {
		s.Promise = sender.Promise{Set: true, Audio: conf.HasAudio, Video: conf.HasVideo}
	}
	if conf.DropIfNotMatch && (v.format.ext == ".flv" || v.format.ext == ".ts") {
		s.Only.NoAudio, s.Only.NoVideo = !conf.HasAudio, !conf.HasVideo
	}
	return s
}

// encoder makes the viewer's bytes where no loop does.
func (v *viewer) encoder(s sender.Spec, times sender.Times, before func(seq uint64) []*media.Frame) sender.Encoder {
	switch s.Form {
	case media.FormTS:
		return &sender.TS{Only: s.Only, Times: times}
	case media.FormMP4:
		return &sender.MP4{Only: s.Only}
	case media.FormADTS:
		return &sender.ADTS{Before: before}
	case media.FormMP3:
		return &sender.MP3{Before: before}
	}
	return &sender.FLV{Only: s.Only, Times: times, Promise: s.Promise}
}
