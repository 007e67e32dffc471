package api

import (
	"cmp"
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
	"time"

	"weir/internal/host"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

type kbps struct {
	Recv int `json:"recv_30s"`
	Send int `json:"send_30s"`
}

// The answers with lists, and with one of a list.
type (
	vhostList struct {
		reply
		Vhosts []vhostRow `json:"vhosts"`
		Total  int        `json:"total"`
	}
	vhostReply struct {
		reply
		Vhost vhostRow `json:"vhost"`
	}
	streamList struct {
		reply
		Streams []streamRow `json:"streams"`
		Total   int         `json:"total"`
	}
	streamReply struct {
		reply
		Stream fullStream `json:"stream"`
	}
	fullStream struct {
		streamRow
		Detail streamDetail `json:"detail"`
	}
	clientList struct {
		reply
		Clients []clientRow `json:"clients"`
		Total   int         `json:"total"`
	}
	clientReply struct {
		reply
		Client fullClient `json:"client"`
	}
	fullClient struct {
		clientRow
		Detail clientDetail `json:"detail"`
	}
	pastClientList struct {
		reply
		Clients []pastClient `json:"clients"`
		Total   int          `json:"total"`
	}
	pastStreamList struct {
		reply
		Streams []pastStream `json:"streams"`
		Total   int          `json:"total"`
	}
)

// list answers with a page of rows.
func list[T any](a *API, w http.ResponseWriter, r *http.Request, rows []T, answer func([]T, int) any) {
	page, total, err := selectRows(a, r, rows)
	if err != nil {
		a.refuse(w, r, http.StatusBadRequest, refusal{http.StatusBadRequest, err.Error()})
		return
	}
	a.send(w, r, answer(page, total))
}

type vhostRow struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Enabled bool   `json:"enabled"`
	Clients int    `json:"clients"`
	Streams int    `json:"streams"`
	Send    int64  `json:"send_bytes"`
	Recv    int64  `json:"recv_bytes"`
	Kbps    kbps   `json:"kbps"`
	HLS     any    `json:"hls"`
}

type hlsOff struct {
	Enabled bool `json:"enabled"`
}

type hlsOn struct {
	Enabled  bool        `json:"enabled"`
	Fragment host.Fixed2 `json:"fragment"`
}

func (a *API) listVhosts(w http.ResponseWriter, r *http.Request, id string) {
	traffic := a.env.Desk.Traffic()
	clients, streams := map[string]int{}, map[string]int{}
	for _, s := range a.streams() {
		clients[s.Vhost] += s.Clients
		streams[s.Vhost]++
	}
	elder := a.elderVhosts()
	rows := []vhostRow{}
	for _, v := range a.set.Vhosts() {
		t := traffic[v.Name]
		id := a.vhostID(v.Name)
		row := vhostRow{ID: id, Name: v.Name, Enabled: true, Clients: clients[id], Streams: streams[id],
			Send: t.Out, Recv: t.In, Kbps: kbps{t.KbpsIn, t.KbpsOut}, HLS: hlsOff{}}
		if e := elder[v.Name]; e != nil {
			row.Send, row.Recv, row.Kbps = row.Send+e.Send, row.Recv+e.Recv, row.Kbps.plus(e.Kbps)
		}
		if v.HLS {
			row.HLS = hlsOn{true, host.Fixed2(v.HLSFragment.Seconds())}
		}
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(x, y vhostRow) int { return strings.Compare(x.ID, y.ID) })
	if id == "" {
		list(a, w, r, rows, func(rows []vhostRow, total int) any { return vhostList{a.ok(), rows, total} })
		return
	}
	i := slices.IndexFunc(rows, func(v vhostRow) bool { return v.ID == id })
	if i < 0 {
		a.send(w, r, onlyCode{codeNoVhost})
		return
	}
	a.send(w, r, vhostReply{a.ok(), rows[i]})
}

type streamRow struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Vhost   string    `json:"vhost"`
	App     string    `json:"app"`
	TcURL   string    `json:"tcUrl"`
	URL     string    `json:"url"`
	LiveMS  int64     `json:"live_ms"`
	Clients int       `json:"clients"`
	Frames  uint64    `json:"frames"`
	Send    int64     `json:"send_bytes"`
	Recv    int64     `json:"recv_bytes"`
	Kbps    kbps      `json:"kbps"`
	Publish publisher `json:"publish"`
	Video   *video    `json:"video"`
	Audio   *audio    `json:"audio"`
}

type publisher struct {
	Active bool   `json:"active"`
	CID    string `json:"cid"`
}

type video struct {
	Codec   string `json:"codec"`
	Profile string `json:"profile"`
	Level   string `json:"level"`
	Width   int    `json:"width"`
	Height  int    `json:"height"`
}

type audio struct {
	Codec      string `json:"codec"`
	SampleRate int    `json:"sample_rate"`
	Channel    int    `json:"channel"`
	Profile    string `json:"profile"`
}

// ownStreams lists the streams that somebody here publishes or plays.
func (a *API) ownStreams() []streamRow {
	traffic := a.env.Desk.Traffic()
	watchers := a.env.Desk.Watchers()
	tcURLs := map[hub.Key]string{}
	for s := range a.env.Desk.Sessions() {
		if act, ask, _ := s.Doing(); act == session.Publish || act == session.Play && tcURLs[ask.Key] == "" {
			tcURLs[ask.Key] = s.TcURL
		}
	}
	now := time.Now().UnixMilli()
	rows := []streamRow{}
	for key, s := range a.env.Hub.All() {
		if watchers[key] == 0 {
			continue
		}
		t, c := traffic[s.ID], s.Counters()
		row := streamRow{ID: s.ID, Name: key.Stream, Vhost: a.vhostID(key.Vhost), App: key.App, TcURL: session.Mask(tcURLs[key]), URL: key.URL(), LiveMS: now,
			Clients: watchers[key], Frames: c.VideoFrames, Send: t.Out, Recv: t.In, Kbps: kbps{t.KbpsIn, t.KbpsOut}}
		if p := a.env.Desk.Publisher(key); p != nil {
			row.Publish = publisher{true, p.ID}
			row.Video, row.Audio = codecs(s.Layout())
		}
		rows = append(rows, row)
	}
	return rows
}

func (a *API) listStreams(w http.ResponseWriter, r *http.Request, id string) {
	rows := a.streams()
	if id == "" {
		list(a, w, r, rows, func(rows []streamRow, total int) any { return streamList{a.ok(), rows, total} })
		return
	}
	i := slices.IndexFunc(rows, func(s streamRow) bool { return s.ID == id })
	if i < 0 {
		a.send(w, r, onlyCode{codeNoStream})
		return
	}
	full := fullStream{streamRow: rows[i]}
	for key, s := range a.env.Hub.All() {
		if s.ID == id {
			full.Detail = a.streamDetail(key, s)
		}
	}
	a.send(w, r, streamReply{a.ok(), full})
}

func codecs(l *media.Layout) (v *video, s *audio) {
	if t := l.Main(media.Video); t != nil {
		v = &video{t.Codec.String(), t.Profile, t.Level, t.Width, t.Height}
	}
	if t := l.Main(media.Audio); t != nil {
		s = &audio{t.Codec.String(), t.SampleRate, t.Channels, t.Profile}
	}
	return v, s
}

type clientRow struct {
	ID      string      `json:"id"`
	Vhost   string      `json:"vhost"`
	Stream  string      `json:"stream"`
	IP      string      `json:"ip"`
	PageURL string      `json:"pageUrl"`
	SwfURL  string      `json:"swfUrl"`
	TcURL   string      `json:"tcUrl"`
	URL     string      `json:"url"`
	Name    string      `json:"name"`
	Type    string      `json:"type"`
	Publish bool        `json:"publish"`
	Alive   host.Fixed2 `json:"alive"`
	Send    int64       `json:"send_bytes"`
	Recv    int64       `json:"recv_bytes"`
	Kbps    kbps        `json:"kbps"`
}

// ownClients lists those who publish or play here.
func (a *API) ownClients() []clientRow {
	rows := []clientRow{}
	for s := range a.env.Desk.Sessions() {
		if row, ok := a.client(s); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

func (a *API) listClients(w http.ResponseWriter, r *http.Request, id string) {
	if id != "" {
		if s := a.env.Desk.Session(id); s != nil {
			if row, ok := a.client(s); ok {
				_, _, stream := s.Doing()
				if stream != nil {
					a.send(w, r, clientReply{a.ok(), fullClient{row, detailOf(s, stream)}})
					return
				}
			}
		}
		if c := a.elderClient(id); c != nil {
			a.send(w, r, elderReply{a.ok(), c})
			return
		}
		a.send(w, r, onlyCode{codeNoClient})
		return
	}
	rows := append(a.ownClients(), a.elderClients()...)
	list(a, w, r, rows, func(rows []clientRow, total int) any { return clientList{a.ok(), rows, total} })
}

// client returns a session's row, false if it neither publishes nor plays.
func (a *API) client(s *session.Session) (clientRow, bool) {
	act, ask, stream := s.Doing()
	if act == 0 {
		return clientRow{}, false
	}
	in, out := s.Bytes()
	kin, kout := s.Kbps()
	return clientRow{ID: s.ID, Vhost: a.vhostID(ask.Key.Vhost), Stream: stream.ID, IP: s.IP, PageURL: session.Mask(s.PageURL), SwfURL: session.Mask(s.SwfURL),
		TcURL: session.Mask(s.TcURL), URL: ask.Key.URL(), Name: session.Mask(cmp.Or(ask.Name, ask.Said.Stream)), Type: ask.Type, Publish: act == session.Publish,
		Alive: host.Fixed2(time.Since(s.Began).Seconds()), Send: out, Recv: in, Kbps: kbps{kin, kout}}, true
}

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
