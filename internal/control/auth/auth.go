// Package auth judges visitors by where they come from: by address (SRS's
// security rules) and by the page they are on (SRS's refer rules).
package auth

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"weir/internal/session"
)

// A Rule allows or denies one act to an address, a network, or all.
type Rule struct {
	Deny bool
	Act  session.Act
	Net  netip.Prefix // zero means all
}

// Parse reads a rule: the directive (allow or deny) and its two values, as in
// "allow publish 10.0.0.0/8" and "deny play all".
func Parse(directive string, args []string) (Rule, error) {
	r := Rule{Deny: directive == "deny"}
	if len(args) < 2 {
		return r, fmt.Errorf("%s needs publish or play, and an address, a network or all", directive)
	}
	switch args[0] {
	case "publish":
		r.Act = session.Publish
	case "play":
		r.Act = session.Play
	default:
		return r, fmt.Errorf("%s %s: it must be publish or play", directive, args[0])
	}
	if args[1] == "all" {
		return r, nil
	}
	if p, err := netip.ParsePrefix(args[1]); err == nil {
		r.Net = p.Masked()
		return r, nil
	}
	a, err := netip.ParseAddr(args[1])
	if err != nil {
		return r, fmt.Errorf("%s %s %s: not an address, a network or all", directive, args[0], args[1])
	}
	a = a.Unmap()
	r.Net = netip.PrefixFrom(a, a.BitLen())
	return r, nil
}

func (r Rule) matches(act session.Act, ip netip.Addr) bool {
	return r.Act == act && (!r.Net.IsValid() || ip.IsValid() && r.Net.Contains(ip))
}

// Security is the security block of a vhost. A denial wins; then, where there is
// any rule that allows anything, one must match; a block without rules admits
// nobody.
type Security struct {
	On    bool
	Rules []Rule
}

// Why an address is refused, with SRS's numbers.
var (
	errDeny  = &session.Error{Code: 1053, Text: "security denies it"}
	errAllow = &session.Error{Code: 1054, Text: "no security rule allows it"}
)

func (s Security) check(act session.Act, ip netip.Addr) error {
	allowed, allows := false, false
	for _, r := range s.Rules {
		if r.Deny && r.matches(act, ip) {
			return fmt.Errorf("%w: %v by %v", errDeny, act, ip)
		}
		if !r.Deny {
			allows = true
			allowed = allowed || r.matches(act, ip)
		}
	}
	if !allowed && (allows || len(s.Rules) == 0) {
		return fmt.Errorf("%w: %v by %v", errAllow, act, ip)
	}
	return nil
}

// Refer is the refer block of a vhost: host names, one of which the host of the
// page must end with.
type Refer struct {
	On                 bool
	All, Publish, Play []string
}

// Auth is an authorizer. The functions give the rules of a vhost.
type Auth struct {
	Security func(vhost string) Security
	Refer    func(vhost string) Refer
}

// Authorize implements session.Authorizer.
func (a *Auth) Authorize(_ context.Context, r *session.Request) error {
	vhost := r.Ask.Key.Vhost
	// Pages are a notion of RTMP: other doors have no connect step.
	if refer := a.Refer(vhost); refer.On && r.Session.Connects {
		for act, hosts := range map[session.Act][]string{session.Connect: refer.All, session.Publish: refer.Publish, session.Play: refer.Play} {
			if act == r.Act && !from(r.Session.PageURL, hosts) {
				return session.ErrRefer
			}
		}
	}
	if s := a.Security(vhost); s.On && r.Act != session.Connect {
		ip, _ := netip.ParseAddr(r.Session.IP)
		return s.check(r.Act, ip.Unmap())
	}
	return nil
}

// from reports whether the host of page ends with one of hosts; an empty list
// takes every page.
func from(page string, hosts []string) bool {
	if len(hosts) == 0 {
		return true
	}
	u, err := url.Parse(page)
	if err != nil || u.Hostname() == "" {
		return false
	}
	for _, h := range hosts {
		if strings.HasSuffix(u.Hostname(), h) {
			return true
		}
	}
	return false
}
