package protocoltest

import (
	"context"
	"errors"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// direct is a client of no protocol: it comes to the desk itself.
type direct struct {
	session *session.Session
	pub     *hub.Publication
	sub     *hub.Subscription
	frames  [1]*media.Frame
}

func ask(n Name, kind string) session.Ask {
	return session.Ask{Key: n.Key(), Said: session.Said{Vhost: n.Vhost, App: n.App, Stream: n.Stream}, Type: kind}
}

// Publish publishes through the desk, with no protocol.
func Publish(ctx context.Context, h *House, n Name) (Publisher, error) {
	s, err := h.Env.Desk.Connect(ctx, session.Visitor{Protocol: "test", IP: n.From})
	if err != nil {
		return nil, err
	}
	p, err := s.Publish(ctx, ask(n, "test-publish"))
	if err != nil {
		s.Close(err)
		return nil, err
	}
	d := &direct{session: s, pub: p}
	h.attend(s)
	return d, nil
}

// attend signs a session out when it was ended.
func (h *House) attend(s *session.Session) {
	h.serving.Go(func() {
		<-s.Context().Done()
		s.Close(context.Cause(s.Context()))
	})
}

// Play plays through the desk, with no protocol.
func Play(ctx context.Context, h *House, n Name) (Player, error) {
	s, err := h.Env.Desk.Connect(ctx, session.Visitor{Protocol: "test", IP: n.From})
	if err != nil {
		return nil, err
	}
	sub, err := s.Play(ctx, ask(n, "test-play"), hub.Options{})
	if err != nil {
		s.Close(err)
		return nil, err
	}
	h.attend(s)
	return &direct{session: s, sub: sub}, nil
}

func (d *direct) Write(f *media.Frame) error {
	if err := d.session.Context().Err(); err != nil {
		return context.Cause(d.session.Context())
	}
	d.pub.Write(&media.Frame{Track: f.Track, Source: f.Source, CTO: f.CTO, Key: f.Key, Payload: f.Payload})
	return nil
}

func (d *direct) Read() (*media.Frame, error) {
	ctx, cancel := context.WithTimeout(d.session.Context(), 20*time.Second)
	defer cancel()
	for {
		_, err := d.sub.Read(ctx, d.frames[:])
		if _, ended := errors.AsType[*hub.EndError](err); ended {
			continue
		}
		if err != nil {
			return nil, err
		}
		f := d.frames[0]
		return &media.Frame{Track: f.Track, Source: f.DTS, CTO: f.CTO, Key: f.Key, Payload: f.Payload}, nil
	}
}

func (d *direct) Wait() error {
	<-d.session.Context().Done()
	return context.Cause(d.session.Context())
}

func (d *direct) Close() error {
	d.session.Close(nil)
	return nil
}
