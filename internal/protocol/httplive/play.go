package httplive

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/format/mp4"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/sender"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/store/past"
	"weir/internal/wire/websocket"
)

// writeTime is how long one write to a viewer may block.
const writeTime = 30 * time.Second

// errMissing ends a viewer whose stream did not come in time.
var errMissing = errors.New("stream is not live")

// codecsBy is how much of a stream may pass before it has a track for a format.
const codecsBy = 3 * time.Second

// play signs a viewer in and sends it the stream until it goes.
func (s *server) play(w http.ResponseWriter, r *http.Request, f format, vhost *config.Vhost, key hub.Key) {
	conf, play, root := blocks.HTTPRemux.Of(vhost), blocks.Play.Of(vhost), blocks.VhostRoot.Of(vhost)
	start, shifted, err := s.env.StartOf(vhost.Name, r.URL.RawQuery)
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	if conf.OnMissing == "404" && !shifted && !s.live(key) {
		s.refuse(w, r, errMissing)
		return
	}
	// Not of the request's context, which ends when the connection is taken over.
	sess, err := s.env.Desk.Connect(context.WithoutCancel(r.Context()), service.Visitor(r, "flv", key.App))
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	log := s.env.Log.With(slog.String("cid", sess.ID))
	log.Info("HTTP live client", "ip", sess.IP, "url", r.URL.RequestURI(), "host", r.Host)
	v := &viewer{server: s, w: w, r: r, format: f, session: sess, log: log}
	switch {
	case asksWebSocket(r):
		v.framing = sender.WebSocket
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor > 1:
		v.framing = sender.Bare
	}
	v.stopWatching = context.AfterFunc(r.Context(), func() { sess.Kick(errGone) })
	err = service.Guard(log, func() error {
		if shifted {
			return v.runPast(key, start, conf, play)
		}
		return v.run(key, conf, play, root)
	})
	if errors.Is(err, errHandedOver) {
		return
	}
	if v.nc != nil { // taken over, and perhaps left open by a fault
		v.nc.Close()
		v.watching.Wait()
	}
	if err != nil && !v.answered {
		s.refuse(w, r, err)
	}
	v.end(err)
	if err != nil && v.answered && v.nc == nil {
		panic(http.ErrAbortHandler) // the way to end a stream of HTTP/2 that is not whole
	}
}

// end signs the viewer out.
func (v *viewer) end(err error) {
	v.session.Close(err)
	in, out := v.session.Bytes()
	attrs := []any{"recv", in, "send", out}
	if err != nil {
		attrs = append(attrs, "err", err)
	}
	v.log.Info("client disconnect peer", attrs...)
}

func (s *server) live(key hub.Key) bool {
	st := s.env.Hub.Stream(key)
	return st != nil && st.Shown() != nil
}

func (s *server) headers(h http.Header, r *http.Request, f format) {
	h.Set("Content-Type", f.mime)
	h.Set("Cache-Control", "no-store")
	s.cors(h, r)
}

// cors lets pages of other sites read the answer, if the configuration does.
func (s *server) cors(h http.Header, r *http.Request) (on bool) {
	on = blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain
	if on && r.Header.Get("Origin") != "" {
		service.CORS(h)
	}
	return on
}

// refuse answers in words. A page may read them as it may read the stream.
func (s *server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.cors(w.Header(), r)
	status := http.StatusForbidden
	_, nothing := errors.AsType[nothingError](err)
	switch {
	case errors.Is(err, errMissing), nothing, errors.Is(err, past.ErrNothing):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case errors.Is(err, past.ErrTime), errors.Is(err, past.ErrFuture):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case errors.Is(err, service.ErrFault):
		status = http.StatusInternalServerError
	case errors.Is(err, session.ErrBadName):
		status = http.StatusBadRequest
	case errors.Is(err, session.ErrFull), errors.Is(err, session.ErrShutdown):
		status = http.StatusServiceUnavailable
	case errors.Is(err, session.ErrNoVhost), errors.Is(err, session.ErrNoName):
		status = http.StatusNotFound
	}
	http.Error(w, http.StatusText(status), status)
}

// viewer is one request that is being answered. Its fields are owned by the
// goroutine of the request.
type viewer struct {
	server  *server
	w       http.ResponseWriter
	r       *http.Request
	format  format
	session *session.Session
	layout  func() *media.Layout
	log     *slog.Logger
	// stopWatching ends the notice of the request's end.
	stopWatching func() bool
	// unblock ends the notice of the session's end; set when the answer begins.
	unblock func()

	framing  sender.Framing
	answered bool
	nc       net.Conn // taken over from the HTTP server; nil over HTTP/2
	early    []byte   // what the viewer sent before that
	conn     buffersWriter
	writing  sync.Mutex // held while something is written to conn
	head     []byte
	joined   []byte
	cancel   context.CancelCauseFunc
	watching sync.WaitGroup
}

type buffersWriter interface {
	net.Conn
	WriteBuffers(b *net.Buffers) (int64, error)
}

func (v *viewer) run(key hub.Key, conf *blocks.HTTPRemuxConfig, play *blocks.PlayConfig, root *blocks.VhostRootConfig) error {
	gather := play.MWLatency
	if root.MinLatency {
		gather = 0
	}
	sub, err := v.session.Play(v.r.Context(), service.Asked(v.r, key, "flv-play", v.format.ext), hub.Options{Gather: gather})
	if err != nil {
		return err
	}
	v.layout = sub.Stream().Layout
	ctx, cancel := context.WithCancelCause(v.session.Context())
	defer cancel(nil)
	v.cancel = cancel
	var late *time.Timer
	if conf.WaitTimeout > 0 {
		late = time.AfterFunc(conf.WaitTimeout, func() { cancel(errMissing) })
		defer late.Stop()
	}
	spec, times := v.spec(conf), sender.Line
	if play.ATC || play.TimeJitter == "off" {
		times = sender.Source
	}
	loop := (times == sender.Line || v.format.sound) && !play.ATCAuto && play.SendMinInterval == 0 && v.fitsLoop()
	if loop || v.format.carries != nil {
		if err := v.await(ctx, sub); err != nil {
			return err
		}
		if late != nil && !late.Stop() {
			return errMissing
		}
		late = nil
	}
	var before func(seq uint64) []*media.Frame
	if v.format.sound {
		before = v.server.before(sub.Stream())
	}
	if loop {
		if err := v.handOver(sub, spec, gather, before); err != nil {
			return err
		}
	}
	if loop || v.format.carries != nil {
		sub.SkipToLive()
	}
	sv := &sender.Viewer{
		Sub: sub, Encoder: v.encoder(spec, times, before), MinInterval: play.SendMinInterval, Log: v.log,
		// As in SRS an answer ends with the publication.
		End: func(*hub.EndError) error {
			if !v.answered {
				return nil
			}
			return errEnded
		},
		Write: func(b net.Buffers) error {
			if !v.answered {
				if late != nil && !late.Stop() {
					return errMissing
				}
				if err := v.answer(); err != nil {
					return err
				}
			}
			return v.write(b)
		},
	}
	err = sv.Run(ctx)
	v.finish(err)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// runPast sends what the stream was, from where the viewer wants to begin. The answer ends
// where the stream has ended and all was sent: it goes on over publications before that.
func (v *viewer) runPast(key hub.Key, start past.Start, conf *blocks.HTTPRemuxConfig, play *blocks.PlayConfig) error {
	if err := v.session.Watch(v.r.Context(), service.Asked(v.r, key, "flv-play", v.format.ext)); err != nil {
		return err
	}
	feed, behind, err := v.server.env.Play(key, start, true)
	if err != nil {
		return err
	}
	if v.layout = feed.Layout; v.format.carries != nil && !v.format.carries(feed.Layout()) {
		return nothingError{v.format.name}
	}
	v.log.Info("play from the past", "behind", behind.Round(time.Millisecond))
	ctx, cancel := context.WithCancelCause(v.session.Context())
	defer cancel(nil)
	v.cancel = cancel
	if err := v.answer(); err != nil {
		return err
	}
	sv := &sender.Viewer{Sub: feed, Encoder: v.encoder(v.spec(conf), sender.Line, nil), MinInterval: play.SendMinInterval, Log: v.log,
		End: func(*hub.EndError) error { return errEnded }, Write: v.write}
	err = sv.Run(ctx)
	v.finish(err)
	if errors.Is(err, errEnded) {
		return nil
	}
	return err
}

// await waits until the stream has something for the viewer, which it reads.
func (v *viewer) await(ctx context.Context, sub *hub.Subscription) error {
	var first *media.Frame
	for read := make([]*media.Frame, 1); ; {
		_, err := sub.Read(ctx, read)
		if _, ended := errors.AsType[*hub.EndError](err); ended {
			first = nil
			continue
		}
		if err != nil {
			return err
		}
		f := read[0]
		if v.format.carries == nil || v.format.carries(f.Layout) {
			return nil
		}
		if first == nil {
			first = f
		}
		if f.DTS-first.DTS > codecsBy {
			return nothingError{v.format.name}
		}
	}
}

// answer sends the header and takes the connection over.
func (v *viewer) answer() error {
	if v.r.ProtoMajor > 1 {
		v.answered = true
		v.setHeaders()
		v.w.WriteHeader(http.StatusOK)
		v.unblock = v.notice(http.NewResponseController(v.w).SetWriteDeadline)
		return nil
	}
	head, err := v.takeOver()
	if err != nil {
		return err
	}
	return v.begin(head)
}

func (v *viewer) setHeaders() {
	h := v.w.Header()
	v.server.headers(h, v.r, v.format)
	if v.format.ext == ".mp4" {
		h.Set("Content-Type", "video/mp4; codecs=\""+mp4.Codecs(v.layout())+"\"")
	}
}

// begin sends the header on a connection that was taken over, to which this
// goroutine goes on to write.
func (v *viewer) begin(head []byte) error {
	v.conn = v.session.Conn(v.nc).(buffersWriter)
	v.unblock = v.notice(v.nc.SetWriteDeadline)
	v.watching.Go(v.watch)
	v.nc.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := v.conn.Write(head)
	return err
}

// notice has a write that is blocked notice the session's end, until it is told
// to stop.
func (v *viewer) notice(deadline func(time.Time) error) (stop func()) {
	var mu sync.Mutex
	over := false
	context.AfterFunc(v.session.Context(), func() {
		mu.Lock()
		defer mu.Unlock()
		if !over { // an answer that has ended has no deadline to be set
			deadline(time.Unix(1, 0))
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		over = true
	}
}

// takeOver takes the connection from the HTTP server and returns the header of
// the answer, which is to be sent first.
func (v *viewer) takeOver() (head []byte, err error) {
	v.answered = true
	v.setHeaders()
	v.stopWatching()
	nc, rw, err := http.NewResponseController(v.w).Hijack()
	if err != nil {
		return nil, fmt.Errorf("take connection over: %w", err)
	}
	nc.SetDeadline(time.Time{})
	v.nc = nc
	if v.framing == sender.WebSocket {
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		v.early = slices.Clone(early)
		head = switching(v.r, v.w.Header())
	} else {
		head = v.plainHead()
	}
	// They hold the buffers of the HTTP server, which nobody needs any more.
	v.w, v.r = nil, nil
	return head, nil
}

func (v *viewer) plainHead() []byte {
	h := v.w.Header()
	if v.framing == sender.Chunked {
		h.Set("Transfer-Encoding", "chunked")
	}
	head := []byte("HTTP/1.1 200 OK\r\nConnection: Close\r\n")
	for name, values := range h {
		for _, value := range values {
			head = fmt.Appendf(head, "%s: %s\r\n", name, value)
		}
	}
	return append(head, "\r\n"...)
}

// watch notices that the viewer has gone, and answers what it says over WebSocket.
// It ends when the connection is closed, which run does.
func (v *viewer) watch() {
	var ws websocket.Reader
	b := make([]byte, 512)
	v.nc.SetReadDeadline(time.Time{})
	said, err := v.early, error(nil)
	for {
		if v.framing == sender.WebSocket && err == nil {
			var answer []byte
			if answer, err = ws.Read(nil, said); len(answer) > 0 {
				v.reply(answer)
			}
		}
		if err != nil {
			v.cancel(errGone)
			v.nc.SetWriteDeadline(time.Unix(1, 0))
			return
		}
		var n int
		n, err = v.nc.Read(b)
		v.session.Count(n, 0)
		said = b[:n]
	}
}

func (v *viewer) reply(answer []byte) {
	v.writing.Lock()
	defer v.writing.Unlock()
	v.nc.SetWriteDeadline(time.Now().Add(writeTime))
	v.conn.Write(answer)
}

// Why a viewer's answer ends.
var (
	errGone  = errors.New("viewer has gone")
	errEnded = errors.New("publication ended")
)

// write sends one batch, as one chunk or message.
func (v *viewer) write(b net.Buffers) error {
	if v.nc == nil {
		return v.writeStream(b)
	}
	n := 0
	for _, p := range b {
		n += len(p)
	}
	switch v.framing {
	case sender.Chunked:
		v.head = append(strconv.AppendInt(v.head[:0], int64(n), 16), "\r\n"...)
		b = append(slices.Insert(b, 0, v.head), crlf)
	case sender.WebSocket:
		v.head = websocket.AppendHead(v.head[:0], websocket.Binary, n)
		b = slices.Insert(b, 0, v.head)
	}
	v.writing.Lock()
	defer v.writing.Unlock()
	v.nc.SetWriteDeadline(time.Now().Add(writeTime))
	if v.session.Context().Err() != nil {
		return context.Cause(v.session.Context()) // the deadline that says so has just been moved
	}
	if _, secure := v.nc.(*tls.Conn); secure {
		// A TLS connection makes a record of each Write: one is enough.
		v.joined = v.joined[:0]
		for _, p := range b {
			v.joined = append(v.joined, p...)
		}
		_, err := v.conn.Write(v.joined)
		return err
	}
	_, err := v.conn.WriteBuffers(&b)
	return err
}

// writeStream sends one batch over HTTP/2.
func (v *viewer) writeStream(b net.Buffers) error {
	c := http.NewResponseController(v.w)
	c.SetWriteDeadline(time.Now().Add(writeTime))
	for _, p := range b {
		n, err := v.w.Write(p)
		v.session.Count(0, n)
		if err != nil {
			return err
		}
	}
	return c.Flush()
}

var crlf = []byte("\r\n")

// finish ends the answer, well if the stream ended, and closes the connection.
func (v *viewer) finish(err error) {
	if v.unblock != nil {
		v.unblock()
	}
	if v.nc == nil {
		return
	}
	if errors.Is(err, errEnded) {
		v.writing.Lock()
		v.nc.SetWriteDeadline(time.Now().Add(time.Second))
		v.nc.Write(v.framing.Close(nil))
		v.writing.Unlock()
	} else if c, secure := v.nc.(*tls.Conn); secure {
		c.NetConn().Close() // a farewell would wait for who does not read
	}
	v.nc.Close()
	v.watching.Wait()
}
