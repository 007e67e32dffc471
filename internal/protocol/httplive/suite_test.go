package httplive

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
)

const remux = "http_remux { enabled on; }"

func TestConformance(t *testing.T) {
	codes := protocoltest.Codes{Denied: "403", NoVhost: "404", EmptyName: "404", BadName: "400", Full: "503", Shutdown: "503"}
	// HTTP/1.0 has no chunks, and so no loops.
	for version, senders := range map[string][]string{"HTTP/1.1": nil, "HTTP/1.0": {"goroutine"}} {
		t.Run(version, func(t *testing.T) {
			protocoltest.Run(t, protocoltest.Door{
				Protocol: Protocol, Web: true, Vhost: remux, EndsWithPublisher: true, Senders: senders,
				Play: func(ctx context.Context, h *protocoltest.House, n protocoltest.Name) (protocoltest.Player, error) {
					return get(h.Addr(), "GET /"+n.App+"/"+n.Stream+".flv "+version, "Host: "+n.Vhost)
				},
				Code: func(err error) string {
					if s, ok := errors.AsType[status](err); ok {
						return strconv.Itoa(int(s))
					}
					return ""
				},
				PlayCodes: codes,
			})
		})
	}
}

// status is an answer other than 200.
type status int

func (s status) Error() string { return "answered with status " + strconv.Itoa(int(s)) }

// viewer is a client that asked for something.
type client struct {
	nc    net.Conn
	br    *bufio.Reader
	res   *http.Response
	flv   *flv.Reader
	in    flv.Ingest
	ready []*media.Frame
}

// get sends a request of the given lines. Its answer is read later.
func get(addr string, lines ...string) (*client, error) {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return send(nc, lines...)
}

func getTLS(addr string, lines ...string) (*client, error) {
	nc, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	return send(nc, lines...)
}

func send(nc net.Conn, lines ...string) (*client, error) {
	for _, l := range lines {
		if _, err := fmt.Fprintf(nc, "%s\r\n", l); err != nil {
			nc.Close()
			return nil, err
		}
	}
	if _, err := io.WriteString(nc, "\r\n"); err != nil {
		nc.Close()
		return nil, err
	}
	return &client{nc: nc, br: bufio.NewReader(nc)}, nil
}

// answer waits for the header of the answer.
func (c *client) answer() (*http.Response, error) {
	c.nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	if c.res == nil {
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			return nil, err
		}
		c.res = res
		c.flv = flv.NewReader(res.Body)
	}
	return c.res, nil
}

func (c *client) Read() (*media.Frame, error) {
	first := c.res == nil
	res, err := c.answer()
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, status(res.StatusCode)
	}
	if first {
		if _, _, err := c.flv.ReadHeader(); err != nil {
			return nil, err
		}
	}
	for len(c.ready) == 0 {
		tag, err := c.flv.ReadTag()
		if err != nil {
			return nil, err
		}
		kind := media.Video
		switch tag.Type {
		case flv.TypeScript:
			continue
		case flv.TypeAudio:
			kind = media.Audio
		}
		body := append([]byte(nil), tag.Body...)
		if c.ready, err = c.in.Frames(c.ready, kind, time.Duration(tag.Timestamp)*time.Millisecond, body); err != nil {
			return nil, err
		}
	}
	f := c.ready[0]
	c.ready = c.ready[1:]
	return f, nil
}

func (c *client) Close() error { return c.nc.Close() }
