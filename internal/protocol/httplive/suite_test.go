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

// way is one of the ways in which a stream goes to a viewer.
type way struct {
	senders []string
	tls     bool
	play    func(addr string, n protocoltest.Name) (protocoltest.Player, error)
}

var ways = map[string]way{
	"FLV over HTTP/1.1": {play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		return get(addr, "GET /"+n.App+"/"+n.Stream+".flv HTTP/1.1", "Host: "+n.Vhost)
	}},
	"FLV over HTTP/1.0": {senders: []string{"goroutine", "io_uring"}, play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		return get(addr, "GET /"+n.App+"/"+n.Stream+".flv HTTP/1.0", "Host: "+n.Vhost)
	}},
	"FLV over HTTP/2": {senders: []string{"goroutine"}, tls: true, play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		return getHTTP2("https://" + addr + "/" + n.App + "/" + n.Stream + ".flv?vhost=" + n.Vhost)
	}},
	"FLV over WebSocket": {play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		c, err := get(addr, upgrade("/"+n.App+"/"+n.Stream+".flv", n.Vhost)...)
		return c, err
	}},
	"FLV over WebSocket with TLS": {senders: []string{"goroutine"}, tls: true, play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		return getTLS(addr, upgrade("/"+n.App+"/"+n.Stream+".flv", n.Vhost)...)
	}},
	"TS over HTTP/1.1": {play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		c, err := get(addr, "GET /"+n.App+"/"+n.Stream+".ts HTTP/1.1", "Host: "+n.Vhost)
		return &tsClient{client: c}, err
	}},
	"MP4 over HTTP/1.1": {play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		c, err := get(addr, "GET /"+n.App+"/"+n.Stream+".mp4 HTTP/1.1", "Host: "+n.Vhost)
		return &mp4Client{client: c}, err
	}},
	"TS over WebSocket": {senders: []string{"writev"}, play: func(addr string, n protocoltest.Name) (protocoltest.Player, error) {
		c, err := get(addr, upgrade("/"+n.App+"/"+n.Stream+".ts", n.Vhost)...)
		return &tsClient{client: c}, err
	}},
}

func TestConformance(t *testing.T) {
	codes := protocoltest.Codes{Denied: "403", NoVhost: "404", EmptyName: "404", BadName: "400", Full: "503", Shutdown: "503"}
	for name, w := range ways {
		t.Run(name, func(t *testing.T) {
			protocoltest.Run(t, protocoltest.Door{
				Protocol: Protocol, Web: true, TLS: w.tls, EndsWithPublisher: true, Senders: w.senders,
				Vhost: "http_remux { enabled on; mount [vhost]/[app]/[stream].mp4 [vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts; }",
				Play: func(_ context.Context, h *protocoltest.House, n protocoltest.Name) (protocoltest.Player, error) {
					return w.play(h.Addr(), n)
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

// client is one that asked for something.
type client struct {
	nc    net.Conn
	br    *bufio.Reader
	res   *http.Response
	body  io.Reader
	ready []*media.Frame

	headed bool
	flv    *flv.Reader
	in     flv.Ingest
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
	for _, l := range append(lines, "") {
		if _, err := fmt.Fprintf(nc, "%s\r\n", l); err != nil {
			nc.Close()
			return nil, err
		}
	}
	return &client{nc: nc, br: bufio.NewReader(nc)}, nil
}

// answer waits for the header of the answer.
func (c *client) answer() (*http.Response, error) {
	c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
	if c.res == nil {
		res, err := http.ReadResponse(c.br, nil)
		if err != nil {
			return nil, err
		}
		c.res, c.body = res, res.Body
		if res.StatusCode == http.StatusSwitchingProtocols {
			c.body = &messages{r: c.br}
		}
		c.flv = flv.NewReader(c.body)
	}
	return c.res, nil
}

// stream waits for an answer that is a stream.
func (c *client) stream() error {
	res, err := c.answer()
	if err == nil && res.StatusCode != http.StatusOK && res.StatusCode != http.StatusSwitchingProtocols {
		err = status(res.StatusCode)
	}
	return err
}

func (c *client) Read() (*media.Frame, error) {
	if err := c.stream(); err != nil {
		return nil, err
	}
	return c.frame()
}

// frame reads the next frame of an answer in FLV.
func (c *client) frame() (*media.Frame, error) {
	if !c.headed {
		c.headed = true
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
