package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// stallGap is how long no data may come.
const stallGap = 500 * time.Millisecond

// agent is what we call ourselves.
const agent = "weir-bench"

// A viewer is one of many. All but a few are cheap.
type viewer struct {
	run   *run
	url   string
	probe bool // parses all that comes
	// stalled viewers keep their socket and read nothing after the first picture.
	stalled bool

	began time.Time

	bytes, frames, stalls atomic.Int64
	packets, missed       atomic.Int64 // of RTP
	last                  atomic.Int64 // when data came last, ns since 1970
	gap                   atomic.Int64 // what counts as a stall, ns
	first                 atomic.Int64 // from began to the first key frame, ns; 0 for never
	over                  atomic.Bool  // it ended

	// Of HLS probes: how many pictures came in the window, and when the first
	// and the last of them were sent, ns since 1970.
	seen, from, till atomic.Int64
}

// came notes that n bytes came.
func (v *viewer) came(n int, now int64) {
	v.bytes.Add(int64(n))
	if v.run.kind != kindHLS {
		v.alive(now)
	}
}

// alive notes that something came that keeps a picture moving.
func (v *viewer) alive(now int64) {
	if last := v.last.Swap(now); last != 0 && now-last > v.gap.Load() && v.run.recording.Load() {
		v.stalls.Add(1)
	}
}

// started notes the first key frame.
func (v *viewer) started() { v.first.CompareAndSwap(0, max(1, int64(time.Since(v.began)))) }

// picture takes a frame of a probe, as it came.
func (v *viewer) picture(body []byte) {
	v.frames.Add(1)
	// The stamp stands before the picture.
	if _, at, _, ok := nextStamp(body[:min(len(body), 1024)]); ok && v.run.recording.Load() {
		v.run.delay(time.Now().UnixNano() - at)
	}
}

// maxDelays bounds the memory of a run.
const maxDelays = 1 << 22

func (r *run) delay(ns int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.delays) < maxDelays {
		r.delays = append(r.delays, ns)
	}
}

// join starts the viewers and returns when each has a picture or has failed.
func (r *run) join(ctx, work context.Context) {
	r.sweep = newSweeper(work, &r.wg)
	if r.kind == kindRTC {
		calls, err := newCalls(work, &r.wg)
		if err != nil {
			r.fail(err)
			return
		}
		r.calls = calls
	}
	play := map[kind]func(context.Context, *viewer) error{kindRTMP: playRTMP, kindFLV: playFLV, kindTS: playTS, kindMP4: playMP4, kindSRT: playSRT, kindRTSP: playRTSP, kindRTC: playWHEP, kindHLS: playHLS}[r.kind]
	began := time.Now()
	said := r.count(began)
	stalled := 0
	for i := range r.Viewers {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(r.Ramp))
		if wait := time.Until(due); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		}
		if time.Since(said.at) > 500*time.Millisecond {
			said = r.tell(said, "joining")
		}
		v := &viewer{run: r, url: numbered(r.Play, i%r.Streams), began: time.Now()}
		// Probes are spread evenly over the others.
		v.probe = (i+1)*r.Probes/r.Viewers > i*r.Probes/r.Viewers
		v.gap.Store(int64(stallGap))
		if others := r.Viewers - r.Probes; !v.probe && stalled < r.Stalled && (i+1)*r.Stalled/max(others, 1) > stalled {
			stalled++
			v.stalled = true
			v.gap.Store(math.MaxInt64)
		}
		r.viewers = append(r.viewers, v)
		r.wg.Go(func() {
			err := play(work, v)
			if err != nil && work.Err() == nil {
				r.fail(fmt.Errorf("%s: %w", v.url, err))
				v.over.Store(true)
			}
		})
	}
	limit := time.Now().Add(setupTimeout)
	for time.Now().Before(limit) && ctx.Err() == nil {
		c := r.count(time.Now())
		if c.playing+c.failed+c.lost == r.Viewers {
			return
		}
		if time.Since(said.at) > 500*time.Millisecond {
			said = r.tell(said, "joining")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// dial connects a viewer.
func (v *viewer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: setupTimeout}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		c.Close()
		return nil, fmt.Errorf("%s is no TCP address", address)
	}
	return newTap(tcp, v), nil
}

// playRTMP plays until the stream ends, or gives the socket to the sweeper.
func playRTMP(ctx context.Context, v *viewer) error {
	var t *tap
	c, err := link.Dial(ctx, v.url, link.DialOptions{Timeout: setupTimeout, Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
		nc, err := v.dial(ctx, network, address)
		t, _ = nc.(*tap)
		return nc, err
	}})
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Play(); err != nil {
		return err
	}
	for {
		m, err := c.ReadMessage(0)
		if err != nil {
			return err
		}
		if m.Type == rtmp.TypeVideo && v.video(m.Payload) {
			if v.stalled {
				<-ctx.Done()
				return nil
			}
			return v.run.sweep.add(t, t.window())
		}
	}
}

// video takes the body of a video message, and reports whether the rest can be
// left to the sweeper.
func (v *viewer) video(body []byte) bool {
	parts, err := flv.ParseVideo(nil, body)
	if err != nil || len(parts) == 0 || parts[0].Type != flv.Coded {
		return false
	}
	if parts[0].Frame.Key() {
		v.started()
	}
	if v.probe {
		v.picture(body)
		return false
	}
	return v.first.Load() > 0
}

// playFLV plays FLV over HTTP, as playRTMP does.
func playFLV(ctx context.Context, v *viewer) error {
	return playHTTP(ctx, v, func(body io.Reader) func() (bool, error) {
		r := flv.NewReader(body)
		return func() (bool, error) {
			tag, err := r.ReadTag()
			return err == nil && tag.Type == flv.TypeVideo && v.video(tag.Body), err
		}
	})
}

// playHTTP plays an endless answer. step makes what takes the next piece of it, and
// reports whether the rest can be left to the sweeper.
func playHTTP(ctx context.Context, v *viewer, step func(body io.Reader) func() (bool, error)) error {
	u, err := url.Parse(v.url)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}[u.Scheme]
	}
	c, err := v.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	t := c.(*tap)
	if u.Scheme == "https" || u.Scheme == "wss" {
		c = tls.Client(c, &tls.Config{ServerName: u.Hostname()})
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { t.SetDeadline(time.Unix(1, 0)) })()
	t.SetDeadline(time.Now().Add(setupTimeout))
	socket := u.Scheme == "ws" || u.Scheme == "wss"
	asks, want := "", http.StatusOK
	if socket {
		asks, want = upgrade, http.StatusSwitchingProtocols
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nAccept: */*\r\n%s\r\n", u.RequestURI(), u.Host, agent, asks); err != nil {
		return err
	}
	r := bufio.NewReader(c)
	res, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if res.StatusCode != want {
		return errors.New(res.Status)
	}
	body := io.Reader(res.Body)
	if socket {
		body = &messages{r: r}
	}
	t.SetDeadline(time.Time{})
	if ctx.Err() != nil { // its interruption may just have been undone
		return ctx.Err()
	}
	next := step(body)
	for {
		left, err := next()
		if errors.Is(err, io.EOF) {
			return errors.New("the server ended the stream")
		}
		if err != nil {
			return err
		}
		if left {
			if v.stalled {
				<-ctx.Done()
				return nil
			}
			return v.run.sweep.add(t, 0)
		}
	}
}
