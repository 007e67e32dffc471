package caster

import (
	"context"
	"net/netip"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// output is where a stream goes.
type output interface {
	write(f *media.Frame) error
	// count tells how many bytes have come from the source.
	count(n int)
	// ended is done when the output takes no more; its cause says why.
	ended() context.Context
	close(err error)
}

// source is who sends.
type source struct {
	protocol string // "mpegts", "flv-post"
	remote   netip.AddrPort
	kind     string // SRS's word for the client
}

// open opens the output of an address.
func (s *server) open(ctx context.Context, url string, src source) (output, error) {
	t, err := rtmp.ParseURL(url)
	if err != nil {
		return nil, err
	}
	if !s.ours(t) {
		return dial(ctx, url)
	}
	sess, err := s.env.Desk.Connect(ctx, session.Visitor{Protocol: src.protocol, Remote: src.remote, TcURL: t.TcURL(), Connects: true})
	if err != nil {
		return nil, err
	}
	pub, err := sess.Publish(ctx, session.Ask{Key: hub.Key{Vhost: t.Vhost, App: t.App, Stream: t.Stream}, Type: src.kind,
		Said: session.Said{Vhost: t.Vhost, App: t.App, Stream: t.Stream, Param: t.Param}})
	if err != nil {
		sess.Close(err)
		return nil, err
	}
	return &direct{sess, pub}, nil
}

// direct publishes on this server.
type direct struct {
	session *session.Session
	pub     *hub.Publication
}

func (d *direct) write(f *media.Frame) error {
	d.pub.Write(f)
	return nil
}

func (d *direct) count(n int) { d.session.Count(n, 0) }

func (d *direct) ended() context.Context { return d.session.Context() }

func (d *direct) close(err error) { d.session.Close(err) }

// pushed publishes on another server, by RTMP.
type pushed struct {
	client *link.Client
	ctx    context.Context
	cancel context.CancelCauseFunc
	tracks map[media.Kind]*media.Track
	buf    []byte
}

func dial(ctx context.Context, url string) (output, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	c, err := link.Dial(ctx, url, link.DialOptions{FMLE: true, WriteTimeout: 5 * time.Second})
	if err == nil {
		err = c.Publish()
	}
	if err != nil {
		if c != nil {
			c.Close()
		}
		cancel(err)
		return nil, err
	}
	p := &pushed{client: c, ctx: ctx, cancel: cancel, tracks: map[media.Kind]*media.Track{}}
	go func() { cancel(c.Drain()) }() // ends with the client
	return p, nil
}

func (p *pushed) write(f *media.Frame) error {
	if f.Track.Codec == media.TSData {
		return nil
	}
	typ, at := rtmp.MessageType(flv.Type(f.Track.Kind)), flv.Timestamp(f.Source)
	if p.tracks[f.Track.Kind] != f.Track {
		p.tracks[f.Track.Kind] = f.Track
		if body, ok := flv.AppendConfigBody(nil, f.Track); ok {
			if err := p.client.WriteMessage(typ, at, body); err != nil {
				return err
			}
		}
	}
	p.buf = flv.AppendBodyHeader(p.buf[:0], f)
	if err := p.client.WriteMessage(typ, at, p.buf, f.Payload); err != nil {
		return err
	}
	return p.client.Flush()
}

func (p *pushed) count(int) {}

func (p *pushed) ended() context.Context { return p.ctx }

func (p *pushed) close(err error) {
	p.cancel(err)
	p.client.Close()
}
