package interop

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// obsFiles are what OBS keeps in its configuration folder: a profile that
// publishes to the server, and a scene that plays a file over and over.
var obsFiles = map[string]string{
	"global.ini": `[General]
FirstRun=true
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
EnableAutoUpdates=false
LastVersion=486539265

[Basic]
Profile=weir
ProfileDir=weir
SceneCollection=weir
SceneCollectionFile=weir
ConfigOnNewProfile=false
`,
	"basic/profiles/weir/basic.ini": `[General]
Name=weir

[Output]
Mode=Simple

[SimpleOutput]
VBitrate=500
StreamEncoder=x264
ABitrate=96
UseAdvanced=true
Preset=ultrafast
x264Settings=keyint=25

[Video]
BaseCX=320
BaseCY=180
OutputCX=320
OutputCY=180
FPSType=0
FPSCommon=25 PAL

[Audio]
SampleRate=44100
ChannelSetup=Stereo
`,
	"basic/profiles/weir/service.json": `{"settings": {"bwtest": false, "key": "KEY", "server": "SERVER", "use_auth": false}, "type": "rtmp_custom"}`,
	"basic/scenes/weir.json": `{"name": "weir", "current_scene": "Scene", "current_program_scene": "Scene", "scene_order": [{"name": "Scene"}], "sources": [
{"id": "ffmpeg_source", "versioned_id": "ffmpeg_source", "name": "File", "enabled": true, "mixers": 255, "volume": 1.0,
 "settings": {"is_local_file": true, "local_file": "FILE", "looping": true, "restart_on_activate": true}},
{"id": "scene", "versioned_id": "scene", "name": "Scene", "enabled": true, "settings": {"id_counter": 1, "custom_size": false, "items": [
 {"id": 1, "name": "File", "visible": true, "pos": {"x": 0.0, "y": 0.0}, "scale": {"x": 1.0, "y": 1.0}}]}}]}`,
}

// OBS publishes for half a minute from a screen that is not there.
func TestOBSPublishes(t *testing.T) {
	t.Parallel()
	hall(t)
	h := open(t, "")
	home := t.TempDir()
	fill := strings.NewReplacer("SERVER", "rtmp://"+h.rtmp+"/live", "KEY", "obs?token=secret", "FILE", bFrames.path(t))
	for name, text := range obsFiles {
		file := filepath.Join(home, ".config/obs-studio", name)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(fill.Replace(text)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	display := screen(t)
	log := newJournal()
	cmd := exec.Command("obs", strings.Fields("--startstreaming --minimize-to-tray --collection weir --profile weir --disable-updater --disable-missing-files-check --multi")...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home+"/.config", "XDG_RUNTIME_DIR="+home, "DISPLAY="+display,
		"LIBGL_ALWAYS_SOFTWARE=1", "QT_QPA_PLATFORM=xcb")
	obs := start(t, cmd, log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of OBS's log:\n%s", tail(log.String(), 40))
		}
	})
	h.awaitLive(t, "obs")
	began := time.Now()
	h.awaitHLS(t, "obs")
	for _, url := range []string{h.stream("obs"), h.page("obs", ".flv"), h.page("obs", ".m3u8")} {
		moving(t, url, demux(t, url, 4, ""), 4, 0.5)
	}
	time.Sleep(time.Until(began.Add(25 * time.Second)))
	moving(t, "after 25 s", demux(t, h.page("obs", ".mp4"), 5, ""), 5, 0.5)
	if !obs.running() {
		t.Fatalf("OBS has ended: %v", obs.err)
	}
	if !strings.Contains(h.log.String(), "param=?token=***") { // a secret, which the log hides
		t.Error("the stream key's parameters did not come")
	}
	obs.signal(syscall.SIGTERM)
	obs.wait(10 * time.Second) // it may crash: a window system without a desktop is strange to it
	wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "obs"); return !s.Publish.Active })
}

// screen starts a display without a screen and returns its name.
func screen(t *testing.T) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command("Xvfb", "-displayfd", "3", "-screen", "0", "1024x768x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	start(t, cmd, nil)
	w.Close()
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	var n int
	if _, err := fmt.Fscan(r, &n); err != nil {
		t.Fatalf("Xvfb: %v", err)
	}
	return ":" + strconv.Itoa(n)
}
