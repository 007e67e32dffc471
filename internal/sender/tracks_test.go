package sender

import (
	"bytes"
	"net"
	"testing"
	"time"

	"weir/internal/format/amf"
	"weir/internal/media"
)

// Of several tracks of a kind, who knows of one gets the first; others get all, and what is
// told of their pictures, by either way of sending and whenever they come.
func TestTracks(t *testing.T) {
	second := &media.Track{ID: 1, Kind: media.Video, Codec: media.H264, Config: picture.Config, Picture: amf.AppendAll(nil, "colorInfo", amf.Object{})}
	comment := &media.Track{ID: 3, Kind: media.Audio, Codec: media.AAC, Config: sound.Config}
	var frames []*media.Frame
	for i := range 10 {
		at := time.Duration(i) * 40 * time.Millisecond
		for n, track := range []*media.Track{picture, second, sound, comment} {
			frames = append(frames, &media.Frame{Track: track, Source: at, Key: i == 0 && n < 2, Payload: payload(i, 100)})
		}
	}
	frames = published(t, frames, nil)
	// The bodies of a track that has a number: configuration, frames, and what is told.
	marks := []string{"\x96\x00avc1\x01", "\x96\x03avc1\x01", "\xa6\x03avc1\x01", "\x96\x04avc1\x01", "\x95\x00mp4a\x03", "\x95\x01mp4a\x03"}
	counts := func(b []byte) (n [6]int) {
		for i, m := range marks {
			n[i] = bytes.Count(b, []byte(m))
		}
		return n
	}
	for _, only := range []Only{{Main: true}, {}} {
		want := [6]int{}
		if !only.Main {
			want = [6]int{1, 1, 9, 1, 1, 10}
		}
		for name, e := range map[string]Encoder{"RTMP": &RTMP{ChunkSize: 4096, Only: only}, "FLV": &FLV{Only: only}} {
			var bufs net.Buffers
			for _, f := range frames {
				bufs = e.Append(bufs, f)
			}
			all := bytes.Join(bufs, nil)
			if got := counts(all); got != want {
				t.Errorf("%s, %+v: %v, want %v", name, only, got, want)
			}
			if n := bytes.Count(all, payload(9, 100)); n != 2*(1+min(1, want[0])) {
				t.Errorf("%s, %+v: %d of the last frames", name, only, n)
			}
		}
		for _, kind := range []media.Form{media.FormRTMP, media.FormFLV} {
			f := Spec{Form: kind, ChunkSize: 4096, Framing: Bare, Only: only}.form(nil, nil)
			var all []byte
			for i, fr := range frames {
				if f.size(fr) == 0 {
					continue
				}
				if i == 0 {
					s := &start{layout: fr.Layout, dts: fr.DTS, seq: fr.Seq}
					f.note(s, fr, true)
					all = f.prologue(all, &progress{}, s)
				}
				all = f.appendFrame(all, fr)
			}
			if got := counts(all); got != want {
				t.Errorf("reel %d, %+v: %v, want %v", kind, only, got, want)
			}
		}
	}
}

// Who knows of nanoseconds is told times to the nanosecond, by either way of sending; the
// others get what they got.
func TestNanoseconds(t *testing.T) {
	var frames []*media.Frame
	for i := range 10 {
		at := time.Duration(i) * 40 * time.Millisecond
		frames = append(frames, &media.Frame{Track: picture, Source: at, CTO: 123_456, Key: i == 0, Payload: payload(i, 100)})
	}
	frames = published(t, frames, nil)
	const plain, exact = "\x27\x01\x00\x00\x00", "\xa7\x02\x01\xe2\x40\x03avc1"
	for _, nano := range []bool{false, true} {
		only := Only{Main: true, Nano: nano}
		var bufs net.Buffers
		e := &RTMP{ChunkSize: 4096, Only: only}
		for _, f := range frames {
			bufs = e.Append(bufs, f)
		}
		form := Spec{Form: media.FormRTMP, ChunkSize: 4096, Only: only}.form(nil, nil)
		var reel []byte
		s := &start{layout: frames[0].Layout, dts: frames[0].DTS, seq: frames[0].Seq}
		form.note(s, frames[0], true)
		for _, f := range frames {
			if n := len(reel); form.size(f) < len(form.appendFrame(reel, f))-n {
				t.Error("a frame is longer than it says")
			}
			reel = form.appendFrame(reel, f)
		}
		for how, b := range map[string][]byte{"alone": bytes.Join(bufs, nil), "together": reel} {
			if n, m := bytes.Count(b, []byte(plain)), bytes.Count(b, []byte(exact)); n+m != 9 || (m == 9) != nano {
				t.Errorf("%s, %v: %d frames in the old form, %d with nanoseconds", how, nano, n, m)
			}
		}
	}
}
