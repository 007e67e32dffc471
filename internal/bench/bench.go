// Package bench puts a load on a live server and measures what each viewer
// costs and gets: CPU, memory, delay, time to the first picture, frame rate,
// stalls.
//
// It knows no server, only URLs and, for the cost, process ids. Publishers send
// a file in real time, over and over, and put the wall clock into each picture.
// Most viewers are cheap, so that they do not disturb what is measured: after
// their first key frame their bytes are counted and dropped inside the kernel. A
// few of them, the probes, read and parse all they get.
//
// Every run is bounded: [MaxRun] in time, [MaxViewers] in size. Delay is measured
// for H.264 alone, and only where the clocks of publisher and viewer are one,
// which they are in one program.
package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a run.
const (
	// MaxRun is how long a run may take in all.
	MaxRun = 10 * time.Minute
	// MaxViewers and MaxStreams are how many there may be.
	MaxViewers = 100_000
	MaxStreams = 10_000
	// MaxProbes bounds the viewers that parse everything.
	MaxProbes = 200
	// MaxRamp is how many viewers may be started per second.
	MaxRamp = 20_000
)

// setupTimeout is how long a connection may take, and a viewer to its first
// picture.
const setupTimeout = 15 * time.Second

// Options say what to do. Zero fields mean the defaults.
type Options struct {
	// Name stands in the table.
	Name string
	// Publish is the RTMP address to publish to; %d in it is the number of the
	// stream, from 0. Empty means that somebody else publishes.
	Publish string
	// Play is the address to play: rtmp://, or http:// with a path that ends in
	// .flv, .ts, .mp4, .m3u8 or /whep/, or ws:// with one of the first three, or
	// srt://, rtsp://, or whep://host:port/app/stream; %d as in Publish.
	Play string
	// Streams is how many streams there are (1), Viewers how many viewers are
	// spread over them (50), Probes how many of these parse all (5).
	Streams, Viewers, Probes int
	// File is the FLV file to publish; empty means Loop, the bytes of one.
	File string
	Loop []byte
	// Lead is how long is published before the first viewer comes: 3 s, for HLS
	// 12 s. Warm lies between the last viewer's first picture and the window (3
	// s), and Time is the window, which is what is measured (15 s).
	Lead, Warm, Time time.Duration
	// Stalled is how many of the viewers read nothing any more after their first
	// picture, as players do that hang; they are none of the probes.
	Stalled int
	// Low plays HLS of low latency by its parts, where the server has them.
	Low bool
	// Ramp is how many viewers are started per second (250).
	Ramp int
	// PIDs are the processes of the server, whose children count too; none
	// means that its cost is not measured.
	PIDs []int
	// Progress is told now and then how the run goes, in one line; nil for
	// nobody.
	Progress func(line string)
}

// kind is a way of playing.
type kind string

const (
	kindRTMP kind = "rtmp"
	kindFLV  kind = "flv"
	kindTS   kind = "ts"
	kindMP4  kind = "mp4"
	kindSRT  kind = "srt"
	kindHLS  kind = "hls"
	kindRTC  kind = "webrtc"
	kindRTSP kind = "rtsp"
)

// kindOf tells by an address how it is played.
func kindOf(address string) (kind, error) {
	u, err := url.Parse(numbered(address, 0))
	if err != nil {
		return "", fmt.Errorf("bench: %w", err)
	}
	socket := u.Scheme == "ws" || u.Scheme == "wss"
	web := u.Scheme == "http" || u.Scheme == "https" || socket
	rtc := isWHEP(u)
	switch {
	case u.Host == "":
		return "", fmt.Errorf("bench: %q names no host", address)
	case u.Scheme == "rtmp" || u.Scheme == "rtmps":
		return kindRTMP, nil
	case u.Scheme == "srt":
		return kindSRT, nil
	case u.Scheme == "rtsp":
		return kindRTSP, nil
	case rtc:
		return kindRTC, nil
	case web && path.Ext(u.Path) == ".flv":
		return kindFLV, nil
	case web && path.Ext(u.Path) == ".ts":
		return kindTS, nil
	case web && path.Ext(u.Path) == ".mp4":
		return kindMP4, nil
	case web && !socket && path.Ext(u.Path) == ".m3u8":
		return kindHLS, nil
	}
	return "", fmt.Errorf("bench: cannot play %q: want rtmp://, srt://, rtsp://, whep://, http:// with .flv, .ts, .mp4, .m3u8 or /whep/, or ws:// with .flv, .ts or .mp4", address)
}

// numbered is the address of a stream.
func numbered(address string, i int) string {
	return strings.ReplaceAll(address, "%d", strconv.Itoa(i))
}

// check fills in the defaults and refuses what is out of bounds.
func (o *Options) check() (kind, error) {
	set := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	if o.Play == "" {
		return "", errors.New("bench: -play is missing: the address to play, such as rtmp://127.0.0.1/live/s%d")
	}
	k, err := kindOf(o.Play)
	if err != nil {
		return k, err
	}
	if o.Publish != "" {
		if p, err := kindOf(o.Publish); err != nil || p != kindRTMP {
			return k, fmt.Errorf("bench: cannot publish to %q: want rtmp://", o.Publish)
		}
	}
	set(&o.Streams, 1)
	set(&o.Viewers, 50)
	set(&o.Probes, min(5, o.Viewers))
	set(&o.Ramp, 250)
	wait(&o.Warm, 3*time.Second)
	wait(&o.Time, 15*time.Second)
	wait(&o.Lead, map[kind]time.Duration{kindRTMP: 3 * time.Second, kindFLV: 3 * time.Second, kindTS: 3 * time.Second, kindMP4: 3 * time.Second, kindSRT: 3 * time.Second, kindRTSP: 3 * time.Second, kindRTC: 3 * time.Second, kindHLS: 12 * time.Second}[k])
	for _, b := range []struct {
		name string
		n    int
		most int
	}{{"streams", o.Streams, MaxStreams}, {"viewers", o.Viewers, MaxViewers}, {"probes", o.Probes, MaxProbes}, {"ramp", o.Ramp, MaxRamp}} {
		if b.n < 1 || b.n > b.most {
			return k, fmt.Errorf("bench: -%s %d: want 1 to %d", b.name, b.n, b.most)
		}
	}
	o.Probes = min(o.Probes, o.Viewers)
	if o.Stalled < 0 || o.Stalled > o.Viewers-o.Probes {
		return k, fmt.Errorf("bench: -stalled %d: want 0 to %d, the viewers that are no probes", o.Stalled, o.Viewers-o.Probes)
	}
	if o.Stalled > 0 && (k == kindHLS || k == kindSRT || k == kindRTC) {
		return k, errors.New("bench: -stalled is for viewers of RTMP and FLV")
	}
	if o.Streams > 1 && (o.Publish != "" && !strings.Contains(o.Publish, "%d") || !strings.Contains(o.Play, "%d")) {
		return k, errors.New("bench: several streams need %d in the addresses, for their number")
	}
	if o.Lead < 0 || o.Warm < 0 || o.Time < 0 {
		return k, errors.New("bench: a time cannot be negative")
	}
	if all := o.Lead + o.Warm + o.Time + o.joining(); all > MaxRun {
		return k, fmt.Errorf("bench: this would take %v, and a run may take %v", all.Round(time.Second), MaxRun)
	}
	return k, nil
}

// joining is how long it takes to start all viewers.
func (o *Options) joining() time.Duration {
	return time.Duration(o.Viewers) * time.Second / time.Duration(o.Ramp)
}

// A run is one measurement under way.
type run struct {
	Options
	kind    kind
	viewers []*viewer
	sweep   *sweeper
	calls   *calls // of WebRTC alone
	pubs    publishers
	wg      sync.WaitGroup

	recording atomic.Bool // the window is open

	mu     sync.Mutex
	err    error   // guarded by mu; the first failure of a viewer
	delays []int64 // guarded by mu; in ns, of the window
}

// Run measures. When ctx is done it returns what was measured so far, and no
// error; an error means that nothing could be measured.
func Run(ctx context.Context, o Options) (*Result, error) {
	k, err := o.check()
	if err != nil {
		return nil, err
	}
	r := &run{Options: o, kind: k}
	var src *source
	if o.Publish != "" {
		if src, err = openSource(o.File, o.Loop); err != nil {
			return nil, err
		}
	}
	if len(o.PIDs) > 0 {
		if _, err := sampleProcesses(o.PIDs); err != nil {
			return nil, err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, MaxRun)
	defer cancel()
	// The load outlives an interrupt until its figures have been taken.
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer r.wg.Wait()
	defer stop()
	if src != nil {
		if err := r.publish(ctx, work, src); err != nil {
			return nil, err
		}
	}
	r.wait(ctx, o.Lead, "publishing")
	before, _ := sampleProcesses(o.PIDs)
	r.join(ctx, work)
	if r.calls != nil {
		defer r.calls.end()
	}
	joined, _ := sampleProcesses(o.PIDs)
	r.wait(ctx, o.Warm, "warming up")

	began := r.count(time.Now())
	from, _ := sampleProcesses(o.PIDs)
	if ctx.Err() == nil {
		r.recording.Store(true)
		r.wait(ctx, o.Time, "measuring")
	}
	to, err := sampleProcesses(o.PIDs)
	r.recording.Store(false)
	ended := r.count(time.Now())
	res := r.result(began, ended)
	res.cost(before, from, to, ended.bytes-began.bytes)
	res.joining(before, joined)
	if err != nil {
		res.note(fmt.Sprintf("the cost is not measured: %v", err))
	}
	if src != nil && !src.stamped {
		res.note("the picture is not H.264, so there is no delay")
	}
	res.Interrupted = ctx.Err() != nil
	return res, nil
}

// wait lets time pass until ctx is done, and tells how it goes.
func (r *run) wait(ctx context.Context, d time.Duration, stage string) {
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	last := r.count(began)
	for {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case now := <-tick.C:
			last = r.tell(last, fmt.Sprintf("%s %.1f of %v s", stage, now.Sub(began).Seconds(), d.Seconds()))
		}
	}
}

// tell shows a line of progress.
func (r *run) tell(last count, stage string) count {
	if r.Progress == nil {
		return last
	}
	now := r.count(time.Now())
	rate := float64(now.bytes-last.bytes) * 8 / 1e6 / max(now.at.Sub(last.at).Seconds(), 1e-3)
	line := fmt.Sprintf("%s   %d/%d viewers   %.1f Mbit/s   %d stalls", stage, now.playing, r.Viewers, rate, now.stalls)
	if now.failed+now.lost > 0 {
		line += fmt.Sprintf("   %d failed, %d lost", now.failed, now.lost)
	}
	r.Progress(line)
	return now
}

// count is the sum over all viewers at one moment.
type count struct {
	at                    time.Time
	bytes, frames, stalls int64
	packets, missed       int64
	playing, failed, lost int
}

func (r *run) count(at time.Time) count {
	c := count{at: at}
	for _, v := range r.viewers {
		c.bytes += v.bytes.Load()
		c.frames += v.frames.Load()
		c.stalls += v.stalls.Load()
		c.packets += v.packets.Load()
		c.missed += v.missed.Load()
		switch began, over := v.first.Load() > 0, v.over.Load(); {
		case began && over:
			c.lost++
		case began:
			c.playing++
		case over:
			c.failed++
		}
	}
	return c
}

// fail keeps the first failure of a viewer.
func (r *run) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}
