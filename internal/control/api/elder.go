package api

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// After an upgrade the old process goes on with clients of its own. The API of the new
// one lists and ends those too: it asks the old one, whose answers are below, and are of
// those that were before it as well.

// elderReply is a clientReply of the old process.
type elderReply struct {
	reply
	Client json.RawMessage `json:"client"`
}

// endedThere is what the old process says of the end of a stream.
type endedThere struct {
	Found bool
	Ended int
}

// answerHeir answers the process that takes our place.
func (a *API) answerHeir() {
	h := a.env.Handover
	say := func(path string, f func(q url.Values) any) {
		h.Answer(path, func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(f(r.URL.Query())) })
	}
	say("/clients", func(url.Values) any { return append(a.ownClients(), a.elderClients()...) })
	say("/client", func(q url.Values) any {
		s := a.env.Desk.Session(q.Get("id"))
		if s == nil {
			if c := a.elderClient(q.Get("id")); c != nil {
				return c
			}
			return nil
		}
		row, ok := a.client(s)
		_, _, stream := s.Doing()
		if !ok || stream == nil {
			return nil
		}
		return fullClient{row, detailOf(s, stream)}
	})
	say("/streams", func(url.Values) any { return a.streams() })
	say("/vhosts", func(url.Values) any {
		all := map[string]*vhostRow{}
		for name, t := range a.env.Desk.Traffic() {
			all[name] = &vhostRow{Name: name, Send: t.Out, Recv: t.In, Kbps: kbps{t.KbpsIn, t.KbpsOut}}
		}
		for name, e := range a.elderVhosts() {
			if own := all[name]; own != nil {
				e.Send, e.Recv, e.Kbps = e.Send+own.Send, e.Recv+own.Recv, e.Kbps.plus(own.Kbps)
			}
			all[name] = e
		}
		return all
	})
	say("/kick", func(q url.Values) any { return a.kickOwn(q.Get("id")) || a.kickElder(q.Get("id")) })
	say("/end", func(q url.Values) any {
		found, n := a.end(q.Get("id"), q.Get("who"))
		return endedThere{found, n}
	})
}

// ask asks the old process, if there is one, and returns false if there is no answer.
func (a *API) ask(path string, to any, query ...string) bool {
	h := a.env.Handover
	if !h.HasElder() {
		return false
	}
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		q.Set(query[i], query[i+1])
	}
	if err := h.AskElder(path, q, to); err != nil {
		a.env.Log.Warn("the old process of the upgrade does not answer, its clients are not listed", "err", err)
		return false
	}
	return true
}

// elderClients lists those who are at the old process.
func (a *API) elderClients() (rows []clientRow) {
	a.ask("/clients", &rows)
	return rows
}

// elderClient returns one of them, nil if it is not there.
func (a *API) elderClient(id string) (c json.RawMessage) {
	if !a.ask("/client", &c, "id", id) || string(c) == "null" {
		return nil
	}
	return c
}

// elderVhosts returns the traffic of the old process, by vhost.
func (a *API) elderVhosts() (all map[string]*vhostRow) {
	a.ask("/vhosts", &all)
	return all
}

// kickElder ends a session of the old process.
func (a *API) kickElder(id string) (done bool) { return a.ask("/kick", &done, "id", id) && done }

// end ends those who publish or play a stream, here or at the old process.
func (a *API) end(id, who string) (found bool, n int) {
	found, n = a.endOwn(id, who)
	if elder, more := a.endElder(id, who); elder {
		found, n = true, n+more
	}
	return found, n
}

// endElder ends those at the old process who publish or play a stream.
func (a *API) endElder(id, who string) (found bool, n int) {
	var e endedThere
	a.ask("/end", &e, "id", id, "who", who)
	return e.Found, e.Ended
}

// streams lists the streams that somebody publishes or plays, here or at the old process,
// by id, which is the same at both.
func (a *API) streams() []streamRow {
	all := map[string]streamRow{}
	for _, row := range a.ownStreams() {
		all[row.ID] = row
	}
	var elder []streamRow
	a.ask("/streams", &elder)
	for _, e := range elder {
		if own, ok := all[e.ID]; ok {
			e = e.with(own)
		}
		all[e.ID] = e
	}
	rows := slices.AppendSeq([]streamRow{}, maps.Values(all))
	slices.SortFunc(rows, func(x, y streamRow) int { return strings.Compare(x.ID, y.ID) })
	return rows
}

// with adds what our process has of the same stream.
func (r streamRow) with(own streamRow) streamRow {
	r.Clients += own.Clients
	r.Send, r.Recv, r.Kbps = r.Send+own.Send, r.Recv+own.Recv, r.Kbps.plus(own.Kbps)
	r.Frames = max(r.Frames, own.Frames)
	if own.Publish.Active {
		r.Publish, r.Video, r.Audio = own.Publish, own.Video, own.Audio
	}
	if r.TcURL == "" {
		r.TcURL = own.TcURL
	}
	return r
}

func (k kbps) plus(o kbps) kbps { return kbps{k.Recv + o.Recv, k.Send + o.Send} }

// VhostIDs returns the ids that stand for vhosts, by name.
func (a *API) VhostIDs() map[string]string {
	for _, v := range a.set.Vhosts() {
		a.vhostID(v.Name) // which makes one if need be
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return maps.Clone(a.vhosts)
}

// KeepVhostIDs has vhosts keep the ids that they have had in another process.
func (a *API) KeepVhostIDs(ids map[string]string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	maps.Copy(a.vhosts, ids)
}
