package process

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"weir/internal/child"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/service/pull"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// pullers are the ways to have a stream without a program, by the scheme of its
// address; "" is for files. Whoever can have streams by another protocol adds a line.
var pullers = map[string]func(ctx context.Context, in *pull.Intake, url string, o pull.Options) error{
	"":      pull.File,
	"rtmp":  pull.RTMP,
	"rtmps": pull.RTMP,
	"http":  pull.HTTP,
	"https": pull.HTTP,
	"srt":   pull.SRT,
}

// scheme returns that of an address in lower case, "" for a file's path.
func scheme(url string) string {
	s, _, ok := strings.Cut(url, "://")
	if !ok {
		return ""
	}
	return strings.ToLower(s)
}

// canPull tells why an input cannot be had without a program, nil if it can.
func canPull(in *blocks.IngestConfig, e *blocks.EngineConfig) error {
	s := scheme(in.Input.URL)
	switch {
	case in.Input.Type == "device":
		return fmt.Errorf("ingest %s: a device needs ffmpeg", in.ID)
	case pullers[s] == nil:
		return fmt.Errorf("ingest %s: %s needs ffmpeg", in.ID, s)
	case (s == "http" || s == "https") && !strings.HasSuffix(strings.ToLower(beforeQuery(in.Input.URL)), ".flv"):
		return fmt.Errorf("ingest %s: what is no .flv over HTTP needs ffmpeg", in.ID)
	case e.Enabled && (coded(e.VCodec) || coded(e.ACodec)):
		return fmt.Errorf("ingest %s: an engine that encodes needs ffmpeg", in.ID)
	}
	return nil
}

func coded(codec string) bool { return codec != "" && codec != "copy" }

func beforeQuery(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return url
}

// A native has a stream without a program, again and again until it is stopped. To
// those who look it is a program without an id.
type native struct {
	env    service.Env
	log    *slog.Logger
	url    string
	target rtmp.Target // where it is published, here
	vhost  string      // the configured one
	o      pull.Options

	cancel context.CancelCauseFunc
	done   chan struct{}

	mu     sync.Mutex
	status child.Status // guarded by mu
}

var errStopped = &session.Error{Code: session.ErrRemoved.Code, Text: "nobody wants it any more"}

// A hired is what a hand is: a program, or something that does its work here.
type hired interface {
	Stop(patience time.Duration)
	Done() <-chan struct{}
	Status() child.Status
}

const (
	// mostWait is the longest wait before it is tried again.
	mostWait = time.Minute
	// goodAfter is how long it must have run to have begun well.
	goodAfter = 30 * time.Second
)

func newNative(env service.Env, log *slog.Logger, w *want) *native {
	n := &native{env: env, log: log, url: w.url, target: w.target, vhost: w.key.Vhost, o: pull.Options{Allow: w.allow}, done: make(chan struct{}),
		status: child.Status{State: child.Starting}}
	n.o.TLS = func(host string) *tls.Config { return service.TLS("warn", host, env, log) }
	ctx, cancel := context.WithCancelCause(context.Background())
	n.cancel = cancel
	go n.run(ctx)
	return n
}

// Stop implements hired.
func (n *native) Stop(time.Duration) { n.cancel(errStopped) }

// Done implements hired.
func (n *native) Done() <-chan struct{} { return n.done }

// Status implements hired.
func (n *native) Status() child.Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.status
}

func (n *native) set(change func(*child.Status)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change(&n.status)
}

func (n *native) run(ctx context.Context) {
	defer close(n.done)
	wait := service.Backoff{First: child.Retry, Most: mostWait}
	for ctx.Err() == nil {
		began := time.Now()
		n.set(func(s *child.Status) { s.State, s.Began = child.Running, began })
		err := service.Guard(n.log, func() error { return n.once(ctx) })
		if ctx.Err() != nil {
			break
		}
		if time.Since(began) >= goodAfter {
			wait.Reset()
		}
		text := "it ended"
		if err != nil {
			text = session.Mask(err.Error())
		}
		n.set(func(s *child.Status) { s.State, s.Exit = child.Waiting, text })
		n.log.Warn("pull ended, another try", "url", session.Mask(n.url), "err", text)
		select {
		case <-time.After(wait.Next()):
		case <-ctx.Done():
		}
		n.set(func(s *child.Status) { s.Restarts++ })
	}
	n.set(func(s *child.Status) { s.State = child.Stopped })
}

// once has the stream until it ends. Rules and callbacks take it for what it stands in
// for: an encoder on this machine.
func (n *native) once(ctx context.Context) (err error) {
	s, err := n.env.Desk.Connect(ctx, session.Visitor{Protocol: "ingest", Remote: netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0),
		TcURL: n.target.TcURL(), Connects: true})
	if err != nil {
		return err
	}
	defer func() { s.Close(err) }()
	t := n.target
	in := pull.NewIntake(n.env, s, session.Ask{Key: hub.Key{Vhost: n.vhost, App: t.App, Stream: t.Stream}, Type: "ingest-publish",
		Said: session.Said{Vhost: t.Vhost, App: t.App, Stream: t.Stream, Param: t.Param}})
	n.log.Info("pull begins", "url", session.Mask(n.url), "cid", s.ID)
	return pullers[scheme(n.url)](s.Context(), in, n.url, n.o)
}
