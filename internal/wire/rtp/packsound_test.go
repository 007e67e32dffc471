package rtp

import (
	"bytes"
	"encoding/binary"
	"testing"

	"weir/internal/media"
)

func TestPackAAC(t *testing.T) {
	track := &media.Track{Kind: media.Audio, Codec: media.AAC}
	for _, size := range []int{1, 300, 1196, 1197, 8191} {
		frame := bytes.Repeat([]byte{7}, size)
		var p Packer
		all := p.Append(nil, &media.Frame{Track: track, Payload: frame})
		var got []byte
		for i, x := range all {
			b := x.AppendTo(nil)
			// The length of the header in bits, and what it says of the frame.
			if len(b) > MaxPayload || binary.BigEndian.Uint16(b) != 16 || int(binary.BigEndian.Uint16(b[2:]))>>3 != size || b[3]&7 != 0 {
				t.Errorf("%d bytes: packet %d begins with %x", size, i, b[:4])
			}
			if x.Marker != (i == len(all)-1) {
				t.Errorf("%d bytes: packet %d of %d has marker %v", size, i, len(all), x.Marker)
			}
			got = append(got, b[4:]...)
		}
		if !bytes.Equal(got, frame) {
			t.Errorf("%d bytes: %d came out", size, len(got))
		}
	}
	var p Packer
	if all := p.Append(nil, &media.Frame{Track: track, Payload: make([]byte, 8192)}); len(all) != 0 {
		t.Errorf("a frame that no header tells of has %d packets", len(all))
	}
}

func TestPackMP3(t *testing.T) {
	track := &media.Track{Kind: media.Audio, Codec: media.MP3}
	for _, size := range []int{1, 417, 1196, 1441} {
		frame := make([]byte, size)
		for i := range frame {
			frame[i] = byte(i)
		}
		var p Packer
		var got []byte
		for _, x := range p.Append(nil, &media.Frame{Track: track, Payload: frame}) {
			b := x.AppendTo(nil)
			if at := binary.BigEndian.Uint32(b); len(b) > MaxPayload || int(at) != len(got) || x.Marker {
				t.Errorf("%d bytes: a packet of %d says %d, marker %v", size, len(b), at, x.Marker)
			}
			got = append(got, b[4:]...)
		}
		if !bytes.Equal(got, frame) {
			t.Errorf("%d bytes: %d came out", size, len(got))
		}
	}
}
