package auth

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"weir/internal/service/jwks"
	"weir/internal/session"
)

// JWT is the jwt block of a vhost: who publishes or plays must show a JSON Web Token
// (RFC 7519) of the operator's identity provider.
type JWT struct {
	Publish, Play bool          // who must show one
	Source        *jwks.Source  // of the keys
	Algorithms    []string      // that are taken (RFC 7518, 3.1), none else
	Issuer        string        // that iss must be, if not empty
	Audience      string        // that aud must name, if not empty
	Claim         string        // that lists what the token allows
	Leeway        time.Duration // by which clocks may differ
	Name          string        // of the parameter that has the token
}

// maxJWT bounds a token in bytes.
const maxJWT = 8 << 10

// permission is one entry of the claim: an act, and the streams as app/stream, with
// stars as in [Match]; an empty pattern is all of them.
type permission struct {
	Action string
	Path   string
}

func (p permission) allows(act session.Act, name string) bool {
	done := p.Action == act.String() || p.Action == "read" && act == session.Play
	return done && (p.Path == "" || Match(p.Path, name))
}

// check judges a request. It may wait for the keys, as [jwks.Source.Keys] does.
func (j JWT) check(ctx context.Context, r *session.Request) error {
	if r.Act == session.Publish && !j.Publish || r.Act == session.Play && !j.Play || r.Act == session.Connect {
		return nil
	}
	err := j.judge(ctx, shown(r, j.Name), r.Act, r.Ask.Key.App+"/"+r.Ask.Key.Stream)
	if err != nil {
		return fmt.Errorf("%w: %w", session.ErrDenied, err)
	}
	return nil
}

func (j JWT) judge(ctx context.Context, token string, act session.Act, name string) error {
	switch {
	case token == "":
		return errNoToken
	case len(token) > maxJWT:
		return fmt.Errorf("the token has %d bytes, more than %d", len(token), maxJWT)
	}
	options := []jwt.ParserOption{jwt.WithValidMethods(j.Algorithms), jwt.WithLeeway(j.Leeway), jwt.WithExpirationRequired()}
	if j.Issuer != "" {
		options = append(options, jwt.WithIssuer(j.Issuer))
	}
	if j.Audience != "" {
		options = append(options, jwt.WithAudience(j.Audience))
	}
	claims := jwt.MapClaims{}
	if _, err := jwt.NewParser(options...).ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) { return j.keys(ctx, t) }); err != nil {
		return err
	}
	list, ok := claims[j.Claim]
	if !ok {
		return fmt.Errorf("the token has no claim %s, which lists what it allows", j.Claim)
	}
	// Whatever the library made of it goes through JSON once more, into its shape.
	text, _ := json.Marshal(list)
	var permissions []permission
	if err := json.Unmarshal(text, &permissions); err != nil {
		return fmt.Errorf("the claim %s is not a list of objects with action and path", j.Claim)
	}
	for _, p := range permissions {
		if p.allows(act, name) {
			return nil
		}
	}
	return fmt.Errorf("the token does not allow to %v %.80q", act, name)
}

// keys returns those that may have signed a token.
func (j JWT) keys(ctx context.Context, t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the token names extensions that must be understood (crit)")
	}
	id, _ := t.Header["kid"].(string)
	keys, err := j.Source.Keys(ctx, id)
	if err != nil {
		return nil, err
	}
	var fit jwt.VerificationKeySet
	for _, k := range keys {
		if (k.Alg == "" || k.Alg == t.Method.Alg()) && signs(k.Public, t.Method) {
			fit.Keys = append(fit.Keys, k.Public)
		}
	}
	if len(fit.Keys) == 0 {
		return nil, fmt.Errorf("no key %.40q is for %s", id, t.Method.Alg())
	}
	return fit, nil
}

// signs reports whether a key is of the kind that a method takes, so that a public
// key is never taken for a secret.
func signs(key crypto.PublicKey, m jwt.SigningMethod) bool {
	switch m := m.(type) {
	case *jwt.SigningMethodRSA, *jwt.SigningMethodRSAPSS:
		_, ok := key.(*rsa.PublicKey)
		return ok
	case *jwt.SigningMethodECDSA:
		k, ok := key.(*ecdsa.PublicKey)
		return ok && k.Curve.Params().BitSize == m.CurveBits
	case *jwt.SigningMethodEd25519:
		_, ok := key.(ed25519.PublicKey)
		return ok
	}
	return false
}
