// Package hook calls the operator's HTTP callbacks: it asks on_connect,
// on_publish and on_play, and tells of the rest, with the fields, their order
// and the accept rule of SRS.
//
// A question is asked while the client waits, by the client's own goroutine,
// with one deadline for the whole call and a bounded answer: a server that
// hangs, drips or floods delays that client and no other. Notifications are
// sent in order for each client, and clients do not wait for one another; their
// queue is bounded, and what does not fit is counted and said.
package hook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weir/internal/service"
	"weir/internal/session"
)

// URLs are the callbacks of one vhost, each a list that is called in order.
type URLs struct {
	OnConnect, OnClose     []string
	OnPublish, OnUnpublish []string
	OnPlay, OnStop         []string
	OnHLS                  []string
	OnHLSNotify            string // one URL with variables
	NotifyBytes            int    // how much of the notified segment is read; -1 is all
}

const (
	// patience is the deadline of a call, from connecting to the last byte of
	// the answer (SRS: 30 s for each of its stages).
	patience = 30 * time.Second
	// notifyPatience is that of on_hls_notify.
	notifyPatience = 10 * time.Second
	// answerLimit is how much of an answer is read.
	answerLimit = 64 << 10
)

// Hooks is an authorizer and an observer. Make one with New.
type Hooks struct {
	env    service.Env
	urls   func(vhost string) URLs
	client *http.Client
	queue  queue
}

// New returns hooks that look their URLs up by vhost at each call.
func New(env service.Env, urls func(vhost string) URLs) *Hooks {
	h := &Hooks{env: env, urls: urls, client: &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: patience}).DialContext,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	h.queue.init(h)
	return h
}

// base is what every callback begins with.
type base struct {
	Server  string `json:"server_id"`
	Service string `json:"service_id"`
	Action  string `json:"action"`
	Client  string `json:"client_id"`
	IP      string `json:"ip"`
	Vhost   string `json:"vhost"`
	App     string `json:"app"`
}

type onConnect struct {
	base
	Stream  string `json:"stream"`
	Param   string `json:"param"`
	TcURL   string `json:"tcUrl"`
	PageURL string `json:"pageUrl"`
}

type onClose struct {
	base
	Send int64 `json:"send_bytes"`
	Recv int64 `json:"recv_bytes"`
}

// onStream is on_publish, on_unpublish and on_stop.
type onStream struct {
	base
	TcURL     string `json:"tcUrl"`
	Stream    string `json:"stream"`
	Param     string `json:"param"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
}

type onPlay struct {
	base
	Stream    string `json:"stream"`
	TcURL     string `json:"tcUrl"`
	Param     string `json:"param"`
	PageURL   string `json:"pageUrl"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
}

type onHLS struct {
	base
	TcURL     string `json:"tcUrl"`
	Stream    string `json:"stream"`
	Param     string `json:"param"`
	Duration  fixed2 `json:"duration"`
	Cwd       string `json:"cwd"`
	File      string `json:"file"`
	URL       string `json:"url"`
	M3U8      string `json:"m3u8"`
	M3U8URL   string `json:"m3u8_url"`
	Seq       int64  `json:"seq_no"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
}

// fixed2 is a number written with two decimals, as SRS does.
type fixed2 float64

func (f fixed2) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(f), 'f', 2, 64), nil
}

func (h *Hooks) base(action string, s *session.Session, ask *session.Ask) base {
	return base{h.env.ID, h.env.Service, action, s.ID, s.IP, ask.Key.Vhost, ask.Key.App}
}

func tcURL(s *session.Session, ask *session.Ask) string {
	if ask.Said.TcURL != "" {
		return ask.Said.TcURL
	}
	return s.TcURL
}

// Authorize implements session.Authorizer.
func (h *Hooks) Authorize(ctx context.Context, r *session.Request) error {
	u := h.urls(r.Ask.Key.Vhost)
	s, ask := r.Session, &r.Ask
	if ask.Silent {
		return nil
	}
	switch r.Act {
	case session.Connect:
		return h.ask(ctx, u.OnConnect, "on_connect", s, onConnect{h.base("on_connect", s, ask), ask.Said.Stream, ask.Said.Param, tcURL(s, ask), s.PageURL})
	case session.Publish:
		return h.ask(ctx, u.OnPublish, "on_publish", s, h.onStream("on_publish", s, ask, r.StreamID))
	case session.Play:
		return h.ask(ctx, u.OnPlay, "on_play", s, onPlay{h.base("on_play", s, ask), ask.Said.Stream, tcURL(s, ask), ask.Said.Param, s.PageURL, ask.Key.URL(), r.StreamID})
	}
	return nil
}

func (h *Hooks) onStream(action string, s *session.Session, ask *session.Ask, id string) onStream {
	return onStream{h.base(action, s, ask), tcURL(s, ask), ask.Said.Stream, ask.Said.Param, ask.Key.URL(), id}
}

// ask calls every URL in order; the first that does not accept refuses.
func (h *Hooks) ask(ctx context.Context, urls []string, action string, s *session.Session, body any) error {
	for _, u := range urls {
		if err := h.post(ctx, u, action, s, body); err != nil {
			return fmt.Errorf("%s %s: %w", action, u, err)
		}
	}
	return nil
}

// Observe implements session.Observer.
func (h *Hooks) Observe(e session.Event) {
	u := h.urls(e.Ask.Key.Vhost)
	s, ask := e.Session, &e.Ask
	if ask.Silent {
		return
	}
	switch e.What {
	case session.Unpublished:
		h.tell(u.OnUnpublish, "on_unpublish", s, h.onStream("on_unpublish", s, ask, e.StreamID))
	case session.Stopped:
		h.tell(u.OnStop, "on_stop", s, h.onStream("on_stop", s, ask, e.StreamID))
	case session.Closed:
		in, out := s.Bytes()
		h.tell(u.OnClose, "on_close", s, onClose{h.base("on_close", s, ask), out, in})
	case session.Segmented:
		g := e.Segment
		h.tell(u.OnHLS, "on_hls", s, onHLS{h.base("on_hls", s, ask), tcURL(s, ask), ask.Said.Stream, ask.Said.Param, fixed2(g.Duration.Seconds()),
			h.env.Cwd, g.File, g.URL, g.Playlist, g.PlaylistURL, g.Seq, ask.Key.URL(), e.StreamID})
		if u.OnHLSNotify != "" {
			h.queue.put(s.ID+" notify", func(ctx context.Context) { h.notify(ctx, u, s, ask, g.URL) })
		}
	}
}

func (h *Hooks) tell(urls []string, action string, s *session.Session, body any) {
	for _, u := range urls {
		h.queue.put(s.ID, func(ctx context.Context) {
			if err := h.post(ctx, u, action, s, body); err != nil {
				h.env.Log.Warn("http: ignore "+action+" failed", "cid", s.ID, "client_id", s.ID, "url", u, "err", err)
			}
		})
	}
}

// An Error is a callback's refusal, or that it could not be had, with SRS's
// number.
type Error struct {
	Code int
	Text string
	Err  error
}

// Error tells what happened.
func (e *Error) Error() string {
	if e.Err != nil {
		return e.Text + ": " + e.Err.Error()
	}
	return e.Text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() []error {
	return []error{&session.Error{Code: e.Code, Text: e.Text}, session.ErrDenied, e.Err}
}

// SRS's numbers for what an answer can be.
const (
	codeConnect = 1018
	codeTimeout = 1011
	codeStatus  = 4005
	codeData    = 3008
	codeCode    = 3064
)

func (h *Hooks) post(ctx context.Context, to, action string, s *session.Session, body any) error {
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(b))
	if err != nil {
		return &Error{Code: codeConnect, Text: "callback address", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", h.env.Server)
	res, err := h.client.Do(req)
	if err != nil {
		return unreachable(ctx, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		return &Error{Code: codeStatus, Text: "callback answered with status " + res.Status}
	}
	answer, err := io.ReadAll(io.LimitReader(res.Body, answerLimit+1))
	if err != nil {
		return unreachable(ctx, err)
	}
	if err := judge(answer); err != nil {
		return err
	}
	h.env.Log.Info("http: "+action+" ok", "cid", s.ID, "client_id", s.ID, "url", to, slog.String("request", string(b)), slog.String("response", string(answer)))
	return nil
}

var errPatience = errors.New("callback did not answer within " + patience.String())

func unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, errPatience) {
		return &Error{Code: codeTimeout, Text: cause.Error()}
	} else if cause != nil {
		return cause
	}
	return &Error{Code: codeConnect, Text: "callback server cannot be reached", Err: err}
}

// judge applies SRS's rule: an answer accepts if it is the digit 0 and nothing
// else, or an object whose member code is the integer 0.
func judge(answer []byte) error {
	switch {
	case len(answer) > answerLimit:
		return &Error{Code: codeData, Text: fmt.Sprintf("callback answered with more than %d bytes", answerLimit)}
	case string(answer) == "0":
		return nil
	case len(answer) == 0:
		return &Error{Code: codeData, Text: "callback answered with an empty body; accepting is 0 or {\"code\":0}"}
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(answer, &object); err != nil || object == nil {
		return &Error{Code: codeData, Text: fmt.Sprintf("callback answered %.60q, which is neither 0 nor a JSON object", answer)}
	}
	code, ok := object["code"]
	n, err := strconv.ParseInt(string(code), 10, 64)
	switch {
	case !ok || err != nil:
		return &Error{Code: codeCode, Text: fmt.Sprintf("callback answered %.60q, in which code is not an integer", answer)}
	case n != 0:
		return &Error{Code: codeCode, Text: fmt.Sprintf("callback refused with code %d", n)}
	}
	return nil
}

// notify fetches the URL that an operator wants fetched for each segment, so
// that a CDN has it early. Nothing that comes of it matters.
func (h *Hooks) notify(ctx context.Context, u URLs, s *session.Session, ask *session.Ask, segment string) {
	ctx, cancel := context.WithTimeout(ctx, notifyPatience)
	defer cancel()
	to := strings.NewReplacer("[server_id]", h.env.ID, "[service_id]", h.env.Service, "[app]", url.PathEscape(ask.Key.App),
		"[stream]", url.PathEscape(ask.Key.Stream), "[param]", ask.Said.Param, "[ts_url]", segment).Replace(u.OnHLSNotify)
	if strings.HasPrefix(segment, "http://") || strings.HasPrefix(segment, "https://") {
		to = segment
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err == nil {
		req.Header.Set("User-Agent", h.env.Server)
		var res *http.Response
		if res, err = h.client.Do(req); err == nil {
			body := io.Reader(res.Body)
			if u.NotifyBytes >= 0 {
				body = io.LimitReader(body, int64(u.NotifyBytes))
			}
			_, err = io.Copy(io.Discard, body)
			res.Body.Close()
		}
	}
	if err != nil {
		h.env.Log.Warn("http: ignore on_hls_notify failed", "cid", s.ID, "client_id", s.ID, "url", to, "err", err)
	}
}
