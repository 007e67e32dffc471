package rtmp

import (
	"net/http"
	"net/url"

	link "weir/internal/link/rtmp"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// movable lets the client be asked to go on elsewhere (Enhanced RTMP v2, Reconnect
// Request), if it said with connect that it knows of that. Others close the connection
// on what they do not know, so they are not asked.
func (c *conn) movable() {
	if !c.mayMove() {
		return
	}
	to := c.link
	c.session.MoveBy(func(m session.Move) {
		// Not here: a client that reads nothing would hold up who asks them all.
		go service.Guard(c.log, func() error {
			_, err := to.RequestReconnect(c.place(m.TcURL), m.Description)
			return err
		})
	})
}

func (c *conn) mayMove() bool { return c.connect.Capabilities.Ex&rtmp.CapsReconnect != 0 }

// mover is movable for a player that a send loop has.
func (c *conn) mover(peer *link.Peer) func(dst []byte, m session.Move) []byte {
	if !c.mayMove() {
		return nil
	}
	return func(dst []byte, m session.Move) []byte {
		return peer.Say(dst, func(s *rtmp.Server) { s.RequestReconnect(c.place(m.TcURL), m.Description) })
	}
}

// place is where the client is to go: an address that names no app stands for the
// client's own there.
func (c *conn) place(tcURL string) string {
	if u, err := url.Parse(tcURL); err == nil && u.Host != "" && (u.Path == "" || u.Path == "/") && u.RawQuery == "" {
		u.Path = "/" + c.connect.App
		return u.String()
	}
	return tcURL
}

// asked is the answer of the API.
type asked struct {
	Asked int `json:"asked"` // clients that can be asked, and were
}

// endpoint lets the operator ask clients to go on elsewhere.
func (s *server) endpoint() service.Endpoint {
	return service.Endpoint{Method: http.MethodPost, Path: "move", Reply: asked{},
		Summary: "ask RTMP clients that said that they can (Enhanced RTMP's reconnect request) to connect anew, there or elsewhere; they are served until they leave",
		Params: [][2]string{
			{"url", "where to: rtmp://host[:port][/app], without an app the client's own; the address that it came by if empty"},
			{"description", "why, for the client's log"},
			{"stream", "the id of a stream: only who publishes or plays it"},
			{"client", "the id of a client: only that one"},
		},
		Answer: func(r *http.Request) (any, *service.Refusal) {
			q := r.URL.Query()
			to := session.Move{TcURL: q.Get("url"), Description: q.Get("description")}
			if len(to.TcURL) > maxMove || len(to.Description) > maxMove {
				return nil, &service.Refusal{Status: http.StatusBadRequest, Code: http.StatusBadRequest, Text: "url and description may have 1024 bytes each"}
			}
			if u, err := url.Parse(to.TcURL); err != nil || u.Scheme != "" && u.Host == "" {
				return nil, &service.Refusal{Status: http.StatusBadRequest, Code: http.StatusBadRequest, Text: "url is no address: write rtmp://host/app"}
			}
			stream, client := q.Get("stream"), q.Get("client")
			n := s.env.Desk.Move(to, func(x *session.Session) bool {
				act, _, st := x.Doing()
				return (client == "" || x.ID == client) && (stream == "" || act != 0 && st.ID == stream)
			})
			s.env.Log.Info("clients were asked to go on elsewhere", "url", to.TcURL, "asked", n)
			return asked{n}, nil
		}}
}

// maxMove bounds what a client is told, in bytes each.
const maxMove = 1 << 10
