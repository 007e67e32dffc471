package rtsp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store/past"
	"weir/internal/wire/rtmp"
	"weir/internal/wire/rtsp"
)

const (
	// requestTime is how long a client that does not play may take for a request, from
	// the end of the one before to the last byte of it.
	requestTime = 60 * time.Second
	// writeTime is how long one write may block.
	writeTime = 30 * time.Second
	// keepAlive is what clients are told of a session's timeout: they say something
	// twice in that time. One that plays may be silent, since its connection tells.
	keepAlive = ";timeout=60"
)

// Why a client is refused, or its connection ends.
var (
	errMissing = errors.New("stream is not live")
	errOff     = errors.New("RTSP is off for the vhost, or has nothing to play: see rtsp { enabled; rtmp_to_rtsp }")
	errNothing = errors.New("stream has no track that RTSP can carry")
	errGone    = errors.New("client has gone")
	errIdle    = errors.New("client has asked for nothing in time")
	// errHandedOver tells that a send loop has the client now, its session and its
	// connection included.
	errHandedOver = errors.New("handed over to a send loop")
)

// conn is one connection. Its fields are owned by run, and by the send loop after that.
type conn struct {
	server  *server
	env     *service.Env
	session *session.Session
	log     *slog.Logger
	nc      net.Conn
	w       io.Writer // nc, counted
	unblock func() bool
	read    []byte // scratch
	buf     []byte // what has come and was not heeded

	id string // of the session of RTSP, "" before the first description
	*playing
}

// playing is what a client plays, or is about to.
type playing struct {
	url      string // as the client has it
	ask      session.Ask
	sub      *hub.Subscription
	feed     sender.Feed // sub, or the past of a stream
	layout   func() *media.Layout
	told     sender.RTSPViewer
	numbers  []int // the tracks by their numbers
	channels [2]sender.RTSPChannel
	conf     *blocks.PlayConfig
	gather   time.Duration
}

// use takes a connection, which notices from then on that the session ends.
func (c *conn) use(nc net.Conn) {
	c.nc, c.w = nc, c.session.Conn(nc)
	c.unblock = context.AfterFunc(c.session.Context(), func() { nc.SetDeadline(time.Unix(1, 0)) })
}

// quit closes the connection, if there is one.
func (c *conn) quit() {
	if c.nc != nil {
		c.unblock()
		c.nc.Close()
	}
}

// run answers requests until the client goes or plays.
func (c *conn) run() error {
	for {
		m, err := c.next()
		if err != nil {
			if errors.Is(err, rtsp.ErrSyntax) {
				c.write((&rtsp.Response{Status: rtsp.BadRequest, Server: c.env.Server}).Append(nil))
			}
			return err
		}
		if m.Method == "" {
			continue // a response, or a packet
		}
		if err := c.answer(&m); err != nil {
			return err
		}
	}
}

// next waits for a message.
func (c *conn) next() (m rtsp.Message, err error) {
	c.nc.SetReadDeadline(time.Now().Add(requestTime))
	for {
		m, n, err := rtsp.Next(c.buf)
		if err != nil {
			return m, err
		}
		if n > 0 {
			c.buf = c.buf[n:]
			return m, nil
		}
		if err := c.more(); err != nil {
			return m, err
		}
	}
}

// more reads what has come.
func (c *conn) more() error {
	if c.read == nil {
		c.read = make([]byte, 4<<10)
	}
	if err := context.Cause(c.session.Context()); err != nil {
		return err // the deadline that says so may have been moved
	}
	n, err := c.nc.Read(c.read)
	c.session.Count(n, 0)
	c.buf = append(c.buf[:len(c.buf):len(c.buf)], c.read[:n]...)
	switch {
	case n > 0 || err == nil:
		return nil
	case c.session.Context().Err() != nil:
		return context.Cause(c.session.Context())
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return errGone
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return errIdle
	}
	return err
}

func (c *conn) write(b []byte) error {
	c.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if err := context.Cause(c.session.Context()); err != nil {
		return err
	}
	_, err := c.w.Write(b)
	return err
}

// response begins the answer to a request.
func (c *conn) response(m *rtsp.Message, status int) *rtsp.Response {
	r := &rtsp.Response{Status: status, CSeq: m.Header.Get("CSeq"), Server: c.env.Server}
	if c.id != "" {
		r.Session = c.id + keepAlive
	}
	return r
}

func (c *conn) reply(m *rtsp.Message, status int, header ...string) error {
	r := c.response(m, status)
	r.Header = header
	return c.write(r.Append(nil))
}

// general returns the answer to what is answered alike whether the client plays or not,
// nil for other requests.
func (c *conn) general(m *rtsp.Message) *rtsp.Response {
	switch {
	case m.Version != rtsp.Version:
		return c.response(m, rtsp.VersionNotSupported)
	case m.Header.Get("CSeq") == "":
		return c.response(m, rtsp.BadRequest)
	case m.Header.Get("Require") != "":
		r := c.response(m, rtsp.OptionNotSupported)
		r.Header = rtsp.Header{"Unsupported", m.Header.Get("Require")}
		return r
	}
	switch m.Method {
	case "OPTIONS":
		r := c.response(m, rtsp.OK)
		r.Header = rtsp.Header{"Public", rtsp.Methods}
		return r
	case "GET_PARAMETER", "SET_PARAMETER": // how clients keep a session
		return c.response(m, rtsp.OK)
	case "ANNOUNCE", "RECORD":
		r := c.response(m, rtsp.MethodNotAllowed)
		r.Header = rtsp.Header{"Allow", rtsp.Methods}
		return r
	case "DESCRIBE", "SETUP", "PLAY", "PAUSE", "TEARDOWN":
		if id, _, _ := strings.Cut(m.Header.Get("Session"), ";"); id != "" && id != c.id {
			return c.response(m, rtsp.SessionNotFound)
		}
		return nil
	}
	return c.response(m, rtsp.NotImplemented)
}

// answer answers a request of a client that does not play.
func (c *conn) answer(m *rtsp.Message) error {
	if r := c.general(m); r != nil {
		return c.write(r.Append(nil))
	}
	switch m.Method {
	case "DESCRIBE":
		return c.describe(m)
	case "SETUP":
		return c.setup(m)
	case "PLAY":
		if c.playing == nil || !c.channels[0].On && !c.channels[1].On {
			return c.reply(m, rtsp.WrongState)
		}
		return c.play(m)
	case "TEARDOWN":
		err := c.reply(m, rtsp.OK)
		c.leave(nil)
		return err
	}
	return c.reply(m, rtsp.WrongState)
}

// leave forgets what the client was about to play.
func (c *conn) leave(err error) {
	c.playing = nil
	c.session.Leave(err)
}

// describe tells a client of the tracks of a stream that it may play.
func (c *conn) describe(m *rtsp.Message) error {
	if c.id == "" {
		c.id = hub.NewID("", 8)
	}
	if err := c.open(m, m.URL); err != nil {
		return c.refuse(m, err)
	}
	var all []rtsp.Medium
	for _, i := range c.numbers {
		all = append(all, rtsp.Medium{Track: c.told.Told[i], Control: c.told.Control[i]})
	}
	r := c.response(m, rtsp.OK)
	r.Header = rtsp.Header{"Content-Type", "application/sdp"}
	if !strings.Contains(m.URL, "?") {
		r.Header = append(r.Header, "Content-Base", strings.TrimSuffix(m.URL, "/")+"/")
	}
	r.Body = rtsp.AppendSDP(nil, m.URL, all...)
	return c.write(r.Append(nil))
}

// refuse tells why the client gets nothing. It may ask for something else.
func (c *conn) refuse(m *rtsp.Message, err error) error {
	c.leave(err)
	if e := c.session.Context().Err(); e != nil || errors.Is(err, errGone) {
		return err
	}
	c.log.Warn("RTSP client is refused", "url", m.URL, "err", err)
	if e := c.reply(m, status(err)); e != nil {
		return e
	}
	return nil
}

// status is the one of a refusal. What a callback or a rule said stays in the log.
func status(err error) int {
	_, moved := errors.AsType[*session.Moved](err)
	switch {
	case errors.Is(err, errMissing), errors.Is(err, errOff), errors.Is(err, errNothing), moved,
		errors.Is(err, session.ErrNoVhost), errors.Is(err, session.ErrNoName), errors.Is(err, past.ErrNothing):
		return rtsp.NotFound
	case errors.Is(err, session.ErrBadName), errors.Is(err, rtsp.ErrSyntax), errors.Is(err, rtmp.ErrTcURL),
		errors.Is(err, past.ErrTime), errors.Is(err, past.ErrFuture):
		return rtsp.BadRequest
	case errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		return rtsp.Unavailable
	case errors.Is(err, service.ErrFault):
		return rtsp.InternalError
	}
	return rtsp.Forbidden
}

// open signs the client in for the stream at an address, unless it is already, and finds
// out its tracks.
func (c *conn) open(m *rtsp.Message, url string) error {
	if c.playing == nil || c.url != url {
		c.leave(nil)
		if err := c.admit(m, url); err != nil {
			return err
		}
	}
	layout, err := c.settle()
	if err != nil {
		return err
	}
	c.told, c.numbers, c.channels = sender.RTSPViewer{}, nil, [2]sender.RTSPChannel{}
	for _, t := range [...]*media.Track{layout.Main(media.Audio), layout.Main(media.Video)} {
		if t == nil {
			continue
		}
		if i := sender.RTSPTrack(t, layout); i >= 0 {
			c.told.Told[i], c.told.Control[i] = t, rtsp.Control(url, len(c.numbers))
			c.numbers = append(c.numbers, i)
		}
	}
	if c.numbers == nil {
		return errNothing
	}
	return nil
}

// admit signs the client in.
func (c *conn) admit(m *rtsp.Message, url string) error {
	tcURL, name, err := rtsp.Split(url)
	if err != nil {
		return err
	}
	t, err := rtmp.Resolve(tcURL, name)
	if err != nil {
		return err
	}
	c.log.Info("client identified", "type", "rtsp-play", "vhost", t.Vhost, "app", t.App, "stream", t.Stream, "param", t.Param, "agent", m.Header.Get("User-Agent"))
	vhost, known := c.env.Conf.Load().Vhost(t.Vhost)
	if conf := blocks.RTSP.Of(vhost); known && !(conf.Enabled && conf.RTMPToRTSP) {
		return errOff
	}
	ask := session.Ask{
		Key:  hub.Key{Vhost: t.Vhost, App: t.App, Stream: t.Stream},
		Said: session.Said{Vhost: t.Vhost, App: t.App, Stream: t.Stream, Param: t.Param},
		Type: "rtsp-play",
	}
	c.session.TcURL = tcURL
	if token, ok := strings.CutPrefix(m.Header.Get("Authorization"), "Bearer "); ok {
		c.session.Bearer = token
	}
	p := &playing{url: url, conf: blocks.Play.Of(vhost)}
	if p.gather = p.conf.MWLatency; blocks.VhostRoot.Of(vhost).MinLatency {
		p.gather = 0
	}
	if known {
		if start, asks, err := c.env.StartOf(vhost.Name, t.Param); err != nil {
			return err
		} else if asks {
			return c.admitPast(p, ask, start)
		}
	}
	if p.sub, err = c.session.Play(c.session.Context(), ask, hub.Options{Gather: p.gather}); err != nil {
		return err
	}
	p.feed, p.layout = p.sub, p.sub.Stream().Layout
	_, p.ask, _ = c.session.Doing()
	c.playing = p
	return nil
}

// admitPast is admit for a player of what the stream was.
func (c *conn) admitPast(p *playing, ask session.Ask, start past.Start) error {
	if err := c.session.Watch(c.session.Context(), ask); err != nil {
		return err
	}
	_, p.ask, _ = c.session.Doing()
	feed, behind, err := c.env.Play(p.ask.Key, start, false)
	if err != nil {
		return err
	}
	c.log.Info("play from the past", "behind", behind.Round(time.Millisecond))
	p.feed, p.layout = feed, feed.Layout
	c.playing = p
	return nil
}

const (
	// firstTime is how long a stream that is live may take until there is a frame.
	firstTime = 15 * time.Second
	// settleTime is how long after its first frame a stream is waited for to have sound
	// and picture: its description is given once.
	settleTime = time.Second
)

// settle waits until the stream has all its tracks, as far as can be told, and returns
// them.
func (c *conn) settle() (*media.Layout, error) {
	if c.sub == nil {
		return c.layout(), nil
	}
	vhost, _ := c.env.Conf.Load().Vhost(c.ask.Key.Vhost)
	wait := blocks.RTSP.Of(vhost).WaitTimeout
	if c.server.live(c.ask.Key) {
		wait = max(wait, firstTime)
	}
	if wait <= 0 {
		return nil, errMissing
	}
	ctx, stop := c.watch()
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errMissing)
	defer cancel()
	st := c.sub.Stream()
	settled, begun := ctx, false
	for read := make([]*media.Frame, 1); ; {
		_, err := c.sub.Read(settled, read)
		layout := c.layout()
		switch {
		case err == nil:
		case isEnd(err):
			settled, begun = ctx, false
			continue
		case begun && ctx.Err() == nil && layout != nil:
			return layout, nil
		default:
			return nil, err
		}
		if whole(layout) {
			return layout, nil
		}
		if begun {
			continue
		}
		begun = true
		old := time.Duration(0)
		if p := st.Publication(); p != nil {
			old = time.Since(p.Began)
		}
		var cancel context.CancelFunc
		settled, cancel = context.WithTimeout(ctx, max(settleTime-old, time.Millisecond))
		defer cancel()
	}
}

func isEnd(err error) bool {
	_, ended := errors.AsType[*hub.EndError](err)
	return ended
}

// whole reports whether a stream has sound and picture.
func whole(l *media.Layout) bool { return l.Main(media.Audio) != nil && l.Main(media.Video) != nil }

// watch notices that the client goes while something else is waited for. What it says
// meanwhile is kept until stop, as far as a message may be long.
func (c *conn) watch() (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(c.session.Context())
	c.nc.SetReadDeadline(time.Time{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	over := false
	wg.Go(func() {
		for len(c.buf) < rtsp.MaxMessage {
			if err := c.more(); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if !over {
					cancel(err)
				}
				return
			}
		}
	})
	return ctx, func() {
		mu.Lock()
		over = true
		mu.Unlock()
		c.nc.SetReadDeadline(time.Unix(1, 0))
		wg.Wait()
		cancel(nil)
	}
}

// setup gives a track its channels.
func (c *conn) setup(m *rtsp.Message) error {
	url, n := rtsp.Track(m.URL)
	if c.id == "" {
		c.id = hub.NewID("", 8)
	}
	if c.playing == nil { // it knows the description already
		if err := c.open(m, url); err != nil {
			return c.refuse(m, err)
		}
	}
	switch {
	case n < 0 && len(c.numbers) == 1:
		n = 0
	case n < 0:
		return c.reply(m, rtsp.AggregateNotAllowed)
	case n >= len(c.numbers):
		return c.reply(m, rtsp.NotFound)
	}
	value := m.Header.Get("Transport")
	if value == "" {
		return c.reply(m, rtsp.BadRequest)
	}
	t, ok := c.choose(value, c.numbers[n])
	if !ok {
		c.log.Info("RTSP client asks for a transport that there is not, it is told so", "transport", value)
		return c.reply(m, rtsp.UnsupportedTransport)
	}
	i := c.numbers[n]
	c.channels[i] = sender.RTSPChannel{On: true, RTP: t.Channels[0], RTCP: t.Channels[1]}
	ssrc := uint32(0)
	if c.sub != nil {
		ssrc, _ = sender.RTSPSource(c.sub.Stream(), i)
	} else if st := c.stream(); st != nil {
		ssrc, _ = sender.RTSPSource(st, i)
	}
	return c.reply(m, rtsp.OK, "Transport", t.Answer(ssrc))
}

// stream is the one that is played, be it its past.
func (c *conn) stream() *hub.Stream {
	_, _, st := c.session.Doing()
	return st
}

// choose returns the first way of those that a client offers that there is, with
// channels that no other track has.
func (c *conn) choose(value string, track int) (t rtsp.Transport, ok bool) {
	all, err := rtsp.ParseTransport(value)
	if err != nil {
		return t, false
	}
	for _, t := range all {
		if !t.TCP || t.Multicast || t.Record {
			continue
		}
		other := c.channels[1-track]
		taken := func(ch uint8) bool { return other.On && (ch == other.RTP || ch == other.RTCP) }
		if !t.Chosen || taken(t.Channels[0]) || taken(t.Channels[1]) {
			for n := uint8(0); ; n += 2 {
				if t.Channels = [2]uint8{n, n + 1}; !taken(n) && !taken(n+1) {
					break
				}
			}
		}
		return t, true
	}
	return t, false
}
