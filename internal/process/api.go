package process

import (
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"weir/internal/service"
	"weir/internal/session"
)

// list is the answer with all programs.
type list struct {
	Processes []entry `json:"processes"`
}

// entry is one program.
type entry struct {
	ID       string   `json:"id"`
	Kind     string   `json:"kind"` // ingest, transcode or exec
	Name     string   `json:"name"` // of the ingest or the engine
	Vhost    string   `json:"vhost"`
	App      string   `json:"app"`
	Stream   string   `json:"stream"`
	State    string   `json:"state"` // starting, running, waiting, stopping or stopped
	PID      int      `json:"pid"`   // 0 while it does not run
	Began    int64    `json:"began"` // ms since 1970; 0 if it never ran
	Restarts int      `json:"restarts"`
	Exit     string   `json:"exit"`     // how it ended last
	Progress string   `json:"progress"` // ffmpeg's: frames, fps, speed
	FPS      float64  `json:"fps"`      // of that; 0 if it says nothing
	Speed    float64  `json:"speed"`    // how fast compared to real time
	Dropped  int64    `json:"dropped"`  // frames
	Lines    []string `json:"lines"`    // the last that it wrote
}

func (s *server) endpoints() []service.Endpoint {
	return []service.Endpoint{{Method: "GET", Path: "processes/", Summary: "programs that the server runs: ingest, transcode and exec", Reply: list{},
		Answer: func(*http.Request) (any, *service.Refusal) { return s.list(), nil }}}
}

func (s *server) list() list {
	out := list{[]entry{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, h := range s.hands {
		st := h.program.Status()
		e := entry{ID: id, Kind: h.kind, Name: h.name, Vhost: h.key.Vhost, App: h.key.App, Stream: h.key.Stream, State: st.State, PID: st.PID,
			Restarts: st.Restarts, Exit: st.Exit, Progress: st.Progress, Lines: []string{}}
		e.FPS, e.Speed, e.Dropped = figure(st.Progress, "fps"), figure(st.Progress, "speed"), int64(figure(st.Progress, "drop"))
		if !st.Began.IsZero() {
			e.Began = st.Began.UnixMilli()
		}
		for _, l := range st.Lines {
			e.Lines = append(e.Lines, session.Mask(l))
		}
		out.Processes = append(out.Processes, e)
	}
	slices.SortFunc(out.Processes, func(a, b entry) int { return strings.Compare(a.ID, b.ID) })
	return out
}

// figure returns a number of ffmpeg's progress, as in "frame=  250 fps= 25 speed=1.01x".
func figure(progress, name string) float64 {
	_, rest, ok := strings.Cut(" "+progress, " "+name+"=")
	if !ok {
		return 0
	}
	rest = strings.TrimLeft(rest, " ")
	if end := strings.IndexByte(rest, ' '); end >= 0 {
		rest = rest[:end]
	}
	v, err := strconv.ParseFloat(strings.TrimSuffix(rest, "x"), 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return 0 // N/A
	}
	return v
}
