package srt

import (
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	wire "weir/internal/wire/srt"
)

func TestParams(t *testing.T) {
	conf := *blocks.SRTServer.Default()
	p := (&server{conf: &conf}).params()
	if p.MSS != 1500 || p.RecvPackets != 8192 || p.SendPackets != 8192 || p.MaxBW != 0 || p.Idle != 10*time.Second || p.NoTSBPD || p.KeepLate {
		t.Errorf("by default %+v", p)
	}
	conf.MSS, conf.RecvBuf, conf.SendBuf, conf.MaxBW, conf.PeerIdleTimeout, conf.TSBPDMode, conf.TLPktDrop, conf.LossMaxTTL = 1000, 147200, 294400, 1e6, time.Second, false, false, 20
	p = (&server{conf: &conf}).params()
	if p.MSS != 1000 || p.RecvPackets != 100 || p.SendPackets != 200 || p.MaxBW != 1e6 || p.Idle != time.Second || !p.NoTSBPD || !p.KeepLate || p.Reorder != 20 {
		t.Errorf("as told %+v", p)
	}
}

// hang has callers wait for ever.
type hang struct{}

func (hang) Authorize(ctx context.Context, r *session.Request) error {
	if r.Ask.Key.Stream != "hang" {
		return nil
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

// begin runs a door and returns its hub and where it is.
func begin(t *testing.T, text string) (*hub.Hub, net.Addr) {
	t.Helper()
	s, addr := beginServer(t, text)
	return s.env.Hub, addr
}

func beginServer(t *testing.T, text string) (*server, net.Addr) {
	t.Helper()
	snap, err := config.Parse(config.Source{File: "test.conf", Text: []byte("listen 1935; srt_server { enabled on; listen 127.0.0.1:0; " + text + " } vhost __defaultVhost__ { srt { enabled on; } }")}, blocks.All())
	if err != nil {
		t.Fatal(err)
	}
	store := config.NewStore(snap)
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	desk := session.New(h, session.Rules{Vhost: func(name string) (string, bool) { return hub.DefaultVhost, true }})
	desk.Authorize(hang{})
	svc, err := Protocol.New(service.Env{Log: slog.New(slog.DiscardHandler), Conf: store, Desk: desk, Hub: h})
	if err != nil {
		t.Fatal(err)
	}
	s := svc.(*server)
	if err := s.Bind(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { s.Run(ctx); close(done) }()
	t.Cleanup(func() {
		desk.Shut(session.ErrShutdown)
		desk.End(session.ErrShutdown, nil)
		cancel()
		<-done
	})
	return s, net.UDPAddrFromAddrPort(s.socks[0].sock.LocalAddr())
}

// dial connects as a caller, whose payloads go to deliver, until it is refused or the
// connection ends; without deliver until there is one.
func dial(to net.Addr, streamID string, deliver func([]byte)) error {
	return call(to, streamID, deliver, 10*time.Second)
}

func dialFor(to net.Addr, streamID string, wait time.Duration) error {
	return call(to, streamID, nil, wait)
}

func call(to net.Addr, streamID string, deliver func([]byte), wait time.Duration) error {
	nc, err := net.Dial("udp", to.String())
	if err != nil {
		return err
	}
	defer nc.Close()
	c, err := wire.NewCaller(time.Now(), wire.Params{Send: func(b []byte) { nc.Write(b) }, Deliver: deliver}, newID(), newID(), streamID, "", wait)
	if err != nil {
		return err
	}
	buf := make([]byte, 2048)
	var conn *wire.Conn
	for {
		nc.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		n, err := nc.Read(buf)
		now := time.Now()
		switch {
		case errors.Is(err, net.ErrClosed):
			return err
		case conn != nil && err == nil:
			conn.Handle(now, buf[:n])
		case conn != nil:
			conn.Advance(now)
		case err == nil:
			if conn, err = c.Handle(now, buf[:n]); err != nil {
				return err
			}
			if conn != nil && deliver == nil {
				return nil
			}
		default:
			if err := c.Advance(now); err != nil {
				return err
			}
		}
		if conn != nil && conn.Err() != nil {
			return conn.Err()
		}
	}
}

func TestConnectTimeout(t *testing.T) {
	_, addr := begin(t, "connect_timeout 200;")
	var code wire.Reject
	if err := dial(addr, "live/hang", nil); !errors.As(err, &code) {
		t.Errorf("a caller of whom nobody decides: %v", err)
	}
	if err := dial(addr, "live/s", nil); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestPayloadSize(t *testing.T) {
	h, addr := begin(t, "payloadsize 400;")
	pub, err := h.Publish(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	track := &media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2}
	pub.Write(&media.Frame{Track: track, Payload: make([]byte, 1000)})
	sizes := make(chan int, 1000)
	go dial(addr, "live/s", func(b []byte) { sizes <- len(b) })
	for total := 0; total < 1128; { // the tables and a frame of 1000 bytes
		n := <-sizes
		if n > 376 || n%mpegts.PacketSize != 0 {
			t.Errorf("a payload of %d bytes, at most 376 may be", n)
		}
		total += n
	}
}

// A fault in what one has the loop do leaves out nothing that others have it do: they wait
// for that.
func TestFaultOfOneLeavesOutNoOther(t *testing.T) {
	s, _ := beginServer(t, "")
	k, done := s.socks[0], make(chan struct{})
	k.post(func() { // so that both are there at once
		k.post(func() { panic("a fault of ours") })
		k.post(func() { close(done) })
	})
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		t.Error("the other is not called")
	}
}

// Fifty thousand strangers that begin and do not go on, and as many that guess
// cookies or send garbage, leave nothing behind, and those who are connected, or want to
// be, notice nothing. One address cannot take the places of all who wait.
func TestStrangers(t *testing.T) {
	s, addr := beginServer(t, "")
	there := make(chan error, 1)
	seen := make(chan struct{})
	first := sync.OnceFunc(func() { close(seen) })
	pub, err := s.env.Hub.Publish(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	track := &media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2}
	write := func() { pub.Write(&media.Frame{Track: track, Payload: make([]byte, 417)}) }
	write()
	go func() { there <- dial(addr, "live/s", func([]byte) { first() }) }()
	<-seen

	c, err := net.Dial("udp", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	b := make([]byte, 64)
	b[0], b[19] = 0x80, 4
	copy(b[16+12:], []byte{0, 0, 5, 220, 0, 0, 32, 0, 0, 0, 0, 1, 0, 0, 0, 77})
	for i := range 150_000 {
		binary.BigEndian.PutUint32(b[16+8:], uint32(i)) // the sequence number
		switch i % 3 {
		case 0:
			b[19] = 4
			binary.BigEndian.PutUint32(b[16+20:], 1)
		case 1: // a conclusion with a cookie that is none of ours
			b[19] = 5
			binary.BigEndian.PutUint32(b[16+20:], 0xffffffff)
			binary.BigEndian.PutUint32(b[16+28:], uint32(i))
		default:
			b[19] = byte(i)
			binary.BigEndian.PutUint32(b[16+20:], uint32(i)*2654435761)
		}
		c.Write(b[:16+i%49])
		if i%10_000 == 0 {
			write()
		}
	}
	if err := dial(addr, "live/s", nil); err != nil {
		t.Errorf("who comes meanwhile: %v", err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 4<<20 {
		t.Errorf("%d bytes more are held", grown)
	}
	for _, k := range s.socks {
		k.do(func() {
			s.callers.mu.Lock()
			defer s.callers.mu.Unlock()
			if len(k.asked) > 2 || k.open != 0 || len(s.callers.all) != 0 {
				t.Errorf("%d requests, %d that wait from %d addresses are kept", len(k.asked), k.open, len(s.callers.all))
			}
		})
	}
	select {
	case err := <-there:
		t.Errorf("who was there has gone: %v", err)
	default:
	}
}

func TestOneAddressWaits(t *testing.T) {
	_, addr := beginServer(t, "connect_timeout 60000;")
	var backlog atomic.Int32
	var wg sync.WaitGroup
	for range maxFrom + 10 {
		wg.Go(func() {
			var code wire.Reject
			if errors.As(dialFor(addr, "live/hang", 2*time.Second), &code) && code == wire.RejectBacklog {
				backlog.Add(1)
			}
		})
	}
	wg.Wait()
	if n := backlog.Load(); n < 1 || n > 10 {
		t.Errorf("%d of %d were told that there is no place", n, maxFrom+10)
	}
}
