package config

import (
	"net/netip"
	"strconv"
	"strings"
)

// headroom is how many descriptors SRS keeps for itself beside connections.
const headroom = 128

// A checker looks at what blocks cannot see of each other. Each of its errors is
// one for which SRS refuses to start.
type checker struct {
	root   *Directive
	index  *index
	getenv func(string) string
	prob   *problems
	src    *Source
}

// value returns what a directive of the server says, by its path: environment,
// file, default. The position is that of the file as a whole if only the default
// speaks.
func (c *checker) value(path string) (string, Pos) { return c.valueIn(c.root, path, path) }

// valueIn is value for the directive at path below dir, a vhost perhaps; whole is
// its path from the root.
func (c *checker) valueIn(dir *Directive, path, whole string) (string, Pos) {
	n := c.index.byPath[whole]
	if n == nil {
		return "", Pos{}
	}
	if name, v := lookup(c.getenv, n.env()); name != "" {
		return v, Pos{File: "$" + name}
	}
	d := dir
	for name := range strings.SplitSeq(path, ".") {
		d = d.Get(name)
	}
	if d != nil && d.Arg(0) != "" {
		return d.Arg(0), d.Pos()
	}
	return n.def(), Pos{File: c.root.File}
}

// on is value for a bool.
func (c *checker) on(path string) (bool, Pos) {
	v, at := c.value(path)
	return isOn(v, c.index.byPath[path].def()), at
}

func (c *checker) onIn(v *Directive, path string) (bool, Pos) {
	s, at := c.valueIn(v, path, "vhost."+path)
	return isOn(s, c.index.byPath["vhost."+path].def()), at
}

func (c *checker) all() {
	c.listen()
	c.numbers()
	c.ports()
	c.process()
	for _, v := range c.root.All("vhost") {
		c.vhost(v)
	}
}

func (c *checker) listen() {
	var words []string
	at := Pos{File: c.root.File}
	if name, v := lookup(c.getenv, c.index.byPath["listen"].env()); name != "" {
		words, at = strings.Fields(v), Pos{File: "$" + name}
	} else if d := c.root.Get("listen"); d != nil {
		words, at = d.Args, d.Pos()
	}
	if len(words) == 0 {
		c.prob.fail(at, "write listen 1935;", "listen requires params")
	}
	for _, w := range words {
		host, port := SplitListen(w)
		if port <= 0 || port > 65535 {
			c.prob.fail(at, "a port is a number from 1 to 65535", "listen.port=%d is invalid", port)
		}
		if host != "" {
			if _, err := netip.ParseAddr(host); err != nil {
				c.prob.fail(at, "write an IP address, or the port alone", "listen.ip=%s is invalid", clip(host))
			}
		}
	}
	for _, path := range []string{"http_api", "http_server"} {
		if on, _ := c.on(path + ".enabled"); !on {
			continue
		}
		if v, at := c.value(path + ".listen"); v != "" {
			if _, port := SplitListen(v); port <= 0 || port > 65535 {
				c.prob.warn(at, "a port is a number from 1 to 65535", "%s.listen %s is not a port; the server will not start", path, clip(v))
			}
		}
	}
}

// SplitListen takes "port", "ip:port", "[ip6]:port" or ":::port" apart, as SRS
// does: the host is empty if there is none, the port 0 if it is no number.
func SplitListen(s string) (host string, port int) {
	i := strings.LastIndexByte(s, ':')
	p := s[i+1:]
	if i >= 0 {
		host = s[:i]
		if h, ok := strings.CutPrefix(host, "["); ok {
			host = strings.TrimSuffix(h, "]")
		}
	}
	n, _ := atoi(p)
	return host, int(n)
}

func (c *checker) numbers() {
	v, at := c.value("max_connections")
	if n, _ := atoi(v); n <= 0 {
		c.prob.fail(at, "at least 1", "max_connections=%d is invalid", n)
	} else if most := c.src.MaxOpenFiles; most > 0 && uint64(n)+headroom >= most {
		c.prob.fail(at, "raise the limit with ulimit -HSn "+strconv.FormatInt(n*10, 10)+
			" (LimitNOFILE in a systemd unit), or lower max_connections",
			"%d exceed max open files=%d", n+headroom, most)
	}
	if v, at := c.value("chunk_size"); v != "" {
		c.chunkSize("chunk_size", v, at)
	}
	v, at = c.value("heartbeat.interval")
	if n, _ := atof(v); n <= 0 {
		c.prob.fail(at, "a number of seconds", "invalid heartbeat.interval=%s", strconv.FormatFloat(n, 'f', -1, 64))
	}
	v, at = c.value("stats.network")
	switch n, _ := atoi(v); {
	case n < 0:
		c.prob.fail(at, "count the interfaces from 0", "invalid stats.network=%d", n)
	case c.src.Interfaces > 0 && n >= int64(c.src.Interfaces):
		c.prob.fail(at, "count the interfaces from 0", "invalid stats.network=%d of %d", n, c.src.Interfaces)
	}
	if on, at := c.on("is_full"); on {
		c.prob.fail(at, "it shows every directive and is not meant to run; begin with conf/srs.conf",
			"never use full.conf(%s)", c.root.File)
	}
}

func (c *checker) chunkSize(what, v string, at Pos) {
	if n, _ := atoi(v); n < 128 || n > 65536 {
		c.prob.warn(at, "from 128 to 65536", "%s %s is out of range; the nearest is used", what, clip(v))
	}
}

func (c *checker) ports() {
	api, apiAt := c.on("http_api.enabled")
	web, webAt := c.on("http_server.enabled")
	apis, apisAt := c.on("http_api.https.enabled")
	webs, websAt := c.on("http_server.https.enabled")
	if apis && !api {
		c.prob.fail(first2(apisAt, apiAt), "turn http_api on too", "https api depends on http")
	}
	if webs && !web {
		c.prob.fail(first2(websAt, webAt), "turn http_server on too", "https stream depends on http")
	}
	if !api || !web || !apis || !webs {
		return
	}
	plainAPI, _ := c.value("http_api.listen")
	plainWeb, _ := c.value("http_server.listen")
	tlsWeb, _ := c.value("http_server.https.listen")
	tlsAPI, tlsAPIAt := c.value("http_api.https.listen")
	if tlsAPIAt.Line == 0 && plainAPI == plainWeb && !strings.HasPrefix(tlsAPIAt.File, "$") {
		tlsAPI = tlsWeb // shared unless it says otherwise
	}
	switch {
	case plainAPI == plainWeb && tlsAPI != tlsWeb:
		c.prob.fail(tlsAPIAt, "make them equal", "for same http, https api(%s) != server(%s)", tlsAPI, tlsWeb)
	case plainAPI != plainWeb && tlsAPI == tlsWeb:
		c.prob.fail(tlsAPIAt, "make them equal", "for same https, http api(%s) != server(%s)", plainAPI, plainWeb)
	}
}

func first2(a, b Pos) Pos {
	if a.File != "" {
		return a
	}
	return b
}

func (c *checker) process() {
	asprocess, at := c.on("asprocess")
	daemon, _ := c.on("daemon")
	container, _ := c.on("in_docker")
	if foreground, _ := c.on("disable_daemon_for_docker"); foreground && (container || c.src.Container) {
		daemon = false
	}
	if asprocess && daemon {
		c.prob.fail(at, "write daemon off; (it is on unless told)", "daemon conflicts with asprocess")
	}
}

func (c *checker) vhost(v *Directive) {
	name := clip(v.Arg(0))
	if v.Arg(0) == "" {
		c.prob.warn(v.Pos(), "vhost NAME { ... }", "a vhost without a name is never used")
	}
	if len(v.Args) > 1 {
		c.prob.warn(v.Pos(), "write a vhost for each", "only %s is a name here, %s is ignored", name, clip(strings.Join(v.Args[1:], " ")))
	}
	if d := v.Get("chunk_size"); d != nil && d.Arg(0) != "" {
		c.chunkSize("vhost.chunk_size", d.Arg(0), d.Pos())
	}
	if remux := v.All("http_remux"); len(remux) > 1 {
		c.prob.fail(remux[1].Pos(), "one block has one mount", "vhost.http_remux only one but count=%d of %s", len(remux), name)
	}
	hls, _ := c.onIn(v, "hls.enabled")
	remux, _ := c.onIn(v, "http_remux.enabled")
	mount, at := c.valueIn(v, "http_remux.mount", "vhost.http_remux.mount")
	// Several mounts are ours, and then streams and segments are told apart.
	if hls && remux && strings.HasSuffix(mount, ".ts") && !several(v.Get("http_remux").Get("mount"), mount) {
		c.prob.fail(at, "HLS has segments of that name; mount another format too, or in another vhost",
			"vhost.hls conflict with vhost.http-ts of %s", name)
	}
	forward, at := c.onIn(v, "forward.enabled")
	idle, _ := c.valueIn(v, "publish.kickoff_for_idle", "vhost.publish.kickoff_for_idle")
	if n, _ := atof(idle); forward && n > 0 {
		c.prob.fail(at, "the forwarder counts as nobody watching", "vhost.forward conflicts with vhost.publish.kickoff_for_idle")
	}
	ids := map[string]*Directive{}
	for _, d := range v.All("ingest") {
		id := d.Arg(0)
		if before := ids[id]; before != nil {
			c.prob.fail(d.Pos(), "the other is at "+before.Pos().String(), "ingest id=%s exists for %s", clip(id), name)
		}
		ids[id] = d
	}
}

// several reports whether a directive, or its value in the environment, has more
// than one word.
func several(d *Directive, value string) bool {
	return strings.Contains(value, " ") || d != nil && len(d.Args) > 1
}
