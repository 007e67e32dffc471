// Package bandwidth measures the bandwidth to a server and back by SRS's bandwidth
// test over RTMP, as its client: the server's vhost needs bandcheck.
package bandwidth

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"weir/internal/format/amf"
	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// A Result is what was measured, in the words of the server.
type Result struct {
	PlayKbps, PublishKbps   int64 // from the server, and to it
	PlayBytes, PublishBytes int64
	PlayTime, PublishTime   time.Duration
}

// String tells it in a line for each direction.
func (r Result) String() string {
	line := func(way string, kbps, bytes int64, took time.Duration) string {
		return fmt.Sprintf("%-9s %8d kbit/s (%d bytes in %v)", way, kbps, bytes, took)
	}
	return line("download", r.PlayKbps, r.PlayBytes, r.PlayTime) + "\n" + line("upload", r.PublishKbps, r.PublishBytes, r.PublishTime)
}

const (
	// timeout is how long the server may be silent, and firstTimeout at the start.
	timeout      = 10 * time.Second
	firstTimeout = 3 * time.Second
	// filler is how much of nothing a message has.
	filler = 16 << 10
)

// Run measures. The address is that of an app, with the key and, if need be, the
// vhost as parameters: rtmp://host/app?key=KEY&vhost=bandcheck.srs.com. progress, if
// not nil, is told now and then how far it is.
func Run(ctx context.Context, address string, progress func(string)) (Result, error) {
	base, query, _ := strings.Cut(address, "?")
	// The address of a stream is what can be dialled; what counts is tcUrl.
	c, err := link.Dial(ctx, strings.TrimSuffix(base, "/")+"/x", link.DialOptions{TcURL: tcURL(base, query)})
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	if progress == nil {
		progress = func(string) {}
	}
	t := &test{c: c, progress: progress}
	for {
		patience := timeout
		if !t.begun {
			patience = firstTimeout
		}
		m, err := c.ReadCommand(patience)
		if err != nil {
			return Result{}, t.explain(err)
		}
		done, err := t.handle(m)
		if err != nil {
			return Result{}, err
		}
		if done {
			return t.result, nil
		}
	}
}

func tcURL(base, query string) string {
	base = strings.TrimSuffix(base, "/")
	if query == "" {
		return base
	}
	return base + "?" + query
}

// test is one test, from the client's side. Commands are handled by one goroutine;
// what is published is sent by another until stop.
type test struct {
	c        *link.Client
	progress func(string)
	begun    bool
	result   Result

	stop chan struct{}
	sent chan error
}

var errRefused = errors.New("the server does not measure the bandwidth of this vhost; it needs bandcheck { enabled on; key ...; }")

func (t *test) explain(err error) error {
	if status, ok := errors.AsType[*link.StatusError](err); ok {
		return fmt.Errorf("the server refuses: %s (%s)", status.Description, status.Code)
	}
	if !t.begun {
		return fmt.Errorf("%w (%w)", errRefused, err)
	}
	return err
}

func (t *test) say(name string) error { return t.c.Command(name, 0, nil) }

// handle answers what the server says. done means that result is there.
func (t *test) handle(m rtmp.Command) (done bool, err error) {
	switch m.Name {
	case "onSrsBandCheckStartPlayBytes":
		t.begun = true
		t.progress("download ...")
		return false, t.say("onSrsBandCheckStartingPlayBytes")
	case "onSrsBandCheckStopPlayBytes":
		o := object(m)
		t.progress(fmt.Sprintf("download %d kbit/s, upload ...", rate(o)))
		return false, t.say("onSrsBandCheckStoppedPlayBytes")
	case "onSrsBandCheckStartPublishBytes":
		if t.stop != nil {
			return false, errors.New("the server starts the upload twice")
		}
		if err := t.say("onSrsBandCheckStartingPublishBytes"); err != nil {
			return false, err
		}
		t.stop, t.sent = make(chan struct{}), make(chan error, 1)
		go t.publish()
		return false, nil
	case "onSrsBandCheckStopPublishBytes":
		if t.stop == nil {
			return false, errors.New("the server stops an upload that did not start")
		}
		close(t.stop)
		if err := <-t.sent; err != nil {
			return false, err
		}
		t.stop = nil
		return false, t.say("onSrsBandCheckStoppedPublishBytes")
	case "onSrsBandCheckFinished":
		o := object(m)
		t.result = Result{number(o, "play_kbps"), number(o, "publish_kbps"), number(o, "play_bytes"), number(o, "publish_bytes"),
			time.Duration(number(o, "play_time")) * time.Millisecond, time.Duration(number(o, "publish_time")) * time.Millisecond}
		return true, t.say("finalClientPacket")
	}
	return false, nil
}

// publish sends until it is told to stop.
func (t *test) publish() {
	o := amf.Object{{Key: "0", Value: strings.Repeat("weir band check ", filler/16)}}
	for {
		select {
		case <-t.stop:
			t.sent <- nil
			return
		default:
		}
		if err := t.c.Command("onSrsBandCheckPublishing", 0, nil, o); err != nil {
			t.sent <- err
			return
		}
	}
}

// object is the object of a command, which SRS has behind the null.
func object(m rtmp.Command) amf.Object {
	for _, v := range append([]any{m.Object}, m.Args...) {
		if o, ok := amf.Properties(v); ok {
			return o
		}
	}
	return nil
}

func number(o amf.Object, name string) int64 {
	n, _ := o.Number(name)
	return int64(n)
}

func rate(o amf.Object) int64 {
	if ms := number(o, "duration_delta"); ms > 0 {
		return number(o, "bytes_delta") * 8 / ms
	}
	return 0
}
