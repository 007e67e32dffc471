package dvr

import (
	"net/http"
	"strconv"

	"weir/internal/hub"
)

// The codes of the endpoint: SRS's for a stream that is not there; the others are
// HTTP's.
const (
	codeNoStream = 2048
	codeVerb     = 405
	codeNoPath   = 404
)

const (
	usualPage   = 10
	longestPage = 1000
)

// endpoint answers /api/v1/dvrs/: the list of recordings, and POST to start, stop
// and split for one stream.
func (s *server) endpoint(r *http.Request, path string) (body any, code int) {
	if path == "" {
		return s.page(r), 0
	}
	if path != "start" && path != "stop" && path != "split" {
		return nil, codeNoPath
	}
	if r.Method != http.MethodPost {
		return nil, codeVerb
	}
	q := r.URL.Query()
	v, ok := s.env.Conf.Load().Vhost(q.Get("vhost"))
	if !ok {
		return nil, codeNoStream
	}
	key := hub.Key{Vhost: v.Name, App: q.Get("app"), Stream: q.Get("stream")}
	now := s.recorder(key)
	if path == "start" {
		st := s.env.Hub.Stream(key)
		if st == nil {
			return nil, codeNoStream
		}
		p := st.Publication()
		if p == nil {
			return nil, codeNoStream
		}
		s.start(p)
		return struct{}{}, 0
	}
	if now == nil {
		return nil, codeNoStream
	}
	if path == "stop" {
		now.cancel(errStopped)
	} else {
		now.split.Store(true)
	}
	return struct{}{}, 0
}

// page is a part of the list: what is recorded now, then what is finished, the
// newest first.
func (s *server) page(r *http.Request) any {
	q := r.URL.Query()
	var all []*recording
	s.mu.Lock()
	for _, rec := range s.recorders {
		if a := rec.now(); a != nil {
			all = append(all, a)
		}
	}
	s.mu.Unlock()
	finished := s.list.of("")
	for i := range finished {
		all = append(all, finished[len(finished)-1-i])
	}
	kept := []*recording{}
	for _, rec := range all {
		if matches(q.Get("vhost"), rec.Vhost) && matches(q.Get("app"), rec.App) && matches(q.Get("stream"), rec.Stream) {
			kept = append(kept, rec)
		}
	}
	start, _ := strconv.Atoi(q.Get("start"))
	count, err := strconv.Atoi(q.Get("count"))
	if err != nil || count < 1 {
		count = usualPage
	}
	from := min(max(start, 0), len(kept))
	return struct {
		Total int          `json:"total"`
		DVRs  []*recording `json:"dvrs"`
	}{len(kept), kept[from:min(from+min(count, longestPage), len(kept))]}
}

func matches(want, got string) bool { return want == "" || want == got }

// now returns what is written now, nil if there is no file.
func (r *recorder) now() *recording {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.active == nil {
		return nil
	}
	c := *r.active
	c.Lost = r.lost.Load()
	return &c
}
