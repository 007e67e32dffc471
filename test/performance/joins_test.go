package performance

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/bench"
	"weir/internal/demo"
	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

var joins = flag.Int("joins", 100_000, "how many viewers BenchmarkJoins has come and go")

// BenchmarkJoins has viewers of RTMP, HTTP-FLV and MP4 come and go, some of whom
// hang up without a word, and fails if the server keeps anything of them.
func BenchmarkJoins(b *testing.B) {
	y := &yard{b: b, dir: b.TempDir(), ctx: b.Context()}
	y.build()
	for b.Loop() {
		for _, env := range []string{"WEIR_SENDER=io_uring", "WEIR_SENDER=writev"} {
			y.joins(env)
		}
	}
}

func (y *yard) joins(env string) {
	w := y.house("", false, env)
	defer w.stop()
	ctx, stop := context.WithCancel(y.ctx)
	defer stop()
	var publishing sync.WaitGroup
	defer publishing.Wait()
	defer stop()
	publishing.Go(func() {
		o := w.load("rtmp", bench.Options{Loop: demo.Loop(), Viewers: 1, Time: 9 * time.Minute, PIDs: nil})
		bench.Run(ctx, o)
	})
	time.Sleep(4 * time.Second)
	y.join(w, 2000) // what is made once
	fds, rss := descriptors(w), resident(w)
	y.say("%s: before: %d descriptors, %.1f MB", env, fds, rss)
	y.join(w, *joins)
	clients := func() int { return y.clients(w) }
	for range 300 {
		if descriptors(w) <= fds+2 && clients() <= 2 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	y.say("%s: after %d joins: %d descriptors, %.1f MB, %d clients", env, *joins, descriptors(w), resident(w), clients())
	if n := descriptors(w); n > fds+2 {
		y.b.Errorf("%s: %d descriptors after %d joins, %d before", env, n, *joins, fds)
	}
	if n := clients(); n > 2 {
		y.b.Errorf("%s: %d clients are left", env, n)
	}
	if mb := resident(w); mb > rss+16 {
		y.b.Errorf("%s: %.1f MB after %d joins, %.1f before", env, mb, *joins, rss)
	}
}

// join has n viewers come and go, some dozens at a time.
func (y *yard) join(w *server, n int) {
	var next, failed atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for range 48 {
		wg.Go(func() {
			for y.ctx.Err() == nil {
				i := int(next.Add(1))
				if i > n {
					return
				}
				if i%20_000 == 0 {
					y.say("%d of %d joins, %.0f a second", i, n, float64(i)/time.Since(began).Seconds())
				}
				if err := y.visit(w, i); err != nil && failed.Add(1) == 1 {
					y.say("join %d: %v", i, err)
				}
			}
		})
	}
	wg.Wait()
	if f := failed.Load(); f > int64(n/1000) {
		y.b.Errorf("%d of %d joins failed", f, n)
	}
}

// visit is one viewer. It comes from one of several addresses of this machine, so
// that the ports do not run out.
func (y *yard) visit(w *server, i int) error {
	var nc net.Conn
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%32))}, Timeout: 10 * time.Second}
		var err error
		nc, err = d.DialContext(ctx, network, address)
		return nc, err
	}
	defer func() {
		if nc == nil {
			return
		}
		if i%3 == 0 {
			nc.(*net.TCPConn).SetLinger(0) // a reset
		}
		nc.Close()
	}()
	if i%2 == 0 {
		c, err := link.Dial(y.ctx, "rtmp://"+w.rtmp+"/live/s0", link.DialOptions{Timeout: 10 * time.Second, Dial: dial})
		if err != nil {
			return err
		}
		if err := c.Play(); err != nil || i%5 == 0 { // some go as soon as they are let in
			return err
		}
		for {
			m, err := c.ReadMessage(10 * time.Second)
			if err != nil || m.Type == rtmp.TypeVideo {
				return err
			}
		}
	}
	ext := []string{".flv", ".mp4"}[i/2%2]
	if _, err := dial(y.ctx, "tcp", w.http); err != nil {
		return err
	}
	nc.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprintf(nc, "GET /live/s0%s HTTP/1.1\r\nHost: x\r\n\r\n", ext)
	if i%5 == 0 {
		return nil
	}
	_, err := io.CopyN(io.Discard, nc, 4096)
	return err
}

func descriptors(w *server) int {
	all, _ := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.cmd.Process.Pid))
	return len(all)
}

// resident is the memory of a server in MB.
func resident(w *server) float64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.cmd.Process.Pid))
	for line := range strings.SplitSeq(string(b), "\n") {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, _ := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024
		}
	}
	return 0
}

// clients is how many clients the API lists.
func (y *yard) clients(w *server) int {
	res, err := http.Get("http://" + w.api + "/api/v1/clients/?count=100")
	if err != nil {
		y.b.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	return strings.Count(string(b), `"alive"`)
}
