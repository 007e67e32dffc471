//go:build long

package interop

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// firefox is a Firefox that is driven by Marionette, its own protocol: messages of JSON, each
// behind its length.
type firefox struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
	id int
}

// openFirefox starts Firefox with a camera and a microphone that are none.
func openFirefox(t *testing.T) *firefox {
	t.Helper()
	if _, err := exec.LookPath("firefox-esr"); err != nil {
		t.Fatalf("%v; test/long.sh gets it", err)
	}
	dir, addr := t.TempDir(), protocoltest.FreeAddr(t)
	_, port, _ := net.SplitHostPort(addr)
	var prefs strings.Builder
	for name, value := range map[string]string{
		"marionette.port": port, "browser.startup.page": "0", "media.autoplay.default": "0", "media.autoplay.blocking_policy": "0",
		"media.navigator.streams.fake": "true", "media.navigator.permission.disabled": "true",
		"media.devices.insecure.enabled": "true", "media.getusermedia.insecure.enabled": "true",
		// It tells its own address, of which no resolver here knows another name.
		"media.peerconnection.ice.obfuscate_host_addresses": "false",
		// Nothing is fetched, not even a decoder of H.264.
		"media.gmp-manager.updateEnabled": "false", "app.update.enabled": "false", "datareporting.policy.dataSubmissionEnabled": "false",
		"network.captive-portal-service.enabled": "false", "network.connectivity-service.enabled": "false",
	} {
		fmt.Fprintf(&prefs, "user_pref(%q, %s);\n", name, value)
	}
	if err := os.WriteFile(filepath.Join(dir, "user.js"), []byte(prefs.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("firefox-esr", "--headless", "--no-remote", "--marionette", "--profile", dir)
	cmd.Env = append(os.Environ(), "HOME="+dir)
	start(t, cmd, nil)
	f := &firefox{t: t}
	wait(t, "Firefox can be driven", func() bool {
		time.Sleep(200 * time.Millisecond)
		nc, err := net.Dial("tcp", addr)
		f.nc = nc
		return err == nil
	})
	t.Cleanup(func() { f.nc.Close() })
	f.in = bufio.NewReader(f.nc)
	f.receive() // who it is
	f.do("WebDriver:NewSession", map[string]any{})
	return f
}

func (f *firefox) receive() []json.RawMessage {
	f.t.Helper()
	f.nc.SetDeadline(time.Now().Add(time.Minute))
	length, err := f.in.ReadString(':')
	if err != nil {
		f.t.Fatalf("Firefox: %v", err)
	}
	n, _ := strconv.Atoi(strings.TrimSuffix(length, ":"))
	text := make([]byte, n)
	if _, err := io.ReadFull(f.in, text); err != nil {
		f.t.Fatalf("Firefox: %v", err)
	}
	var m []json.RawMessage
	json.Unmarshal(text, &m)
	return m
}

// do has Firefox do something, and returns what comes of it.
func (f *firefox) do(what string, with map[string]any) json.RawMessage {
	f.t.Helper()
	f.id++
	text, _ := json.Marshal([]any{0, f.id, what, with})
	fmt.Fprintf(f.nc, "%d:%s", len(text), text)
	m := f.receive() // 1, id, error, result
	if len(m) != 4 || string(m[2]) != "null" {
		f.t.Fatalf("Firefox: %s is answered %s", what, m)
	}
	return m[3]
}

func (f *firefox) visit(url string) {
	f.t.Helper()
	f.do("WebDriver:Navigate", map[string]any{"url": url})
}

// says waits until the page says something.
func (f *firefox) says(what, pattern string) {
	f.t.Helper()
	re, last := regexp.MustCompile(pattern), ""
	defer func() {
		if f.t.Failed() {
			f.t.Logf("%s: the page said %q", what, last)
		}
	}()
	wait(f.t, what, func() bool {
		time.Sleep(200 * time.Millisecond)
		var r struct{ Value string }
		json.Unmarshal(f.do("WebDriver:ExecuteScript", map[string]any{"script": "return document.querySelector('output').textContent", "args": []any{}}), &r)
		last = r.Value
		return re.MatchString(last)
	})
}

// ownAddress is an address of this machine: Firefox reaches nobody by the loopback.
func ownAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Fatal("this machine has no IPv4 address but that of the loopback, at which Firefox does not play WebRTC")
	return ""
}

// Firefox plays the page of files, and publishes by WebRTC in each codec that it has, which
// another Firefox plays. That it cannot play H.264 it is told.
func TestFirefox(t *testing.T) {
	hall(t)
	own := ownAddress(t)
	port := strings.TrimPrefix(protocoltest.FreeAddr(t), "127.0.0.1:")
	h := open(t, "rtc { enabled on; rtmp_to_rtc on; rtc_to_rtmp on; }", "SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN="+own+":"+port, "SRS_RTC_SERVER_CANDIDATE="+own)
	h.publish(t, bFrames, "s")
	h.awaitLive(t, "s")
	a, b := openFirefox(t), openFirefox(t)
	a.visit("http://" + h.web + "/players/srs_player.html?autostart=true&stream=s")
	a.says("FLV is played", `^320×180, .* behind the newest data, ([5-9][0-9]|[0-9]{3,}) frames`)
	a.visit(h.player("whep", "stream=s"))
	a.says("it is told that it has no H.264", `the picture is H264, which the offer has not`)
	for _, codec := range []string{"VP8", "VP9", "AV1"} {
		a.visit(h.player("whip", "stream="+codec+"&vcodec="+strings.ToLower(codec)))
		a.says(codec+" is sent", `^connected, [0-9]+×[0-9]+, `+codec+`, [0-9]{2,} frames, opus, [0-9]{2,} packets of sound`)
		b.visit(h.player("whep", "stream="+codec))
		b.says(codec+" is played and heard", `^connected, [0-9]+×[0-9]+, `+codec+`, [0-9]{3,} frames, [0-9]+ freezes, opus, sound energy [0-9.]*[1-9]`)
	}
}
