package hls

import (
	"net/http"
	pathpkg "path"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/service/shelf"
	"weir/internal/session"
	"weir/internal/store"
)

// summonTime is how long a viewer waits for the first segments of a stream that begins
// because of it.
const summonTime = 15 * time.Second

// demanded returns the stream of a request for a playlist, and whether that stream
// begins when somebody plays it.
func (s *server) demanded(r *http.Request) (hub.Key, bool) {
	v, ok := s.env.Conf.Load().Vhost(service.VhostName(r))
	if !ok || pathpkg.Ext(r.URL.Path) != ".m3u8" {
		return hub.Key{}, false
	}
	conf, path := blocks.HLS.Of(v), strings.TrimPrefix(pathpkg.Clean(r.URL.Path), "/")
	key := hub.Key{Vhost: v.Name, App: pathpkg.Dir(path), Stream: strings.TrimSuffix(pathpkg.Base(path), ".m3u8")}
	return key, conf.Enabled && pathpkg.Clean(store.Expand(conf.M3U8File, key, time.Time{})) == path && s.env.OnDemand.Has(key)
}

// summon signs a viewer in, whereupon the stream begins, and answers once something is
// listed.
func (s *server) summon(w http.ResponseWriter, r *http.Request, key hub.Key) {
	conf := s.conf(key.Vhost)
	v, err := s.viewer(r, key, conf, viewerID(r, key, conf))
	if err != nil {
		shelf.Refuse(w, err)
		return
	}
	if err := s.wish(r, v, key, conf); err != nil {
		shelf.Refuse(w, err)
		return
	}
	late := time.After(summonTime)
	for {
		if st, ok := s.streams.Get(key); ok {
			if st.listed() != nil {
				f := s.playlistFor(r, conf, v, thing{of: &st.listing}, st.listed(), r.URL.Query().Get(ctxParam))
				v.Session.Count(len(r.URL.RequestURI()), f.Size)
				shelf.Give(s.env.Conf.Load(), w, r, key, f)
				return
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-late:
			http.Error(w, "the stream has not begun", http.StatusNotFound)
			return
		case <-r.Context().Done():
			return
		}
	}
}

// wishTime is for how long a stream is kept for a viewer who has gone over to another of
// a choice.
func wishTime(conf *blocks.HLSConfig) time.Duration { return max(10*time.Second, 3*conf.Fragment) }

// wish has a viewer who came for another stream of a choice count as one of this stream
// too, if it is one that goes on only while somebody plays it.
func (s *server) wish(r *http.Request, v *shelf.Poller, key hub.Key, conf *blocks.HLSConfig) error {
	if _, ask, _ := v.Session.Doing(); ask.Key == key || !s.env.OnDemand.Has(key) {
		return nil
	}
	ask := session.Ask{Key: key, Type: "hls-play", Silent: true, Said: session.Said{Vhost: service.VhostName(r), App: key.App, Stream: key.Stream + ".m3u8", Param: withoutCtx(r.URL.RawQuery)}}
	_, _, err := s.viewers.Sign(s.env.Desk, r, "hls", wishID(viewerID(r, key, conf), key), ask, wishTime(conf))
	return err
}

// wishID tells the wishes of viewers apart.
func wishID(id string, key hub.Key) string { return id + " " + key.String() }

// strays reports whether a viewer came for another stream than one that goes on only
// while somebody plays it, and asks for that now.
func (s *server) strays(id string, key hub.Key) bool {
	v, err := s.viewers.Get(id)
	if v == nil || err != nil {
		return false
	}
	_, ask, _ := v.Session.Doing()
	return ask.Key != key && s.env.OnDemand.Has(key)
}

// left returns the viewer with an id if it is signed in for a stream that goes on only
// while somebody plays it, and has asked for others alone for a while; a request for that
// stream is noted. So it is with those whose session was renewed while they played such a
// rung of a choice, and where a choice has nothing else.
func (s *server) left(id string, key hub.Key, conf *blocks.HLSConfig) *shelf.Poller {
	v, err := s.viewers.Get(id)
	if v == nil || err != nil {
		return nil
	}
	_, ask, _ := v.Session.Doing()
	switch {
	case ask.Key == key:
		v.Stay()
	case v.Away() > wishTime(conf) && s.env.OnDemand.Has(ask.Key):
		return v
	}
	return nil
}
