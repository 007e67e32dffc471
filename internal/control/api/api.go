//go:generate go run weir/internal/tools/apidoc ../../../docs/reference/api.md

// Package api answers the HTTP API in the shapes that SRS's dashboards and
// scripts read: its paths, its envelope, its codes.
//
// It reads the desk and the hub when it is asked and keeps nothing of its own,
// but for the ids that SRS gives to vhosts. Where SRS has a fault that a client
// cannot rely on, such as a connection closed without an answer, the answer here
// is in words; docs/differences.md lists them.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// Settings is what the API must know of the configuration, asked at each
// request.
type Settings struct {
	// Vhosts lists the enabled vhosts.
	Vhosts func() []Vhost
	// Auth returns what requests must prove.
	Auth func() Auth
	// CrossDomain says whether browsers of other origins may ask.
	CrossDomain func() bool
	// Raw describes the http_api block for /api/v1/raw?rpc=raw.
	Raw func() Raw
	// Listening lists the open doors.
	Listening func() []service.Listen
	// Reload reads the configuration again, and Reloaded tells how that went the
	// last time.
	Reload   func(context.Context) Reload
	Reloaded func() Reload
	// Ports returns RTMP's first port and the API's.
	Ports func() (rtmp int, api string)
	// Metrics answers /metrics, or returns false if it is off.
	Metrics func(http.ResponseWriter, *http.Request) bool
	// Plan tells, in a form for JSON, what the text of a configuration would
	// change.
	Plan func(text []byte) (any, error)
	// PlanType is a value of the type that Plan returns.
	PlanType any
}

// A Reload tells how a reload of the configuration went.
type Reload struct {
	Code  int // SRS's number, 0 if it was taken
	Text  string
	State int
	ID    string
	// Plan is what it changed, in a form for JSON; nil if it was refused.
	Plan any
}

// Auth is what requests for the API must prove: a name and a password, or a token.
type Auth struct {
	On             bool
	User, Password string
	Bearer         bool
	Token          string
}

// proved reports whether a request has what a asks for. A password or token that
// nobody configured is nobody's.
func (a Auth) proved(r *http.Request) bool {
	if a.Bearer {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		return ok && a.Token != "" && same(token, a.Token)
	}
	user, password, ok := r.BasicAuth()
	return ok && same(user, a.User) && same(password, a.Password) && a.User+a.Password != ""
}

// challenge is what one who has not proved it is told.
func (a Auth) challenge() string {
	if a.Bearer {
		return `Bearer realm="weir"`
	}
	return `Basic realm="weir"`
}

// A Vhost is what the API says of a vhost's configuration.
type Vhost struct {
	Name        string
	HLS         bool
	HLSFragment time.Duration
}

// Raw is the part of the configuration that the raw API shows.
type Raw struct {
	Enabled     bool   `json:"enabled"`
	Listen      string `json:"listen"`
	CrossDomain bool   `json:"crossdomain"`
	RawAPI      struct {
		Enabled     bool `json:"enabled"`
		AllowReload bool `json:"allow_reload"`
		AllowQuery  bool `json:"allow_query"`
		AllowUpdate bool `json:"allow_update"`
	} `json:"raw_api"`
}

// An API is the handler of the paths below /api/. Make one with New.
type API struct {
	env    service.Env
	set    Settings
	events *events

	mu     sync.Mutex
	vhosts map[string]string // id by name; guarded by mu
}

// New returns the API, which listens at the desk from then on.
func New(env service.Env, set Settings) *API {
	a := &API{env: env, set: set, events: newEvents(), vhosts: map[string]string{}}
	env.Desk.Observe(a.events)
	a.answerHeir()
	return a
}

// reply is the start of every answer.
type reply struct {
	Code    int    `json:"code"`
	Server  string `json:"server"`
	Service string `json:"service"`
	PID     string `json:"pid"`
}

func (a *API) ok() reply {
	return reply{0, a.env.ID, a.env.Service, strconv.Itoa(a.env.PID)}
}

// onlyCode is SRS's answer to what cannot be done.
type onlyCode struct {
	Code int `json:"code"`
}

// The codes of SRS that this package answers with.
const (
	codeNoVhost  = 2014
	codeNoStream = 2048
	codeNoClient = 2049
	codeRaw      = 1060
	codeRawOff   = 1061
	codeExporter = 1090
	codeTest     = 100
)

// Handle answers every path of the API's own port: unknown ones get the nearest
// index, as SRS does.
func (a *API) Handle(w http.ResponseWriter, r *http.Request) bool {
	if !a.admit(w, r) {
		return true
	}
	switch {
	case r.URL.Path == "/api" || r.URL.Path == "/api/v1":
		redirect(w, r.URL.Path+"/", http.StatusFound)
	case strings.HasPrefix(r.URL.Path, "/api/v1/"):
		a.v1(w, r, strings.TrimPrefix(r.URL.Path, "/api/v1/"))
	case strings.HasPrefix(r.URL.Path, "/api/"):
		a.send(w, r, struct {
			reply
			URLs any `json:"urls"`
		}{a.ok(), map[string]string{"v1": "the api version 1.0"}})
	case r.URL.Path == "/metrics":
		if a.set.Metrics == nil || !a.set.Metrics(w, r) {
			a.send(w, r, onlyCode{codeExporter})
		}
	default:
		a.send(w, r, struct {
			reply
			URLs rootIndex `json:"urls"`
		}{a.ok(), newRootIndex()})
	}
	return true
}

// HandleShared is Handle for a port that media and API share: it leaves all
// paths but the API's own to others.
func (a *API) HandleShared(w http.ResponseWriter, r *http.Request) bool {
	if p := r.URL.Path; p != "/api" && p != "/metrics" && !strings.HasPrefix(p, "/api/") {
		return false
	}
	return a.Handle(w, r)
}

// HandleMedia answers the part of the API that SRS serves on the port of the
// media too: the version.
func (a *API) HandleMedia(w http.ResponseWriter, r *http.Request) bool {
	if !strings.HasPrefix(r.URL.Path, "/api/") {
		return false
	}
	if !a.admit(w, r) {
		return true
	}
	if r.URL.Path == "/api/v1/versions" {
		a.versions(w, r)
	} else {
		http.Error(w, "Not Found", http.StatusNotFound)
	}
	return true
}

// admit handles what all paths have in common. It returns false if the request
// has been answered.
func (a *API) admit(w http.ResponseWriter, r *http.Request) bool {
	h := w.Header()
	cors := a.set.CrossDomain()
	if cors && r.Header.Get("Origin") != "" {
		service.CORS(h)
	}
	if r.Method == http.MethodOptions {
		if !cors {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return false
	}
	auth := a.set.Auth()
	if !auth.On || !strings.Contains(r.URL.Path, "/api/") || auth.proved(r) {
		return true
	}
	h.Set("WWW-Authenticate", auth.challenge())
	w.WriteHeader(http.StatusUnauthorized)
	return false
}

func (a *API) v1(w http.ResponseWriter, r *http.Request, path string) {
	name, rest, slash := strings.Cut(path, "/")
	list := name == "vhosts" || name == "streams" || name == "clients"
	if list && !slash {
		redirect(w, "/api/v1/"+name+"/", http.StatusFound)
		return
	}
	method := verb(r)
	if name == "streams" && r.Method == http.MethodDelete && rest != "" {
		a.endStream(w, r, rest)
		return
	}
	if list && method != http.MethodGet && (name != "clients" || method != http.MethodDelete) {
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return
	}
	switch name {
	case "versions":
		a.versions(w, r)
	case "summaries":
		a.summaries(w, r)
	case "vhosts":
		a.listVhosts(w, r, rest)
	case "streams":
		a.listStreams(w, r, rest)
	case "clients":
		if method == http.MethodDelete {
			a.kick(w, r, rest)
		} else {
			a.listClients(w, r, rest)
		}
	case "rusages", "self_proc_stats", "system_proc_stats", "meminfos", "authors", "features":
		a.facts(w, r, name)
	case "raw":
		a.raw(w, r)
	case "clusters":
		a.clusters(w, r)
	case "events":
		a.listen(w, r)
	case "history":
		a.history(w, r, rest)
	case "openapi.json":
		a.openAPI(w, r)
	case "reload", "plan":
		a.configure(w, r, name)
	case "tests":
		a.tests(w, r, rest)
	default:
		if f, ok := a.env.Endpoints.Find(r.Method, path); ok {
			a.part(w, r, f)
			return
		}
		a.send(w, r, struct {
			reply
			URLs  index `json:"urls"`
			Tests tests `json:"tests"`
		}{a.ok(), v1Index, v1Tests})
	}
}

// part has a part of the server answer, in the envelope.
func (a *API) part(w http.ResponseWriter, r *http.Request, f service.Endpoint) {
	if !a.guarded(w, r, f.Method) {
		return
	}
	body, no := f.Answer(r)
	r.URL.RawQuery = "" // no JSONP
	if no != nil {
		a.refuse(w, r, no.Status, refusal{no.Code, no.Text})
		return
	}
	own, err := json.Marshal(body)
	envelope, _ := json.Marshal(a.ok())
	if err == nil && len(own) > 2 {
		own[0] = ','
		envelope = append(envelope[:len(envelope)-1], own...)
	}
	a.send(w, r, json.RawMessage(envelope))
}

// verb returns the request's method, which JSONP, having only GET, names in the
// query.
func verb(r *http.Request) string {
	q := r.URL.Query()
	if m := strings.ToUpper(q.Get("method")); m != "" && callback(r) != "" && slices.Contains([]string{"GET", "POST", "PUT", "DELETE"}, m) {
		return m
	}
	return r.Method
}

// callback returns the JSONP function that the request names, "" unless it is
// an identifier: anything else could carry script into a page.
func callback(r *http.Request) string {
	name := r.URL.Query().Get("callback")
	if len(name) > 128 {
		return ""
	}
	for i, c := range name {
		letter := c == '_' || c == '$' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || c != '.' && (c < '0' || c > '9')) {
			return ""
		}
	}
	return name
}

func (a *API) send(w http.ResponseWriter, r *http.Request, v any) {
	name := callback(r)
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(name != "") // what a page runs as script has no < or &
	if err := e.Encode(v); err != nil {
		a.env.Log.Error("api answer cannot be written", "path", r.URL.Path, "err", err)
		http.Error(w, "Internal Server Error", http.StatusInternalServerError)
		return
	}
	body := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	if name != "" {
		w.Header().Set("Content-Type", "text/javascript")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		body = fmt.Appendf(nil, "%s(%s)", name, body)
	} else {
		w.Header().Set("Content-Type", "application/json")
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body))) // also of long lists: scripts read no chunks
	w.Write(body)
}

func redirect(w http.ResponseWriter, to string, status int) {
	w.Header().Set("Location", to)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "Redirect to %s", to)
}

// kick ends a client's session.
func (a *API) kick(w http.ResponseWriter, r *http.Request, id string) {
	if !a.kickOwn(id) && !a.kickElder(id) {
		a.send(w, r, onlyCode{codeNoClient})
		return
	}
	a.send(w, r, a.ok())
}

// kickOwn ends a session that is here.
func (a *API) kickOwn(id string) bool {
	s := a.env.Desk.Session(id)
	if s == nil {
		return false
	}
	a.env.Log.Warn("kickoff client id="+s.ID+" ok", slog.String("cid", s.ID))
	s.Kick(session.ErrKicked)
	return true
}

// rawReload is SRS's answer to reload-fetch.
type rawReload struct {
	Err   int    `json:"err"`
	Msg   string `json:"msg"`
	State int    `json:"state"`
	RID   string `json:"rid"`
}

func (a *API) raw(w http.ResponseWriter, r *http.Request) {
	raw := a.set.Raw()
	switch rpc := r.URL.Query().Get("rpc"); {
	case rpc == "raw":
		a.send(w, r, struct {
			Code int `json:"code"`
			API  Raw `json:"http_api"`
		}{0, raw})
	case rpc != "" && !raw.RawAPI.Enabled, rpc == "reload" && !raw.RawAPI.AllowReload:
		a.send(w, r, onlyCode{codeRawOff})
	case rpc == "reload":
		// The code is 0 as in SRS, which answers before it reads the file; the rest
		// is ours, which has read it.
		done := a.set.Reload(context.WithoutCancel(r.Context()))
		a.send(w, r, struct {
			Code int       `json:"code"`
			Data rawReload `json:"data"`
			Plan any       `json:"plan,omitempty"`
		}{0, fetched(done), done.Plan})
	case rpc == "reload-fetch":
		a.send(w, r, struct {
			Code int       `json:"code"`
			Data rawReload `json:"data"`
		}{0, fetched(a.set.Reloaded())})
	default:
		a.send(w, r, onlyCode{codeRaw})
	}
}

func fetched(r Reload) rawReload { return rawReload{r.Code, r.Text, r.State, r.ID} }

type requestReply struct {
	URI     string         `json:"uri"`
	Path    string         `json:"path"`
	Method  string         `json:"METHOD"`
	Headers requestHeaders `json:"headers"`
}

type requestHeaders struct {
	Signature string `json:"sigature"` // SRS's spelling
	Version   string `json:"version"`
	Link      string `json:"link"`
	Time      int64  `json:"time"`
}

func (a *API) tests(w http.ResponseWriter, r *http.Request, what string) {
	switch what {
	case "errors":
		a.send(w, r, onlyCode{codeTest})
	case "redirects":
		redirect(w, "/api/v1/tests/errors", http.StatusMovedPermanently)
	default:
		a.data(w, r, requestReply{"http://" + r.Host + r.URL.Path, r.URL.Path, r.Method,
			requestHeaders{"weir", a.env.Level, "https://github.com/ossrs/srs", time.Now().UnixMilli()}})
	}
}

// data sends the envelope with a payload called data.
func (a *API) data(w http.ResponseWriter, r *http.Request, v any) {
	a.send(w, r, struct {
		reply
		Data any `json:"data"`
	}{a.ok(), v})
}

type version struct {
	Major    int    `json:"major"`
	Minor    int    `json:"minor"`
	Revision int    `json:"revision"`
	Version  string `json:"version"`
}

func (a *API) versions(w http.ResponseWriter, r *http.Request) {
	v := version{Version: a.env.Level}
	fmt.Sscanf(a.env.Level, "%d.%d.%d", &v.Major, &v.Minor, &v.Revision)
	a.data(w, r, v)
}

// vhostID returns the id that stands for a vhost while the process lives.
func (a *API) vhostID(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := a.vhosts[name]
	if id == "" {
		id = hub.NewID("vid-", 7)
		a.vhosts[name] = id
	}
	return id
}
