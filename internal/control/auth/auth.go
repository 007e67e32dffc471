// Package auth judges visitors by where they come from, by address (SRS's security
// rules) and by the page they are on (SRS's refer rules), and by a token that the
// operator has signed; and it counts them where there are limits.
package auth

import (
	"context"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
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
	Labels             bool // whole labels only
	All, Publish, Play []string
}

// check judges a page.
func (r Refer) check(act session.Act, page string) error {
	hosts := map[session.Act][]string{session.Connect: r.All, session.Publish: r.Publish, session.Play: r.Play}[act]
	if !from(page, hosts, r.Labels) {
		return fmt.Errorf("%w: the page %.80q is not of %s", session.ErrRefer, page, strings.Join(hosts, ", "))
	}
	return nil
}

// Auth is an authorizer. The functions give the rules of a vhost; each may be nil.
type Auth struct {
	Security func(vhost string) Security
	Refer    func(vhost string) Refer
	Signed   func(vhost string) Signed
	JWT      func(vhost string) JWT
}

// A Step is one rule and what it says of a request.
type Step struct {
	Rule string
	// Err is why it refuses, nil if it does not.
	Err error
}

func (s Step) refuses() bool { return s.Err != nil }

// Explain asks every rule that is on, and tells what each says.
func (a *Auth) Explain(ctx context.Context, r *session.Request) (steps []Step) {
	vhost := r.Ask.Key.Vhost
	ip, _ := netip.ParseAddr(r.Session.IP)
	ip = ip.Unmap()
	// Pages are a notion of RTMP: other doors have no connect step.
	if a.Refer != nil && r.Session.Connects {
		if refer := a.Refer(vhost); refer.On {
			steps = append(steps, Step{"refer", refer.check(r.Act, r.Session.PageURL)})
		}
	}
	if r.Act == session.Connect {
		return steps
	}
	if a.Security != nil {
		if s := a.Security(vhost); s.On {
			steps = append(steps, Step{"security", s.check(r.Act, ip)})
		}
	}
	if a.Signed != nil {
		if s := a.Signed(vhost); s.Publish || s.Play {
			steps = append(steps, Step{"signed_url", s.check(r, ip)})
		}
	}
	if a.JWT != nil {
		// What costs most comes last, and not for who is refused already.
		if j := a.JWT(vhost); (j.Publish || j.Play) && !slices.ContainsFunc(steps, Step.refuses) {
			steps = append(steps, Step{"jwt", j.check(ctx, r)})
		}
	}
	return steps
}

// Authorize implements session.Authorizer.
func (a *Auth) Authorize(ctx context.Context, r *session.Request) error {
	for _, s := range a.Explain(ctx, r) {
		if s.Err != nil {
			return s.Err
		}
	}
	return nil
}

// from reports whether the host of page ends with one of hosts, with whole labels
// of its name if labels says so; an empty list takes every page.
func from(page string, hosts []string, labels bool) bool {
	if len(hosts) == 0 {
		return true
	}
	u, err := url.Parse(page)
	if err != nil || u.Hostname() == "" {
		return false
	}
	name := u.Hostname()
	for _, h := range hosts {
		before, ok := strings.CutSuffix(name, h)
		if ok && (!labels || before == "" || strings.HasSuffix(before, ".") || strings.HasPrefix(h, ".")) {
			return true
		}
	}
	return false
}
