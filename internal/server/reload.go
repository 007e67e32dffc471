package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/control/api"
	"weir/internal/hub"
	"weir/internal/link"
	"weir/internal/service"
	"weir/internal/session"
)

// A Plan is what a new configuration changes.
type Plan struct {
	// Changes lists directives and vhosts, without their values, which may be
	// secret.
	Changes []Change `json:"changes"`
	// Opens and Closes are doors.
	Opens  []service.Listen `json:"opens,omitempty"`
	Closes []service.Listen `json:"closes,omitempty"`
	// Ends are sessions whose vhost goes.
	Ends int `json:"ends"`
	// Restart lists the directives that have changed since the server started and
	// take effect when it starts again.
	Restart []string `json:"restart,omitempty"`
}

// A Change is one directive, or one whole vhost.
type Change struct {
	Directive string `json:"directive"`
	Vhost     string `json:"vhost,omitempty"`
	// What is "changed", "added" or "removed".
	What string `json:"what"`
	// Takes is when it takes effect: "now", "session" (for those who come
	// afterwards) or "restart".
	Takes string `json:"takes"`
	// Streams are the live streams of the vhost, at most streamsShown of Count.
	Streams []string `json:"streams,omitempty"`
	Count   int      `json:"stream_count,omitempty"`
}

const streamsShown = 20

// String tells the change in words.
func (c Change) String() string {
	s := c.Directive
	if c.Vhost != "" {
		s += " of " + c.Vhost
	}
	s += " " + map[string]string{"changed": "has changed", "added": "was added", "removed": "was removed"}[c.What]
	switch c.Takes {
	case "restart":
		s += " and needs a restart"
	case "session":
		s += ", for sessions from now on"
	}
	return s
}

// Lines tells a plan in words.
func (p *Plan) Lines() (lines []string) {
	for _, c := range p.Changes {
		line := c.String()
		if c.Count > 0 {
			line += fmt.Sprintf(" (%d live: %s", c.Count, strings.Join(c.Streams, ", "))
			if c.Count > len(c.Streams) {
				line += ", ..."
			}
			line += ")"
		}
		lines = append(lines, line)
	}
	for _, l := range p.Opens {
		lines = append(lines, l.Name+" opens "+l.URL)
	}
	for _, l := range p.Closes {
		lines = append(lines, l.Name+" closes "+l.URL)
	}
	if p.Ends > 0 {
		lines = append(lines, fmt.Sprintf("%d sessions end", p.Ends))
	}
	for _, d := range p.Restart {
		if !slices.ContainsFunc(p.Changes, func(c Change) bool { return c.Directive == d && c.Takes == "restart" }) {
			lines = append(lines, d+" has changed before and still needs a restart")
		}
	}
	return lines
}

// Plan tells what a configuration would change, and changes nothing.
func (s *Server) Plan(next *config.Snapshot) (*Plan, error) {
	old := s.env.Conf.Load()
	p := &Plan{Changes: []Change{}}
	live := map[string][]string{}
	for key, st := range s.env.Hub.All() {
		if st.Live() {
			live[key.Vhost] = append(live[key.Vhost], key.URL())
		}
	}
	for _, c := range config.Diff(old, next) {
		change := Change{Directive: c.Path, Vhost: c.Vhost, Takes: c.Reload}
		change.What = map[config.ChangeKind]string{config.Changed: "changed", config.Added: "added", config.Removed: "removed"}[c.Kind]
		if c.Vhost != "" {
			names := live[c.Vhost]
			slices.Sort(names)
			change.Count, change.Streams = len(names), names[:min(len(names), streamsShown)]
		}
		p.Changes = append(p.Changes, change)
	}
	for _, c := range config.Diff(s.began, next) {
		if c.Reload == "restart" {
			p.Restart = append(p.Restart, c.Path)
		}
	}
	for x := range s.env.Desk.Sessions() {
		if orphan(next, x) {
			p.Ends++
		}
	}
	var err error
	p.Opens, p.Closes, err = link.Compare(service.Wants(old, s.units), service.Wants(next, s.units))
	return p, err
}

// orphan reports whether a session is of a vhost that a configuration does not
// have, or has turned off.
func orphan(c *config.Snapshot, x *session.Session) bool {
	act, ask, _ := x.Doing()
	if act == 0 {
		return false
	}
	v, ok := c.Vhost(ask.Key.Vhost)
	return !ok || v.Name != ask.Key.Vhost
}

// Reload takes a new configuration, which has been read and is sound: all of it,
// or, with an error, nothing of it.
func (s *Server) Reload(ctx context.Context, next *config.Snapshot) (*Plan, error) {
	s.turning.Lock()
	defer s.turning.Unlock()
	return s.reload(ctx, next)
}

// reload is Reload. s.turning is held.
func (s *Server) reload(ctx context.Context, next *config.Snapshot) (*Plan, error) {
	if s.state.Load() != ready {
		return nil, errors.New("the server is starting or stopping; nothing is changed")
	}
	old := s.env.Conf.Load()
	plan, err := s.Plan(next)
	if err != nil {
		return nil, err
	}
	if err := MakeFolders(next, ""); err != nil {
		return nil, err
	}
	if err := s.group.Reload(ctx, old, next, func() { s.env.Conf.Swap(next) }); err != nil {
		return nil, err
	}
	s.env.Desk.End(session.ErrRemoved, func(x *session.Session) bool { return orphan(next, x) })
	lines := plan.Lines()
	if len(lines) == 0 {
		s.env.Log.Info("reload: nothing has changed")
	}
	for i, line := range lines {
		if i < len(plan.Changes) && plan.Changes[i].Takes == "restart" {
			s.env.Log.Warn("reload: " + line)
		} else {
			s.env.Log.Info("reload: " + line)
		}
	}
	return plan, nil
}

// A LastReload tells how the last reload went, as SRS's reload-fetch does.
type LastReload struct {
	Code  int // SRS's number, 0 if it went well
	Text  string
	State int    // SRS's: 0 for none yet, 10 20 checking, 30 applying, 90 done
	ID    string // new for each
	At    time.Time
	Plan  *Plan
}

func (r LastReload) api() api.Reload {
	a := api.Reload{Code: r.Code, Text: r.Text, State: r.State, ID: r.ID}
	if r.Plan != nil {
		a.Plan = r.Plan
	}
	return a
}

// SRS's states of a reload.
const (
	reloadNone     = 0
	reloadChecking = 20
	reloadApplying = 30
	reloadDone     = 90
)

// LastReload returns how the last reload went.
func (s *Server) LastReload() LastReload {
	if r := s.last.Load(); r != nil {
		return *r
	}
	return LastReload{Text: "Success", State: reloadNone, ID: s.noReload}
}

// ReloadFile reads the configuration again, from where it came, and takes it. The
// log tells how that went.
func (s *Server) ReloadFile(ctx context.Context) LastReload {
	if s.upgrading.Load() {
		s.env.Log.Error("reload: an upgrade is under way, which reads the configuration anew; nothing is done")
		return LastReload{Code: config.CodeConfigInvalid, Text: "an upgrade is under way; wait for it", State: reloadChecking, ID: hub.NewID("", 7), At: time.Now()}
	}
	s.turning.Lock()
	defer s.turning.Unlock()
	r := LastReload{Text: "Success", State: reloadDone, ID: hub.NewID("", 7), At: time.Now()}
	next, err := s.options.Load(nil)
	if err != nil {
		r.State = reloadChecking
	} else if r.Plan, err = s.reload(ctx, next); err != nil {
		r.State = reloadApplying
	}
	if err != nil {
		r.Code, r.Text = cmp.Or(config.SRSCode(err), config.CodeConfigInvalid), err.Error()
		for line := range strings.SplitSeq(err.Error(), "\n") {
			s.env.Log.Error("reload: " + line)
		}
		s.env.Log.Error("reload: the configuration is not taken, nothing has changed; mend it and send SIGHUP again")
	}
	s.last.Store(&r)
	if err == nil && s.options.Reloaded != nil {
		s.options.Reloaded(next)
	}
	return r
}

// PlanText tells what the text of a configuration would change.
func (s *Server) PlanText(text []byte) (*Plan, error) {
	next, err := s.options.Load(text)
	if err != nil {
		return nil, err
	}
	return s.Plan(next)
}

// watch reloads when a file of the configuration has changed, as SRS does where
// inotify_auto_reload says so, or in a container. It looks each second and waits
// until a file has stayed the same for as long, so that one that is being written
// is not read; that works for files that are replaced and mounted ones too.
// taken are the files as they were read at the start.
func (s *Server) watch(ctx context.Context, taken string) error {
	seen := taken
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-ctx.Done():
			return nil
		}
		if !s.watches() {
			taken, seen = s.stamp(), s.stamp()
			continue
		}
		switch now := s.stamp(); {
		case now != seen:
			seen = now
		case now != taken:
			taken = now
			s.env.Log.Info("reload: a file of the configuration has changed")
			s.ReloadFile(ctx)
		}
	}
}

func (s *Server) watches() bool {
	root := blocks.Root.In(s.env.Conf.Load())
	return root.InotifyAutoReload || root.AutoReloadForDocker && root.InContainer(s.options.Container)
}

func (s *Server) stamp() string {
	if s.options.Stamp == nil {
		return ""
	}
	return s.options.Stamp(s.env.Conf.Load().Files)
}
