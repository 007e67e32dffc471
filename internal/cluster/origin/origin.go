// Package origin sends players of RTMP and WebRTC to the server of an origin cluster that
// has their stream, by asking the coworkers' APIs (RTMP 302, HTTP 307). Their question to us is
// answered by the API, at /api/v1/clusters.
package origin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "origin_cluster",
	Phase: service.Base,
	Conf:  []config.Spec{blocks.Cluster},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env, client: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second, MaxResponseHeaderBytes: 64 << 10},
			// A coworker speaks for itself.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}}
		env.Desk.Authorize(s)
		return s, nil
	},
}

const (
	// askTime is how long the coworkers have to answer; a player waits for it.
	askTime = 2 * time.Second
	// answerLimit bounds an answer, in bytes.
	answerLimit = 64 << 10
)

type server struct {
	env    service.Env
	client *http.Client
}

// Run implements service.Service.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	s.client.CloseIdleConnections()
	return nil
}

// Authorize implements session.Authorizer: it sends a player of RTMP or WebRTC to the
// coworker that has the stream, if it is not here. If nobody has it, the player waits here.
func (s *server) Authorize(ctx context.Context, r *session.Request) error {
	if p := r.Session.Protocol; r.Act != session.Play || p != "rtmp" && p != "webrtc" {
		return nil
	}
	v, _ := s.env.Conf.Load().Vhost(r.Ask.Key.Vhost)
	c := blocks.Cluster.Of(v)
	if c.Mode == "remote" || !c.OriginCluster {
		return nil
	}
	if st := s.env.Hub.Stream(r.Ask.Key); st != nil && st.Live() {
		return nil
	}
	if m := s.find(ctx, c.Coworkers, r.Session, r.Ask.Key); m != nil {
		return m
	}
	return nil
}

// find asks all coworkers at once, so that one that hangs delays nobody whose stream
// another one has.
func (s *server) find(ctx context.Context, coworkers []string, by *session.Session, key hub.Key) *session.Moved {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	found := make(chan *session.Moved, len(coworkers))
	var wg sync.WaitGroup
	for _, w := range coworkers {
		wg.Go(func() {
			m, err := s.ask(ctx, w, by, key)
			if err != nil && ctx.Err() == nil {
				s.env.Log.Warn("http: coworker cannot be asked for a stream", "cid", by.ID, "coworker", w, "err", err)
			}
			if m != nil {
				found <- m
				cancel()
			}
		})
	}
	wg.Wait()
	select {
	case m := <-found:
		s.env.Log.Info("http: cluster redirect", "cid", by.ID, "stream", key.String(), "to", m.Addr())
		return m
	default:
		return nil
	}
}

// ask asks one coworker, which answers null if it has not the stream.
func (s *server) ask(ctx context.Context, coworker string, by *session.Session, key hub.Key) (*session.Moved, error) {
	e := url.QueryEscape
	to := fmt.Sprintf("http://%s/api/v1/clusters?vhost=%s&ip=%s&app=%s&stream=%s&coworker=%s", coworker, e(key.Vhost), e(by.Local.Addr().String()), e(key.App), e(key.Stream), coworker)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", s.env.Server)
	res, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered with status %s", res.Status)
	}
	var answer struct {
		Code int `json:"code"`
		Data struct {
			Origin *session.Moved `json:"origin"`
		} `json:"data"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, answerLimit)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("answer makes no sense: %w", err)
	}
	m := answer.Data.Origin
	if answer.Code != 0 || m == nil {
		return nil, nil
	}
	if m.Host == "" || m.Port <= 0 || m.Port > 65535 {
		return nil, fmt.Errorf("answered with an address that makes no sense: %.60q, port %d", m.Host, m.Port)
	}
	if by.Protocol == "webrtc" { // which begins at the API
		if _, m.Port = config.SplitListen(coworker); m.Port == 0 {
			m.Port = 80
		}
	}
	return m, nil
}
