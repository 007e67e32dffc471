//go:build long

package interop

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mpd"
)

// Two servers that one ffmpeg feeds, whose connection to one is cut twice, have the same
// bytes of each segment that both list. In the gate internal/protocol/hls and dash hold to
// that with servers that start anew.
func TestDeterministic(t *testing.T) {
	t.Parallel()
	conf := "hls { enabled on; hls_ctx off; hls_path ./html; hls_fragment 2; hls_window 60; hls_deterministic on; }" +
		" dash { enabled on; dash_path ./html; dash_fragment 2; dash_window_size 30; dash_deterministic on; }"
	a, b := open(t, conf), open(t, conf)
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-map", "0", "-c", "copy", "-flags", "+global_header", "-f", "tee",
		"[f=flv]"+a.stream("s")+"|[f=fifo:fifo_format=flv:attempt_recovery=1:recover_any_error=1:recovery_wait_time=1]"+b.stream("s"))
	for range 2 {
		b.awaitLive(t, "s")
		time.Sleep(9 * time.Second)
		live, _ := b.info(t, "s")
		must(t, "curl", "-sf", "-m", "10", "-X", "DELETE", "http://"+b.api+"/api/v1/clients/"+live.Publish.CID)
		time.Sleep(2 * time.Second)
	}
	b.awaitLive(t, "s")
	time.Sleep(9 * time.Second)
	names := func(h *house) map[string]bool {
		all := map[string]bool{}
		list := strings.Split(string(must(t, "curl", "-sf", h.page("s", ".m3u8"))), "\n")
		for i, line := range list {
			if line != "" && line[0] != '#' && !strings.Contains(list[i-1], "GAP") {
				all[line] = true
			}
		}
		m, err := mpd.Parse([]byte(must(t, "curl", "-sf", h.page("s", ".mpd"))))
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range m.Periods {
			for _, s := range p.Sets {
				for _, e := range s.Timeline {
					all["s/"+strings.NewReplacer("$RepresentationID$", s.ID, "$Time$", strconv.FormatInt(e.Time, 10)).Replace(s.Media)] = true
				}
			}
		}
		return all
	}
	of, both := names(a), 0
	for name := range names(b) {
		if !of[name] {
			continue
		}
		both++
		one, err := get("http://" + a.web + "/live/" + name)
		other, err2 := get("http://" + b.web + "/live/" + name)
		if err != nil || err2 != nil || !bytes.Equal(one, other) {
			t.Errorf("%s: %d and %d bytes, %v, %v", name, len(one), len(other), err, err2)
		}
	}
	t.Logf("%d segments are of both, %d of one", both, len(of))
	if both < 15 {
		t.Errorf("only %d", both)
	}
}
