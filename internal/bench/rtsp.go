package bench

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weir/internal/wire/rtp"
)

// rtspPlayer asks for a stream of RTSP, with its packets in the connection.
type rtspPlayer struct {
	c    net.Conn
	r    *bufio.Reader
	cseq int
}

// ask sends a request and returns the answer, before which no packet comes.
func (p *rtspPlayer) ask(method, url, line string) (head textproto.MIMEHeader, body string, err error) {
	p.cseq++
	if _, err := fmt.Fprintf(p.c, "%s %s RTSP/1.0\r\nCSeq: %d\r\nUser-Agent: %s\r\n%s\r\n", method, url, p.cseq, agent, line); err != nil {
		return nil, "", err
	}
	t := textproto.NewReader(p.r)
	first, err := t.ReadLine()
	if err != nil {
		return nil, "", err
	}
	if head, err = t.ReadMIMEHeader(); err != nil {
		return nil, "", err
	}
	if _, status, _ := strings.Cut(first, " "); !strings.HasPrefix(status, "200") {
		return nil, "", errors.New(method + ": " + status)
	}
	n, _ := strconv.ParseUint(head.Get("Content-Length"), 10, 20)
	b := make([]byte, n)
	_, err = io.ReadFull(p.r, b)
	return head, string(b), err
}

// begin plays all tracks of a stream, each on the two channels behind those of the one
// before, and returns the channel of the picture.
func (p *rtspPlayer) begin(url string) (picture byte, err error) {
	_, sdp, err := p.ask("DESCRIBE", url, "Accept: application/sdp\r\n")
	if err != nil {
		return 0, err
	}
	session := ""
	for i, m := range strings.Split(sdp, "\nm=")[1:] {
		_, rest, ok := strings.Cut(m, "a=control:")
		if !ok {
			return 0, errors.New("a track has no address to set it up by")
		}
		control := strings.TrimSpace(strings.SplitN(rest, "\n", 2)[0])
		if !strings.Contains(control, "://") {
			control = strings.TrimSuffix(url, "/") + "/" + control
		}
		head, _, err := p.ask("SETUP", control, fmt.Sprintf("Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d\r\n%s", 2*i, 2*i+1, session))
		if err != nil {
			return 0, err
		}
		if strings.HasPrefix(m, "video") {
			picture = byte(2 * i)
		}
		id, _, _ := strings.Cut(head.Get("Session"), ";")
		session = "Session: " + id + "\r\n"
	}
	_, _, err = p.ask("PLAY", url, session+"Range: npt=0.000-\r\n")
	return picture, err
}

// playRTSP plays until the stream ends, or gives the socket to the sweeper. Pictures are
// told by their stamps, as of MP4.
func playRTSP(ctx context.Context, v *viewer) error {
	u, err := url.Parse(v.url)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = "554"
	}
	c, err := v.dial(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return err
	}
	t := c.(*tap)
	defer c.Close()
	defer context.AfterFunc(ctx, func() { t.SetDeadline(time.Unix(1, 0)) })()
	t.SetDeadline(time.Now().Add(setupTimeout))
	p := &rtspPlayer{c: c, r: bufio.NewReaderSize(c, 32<<10)}
	channel, err := p.begin(v.url)
	if err != nil {
		return err
	}
	t.SetDeadline(time.Time{})
	if ctx.Err() != nil { // its interruption may just have been undone
		return ctx.Err()
	}
	var head [4]byte
	var b []byte
	for unstamped := 0; ; {
		if _, err := io.ReadFull(p.r, head[:]); err != nil {
			return err
		}
		n := int(binary.BigEndian.Uint16(head[2:]))
		if head[0] != '$' {
			return errors.New("something else than a packet between packets")
		}
		b = append(b[:0], make([]byte, n)...)
		if _, err := io.ReadFull(p.r, b); err != nil {
			return err
		}
		if head[1] != channel {
			continue
		}
		_, payload, err := rtp.Parse(b)
		if err != nil {
			return err
		}
		key, _, _, ok := nextStamp(payload)
		if unstamped++; ok {
			unstamped = 0
		}
		if ok && key || unstamped > noStamps {
			v.started()
		}
		switch {
		case v.probe && ok:
			v.picture(payload)
		case !v.probe && v.first.Load() > 0 && v.stalled:
			<-ctx.Done()
			return nil
		case !v.probe && v.first.Load() > 0:
			return v.run.sweep.add(t, 0)
		}
	}
}
