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
	late := time.After(summonTime)
	for {
		if st, ok := s.streams.Get(key); ok {
			if st.listed() != nil {
				f := s.playlistFor(r, conf, v, thing{of: &st.listing}, r.URL.Query().Get(ctxParam))
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
