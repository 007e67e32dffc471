// Package thumbnail shows the newest key frame of a live stream as a JPEG, which an ffmpeg
// makes of it.
//
// A picture is made when somebody asks who may play the stream, if there is a newer key frame
// and the picture before is old enough; all who ask meanwhile wait for the same one. Two
// programs run at a time, each for some seconds at most.
package thumbnail

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/service/shelf"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "thumbnail",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.Thumbnail, blocks.HTTPServer},
	New: func(env service.Env) (service.Service, error) {
		s := newServer(env)
		env.Media.Handle(service.OrderLive, s.handle)
		return s, nil
	},
}

const (
	// programs is how many run at a time, and waiting how many requests may wait for them.
	programs = 2
	waiting  = 256
	// patience is how long one may take.
	patience = 5 * time.Second
	// keyBy is how long the first key frame of a stream is waited for.
	keyBy = 5 * time.Second
	// forget is after how long without a request the picture of a stream is dropped.
	forget = time.Minute
)

// Why there is no picture.
var (
	errNoProgram = errors.New("there is no ffmpeg: install it, or name it by the directive ffmpeg of thumbnail")
	errNoPicture = errors.New("the stream has no picture")
	errBusy      = errors.New("too many pictures are being made, try again later")
)

type server struct {
	env      service.Env
	patience time.Duration
	running  chan struct{} // one for each program
	waiting  chan struct{} // one for each request that waits

	mu  sync.Mutex
	all map[hub.Key]*picture // guarded by mu
}

func newServer(env service.Env) *server {
	return &server{env: env, patience: patience, running: make(chan struct{}, programs), waiting: make(chan struct{}, waiting), all: map[hub.Key]*picture{}}
}

// picture is the newest of a stream.
type picture struct {
	making chan struct{} // held by who makes one

	// Guarded by server.mu.
	asked, made time.Time
	frame       *media.Frame // of which it was made; nil before the first
	file        *shelf.File
	err         error // in place of the file
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	t := time.NewTicker(forget)
	defer t.Stop()
	for {
		select {
		case now := <-t.C:
			s.mu.Lock()
			for key, p := range s.all {
				if now.Sub(p.asked) >= forget {
					delete(s.all, key)
				}
			}
			s.mu.Unlock()
		case <-ctx.Done():
			return nil
		}
	}
}

// handle answers requests for pictures of streams that are live.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	name, ok := strings.CutSuffix(r.URL.Path, ".jpg")
	if !ok {
		return false
	}
	v, ok := s.env.Conf.Load().Vhost(service.VhostName(r))
	if !ok || !v.Enabled || !blocks.Thumbnail.Of(v).Enabled {
		return false
	}
	app, stream := path.Split(strings.TrimPrefix(path.Clean(name), "/"))
	key := hub.Key{Vhost: v.Name, App: strings.TrimSuffix(app, "/"), Stream: stream}
	st := s.env.Hub.Stream(key)
	if key.App == "" || stream == "" || st == nil || st.Shown() == nil {
		return false // a file perhaps
	}
	if shelf.Reads(s.env, w, r) {
		s.serve(w, r, key, blocks.Thumbnail.Of(v))
	}
	return true
}

// serve signs the client in and sends it the picture.
func (s *server) serve(w http.ResponseWriter, r *http.Request, key hub.Key, conf *blocks.ThumbnailConfig) {
	sess, err := s.env.Enter(r, "thumbnail", service.Asked(r, key, "thumbnail-play", ".jpg"))
	if err != nil {
		shelf.Refuse(w, err)
		return
	}
	defer func() { sess.Close(nil) }()
	f, err := s.picture(sess.Context(), key, conf)
	if err != nil {
		refuse(w, err)
		return
	}
	sess.Count(0, f.Size)
	f.Serve(w, r)
}

func refuse(w http.ResponseWriter, err error) {
	status := http.StatusServiceUnavailable
	switch {
	case errors.Is(err, errNoProgram):
		status = http.StatusNotImplemented
	case errors.Is(err, errNoPicture):
		status = http.StatusNotFound
	}
	http.Error(w, err.Error(), status)
}

// picture returns that of a stream, made if need be.
func (s *server) picture(ctx context.Context, key hub.Key, conf *blocks.ThumbnailConfig) (*shelf.File, error) {
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, errBusy
	}
	now := time.Now()
	s.mu.Lock()
	p := s.all[key]
	if p == nil {
		p = &picture{making: make(chan struct{}, 1)}
		s.all[key] = p
	}
	p.asked = now
	if fresh, f, err := p.fresh(now, conf.Interval); fresh {
		s.mu.Unlock()
		return f, err
	}
	s.mu.Unlock()
	select {
	case p.making <- struct{}{}:
		defer func() { <-p.making }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	fresh, file, err := p.fresh(time.Now(), conf.Interval)
	frame, old := p.frame, p.file
	s.mu.Unlock()
	if fresh {
		return file, err // somebody has made it meanwhile
	}
	// Not of who asked first: others wait for the same.
	newest, err := s.newest(context.WithoutCancel(ctx), key)
	switch {
	case err != nil:
		old = nil
	case newest == frame && old != nil:
		err = nil // there is none newer
	default:
		frame = newest
		old, err = s.develop(newest, conf)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	p.made, p.frame, p.file, p.err = time.Now(), frame, old, err
	return p.file, p.err
}

// fresh reports whether what there is will do.
func (p *picture) fresh(now time.Time, interval time.Duration) (bool, *shelf.File, error) {
	return !p.made.IsZero() && now.Sub(p.made) < interval, p.file, p.err
}

// newest returns the newest key frame of a stream, waiting a while for the first.
func (s *server) newest(ctx context.Context, key hub.Key) (*media.Frame, error) {
	sub := s.env.Hub.Subscribe(key, hub.Options{Passive: true})
	defer sub.Close()
	ctx, cancel := context.WithTimeout(ctx, keyBy)
	defer cancel()
	for frames := make([]*media.Frame, 1); ; {
		_, err := sub.Read(ctx, frames)
		if err != nil {
			return nil, errNoPicture
		}
		if f := frames[0]; f.Track.Kind == media.Video && f.Key {
			return f, nil
		}
		if frames[0].Layout.Main(media.Video) == nil {
			return nil, errNoPicture
		}
	}
}
