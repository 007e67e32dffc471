package api

import (
	"fmt"
	"math"
	"time"

	"weir/internal/format/amf"
	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// clientDetail is what is told of one client beyond SRS's row.
type clientDetail struct {
	Protocol string    `json:"protocol"`
	TLS      bool      `json:"tls"`
	Remote   string    `json:"remote"` // of the connection, perhaps a proxy's
	Local    string    `json:"local"`
	Began    string    `json:"began"` // RFC 3339
	Dropped  int64     `json:"dropped_frames"`
	Video    *video    `json:"video"`
	Audio    *audio    `json:"audio"`
	TCP      *host.TCP `json:"tcp"`
	More     any       `json:"more,omitempty"` // what only the protocol knows
}

func detailOf(s *session.Session, stream *hub.Stream) clientDetail {
	d := clientDetail{Protocol: s.Protocol, TLS: s.TLS, Remote: s.Remote.String(), Began: stamp(s.Began), Dropped: s.Dropped()}
	if s.Local.IsValid() {
		d.Local = s.Local.String()
	}
	d.Video, d.Audio = codecs(stream.Layout())
	if t, ok := host.Connection(s.Local, s.Remote); ok {
		d.TCP = &t
	}
	if s.Detail != nil {
		d.More = s.Detail()
	}
	return d
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// track is one elementary stream.
type track struct {
	ID         uint8  `json:"id"`
	Kind       string `json:"kind"` // "video", "audio", "data"
	Codec      string `json:"codec"`
	Profile    string `json:"profile"`
	Level      string `json:"level"`
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	SampleRate int    `json:"sample_rate"`
	Channel    int    `json:"channel"`
}

// warning is something that is wrong with a stream.
type warning struct {
	Code string `json:"code"` // "no-frames", "no-key-frame", "drift", "jumps", "slow-viewers"
	Text string `json:"text"`
}

// streamDetail is what is told of one stream beyond SRS's row.
type streamDetail struct {
	Encoder   string         `json:"encoder"` // what the publisher's metadata says it is
	Tracks    []track        `json:"tracks"`
	VideoFPS  host.Fixed2    `json:"video_fps"`
	AudioFPS  host.Fixed2    `json:"audio_fps"`
	MediaKbps int            `json:"media_kbps"`
	GOPMS     int64          `json:"gop_ms"`        // distance of the last two key frames
	KeyMS     int64          `json:"last_key_ms"`   // since the last key frame, -1 for none
	FrameMS   int64          `json:"last_frame_ms"` // since the last frame, -1 for none
	DriftMS   int64          `json:"drift_ms"`      // by how much the picture is ahead of the sound
	Jumps     int            `json:"time_jumps"`
	Dropped   uint64         `json:"dropped_frames"` // that slow viewers lost, all together
	Viewers   map[string]int `json:"viewers"`        // by protocol
	Health    []warning      `json:"health"`
}

func (a *API) streamDetail(key hub.Key, s *hub.Stream) streamDetail {
	c := s.Counters()
	rates, _ := a.env.Desk.Rates(s.ID)
	d := streamDetail{Tracks: []track{}, VideoFPS: host.Fixed2(rates.Video), AudioFPS: host.Fixed2(rates.Audio), MediaKbps: int(rates.Bytes * 8 / 1000),
		GOPMS: c.GOP.Milliseconds(), KeyMS: since(c.LastKey), FrameMS: since(c.LastFrame), Jumps: c.Jumps, Dropped: c.Dropped, Viewers: map[string]int{}, Health: []warning{}}
	layout := s.Layout()
	if layout != nil {
		d.Encoder = encoder(layout.Meta)
		for _, t := range layout.Tracks {
			d.Tracks = append(d.Tracks, track{t.ID, t.Kind.String(), t.Codec.String(), t.Profile, t.Level, t.Width, t.Height, t.SampleRate, t.Channels})
		}
	}
	picture, sound := layout.Main(media.Video) != nil, layout.Main(media.Audio) != nil
	if picture && sound {
		d.DriftMS = (c.LastVideo - c.LastAudio).Milliseconds()
	}
	for x := range a.env.Desk.Sessions() {
		if act, ask, _ := x.Doing(); act == session.Play && ask.Key == key {
			d.Viewers[x.Protocol]++
		}
	}
	if s.Live() {
		d.Health = health(d, picture)
	}
	return d
}

// encoder is what the metadata of a stream says of who made it.
func encoder(meta []byte) string {
	values, _ := amf.DecodeAll(meta)
	for _, v := range values {
		if o, ok := amf.Properties(v); ok {
			return o.Text("encoder")
		}
	}
	return ""
}

// since is how long ago something was, in milliseconds; -1 if it never was.
func since(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return time.Since(t).Milliseconds()
}

const (
	silentMS  = 3000  // without a frame
	keylessMS = 12000 // without a key frame, unless groups are longer than a third of that
	driftMS   = 1000
)

// health tells what is wrong with a live stream.
func health(d streamDetail, picture bool) []warning {
	all := []warning{}
	add := func(code, format string, args ...any) { all = append(all, warning{code, fmt.Sprintf(format, args...)}) }
	if d.FrameMS > silentMS {
		add("no-frames", "nothing has come for %.1f s", float64(d.FrameMS)/1000)
	}
	switch limit := max(keylessMS, 3*d.GOPMS); {
	case picture && d.KeyMS < 0:
		add("no-key-frame", "no key frame has come: viewers cannot begin")
	case picture && d.KeyMS > limit:
		add("no-key-frame", "no key frame has come for %.1f s: viewers cannot begin", float64(d.KeyMS)/1000)
	}
	if math.Abs(float64(d.DriftMS)) > driftMS {
		add("drift", "sound and picture are %d ms apart", d.DriftMS)
	}
	if d.Jumps > 0 {
		add("jumps", "the publisher's time has jumped %d times, which was repaired", d.Jumps)
	}
	if d.Dropped > 0 {
		add("slow-viewers", "slow viewers have lost %d frames", d.Dropped)
	}
	return all
}

// pastClient is an act that is over.
type pastClient struct {
	ID       string `json:"id"`
	Vhost    string `json:"vhost"`
	Stream   string `json:"stream"`
	URL      string `json:"url"`
	Protocol string `json:"protocol"`
	Type     string `json:"type"`
	IP       string `json:"ip"`
	Publish  bool   `json:"publish"`
	Began    string `json:"began"`
	Ended    string `json:"ended"`
	MS       int64  `json:"ms"`
	Send     int64  `json:"send_bytes"`
	Recv     int64  `json:"recv_bytes"`
	Dropped  int64  `json:"dropped_frames"`
	Code     int    `json:"code"` // SRS's number of the reason, 0 for a usual end
	Why      string `json:"why"`
}

// pastStream is a publication that is over.
type pastStream struct {
	ID          string `json:"id"`
	Name        string `json:"name"`
	Vhost       string `json:"vhost"`
	App         string `json:"app"`
	URL         string `json:"url"`
	CID         string `json:"cid"`
	IP          string `json:"ip"`
	Began       string `json:"began"`
	Ended       string `json:"ended"`
	MS          int64  `json:"ms"`
	Frames      uint64 `json:"frames"`
	VideoFrames uint64 `json:"video_frames"`
	AudioFrames uint64 `json:"audio_frames"`
	Keys        uint64 `json:"key_frames"`
	Recv        int64  `json:"recv_bytes"`
	Kbps        int64  `json:"media_kbps"`
	Jumps       int    `json:"time_jumps"`
	Dropped     uint64 `json:"dropped_frames"`
	Video       *video `json:"video"`
	Audio       *audio `json:"audio"`
	Code        int    `json:"code"`
	Why         string `json:"why"`
}

func why(err error) string {
	if err == nil {
		return "ended by the client"
	}
	return session.Mask(err.Error())
}

func (a *API) pastClients() []pastClient {
	rows := []pastClient{}
	for _, p := range a.env.Desk.History() {
		rows = append(rows, pastClient{ID: p.Client, Vhost: a.vhostID(p.Key.Vhost), Stream: p.StreamID, URL: p.Key.URL(), Protocol: p.Protocol, Type: p.Type, IP: p.IP,
			Publish: p.Act == session.Publish, Began: stamp(p.Began), Ended: stamp(p.Ended), MS: p.Ended.Sub(p.Began).Milliseconds(),
			Send: p.Out, Recv: p.In, Dropped: p.Dropped, Code: session.Code(p.Err), Why: why(p.Err)})
	}
	return rows
}

func (a *API) pastStreams() []pastStream {
	rows := []pastStream{}
	for _, p := range a.env.Desk.History() {
		if p.Act != session.Publish {
			continue
		}
		c, ms := p.Counters, p.Ended.Sub(p.Began).Milliseconds()
		row := pastStream{ID: p.StreamID, Name: p.Key.Stream, Vhost: a.vhostID(p.Key.Vhost), App: p.Key.App, URL: p.Key.URL(), CID: p.Client, IP: p.IP,
			Began: stamp(p.Began), Ended: stamp(p.Ended), MS: ms, Frames: c.Frames, VideoFrames: c.VideoFrames, AudioFrames: c.AudioFrames, Keys: c.Keys,
			Recv: p.In, Kbps: int64(c.Bytes) * 8 / max(1, ms), Jumps: c.Jumps, Dropped: c.Dropped, Code: session.Code(p.Err), Why: why(p.Err)}
		row.Video, row.Audio = codecs(p.Layout)
		rows = append(rows, row)
	}
	return rows
}
