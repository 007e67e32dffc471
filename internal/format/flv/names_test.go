package flv

import (
	"strings"
	"testing"

	"weir/internal/format/amf"
	"weir/internal/media"
)

// Languages and names of metadata are those of the tracks, whichever comes first; what is
// no name changes nothing.
func TestNames(t *testing.T) {
	info := func(pairs ...string) amf.Object {
		var o amf.Object
		for i := 0; i < len(pairs); i += 2 {
			o = append(o, amf.Property{Key: pairs[i], Value: pairs[i+1]})
		}
		return o
	}
	meta := func(lang string) []byte {
		return amf.Append(nil, amf.Object{{Key: "language", Value: lang},
			{Key: "audioTrackIdInfoMap", Value: amf.Object{{Key: "1", Value: info("language", "eng", "title", " Comment ")}, {Key: "x", Value: info("language", "fra")},
				{Key: "300", Value: info("language", "fra")}, {Key: "2", Value: "text"}, {Key: "3", Value: info("title", strings.Repeat("x", maxName+1), "label", "\xff")}}},
			{Key: "videoTrackIdInfoMap", Value: amf.Object{{Key: "1", Value: info("label", "portrait")}}}})
	}
	in := &Ingest{SkipSPS: true}
	take := func(kind media.Kind, body string) {
		if _, err := in.Frames(nil, kind, 0, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	take(media.Audio, "\xaf\x00\x12\x10")
	in.Names(meta("deu"))
	take(media.Audio, "\x95\x00mp4a\x01\x12\x10")
	take(media.Audio, "\x95\x00mp4a\x03\x12\x10")
	take(media.Video, "\x96\x00avc1\x01\x01\x64\x00\x1f\xff\xe0\x00")
	var got []string
	for _, tr := range in.Tracks(nil) {
		got = append(got, tr.Lang+" "+tr.Label)
	}
	if s := strings.Join(got, "; "); s != "deu ; eng Comment;  ;  portrait" {
		t.Errorf("tracks are %q", s)
	}
	before := in.Tracks(nil)
	in.Names(meta("deu"))
	in.Names([]byte{3, 0})
	in.Names(nil)
	for i, tr := range in.Tracks(nil) {
		if tr != before[i] {
			t.Errorf("%v %d is another, of which the same is told", tr.Kind, tr.ID)
		}
	}
	in.Names(meta("fra"))
	if now := in.Tracks(nil); now[0] == before[0] || now[0].Lang != "fra" || now[1] != before[1] || before[0].Lang != "deu" {
		t.Errorf("tracks are %+v", now)
	}
}

// FuzzNames holds that no metadata does harm.
func FuzzNames(f *testing.F) {
	f.Add(amf.Append(nil, amf.Object{{Key: "audioTrackIdInfoMap", Value: amf.Object{{Key: "1", Value: amf.Object{{Key: "language", Value: "eng"}}}}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &Ingest{SkipSPS: true}
		in.Frames(nil, media.Audio, 0, []byte("\xaf\x00\x12\x10"))
		in.Names(b)
		if len(in.named) > 2*MaxTracks+1 || len(in.Tracks(nil)) != 1 || len(in.Tracks(nil)[0].Lang) > maxName {
			t.Errorf("%+v", in)
		}
	})
}
