package bench

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"weir/internal/config"
	"weir/internal/demo"
	"weir/internal/format/flv"
	"weir/internal/protocol/hls"
	"weir/internal/protocol/httplive"
	"weir/internal/protocol/protocoltest"
	"weir/internal/protocol/rtmp"
	"weir/internal/protocol/rtsp"
	"weir/internal/protocol/webrtc"
	"weir/internal/server"
	"weir/internal/service"
	"weir/internal/wire/websocket"
)

func TestStampComesBack(t *testing.T) {
	for _, lengthSize := range []int{1, 2, 4} {
		for _, at := range []int64{0, 1, 1790000000123456789, 1<<63 - 1} {
			b := appendStamp([]byte("before"+stampID[:5]), lengthSize, at&1 == 1, at)
			nal := b[11+lengthSize:]
			if got := int(b[11+lengthSize-1]); got != len(nal) || len(nal) != stampNAL {
				t.Errorf("length %d of a NAL unit of %d bytes, want %d", got, len(nal), stampNAL)
			}
			if bytes.IndexByte(nal, 0) >= 0 {
				t.Errorf("a zero byte in %x, which may need emulation prevention", nal)
			}
			key, got, rest, ok := nextStamp(append(b, "after"...))
			if !ok || got != at || key != (at&1 == 1) || string(rest) != "\x80after" {
				t.Errorf("stamp of %d: got %d, key %v, rest %q, %v", at, got, key, rest, ok)
			}
			if _, _, _, ok := nextStamp(b[:len(b)-2]); ok {
				t.Error("a stamp that was cut short is taken for a whole one")
			}
		}
	}
	// What looks like a stamp and is none is passed over.
	b := appendStamp([]byte(stampID+"Kno hexadecimals!"), 4, true, 42)
	if _, at, _, ok := nextStamp(b); !ok || at != 42 {
		t.Errorf("got %d, %v, want 42", at, ok)
	}
}

func FuzzStamp(f *testing.F) {
	f.Add(appendStamp(nil, 4, true, 42))
	f.Add([]byte(stampID))
	f.Fuzz(func(t *testing.T, b []byte) {
		for {
			_, at, rest, ok := nextStamp(b)
			if !ok {
				return
			}
			if at < 0 || len(rest) >= len(b) {
				t.Fatalf("%d, and %d bytes left of %d", at, len(rest), len(b))
			}
			b = rest
		}
	})
}

func FuzzPlaylist(f *testing.F) {
	f.Add("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2,\na.ts\n")
	f.Add("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parsePlaylist(text)
		if err == nil && (p.target < time.Second || len(p.segments) > len(text)) {
			t.Fatalf("%q: %+v", text, p)
		}
	})
}

func TestPlaylist(t *testing.T) {
	p, err := parsePlaylist("#EXTM3U\r\n#EXT-X-VERSION:7\r\n#EXT-X-TARGETDURATION:4\r\n#EXT-X-MEDIA-SEQUENCE:12\r\n" +
		"#EXT-X-MAP:URI=\"i.mp4\"\r\n#EXTINF:4,\r\na.m4s?x=1\r\n#EXTINF:4,\r\nb.m4s\r\n#EXT-X-ENDLIST\r\n")
	if err != nil || p.target != 4*time.Second || p.sequence != 12 || p.init != "i.mp4" || !p.end ||
		strings.Join(p.segments, " ") != "a.m4s?x=1 b.m4s" {
		t.Errorf("got %+v, %v", p, err)
	}
	p, err = parsePlaylist("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=2\nc.m3u8\n")
	if err != nil || p.variant != "b.m3u8" || p.segments != nil {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, bad := range []string{"", "<html>"} {
		if _, err := parsePlaylist(bad); err == nil {
			t.Errorf("%q is taken for a playlist", bad)
		}
	}
}

func TestPercentileAndMedian(t *testing.T) {
	v := []float64{5, 1, 4, 2, 3}
	for p, want := range map[float64]float64{0: 1, 20: 1, 50: 3, 99: 5, 100: 5} {
		if got := percentile(v, p); got != want {
			t.Errorf("p%v: got %v, want %v", p, got, want)
		}
	}
	if got := percentile(nil, 50); got != 0 {
		t.Errorf("of nothing: got %v", got)
	}
	if got := median([]float64{9, 1, 2, 4}); got != 3 {
		t.Errorf("median: got %v, want 3", got)
	}
}

func TestFlags(t *testing.T) {
	c, err := Parse(strings.Fields("-publish rtmp://h/live/s%d -play http://h:8080/live/s%d.flv?a=1 -streams 3 -viewers 200 -probes 7 -time 20s -warm 1s -pid 12,13 -json"))
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.check()
	if err != nil || k != kindFLV || c.Viewers != 200 || c.Probes != 7 || c.Time != 20*time.Second || c.Warm != time.Second ||
		c.Lead != 3*time.Second || fmt.Sprint(c.PIDs) != "[12 13]" || !c.JSON {
		t.Errorf("got %+v, %v, %v", c, k, err)
	}
	for line, want := range map[string]string{
		"":                                     "-play is missing",
		"-play ftp://h/x":                      "cannot play",
		"-play http://h/x.webm":                "cannot play",
		"-play rtmp:///x":                      "names no host",
		"-play rtmp://h/a/s -publish http://h": "cannot publish",
		"-play rtmp://h/a/s -streams 2":        "need %d",
		"-play rtmp://h/a/s -viewers 100001":   "-viewers 100001",
		"-play rtmp://h/a/s -viewers 0":        "at least one",
		"-play rtmp://h/a/s -time 11m":         "may take 10m",
		"-play rtmp://h/a/s -viewers 100000":   "", // 400 s to join
		"-play rtmp://h/a/s -pid x":            "-pid",
		"-play rtmp://h/a/s rest":              "no option",
		"-against f -play rtmp://h/a/s":        "the file names",
		"-against f -rounds 99":                "-rounds",
		"-what":                                "not defined",
	} {
		_, err := Parse(strings.Fields(line))
		if want == "" != (err == nil) || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", line, err, want)
		}
	}
	if _, err := Parse([]string{"-h"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-h: got %v", err)
	}
}

func TestSourceKeepsDelimiterFirst(t *testing.T) {
	config := []byte{0x17, 0, 0, 0, 0, 1, 66, 0, 30, 0xff, 0xe1, 0, 4, 0x67, 66, 0, 30, 1, 0, 2, 0x68, 1}
	file := flv.AppendFileHeader(nil, false, true)
	file = flv.AppendTag(file, flv.TypeVideo, 1000, config)
	file = flv.AppendTag(file, flv.TypeVideo, 1000, []byte{0x17, 1, 0, 0, 0}, []byte{0, 0, 0, 2, 9, 0x10}, []byte{0, 0, 0, 2, 0x65, 1})
	file = flv.AppendTag(file, flv.TypeVideo, 1040, []byte{0x27, 1, 0, 0, 0}, []byte{0, 0, 0, 2, 0x41, 1})
	src, err := readSource(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	if len(src.tags) != 3 || src.length != 80 || !src.stamped || !src.tags[0].once || !src.tags[1].key || src.tags[2].at != 40 {
		t.Fatalf("got %+v", src)
	}
	head, stamp, tail := src.tags[1].parts(nil, time.Unix(0, 7))
	if len(head) != 11 || len(tail) != 6 || len(stamp) != 4+stampNAL {
		t.Errorf("got %x %x %x", head, stamp, tail)
	}
	if _, err := readSource(bytes.NewReader(file[:len(file)-40])); err == nil {
		t.Error("a file of one frame is taken")
	}
}

// house starts a server and returns its addresses for RTMP, HTTP, the API and RTSP.
func house(t *testing.T) (live, web, api, rtspAt string) {
	t.Helper()
	live, web, api, rtspAt = protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	protocols := []service.Protocol{httplive.Protocol, hls.Protocol, rtmp.Protocol, rtsp.Protocol, webrtc.Protocol}
	text := fmt.Sprintf(`listen %s; rtsp_server { enabled on; listen %s; } http_server { enabled on; listen %s; dir %s; } http_api { enabled on; listen %s; } rtc_server { enabled on; listen 127.0.0.1:0; candidate 127.0.0.1; certificate %s/rtc.pem; }
vhost __defaultVhost__ { rtsp { enabled on; rtmp_to_rtsp on; } rtc { enabled on; rtmp_to_rtc on; } http_remux { enabled on; mount [vhost]/[app]/[stream].flv [vhost]/[app]/[stream].ts; } hls { enabled on; hls_fragment 1; hls_window 6; hls_files off; } }`, live, rtspAt, web, t.TempDir(), api, t.TempDir())
	conf, err := config.Parse(config.Source{File: "test.conf", Text: []byte(text), Getenv: func(string) string { return "" }}, server.Specs(protocols))
	if err != nil {
		t.Fatal(err)
	}
	ready, done := make(chan struct{}), make(chan error, 1)
	srv, err := server.New(server.Options{Conf: conf, Log: slog.New(slog.DiscardHandler), Protocols: protocols, Ready: func([]service.Listen) { close(ready) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	return live, web, api, rtspAt
}

// pulse returns what tells how well the process was let run since: what is measured on a
// machine that is busy with other work says nothing.
func pulse() (calm func() bool) {
	const beat = 10 * time.Millisecond
	stop, verdict := make(chan struct{}), make(chan bool)
	go func() {
		var late, latest time.Duration
		for n := time.Duration(1); ; n++ {
			began := time.Now()
			select {
			case <-time.After(beat):
			case <-stop:
				verdict <- latest < 200*time.Millisecond && late/n < beat
				return
			}
			by := time.Since(began) - beat
			late, latest = late+by, max(latest, by)
		}
	}()
	return func() bool {
		close(stop)
		return <-verdict
	}
}

func TestRunMeasuresAHouse(t *testing.T) {
	live, web, api, rtspAt := house(t)
	for name, o := range map[string]Options{
		"rtmp": {Play: "rtmp://" + live + "/live/rtmp%d", Time: 3 * time.Second, Lead: time.Second / 2},
		"flv":  {Play: "http://" + web + "/live/flv%d.flv", Time: 3 * time.Second, Lead: time.Second / 2},
		"ws":   {Play: "ws://" + web + "/live/ws%d.flv", Time: 3 * time.Second, Lead: time.Second / 2},
		"ts":   {Play: "http://" + web + "/live/ts%d.ts", Time: 3 * time.Second, Lead: time.Second / 2},
		"mp4":  {Play: "http://" + web + "/live/mp4%d.mp4", Time: 3 * time.Second, Lead: time.Second / 2},
		"rtsp": {Play: "rtsp://" + rtspAt + "/live/rtsp%d", Time: 3 * time.Second, Lead: time.Second / 2},
		"whep": {Play: "whep://" + api + "/live/whep%d", Time: 3 * time.Second, Lead: time.Second / 2},
		"hls":  {Play: "http://" + web + "/live/hls%d.m3u8", Time: 6 * time.Second, Lead: 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o.Publish = "rtmp://" + live + "/live/" + name + "%d"
			o.Loop = demo.Loop()
			o.Name, o.Streams, o.Viewers, o.Probes, o.Warm = "house", 2, 6, 2, time.Second/2
			if runtime.GOOS == "linux" {
				o.PIDs = []int{os.Getpid()}
			}
			lines := 0
			o.Progress = func(string) { lines++ }
			let := pulse()
			r, err := Run(t.Context(), o)
			calm := let() // else figures are not looked at, but that there are any
			if err != nil {
				t.Fatal(err)
			}
			if r.Viewers != 6 || r.Failed != 0 || r.Lost != 0 || r.Protocol != strings.NewReplacer("ws", "flv", "whep", "webrtc").Replace(name) || r.Interrupted {
				t.Errorf("viewers: got %+v", r)
			}
			if r.FPS <= 0 || r.Mbps <= 0 || calm && (r.FPS < 15 || r.FPS > 35 || r.Mbps < 0.1 || r.Mbps > 1000) {
				t.Errorf("got %.1f frames/s and %.2f Mbit/s, want about 25 and a few", r.FPS, r.Mbps)
			}
			if r.Delays == 0 || calm && r.Delays < 50 || r.DelayP50 <= 0 || r.DelayP99 < r.DelayP50 || r.FirstP50 <= 0 || r.FirstP99 < r.FirstP50 {
				t.Errorf("times: got %+v", r)
			}
			if lines == 0 || calm && lines < 5 {
				t.Errorf("%d lines of progress", lines)
			}
			if runtime.GOOS == "linux" && (r.Cost == nil || r.Cost.PerGbit <= 0 || r.Cost.CPU <= 0 || r.Cost.RSS <= 0) {
				t.Errorf("cost: got %+v", r.Cost)
			}
			if name == "whep" && (r.Packets == 0 || calm && r.Packets < 300 || runtime.GOOS == "linux" && (r.Cost.PerPacket <= 0 || r.Cost.PerJoin <= 0)) {
				t.Errorf("packets: got %+v, %+v", r, r.Cost)
			}
			var fields map[string]any
			b, err := json.Marshal(r)
			if err == nil {
				err = json.Unmarshal(b, &fields)
			}
			for _, f := range []string{"mbps", "fps", "delay_p50_ms", "delay_p99_ms", "first_p50_ms", "stalls", "viewers", "failed"} {
				if _, ok := fields[f]; !ok || err != nil {
					t.Errorf("no %s in %s (%v)", f, b, err)
				}
			}
			var table strings.Builder
			if err := Table(&table, r); err != nil || !strings.Contains(table.String(), "delay ms p50") {
				t.Errorf("table: %v\n%s", err, table.String())
			}
		})
	}
}

// Messages of WebSocket are read as one stream, whatever their lengths.
func TestSocketMessages(t *testing.T) {
	var wire []byte
	var want []byte
	for i, n := range []int{5, 0, 125, 126, 300, 65535, 65536, 1} {
		op := websocket.Binary
		if i > 0 {
			op = websocket.Continuation
		}
		wire = websocket.AppendHead(wire, op, n)
		part := bytes.Repeat([]byte{byte(i + 1)}, n)
		wire, want = append(wire, part...), append(want, part...)
		wire = append(websocket.AppendHead(wire, websocket.Ping, 2), "hi"...)
	}
	wire = websocket.AppendClose(wire, websocket.Normal)
	got, err := io.ReadAll(&messages{r: bufio.NewReader(bytes.NewReader(wire))})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes of %d, %v", len(got), len(want), err)
	}
	if _, err := io.ReadAll(&messages{r: bufio.NewReader(bytes.NewReader(wire[:100]))}); err == nil {
		t.Error("a stream that is cut off is no error")
	}
}

func TestInterruptedRunTellsWhatItHas(t *testing.T) {
	live, _, _, _ := house(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	o := Options{Publish: "rtmp://" + live + "/live/s", Play: "rtmp://" + live + "/live/s", Viewers: 3, Lead: 300 * time.Millisecond,
		Loop: demo.Loop(), Warm: 200 * time.Millisecond, Time: time.Minute}
	o.Progress = func(line string) {
		if strings.HasPrefix(line, "measuring") && strings.Contains(line, "3/3 viewers") && !strings.Contains(line, " 0.0 Mbit/s") {
			cancel()
		}
	}
	r, err := Run(ctx, o)
	if err != nil || !r.Interrupted || r.Viewers != 3 || r.Seconds > 59 || r.Mbps <= 0 {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestRunSaysWhatFails(t *testing.T) {
	nobody := protocoltest.FreeAddr(t)
	if r, err := Run(t.Context(), Options{Publish: "rtmp://" + nobody + "/live/s", Play: "rtmp://" + nobody + "/live/s", Loop: demo.Loop()}); err == nil {
		t.Errorf("published to nobody: %+v", r)
	}
	r, err := Run(t.Context(), Options{Play: "rtmp://" + nobody + "/live/s", Viewers: 2, Lead: 1, Warm: 1, Time: time.Millisecond})
	if err != nil || r.Failed != 2 || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "refused") {
		t.Errorf("got %+v, %v", r, err)
	}
}

func TestCompareTakesTurns(t *testing.T) {
	live, web, _, _ := house(t)
	file := filepath.Join(t.TempDir(), "servers.json")
	text := fmt.Sprintf(`{"servers": [
		{"name": "a", "publish": "rtmp://%s/live/a", "play": "rtmp://%[1]s/live/a"},
		{"name": "b", "publish": "rtmp://%[1]s/live/b", "play": "http://%s/live/b.flv"}]}`, live, web)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	load := Options{Loop: demo.Loop(), Viewers: 2, Probes: 1, Lead: 200 * time.Millisecond, Warm: 1, Time: 500 * time.Millisecond}
	calm := pulse()
	c, err := Compare(t.Context(), file, 2, load)
	if err != nil {
		t.Fatal(err)
	}
	names := ""
	for _, r := range c.Runs {
		names += r.Name
	}
	if names != "abab" || len(c.Medians) != 2 || calm() && (c.Ratios[0].Mbps != 1 || c.Ratios[1].Mbps <= 0) {
		t.Errorf("turns %s, got %+v", names, c)
	}
	var table strings.Builder
	if err := c.Table(&table); err != nil || !strings.Contains(table.String(), "multiple of a") {
		t.Errorf("table: %v\n%s", err, table.String())
	}
	for _, bad := range []string{`{`, `{"servers": []}`, `{"servers": [{}, {}]}`, `{"server": 1}`} {
		if err := os.WriteFile(file, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Compare(t.Context(), file, 1, load); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestAcknowledgements(t *testing.T) {
	tp := &tap{head: append(bytes.Repeat([]byte{7}, 3073), "\x02\x00\x00\x00\x00\x00\x04\x05\x00\x00\x00\x00\x00\x00\x10\x00\x02"...)}
	if got := tp.window(); got != 4096 {
		t.Errorf("window: got %d, want 4096", got)
	}
	if got := (&tap{head: tp.head[:3080]}).window(); got != 0 {
		t.Errorf("window of a beginning that was cut short: got %d, want 0", got)
	}
	a := acks{window: 4096, got: 1<<32 - 1, ack: 1<<32 - 1}
	if got := a.came(2047); got != nil {
		t.Errorf("acknowledged too early: %x", got)
	}
	want := "\x02\x00\x00\x00\x00\x00\x04\x03\x00\x00\x00\x00\x00\x00\x07\xff" // wrapped
	if got := a.came(1); string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
	if got := (&acks{}).came(1 << 30); got != nil {
		t.Errorf("acknowledged what nobody asked for: %x", got)
	}
}

func TestLostViewersAreCounted(t *testing.T) {
	r := &run{Options: Options{Viewers: 3}, kind: kindRTMP}
	for i := range 3 {
		v := &viewer{run: r, probe: true}
		v.gap.Store(int64(time.Hour))
		v.frames.Store(50)
		v.bytes.Store(1000)
		if i > 0 {
			v.first.Store(int64(i) * 1e6)
		}
		v.over.Store(i < 2)
		r.viewers = append(r.viewers, v)
	}
	at := time.Now()
	res := r.result(count{at: at, frames: 100}, r.count(at.Add(time.Second)))
	if res.Viewers != 1 || res.Failed != 1 || res.Lost != 1 || res.FPS != 25 || res.FirstP99 != 2 || res.Mbps != 0.024 {
		t.Errorf("got %+v", res)
	}
	r.viewers[2].first.Store(0) // it still waits for its picture
	if res := r.result(count{at: at}, r.count(at.Add(time.Second))); res.Failed != 2 || res.Viewers != 0 {
		t.Errorf("got %+v", res)
	}
}
