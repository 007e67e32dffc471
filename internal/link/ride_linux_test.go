package link

import (
	"bytes"
	"io"
	"net"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// riding runs f as the reader of a new connection that is read at beats, and returns the
// other end.
func riding(t *testing.T, b *Beat, f func(ours net.Conn)) (peer *net.TCPConn, done <-chan struct{}) {
	t.Helper()
	ours, peer := pair(t, b)
	SetPace(ours, at(quick))
	over := make(chan struct{})
	go func() {
		defer close(over)
		Ride(ours, func() { f(ours) })
	}()
	return peer, over
}

// What is read at beats is the same whoever runs the reader; and once it waits, that is
// the Beat.
func TestRide(t *testing.T) {
	var b Beat
	var got bytes.Buffer
	var guests atomic.Int32
	peer, done := riding(t, &b, func(nc net.Conn) {
		p := make([]byte, 100)
		for {
			n, err := nc.Read(p)
			if nc.(*quiet).ride.guest {
				guests.Add(1)
			}
			got.Write(p[:n])
			if err != nil {
				return
			}
		}
	})
	var want bytes.Buffer
	for i := range 20 {
		part := bytes.Repeat([]byte{byte(i)}, 250)
		want.Write(part)
		peer.Write(part)
		time.Sleep(2 * quick)
	}
	peer.CloseWrite()
	<-done
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("got %d bytes, want %d others", got.Len(), want.Len())
	}
	if guests.Load() == 0 {
		t.Error("the Beat has never run it")
	}
}

// A reader that is sent more and more is not run by the Beat for long.
func TestRideOfFlood(t *testing.T) {
	var r ride
	woken := make(chan struct{}, 1)
	waits, over := make(chan struct{}), make(chan struct{})
	var guest []bool
	go func() {
		defer close(over)
		r.run(func() {
			close(waits)
			r.wait(woken)
			for range 4 {
				r.has(rideMost/2 + 1)
				guest = append(guest, r.guest)
			}
		}, woken)
	}()
	<-waits
	for !r.mu.TryLock() {
		time.Sleep(time.Millisecond)
	}
	r.mu.Unlock()
	if r.on() {
		t.Error("the Beat has run it to the end")
	}
	woken <- struct{}{}
	<-over
	if want := []bool{true, false, false, false}; !slices.Equal(guest, want) {
		t.Errorf("run by the Beat %v, want %v", guest, want)
	}
}

// A reader that has to wait for something else, or goes back to Go's poller, holds up
// nobody.
func TestRideHoldsUpNobody(t *testing.T) {
	never := make(chan struct{})
	for name, f := range map[string]func(nc net.Conn){
		"waits": func(nc net.Conn) {
			nc.Read(make([]byte, 1))
			nc.(*quiet).Dismount()
			<-never
		},
		"back in the poller": func(nc net.Conn) {
			nc.Read(make([]byte, 1))
			SetPace(nc, nil)
			io.ReadAll(nc)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var b Beat
			peer, _ := riding(t, &b, f)
			time.Sleep(2 * quick) // it waits for the Beat
			peer.Write([]byte("x"))
			time.Sleep(2 * quick)
			ours, other := pair(t, &b)
			SetPace(ours, at(quick))
			defer time.AfterFunc(20*time.Second, func() { ours.Close() }).Stop()
			for range 20 {
				other.Write([]byte("y"))
				if n, err := ours.Read(make([]byte, 10)); n != 1 || err != nil {
					t.Fatalf("the other one: %d bytes, %v", n, err)
				}
			}
		})
	}
	close(never)
}

// Somebody who is awake at the same time may have the Beat look, which then need not wake
// up itself.
func TestLookForTheBeat(t *testing.T) {
	const every = 50 * time.Millisecond
	var b Beat
	reads := make(chan time.Time, 100)
	peer, done := riding(t, &b, func(nc net.Conn) {
		SetPace(nc, at(every))
		p := make([]byte, 1)
		for {
			if _, err := nc.Read(p); err != nil {
				return
			}
			reads <- time.Now()
		}
	})
	peer.Write([]byte("x"))
	<-reads
	ours := 0
	for range 10 {
		b.mu.Lock()
		next := b.next
		b.mu.Unlock()
		b.Plan(next)
		peer.Write([]byte("x"))
		time.Sleep(time.Until(next))
		through := b.Look(time.Time{})
		select {
		case <-reads:
			if through {
				ours++
			}
		case <-time.After(20 * time.Second):
			t.Fatal("nothing is read")
		}
	}
	if ours == 0 {
		t.Error("a look has never been in time")
	}
	peer.Close()
	<-done
}
