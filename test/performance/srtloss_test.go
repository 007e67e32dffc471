package performance

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	link "weir/internal/link/srt"
)

// A lossy is a way that loses, and delays by 20 ms, both ways, each by numbers of its own.
type lossy struct {
	addr   string
	client atomic.Pointer[netip.AddrPort]
}

func newLossy(b *testing.B, to string, loss float64, seed uint64) *lossy {
	front, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		b.Fatal(err)
	}
	back, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []*net.UDPConn{front, back} {
		c.SetReadBuffer(4 << 20)
	}
	b.Cleanup(func() { front.Close(); back.Close() })
	l := &lossy{addr: front.LocalAddr().String()}
	carry := func(seed uint64, read func(p []byte) (int, error), write func(p []byte)) {
		r := rand.New(rand.NewPCG(seed, 1))
		buf := make([]byte, 2048)
		for n := 0; ; n++ {
			k, err := read(buf)
			if err != nil {
				if errors.Is(err, net.ErrClosed) {
					return
				}
				continue
			}
			lost := r.Float64() < loss
			if n < 8 || !lost { // the handshake is not what is compared
				p := bytes.Clone(buf[:k])
				time.AfterFunc(20*time.Millisecond, func() { write(p) })
			}
		}
	}
	go carry(seed, func(p []byte) (int, error) {
		n, from, err := front.ReadFromUDPAddrPort(p)
		if err == nil {
			l.client.Store(&from)
		}
		return n, err
	}, func(p []byte) { back.Write(p) })
	go carry(seed+1, back.Read, func(p []byte) {
		if to := l.client.Load(); to != nil {
			front.WriteToUDPAddrPort(p, *to)
		}
	})
	return l
}

// An end sends or receives payloads of 1316 bytes.
type end interface {
	write(p []byte) error
	read(p []byte) error
	close()
}

// tool is libsrt's own program.
type tool struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out io.ReadCloser
}

func newTool(b *testing.B, from, to string) *tool {
	t := &tool{cmd: exec.Command("srt-live-transmit", "-q", "-a:no", "-chunk:1316", from, to)}
	var err error
	if t.in, err = t.cmd.StdinPipe(); err == nil {
		if t.out, err = t.cmd.StdoutPipe(); err == nil {
			err = t.cmd.Start()
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	return t
}

func (t *tool) write(p []byte) error { _, err := t.in.Write(p); return err }
func (t *tool) read(p []byte) error  { _, err := io.ReadFull(t.out, p); return err }
func (t *tool) close()               { t.cmd.Process.Kill(); t.cmd.Wait() }

// ours is our caller.
type ours struct {
	*link.Conn
	got []byte
}

func newOurs(b *testing.B, addr string, latency time.Duration) *ours {
	t, err := link.ParseURL(fmt.Sprintf("srt://%s?latency=%d", addr, latency.Milliseconds()))
	if err != nil {
		b.Fatal(err)
	}
	for range 50 {
		var c *link.Conn
		if c, err = link.Dial(context.Background(), t); err == nil {
			return &ours{Conn: c}
		}
		time.Sleep(100 * time.Millisecond)
	}
	b.Fatal(err)
	return nil
}

func (o *ours) write(p []byte) error { return o.Write(context.Background(), p) }
func (o *ours) read(p []byte) error {
	for len(o.got) < len(p) {
		b, err := o.Read(context.Background(), nil)
		if err != nil {
			return err
		}
		o.got = append(o.got, b...)
	}
	copy(p, o.got)
	o.got = o.got[len(p):]
	return nil
}
func (o *ours) close() { o.Conn.Close() }

// BenchmarkSRTLoss sends the same payloads over the same lossy way, from libsrt's tool to
// itself, from us to it, and from it to us, and counts what is missing at the end: we may
// not lose more than it does, but for as much as two runs of it differ.
func BenchmarkSRTLoss(b *testing.B) {
	const packets, each = 8000, 2 * time.Millisecond // 5.3 Mbit/s
	for _, c := range []struct {
		loss    float64
		latency time.Duration
	}{{0.02, 160 * time.Millisecond}, {0.10, 400 * time.Millisecond}, {0.30, 400 * time.Millisecond}} {
		b.Run(fmt.Sprintf("%.0f%%_at_%v", 100*c.loss, c.latency), func(b *testing.B) {
			for b.Loop() {
				// A machine that stands still for a moment loses for whoever has his turn: what is
				// worse three times in a row is worse.
				for try := 1; ; try++ {
					missing := map[string]int{}
					for _, who := range []string{"theirs", "we send", "we receive"} {
						missing[who] = lose(b, who, c.loss, c.latency, packets, each)
						b.Logf("%s: %d of %d are missing", who, missing[who], packets)
						b.ReportMetric(float64(missing[who])*1e4/packets, who[len(who)-4:]+"_lost/10k")
					}
					allowed := missing["theirs"] + max(packets/10000, missing["theirs"]/4)
					if missing["we send"] <= allowed && missing["we receive"] <= allowed {
						break
					}
					if try == 3 {
						b.Fatalf("we lose more than libsrt: %v", missing)
					}
				}
			}
		})
	}
}

func lose(b *testing.B, who string, loss float64, latency time.Duration, packets int, each time.Duration) int {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	at := pc.LocalAddr().String()
	pc.Close()
	way := newLossy(b, at, loss, 7)
	listener := fmt.Sprintf("srt://%s?mode=listener&latency=%d", at, latency.Milliseconds())
	caller := fmt.Sprintf("srt://%s?latency=%d", way.addr, latency.Milliseconds())
	var from, to end
	switch who {
	case "theirs":
		to = newTool(b, listener, "file://con")
		time.Sleep(500 * time.Millisecond)
		from = newTool(b, "file://con", caller)
	case "we send":
		to = newTool(b, listener, "file://con")
		from = newOurs(b, way.addr, latency)
	default:
		from = newTool(b, "file://con", listener)
		to = newOurs(b, way.addr, latency)
	}
	defer from.close()
	defer to.close()
	time.Sleep(time.Second)
	seen := make(chan int, 1)
	go func() {
		p := make([]byte, 1316)
		n := 0
		for {
			if err := to.read(p); err != nil {
				break
			}
			if q := int(binary.BigEndian.Uint32(p)); q < packets {
				n++
			} else {
				break
			}
		}
		seen <- n
	}()
	p := bytes.Repeat([]byte{0x47}, 1316)
	begun := time.Now()
	// Some more come after those that count, so that all can be asked for again.
	for i := range packets + 1000 {
		binary.BigEndian.PutUint32(p, uint32(i))
		if err := from.write(p); err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Until(begun.Add(time.Duration(i) * each)))
	}
	select {
	case n := <-seen:
		return packets - n
	case <-time.After(5 * time.Second):
		b.Fatalf("%s: nothing came to an end", who)
		return 0
	}
}
