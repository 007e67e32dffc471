package caster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mpegts"
	"weir/internal/link"
	"weir/internal/media"
	"weir/internal/service"
)

const (
	// silence is how long nothing may come before a stream goes off the air.
	silence = 5 * time.Second
	// retry is the wait after an output that could not be had.
	retry = 3 * time.Second
	// receiveBuffer is what the kernel is asked to keep, in bytes: half a second of
	// 60 Mbit/s.
	receiveBuffer = 4 << 20
	maxDatagram   = 64 << 10
)

// tsCaster takes one transport stream in datagrams, bare or in RTP, from whoever
// sends first; others are left out while that one sends.
type tsCaster struct {
	server  *server
	conf    blocks.StreamCasterConfig
	log     *slog.Logger
	sockets []*net.UDPConn
	floors  []*service.Floor // of the sockets
}

func (t *tsCaster) bind(ctx context.Context) error {
	for _, listen := range t.conf.Listen {
		network, address, err := link.Address(listen)
		if err != nil {
			return fmt.Errorf("stream_caster: %w", err)
		}
		at, err := net.ResolveUDPAddr("udp"+network[3:], address)
		if err != nil {
			return fmt.Errorf("stream_caster: listen %s: %w", listen, err)
		}
		pc, err := t.server.env.Handover.KeepUDP("udp"+network[3:], address, func() (*net.UDPConn, error) {
			if !at.IP.IsMulticast() {
				return net.ListenUDP("udp"+network[3:], at)
			}
			pc, err := net.ListenMulticastUDP("udp"+network[3:], nil, at)
			if err == nil {
				join(pc, at.IP)
			}
			return pc, err
		})
		if err != nil {
			return fmt.Errorf("stream_caster: listen at udp %s: %w; stop what has the port, or configure another", address, err)
		}
		pc.SetReadBuffer(receiveBuffer) // less is no failure
		t.sockets = append(t.sockets, pc)
		t.floors = append(t.floors, t.server.env.Handover.Floor("udp"+network[3:]+" "+address))
	}
	return nil
}

// join joins a group at every IPv4 address of this machine, since the sender may be
// behind any of them; the system's own choice is joined already.
func join(pc *net.UDPConn, group net.IP) {
	raw, err := pc.SyscallConn()
	all, _ := net.InterfaceAddrs()
	if err != nil || group.To4() == nil {
		return
	}
	for _, a := range all {
		p, err := netip.ParsePrefix(a.String())
		if err != nil || !p.Addr().Is4() {
			continue
		}
		m := &syscall.IPMreq{Multiaddr: [4]byte(group.To4()), Interface: p.Addr().As4()}
		raw.Control(func(fd uintptr) { syscall.SetsockoptIPMreq(int(fd), syscall.IPPROTO_IP, syscall.IP_ADD_MEMBERSHIP, m) })
	}
}

// run takes streams one after the other, until an upgrade has another process do it: the
// stream that comes then is taken to its end.
func (t *tsCaster) run(ctx context.Context, pc *net.UDPConn, floor *service.Floor) {
	if _, ok := floor.Await(ctx); !ok {
		return
	}
	defer floor.Give(nil)
	interrupt := func() { pc.SetReadDeadline(time.Unix(1, 0)) }
	defer context.AfterFunc(ctx, interrupt)()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-floor.Due():
			interrupt()
		case <-over:
		}
	}()
	buf := make([]byte, maxDatagram)
	for ctx.Err() == nil && !floor.IsDue() {
		pc.SetReadDeadline(time.Time{})
		if ctx.Err() != nil || floor.IsDue() { // before the line above, which has undone it
			return
		}
		n, from, err := pc.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || len(packets(buf[:n])) == 0 {
			continue
		}
		err = service.Guard(t.log, func() error { return t.stream(ctx, pc, from, buf, n) })
		t.log.Info("stream ended", "from", from.String(), "err", err)
		if !errors.Is(err, errSilent) && ctx.Err() == nil {
			select {
			case <-time.After(retry):
			case <-ctx.Done():
			}
		}
	}
}

// stream takes one stream, of which the first n bytes have come.
func (t *tsCaster) stream(ctx context.Context, pc *net.UDPConn, from netip.AddrPort, buf []byte, n int) (err error) {
	d := mpegts.NewDemuxer()
	d.Program = uint16(t.conf.Program)
	var out output
	defer func() {
		if out != nil {
			out.close(err)
		}
	}()
	var frames []*media.Frame
	came := 0 // bytes that have not been counted
	for last := time.Now(); ; {
		came += n
		frames = d.Feed(frames[:0], packets(buf[:n]))
		for _, f := range frames {
			if out == nil { // not before there is a stream
				src := source{protocol: "mpegts", remote: netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), kind: "mpegts-publish"}
				if out, err = t.server.open(ctx, t.conf.Output, src); err != nil {
					return err
				}
				t.log.Info("stream begins", "from", from.String(), "output", t.conf.Output)
				// Whoever ends it does not wait for the next datagram.
				defer context.AfterFunc(out.ended(), func() { pc.SetReadDeadline(time.Unix(1, 0)) })()
			}
			if err := out.write(f); err != nil {
				return err
			}
		}
		clear(frames)
		if out != nil {
			out.count(came)
			came = 0
		}
		for n = 0; n == 0; {
			pc.SetReadDeadline(time.Now().Add(time.Second))
			// After the line above, which may have undone an interruption.
			if out != nil && out.ended().Err() != nil {
				return context.Cause(out.ended())
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			k, who, err := pc.ReadFromUDPAddrPort(buf)
			switch {
			case errors.Is(err, net.ErrClosed):
				return err
			case err == nil && who == from:
				n, last = k, time.Now()
			case time.Since(last) > silence:
				return errSilent
			case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
				t.log.Debug("datagram", "err", err)
			}
		}
	}
}

// packets returns the transport stream in a datagram: all of it, or what is behind
// an RTP header (RFC 3550 5.1, RFC 2250) if that fits; nothing if it holds none.
func packets(b []byte) []byte {
	if len(b) >= mpegts.PacketSize && b[0] == 0x47 {
		return b
	}
	if len(b) < 12 || b[0]>>6 != 2 {
		return nil
	}
	head := 12 + 4*int(b[0]&15)
	if b[0]&0x10 != 0 && len(b) >= head+4 {
		head += 4 + 4*(int(b[head+2])<<8|int(b[head+3]))
	}
	end := len(b)
	if b[0]&0x20 != 0 {
		end -= int(b[end-1])
	}
	if head >= end || b[head] != 0x47 {
		return nil
	}
	return b[head:end]
}
