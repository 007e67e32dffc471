// Package dvr records streams into files, FLV or MP4.
//
// Each publication that is to be recorded has a goroutine that reads it as a
// passive reader of the stream, so a disk that is slow or full costs the recording,
// never anybody who watches; what is lost is counted and said. A file is playable
// wherever it breaks off. It has .tmp at the end of its name until it is whole; one
// that an earlier run left behind is finished when the server starts. Then on_dvr is
// told, and the file is in the list of the API.
//
// Names may hold what a peer said: each file is opened below the folder that the
// configuration names (os.Root).
package dvr

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "dvr",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.DVR, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := newServer(env)
		env.Hub.OnPublish(s.published)
		env.Desk.Observe(s)
		env.Endpoints.Add(s.endpoints()...)
		env.Metrics.Add(s.metrics)
		env.API.Handle(service.OrderPublic, s.onClip)
		env.Media.Handle(service.OrderPublic, s.onClip)
		return s, nil
	},
}

func newServer(env service.Env) *server {
	s := &server{env: env, create: create, recorders: map[hub.Key]*recorder{}, tidy: make(chan struct{}, 1), uploads: newUploads(), clips: make(chan struct{}, clips), cuts: make(chan struct{}, cuts)}
	s.ctx, s.cancel = context.WithCancelCause(context.Background())
	return s
}

type server struct {
	env     service.Env
	create  func(dir, name string) (root *os.Root, f file, as string, err error)
	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	list    catalog
	tidy    chan struct{} // wakes the one who deletes what is too old or too much
	uploads *uploads
	clips   chan struct{} // one for each that is served
	cuts    chan struct{} // one for each that is being made

	finished atomic.Int64 // files
	lost     atomic.Int64 // frames that are in no file

	mu        sync.Mutex
	recorders map[hub.Key]*recorder // guarded by mu
}

// Why a recording ends before its publication does.
var (
	errStopped  = errors.New("recording was stopped")
	errShutdown = errors.New("server is stopping")
)

const (
	// patience is how long a stop waits for files to be finished; what is not by
	// then is finished by the next start.
	patience = 1500 * time.Millisecond
	// tidyEvery is how often recordings are looked at that may be too old.
	tidyEvery = time.Minute
)

// Run implements service.Service. When ctx is done the publications have ended.
func (s *server) Run(ctx context.Context) error {
	s.wg.Go(func() { service.Guard(s.env.Log, func() error { s.takeStock(); return nil }) })
	var sending sync.WaitGroup
	sending.Go(func() { service.Guard(s.env.Log, func() error { s.sendAll(ctx); return nil }) })
	defer sending.Wait()
	t := time.NewTicker(tidyEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			s.clear(time.Now())
		case <-s.tidy:
			s.clear(time.Now())
		case <-ctx.Done():
			s.await()
			return nil
		}
	}
}

// await waits until what is recorded is written, for a while.
func (s *server) await() {
	done := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
		return
	case <-time.After(patience / 2): // somebody still publishes
	}
	s.cancel(errShutdown)
	select {
	case <-done:
	case <-time.After(patience / 2):
		s.env.Log.Warn("recordings are not finished in time; the next start does that")
	}
}

func (s *server) conf(vhost string) *blocks.DVRConfig {
	v, _ := s.env.Conf.Load().Vhost(vhost)
	return blocks.DVR.Of(v)
}

// published is called for each publication, before its first frame.
func (s *server) published(p *hub.Publication) {
	key := p.Stream().Key
	if s.conf(key.Vhost).Applies(key.App, key.Stream) {
		s.start(p)
	}
}

// Observe implements session.Observer: it learns who publishes, which is told of a
// moment after the publication.
func (s *server) Observe(e session.Event) {
	if e.What != session.Published {
		return
	}
	if r := s.recorder(e.Ask.Key); r != nil {
		r.client.Store(&client{e.Session, e.Ask})
	}
}

// start records a publication, unless that is done already.
func (s *server) start(p *hub.Publication) {
	key := p.Stream().Key
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.recorders[key]; old != nil && old.publication == p || s.ctx.Err() != nil || p.Lent || p.By == service.BySlate {
		return
	}
	r := s.newRecorder(p)
	r.meet()
	s.recorders[key] = r
	s.wg.Go(func() {
		service.Guard(r.log, func() error { r.run(); return nil })
		r.leave()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.recorders[key] == r {
			delete(s.recorders, key)
		}
	})
}

// recorder returns who records a stream, nil if nobody does.
func (s *server) recorder(key hub.Key) *recorder {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recorders[key]
}

// Prepare implements service.Preparer: recording that is switched on begins for
// streams that are live, and one that is switched off ends.
func (s *server) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	applies := func(c *config.Snapshot, key hub.Key) bool {
		v, ok := c.Vhost(key.Vhost)
		return ok && v.Enabled && blocks.DVR.Of(v).Applies(key.App, key.Stream)
	}
	return service.Turn{Commit: func() {
		for key, st := range s.env.Hub.All() {
			was, is := applies(old, key), applies(next, key)
			if p := st.Shown(); p != nil && is && !was {
				s.start(p)
			} else if r := s.recorder(key); r != nil && was && !is {
				r.cancel(errStopped)
			}
		}
	}}, nil
}

// metrics are the numbers for Prometheus.
func (s *server) metrics() []service.Metric {
	active := 0
	s.mu.Lock()
	for _, r := range s.recorders {
		if r.now() != nil {
			active++
		}
	}
	s.mu.Unlock()
	one := func(v float64) []service.Sample { return []service.Sample{{Value: v}} }
	s.uploads.mu.Lock()
	queued := len(s.uploads.waiting) + s.uploads.running
	s.uploads.mu.Unlock()
	return []service.Metric{
		{Name: "weir_dvr_active", Help: "Files that are written now", Samples: one(float64(active))},
		{Name: "weir_dvr_files_total", Help: "Recordings that were finished", Counter: true, Samples: one(float64(s.finished.Load()))},
		{Name: "weir_dvr_lost_frames_total", Help: "Frames that a disk was too slow or too full for", Counter: true, Samples: one(float64(s.lost.Load()))},
		{Name: "weir_dvr_uploads_total", Help: "Recordings that were sent to object storage", Counter: true, Samples: one(float64(s.uploads.sent.Load()))},
		{Name: "weir_dvr_upload_failures_total", Help: "Attempts to send a recording that failed", Counter: true, Samples: one(float64(s.uploads.failed.Load()))},
		{Name: "weir_dvr_uploads_waiting", Help: "Recordings that are to be sent", Samples: one(float64(queued))},
	}
}
