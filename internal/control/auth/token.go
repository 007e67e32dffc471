package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weir/internal/session"
)

// A Grant is what a token allows, and to whom.
type Grant struct {
	// Pattern names streams as app/stream. A star stands for any characters but a
	// slash, two for any.
	Pattern string
	// Act is Publish or Play; 0 allows both.
	Act session.Act
	// Expires is when it ends; it must be set.
	Expires time.Time
	// Net is from where it holds; zero means from anywhere.
	Net netip.Prefix
}

// tokenVersion is signed with what a token says, so that a signature is good for
// nothing else.
const tokenVersion = "weir1."

// maxToken bounds a token in bytes.
const maxToken = 2048

var encoding = base64.RawURLEncoding

// Token signs a grant: what it says and the signature, each in base64 for addresses,
// with a dot between. Who has it can read what it says.
func Token(secret string, g Grant) string {
	v := url.Values{"s": {g.Pattern}, "e": {strconv.FormatInt(g.Expires.Unix(), 10)}}
	if g.Act != 0 {
		v.Set("a", g.Act.String())
	}
	if g.Net.IsValid() {
		v.Set("n", g.Net.String())
	}
	said := v.Encode()
	return encoding.EncodeToString([]byte(said)) + "." + encoding.EncodeToString(mac(secret, said))
}

func mac(secret, said string) []byte {
	m := hmac.New(sha256.New, []byte(secret))
	m.Write([]byte(tokenVersion + said))
	return m.Sum(nil)
}

// Why a token is refused.
var (
	errNoToken = errors.New("there is no token")
	errBroken  = errors.New("the token is damaged")
	errForged  = errors.New("the token is not signed with a secret of ours")
)

// ParseToken returns what a token grants, if one of the secrets has signed it.
func ParseToken(token string, secrets []string) (Grant, error) {
	if token == "" {
		return Grant{}, errNoToken
	}
	said64, mac64, ok := strings.Cut(token, ".")
	said, err1 := encoding.DecodeString(said64)
	sum, err2 := encoding.DecodeString(mac64)
	if !ok || err1 != nil || err2 != nil || len(token) > maxToken {
		return Grant{}, errBroken
	}
	signed := false
	for _, s := range secrets {
		signed = hmac.Equal(sum, mac(s, string(said))) || signed
	}
	if !signed {
		return Grant{}, errForged
	}
	v, err := url.ParseQuery(string(said))
	if err != nil {
		return Grant{}, errBroken
	}
	g := Grant{Pattern: v.Get("s")}
	seconds, err := strconv.ParseInt(v.Get("e"), 10, 64)
	if err != nil || g.Pattern == "" {
		return Grant{}, errBroken
	}
	g.Expires = time.Unix(seconds, 0)
	switch v.Get("a") {
	case "":
	case "publish":
		g.Act = session.Publish
	case "play":
		g.Act = session.Play
	default:
		return Grant{}, errBroken
	}
	if n := v.Get("n"); n != "" {
		if g.Net, err = netip.ParsePrefix(n); err != nil {
			return Grant{}, errBroken
		}
	}
	return g, nil
}

// Check reports, with the reason, whether a grant allows something.
func (g Grant) Check(act session.Act, app, stream string, ip netip.Addr, now time.Time) error {
	switch {
	case !now.Before(g.Expires):
		return fmt.Errorf("the token has expired at %s", g.Expires.UTC().Format(time.RFC3339))
	case g.Act != 0 && g.Act != act:
		return fmt.Errorf("the token is for %v, not for %v", g.Act, act)
	case !Match(g.Pattern, app+"/"+stream):
		return fmt.Errorf("the token is for %.80q, not for %.80q", g.Pattern, app+"/"+stream)
	case g.Net.IsValid() && !g.Net.Contains(ip.Unmap()):
		return fmt.Errorf("the token is for %v, not for %v", g.Net, ip)
	}
	return nil
}

// Match reports whether a pattern takes a name: a star stands for any characters
// but a slash, two for any.
func Match(pattern, name string) bool {
	// The last star, and the last pair of them, that could take more: where the
	// pattern goes on behind it, and what it has taken so far.
	type retry struct{ pattern, name int }
	var star, deep retry
	star.pattern, deep.pattern = -1, -1
	p, n := 0, 0
	for n < len(name) || p < len(pattern) {
		switch {
		case strings.HasPrefix(pattern[p:], "**"):
			p += 2
			deep, star.pattern = retry{p, n}, -1
			continue
		case p < len(pattern) && pattern[p] == '*':
			p++
			star = retry{p, n}
			continue
		case p < len(pattern) && n < len(name) && pattern[p] == name[n]:
			p, n = p+1, n+1
			continue
		case star.pattern >= 0 && star.name < len(name) && name[star.name] != '/':
			star.name++
			p, n = star.pattern, star.name
			continue
		case deep.pattern >= 0 && deep.name < len(name):
			deep.name++
			p, n, star.pattern = deep.pattern, deep.name, -1
			continue
		}
		return false
	}
	return true
}

// Signed is the signed_url block of a vhost.
type Signed struct {
	Publish, Play bool // who must show a token
	Secrets       []string
	Name          string
}

// shown returns the token of a request: the parameter of that name, else what HTTP
// has as bearer.
func shown(r *session.Request, name string) string {
	q, _ := url.ParseQuery(strings.TrimLeft(r.Ask.Said.Param, "?#"))
	if t := q.Get(name); t != "" {
		return t
	}
	return r.Session.Bearer
}

func (s Signed) check(r *session.Request, ip netip.Addr) error {
	if r.Act == session.Publish && !s.Publish || r.Act == session.Play && !s.Play || r.Act == session.Connect {
		return nil
	}
	g, err := ParseToken(shown(r, s.Name), s.Secrets)
	if err == nil {
		err = g.Check(r.Act, r.Ask.Key.App, r.Ask.Key.Stream, ip, time.Now())
	}
	if err != nil {
		return fmt.Errorf("%w: %w", session.ErrDenied, err)
	}
	return nil
}
