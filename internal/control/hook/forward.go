package hook

import (
	"context"
	"fmt"

	"weir/internal/session"
)

// onForward has its action first, as SRS writes it.
type onForward struct {
	Action  string `json:"action"`
	Server  string `json:"server_id"`
	Service string `json:"service_id"`
	Client  string `json:"client_id"`
	IP      string `json:"ip"`
	Vhost   string `json:"vhost"`
	App     string `json:"app"`
	TcURL   string `json:"tcUrl"`
	Stream  string `json:"stream"`
	Param   string `json:"param"`
}

// codeForward is SRS's number for forwarding that cannot be begun.
const codeForward = 1030

// maxForwards bounds the addresses of an answer.
const maxForwards = 64

// Forward asks a callback server where a stream is to be sent. The answer is an
// object with code 0 and the addresses in data.urls, of which there may be none. An
// error refuses the publisher, unless the vhost's on_error allows those about whom
// nobody can be asked: then there are no addresses.
func (h *Hooks) Forward(ctx context.Context, to string, s *session.Session, ask *session.Ask) ([]string, error) {
	c := h.urls(ask.Key.Vhost)
	b := h.base("on_forward", s, ask)
	answer, err := h.call(ctx, &c, to, "on_forward", s, onForward{b.Action, b.Server, b.Service, b.Client, b.IP, b.Vhost, b.App, tcURL(s, ask), ask.Said.Stream, ask.Said.Param})
	if err != nil && c.Open && ctx.Err() == nil && undecided(err) {
		h.env.Log.Warn("http: on_forward cannot be asked, nothing is forwarded by on_error", "cid", s.ID, "client_id", s.ID, "url", to, "err", err)
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("on_forward %s: %w", to, err)
	}
	var reply struct {
		Data *struct {
			URLs *[]string `json:"urls"`
		} `json:"data"`
	}
	if err := read(answer, &reply); err != nil || reply.Data == nil || reply.Data.URLs == nil {
		return nil, &Error{Code: codeForward, Text: fmt.Sprintf("on_forward answered %.60q, which has no list of addresses in data.urls", answer)}
	}
	if n := len(*reply.Data.URLs); n > maxForwards {
		return nil, &Error{Code: codeForward, Text: fmt.Sprintf("on_forward answered with %d addresses, more than %d", n, maxForwards)}
	}
	return *reply.Data.URLs, nil
}
