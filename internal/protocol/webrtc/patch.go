package webrtc

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"weir/internal/wire/sdp"
)

// fragmentType is the type of a fragment of SDP (RFC 8840).
const fragmentType = "application/trickle-ice-sdpfrag"

// patch takes more candidates of a peer, or restarts ICE (RFC 9725 4.3). We need no
// candidates: a peer is where its checks come from. They are kept to be told of.
func (s *server) patch(w http.ResponseWriter, r *http.Request, q url.Values) {
	p, known := s.named(q.Get("session"))
	if !known && s.passed(w, r) {
		return
	}
	switch {
	case !known:
		problem(w, http.StatusNotFound, codeSession, "there is no such session, or it has ended")
		return
	case q.Get("token") != p.token:
		problem(w, http.StatusForbidden, codeSession, "the token is not that of the session; ask for the Location as it was told")
		return
	case !exactly(r, fragmentType):
		w.Header().Set("Accept-Patch", fragmentType)
		problem(w, http.StatusUnsupportedMediaType, 0, "the body must be of type "+fragmentType)
		return
	}
	match := r.Header.Get("If-Match")
	body, err := s.body(r, sdp.MaxSize)
	var f *sdp.Session
	if err == nil {
		f, err = sdp.ParseFragment(string(body))
	}
	switch {
	case err != nil:
		problem(w, http.StatusBadRequest, codeDecode, "the fragment is "+err.Error())
		return
	case match == "":
		problem(w, http.StatusPreconditionRequired, 0, `the request needs If-Match: the session's ETag, or "*" to restart ICE`)
		return
	case match != "*" && match != `"*"` && match != p.etag():
		problem(w, http.StatusPreconditionFailed, 0, "the session's ETag is another one: ICE was restarted meanwhile")
		return
	}
	p.mu.Lock()
	same := f.Ufrag == "" || f.Ufrag == p.theirs
	p.mu.Unlock()
	if same {
		if len(f.Media) > 0 {
			p.trickled(f.Media[0].Candidates)
		}
		w.WriteHeader(http.StatusNoContent)
		return
	}
	if f.Pwd == "" {
		problem(w, http.StatusBadRequest, codeICE, "the fragment has ice-ufrag without ice-pwd")
		return
	}
	ufrag, pwd, ok := p.restart(f)
	if !ok {
		problem(w, http.StatusNotFound, codeSession, "the session has ended")
		return
	}
	p.log.Info("RTC client restarts ICE")
	a := *p.answer
	a.Ufrag, a.Pwd = ufrag, pwd
	w.Header().Set("Content-Type", fragmentType)
	w.Header().Set("ETag", p.etag())
	io.WriteString(w, a.Fragment())
}

// exactly reports whether the body is of a type.
func exactly(r *http.Request, typ string) bool {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && got == typ
}

// trickledMost is how many candidates of a peer are kept.
const trickledMost = 32

// trickled keeps candidates of the peer.
func (p *peer) trickled(all []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep(all)
}

// keep is trickled with p.mu held.
func (p *peer) keep(all []string) {
	for _, c := range all {
		if len(p.candidates) < trickledMost && len(c) < 256 {
			p.candidates = append(p.candidates, c)
		}
	}
}

// lossReply is SRS's answer to the request to lose packets.
type lossReply struct {
	Code    int    `json:"code"`
	Server  string `json:"server"`
	Service string `json:"service"`
	PID     string `json:"pid"`
	Query   struct {
		Username string `json:"username"`
		Drop     string `json:"drop"`
		Help     string `json:"help"`
	} `json:"query"`
}

// simulate has the next packets of a session be lost, for tests: received ones of a
// publisher, sent ones of a player. Without a user it is nobody's request, as in SRS.
func (s *server) simulate(w http.ResponseWriter, r *http.Request) bool {
	q := r.URL.Query()
	name := q.Get("username")
	if name == "" {
		return false
	}
	w.Header().Set("Content-Type", "application/json")
	reply := lossReply{Server: s.env.ID, Service: s.env.Service, PID: strconv.Itoa(s.env.PID)}
	reply.Query.Username, reply.Query.Drop, reply.Query.Help = name, q.Get("drop"), "?username=string&drop=int"
	n, err := strconv.Atoi(q.Get("drop"))
	ours, _, _ := strings.Cut(name, ":")
	p, known := s.named(ours)
	switch {
	case err != nil || n < 0:
		reply.Code = http.StatusBadRequest
	case !known:
		reply.Code = 5022
	default:
		p.lose.Store(int64(min(n, 1<<20)))
	}
	json.NewEncoder(w).Encode(reply)
	return true
}

// loses takes one of the packets that are to be lost.
func (p *peer) loses() bool {
	if p.lose.Load() <= 0 {
		return false
	}
	return p.lose.Add(-1) >= 0
}

// silentCandidates lists the candidates that a peer was told and at which no check of
// it has come, for who must find out why.
func (p *peer) silentCandidates() (all []string) {
	if p.checks.Load() > 0 || p.answer == nil {
		return nil
	}
	for _, c := range p.answer.Candidates {
		all = append(all, c.Host+":"+strconv.Itoa(int(c.Port)))
	}
	return all
}
