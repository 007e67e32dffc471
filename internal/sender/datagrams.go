package sender

import (
	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// Datagrams makes one transport stream in pieces that fit into datagrams: whole
// packets, and each frame begins where the one before ended. Tables stand before each
// key frame, and twice a second.
type Datagrams struct {
	// Size is the most that a piece has, in bytes; 1316 if it is less than a packet.
	Size int

	ts  tsBody
	buf []byte
}

// Add takes a frame; what a transport stream cannot carry is left out.
func (d *Datagrams) Add(f *media.Frame) {
	if d.ts.size(f) > 0 {
		d.buf = d.ts.appendFrame(d.buf, f)
	}
}

// Left is how many bytes wait for more.
func (d *Datagrams) Left() int { return len(d.buf) }

// Send calls write with whole pieces, and with all what is left too. The bytes are valid
// until write returns.
func (d *Datagrams) Send(all bool, write func(b []byte) error) error {
	size := d.Size / mpegts.PacketSize * mpegts.PacketSize
	if size == 0 {
		size = 7 * mpegts.PacketSize
	}
	b := d.buf
	for len(b) >= size || all && len(b) > 0 {
		n := min(size, len(b))
		if err := write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	d.buf = append(d.buf[:0], b...)
	return nil
}
