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
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
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
	OnDVR                  []string
	OnHLS                  []string
	OnHLSNotify            string // one URL with variables
	NotifyBytes            int    // how much of the notified segment is read; -1 is all

	// Timeout is the deadline of a call, from connecting to the last byte of the
	// answer; 0 means SRS's 30 s, which it has for each of its stages.
	Timeout time.Duration
	// Open admits clients about whom nobody can be asked.
	Open bool
	// Retries is how often a notification that did not arrive is sent again, after
	// RetryInterval, then twice that, and so on.
	Retries       int
	RetryInterval time.Duration
	// Queue is how many notifications may wait; 0 means queueLimit.
	Queue int
	// Secret signs the calls, if it is not empty.
	Secret string
	// TLSVerify is "on", "warn" or "off": what becomes of a server whose certificate
	// cannot be trusted.
	TLSVerify string
}

const (
	// patience is the default deadline of a call.
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
	client *http.Client // believes the certificates of https only if they can be trusted
	loose  *http.Client // believes all, and tells
	blind  *http.Client // believes all
	queue  queue
	count  counts
	// present is who is there, whether or not a callback tells of them.
	present present
}

// New returns hooks that look their URLs up by vhost at each call.
func New(env service.Env, urls func(vhost string) URLs) *Hooks {
	h := &Hooks{env: env, urls: urls, client: newClient(nil)}
	h.loose = newClient(&tls.Config{InsecureSkipVerify: true, VerifyConnection: h.doubt})
	h.blind = newClient(&tls.Config{InsecureSkipVerify: true})
	h.queue.init(h)
	env.Metrics.Add(h.metrics)
	return h
}

func newClient(conf *tls.Config) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:        conf,
			MaxIdleConnsPerHost:    16,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			DisableCompression:     true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// doubt looks at the certificate of a server that is believed anyway, and puts up a
// notice if it cannot be trusted.
func (h *Hooks) doubt(cs tls.ConnectionState) error {
	chain := x509.NewCertPool()
	for _, c := range cs.PeerCertificates[1:] {
		chain.AddCert(c)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: cs.ServerName, Intermediates: chain})
	text := ""
	if err != nil {
		text = "its certificate cannot be trusted, so that anybody in between could answer for it: " + err.Error()
	}
	if h.env.Notices.Set("callback server "+cs.ServerName, text) && err != nil {
		h.env.Log.Warn("http: callback server "+cs.ServerName+": "+text, "hint", "give it a certificate that this machine trusts, or write tls_verify off")
	}
	return nil
}

// of returns the client for a vhost's calls.
func (h *Hooks) of(c *URLs) *http.Client {
	switch c.TLSVerify {
	case "on":
		return h.client
	case "off":
		return h.blind
	}
	return h.loose
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

// onStream is on_publish and on_unpublish.
type onStream struct {
	base
	TcURL     string `json:"tcUrl"`
	Stream    string `json:"stream"`
	Param     string `json:"param"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
}

type onStop struct {
	onStream
	Clients int `json:"clients"` // as in onPlay
}

type onPlay struct {
	base
	Stream    string `json:"stream"`
	TcURL     string `json:"tcUrl"`
	Param     string `json:"param"`
	PageURL   string `json:"pageUrl"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
	// Clients is how many publish or play the stream, with the one that comes or goes: the
	// number of the API. SRS has it since 7.0.107.
	Clients int `json:"clients"`
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

type onDVR struct {
	base
	TcURL     string `json:"tcUrl"`
	Stream    string `json:"stream"`
	Param     string `json:"param"`
	Cwd       string `json:"cwd"`
	File      string `json:"file"`
	StreamURL string `json:"stream_url"`
	StreamID  string `json:"stream_id"`
	URL       string `json:"url,omitempty"` // in object storage
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
		return h.ask(ctx, &u, u.OnConnect, "on_connect", s, onConnect{h.base("on_connect", s, ask), ask.Said.Stream, ask.Said.Param, tcURL(s, ask), s.PageURL})
	case session.Publish:
		return h.ask(ctx, &u, u.OnPublish, "on_publish", s, h.onStream("on_publish", s, ask, r.StreamID))
	case session.Play:
		// Of two who come at once the second is told to be the second.
		clients := h.present.add(ask.Key, 1)
		defer h.present.add(ask.Key, -1)
		return h.ask(ctx, &u, u.OnPlay, "on_play", s, onPlay{h.base("on_play", s, ask), ask.Said.Stream, tcURL(s, ask), ask.Said.Param, s.PageURL, ask.Key.URL(), r.StreamID, clients})
	}
	return nil
}

// Undo implements session.Undoer: who was told that somebody begins is told that it is
// over, though it did not come to it.
func (h *Hooks) Undo(r *session.Request, err error) {
	over := map[session.Act]session.What{session.Connect: session.Closed, session.Publish: session.Unpublished, session.Play: session.Stopped}
	h.Observe(session.Event{What: over[r.Act], Session: r.Session, Ask: r.Ask, StreamID: r.StreamID, Err: err})
}

func (h *Hooks) onStream(action string, s *session.Session, ask *session.Ask, id string) onStream {
	return onStream{h.base(action, s, ask), tcURL(s, ask), ask.Said.Stream, ask.Said.Param, ask.Key.URL(), id}
}

// ask calls every URL in order; the first that does not accept refuses. One who
// cannot be asked refuses too, unless the vhost is open then.
func (h *Hooks) ask(ctx context.Context, c *URLs, urls []string, action string, s *session.Session, body any) error {
	for _, u := range urls {
		err := h.post(ctx, c, u, action, s, body)
		if err == nil {
			continue
		}
		if c.Open && ctx.Err() == nil && undecided(err) {
			h.env.Log.Warn("http: "+action+" cannot be asked, admitted by on_error", "cid", s.ID, "client_id", s.ID, "url", u, "err", err)
			continue
		}
		return fmt.Errorf("%s %s: %w", action, u, err)
	}
	return nil
}

// undecided reports whether an error tells nothing of the client: nobody was
// reached, or not in time, or who was reached is broken.
func undecided(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && e.Broken
}

// Observe implements session.Observer.
func (h *Hooks) Observe(e session.Event) {
	h.present.observe(&e)
	u := h.urls(e.Ask.Key.Vhost)
	s, ask := e.Session, &e.Ask
	if ask.Silent {
		return
	}
	switch e.What {
	case session.Unpublished:
		h.tell(&u, u.OnUnpublish, "on_unpublish", s, h.onStream("on_unpublish", s, ask, e.StreamID))
	case session.Stopped:
		h.tell(&u, u.OnStop, "on_stop", s, onStop{h.onStream("on_stop", s, ask, e.StreamID), h.present.of(ask.Key) + 1})
	case session.Closed:
		in, out := s.Bytes()
		h.tell(&u, u.OnClose, "on_close", s, onClose{h.base("on_close", s, ask), out, in})
	case session.Recorded:
		h.tell(&u, u.OnDVR, "on_dvr", s, onDVR{h.base("on_dvr", s, ask), tcURL(s, ask), ask.Said.Stream, ask.Said.Param,
			h.env.Cwd, e.Recording.File, ask.Key.URL(), e.StreamID, e.Recording.URL})
	case session.Segmented:
		g := e.Segment
		h.tell(&u, u.OnHLS, "on_hls", s, onHLS{h.base("on_hls", s, ask), tcURL(s, ask), ask.Said.Stream, ask.Said.Param, fixed2(g.Duration.Seconds()),
			h.env.Cwd, g.File, g.URL, g.Playlist, g.PlaylistURL, g.Seq, ask.Key.URL(), e.StreamID})
		if u.OnHLSNotify != "" && h.env.Busy.Load() < service.High {
			h.queue.put(s.ID+" notify", u.Queue, func(ctx context.Context) time.Duration {
				h.notify(ctx, u, s, ask, g.URI)
				return 0
			})
		}
	}
}

// tell queues a notification for each URL, which is sent again if it did not arrive.
func (h *Hooks) tell(c *URLs, urls []string, action string, s *session.Session, body any) {
	for _, u := range urls {
		left, wait := c.Retries, c.RetryInterval
		h.queue.put(s.ID, c.Queue, func(ctx context.Context) time.Duration {
			err := h.post(ctx, c, u, action, s, body)
			if err == nil {
				return 0
			}
			attrs := []any{"cid", s.ID, "client_id", s.ID, "url", u, "err", err}
			if left <= 0 || !undecided(err) {
				h.env.Log.Warn("http: ignore "+action+" failed", attrs...)
				return 0
			}
			left--
			pause := min(max(wait, time.Millisecond), retryMost)
			wait = 2 * pause
			h.env.Log.Info("http: "+action+" failed, is sent again", append(attrs, "after", pause)...)
			return pause
		})
	}
}

// retryMost is the longest wait between two attempts.
const retryMost = 5 * time.Minute

// An Error is a callback's refusal, or that it could not be had, with SRS's
// number.
type Error struct {
	Code int
	Text string
	Err  error
	// Broken says that nobody has decided: the call failed.
	Broken bool
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

// post calls one URL and returns nil if it accepts.
func (h *Hooks) post(ctx context.Context, c *URLs, to, action string, s *session.Session, body any) error {
	_, err := h.call(ctx, c, to, action, s, body)
	return err
}

// call is post, and returns the answer too.
func (h *Hooks) call(ctx context.Context, c *URLs, to, action string, s *session.Session, body any) (answer []byte, err error) {
	defer func() { h.count.add(action, err) }()
	ctx, done := h.env.Trace.Span(ctx, action, "url.full", to)
	defer func() { done(err) }()
	b, err := encode(body)
	if err != nil {
		return nil, err
	}
	patience := cmp.Or(c.Timeout, patience)
	late := fmt.Errorf("callback did not answer within %v", patience)
	ctx, cancel := context.WithTimeoutCause(ctx, patience, late)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(b))
	if err != nil {
		return nil, &Error{Code: codeConnect, Text: "callback address", Err: err}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", h.env.Server)
	h.env.Trace.Tell(ctx, req.Header)
	if c.Secret != "" {
		req.Header.Set(signatureHeader, sign(c.Secret, time.Now(), b))
	}
	res, err := h.of(c).Do(req)
	if err != nil {
		return nil, unreachable(ctx, late, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusCreated {
		return nil, &Error{Code: codeStatus, Text: "callback answered with status " + res.Status, Broken: res.StatusCode >= 500}
	}
	answer, err = io.ReadAll(io.LimitReader(res.Body, answerLimit+1))
	if err != nil {
		return nil, unreachable(ctx, late, err)
	}
	if err := judge(answer); err != nil {
		return nil, err
	}
	h.env.Log.Info("http: "+action+" ok", "cid", s.ID, "client_id", s.ID, "url", to, slog.String("request", string(b)), slog.String("response", string(answer)))
	return answer, nil
}

// encode is JSON with & and the like as they are, as SRS writes them.
func encode(body any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(body); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// signatureHeader has the time and the signature of a call.
const signatureHeader = "X-Weir-Signature"

// sign returns the header's value: when, and the HMAC of that and the body.
func sign(secret string, at time.Time, body []byte) string {
	t := strconv.FormatInt(at.Unix(), 10)
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(t + "."))
	m.Write(body)
	return "t=" + t + ",v1=" + hex.EncodeToString(m.Sum(nil))
}

func unreachable(ctx context.Context, late, err error) error {
	if cause := context.Cause(ctx); cause == late {
		return &Error{Code: codeTimeout, Text: cause.Error(), Broken: true}
	} else if cause != nil {
		return cause
	}
	return &Error{Code: codeConnect, Text: "callback server cannot be reached", Err: err, Broken: true}
}

// trailing is a comma behind the last member, which scripts that write JSON by hand leave.
var trailing = regexp.MustCompile(`,\s*([}\]])`)

// read is json.Unmarshal that takes two things more, as SRS does: a byte order mark at
// the beginning and commas behind last members.
func read(answer []byte, v any) error {
	answer = bytes.TrimPrefix(answer, []byte("\xef\xbb\xbf"))
	err := json.Unmarshal(answer, v)
	if err != nil && json.Unmarshal(trailing.ReplaceAll(answer, []byte("$1")), v) == nil {
		return nil
	}
	return err
}

// judge applies SRS's rule: an answer accepts if it is the digit 0, or an object whose
// member code is the integer 0. Unlike SRS it takes what frameworks make of that: a 0 with
// space or a line's end around it, and in quotes.
func judge(answer []byte) error {
	bare := strings.TrimSpace(string(answer))
	switch {
	case len(answer) > answerLimit:
		return &Error{Code: codeData, Text: fmt.Sprintf("callback answered with more than %d bytes", answerLimit)}
	case bare == "0", bare == `"0"`:
		return nil
	case bare == "":
		return &Error{Code: codeData, Text: "callback answered with an empty body; accepting is 0 or {\"code\":0}"}
	}
	var object map[string]json.RawMessage
	if err := read(answer, &object); err != nil || object == nil {
		return &Error{Code: codeData, Text: fmt.Sprintf("callback answered %.60q, which is neither 0 nor a JSON object", answer)}
	}
	code, ok := object["code"]
	n, err := strconv.ParseInt(string(code), 10, 64)
	if string(code) == `"0"` {
		n, err = 0, nil
	}
	switch {
	case !ok || err != nil:
		return &Error{Code: codeCode, Text: fmt.Sprintf("callback answered %.60q, in which code is not an integer", answer)}
	case n != 0:
		return &Error{Code: codeCode, Text: fmt.Sprintf("callback refused with code %d", n)}
	}
	return nil
}

// escaped is what PathEscape makes of a percent sign that begins an escape.
var escaped = regexp.MustCompile("%25([0-9A-Fa-f]{2})")

// inPath writes a name into a URL's path. Slashes and what is escaped already stay as
// they are, as in SRS; what would end the path or be no URL is escaped.
func inPath(name string) string {
	parts := strings.Split(name, "/")
	for i, p := range parts {
		parts[i] = escaped.ReplaceAllString(url.PathEscape(p), "%$1")
	}
	return strings.Join(parts, "/")
}

// notify fetches the URL that an operator wants fetched for each segment, so
// that a CDN has it early. Nothing that comes of it matters.
func (h *Hooks) notify(ctx context.Context, u URLs, s *session.Session, ask *session.Ask, segment string) {
	ctx, cancel := context.WithTimeout(ctx, notifyPatience)
	defer cancel()
	to := strings.NewReplacer("[server_id]", h.env.ID, "[service_id]", h.env.Service, "[app]", inPath(ask.Key.App),
		"[stream]", inPath(ask.Key.Stream), "[param]", ask.Said.Param, "[ts_url]", segment).Replace(u.OnHLSNotify)
	if service.Whole(segment) {
		to = segment
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err == nil {
		req.Header.Set("User-Agent", h.env.Server)
		var res *http.Response
		if res, err = h.of(&u).Do(req); err == nil {
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
