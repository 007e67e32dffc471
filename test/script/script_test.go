package script

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"weir/internal/demo"
	"weir/internal/protocol/protocoltest"
)

// binary is the server, and loop a short film; both are made once.
var binary, loop string

// root is the repository, seen from here.
const root = "../.."

func TestMain(m *testing.M) {
	flag.Parse()
	// Scripts wait more than they work.
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if !given {
		flag.Set("test.parallel", "6")
	}
	dir, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.RemoveAll(dir)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// prepare builds the server and writes the film, where any user can read them.
func prepare() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "weir-script-"); err != nil {
		return "", err
	}
	binary, loop = filepath.Join(dir, "weir"), filepath.Join(dir, "loop.flv")
	build := exec.Command("go", "build", "-trimpath", "-o", binary, "weir/cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("go build: %w\n%s", err, out)
	}
	return dir, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(loop, demo.Loop(), 0o644))
}

func TestScripts(t *testing.T) {
	sources(t)
	testscript.Run(t, testscript.Params{Dir: ".", Setup: setup, Cmds: commands, RequireUniqueNames: true})
}

// sources looks at all that the server is made of: what a test has looked at is
// what the cache of "go test" knows it by.
func sources(t *testing.T) {
	t.Helper()
	for _, dir := range []string{"cmd", "internal", "conf", "packaging"} {
		if err := filepath.WalkDir(filepath.Join(root, dir), func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Fatal(err)
		}
	}
}

// live is the configuration that every script finds as live.conf.
const live = `listen          $RTMP;
max_connections 100;
daemon          off;
srs_log_tank    console;
pid             ./weir.pid;
http_api        { enabled on; listen $API; }
http_server     { enabled on; listen $HTTP; dir ./html; }
vhost __defaultVhost__ {
    http_remux { enabled on; mount [vhost]/[app]/[stream].flv; }
    hls        { enabled on; hls_path ./html; hls_fragment 2; hls_window 10; }
}
`

// setup gives a script its addresses and its house.
func setup(env *testscript.Env) error {
	h := &house{dir: env.WorkDir, clients: map[string]*process{}}
	env.Values[houseKey{}] = h
	env.Defer(h.clear)
	var pairs []string
	for _, name := range []string{"RTMP", "HTTP", "API", "HTTPS", "HOOK", "SPARE"} {
		addr, err := protocoltest.FreePort()
		if err != nil {
			return err
		}
		_, port, _ := net.SplitHostPort(addr)
		env.Setenv(name, addr)
		env.Setenv(name+"_PORT", port)
		pairs = append(pairs, "${"+name+"_PORT}", port, "$"+name+"_PORT", port)
		pairs = append(pairs, "$"+name, addr)
	}
	env.Setenv("WEIR", binary)
	env.Setenv("LOOP", loop)
	for name, dir := range map[string]string{"CONF": "conf", "PACKAGING": "packaging"} {
		abs, err := filepath.Abs(filepath.Join(root, dir))
		if err != nil {
			return err
		}
		env.Setenv(name, abs)
	}
	h.api, h.hook = env.Getenv("API"), env.Getenv("HOOK")
	// The longer name comes first: $HTTPS before $HTTP.
	r := strings.NewReplacer(longestFirst(pairs)...)
	if err := os.WriteFile(filepath.Join(env.WorkDir, "live.conf"), []byte(live), 0o644); err != nil {
		return err
	}
	return errors.Join(os.Chmod(env.WorkDir, 0o755), os.Chmod(filepath.Dir(env.WorkDir), 0o755), rewrite(env.WorkDir, r))
}

// rewrite replaces the addresses in the configurations of a script.
func rewrite(dir string, r *strings.Replacer) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".conf" {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(path, []byte(r.Replace(string(b))), 0o644)
	})
}

func longestFirst(pairs []string) (out []string) {
	for n := 20; n > 0; n-- {
		for i := 0; i < len(pairs); i += 2 {
			if len(pairs[i]) == n {
				out = append(out, pairs[i], pairs[i+1])
			}
		}
	}
	return out
}
