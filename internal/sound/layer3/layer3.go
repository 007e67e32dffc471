// Package layer3 decodes MPEG audio layer III, MP3.
package layer3

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mp3 "github.com/hajimehoshi/go-mp3"

	format "weir/internal/media/mp3"
)

// ErrOther is returned for frames of layers I and II, and of MPEG 2.5.
var ErrOther = errors.New("this is not MP3 of 16 kHz or more, but MPEG 2.5 or another layer")

// rateLeast is the lowest rate in Hz of MPEG-1 and MPEG-2.
const rateLeast = 16000

// samplesMost is how many samples per channel a frame holds at most.
const samplesMost = 1152

// A Decoder decodes frames. The zero value is ready.
type Decoder struct {
	d   *mp3.Decoder
	in  feed
	raw [samplesMost * 4]byte
	out [samplesMost * 2]int16
}

// NewDecoder returns a Decoder.
func NewDecoder() *Decoder { return &Decoder{} }

// Format returns the rate in Hz, 0 before the first frame, and the number of
// channels, which is always two.
func (d *Decoder) Format() (rate, channels int) {
	if d.d == nil {
		return 0, 2
	}
	return d.d.SampleRate(), 2
}

// Decode decodes one frame. The first ones after a start give an error if they
// lean on what came before, and ErrOther is that of what the library does not know. It may
// fail in its own way over broken bytes, which is an error too, and it starts anew.
func (d *Decoder) Decode(packet []byte) (pcm []int16, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("mp3: %v", p)
		}
		if err != nil {
			d.d, pcm = nil, nil
		}
	}()
	if h, err := format.Parse(packet); err == nil && (h.Layer != 3 || h.SampleRate < rateLeast) {
		return nil, ErrOther
	}
	d.in = append(d.in[:0], packet...)
	if d.d == nil {
		if d.d, err = mp3.NewDecoder(&d.in); err != nil {
			return nil, err
		}
	}
	n, err := d.d.Read(d.raw[:]) // all of a frame, or it would look for the next
	if err != nil {
		return nil, err
	}
	for i := range n / 2 {
		d.out[i] = int16(binary.LittleEndian.Uint16(d.raw[2*i:]))
	}
	return d.out[:n/2], nil
}

// feed is what has been given to the decoder and not been read.
type feed []byte

func (f *feed) Read(p []byte) (int, error) {
	if len(*f) == 0 {
		return 0, io.EOF
	}
	n := copy(p, *f)
	*f = (*f)[n:]
	return n, nil
}
