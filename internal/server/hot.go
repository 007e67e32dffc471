package server

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/sender"
	"weir/internal/service"
)

// Requests whose answers lie in memory (the segments and playlists of HLS) are
// answered by one goroutine for all connections, [sender.Replies], past net/http.
// A connection comes there with its first such request and goes back with the
// first of another kind.

// readier is a handler that knows which requests can be answered at once.
type readier interface {
	Ready(r *http.Request) bool
	Later(r *http.Request, wake func()) (cancel func(), until time.Time, ok bool)
}

// takeHot answers a request, and gives its connection to the goroutine, if both can
// be done.
func (w *web) takeHot(rw http.ResponseWriter, r *http.Request) bool {
	ready, ok := w.handler.(readier)
	if !ok || w.replies == nil || w.env.Handover.Left() || !plainGet(r) || tcpOf(r) == nil || !ready.Ready(r) {
		return false
	}
	tcp := tcpOf(r)
	nc, buf, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return false
	}
	taken := false
	defer func() { // also after a fault, of which net/http only writes to the log
		if !taken {
			nc.Close()
		}
	}()
	nc.SetDeadline(time.Time{})
	read, _ := buf.Reader.Peek(buf.Reader.Buffered())
	h := &hotConn{web: w, remote: r.RemoteAddr, local: nc.LocalAddr()}
	rep := h.answer(r)
	if taken = w.replies.Take(sender.Caller{Conn: tcp, First: rep, Read: bytes.Clone(read), Reply: h.reply, Back: h.back}); taken {
		return true
	}
	// It came too late or there are no descriptors: the answer is its last.
	nc.SetWriteDeadline(time.Now().Add(headerTime))
	buffers := net.Buffers(rep.Parts)
	buffers.WriteTo(nc)
	return true
}

// connKey is where the connection of a request is found in its context.
type connKey struct{}

func connContext(ctx context.Context, nc net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, nc)
}

// tcpOf returns the connection of a request if it is one of TCP and nothing else,
// else nil.
func tcpOf(r *http.Request) *net.TCPConn {
	nc, _ := r.Context().Value(connKey{}).(net.Conn)
	if p, ok := nc.(*pushedBack); ok && p.empty() {
		nc = p.Conn
	}
	tcp, _ := nc.(*net.TCPConn)
	return tcp
}

// plainGet reports whether a request is one that hotConn would understand too.
func plainGet(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && r.TLS == nil && r.ProtoMajor == 1 && r.ProtoMinor == 1 && !r.Close &&
		r.ContentLength == 0 && len(r.TransferEncoding) == 0 && r.Header.Get("Upgrade") == "" && r.Header.Get("Expect") == "" && keepsAlive(r.Header.Get("Connection"))
}

// keepsAlive reports whether a Connection header leaves the connection as it is.
func keepsAlive(value string) bool { return value == "" || strings.EqualFold(value, "keep-alive") }

// hotConn is one connection while its requests are answered from memory.
type hotConn struct {
	web    *web
	remote string
	local  net.Addr
	// last is the newest request, and said its headers as they came: most clients
	// repeat them word for word.
	last *http.Request
	said []byte
	ctx  context.Context
}

// reply implements sender.Caller.Reply.
func (h *hotConn) reply(head []byte, wake func()) (sender.Reply, bool) {
	r := h.parse(head)
	if r == nil {
		return sender.Reply{}, false
	}
	snap := h.web.env.Conf.Load()
	r = service.Clients(snap, r)
	if h.web.env.Handover.Left() || !h.web.conf(snap).on {
		return sender.Reply{}, false
	}
	all := h.web.handler.(readier)
	if all.Ready(r) {
		return h.answer(r), true
	}
	cancel, until, ok := all.Later(r, wake)
	return sender.Reply{Cancel: cancel, Until: until}, ok
}

// parse reads the head of a request; nil means that it is for net/http.
func (h *hotConn) parse(head []byte) *http.Request {
	line, headers, _ := bytes.Cut(head, crlf)
	r := parseLine(string(line))
	if r == nil {
		return nil
	}
	r.RemoteAddr = h.remote
	if h.last != nil && bytes.Equal(headers, h.said) {
		r.Host, r.Header = h.last.Host, h.last.Header
	} else if !parseHeaders(r, string(headers)) {
		return nil
	}
	if h.said = append(h.said[:0], headers...); r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("X-Real-Ip") != "" {
		h.said = h.said[:0] // their headers are changed on the way
	}
	if h.last == nil {
		h.ctx = context.WithValue(context.Background(), http.LocalAddrContextKey, h.local)
	}
	h.last = r.WithContext(h.ctx)
	return h.last
}

var crlf = []byte("\r\n")

// answer has the handler answer into memory.
func (h *hotConn) answer(r *http.Request) sender.Reply {
	a := &hotAnswer{header: http.Header{"Server": {h.web.env.Server}}, head: r.Method == http.MethodHead}
	h.web.handler.ServeHTTP(a, r)
	return sender.Reply{Parts: a.parts(), Next: a.next}
}

// back implements sender.Caller.Back.
func (h *hotConn) back(nc net.Conn, read []byte) {
	h.web.back.Return(&pushedBack{Conn: nc, read: read})
}

// pushedBack is a connection from which something was read already.
type pushedBack struct {
	net.Conn
	mu   sync.Mutex
	read []byte // guarded by mu
}

// Read returns what was read before, and then reads on.
func (p *pushedBack) Read(b []byte) (int, error) {
	p.mu.Lock()
	n := copy(b, p.read)
	p.read = p.read[n:]
	p.mu.Unlock()
	if n > 0 {
		return n, nil
	}
	return p.Conn.Read(b)
}

func (p *pushedBack) empty() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.read) == 0
}

// hotAnswer is an answer in memory.
type hotAnswer struct {
	header http.Header
	head   bool // without a body
	status int
	body   [][]byte
	size   int
	next   func(wake func()) ([][]byte, bool, func()) // of a body that grows
}

// Header implements http.ResponseWriter.
func (a *hotAnswer) Header() http.Header { return a.header }

// WriteHeader implements http.ResponseWriter.
func (a *hotAnswer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
	}
}

// Write implements http.ResponseWriter; b is copied.
func (a *hotAnswer) Write(b []byte) (int, error) { return a.Share(bytes.Clone(b)) }

// Share adds to the body without a copy.
func (a *hotAnswer) Share(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	a.body = append(a.body, b)
	a.size += len(b)
	return len(b), nil
}

// Grow has a body follow that is not whole, in chunks (RFC 9112 7.1).
func (a *hotAnswer) Grow(g service.Growth, sent func(n int)) {
	a.WriteHeader(http.StatusOK)
	at := 0
	a.next = func(wake func()) (framed [][]byte, done bool, cancel func()) {
		parts, done, cancel := g.Since(at, wake)
		at += len(parts)
		for _, b := range parts {
			sent(len(b))
			framed = append(framed, append(strconv.AppendInt(make([]byte, 0, 10), int64(len(b)), 16), crlf...), b, crlf)
		}
		if done {
			framed = append(framed, lastChunk)
		}
		return framed, done, cancel
	}
}

var lastChunk = []byte("0\r\n\r\n")

// parts returns the answer as it goes over the wire.
func (a *hotAnswer) parts() [][]byte {
	a.WriteHeader(http.StatusOK)
	b := make([]byte, 0, 512)
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(a.status), 10)
	b = append(append(b, ' '), http.StatusText(a.status)...)
	b = append(b, "\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	bodyless := a.status == http.StatusNotModified || a.status == http.StatusNoContent
	switch {
	case a.next != nil:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	case a.head && a.size == 0: // it is not known, or has been told
	case a.header.Get("Content-Length") == "" && !bodyless:
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, int64(a.size), 10)
	}
	for name, values := range a.header {
		for _, v := range values {
			b = append(append(append(append(b, "\r\n"...), name...), ": "...), oneLine.Replace(v)...)
		}
	}
	b = append(b, emptyLine...)
	if a.head || bodyless {
		return [][]byte{b}
	}
	return append([][]byte{b}, a.body...)
}

const emptyLine = "\r\n\r\n"

// oneLine keeps a header's value from becoming another header.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

// headersMost is how many headers a hot request may have.
const headersMost = 64

// parseLine reads a request line of the plainest kind: GET or HEAD of a path by
// HTTP/1.1. Anything else is nil: net/http decides what it is. So it is with the
// headers (RFC 9112 2 to 6).
func parseLine(line string) *http.Request {
	method, rest, _ := strings.Cut(line, " ")
	target, proto, _ := strings.Cut(rest, " ")
	if method != http.MethodGet && method != http.MethodHead || proto != "HTTP/1.1" || !strings.HasPrefix(target, "/") || strings.HasPrefix(target, "//") {
		return nil
	}
	for i := range len(target) {
		if c := target[i]; c <= ' ' || c >= 0x7f {
			return nil
		}
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return nil
	}
	return &http.Request{Method: method, URL: u, Proto: proto, ProtoMajor: 1, ProtoMinor: 1, RequestURI: target, Body: http.NoBody}
}

// parseHeaders reads the headers, to the empty line, and reports whether they are
// beyond doubt: one Host, no body, nothing about the connection.
func parseHeaders(r *http.Request, headers string) bool {
	lines := strings.Split(strings.TrimSuffix(headers, emptyLine), "\r\n")
	if len(lines) > headersMost {
		return false
	}
	r.Header = make(http.Header, len(lines))
	hosts := 0
	for _, line := range lines {
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) {
			return false
		}
		value = strings.Trim(value, " \t")
		for i := range len(value) {
			if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
				return false
			}
		}
		switch name = textproto.CanonicalMIMEHeaderKey(name); name {
		case "Host":
			hosts++
			r.Host = value
		case "Content-Length", "Transfer-Encoding", "Upgrade", "Expect", "Trailer", "Te":
			return false
		case "Connection":
			if !keepsAlive(value) {
				return false
			}
		default:
			r.Header[name] = append(r.Header[name], value)
		}
	}
	return hosts == 1 && validHost(r.Host)
}

// isToken reports whether s is a token of RFC 9110 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= 0x7f || c <= ' ' || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}

// validHost reports whether s may be a Host without more ado.
func validHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case '0' <= c && c <= '9', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', strings.IndexByte("-._:[]", c) >= 0:
		default:
			return false
		}
	}
	return s != ""
}
