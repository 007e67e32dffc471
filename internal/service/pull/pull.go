// Package pull has streams from elsewhere, another server or a file, and publishes them
// here: for edges, and for ingests that need no program.
//
// The idea: a way to have a stream ([RTMP], [HTTP], [File]) reads until it ends, and
// gives what it gets to an [Intake], which publishes it at the front desk from the first
// frame on. When to begin, and what to do when it ended, is the caller's.
package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
)

const (
	// DialTime is how long a server may take to let us play.
	DialTime = 5 * time.Second
	// Silence is how long it may send nothing before it is taken for lost.
	Silence = 5 * time.Second
	// Redirects is how often a server may send us elsewhere.
	Redirects = 3
	// maxFaults is how many messages in a row that make no sense end a connection.
	maxFaults = 1000
)

// Options say how a server is spoken to.
type Options struct {
	// TLS judges the certificate of a host; nil for Go's defaults.
	TLS func(host string) *tls.Config
	// Allow, if set, is asked before each connection, also where a server sends us.
	Allow func(url string) error
}

func (o *Options) allow(url string) error {
	if o.Allow == nil {
		return nil
	}
	return o.Allow(url)
}

func (o *Options) tls(host string) *tls.Config {
	if o.TLS == nil {
		return nil
	}
	return o.TLS(host)
}

// An Intake publishes what comes from elsewhere, from the first frame on. One goroutine
// uses it.
type Intake struct {
	// Immutable.
	env     service.Env
	session *session.Session
	ask     session.Ask

	pub    *hub.Publication
	flv    flv.Ingest
	clock  media.Unwrapper
	tracks []*media.Track // of frames
	meta   []byte
	script *media.Track
	faults int
	spans  spans
}

// NewIntake returns an intake that publishes what ask names. The session is the
// caller's to close.
func NewIntake(env service.Env, s *session.Session, ask session.Ask) *Intake {
	return &Intake{env: env, session: s, ask: ask, clock: media.Unwrapper{Bits: 32, Rate: 1000}}
}

// Began reports whether a frame has come.
func (in *Intake) Began() bool { return in.pub != nil }

// dial connects; what is sent and received counts for the session.
func (in *Intake) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	nc, err := new(net.Dialer).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	return in.session.Conn(nc), nil
}

// Tag takes the body of a tag of FLV, or of a message of RTMP, at a time in
// milliseconds that may wrap. The error says why nothing more is taken.
func (in *Intake) Tag(typ uint8, timestamp uint32, body []byte) error {
	return in.tag(typ, in.clock.Unwrap(uint64(timestamp)), body)
}

func (in *Intake) tag(typ uint8, ts time.Duration, body []byte) error {
	if typ == flv.TypeScript {
		in.data(ts, body)
		return nil
	}
	kind, ok := flv.KindOf(typ)
	if !ok {
		return nil
	}
	frames, err := in.flv.Frames(nil, kind, ts, body)
	if err != nil {
		if in.faults++; in.faults >= maxFaults {
			return fmt.Errorf("%d messages in a row make no sense: %w", in.faults, err)
		}
	}
	if len(frames) == 0 {
		return nil
	}
	in.faults = 0
	return in.write(frames)
}

// data takes a message of script data.
func (in *Intake) data(ts time.Duration, body []byte) {
	if meta, ok := flv.Meta(body, in.env.Server, in.env.Level); ok {
		in.meta = meta
		in.flv.Names(meta)
		if in.pub != nil {
			in.pub.SetMeta(meta, false)
		}
		return
	}
	if name, _, err := flv.ParseScript(body); err != nil || name == "" || name[0] == '|' || in.pub == nil {
		return
	}
	if in.script == nil {
		in.script = &media.Track{Kind: media.Data, Codec: media.AMF0}
	}
	in.pub.Write(&media.Frame{Track: in.script, Source: ts, Payload: flv.Unwrap(body)})
}

// Frames takes frames of another form; they belong to the stream from then on.
func (in *Intake) Frames(frames []*media.Frame) error {
	if len(frames) == 0 {
		return nil
	}
	for _, f := range frames {
		f.Track = in.known(f.Track)
	}
	return in.write(frames)
}

// known returns the track that has been told of before, if it says the same: a file
// that begins again is no other stream.
func (in *Intake) known(t *media.Track) *media.Track {
	for i, k := range in.tracks {
		switch {
		case k == t:
			return t
		case k.Kind == t.Kind && k.ID == t.ID:
			if !k.Same(t) {
				in.tracks[i] = t
			}
			return in.tracks[i]
		}
	}
	in.tracks = append(in.tracks, t)
	return t
}

func (in *Intake) write(frames []*media.Frame) error {
	if in.pub == nil {
		if err := in.publish(); err != nil {
			return err
		}
	}
	for _, f := range frames {
		in.spans.add(f)
		in.pub.Write(f)
	}
	return context.Cause(in.session.Context())
}

func (in *Intake) publish() error {
	pub, err := in.session.Publish(in.session.Context(), in.ask)
	if err != nil {
		return err
	}
	in.pub = pub
	for _, t := range append(in.flv.Tracks(nil), in.tracks...) {
		pub.Announce(t)
	}
	if in.meta != nil {
		pub.SetMeta(in.meta, false)
	}
	return nil
}

// because returns why a context ended, or the error.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// errRedirects ends a chain of servers that send us elsewhere.
var errRedirects = errors.New("too many redirects")
