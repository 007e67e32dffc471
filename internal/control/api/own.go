package api

import (
	"cmp"
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"

	"weir/internal/service"
	"weir/internal/session"
)

// textLimit bounds the body of a request that carries a configuration.
const textLimit = 1 << 20

// refusal is the answer of an endpoint of ours that did not do what it was asked:
// SRS's number, or the status, and why.
type refusal struct {
	Code  int    `json:"code"`
	Error string `json:"error"`
}

// guarded admits requests to the endpoints that change the server, or show what
// only its operator may see, and that SRS does not have: from this machine, or
// where a password is asked for; by the verb itself; and never for a page of
// another site, whose script could be anybody's. It answers those whom it does
// not admit, and returns false.
func (a *API) guarded(w http.ResponseWriter, r *http.Request, method string) bool {
	h := w.Header()
	h.Del("Access-Control-Allow-Origin")
	refuse := func(status int, why string) bool {
		a.refuse(w, r, status, refusal{status, why})
		return false
	}
	if r.Method != method {
		h.Set("Allow", method)
		return refuse(http.StatusMethodNotAllowed, "use "+method)
	}
	if o := r.Header.Get("Origin"); o != "" {
		if u, err := url.Parse(o); err != nil || u.Host != r.Host {
			return refuse(http.StatusForbidden, "pages of other sites may not ask for this")
		}
	}
	if !a.set.Auth().On && !local(r) {
		return refuse(http.StatusForbidden, "turn http_api.auth on, or ask from the machine itself")
	}
	return true
}

// local reports whether a request comes from this machine, and not through a
// proxy on it.
func local(r *http.Request) bool {
	if service.Forwarded(r) || r.Header.Get("X-Forwarded-For") != "" {
		return false
	}
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// refuse answers with a status and a body, never as script.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, status int, v refusal) {
	q := *r
	q.URL = &url.URL{Path: r.URL.Path}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	a.send(w, &q, v)
}

// configure takes the configuration anew, or tells what another one would change:
//
//	POST /api/v1/reload
//	POST /api/v1/plan    with the text of the other one
func (a *API) configure(w http.ResponseWriter, r *http.Request, name string) {
	if !a.guarded(w, r, http.MethodPost) {
		return
	}
	r.URL.RawQuery = "" // no JSONP
	if name == "reload" {
		done := a.set.Reload(context.WithoutCancel(r.Context()))
		if done.Code != 0 {
			a.refuse(w, r, http.StatusUnprocessableEntity, refusal{done.Code, done.Text})
			return
		}
		a.data(w, r, done.Plan)
		return
	}
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, textLimit))
	if err != nil {
		a.refuse(w, r, http.StatusRequestEntityTooLarge, refusal{http.StatusRequestEntityTooLarge, err.Error()})
		return
	}
	plan, err := a.set.Plan(text)
	if err != nil {
		a.refuse(w, r, http.StatusUnprocessableEntity, refusal{1023, err.Error()})
		return
	}
	a.data(w, r, plan)
}

// ended is the answer to the end of a stream.
type ended struct {
	reply
	Ended int `json:"ended"` // sessions
}

// endStream ends the publisher of a stream, or its players:
//
//	DELETE /api/v1/streams/ID[?who=publisher|players|all]
func (a *API) endStream(w http.ResponseWriter, r *http.Request, id string) {
	if !a.guarded(w, r, http.MethodDelete) {
		return
	}
	who := cmp.Or(r.URL.Query().Get("who"), "publisher")
	if who != "publisher" && who != "players" && who != "all" {
		a.refuse(w, r, http.StatusBadRequest, refusal{http.StatusBadRequest, "who is publisher, players or all"})
		return
	}
	found, n := a.end(id, who)
	r.URL.RawQuery = "" // no JSONP
	if !found {
		a.send(w, r, onlyCode{codeNoStream})
		return
	}
	a.send(w, r, ended{a.ok(), n})
}

// endOwn ends those here who publish or play a stream.
func (a *API) endOwn(id, who string) (found bool, n int) {
	for s := range a.env.Desk.Sessions() {
		act, _, stream := s.Doing()
		if act == 0 || stream.ID != id {
			continue
		}
		found = true
		if who == "all" || (act == session.Publish) == (who == "publisher") {
			n++
			a.env.Log.Warn("kickoff client of stream by the API", "cid", s.ID, "stream", id)
			s.Kick(session.ErrKicked)
		}
	}
	return found, n
}

// history tells of what is over, the newest first, for as long as http_api.history
// says:
//
//	GET /api/v1/history/clients
//	GET /api/v1/history/streams
func (a *API) history(w http.ResponseWriter, r *http.Request, what string) {
	switch what {
	case "clients":
		list(a, w, r, a.pastClients(), func(rows []pastClient, total int) any { return pastClientList{a.ok(), rows, total} })
	case "streams":
		list(a, w, r, a.pastStreams(), func(rows []pastStream, total int) any { return pastStreamList{a.ok(), rows, total} })
	default:
		a.refuse(w, r, http.StatusNotFound, refusal{http.StatusNotFound, "see /api/v1/history/clients and /api/v1/history/streams"})
	}
}
