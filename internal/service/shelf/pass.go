package shelf

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"net/http"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/hub"
)

// A pass is a cookie by which who was let in to a manifest has its segments and keys,
// without a token in every address: see play_cookie. It says until when it holds, and
// is signed for one stream.

// ownSecret signs where the configuration has no secret: until this process ends.
var ownSecret = func() []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return b
}()

func passConf(conf *config.Snapshot, vhost string) *blocks.PlayCookieConfig {
	v, _ := conf.Vhost(vhost)
	return blocks.PlayCookie.Of(v)
}

// seal returns a pass for a stream until a time in Unix seconds.
func seal(c *blocks.PlayCookieConfig, key hub.Key, until int64) string {
	secret := []byte(c.Secret)
	if len(secret) == 0 {
		secret = ownSecret
	}
	m := hmac.New(sha256.New, secret)
	text := strconv.FormatInt(until, 10)
	// Names have no line ends: SRS's clients could not ask for them.
	m.Write([]byte("weirpass1\n" + text + "\n" + key.Vhost + "\n" + key.App + "\n" + key.Stream))
	return text + "." + base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// passName returns the cookie's name: each stream has its own, so that several may be
// watched in one browser.
func passName(c *blocks.PlayCookieConfig, key hub.Key) string {
	h := fnv.New32a()
	h.Write([]byte(key.String()))
	return fmt.Sprintf("%s_%08x", c.Name, h.Sum32())
}

// opened returns until when the pass of a request holds, zero if it has none that
// does.
func opened(c *blocks.PlayCookieConfig, r *http.Request, key hub.Key) time.Time {
	for _, cookie := range r.CookiesNamed(passName(c, key)) {
		text, _, _ := strings.Cut(cookie.Value, ".")
		until, err := strconv.ParseInt(text, 10, 64)
		if err != nil || !hmac.Equal([]byte(cookie.Value), []byte(seal(c, key, until))) {
			continue
		}
		if at := time.Unix(until, 0); time.Now().Before(at) {
			return at
		}
	}
	return time.Time{}
}

// Give answers who was let in to a stream's manifest with it, and lets him have its files,
// where the vhost has play_cookie.
func Give(conf *config.Snapshot, w http.ResponseWriter, r *http.Request, key hub.Key, manifest *File) {
	if c := passConf(conf, key.Vhost); c.Enabled {
		origins(c, w, r)
		give(c, w, r, key)
		manifest = manifest.private()
	}
	manifest.Serve(w, r)
}

func give(c *blocks.PlayCookieConfig, w http.ResponseWriter, r *http.Request, key hub.Key) {
	if time.Until(opened(c, r, key)) > c.MaxAge/2 {
		return
	}
	until := time.Now().Add(c.MaxAge)
	cookie := &http.Cookie{Name: passName(c, key), Value: seal(c, key, until.Unix()), Path: "/", MaxAge: int(c.MaxAge / time.Second),
		HttpOnly: true, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https", SameSite: http.SameSiteLaxMode}
	if cookie.Secure {
		cookie.SameSite = http.SameSiteNoneMode // players stand on pages of other sites
	}
	http.SetCookie(w, cookie)
}

// origins lets pages of the named origins send cookies (fetch with credentials).
func origins(c *blocks.PlayCookieConfig, w http.ResponseWriter, r *http.Request) {
	origin := r.Header.Get("Origin")
	if origin == "" || !slices.Contains(c.Origins, origin) {
		return
	}
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Credentials", "true")
	// A star stands for nothing where there are credentials.
	h.Set("Access-Control-Allow-Headers", "Range")
	h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS")
	h.Set("Access-Control-Expose-Headers", "Content-Length, Content-Range")
	h.Add("Vary", "Origin")
}

// Leftover reports whether a file's name is one that live streams leave on disk, which
// are not for whoever asks where a vhost has play_cookie: any, since vhosts share a folder
// and who asks says which he means.
func Leftover(conf *config.Snapshot, name string) bool {
	if !slices.ContainsFunc(conf.Vhosts(), func(v *config.Vhost) bool { return blocks.PlayCookie.Of(v).Enabled }) {
		return false
	}
	switch strings.ToLower(pathpkg.Ext(name)) {
	case ".ts", ".m4s", ".key", ".m3u8", ".mpd", ".f4m", ".abst":
		return true
	}
	return strings.Contains(pathpkg.Base(name), "Seg1-Frag")
}

// Lend answers a request for a file of a stream, if it may have it.
func Lend(conf *config.Snapshot, w http.ResponseWriter, r *http.Request, key hub.Key, file *File) {
	if c := passConf(conf, key.Vhost); c.Enabled {
		origins(c, w, r)
		if opened(c, r, key).IsZero() {
			w.Header().Set("Cache-Control", "no-store")
			http.Error(w, "this file is for those who have asked for its playlist, with cookies", http.StatusForbidden)
			return
		}
		file = file.private()
	}
	file.Serve(w, r)
}

// private is the file for one viewer: caches that many share would give it to others.
func (f *File) private() *File {
	own := *f
	own.Cache = "private, " + strings.TrimPrefix(f.Cache, "public, ")
	return &own
}
