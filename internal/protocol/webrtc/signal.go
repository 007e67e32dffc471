package webrtc

import (
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/sdp"
)

const root = "/rtc/v1/"

// handle answers the requests of signalling.
func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	name, ok := strings.CutPrefix(r.URL.Path, root)
	if !ok {
		return false
	}
	name, slash := strings.CutSuffix(name, "/")
	switch name {
	case "whip", "whep", "whip-play", "play", "publish":
	case "nack":
		return s.simulate(w, r)
	default:
		return false
	}
	crossDomain := blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain
	if crossDomain && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
		// A wildcard does not cover these where a page asks strictly.
		w.Header().Set("Access-Control-Allow-Headers", "*, Authorization, Content-Type, If-Match")
		w.Header().Set("Access-Control-Expose-Headers", "*, Location, ETag, Link, Accept-Patch, Retry-After")
	}
	if r.Method == http.MethodOptions {
		// Never redirected, and without a token: browsers ask before they have one (RFC
		// 9725 4.2, 4.7).
		s.options(w, r, crossDomain)
		return true
	}
	if !slash {
		to := *r.URL
		to.Path += "/"
		http.Redirect(w, r, to.RequestURI(), http.StatusTemporaryRedirect)
		return true
	}
	if !s.authorized(w, r) {
		return true
	}
	if name == "play" || name == "publish" {
		s.json(w, r, name == "publish")
	} else {
		s.whip(w, r, name)
	}
	return true
}

// options tells what may be asked.
func (s *server) options(w http.ResponseWriter, r *http.Request, crossDomain bool) {
	h := w.Header()
	h.Set("Accept-Post", "application/sdp")
	h.Set("Accept-Patch", fragmentType)
	if !crossDomain && r.Header.Get("Access-Control-Request-Method") != "" {
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

// authorized reports whether a request has the token of the API, where that is asked
// of WHIP and WHEP too (http_api.auth.rtc_bearer_enabled).
func (s *server) authorized(w http.ResponseWriter, r *http.Request) bool {
	auth := blocks.HTTPAPI.In(s.env.Conf.Load()).Auth
	if !auth.Enabled || !auth.RTCBearer || auth.Type != "bearer" {
		return true
	}
	if token := service.Visitor(r, protocol, "").Bearer; auth.Token != "" && subtle.ConstantTimeCompare([]byte(token), []byte(auth.Token)) == 1 {
		return true
	}
	w.Header().Set("WWW-Authenticate", `Bearer realm="weir"`)
	problem(w, http.StatusUnauthorized, 0, "the request needs the token of http_api.auth")
	return false
}

// A want is what a request asks for.
type want struct {
	publish bool
	whep    bool // by that protocol
	ask     session.Ask
	visitor session.Visitor
	offer   string
	host    string // by which the API was called
	near    bool   // the caller is on this machine
	asked   string // eip or candidate
	codec   media.Codec
	clear   bool // media without encryption
	bare    bool // and without keys
	ufrag   string
	pwd     string
	// never says why it cannot be done whoever asks. Only who may ask is told: it says
	// whether something is published.
	never error
}

// options reads what requests of either kind may say in their query.
func (v *want) options(q url.Values, r *http.Request) error {
	v.asked = q.Get("eip")
	if v.asked == "" {
		v.asked = q.Get("candidate")
	}
	if v.asked != "" && !plausible(v.asked) {
		return &session.Error{Code: codeICE, Text: fmt.Sprintf("the address %.80q is none", v.asked)}
	}
	v.codec = wanted(q.Get("codec"))
	v.bare = q.Get("dtls") == "false"
	v.clear = v.bare || q.Get("encrypt") == "false"
	v.ufrag, v.pwd = q.Get("ice-ufrag"), q.Get("ice-pwd")
	if n := len(v.ufrag); v.ufrag != "" && (n < 4 || n > 32 || !iceChars(v.ufrag)) {
		return &session.Error{Code: codeICE, Text: "ice-ufrag must have 4 to 32 letters and digits"}
	}
	if n := len(v.pwd); v.pwd != "" && (n < 22 || n > 32 || !iceChars(v.pwd)) {
		return &session.Error{Code: codeICE, Text: "ice-pwd must have 22 to 32 letters and digits"}
	}
	v.host = r.Host
	if h, _, err := net.SplitHostPort(r.Host); err == nil {
		v.host = h
	}
	v.host = strings.Trim(v.host, "[]")
	v.near = v.visitor.Remote.Addr().IsLoopback()
	return nil
}

// plausible reports whether a word may stand in a line of SDP as an address.
func plausible(host string) bool {
	return len(host) <= 255 && !strings.ContainsFunc(host, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(".:-_[]", c))
	})
}

// iceChars reports whether a name has only the characters of RFC 8839 5.4.
func iceChars(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool {
		return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '+' || c == '/')
	})
}

// open does what a request wants.
func (s *server) open(ctx context.Context, v *want) (p *peer, err error) {
	if s.shut.Load() {
		return nil, session.ErrShutdown
	}
	_, conf, err := s.serves(v.ask.Key.Vhost)
	if err != nil {
		return nil, err
	}
	offer, err := sdp.Parse(v.offer)
	if err != nil {
		return nil, &session.Error{Code: codeDecode, Text: "the offer is " + err.Error()}
	}
	var live *media.Layout
	key := v.ask.Key
	if vhost, ok := s.env.Conf.Load().Vhost(key.Vhost); ok {
		key.Vhost = vhost.Name
	}
	if st := s.env.Hub.Stream(key); st != nil && !v.publish {
		live = st.Layout()
		if pub := st.Publication(); pub != nil && !s.mayPlay(pub) {
			need := "rtc { rtmp_to_rtc on; } is not set"
			if pub.Private {
				need = "others are not to play that"
			}
			v.never = &session.Error{Code: codeOff, Text: "the stream is published by " + pub.By + ", and " + need + " in the vhost"}
		}
	}
	want := v.codec
	if st := s.env.Hub.Stream(key); st != nil && !v.publish && want == 0 && live.Main(media.Video) == nil {
		want = s.agreedPicture(st)
	}
	if v.whep && !conf.WHEPWait && !s.live(key) {
		v.never = errNotLive
	}
	agreed, err := agree(offer, v.publish, want, live, conf)
	if err != nil {
		return nil, err
	}
	return s.admit(ctx, v, agreed, conf)
}

// agreedPicture returns the codec of the picture that a publisher of WebRTC is about to
// send, 0 if there is none.
func (s *server) agreedPicture(st *hub.Stream) media.Codec {
	if p := s.publisher(st); p != nil && p.plan.video != nil {
		return p.plan.video.is
	}
	return 0
}

// errNotLive is what players by WHEP are told who are to come back later.
var errNotLive = &session.Error{Code: codeOff, Text: "nothing is published by that name yet, and rtc { whep_wait off; } is set in the vhost"}

// live reports whether something is published.
func (s *server) live(key hub.Key) bool {
	st := s.env.Hub.Stream(key)
	return st != nil && st.Live()
}

// playRequest is the body of SRS's own requests.
type playRequest struct {
	API       string `json:"api"`
	TID       string `json:"tid"`
	StreamURL string `json:"streamurl"`
	SDP       string `json:"sdp"`
}

type playReply struct {
	Code      int    `json:"code"`
	Server    string `json:"server"`
	Service   string `json:"service"`
	PID       string `json:"pid"`
	SDP       string `json:"sdp"`
	SessionID string `json:"sessionid"`
}

// refused is SRS's answer to whatever was wrong; the text is ours.
type refused struct {
	Code  int    `json:"code"`
	Error int    `json:"error"`
	Text  string `json:"text"`
}

// json answers SRS's own requests.
func (s *server) json(w http.ResponseWriter, r *http.Request, publish bool) {
	reply, err := s.exchange(r, publish)
	w.Header().Set("Content-Type", "application/json")
	if err != nil {
		s.env.Log.Info("RTC client refused", "ip", r.RemoteAddr, "publish", publish, "err", err)
		if s.redirected(w, r, err) {
			return
		}
		json.NewEncoder(w).Encode(refused{http.StatusBadRequest, session.Code(err), err.Error()})
		return
	}
	json.NewEncoder(w).Encode(reply)
}

func (s *server) exchange(r *http.Request, publish bool) (*playReply, error) {
	body, err := s.body(r, 2*sdp.MaxSize)
	if err != nil {
		return nil, err
	}
	var req playRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, &session.Error{Code: codeBody, Text: "the body is no JSON object: " + err.Error()}
	}
	if req.StreamURL == "" || req.SDP == "" {
		return nil, &session.Error{Code: codeBody, Text: "the body lacks streamurl or sdp"}
	}
	v := &want{publish: publish, offer: req.SDP}
	if err := v.stream(req.StreamURL, publish); err != nil {
		return nil, err
	}
	v.visitor = service.Visitor(r, protocol, "")
	v.visitor.TcURL = v.ask.Said.TcURL
	if err := v.options(r.URL.Query(), r); err != nil {
		return nil, err
	}
	p, err := s.open(r.Context(), v)
	if err != nil {
		return nil, err
	}
	return &playReply{0, s.env.ID, s.env.Service, strconv.Itoa(s.env.PID), p.answer.Text(), p.name()}, nil
}

// stream reads webrtc://host[:port]/app/stream?param.
func (v *want) stream(streamURL string, publish bool) error {
	u, err := url.Parse(streamURL)
	if err != nil || u.Host == "" {
		return &session.Error{Code: codeBody, Text: fmt.Sprintf("streamurl %.200q is no webrtc://host/app/stream", streamURL)}
	}
	app, name := "__defaultApp__", strings.TrimPrefix(u.Path, "/")
	if i := strings.LastIndexByte(name, '/'); i >= 0 {
		app, name = name[:i], name[i+1:]
	}
	vhost := u.Hostname()
	if h := u.Query().Get("vhost"); h != "" {
		vhost = h
	}
	param := ""
	if u.RawQuery != "" {
		param = "?" + u.RawQuery
	}
	if publish { // without another there is no question mark, as in SRS
		param = strings.TrimPrefix(param+"&upstream=rtc", "&")
	}
	v.ask = ask(publish, vhost, app, name, param)
	v.ask.Said.TcURL = "webrtc://" + u.Hostname() + "/" + app
	return nil
}

func ask(publish bool, vhost, app, stream, param string) session.Ask {
	a := session.Ask{Key: hub.Key{Vhost: vhost, App: app, Stream: stream}, Type: "rtc-play", Said: session.Said{Vhost: vhost, App: app, Stream: stream, Param: param}}
	if publish {
		a.Type = "rtc-publish"
	}
	return a
}

// body reads a body of a bounded length.
func (s *server) body(r *http.Request, most int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, most+1))
	if err != nil {
		return nil, &session.Error{Code: codeBody, Text: "the body cannot be read: " + err.Error()}
	}
	if int64(len(b)) > most {
		return nil, &session.Error{Code: codeBody, Text: fmt.Sprintf("the body has more than %d bytes", most)}
	}
	return b, nil
}

// whip answers WHIP (RFC 9725) and WHEP.
func (s *server) whip(w http.ResponseWriter, r *http.Request, name string) {
	q := r.URL.Query()
	switch r.Method {
	case http.MethodPost, http.MethodPut:
		s.create(w, r, name, q)
	case http.MethodPatch:
		s.patch(w, r, q)
	case http.MethodDelete:
		s.remove(w, r, q)
	case http.MethodGet:
		w.WriteHeader(http.StatusNoContent)
	case http.MethodHead:
		w.Header().Set("Content-Type", "application/sdp")
		w.WriteHeader(http.StatusOK)
	default:
		w.Header().Set("Allow", "POST, PUT, PATCH, DELETE, GET, HEAD, OPTIONS")
		problem(w, http.StatusMethodNotAllowed, 0, r.Method+" is not known here")
	}
}

// links tells whoever was let in of servers of STUN and TURN (RFC 9725 4.6).
func (s *server) links(h http.Header) {
	for _, text := range s.conf.ICEServer {
		i, err := blocks.NewICEServer(text)
		if err != nil {
			continue // a configuration that has it is not taken
		}
		link := "<" + i.URL + `>; rel="ice-server"`
		if i.User != "" {
			link += `; username="` + i.User + `"; credential="` + i.Password + `"; credential-type="password"`
		}
		h.Add("Link", link)
	}
}

// sdpType reports whether the type of a body is that of SDP. SRS takes any, and so do
// we where none of ours is named: some clients say what their library says.
func sdpType(r *http.Request, typ string) bool {
	got, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err != nil || got == typ || got == "text/plain" || got == "application/x-www-form-urlencoded" || got == "application/octet-stream"
}

func (s *server) create(w http.ResponseWriter, r *http.Request, name string, q url.Values) {
	if !sdpType(r, "application/sdp") {
		w.Header().Set("Accept-Post", "application/sdp")
		problem(w, http.StatusUnsupportedMediaType, 0, "the body must be of type application/sdp")
		return
	}
	body, err := s.body(r, sdp.MaxSize)
	if err == nil && len(body) == 0 {
		err = &session.Error{Code: codeDecode, Text: "the body is empty; it must be an offer"}
	}
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	publish := name == "whip"
	switch q.Get("action") {
	case "play":
		publish = false
	case "publish":
		publish = name == "whip" || publish
	}
	app, stream := q.Get("app"), q.Get("stream")
	if app == "" {
		app = "live"
	}
	if stream == "" {
		stream = "livestream"
	}
	v := &want{publish: publish, whep: !publish, offer: string(body), ask: ask(publish, service.VhostName(r), app, stream, r.URL.RawQuery)}
	v.visitor = service.Visitor(r, protocol, app)
	v.visitor.TcURL = ""
	if err := v.options(q, r); err != nil {
		s.refuse(w, r, err)
		return
	}
	p, err := s.open(r.Context(), v)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/sdp")
	h.Set("Location", p.location())
	h.Set("ETag", p.etag())
	h.Set("Accept-Patch", fragmentType)
	s.links(h)
	w.WriteHeader(http.StatusCreated)
	io.WriteString(w, p.answer.Text())
}

// redirected sends a request to the server that has the stream, if that is what an error
// says (RFC 9725 4.5), and reports whether it did.
func (s *server) redirected(w http.ResponseWriter, r *http.Request, err error) bool {
	moved, ok := errors.AsType[*session.Moved](err)
	if !ok {
		return false
	}
	to := *r.URL
	to.Scheme, to.Host = "http", moved.Addr()
	// The vhost was the host perhaps, which the other one's address does not say.
	q := to.Query()
	if v, ok := s.env.Conf.Load().Vhost(service.VhostName(r)); ok && v.Name != hub.DefaultVhost && !q.Has("vhost") {
		q.Set("vhost", v.Name)
		to.RawQuery = q.Encode()
	}
	w.Header().Del("Content-Type")
	http.Redirect(w, r, to.String(), http.StatusTemporaryRedirect)
	return true
}

// refuse answers a request of WHIP or WHEP that cannot be done.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.env.Log.Info("RTC client refused", "ip", r.RemoteAddr, "url", session.Mask(r.URL.RequestURI()), "err", err)
	if s.redirected(w, r, err) {
		return
	}
	code := session.Code(err)
	status := http.StatusForbidden
	switch {
	case errors.Is(err, hub.ErrBusy):
		status, code = http.StatusConflict, codeBusy
	case errors.Is(err, errNotLive):
		status = http.StatusConflict
		w.Header().Set("Retry-After", "5")
	case errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "5")
	case errors.Is(err, service.ErrFault):
		status = http.StatusInternalServerError
	case errors.Is(err, session.ErrNoVhost):
		status = http.StatusNotFound
	case errors.Is(err, session.ErrBadName), errors.Is(err, session.ErrNoName):
		status = http.StatusBadRequest
	case code == codeDecode, code == codeBody, code == codeICE:
		status = http.StatusBadRequest
	case code == codeExchange:
		status = http.StatusUnprocessableEntity
	}
	problem(w, status, code, err.Error())
}

// trouble is an error as RFC 9457 writes it.
type trouble struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   int    `json:"code,omitempty"` // SRS's number
}

func problem(w http.ResponseWriter, status, code int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(trouble{"about:blank", http.StatusText(status), status, detail, code})
}

// remove ends a session.
func (s *server) remove(w http.ResponseWriter, r *http.Request, q url.Values) {
	p, known := s.named(q.Get("session"))
	if !known && s.passed(w, r) {
		return
	}
	switch {
	case q.Get("token") == "" || known && q.Get("token") != p.token:
		problem(w, http.StatusForbidden, codeSession, "the token is not that of the session; ask for the Location as it was told")
	case !known:
		// As in SRS it is gone, which is what was wanted.
		w.WriteHeader(http.StatusOK)
	default:
		p.log.Info("RTC session is ended by its client")
		p.end(nil)
		w.WriteHeader(http.StatusOK)
	}
}

// named returns the peer of "ours:theirs".
func (s *server) named(name string) (*peer, bool) {
	ours, _, _ := strings.Cut(name, ":")
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ids[ours]
	return p, p != nil
}

// passed has the process that was before an upgrade answer a request, if it still serves:
// the session may be one of its own.
func (s *server) passed(w http.ResponseWriter, r *http.Request) bool {
	if !s.env.Handover.HasElder() {
		return false
	}
	to := r.Clone(r.Context())
	to.RequestURI, to.URL.Scheme, to.URL.Host = "", "http", "elder"
	to.Body = http.MaxBytesReader(w, r.Body, sdp.MaxSize)
	res, err := s.env.Handover.PassToElder(to)
	if err != nil {
		return false
	}
	defer res.Body.Close()
	for name, values := range res.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(res.StatusCode)
	io.Copy(w, res.Body)
	return true
}
