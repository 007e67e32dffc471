package bench

import (
	"bufio"
	"context"
	"time"

	"weir/internal/format/mpegts"
	link "weir/internal/link/srt"
)

// playSRT plays a transport stream over SRT. The viewer keeps its goroutine, since it has
// to acknowledge what comes; only probes look into it.
func playSRT(ctx context.Context, v *viewer) error {
	t, err := link.ParseURL(v.url)
	if err != nil {
		return err
	}
	dialing, cancel := context.WithTimeout(ctx, setupTimeout)
	defer cancel()
	c, err := link.Dial(dialing, t)
	if err != nil {
		return err
	}
	defer c.Close()
	r := &payloads{ctx: ctx, c: c, v: v}
	p := &pictures{v: v, r: bufio.NewReaderSize(r, 7*mpegts.PacketSize)}
	for {
		left, err := p.next()
		if err != nil {
			return err
		}
		if left {
			break
		}
	}
	for {
		if err := r.fill(); err != nil {
			return err
		}
	}
}

// payloads reads what a connection brings, and counts it.
type payloads struct {
	ctx  context.Context
	c    *link.Conn
	v    *viewer
	all  []byte
	left []byte
}

func (p *payloads) fill() (err error) {
	if p.all, err = p.c.Read(p.ctx, p.all); err == nil {
		p.v.came(len(p.all), time.Now().UnixNano())
	}
	return err
}

// Read implements io.Reader.
func (p *payloads) Read(b []byte) (int, error) {
	for len(p.left) == 0 {
		if err := p.fill(); err != nil {
			return 0, err
		}
		p.left = p.all
	}
	n := copy(b, p.left)
	p.left = p.left[n:]
	return n, nil
}
