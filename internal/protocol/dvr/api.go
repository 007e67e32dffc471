package dvr

import (
	"net/http"
	"strconv"

	"weir/internal/hub"
	"weir/internal/service"
)

const (
	usualPage   = 10
	longestPage = 1000
)

// codeNoStream is SRS's number for a stream that is not there.
const codeNoStream = 2048

// stream are the parameters that name a stream.
var stream = [][2]string{{"app", "the app"}, {"stream", "the stream"}, {"vhost", "the vhost, if it is not the default one"}}

// nothing is the answer to what was done.
type nothing struct{}

// endpoints are what the API answers: the list of recordings, and POST to start, stop
// and split for one stream.
func (s *server) endpoints() []service.Endpoint {
	return []service.Endpoint{
		{Method: "GET", Path: "dvrs/", Summary: "recordings: those that are written now, then the finished ones, the newest first", Reply: page{},
			Params: append([][2]string{{"start", "how many are left out"}, {"count", "how many, 10 if it is not said, at most 1000"}}, stream...),
			Answer: func(r *http.Request) (any, *service.Refusal) { return s.page(r), nil }},
		{Method: "POST", Path: "dvrs/start", Summary: "record a stream that is live, whatever dvr_apply says", Params: stream, Reply: nothing{}, Answer: s.onStart},
		{Method: "POST", Path: "dvrs/stop", Summary: "end the recording of a stream", Params: stream, Reply: nothing{}, Answer: s.onRecorder(func(r *recorder) { r.cancel(errStopped) })},
		{Method: "POST", Path: "dvrs/split", Summary: "go on in another file from the next key frame on", Params: stream, Reply: nothing{}, Answer: s.onRecorder(func(r *recorder) { r.split.Store(true) })},
	}
}

// key is the stream that a request names.
func (s *server) key(r *http.Request) hub.Key {
	q := r.URL.Query()
	v, _ := s.env.Conf.Load().Vhost(q.Get("vhost"))
	if v == nil {
		return hub.Key{}
	}
	return hub.Key{Vhost: v.Name, App: q.Get("app"), Stream: q.Get("stream")}
}

func (s *server) onStart(r *http.Request) (any, *service.Refusal) {
	if st := s.env.Hub.Stream(s.key(r)); st != nil {
		if p := st.Shown(); p != nil {
			s.start(p)
			return nothing{}, nil
		}
	}
	return nil, &service.Refusal{Status: http.StatusNotFound, Code: codeNoStream, Text: "nobody publishes that stream"}
}

func (s *server) onRecorder(do func(*recorder)) func(r *http.Request) (any, *service.Refusal) {
	return func(r *http.Request) (any, *service.Refusal) {
		now := s.recorder(s.key(r))
		if now == nil {
			return nil, &service.Refusal{Status: http.StatusNotFound, Code: codeNoStream, Text: "that stream is not recorded"}
		}
		do(now)
		return nothing{}, nil
	}
}

// page is an answer with a part of the list.
type page struct {
	Total int          `json:"total"`
	DVRs  []*recording `json:"dvrs"`
}

// page is a part of the list: what is recorded now, then what is finished, the
// newest first.
func (s *server) page(r *http.Request) page {
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
	return page{len(kept), kept[from:min(from+min(count, longestPage), len(kept))]}
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
