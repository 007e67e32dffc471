package blocks

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"weir/internal/config"
)

// ACMEConfig is acme: certificates for HTTPS and RTMPS are got from an authority
// (RFC 8555; Let's Encrypt unless another is named) and renewed before they end. The
// names must lead here, and the authority must reach http_server at port 80 of them or
// HTTPS at port 443. Turning it on says that you accept the authority's terms. Other
// names are served with the files of cert and key, if there are any. It is a block of
// weir.
type ACMEConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Domains are the names that get certificates. Clients that name none get the first's.
	Domains []string `conf:"domains" shown:"none, required" reload:"now" since:"weir"`

	// Email is where the authority writes to if something is wrong.
	Email string `conf:"email" default:"" shown:"none" reload:"now" since:"weir"`

	// Directory is the authority's address.
	Directory string `conf:"directory" default:"https://acme-v02.api.letsencrypt.org/directory" reload:"now" since:"weir"`

	// Roots is a file of certificates, in PEM, by which an authority of one's own is
	// known, instead of those that the machine trusts.
	Roots string `conf:"roots" default:"" shown:"the machine's" reload:"now" since:"weir"`

	// Key is the account that an authority wants to know of beforehand (external account
	// binding): its id, then its key.
	Key []string `conf:"external_account" shown:"none" reload:"now" since:"weir"`

	// Storage is the folder of keys and certificates. Servers that share it get one
	// together.
	Storage string `conf:"storage" default:"./objs/acme" reload:"now" since:"weir"`
}

var domain = regexp.MustCompile(`^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// Validate refuses what no authority could do anything with.
func (c *ACMEConfig) Validate() error {
	if !c.Enabled {
		return nil
	}
	if len(c.Domains) == 0 {
		return errors.New("acme is on and has no domains; write domains live.example.com;")
	}
	for _, d := range c.Domains {
		if !domain.MatchString(d) {
			return fmt.Errorf("domains of acme: %q is not a name in small letters, such as live.example.com (names with * cannot be had this way)", d)
		}
	}
	if u, err := url.Parse(c.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("directory of acme: %q is no address with https", c.Directory)
	}
	if len(c.Key) != 0 && len(c.Key) != 2 {
		return errors.New("external_account of acme is an id and a key")
	}
	return nil
}

// Ports returns the ports at which http_server listens, plainly and with TLS, 0 for none.
func (c *ACMEConfig) Ports(s *config.Snapshot) (plain, secure int) {
	port := func(on bool, listen []string) int {
		if !on || len(listen) == 0 {
			return 0
		}
		_, p := config.SplitListen(listen[0])
		return p
	}
	web := HTTPServer.In(s)
	return port(web.Enabled, web.Listen), port(web.Enabled && web.HTTPS.Enabled, web.HTTPS.Listen)
}
