package blocks

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"weir/internal/config"
)

// ReferConfig is refer: which pages may embed the streams, by the page's address
// that RTMP clients tell.
type ReferConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// Labels has a host match whole labels only: example.com takes www.example.com and
	// not badexample.com, which SRS takes. It is a directive of weir.
	Labels bool `conf:"labels" default:"off" reload:"session" since:"weir"`

	// All are the hosts for publishers and players; a page's host must end in one.
	All []string `conf:"all" reload:"session"`

	// Publish are the hosts for publishers.
	Publish []string `conf:"publish" reload:"session"`

	// Play are the hosts for players.
	Play []string `conf:"play" reload:"session"`
}

// SecurityConfig is security: which addresses may publish and play.
type SecurityConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// Rules are lines of "allow" or "deny", then "publish" or "play", then an
	// address, a network in CIDR or all. A denied address is refused, whatever else
	// is allowed; with any rule of allow, what it does not name is refused.
	Rules []config.Rule `conf:"allow,deny" reload:"session"`
}

// Warnings tells rules that can never match.
func (c *SecurityConfig) Warnings() []string {
	var out []string
	for _, r := range c.Rules {
		if why := badRule(r); why != "" {
			out = append(out, fmt.Sprintf("the rule %q is ignored: %s", r.Name+joined(r.Args), why))
		}
	}
	if c.Enabled && len(c.Rules) == 0 {
		out = append(out, "it is on and has no rule")
	}
	return out
}

func badRule(r config.Rule) string {
	if len(r.Args) != 2 {
		return "it needs publish or play, and whom"
	}
	if r.Args[0] != "publish" && r.Args[0] != "play" {
		return "it says neither publish nor play"
	}
	if r.Args[1] == "all" {
		return ""
	}
	if _, err := netip.ParseAddr(r.Args[1]); err == nil {
		return ""
	}
	if _, err := netip.ParsePrefix(r.Args[1]); err == nil {
		return ""
	}
	return "it names neither an address, nor a network, nor all"
}

func joined(words []string) string {
	out := ""
	for _, w := range words {
		out += " " + w
	}
	return out
}

// LimitsConfig is limits: how much of a vhost there may be at one time. What is 0 has
// no limit. It is a block of weir.
type LimitsConfig struct {
	_ struct{} `env:"-"`

	// Sessions is how many may publish and play in the vhost.
	Sessions int `conf:"sessions" default:"0" reload:"session" since:"weir"`

	// Players is how many may play one stream.
	Players int `conf:"players" default:"0" reload:"session" since:"weir"`

	// PerAddress is how many sessions one address may have in the vhost.
	PerAddress int `conf:"per_address" default:"0" reload:"session" since:"weir"`

	// PublishesPerMinute is how often one address may begin to publish in a minute.
	PublishesPerMinute int `conf:"publishes_per_minute" default:"0" reload:"session" since:"weir"`

	// BitrateKbps is the most that a publisher may send, in kbit/s over twelve seconds;
	// who sends more is ended.
	BitrateKbps int `conf:"bitrate_kbps" default:"0" reload:"now" since:"weir"`
}

// SignedURLConfig is signed_url: who publishes or plays must show a token that was
// signed with a secret of the operator, on every protocol: as a parameter of the
// address, as bearer token of HTTP, or as a field of SRT's stream id. "weir sign"
// makes one. It is a block of weir.
type SignedURLConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"session" since:"weir"`

	// Publish asks publishers for a token.
	Publish bool `conf:"publish" default:"on" reload:"session" since:"weir"`

	// Play asks players for one.
	Play bool `conf:"play" default:"on" reload:"session" since:"weir"`

	// Secret is the key, or several, of which any may have signed, so that one can
	// take another's place.
	Secret []string `conf:"secret" shown:"none, required" reload:"session" since:"weir"`

	// Name is the parameter that has the token.
	Name string `conf:"name" default:"token" reload:"session" since:"weir"`
}

// Validate refuses a policy that anybody could sign for.
func (c *SignedURLConfig) Validate() error {
	if c.Enabled && len(c.Secret) == 0 {
		return errors.New("signed_url is on and has no secret; write secret WORD;")
	}
	for _, s := range c.Secret {
		if c.Enabled && len(s) < 16 {
			return errors.New("a secret of signed_url is shorter than 16 characters, which can be guessed; make one with: openssl rand -hex 32")
		}
	}
	return nil
}

// JWTConfig is jwt: who publishes or plays must show a JSON Web Token (RFC 7519) that
// the operator's identity provider has signed, where signed_url would have it. It must
// have an expiry, and a claim that lists what it allows, such as
// [{"action": "publish", "path": "live/*"}]. It is a block of weir.
type JWTConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"session" since:"weir"`

	// Publish asks publishers for a token.
	Publish bool `conf:"publish" default:"on" reload:"session" since:"weir"`

	// Play asks players for one.
	Play bool `conf:"play" default:"on" reload:"session" since:"weir"`

	// JWKS is the address of the provider's set of public keys (RFC 7517), or a file
	// that holds one. It is read when it is first needed, after ten minutes, and when
	// a token names a key that is not in it, at most every ten seconds.
	JWKS string `conf:"jwks" default:"" shown:"none, required" reload:"session" since:"weir"`

	// Algorithms are those that are taken, whatever a token says of itself: RS256,
	// RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA.
	Algorithms []string `conf:"algorithms" default:"RS256 ES256 EdDSA" reload:"session" since:"weir"`

	// Issuer is what a token's iss must be.
	Issuer string `conf:"issuer" default:"" shown:"any" reload:"session" since:"weir"`

	// Audience is what a token's aud must name.
	Audience string `conf:"audience" default:"" shown:"any" reload:"session" since:"weir"`

	// Claim is the one that lists what a token allows: objects with an action
	// (publish, or play, which may be written read) and a path (app/stream; a star
	// stands for any characters but a slash, two for any; none is all streams).
	Claim string `conf:"claim" default:"weir_permissions" reload:"session" since:"weir"`

	// Leeway is by how much the provider's clock and this one may differ.
	Leeway time.Duration `conf:"leeway" default:"30" unit:"s" reload:"session" since:"weir"`

	// Name is the parameter that has the token.
	Name string `conf:"name" default:"token" reload:"session" since:"weir"`
}

// algorithms are those of public keys; those with a secret, and none, are not taken.
var algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Validate refuses a policy without keys, or with keys that anybody could put in
// their place on the way.
func (c *JWTConfig) Validate() error {
	if !c.Enabled {
		return nil
	}
	u, err := url.Parse(c.JWKS)
	switch {
	case c.JWKS == "":
		return errors.New("jwt is on and has no keys; write jwks https://HOST/.well-known/jwks.json;")
	case err != nil:
		return fmt.Errorf("jwks of jwt: %w", err)
	case u.Scheme == "http" && !local(u.Hostname()):
		return fmt.Errorf("jwks of jwt: %s can be forged on its way; use https", c.JWKS)
	case len(c.Algorithms) == 0:
		return errors.New("jwt is on and takes no algorithm")
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(algorithms, a) {
			return fmt.Errorf("algorithms of jwt: %q is none of %s", a, strings.Join(algorithms, ", "))
		}
	}
	return nil
}

// local reports whether a host is this machine.
func local(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// PlayCookieConfig is play_cookie: who is let in to a stream's playlist or manifest
// (HLS, DASH, HDS), by whatever rule, gets a signed cookie, and segments and keys are
// for those who have it. Caches that many share keep none of it, and files that live
// streams leave on disk are not served to anybody, in any vhost. Players on pages of
// other sites must send cookies (withCredentials). It is a block of weir.
type PlayCookieConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Secret signs the cookies. Servers behind one address must have the same one.
	Secret string `conf:"secret" default:"" shown:"one of the process, which ends with it" reload:"now" since:"weir"`

	// Name is what cookies' names begin with.
	Name string `conf:"name" default:"weir_play" reload:"now" since:"weir"`

	// MaxAge is for how long one holds. Players that go on get another in time.
	MaxAge time.Duration `conf:"max_age" default:"3600" unit:"s" reload:"now" since:"weir"`

	// Origins are the sites whose pages may send cookies, as https://www.example.com.
	Origins []string `conf:"origins" shown:"none but this server" reload:"now" since:"weir"`
}

// Validate refuses what anybody could sign, and names that are none.
func (c *PlayCookieConfig) Validate() error {
	switch {
	case c.Enabled && c.Secret != "" && len(c.Secret) < 16:
		return errors.New("the secret of play_cookie is shorter than 16 characters, which can be guessed; make one with: openssl rand -hex 32")
	case c.Enabled && (&http.Cookie{Name: c.Name, Value: "1"}).Valid() != nil:
		return fmt.Errorf("name of play_cookie: %q cannot be the name of a cookie", c.Name)
	case c.Enabled && c.MaxAge < time.Minute:
		return errors.New("max_age of play_cookie is less than 60 seconds, in which players could not ask for another")
	}
	return nil
}

// HTTPHooksConfig is http_hooks: other servers that are asked and told by HTTP
// what clients do. A hook that is asked accepts with status 200 or 201 and the
// body 0, or JSON with code 0; anything else refuses the client. Of several URLs
// each must accept.
type HTTPHooksConfig struct {
	// Enabled turns the hooks on.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// OnConnect is asked when a client connects to an app.
	OnConnect []string `conf:"on_connect" reload:"session"`

	// OnClose is told when it disconnects.
	OnClose []string `conf:"on_close" reload:"session"`

	// OnPublish is asked before a client publishes.
	OnPublish []string `conf:"on_publish" reload:"session"`

	// OnUnpublish is told when it stops publishing.
	OnUnpublish []string `conf:"on_unpublish" reload:"session"`

	// OnPlay is asked before a client plays.
	OnPlay []string `conf:"on_play" reload:"session"`

	// OnStop is told when it stops playing.
	OnStop []string `conf:"on_stop" reload:"session"`

	// OnDVR is told when a recording is finished.
	OnDVR []string `conf:"on_dvr" reload:"session"`

	// OnHLS is told when an HLS segment is finished.
	OnHLS []string `conf:"on_hls" reload:"session"`

	// OnHLSNotify is a URL that is fetched when an HLS segment is finished, to warm
	// the cache of a CDN perhaps, with [server_id], [service_id], [app], [stream],
	// [ts_url] and [param] filled in.
	OnHLSNotify string `conf:"on_hls_notify" default:"" shown:"none" reload:"session"`

	// Timeout is the deadline of a call, from connecting to the last byte of the
	// answer. It is a directive of weir, as those below.
	Timeout time.Duration `conf:"timeout" default:"30" unit:"s" reload:"session" since:"weir"`

	// OnError says what becomes of a client about whom a hook cannot be asked: its
	// server cannot be reached, does not answer in time, or answers with status 500
	// or above. It is refused, or admitted with allow.
	OnError string `conf:"on_error" default:"refuse" enum:"refuse|allow" reload:"session" since:"weir"`

	// Retries is how often a notification is sent again that did not arrive, first
	// after retry_interval, then each time after twice as long.
	Retries int `conf:"retries" default:"0" reload:"session" since:"weir"`

	// RetryInterval is the wait before the first of them.
	RetryInterval time.Duration `conf:"retry_interval" default:"1" unit:"s" reload:"session" since:"weir"`

	// Queue is how many notifications may wait at one time, those of all vhosts
	// together; what comes beyond it is lost, and said to be.
	Queue int `conf:"queue" default:"16384" reload:"session" since:"weir"`

	// TLSVerify says what becomes of a callback server of https whose certificate
	// cannot be trusted: with off it is called all the same, as in SRS, with warn too
	// and that is told, with on it is not called, as if it could not be reached.
	TLSVerify string `conf:"tls_verify" default:"warn" enum:"off|warn|on" reload:"session" since:"weir"`

	// Secret is a key with which calls are signed: the header X-Weir-Signature is
	// then t=SECONDS,v1=HEX, where HEX is the HMAC-SHA256 of the seconds, a dot and
	// the body.
	Secret string `conf:"secret" default:"" shown:"none: calls are not signed" reload:"session" since:"weir"`
}

// Warnings tells what is accepted and probably not meant.
func (c *HTTPHooksConfig) Warnings() []string {
	if c.Timeout <= 0 {
		return []string{"timeout is not above 0: every call fails"}
	}
	return nil
}
