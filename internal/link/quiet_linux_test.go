package link

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pair returns the two ends of a TCP connection; ours is quiet.
func pair(t *testing.T, b *Beat) (ours net.Conn, peer *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ours = Quiet(nc, b)
	t.Cleanup(func() {
		ours.Close()
		theirs.Close()
	})
	return ours, theirs.(*net.TCPConn)
}

const quick = 5 * time.Millisecond

func at(d time.Duration) func() time.Duration { return func() time.Duration { return d } }

// outside reports whether the connection is out of Go's poller.
func outside(nc net.Conn) bool {
	q := nc.(*quiet)
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.tcp == nil
}

func TestBeatReadsForMany(t *testing.T) {
	var b Beat
	var wg sync.WaitGroup
	for i := range 20 {
		ours, peer := pair(t, &b)
		SetPace(ours, at(quick))
		sent := bytes.Repeat([]byte{byte(i)}, 100_000) // more than one read takes
		wg.Go(func() {
			for part := range 10 {
				peer.Write(sent[part*10_000 : (part+1)*10_000])
				time.Sleep(time.Millisecond)
			}
			peer.CloseWrite()
		})
		wg.Go(func() {
			got, err := io.ReadAll(ours)
			if err != nil || !bytes.Equal(got, sent) {
				t.Errorf("connection %d: %d bytes, %v", i, len(got), err)
			}
			if !outside(ours) {
				t.Errorf("connection %d is in the poller", i)
			}
		})
	}
	wg.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.waiting) != 0 {
		t.Errorf("%d are still in the list", len(b.waiting))
	}
}

// After is called when all that a beat had something for are through with it, and
// not before.
func TestAfterBeat(t *testing.T) {
	const readers, calls = 4, 10
	var busy atomic.Int32
	after := make(chan int32, 1000)
	b := Beat{After: func() { after <- busy.Load() }}
	for i := range readers {
		ours, peer := pair(t, &b)
		SetPace(ours, at(50*time.Millisecond))
		go func() {
			p := make([]byte, 100)
			for {
				if _, err := ours.Read(p); err != nil {
					return
				}
				busy.Add(1)
				time.Sleep(time.Duration(i) * time.Millisecond)
				busy.Add(-1)
			}
		}()
		go func() {
			for {
				if _, err := peer.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
	}
	through := 0
	for range calls {
		if <-after == 0 {
			through++
		}
	}
	if through < calls/2 { // on a busy machine the next beat may come meanwhile
		t.Errorf("at %d of %d calls nobody was busy", through, calls)
	}
}

// A connection may leave the poller and come back while it is written to.
func TestPaceComesAndGoes(t *testing.T) {
	var b Beat
	ours, peer := pair(t, &b)
	var pace atomic.Int64
	SetPace(ours, func() time.Duration { return time.Duration(pace.Load()) })
	var wg sync.WaitGroup
	const rounds, chunk = 100, 100
	wg.Go(func() {
		for range rounds {
			if _, err := ours.Write(make([]byte, chunk)); err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
		}
	})
	wg.Go(func() {
		if n, err := io.CopyN(io.Discard, peer, rounds*chunk); err != nil {
			t.Errorf("%d bytes, %v", n, err)
		}
	})
	for i := range rounds {
		pace.Store(int64(i%2) * int64(quick))
		if _, err := peer.Write([]byte{byte(i)}); err != nil {
			t.Fatal(err)
		}
		var got [8]byte
		if n, err := ours.Read(got[:]); n != 1 || err != nil || got[0] != byte(i) {
			t.Fatalf("round %d: %d bytes, %v", i, n, err)
		}
	}
	wg.Wait()
	if tcp := TCP(ours); tcp == nil || outside(ours) {
		t.Error("there is no TCP connection to be had")
	}
}

func TestBeatHeedsDeadlines(t *testing.T) {
	for name, set := range map[string]func(nc net.Conn){
		"soon":        func(nc net.Conn) { nc.SetReadDeadline(time.Now().Add(2 * quick)) },
		"past":        func(nc net.Conn) { nc.SetReadDeadline(time.Unix(1, 0)) },
		"interrupted": func(nc net.Conn) { time.AfterFunc(2*quick, func() { nc.SetDeadline(time.Unix(1, 0)) }) },
	} {
		t.Run(name, func(t *testing.T) {
			var b Beat
			ours, peer := pair(t, &b)
			every := quick
			if name == "interrupted" {
				every = time.Hour // the beat itself would come too late
			}
			SetPace(ours, at(every))
			set(ours)
			if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
			SetPace(ours, at(quick))
			ours.SetDeadline(time.Time{})
			peer.Write([]byte("x"))
			if n, err := ours.Read(make([]byte, 1)); n != 1 || err != nil {
				t.Errorf("afterwards: %d bytes, %v", n, err)
			}
		})
	}
}

func TestCloseEndsTheWait(t *testing.T) {
	var b Beat
	ours, _ := pair(t, &b)
	SetPace(ours, at(time.Hour))
	time.AfterFunc(2*quick, func() { ours.Close() })
	if _, err := ours.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if _, err := ours.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("write: %v", err)
	}
	if err := ours.Close(); err == nil {
		t.Error("a second Close finds nothing wrong")
	}
}

// Writing outside of the poller waits for room, and no longer than its deadline.
func TestWriteOutsideOfThePoller(t *testing.T) {
	var b Beat
	ours, peer := pair(t, &b)
	SetPace(ours, at(quick))
	peer.Write([]byte("x"))
	if _, err := ours.Read(make([]byte, 1)); err != nil || !outside(ours) {
		t.Fatalf("%v, outside: %v", err, outside(ours))
	}
	much := make([]byte, 16<<20)
	ours.SetWriteDeadline(time.Now().Add(20 * quick))
	n, err := ours.Write(much)
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 {
		t.Errorf("%d bytes to a peer that does not read, %v", n, err)
	}
	ours.SetWriteDeadline(time.Time{})
	got := make(chan int64)
	go func() {
		n, _ := io.Copy(io.Discard, peer)
		got <- n
	}()
	more, err := ours.Write([]byte(strings.Repeat("y", 1000)))
	if err != nil {
		t.Error(err)
	}
	ours.(*quiet).CloseWrite()
	if all := <-got; all != int64(n+more) {
		t.Errorf("%d bytes came of %d", all, n+more)
	}
}
