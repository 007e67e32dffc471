package auth

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"weir/internal/hub"
	"weir/internal/service/jwks"
	"weir/internal/session"
)

// provider is who signs tokens.
type provider struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
	ed  ed25519.PrivateKey
	set string // file of the public keys
}

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{set: filepath.Join(t.TempDir(), "jwks.json")}
	var err error
	if p.rsa, err = rsa.GenerateKey(rand.Reader, 2048); err != nil {
		t.Fatal(err)
	}
	if p.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, p.ed, err = ed25519.GenerateKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	point, _ := p.ec.PublicKey.Bytes()
	set := fmt.Sprintf(`{"keys":[{"kty":"RSA","kid":"r","alg":"RS256","n":%q,"e":"AQAB"},{"kty":"EC","kid":"e","crv":"P-256","x":%q,"y":%q},{"kty":"OKP","kid":"o","crv":"Ed25519","x":%q}]}`,
		b64(p.rsa.N.Bytes()), b64(point[1:33]), b64(point[33:]), b64(p.ed.Public().(ed25519.PublicKey)))
	if err := os.WriteFile(p.set, []byte(set), 0o600); err != nil {
		t.Fatal(err)
	}
	return p
}

func sign(t *testing.T, m jwt.SigningMethod, id string, key any, claims jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(m, claims)
	if id != "" {
		token.Header["kid"] = id
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestJWT(t *testing.T) {
	p := newProvider(t)
	publicPEM, _ := x509.MarshalPKIXPublicKey(&p.rsa.PublicKey)
	claims := func(change ...func(jwt.MapClaims)) jwt.MapClaims {
		c := jwt.MapClaims{"iss": "https://id.example", "aud": []string{"weir", "other"}, "exp": time.Now().Add(time.Hour).Unix(),
			"media": []any{map[string]any{"action": "publish", "path": "live/*"}, map[string]any{"action": "read", "path": "vod/a"}}}
		for _, f := range change {
			f(c)
		}
		return c
	}
	set := func(name string, v any) func(jwt.MapClaims) { return func(c jwt.MapClaims) { c[name] = v } }
	without := func(name string) func(jwt.MapClaims) { return func(c jwt.MapClaims) { delete(c, name) } }
	ago := func(d time.Duration) int64 { return time.Now().Add(-d).Unix() }
	rs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodRS256, "r", p.rsa, c) }
	none := func(header string) string {
		b64 := base64.RawURLEncoding.EncodeToString
		said, _ := json.Marshal(claims())
		return b64([]byte(header)) + "." + b64(said) + "."
	}
	critical := jwt.NewWithClaims(jwt.SigningMethodRS256, claims())
	critical.Header["crit"] = []string{"b64"}
	extended, _ := critical.SignedString(p.rsa)

	for name, c := range map[string]struct {
		token string
		act   session.Act
		path  string
		want  string // of the error, empty for none
	}{
		"RSA":                 {rs(claims()), session.Publish, "live/s", ""},
		"elliptic curve":      {sign(t, jwt.SigningMethodES256, "e", p.ec, claims()), session.Publish, "live/s", ""},
		"Ed25519":             {sign(t, jwt.SigningMethodEdDSA, "o", p.ed, claims()), session.Publish, "live/s", ""},
		"no key named":        {sign(t, jwt.SigningMethodES256, "", p.ec, claims()), session.Publish, "live/s", ""},
		"read is play":        {rs(claims()), session.Play, "vod/a", ""},
		"a late clock":        {rs(claims(set("exp", ago(20*time.Second)))), session.Publish, "live/s", ""},
		"all streams":         {rs(claims(set("media", []any{map[string]string{"action": "play"}}))), session.Play, "a/b/c", ""},
		"no token":            {"", session.Publish, "live/s", "there is no token"},
		"another stream":      {rs(claims()), session.Publish, "vod/a", "does not allow to publish"},
		"another act":         {rs(claims()), session.Play, "live/s", "does not allow to play"},
		"expired":             {rs(claims(set("exp", ago(time.Minute)))), session.Publish, "live/s", "expired"},
		"no expiry":           {rs(claims(without("exp"))), session.Publish, "live/s", "exp claim is required"},
		"not yet":             {rs(claims(set("nbf", ago(-time.Minute)))), session.Publish, "live/s", "not valid yet"},
		"wrong issuer":        {rs(claims(set("iss", "https://id.example.evil"))), session.Publish, "live/s", "issuer"},
		"no issuer":           {rs(claims(without("iss"))), session.Publish, "live/s", "iss"},
		"wrong audience":      {rs(claims(set("aud", "other"))), session.Publish, "live/s", "aud"},
		"no claim":            {rs(claims(without("media"))), session.Publish, "live/s", "no claim media"},
		"a claim of words":    {rs(claims(set("media", "all"))), session.Publish, "live/s", "not a list of objects"},
		"alg none":            {none(`{"alg":"none"}`), session.Publish, "live/s", "signing method none is invalid"},
		"alg NONE":            {none(`{"alg":"NONE","kid":"r"}`), session.Publish, "live/s", "signing method"},
		"public key as HMAC":  {sign(t, jwt.SigningMethodHS256, "r", publicPEM, claims()), session.Publish, "live/s", "signing method HS256 is invalid"},
		"an algorithm not in": {sign(t, jwt.SigningMethodRS512, "r", p.rsa, claims()), session.Publish, "live/s", "signing method RS512 is invalid"},
		"the set's algorithm": {sign(t, jwt.SigningMethodPS256, "r", p.rsa, claims()), session.Publish, "live/s", "is for PS256"},
		"another kind of key": {sign(t, jwt.SigningMethodES256, "r", p.ec, claims()), session.Publish, "live/s", "is for ES256"},
		"another key":         {sign(t, jwt.SigningMethodES256, "e", newProvider(t).ec, claims()), session.Publish, "live/s", "signature is invalid"},
		"an unknown key":      {sign(t, jwt.SigningMethodES256, "x", p.ec, claims()), session.Publish, "live/s", `no key "x"`},
		"extensions":          {extended, session.Publish, "live/s", "crit"},
		"damaged":             {rs(claims())[1:], session.Publish, "live/s", "malformed"},
		"no dots":             {"aaaa", session.Publish, "live/s", "malformed"},
		"too long":            {strings.Repeat("a", maxJWT+1), session.Publish, "live/s", "8193 bytes"},
	} {
		j := JWT{Publish: true, Play: true, Source: &jwks.Source{Address: p.set}, Algorithms: []string{"RS256", "PS256", "ES256", "EdDSA"},
			Issuer: "https://id.example", Audience: "weir", Claim: "media", Leeway: 30 * time.Second, Name: "token"}
		app, stream, _ := strings.Cut(c.path, "/")
		r := &session.Request{Act: c.act, Session: &session.Session{}, Ask: session.Ask{Key: hub.Key{App: app, Stream: stream}, Said: session.Said{Param: "?token=" + c.token}}}
		a := &Auth{JWT: func(string) JWT { return j }}
		err := a.Authorize(t.Context(), r)
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, session.ErrDenied)):
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

// The keys are not asked for who is refused by what costs nothing, nor for acts that
// need no token.
func TestJWTIsLast(t *testing.T) {
	source := &jwks.Source{Address: filepath.Join(t.TempDir(), "none.json")}
	a := &Auth{Security: func(string) Security { return Security{On: true} }, JWT: func(string) JWT { return JWT{Publish: true, Source: source} }}
	steps := a.Explain(t.Context(), &session.Request{Act: session.Publish, Session: &session.Session{Visitor: session.Visitor{IP: "10.0.0.1"}}})
	if len(steps) != 1 || steps[0].Rule != "security" {
		t.Errorf("asked: %v", steps)
	}
	a.Security = nil
	if err := a.Authorize(t.Context(), &session.Request{Act: session.Play, Session: &session.Session{}}); err != nil {
		t.Errorf("a player without need: %v", err)
	}
}
