package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"weir/internal/format/mpegts"
)

// playTS plays a transport stream over HTTP, as playFLV does.
func playTS(ctx context.Context, v *viewer) error {
	return playHTTP(ctx, v, func(body io.Reader) func() (bool, error) {
		p := &pictures{v: v, r: bufio.NewReaderSize(body, 100*mpegts.PacketSize)}
		return p.next
	})
}

// pictures finds the pictures in a transport stream, by whoever made it.
type pictures struct {
	v      *viewer
	r      *bufio.Reader
	pid    int    // of the picture, 0 while that is not known
	head   []byte // the beginning of a picture, while its stamp is looked for
	open   bool   // it is looked for
	packet [mpegts.PacketSize]byte
}

// stampWithin is how far into a picture its stamp stands, with parameter sets before
// it, in bytes.
const stampWithin = 1024

// next takes a packet.
func (p *pictures) next() (left bool, err error) {
	b := p.packet[:]
	if _, err := io.ReadFull(p.r, b); err != nil {
		return false, err
	}
	if b[0] != 0x47 {
		return false, errors.New("no packet of a transport stream where one should begin")
	}
	pid, start, key := int(b[1]&0x1f)<<8|int(b[2]), b[1]&0x40 != 0, false
	data := b[4:]
	if b[3]&0x20 != 0 {
		n := min(int(b[4])+1, len(data))
		key = n > 1 && b[5]&0x40 != 0
		data = data[n:]
	}
	if start && bytes.HasPrefix(data, []byte{0, 0, 1, 0xe0}) {
		p.pid = pid
		left = p.begin(key)
	}
	if p.open && pid == p.pid {
		if p.head = append(p.head, data...); stamped(p.head) || len(p.head) >= stampWithin {
			p.open = false
			p.v.picture(p.head)
		}
	}
	return left, nil
}

// begin begins a picture.
func (p *pictures) begin(key bool) (left bool) {
	if key {
		p.v.started()
	}
	if !p.v.probe {
		return p.v.first.Load() > 0
	}
	if p.open { // the one before had no stamp
		p.v.picture(p.head)
	}
	p.head, p.open = p.head[:0], true
	return false
}

func stamped(b []byte) bool {
	_, _, _, ok := nextStamp(b)
	return ok
}
