package server

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	link "weir/internal/link/rtmp"
	wire "weir/internal/wire/rtmp"
)

// No input kills the process, and none keeps others out.
func TestGarbage(t *testing.T) {
	h := open(t, "", "")
	h.publish("r", 1) // some goroutines begin with who comes first, and stay
	h.plays("r")
	before := runtime.NumGoroutine()
	var wg sync.WaitGroup
	for seed := range uint64(60) {
		wg.Go(func() {
			r := mathrand.New(mathrand.NewPCG(seed, 7))
			door := []string{h.rtmp, h.http, h.api}[seed%3]
			nc, err := net.Dial("tcp", door)
			if err != nil {
				t.Error(err)
				return
			}
			defer nc.Close()
			nc.SetDeadline(time.Now().Add(time.Second))
			switch (seed / 3) % 6 {
			case 0: // noise
				b := make([]byte, r.IntN(20000))
				rand.Read(b)
				nc.Write(b)
			case 1: // half a handshake
				nc.Write(append([]byte{3}, make([]byte, r.IntN(wire.HelloSize))...))
			case 2: // HTTP, or not quite
				fmt.Fprintf(nc, "GET / HTTP/1.%d\r\nHost: %x\r\n", seed%3, seed)
			case 3: // a handshake, then noise
				hello := make([]byte, wire.HelloSize)
				hello[0] = 3
				nc.Write(hello)
				io.CopyN(io.Discard, nc, wire.AnswerSize)
				nc.Write(hello[1:])
				b := make([]byte, 5000)
				rand.Read(b)
				nc.Write(b)
			case 4: // RTMP on every port, and a claim
				nc.Write(append(make([]byte, 1+1536*2), 0x03, 0, 0, 0, 0xff, 0xff, 0xff, 20, 0, 0, 0, 0))
			case 5: // two lengths
				fmt.Fprint(nc, "POST /api/v1/versions HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/v1/clients/ HTTP/1.1\r\n\r\n")
			}
			io.Copy(io.Discard, nc)
		})
	}
	began := time.Now()
	h.publish("s", 3)
	h.plays("s")
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("publishing and playing took %v", took)
	}
	wg.Wait()
	if status, _ := h.get(h.api + "/healthz"); status != 200 {
		t.Errorf("healthz: %d", status)
	}
	h.publish("t", 1)
	if !soon(func() bool { return runtime.NumGoroutine() < before+20 }) {
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), before)
	}
}

// Strangers who say nothing keep no publisher out.
func TestSilentStrangers(t *testing.T) {
	h := open(t, "max_connections 1000;", "")
	for range 750 {
		nc, err := net.Dial("tcp", h.rtmp)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	for range 100 {
		nc, err := net.Dial("tcp", h.http)
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		io.WriteString(nc, "GET /live/s.flv HTTP/1.1\r\n")
	}
	began := time.Now()
	h.publish("s", 3)
	h.plays("s")
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("publishing and playing took %v", took)
	}
}

// Memory follows what arrived, not what was claimed.
func TestClaimsCostNothing(t *testing.T) {
	h := open(t, "", "")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 30 {
		c := h.publish(fmt.Sprint("claim", i), 0)
		// 60 messages of 16 MiB are begun, a byte of each is sent.
		for csid := range uint32(58) {
			b := wire.AppendHeader0(nil, wire.Message{Type: wire.TypeVideo, CSID: 6 + csid, StreamID: 1}, wire.MaxMessage)
			// The rest of a first chunk is all that could follow before another
			// stream; Set Chunk Size to 1 makes that a byte.
			if csid == 0 {
				b = append(wire.AppendSetChunkSize(nil, 1), b...)
			}
			if err := c.Write(append(b, 0x17)); err != nil {
				t.Fatal(err)
			}
		}
	}
	time.Sleep(200 * time.Millisecond)
	if grown := int64(heap()) - int64(before); grown > 64<<20 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	h.publish("s", 3)
	h.plays("s")
}

// A publisher whose connection was reset is back at once.
func TestRepublishAfterReset(t *testing.T) {
	h := open(t, "", "")
	var worst time.Duration
	for range 10 {
		var nc net.Conn
		c, err := link.Dial(t.Context(), "rtmp://"+h.rtmp+"/live/s", link.DialOptions{FMLE: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			var err error
			nc, err = new(net.Dialer).DialContext(ctx, network, address)
			return nc, err
		}})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		for {
			// Busy is what it may be told while the reset is on its way.
			if err = c.Publish(); err == nil {
				break
			}
			c.Close()
			if time.Since(began) > 10*time.Second {
				t.Fatalf("ten seconds after the reset: %v", err)
			}
			if c, err = link.Dial(t.Context(), "rtmp://"+h.rtmp+"/live/s", link.DialOptions{FMLE: true, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				var err error
				nc, err = new(net.Dialer).DialContext(ctx, network, address)
				return nc, err
			}}); err != nil {
				t.Fatal(err)
			}
		}
		worst = max(worst, time.Since(began))
		nc.(*net.TCPConn).SetLinger(0)
		nc.Close()
		c.Close()
	}
	if worst > 3*time.Second {
		t.Errorf("the slowest was let in after %v", worst)
	}
}

// Publishers and viewers that come and go leave nothing.
func TestNothingIsLeftBehind(t *testing.T) {
	h := open(t, "", "")
	cycle := func(i int) {
		p := h.publish("s", 2)
		v := h.plays("s")
		res, err := http.Get("http://" + h.http + "/live/s.flv")
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			p.Close()
		}
		res.Body.Close()
		v.Close()
		p.Close()
		if !soon(func() bool { n, _ := h.srv.env.Desk.Len(); return n == 0 }) {
			t.Fatal("somebody stays")
		}
	}
	for i := range 10 {
		cycle(i)
	}
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for i := range 150 {
		cycle(i)
	}
	if !soon(func() bool { return runtime.NumGoroutine() <= goroutines+5 }) {
		t.Errorf("%d goroutines, %d before", runtime.NumGoroutine(), goroutines)
	}
	if !soon(func() bool { return descriptors(t) <= fds+5 }) {
		t.Errorf("%d descriptors, %d before", descriptors(t), fds)
	}
	for key := range h.srv.env.Hub.All() {
		t.Errorf("stream %v is left", key)
	}
	if n := h.srv.env.Hub.Bytes(); n != 0 {
		t.Errorf("%d bytes are left in rings", n)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}
