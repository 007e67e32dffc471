package datagram

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func listen(t *testing.T, network, address string, n int) []*Socket {
	t.Helper()
	all, err := Listen(t.Context(), network, address, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, s := range all {
			s.Close()
		}
	})
	return all
}

// receive reads so many datagrams.
func receive(t *testing.T, s *Socket, n int) (all []string) {
	t.Helper()
	for late := time.Now().Add(10 * time.Second); len(all) < n && time.Now().Before(late); {
		s.Wait(time.Now().Add(100 * time.Millisecond))
		s.Read(func(_ netip.AddrPort, b []byte) { all = append(all, string(b)) })
	}
	if len(all) != n {
		t.Fatalf("%d datagrams, want %d", len(all), n)
	}
	return all
}

// Datagrams arrive as they were queued, whatever their sizes and peers, by IPv4 and IPv6.
func TestQueue(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		from, a, b := listen(t, network, address, 1)[0], listen(t, network, address, 1)[0], listen(t, network, address, 1)[0]
		t.Log(from.Batching())
		var wantA, wantB []string
		for i := range 300 {
			head, payload := []byte(fmt.Sprintf("%04d", i)), bytes.Repeat([]byte{byte(i)}, 1300)
			switch {
			case i%7 == 6:
				payload = payload[:100]
			case i%50 == 49:
				payload = nil
			}
			to, want := a, &wantA
			if i%10 >= 7 {
				to, want = b, &wantB
			}
			from.Queue(netip.Addr{}, to.LocalAddr(), head, payload)
			clear(head) // it was copied
			*want = append(*want, fmt.Sprintf("%04d%s", i, payload))
			if i%90 == 89 { // receivers' buffers are bounded
				from.Flush()
			}
		}
		from.Flush()
		if got := receive(t, a, len(wantA)); !slices.Equal(got, wantA) {
			t.Errorf("%s: not what was sent", network)
		}
		if got := receive(t, b, len(wantB)); !slices.Equal(got, wantB) {
			t.Errorf("%s: not what was sent to the second", network)
		}
	}
}

// Datagrams arrive as they were posted, whether the system cuts them or not.
func TestPost(t *testing.T) {
	for network, address := range map[string]string{"udp4": "127.0.0.1:0", "udp6": "[::1]:0"} {
		for _, cut := range []bool{true, false} {
			from := listen(t, network, address, 1)[0]
			if !cut {
				from.cutNothing()
			}
			var to []*Socket
			for range 3 {
				to = append(to, listen(t, network, address, 1)[0])
			}
			o := from.NewBatch()
			want := make([][]string, len(to))
			for round := range 40 {
				for i, s := range to {
					for j, size := range []int{1200, 1200, 700, 900, 100, 1200, 1200, 1200}[:1+(round+i)%8] {
						b := bytes.Repeat([]byte{byte(round), byte(i), byte(j)}, 400)[:size]
						o.Post(netip.Addr{}, s.LocalAddr(), copy(o.Room(size+32), b))
						want[i] = append(want[i], string(b))
					}
				}
			}
			o.Flush()
			for i, s := range to {
				if got := receive(t, s, len(want[i])); !slices.Equal(got, want[i]) {
					t.Errorf("%s, cut %v: %d is not what was sent", network, cut, i)
				}
			}
		}
	}
}

// Sockets that share an address have all that comes between them, and nobody else can
// have it.
func TestShare(t *testing.T) {
	all := listen(t, "udp4", "127.0.0.1:0", 3)
	if _, err := Listen(t.Context(), "udp4", all[0].LocalAddr().String(), 2); err == nil {
		t.Error("another server has the address too")
	}
	for range 50 {
		c, err := net.Dial("udp4", all[0].LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		c.Write([]byte("hello"))
		defer c.Close()
	}
	n := 0
	for late := time.Now().Add(20 * time.Second); n < 50 && time.Now().Before(late); {
		for _, s := range all {
			n += s.Read(func(from netip.AddrPort, b []byte) {
				if !from.Addr().IsLoopback() || string(b) != "hello" {
					t.Errorf("%q from %v", b, from)
				}
			})
			s.Wait(time.Now().Add(10 * time.Millisecond))
		}
	}
	if n != 50 {
		t.Errorf("%d of 50 came", n)
	}
}

func TestWake(t *testing.T) {
	s := listen(t, "udp4", "127.0.0.1:0", 1)[0]
	for range 3 {
		go s.Wake()
		began := time.Now()
		s.Wait(began.Add(time.Minute))
		if time.Since(began) > 30*time.Second {
			t.Fatal("slept through it")
		}
	}
	s.Wait(time.Now().Add(time.Millisecond))
	s.Pause(time.Now().Add(time.Millisecond))
}

func BenchmarkQueue(b *testing.B) {
	all, err := Listen(b.Context(), "udp4", "127.0.0.1:0", 1)
	if err != nil {
		b.Fatal(err)
	}
	sink, err := Listen(b.Context(), "udp4", "127.0.0.1:0", 1)
	if err != nil {
		b.Fatal(err)
	}
	head, payload := make([]byte, 16), make([]byte, 1316)
	b.ReportAllocs()
	for b.Loop() {
		for range 8 {
			all[0].Queue(netip.Addr{}, sink[0].LocalAddr(), head, payload)
		}
		all[0].Flush()
		sink[0].Read(func(netip.AddrPort, []byte) {})
	}
}

// Who is answered from the address that he spoke to hears it, whatever others the machine
// has.
func TestAnswersFromWhereItCame(t *testing.T) {
	for network, c := range map[string]struct{ listen, own string }{"udp4": {"0.0.0.0:0", "127.0.0.9"}, "udp6": {"[::]:0", "::1"}} {
		for _, n := range []int{1, 2} {
			all := listen(t, network, c.listen, n)
			nc, err := net.Dial(network, netip.AddrPortFrom(netip.MustParseAddr(c.own), all[0].LocalAddr().Port()).String())
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			nc.Write([]byte("hello"))
			answered := false
			for late := time.Now().Add(20 * time.Second); !answered && time.Now().Before(late); {
				for _, s := range all {
					s.Wait(time.Now().Add(10 * time.Millisecond))
					s.Read(func(from netip.AddrPort, b []byte) {
						if answered = true; s.At().String() != c.own {
							t.Errorf("%s: it came to %v", network, s.At())
						}
						s.Queue(s.At(), from, b, nil)
						s.Queue(s.At(), from, b, nil) // both as one piece
						s.Send(s.At(), from, b)
						o := s.NewBatch()
						o.Post(s.At(), from, copy(o.Room(len(b)), b))
						o.Flush()
					})
					s.Flush()
				}
			}
			nc.SetReadDeadline(time.Now().Add(20 * time.Second))
			for range 4 {
				b := make([]byte, 16)
				if k, err := nc.Read(b); err != nil || string(b[:k]) != "hello" {
					t.Errorf("%s, %d sockets: %q, %v", network, n, b[:k], err)
				}
			}
		}
	}
}
