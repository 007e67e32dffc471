package script

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// notRun are the files of conf/ that no server runs: one is a part of another,
// and one refuses by design.
var notRun = map[string]string{"include.vhost.conf": "a part", "full.conf": "shows all"}

// Each configuration that SRS ships starts in a folder that has nothing else, on
// other ports, and ends well. One that relies on what is not there yet says so,
// and starts when it is told to go on.
func TestConfFilesRun(t *testing.T) {
	sources(t)
	files, err := filepath.Glob(root + "/conf/*.conf")
	if err != nil || len(files) < 80 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	pair := t.TempDir()
	cmd := exec.Command("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", pair+"/server.key", "-out", pair+"/server.crt")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	for _, f := range files {
		name := filepath.Base(f)
		if notRun[name] != "" {
			continue
		}
		t.Run(strings.TrimSuffix(name, ".conf"), func(t *testing.T) {
			t.Parallel()
			dir := copyConf(t, files, pair)
			out, code := startConf(t, dir, name)
			if code != 0 || !strings.Contains(out, "ready in") || !strings.Contains(out, "RTMP listen at tcp://") {
				t.Errorf("exit code %d\n%s", code, out)
			}
			if strings.Contains(out, "panic") || strings.Contains(out, "[ERROR]") {
				t.Errorf("it complains:\n%s", out)
			}
		})
	}
}

// startConf starts the server, ends it when it is ready, and returns what it said.
func startConf(t *testing.T, dir, name string, args ...string) (string, int) {
	t.Helper()
	h := &house{dir: dir}
	c := h.command(dir, []string{"SRS_DAEMON=off", "SRS_SRS_LOG_TANK=console", "CANDIDATE=127.0.0.1"}, binary, append([]string{"-c", "conf/" + name}, args...)...)
	log := filepath.Join(dir, "out.txt")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	c.Stdout, c.Stderr = out, out
	p, err := start(c)
	if err != nil {
		t.Fatal(err)
	}
	defer p.kill()
	text := func() string { b, _ := os.ReadFile(log); return string(b) }
	if !poll(15*time.Second, func() bool { return p.ended() || strings.Contains(text(), "ready in") }) {
		t.Errorf("neither ready nor ended")
	}
	p.signal(syscall.SIGTERM)
	code, _ := p.wait(10 * time.Second)
	return text(), code
}

var listens = regexp.MustCompile(`(?m)^(\s*listen\s+)([^;]+);`)

// copyConf makes a folder with all of conf/, each port replaced by a free one of
// the loopback interface, and the certificate that some name.
func copyConf(t *testing.T, files []string, pair string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/conf", 0o755); err != nil {
		t.Fatal(err)
	}
	moved := map[string]string{}
	move := func(port string) string {
		if moved[port] == "" {
			addr, err := protocoltest.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			_, moved[port], _ = net.SplitHostPort(addr)
		}
		return moved[port]
	}
	for _, f := range slices.Concat(files, []string{pair + "/server.key", pair + "/server.crt"}) {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if filepath.Ext(f) == ".conf" && notRun[filepath.Base(f)] == "" {
			b = listens.ReplaceAllFunc(b, func(m []byte) []byte {
				part := listens.FindSubmatch(m)
				var all []string
				for _, l := range strings.Fields(string(part[2])) {
					host, port := "127.0.0.1", l
					if i := strings.LastIndexByte(l, ':'); i >= 0 {
						port = l[i+1:]
					}
					if strings.HasPrefix(l, "[") {
						host = "[::1]"
					}
					all = append(all, host+":"+move(port))
				}
				return bytes.Join([][]byte{part[1], []byte(strings.Join(all, " ")), []byte(";")}, nil)
			})
		}
		if err := os.WriteFile(filepath.Join(dir, "conf", filepath.Base(f)), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
