package process

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"weir/internal/hub"
)

// In an upgrade the ingests of the configuration go on at the old process until it ends,
// and then at the new one; so do those that the API asked the old one for. What the new
// one is asked for it has itself.

// An heirloom is an order on its way to the next process.
type heirloom struct {
	Key      hub.Key
	URL      string
	OnDemand bool
}

// runsHere reports whether the ingests of the configuration run here.
func (s *server) runsHere() bool {
	if !s.ingests.Mine() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ingests.IsDue() && !s.began { // they are for the one after us
		s.ingests.Give(nil)
		return false
	}
	s.began = true
	return true
}

// elsewhere reports whether another process of an upgrade has a stream.
func (s *server) elsewhere(key hub.Key) bool {
	st := s.env.Hub.Stream(key)
	if st == nil {
		return false
	}
	p := st.Publication()
	return p != nil && p.Lent
}

// inherit takes what the process before leaves.
func (s *server) inherit(ctx context.Context) {
	go func() {
		if _, ok := s.ingests.Await(ctx); ok {
			s.nudge()
		}
	}()
	data, ok := s.orders.Await(ctx)
	var all []heirloom
	if !ok || data == nil || json.Unmarshal(data, &all) != nil {
		return
	}
	s.mu.Lock()
	for _, h := range all {
		if _, there := s.asked[h.Key]; !there && len(s.asked) < most {
			s.asked[h.Key] = order{h.URL, h.OnDemand}
		}
	}
	s.mu.Unlock()
	s.nudge()
}

// leave gives all that to the process that has taken our place.
func (s *server) leave() {
	if !s.orders.IsDue() {
		return
	}
	all := []heirloom{}
	s.mu.Lock()
	for key, o := range s.asked {
		all = append(all, heirloom{key, o.url, o.onDemand})
	}
	s.mu.Unlock()
	if b, err := json.Marshal(all); err == nil && s.orders.Mine() {
		s.orders.Give(b)
	}
	if s.ingests.Mine() {
		s.ingests.Give(nil)
	}
}

// Where the old process is asked of an order, or to take one back.
const (
	orderPath    = "/ingests/ordered"
	takeBackPath = "/ingests/stop"
)

// answerHeir answers the process that takes our place.
func (s *server) answerHeir() {
	say := func(path string, f func(hub.Key) bool) {
		s.env.Handover.Answer(path, func(w http.ResponseWriter, r *http.Request) {
			q := r.URL.Query()
			json.NewEncoder(w).Encode(f(hub.Key{Vhost: q.Get("vhost"), App: q.Get("app"), Stream: q.Get("stream")}))
		})
	}
	say(orderPath, func(key hub.Key) bool {
		s.mu.Lock()
		_, there := s.asked[key]
		s.mu.Unlock()
		return there || s.askElder(orderPath, key)
	})
	say(takeBackPath, s.takeBack)
}

// askElder asks the process before of a stream.
func (s *server) askElder(path string, key hub.Key) (yes bool) {
	err := s.env.Handover.AskElder(path, url.Values{"vhost": {key.Vhost}, "app": {key.App}, "stream": {key.Stream}}, &yes)
	return err == nil && yes
}

// takeBack takes an order back, wherever it is, and reports whether there was one.
func (s *server) takeBack(key hub.Key) bool {
	s.mu.Lock()
	_, there := s.asked[key]
	if there {
		delete(s.asked, key)
	}
	s.mu.Unlock()
	if there {
		s.nudge()
	}
	return there || s.askElder(takeBackPath, key)
}
