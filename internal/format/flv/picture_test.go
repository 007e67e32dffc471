package flv

import (
	"bytes"
	"errors"
	"testing"

	"weir/internal/format/amf"
	"weir/internal/media"
)

// What is told of a picture stays with its track, over sequence headers, and is told again
// as it came.
func TestPicture(t *testing.T) {
	in := &Ingest{SkipSPS: true}
	take := func(head string, body ...byte) []*media.Frame {
		frames, err := in.Frames(nil, media.Video, 0, append([]byte(head), body...))
		if err != nil {
			t.Fatal(err)
		}
		return frames
	}
	frame := func() *media.Frame { return take("\x96\x03avc1\x02", 0, 0, 0, 2, 0x65, 1)[0] }
	colours := amf.AppendAll(nil, "colorInfo", amf.Object{{Key: "hdrCll", Value: amf.Object{{Key: "maxCLL", Value: 1000.0}}}})
	take("\x96\x04avc1\x02", colours...) // of no track yet
	take("\x96\x00avc1\x02", 1, 100, 0, 31, 255, 224, 0)
	plain := frame().Track
	if plain.Picture != nil {
		t.Errorf("told of before it was there: %x", plain.Picture)
	}
	if _, ok := AppendPictureBody(nil, plain); ok {
		t.Error("nothing is told")
	}
	take("\x96\x04avc1\x02", colours...)
	told := frame().Track
	if told == plain || !bytes.Equal(told.Picture, colours) || !told.Same(plain) {
		t.Errorf("the track is %+v", told)
	}
	take("\x96\x04avc1\x02", colours...)
	take("\x96\x00avc1\x02", 1, 100, 0, 31, 255, 224, 0)
	if frame().Track != told {
		t.Error("another track, of which the same is told")
	}
	take("\x96\x00avc1\x02", 1, 77, 0, 31, 255, 224, 0)
	if next := frame().Track; next.Same(told) || !bytes.Equal(next.Picture, colours) {
		t.Errorf("with another configuration: %+v", next)
	}
	body, ok := AppendPictureBody(nil, told)
	if !ok || !bytes.Equal(body, append([]byte("\x96\x04avc1\x02"), colours...)) {
		t.Errorf("told as %x", body)
	}
	for body, want := range map[string]error{"\x96\x04avc1\x02\x02\x00\xff": ErrSyntax, "\x96\x04avc1\x02" + string(make([]byte, maxPicture+1)): ErrLimit} {
		if _, err := in.Frames(nil, media.Video, 0, []byte(body)); !errors.Is(err, want) {
			t.Errorf("%.20x: %v, want %v", body, err, want)
		}
	}
}
