package script

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// A service manager that waits for it is told when the doors are open, and when
// they close.
func TestNotify(t *testing.T) {
	sources(t)
	for name, path := range map[string]string{"file": filepath.Join(t.TempDir(), "notify"), "abstract": "@weir-test-" + filepath.Base(t.TempDir())} {
		t.Run(name, func(t *testing.T) {
			l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			dir := t.TempDir()
			addr, err := protocoltest.FreePort()
			if err != nil {
				t.Fatal(err)
			}
			h := &house{dir: dir}
			c := h.command(dir, []string{"NOTIFY_SOCKET=" + path, "SRS_LISTEN=" + addr}, binary, "-e")
			p, err := start(c)
			if err != nil {
				t.Fatal(err)
			}
			defer p.kill()
			expect := func(want string) {
				t.Helper()
				b := make([]byte, 100)
				l.SetReadDeadline(time.Now().Add(10 * time.Second))
				n, err := l.Read(b)
				if got := string(b[:n]); err != nil || got != want {
					t.Fatalf("got %q, %v; want %q", got, err, want)
				}
			}
			expect("READY=1")
			nc, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatalf("ready, but: %v", err)
			}
			nc.Close()
			p.signal(syscall.SIGTERM)
			expect("STOPPING=1")
			if code, _ := p.wait(5 * time.Second); code != 0 {
				t.Errorf("exit code %d", code)
			}
		})
	}
}

// systemd understands the unit: it says nothing about it.
func TestUnit(t *testing.T) {
	dir := t.TempDir()
	b, err := os.ReadFile(root + "/packaging/weir.service")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for _, want := range []string{"Type=notify", "LimitNOFILE=1048576", "User=srs", "SRS_DAEMON=off"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in it", want)
		}
	}
	// The program has to be there, and the documentation, to be verified.
	text = strings.Replace(text, "ExecStart=/usr/local/srs/objs/srs", "ExecStart="+binary, 1)
	unit := filepath.Join(dir, "srs.service")
	if err := os.WriteFile(unit, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("systemd-analyze (test/install.sh installs it): %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "srs.service") {
			t.Error(line)
		}
	}
}
