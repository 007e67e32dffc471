package rtmp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/wire/rtmp"
)

func TestConformance(t *testing.T) {
	codes := protocoltest.Codes{NoVhost: rtmp.ConnectRejected, Full: rtmp.ConnectRejected, Shutdown: rtmp.ConnectRejected}
	publish, play := codes, codes
	publish.Denied, publish.EmptyName, publish.BadName, publish.Busy = rtmp.PublishDenied, rtmp.PublishBadName, rtmp.PublishBadName, rtmp.PublishBadName
	play.Denied, play.EmptyName, play.BadName = rtmp.PlayFailed, rtmp.PlayStreamNotFound, rtmp.PlayStreamNotFound
	for _, c := range []struct {
		name string
		fmle bool
		port link.DialOptions
	}{
		{"fmle", true, link.DialOptions{}},
		{"flash, small chunks, complex handshake", false, link.DialOptions{ChunkSize: 128, Schema: rtmp.DigestFirst}},
	} {
		t.Run(c.name, func(t *testing.T) {
			protocoltest.Run(t, protocoltest.Door{
				Protocol: Protocol, Connects: true,
				Publish: func(ctx context.Context, h *protocoltest.House, n protocoltest.Name) (protocoltest.Publisher, error) {
					o := c.port
					o.FMLE = c.fmle
					return publishAt(ctx, h, n, o)
				},
				Play: func(ctx context.Context, h *protocoltest.House, n protocoltest.Name) (protocoltest.Player, error) {
					return playAt(ctx, h, n, c.port)
				},
				Code:         code,
				PublishCodes: publish, PlayCodes: play,
			})
		})
	}
}

// code returns what the server said in words.
func code(err error) string {
	if e, ok := errors.AsType[*link.StatusError](err); ok {
		return e.Code
	}
	return ""
}

// dialAt connects to a house. The vhost is named in the address, as DNS would.
func dialAt(ctx context.Context, h *protocoltest.House, n protocoltest.Name, o link.DialOptions) (*link.Client, error) {
	host := n.Vhost
	o.TcURL = "rtmp://" + host + "/" + n.App
	o.Stream = n.Stream
	o.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		if n.From != "" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(n.From), 0))
		}
		return d.DialContext(ctx, network, h.Addr())
	}
	c, err := link.Dial(ctx, "rtmp://"+h.Addr()+"/"+n.App+"/x", o)
	if err == nil && n.Stream == "" {
		// Options take an empty name for one that was not given.
		return c, nil
	}
	return c, err
}

// publisher is an RTMP client that publishes.
type publisher struct {
	*link.Client
	drained chan error
	tracks  [2]*media.Track // whose sequence headers were sent
}

func publishAt(ctx context.Context, h *protocoltest.House, n protocoltest.Name, o link.DialOptions) (protocoltest.Publisher, error) {
	if n.Stream == "" {
		return nil, wish(ctx, h, n, o, "publish")
	}
	c, err := dialAt(ctx, h, n, o)
	if err != nil {
		return nil, err
	}
	if err := c.Publish(); err != nil {
		c.Close()
		return nil, err
	}
	p := &publisher{Client: c, drained: make(chan error, 1)}
	go func() { p.drained <- c.Drain() }()
	return p, nil
}

func (p *publisher) Write(f *media.Frame) error {
	ts := flv.Timestamp(f.Source)
	typ := rtmp.MessageType(flv.Type(f.Track.Kind))
	if sent := &p.tracks[f.Track.Kind-media.Video]; *sent != f.Track {
		*sent = f.Track
		if body, ok := flv.AppendConfigBody(nil, f.Track); ok {
			if err := p.WriteMessage(typ, ts, body); err != nil {
				return err
			}
		}
	}
	if err := p.WriteMessage(typ, ts, flv.AppendBody(nil, f)); err != nil {
		return err
	}
	return p.Flush()
}

func (p *publisher) Wait() error {
	err := <-p.drained
	p.drained <- err
	return err
}

func (p *publisher) Close() error {
	err := p.Client.Close()
	p.Wait()
	return err
}

// player is an RTMP client that plays.
type player struct {
	*link.Client
	in    flv.Ingest
	ready []*media.Frame
}

func playAt(ctx context.Context, h *protocoltest.House, n protocoltest.Name, o link.DialOptions) (protocoltest.Player, error) {
	if n.Stream == "" {
		return nil, wish(ctx, h, n, o, "play")
	}
	c, err := dialAt(ctx, h, n, o)
	if err != nil {
		return nil, err
	}
	if err := c.Play(); err != nil {
		c.Close()
		return nil, err
	}
	return &player{Client: c}, nil
}

func (p *player) Read() (*media.Frame, error) {
	for len(p.ready) == 0 {
		m, err := p.ReadMessage(20 * time.Second)
		if err != nil {
			return nil, err
		}
		kind := media.Video
		if m.Type == rtmp.TypeAudio {
			kind = media.Audio
		} else if m.Type != rtmp.TypeVideo {
			continue
		}
		if p.ready, err = p.in.Frames(p.ready, kind, time.Duration(m.Timestamp)*time.Millisecond, m.Payload); err != nil {
			return nil, err
		}
	}
	f := p.ready[0]
	p.ready = p.ready[1:]
	return f, nil
}

// wish asks for a stream without a name.
func wish(ctx context.Context, h *protocoltest.House, n protocoltest.Name, o link.DialOptions, act string) error {
	c, err := dialAt(ctx, h, n, o)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Command(act, 5, nil, "", "live"); err != nil {
		return err
	}
	for {
		if _, err := c.ReadCommand(20 * time.Second); err != nil {
			if errors.Is(err, io.EOF) {
				err = errors.New("closed without a word")
			}
			return err
		}
	}
}
