package caster

import (
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// nonceTime is how long a nonce is good for.
const nonceTime = 5 * time.Minute

// challenge asks for a password (RFC 2617 3.2.1, as GB/T 28181 has it: MD5).
func (g *gbCaster) challenge(realm string, from netip.Addr) string {
	return fmt.Sprintf(`Digest realm="%s", nonce="%s", algorithm=MD5`, quotable(realm), g.nonce(time.Now(), from))
}

// nonce is the time and a seal on it that nobody else can make, so none is remembered.
func (g *gbCaster) nonce(now time.Time, from netip.Addr) string {
	at := strconv.FormatInt(now.Unix(), 16)
	mac := hmac.New(sha256.New, g.secret)
	fmt.Fprintf(mac, "%s %s", at, from.Unmap())
	return at + "-" + hex.EncodeToString(mac.Sum(nil)[:16])
}

func (g *gbCaster) ours(nonce string, from netip.Addr) bool {
	at, _, ok := strings.Cut(nonce, "-")
	sec, err := strconv.ParseInt(at, 16, 64)
	if !ok || err != nil {
		return false
	}
	made := time.Unix(sec, 0)
	age := time.Since(made)
	return age < nonceTime && age > -nonceTime && subtle.ConstantTimeCompare([]byte(nonce), []byte(g.nonce(made, from))) == 1
}

// proved reports whether an Authorization header shows the password.
func (g *gbCaster) proved(header, user, password, realm string, from netip.Addr) bool {
	p := digestParams(header)
	if p == nil || p["username"] != user || p["realm"] != quotable(realm) || !g.ours(p["nonce"], from) {
		return false
	}
	if a := p["algorithm"]; a != "" && !strings.EqualFold(a, "MD5") {
		return false
	}
	ha1, ha2 := md5hex(user, p["realm"], password), md5hex("REGISTER", p["uri"])
	want := md5hex(ha1, p["nonce"], ha2)
	if p["qop"] != "" {
		want = md5hex(ha1, p["nonce"], p["nc"], p["cnonce"], p["qop"], ha2)
	}
	return subtle.ConstantTimeCompare([]byte(want), []byte(strings.ToLower(p["response"]))) == 1
}

func md5hex(parts ...string) string {
	sum := md5.Sum([]byte(strings.Join(parts, ":")))
	return hex.EncodeToString(sum[:])
}

// quotable is s without what would end a quoted text.
func quotable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '"' || r == '\\' || r < ' ' {
			return -1
		}
		return r
	}, s)
}

// digestParams reads the pairs of a digest header, nil if it is none. Quotes are taken
// off; nothing in ours needs to be escaped.
func digestParams(s string) map[string]string {
	scheme, s, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok || !strings.EqualFold(scheme, "Digest") {
		return nil
	}
	all := map[string]string{}
	for len(all) < 16 {
		k, rest, ok := strings.Cut(s, "=")
		if !ok {
			return all
		}
		k, rest = strings.ToLower(strings.Trim(k, " ,\t")), strings.TrimLeft(rest, " \t")
		var v string
		if strings.HasPrefix(rest, `"`) {
			if v, rest, ok = strings.Cut(rest[1:], `"`); !ok {
				return nil
			}
			_, rest, _ = strings.Cut(rest, ",")
		} else {
			v, rest, _ = strings.Cut(rest, ",")
			v = strings.TrimSpace(v)
		}
		all[k], s = v, rest
	}
	return all
}
