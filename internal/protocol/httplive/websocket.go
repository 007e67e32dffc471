package httplive

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"weir/internal/config/blocks"
	"weir/internal/sender"
	"weir/internal/wire/websocket"
)

// asksWebSocket reports whether a request wants to go over to WebSocket.
func asksWebSocket(r *http.Request) bool {
	return hasToken(r.Header["Connection"], "upgrade") && hasToken(r.Header["Upgrade"], "websocket")
}

// hasToken reports whether a list of words in header lines has one of them.
func hasToken(lines []string, want string) bool {
	for _, l := range lines {
		for word := range strings.SplitSeq(l, ",") {
			if strings.EqualFold(strings.TrimSpace(word), want) {
				return true
			}
		}
	}
	return false
}

// mayUpgrade reports whether a request for WebSocket may be granted (RFC 6455
// 4.2.1), and else answers. Pages of other sites may be shut out, as from the
// answers to plain requests.
func (s *server) mayUpgrade(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case r.Method != http.MethodGet || r.ProtoMajor != 1 || r.ProtoMinor < 1:
		http.Error(w, "WebSocket begins with GET of HTTP/1.1", http.StatusBadRequest)
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "WebSocket of version 13 is spoken here", http.StatusUpgradeRequired)
	case !websocket.ValidKey(r.Header.Get("Sec-WebSocket-Key")):
		http.Error(w, "Sec-WebSocket-Key must be 16 bytes in base64", http.StatusBadRequest)
	case !blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain && foreign(r):
		http.Error(w, "pages of other sites may not play (crossdomain is off)", http.StatusForbidden)
	default:
		return true
	}
	return false
}

// foreign reports whether a page of another site asks.
func foreign(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return false
	}
	u, err := url.Parse(origin)
	return err != nil || !strings.EqualFold(u.Host, r.Host)
}

// switching returns the header that grants WebSocket. Of the subprotocols that
// were offered the first is taken: browsers give up where none is.
func switching(r *http.Request, h http.Header) []byte {
	b := fmt.Appendf(nil, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nServer: %s\r\nSec-WebSocket-Accept: %s\r\n",
		h.Get("Server"), websocket.Accept(r.Header.Get("Sec-WebSocket-Key")))
	offered, _, _ := strings.Cut(r.Header.Get("Sec-WebSocket-Protocol"), ",")
	if offered = strings.TrimSpace(offered); offered != "" {
		b = fmt.Appendf(b, "Sec-WebSocket-Protocol: %s\r\n", offered)
	}
	return append(b, "\r\n"...)
}

// listen returns what hears a viewer of WebSocket in a send loop. early is what it
// said before.
func listen(early []byte) func(o *sender.Control, dst, b []byte) ([]byte, error) {
	var r websocket.Reader
	return func(o *sender.Control, dst, b []byte) ([]byte, error) {
		if early != nil {
			b, early = append(early, b...), nil
		}
		dst, err := r.Read(dst, b)
		if errors.Is(err, websocket.ErrClosed) {
			o.Finish(nil)
			return dst, nil
		}
		if err != nil {
			o.Finish(err)
		}
		return dst, nil
	}
}
