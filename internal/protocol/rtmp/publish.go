package rtmp

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/hub"
	sockets "weir/internal/link"
	link "weir/internal/link/rtmp"
	"weir/internal/media"
	"weir/internal/service"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// capabilities are what we tell clients of Enhanced RTMP: every codec that we carry, any of
// them forwarded, in any number of tracks.
var capabilities = rtmp.Everything

// publish lets the client publish until it ends that.
func (c *conn) publish(ctx context.Context, w rtmp.Wish, ask session.Ask) (err error) {
	pub, err := c.session.Publish(ctx, ask)
	if err != nil {
		return c.refuse(w, err)
	}
	defer func() {
		cause := err
		if errors.Is(err, link.ErrEnded) {
			cause = nil
		}
		c.session.Leave(cause)
	}()
	key := pub.Stream().Key
	c.connected(key, ask.Said.Param)
	if err := c.link.StartPublish(); err != nil {
		return err
	}
	sockets.SetPace(c.nc, c.pace(pub.Stream()))
	defer sockets.SetPace(c.nc, nil)
	in := &ingest{conn: c, pub: pub, key: key}
	sockets.Ride(c.nc, func() {
		err = service.Guard(c.log, func() error { return in.run(ctx) })
	})
	return err
}

const (
	// beat is the pace at which publishers are read where it serves many at once,
	// and its half what it costs of delay. slowBeat is that of a throng: one frame
	// of most streams.
	beat, slowBeat = 20 * time.Millisecond, 40 * time.Millisecond
	// idleBeat is the pace for a stream that nobody watches live.
	idleBeat = 100 * time.Millisecond
	// crowd is the number of publishers from which there is a beat, and throng that
	// from which it is slow.
	crowd, throng = 4, 16
)

// pace returns at which pace a publisher is read: at once where there are few
// and nothing gathers, or where min_latency asks for it; at mr_latency where mr is
// on, as in SRS. A stream that nobody watches live can wait; one that browsers watch
// by WebRTC waits for nobody who gathers.
func (c *conn) pace(st *hub.Stream) func() time.Duration {
	key := st.Key
	return func() time.Duration {
		vhost, _ := c.env.Conf.Load().Vhost(key.Vhost)
		conf := blocks.Publish.Of(vhost)
		switch {
		case blocks.VhostRoot.Of(vhost).MinLatency:
			return 0
		case conf.MR:
			return conf.MRLatency
		}
		n, g := c.env.Desk.Publishers(), c.env.Loops.Gathering()
		switch {
		case !st.Watched():
			return idleBeat
		case st.Hurried() && n < crowd:
			return 0
		case st.Hurried():
			return beat
		case g >= slowBeat && g%slowBeat == 0:
			if g <= idleBeat {
				return g // what is read sooner would only wait for the loops' turn
			}
			return slowBeat
		case n >= throng:
			return slowBeat
		case n >= crowd || g >= beat:
			return beat
		}
		return 0
	}
}

// ingest turns a publisher's messages into frames.
type ingest struct {
	conn   *conn
	pub    *hub.Publication
	key    hub.Key
	flv    flv.Ingest
	clock  media.Unwrapper
	frames []*media.Frame
	tracks []*media.Track
	faults int
	script *media.Track
	// atcAuto is SRS's atc_auto: the publisher may ask for atc in its metadata.
	atcAuto bool
}

// maxFaults is how many messages in a row that make no sense end a publisher.
const maxFaults = 1000

func (in *ingest) run(ctx context.Context) error {
	c := in.conn
	vhost, _ := c.env.Conf.Load().Vhost(in.key.Vhost)
	conf := blocks.Publish.Of(vhost)
	in.flv.TryAnnexB = conf.TryAnnexBFirst
	in.flv.SkipSPS = !conf.ParseSPS
	in.atcAuto = blocks.Play.Of(vhost).ATCAuto
	in.clock = media.Unwrapper{Bits: 32, Rate: 1000}
	wait := conf.FirstPktTimeout
	idle := idler{stream: in.pub.Stream(), limit: conf.KickoffForIdle}
	for {
		m, err := c.link.ReadMedia(wait)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("%w: publisher sent nothing for %v", session.ErrTimeout, wait)
		}
		if err != nil {
			return err
		}
		wait = conf.NormalTimeout
		if err := in.take(m); err != nil {
			return err
		}
		if idle.over(time.Now()) {
			return fmt.Errorf("%w: for %v", session.ErrIdle, conf.KickoffForIdle)
		}
	}
}

func (in *ingest) take(m rtmp.Message) error {
	ts := in.clock.Unwrap(uint64(m.Timestamp))
	switch m.Type {
	case rtmp.TypeAudio:
		return in.media(media.Audio, ts, m.Payload)
	case rtmp.TypeVideo:
		return in.media(media.Video, ts, m.Payload)
	case rtmp.TypeDataAMF0, rtmp.TypeDataAMF3:
		in.data(ts, m.Data())
	}
	return nil
}

func (in *ingest) media(kind media.Kind, ts time.Duration, body []byte) error {
	frames, err := in.flv.Frames(in.frames[:0], kind, ts, body)
	if err != nil {
		if in.faults++; in.faults == 1 {
			in.conn.log.Warn("message of the publisher makes no sense, it is left out", "kind", kind.String(), "err", err)
		}
		if in.faults >= maxFaults {
			return fmt.Errorf("%d messages in a row make no sense: %w", in.faults, err)
		}
	}
	if len(frames) == 0 {
		in.announce()
	}
	for _, f := range frames {
		in.faults = 0
		in.pub.Write(f)
	}
	clear(frames)
	in.frames = frames[:0]
	return nil
}

// announce tells the stream of tracks whose sequence headers have come, and
// writes a line for each.
func (in *ingest) announce() {
	n := len(in.tracks)
	now := in.flv.Tracks(nil)
	for i, t := range now {
		if i < n && in.tracks[i] == t {
			continue
		}
		in.pub.Announce(t)
		if t.Kind == media.Video {
			in.conn.log.Info("video sh", "codec", t.Codec.String(), "profile", t.Profile, "level", t.Level, "size", fmt.Sprintf("%dx%d", t.Width, t.Height))
		} else {
			in.conn.log.Info("audio sh", "codec", t.Codec.String(), "profile", t.Profile, "channels", t.Channels, "rate", t.SampleRate)
		}
	}
	in.tracks = now
}

// data takes script data: metadata becomes the stream's, everything else is
// passed on in its order.
func (in *ingest) data(ts time.Duration, body []byte) {
	if meta, ok := flv.Meta(body, in.conn.env.Server, in.conn.env.Level); ok {
		in.pub.SetMeta(meta, in.atcAuto && wantsATC(meta))
		in.flv.Names(meta)
		in.conn.log.Info("got metadata", "bytes", len(meta))
		return
	}
	if name, _, err := flv.ParseScript(body); err != nil || name == "" {
		return
	}
	if in.script == nil {
		in.script = &media.Track{Kind: media.Data, Codec: media.AMF0}
	}
	in.pub.Write(&media.Frame{Track: in.script, Source: ts, Payload: flv.Unwrap(body)})
}

// wantsATC reports whether metadata says bravo_atc: "true".
func wantsATC(meta []byte) bool {
	v, _, err := amf.Decode(meta)
	if err != nil {
		return false
	}
	o, _ := amf.Properties(v)
	s := o.Get("bravo_atc")
	return s == "true" || s == true
}

// idler notices that nobody has watched a stream for long.
type idler struct {
	stream *hub.Stream
	limit  time.Duration
	since  time.Time
	asked  time.Time
}

func (i *idler) over(now time.Time) bool {
	if i.limit <= 0 || now.Sub(i.asked) < time.Second {
		return false
	}
	i.asked = now
	if i.since.IsZero() || i.stream.Viewers() > 0 {
		i.since = now
	}
	return now.Sub(i.since) >= i.limit
}
