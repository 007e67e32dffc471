package config

import (
	"crypto/sha256"
	"encoding/hex"
	"reflect"
	"sync/atomic"
)

// DefaultVhost is the vhost that takes what no other is named for.
const DefaultVhost = "__defaultVhost__"

// A Snapshot is a whole configuration, decoded. It is immutable; blocks are read
// by [Block.In], [Block.Of] and their like.
type Snapshot struct {
	// File is what the configuration was read from, for messages.
	File string
	// Files are the file and all that it includes, in the order in which they
	// were met.
	Files []string
	// Warnings are what was accepted and is probably not meant, in the order of
	// the file, what is ignored included.
	Warnings []Warning

	tree   *Directive
	values map[*core]any // *T, or []T of a list
	specs  []*core
	vhosts []*Vhost
	byName map[string]*Vhost
	digest string
}

// A Vhost is a virtual host of a [Snapshot]. Its blocks are read by [Block.Of].
type Vhost struct {
	Name    string
	Enabled bool
	Pos     Pos

	values map[*core]any
}

// Vhost returns the vhost that serves a name: the one of that name, else
// [DefaultVhost]. It returns false if there is neither, or if the one it is
// turned off.
func (s *Snapshot) Vhost(name string) (*Vhost, bool) {
	if s == nil {
		return nil, false
	}
	v, ok := s.byName[name]
	if !ok {
		v, ok = s.byName[DefaultVhost]
	}
	if !ok || !v.Enabled {
		return nil, false
	}
	return v, true
}

// Vhosts returns all vhosts, turned off ones too, in the order of the file. The
// slice must not be modified.
func (s *Snapshot) Vhosts() []*Vhost {
	if s == nil {
		return nil
	}
	return s.vhosts
}

// Digest returns a fingerprint of all that the configuration says, the
// environment's part included: equal for equal configurations, whatever their
// layout and comments.
func (s *Snapshot) Digest() string { return s.digest }

// Tree returns the configuration as a tree, old spellings rewritten. It must not
// be modified.
func (s *Snapshot) Tree() *Directive { return s.tree }

func digest(tree *Directive, env []string) string {
	h := sha256.New()
	h.Write([]byte(Format(tree)))
	for _, e := range env {
		h.Write([]byte(e + "\x00"))
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// A Change is a directive that differs between two snapshots.
type Change struct {
	Path   string // "vhost.hls.hls_fragment", "stream_caster", or "vhost" for a whole one
	Vhost  string // the vhost, empty outside
	Reload string // when it takes effect: "now", "session" or "restart"
	Kind   ChangeKind
}

// ChangeKind says what a [Change] is.
type ChangeKind uint8

// The kinds of change.
const (
	Changed ChangeKind = iota // another value
	Added                     // a vhost that was not there
	Removed                   // a vhost that is gone, or was turned off
)

// Diff lists what differs between two snapshots that were parsed with the same
// specs: the server's blocks in the order of the specs, then each vhost's.
func Diff(before, after *Snapshot) []Change {
	var out []Change
	for _, c := range after.specs {
		if c.scope == scopeServer {
			out = c.diff(out, "", before.values[c], after.values[c])
		}
	}
	for _, v := range before.vhosts {
		w := after.byName[v.Name]
		if v.Enabled && (w == nil || !w.Enabled) {
			out = append(out, Change{Path: "vhost", Vhost: v.Name, Reload: "now", Kind: Removed})
		}
	}
	for _, w := range after.vhosts {
		v := before.byName[w.Name]
		if w.Enabled && (v == nil || !v.Enabled) {
			out = append(out, Change{Path: "vhost", Vhost: w.Name, Reload: "now", Kind: Added})
		}
		if v == nil || !v.Enabled || !w.Enabled {
			continue
		}
		for _, c := range after.specs {
			if c.scope == scopeVhost {
				out = c.diff(out, w.Name, v.values[c], w.values[c])
			}
		}
	}
	return out
}

func (c *core) diff(out []Change, vhost string, before, after any) []Change {
	if c.list {
		if !reflect.DeepEqual(before, after) {
			reload := latest(c.fields)
			if reload == "" {
				reload = "session"
			}
			out = append(out, Change{Path: c.path, Vhost: vhost, Reload: reload})
		}
		return out
	}
	return diffFields(out, c.fields, vhost, reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem())
}

// latest returns when a change of all the fields has taken effect; "" if there are
// none.
func latest(fields []field) (reload string) {
	order := map[string]int{"now": 1, "session": 2, "restart": 3}
	for i := range fields {
		f := &fields[i]
		when := f.reload
		switch {
		case f.kind == kindArg:
			continue
		case f.kind.block():
			when = latest(f.fields)
		}
		if order[when] > order[reload] {
			reload = when
		}
	}
	return reload
}

func diffFields(out []Change, fields []field, vhost string, before, after reflect.Value) []Change {
	for i := range fields {
		f := &fields[i]
		a, b := before.Field(f.index), after.Field(f.index)
		if f.kind == kindBlock {
			out = diffFields(out, f.fields, vhost, a, b)
		} else if !reflect.DeepEqual(a.Interface(), b.Interface()) {
			out = append(out, Change{Path: f.path, Vhost: vhost, Reload: f.reload})
		}
	}
	return out
}

// A Store holds the snapshot in force. The zero value holds none.
type Store struct {
	p atomic.Pointer[Snapshot]
}

// NewStore returns a store that holds s.
func NewStore(s *Snapshot) *Store {
	st := &Store{}
	st.p.Store(s)
	return st
}

// Load returns the snapshot in force, nil if there never was one.
func (s *Store) Load() *Snapshot { return s.p.Load() }

// Swap puts another snapshot in force and returns the one before.
func (s *Store) Swap(next *Snapshot) *Snapshot { return s.p.Swap(next) }
