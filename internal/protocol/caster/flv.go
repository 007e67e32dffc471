package caster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/flv"
	"weir/internal/link"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

// bodyTime is how long a publisher may send nothing.
const bodyTime = 15 * time.Second

// flvCaster takes FLV as the body of requests.
type flvCaster struct {
	server   *server
	conf     blocks.StreamCasterConfig
	log      *slog.Logger
	entrance *link.Entrance
	part     string
}

func (f *flvCaster) run(ctx context.Context) {
	srv := &http.Server{Handler: f, ReadHeaderTimeout: bodyTime, IdleTimeout: bodyTime, MaxHeaderBytes: 64 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx }, ErrorLog: slog.NewLogLogger(f.log.Handler(), slog.LevelDebug)}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	srv.Serve(service.Proxied(f.entrance, f.server.env.Conf))
}

// ServeHTTP publishes what comes as POST or PUT of /APP[/SUB]/STREAM.flv.
func (f *flvCaster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", f.server.env.Server)
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		w.Header().Set("Allow", "POST, PUT")
		http.Error(w, "send FLV with POST or PUT", http.StatusMethodNotAllowed)
		return
	}
	app, stream := path.Split(strings.TrimPrefix(path.Clean(r.URL.Path), "/"))
	app, stream = strings.TrimSuffix(app, "/"), strings.TrimSuffix(stream, ".flv")
	if app == "" || stream == "" {
		http.Error(w, "the path names no stream; send to /APP/STREAM.flv", http.StatusBadRequest)
		return
	}
	url := strings.NewReplacer("[app]", app, "[stream]", stream).Replace(f.conf.Output)
	if r.URL.RawQuery != "" && !strings.Contains(url, "?") {
		url += "?" + r.URL.RawQuery
	}
	err := service.Guard(f.log, func() error { return f.publish(w, r, url) })
	f.log.Info("stream ended", "from", r.RemoteAddr, "output", url, "err", err)
	status := http.StatusOK
	switch {
	case err == nil:
	case errors.Is(err, flv.ErrSyntax):
		status = http.StatusBadRequest
	case session.Code(err) == 1028:
		status = http.StatusConflict
	case errors.Is(err, service.ErrFault):
		status = http.StatusInternalServerError
	default:
		status = http.StatusForbidden
	}
	if err != nil {
		http.Error(w, err.Error(), status)
	}
}

func (f *flvCaster) publish(w http.ResponseWriter, r *http.Request, url string) (err error) {
	src := source{protocol: "flv", kind: "flv-publish"}
	if ap, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		src.remote = netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	out, err := f.server.open(r.Context(), url, src)
	if err != nil {
		return err
	}
	defer func() { out.close(err) }()
	body := http.NewResponseController(w)
	// A kick interrupts the reading.
	defer context.AfterFunc(out.ended(), func() { body.SetReadDeadline(time.Unix(1, 0)) })()
	in := flv.NewReader(r.Body)
	var ingest flv.Ingest
	var frames []*media.Frame
	clock := media.Unwrapper{Bits: 32, Rate: 1000}
	f.log.Info("stream begins", "from", r.RemoteAddr, "output", url)
	for faults := 0; ; {
		body.SetReadDeadline(time.Now().Add(bodyTime))
		if out.ended().Err() != nil {
			return context.Cause(out.ended())
		}
		tag, err := in.ReadTag()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		out.count(tagOverhead + len(tag.Body))
		at := clock.Unwrap(uint64(tag.Timestamp))
		kind, ok := flv.KindOf(tag.Type)
		if !ok {
			f.meta(out, tag.Body)
			continue
		}
		frames, err = ingest.Frames(frames[:0], kind, at, tag.Body)
		if err != nil {
			if faults++; faults > maxFaults {
				return fmt.Errorf("%w: %d tags in a row make no sense", flv.ErrSyntax, faults)
			}
		} else {
			faults = 0
		}
		for _, fr := range frames {
			if err := out.write(fr); err != nil {
				return err
			}
		}
		clear(frames)
	}
}

// tagOverhead is what a tag has besides its body, in bytes.
const tagOverhead = 11 + 4

// maxFaults is how many tags in a row that make no sense end a publisher.
const maxFaults = 1000

// meta takes the metadata, where they can go on.
func (f *flvCaster) meta(out output, body []byte) {
	d, ok := out.(*direct)
	if !ok {
		return
	}
	if m, ok := flv.Meta(body, f.server.env.Server, f.server.env.Level); ok {
		d.pub.SetMeta(m, false)
	}
}
