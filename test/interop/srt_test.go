package interop

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
)

// openSRT starts a server that speaks SRT too, and returns where.
func openSRT(t *testing.T, more string) (*house, string) {
	t.Helper()
	addr := protocoltest.FreeAddr(t)
	// ffmpeg's transport streams have sound in bursts, behind the picture.
	h := open(t, "srt { enabled on; } play { mix_correct on; } } srt_server { enabled on; listen "+addr+"; "+more)
	return h, addr
}

// ffmpeg's libsrt publishes; what players get over SRT and everything else is what it
// sent. So it is with each length of key.
func TestSRT(t *testing.T) {
	const span = 3
	for name, secret := range map[string]string{"plain": "", "128": "16", "192": "24", "256": "32"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bFrames.list(t)
			more, query := "", ""
			if secret != "" {
				more, query = "passphrase secretpass1; pbkeylen "+secret+";", "&passphrase=secretpass1"
			}
			h, addr := openSRT(t, more)
			pub := background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "mpegts", "srt://"+addr+"?streamid=#!::r=live/s,m=publish&pkt_size=1316"+query)
			h.awaitLive(t, "s")
			urls := map[string]string{"srt": "srt://" + addr + "?streamid=#!::r=live/s,m=request" + query, "rtmp": h.stream("s"), "flv": h.page("s", ".flv"), "hls": h.page("s", ".m3u8")}
			for form, url := range urls {
				t.Run(form, func(t *testing.T) {
					t.Parallel()
					bsf := ""
					if form == "srt" || form == "hls" {
						bsf = "-bsf:a aac_adtstoasc"
					}
					if form == "hls" {
						h.awaitHLS(t, "s")
					}
					bFrames.check(t, form, demux(t, url, span, bsf), span, false)
				})
			}
			t.Cleanup(func() {
				pub.signal(syscall.SIGINT)
				wait(t, "the stream ends with its publisher", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
			})
		})
	}
}

// What RTMP publishes is played over SRT, by libsrt's own tool too.
func TestSRTPlaysRTMP(t *testing.T) {
	t.Parallel()
	h, addr := openSRT(t, "")
	h.publish(t, baseline, "s")
	baseline.check(t, "ffmpeg", demux(t, "srt://"+addr+"?streamid=live/s", 3, "-bsf:a aac_adtstoasc"), 3, false)
	file := filepath.Join(t.TempDir(), "out.ts")
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("srt-live-transmit", "-q", "-a:no", "srt://"+addr+"?streamid=#!::r=live/s", "file://con")
	cmd.Stdout = out
	p := start(t, cmd, nil)
	wait(t, "srt-live-transmit has some", func() bool { i, err := out.Stat(); return err == nil && i.Size() > 150_000 })
	p.signal(syscall.SIGTERM)
	p.wait(5 * time.Second)
	i, _ := out.Stat()
	os.Truncate(file, i.Size()/188*188)
	if probe := must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", file); !strings.Contains(probe, "h264") || !strings.Contains(probe, "aac") {
		t.Errorf("ffprobe found %q", probe)
	}
}

// Refusals have SRT's codes, and libsrt understands them.
func TestSRTRefusals(t *testing.T) {
	t.Parallel()
	hooks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, 1) }))
	t.Cleanup(hooks.Close)
	// Ports of TCP; those of UDP are as free as a rule.
	addr, in, six := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	six = strings.Replace(six, "127.0.0.1", "[::1]", 1)
	h := open(t, "srt { enabled on; passphrase live/cam* secretpass2; } } "+
		"vhost rules.com { srt { enabled on; } security { enabled on; allow publish all; deny play all; } } "+
		"vhost full.com { srt { enabled on; } limits { sessions 1; } } "+
		"vhost hook.com { srt { enabled on; } http_hooks { enabled on; on_publish "+hooks.URL+"; } } "+
		"srt_server { enabled on; listen "+addr+" "+six+"; passphrase secretpass1; listener { listen "+in+"; mode publish; passphrase none; }")
	const good = "&passphrase=secretpass1"
	publish := func(to string) {
		background(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-c", "copy", "-f", "mpegts", "srt://"+to)
	}
	publish(six + "?streamid=#!::r=live/s,m=publish" + good)
	publish(addr + "?streamid=#!::r=live/cam1,m=publish&passphrase=secretpass2")
	publish(in + "?streamid=#!::r=live/plain")
	publish(addr + "?streamid=#!::h=full.com,r=live/s,m=publish" + good)
	for _, name := range []string{"s", "cam1", "plain"} {
		h.awaitLive(t, name)
	}
	if !h.log.await("vhost=full.com", 10*time.Second) {
		t.Error("nobody publishes to full.com")
	}
	for _, c := range []struct{ query, said, logged string }{
		{"#!::r=live/cam2,m=publish" + good, "Incorrect passphrase", "code=1010"},
		{"#!::h=rules.com,r=live/s" + good, "Application-defined rejection reason", "code=2403"},
		{"#!::h=hook.com,r=live/s,m=publish" + good, "Application-defined rejection reason", "code=2403"},
		{"#!::h=full.com,r=live/t,m=publish" + good, "Application-defined rejection reason", "code=2402"},
		{"#!::r=live/x,m=publish&passphrase=wrongpass99", "Incorrect passphrase", "code=1010"},
		{"#!::r=live/x,m=publish", "Password required or unexpected", "code=1011"},
		{"#!::r=live/s,m=publish" + good, "Application-defined rejection reason", "code=2409"},
		{"#!::r=live/x,m=steal" + good, "Application-defined rejection reason", "code=2405"},
		{"#!::m=publish" + good, "Application-defined rejection reason", "code=2400"},
	} {
		seen := len(h.log.String())
		r := run(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-t", "5", "-c", "copy", "-f", "mpegts", "srt://"+addr+"?streamid="+c.query)
		if r.err == nil || !strings.Contains(r.errors, c.said) {
			t.Errorf("%s: %v", c.query, r)
		}
		if new := h.log.String()[seen:]; !strings.Contains(new, c.logged) {
			t.Errorf("%s: no %s in the log: %s", c.query, c.logged, new)
		}
	}
	// The publishers' port has no players.
	r := run(t, "ffmpeg", "-v", "error", "-i", "srt://"+in+"?streamid=#!::r=live/s,m=request", "-c", "copy", "-t", "1", "-f", "null", "-")
	if r.err == nil || !strings.Contains(h.log.String(), "peers can only publish") {
		t.Errorf("a player at the publishers' port: %v", r)
	}
}

// What SRT publishes where srt_to_rtmp is off players of SRT alone see; others find what
// they find where nobody publishes, and wait for another publisher.
func TestSRTAmongItself(t *testing.T) {
	t.Parallel()
	h, addr := openSRT(t, "} vhost own.com { srt { enabled on; srt_to_rtmp off; } rtc { enabled on; rtmp_to_rtc on; } "+
		"http_remux { enabled on; mount [vhost]/[app]/[stream].flv; on_missing 404; } hls { enabled on; hls_path ./own; } "+
		"dvr { enabled on; dvr_path ./own/[stream].flv; } forward { enabled on; destination [rtmp]; }")
	pub := background(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-c", "copy", "-f", "mpegts", "srt://"+addr+"?streamid=#!::h=own.com,r=live/s,m=publish")
	h.awaitLive(t, "s")
	other := background(t, "ffmpeg", "-v", "error", "-i", "rtmp://"+h.rtmp+"/live?vhost=own.com/s", "-c", "copy", "-t", "1", "-f", "null", "-")
	wait(t, "the player of RTMP is there", func() bool { s, _ := h.info(t, "s"); return s.Clients == 2 })
	if got := demux(t, "srt://"+addr+"?streamid=#!::h=own.com,r=live/s", 2, "-bsf:a aac_adtstoasc"); len(got.pictures) < 20 || len(got.audio) < 20 {
		t.Errorf("over SRT came %d pictures and %d packets of sound", len(got.pictures), len(got.audio))
	}
	for _, ext := range []string{".flv", ".m3u8"} {
		if _, err := get(h.page("s", ext) + "?vhost=own.com"); err == nil || !strings.Contains(err.Error(), "404") {
			t.Errorf("%s: %v, want 404", ext, err)
		}
	}
	if !other.running() {
		t.Errorf("the player of RTMP did not wait: %s", other.log)
	}
	if left, _ := filepath.Glob(filepath.Join(h.dir, "own", "*")); len(left) > 0 {
		t.Errorf("somebody wrote %q", left)
	}
	pub.signal(syscall.SIGINT)
	wait(t, "the stream ends with its publisher", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
	background(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-c", "copy", "-f", "flv", "rtmp://"+h.rtmp+"/live?vhost=own.com/s")
	if err := other.wait(clientTime); err != nil {
		t.Errorf("with another publisher the player ends with %v: %s", err, other.log)
	}
}

// On a way that loses, reorders and delays, both ways, nothing is missing at the end.
func TestSRTLossyWay(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	h, addr := openSRT(t, "")
	in, out := newRelay(t, addr, 1), newRelay(t, addr, 2)
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "mpegts", "srt://"+in.addr+"?streamid=#!::r=live/s,m=publish&latency=600000&pkt_size=1316")
	h.awaitLive(t, "s")
	bFrames.check(t, "srt", demux(t, "srt://"+out.addr+"?streamid=#!::r=live/s,m=request&latency=600000", 4, "-bsf:a aac_adtstoasc"), 4, false)
	if in.dropped.Load() == 0 || out.dropped.Load() == 0 {
		t.Error("the relays lost nothing")
	}
	var list struct{ Clients []struct{ ID, Type string } }
	b, err := get("http://" + h.api + "/api/v1/clients/")
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list.Clients {
		if c.Type != "srt-publish" {
			continue
		}
		b, _ := get("http://" + h.api + "/api/v1/clients/" + c.ID + "?detail=1")
		var detail struct {
			Client struct {
				Detail struct {
					More struct {
						RTT                float64 `json:"rtt_ms"`
						Missed, GivenUp    int64
						PacketsMissed      int64 `json:"packets_missed"`
						PacketsGivenUp     int64 `json:"packets_given_up"`
						RecvLatency        int64 `json:"recv_latency_ms"`
						PacketsUndecrypted int64 `json:"packets_undecrypted"`
					}
				}
			}
		}
		json.Unmarshal(b, &detail)
		m := detail.Client.Detail.More
		if m.PacketsMissed == 0 || m.PacketsGivenUp != 0 || m.RTT < 30 || m.RecvLatency != 600 {
			t.Errorf("statistics of the publisher: %s", b)
		}
	}
}

// A stream is pulled from a listener of SRT, and sent to another one: ffmpeg's, both
// with a passphrase.
func TestSRTCaller(t *testing.T) {
	t.Parallel()
	bFrames.list(t)
	from, to := protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	h := open(t, "play { mix_correct on; } forward { enabled on; destination srt://"+to+"?passphrase=secretpass1&pbkeylen=32&latency=200&streamid=[app]/[stream]; } "+
		"ingest far { enabled on; native on; input { type stream; url srt://"+from+"?passphrase=secretpass2; } engine { enabled off; output rtmp://[rtmp]/live/s; } }")
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "mpegts", "srt://"+from+"?mode=listener&passphrase=secretpass2&pkt_size=1316")
	h.awaitLive(t, "s")
	bFrames.check(t, "rtmp", demux(t, h.stream("s"), 3, ""), 3, false)
	got := demux(t, "srt://"+to+"?mode=listener&passphrase=secretpass1", 4, "-bsf:a aac_adtstoasc")
	sameRun(t, "pictures sent to a listener", got.pictures, bFrames.pictures, 3*rate)
	sameRun(t, "sound sent to a listener", got.audio, bFrames.packets["audio"], 3*38)
	if !h.log.await("start forward", 10*time.Second) {
		t.Error("no word of the forward in the log")
	}
}

// Strangers that guess cookies are nobody's guests, and disturb none.
func TestSRTFlood(t *testing.T) {
	t.Parallel()
	h, addr := openSRT(t, "")
	c, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	b := make([]byte, 64)
	b[0], b[19], b[28], b[29], b[31] = 0x80, 5, 0, 0, 0
	copy(b[16+12:], []byte{0, 0, 5, 220, 0, 0, 32, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 77})
	for i := range 20_000 {
		copy(b[16+28:], fmt.Sprintf("%04x", i))
		c.Write(b)
	}
	background(t, "ffmpeg", "-v", "error", "-re", "-i", small.path(t), "-c", "copy", "-f", "mpegts", "srt://"+addr+"?streamid=#!::r=live/s,m=publish")
	h.awaitLive(t, "s")
	if strings.Contains(h.log.String(), "refused") {
		t.Error("strangers reach the log")
	}
}

// Data of a transport stream, SCTE-35 and KLV, go to those who play it as one, over SRT
// and HTTP, as ffmpeg tells them; others have picture and sound. AAC may come in LATM,
// GStreamer's muxer is as good as ffmpeg's, and of several programs one is chosen.
func TestSRTTransportStreams(t *testing.T) {
	t.Parallel()
	addr := protocoltest.FreeAddr(t)
	h := open(t, "srt { enabled on; } play { mix_correct on; } } srt_server { enabled on; listen "+addr+";", everyMount)
	t.Run("latm", func(t *testing.T) {
		bFrames.list(t)
		background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "mpegts", "-mpegts_flags", "+latm", "srt://"+addr+"?streamid=#!::m=publish,r=live/latm&pkt_size=1316")
		h.awaitLive(t, "latm")
		got := demux(t, h.stream("latm"), 3, "")
		sameRun(t, "sound that came in LATM", got.audio, bFrames.packets["audio"], 2*38)
	})
	t.Run("gstreamer", func(t *testing.T) {
		baseline.list(t)
		background(t, "gst-launch-1.0", strings.Fields("-q filesrc location="+baseline.path(t)+" ! flvdemux name=d d.video ! queue ! h264parse ! mpegtsmux name=m alignment=7 !"+
			" srtsink sync=true uri=srt://"+addr+" streamid=#!::r=live/gst,m=publish d.audio ! queue ! aacparse ! m.")...)
		h.awaitLive(t, "gst")
		got := demux(t, h.stream("gst"), 3, "")
		sameRun(t, "GStreamer's pictures", got.pictures, baseline.pictures, 2*rate)
		sameRun(t, "GStreamer's sound", got.audio, baseline.packets["audio"], 2*38)
	})
	t.Run("programs", func(t *testing.T) {
		small.list(t)
		two := filepath.Join(t.TempDir(), "two.ts")
		must(t, "ffmpeg", "-v", "error", "-i", bFrames.path(t), "-i", small.path(t), "-t", "30", "-map", "0", "-map", "1", "-c", "copy", "-program", "title=a:st=0:st=1", "-program", "title=b:st=2:st=3", "-f", "mpegts", two)
		to := "srt://" + addr + "?streamid=#!::m=publish,program=2,r=live/second"
		p := feedTS(t, two, to)
		h.awaitLive(t, "second")
		got := demux(t, h.stream("second"), 2, "")
		sameRun(t, "pictures of the second program", got.pictures, small.pictures, rate)
		p.kill()
	})
	t.Run("data", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "data.ts")
		withData(t, small.path(t), file)
		feedTS(t, file, "srt://"+addr+"?streamid=#!::m=publish,r=live/data")
		h.awaitLive(t, "data")
		for url, want := range map[string]string{
			"srt://" + addr + "?streamid=live/data": "aac,h264,klv,scte_35", h.page("data", ".ts"): "aac,h264,klv,scte_35", h.page("data", ".flv"): "aac,h264", h.stream("data"): "aac,h264",
		} {
			got := strings.Fields(must(t, "ffprobe", "-v", "fatal", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url))
			slices.Sort(got)
			if strings.Join(slices.Compact(got), ",") != want {
				t.Errorf("%s has %s, want %s", url, got, want)
			}
		}
		out := must(t, "ffmpeg", "-v", "fatal", "-t", "4", "-i", h.page("data", ".ts"), "-map", "0:d:1", "-c", "copy", "-f", "data", "-")
		if n := strings.Count(out, "key, length, value"); n < 2 {
			t.Errorf("KLV %d times in %q", n, out)
		}
	})
}

// feedTS has srt-live-transmit publish a transport stream at its own pace.
func feedTS(t *testing.T, file, to string) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("srt-live-transmit", "-q", "-a:no", "-chunk:1316", "file://con", to)
	cmd.Stdin = r
	p := start(t, cmd, nil)
	r.Close()
	go func() {
		defer w.Close()
		d := mpegts.NewDemuxer()
		var zero, at time.Duration
		begun := time.Now()
		for i := 0; i < len(b); i += 1316 {
			piece := b[i:min(len(b), i+1316)]
			for _, f := range d.Feed(nil, piece) {
				if f.Track.Kind == media.Video {
					if zero == 0 {
						zero = f.Source
					}
					at = f.Source - zero
				}
			}
			time.Sleep(time.Until(begun.Add(at)))
			if _, err := w.Write(piece); err != nil {
				return
			}
		}
	}()
	return p
}

// withData makes a transport stream of a file, with SCTE-35 and KLV each half second.
func withData(t *testing.T, from, to string) {
	t.Helper()
	plain := to + ".plain.ts"
	must(t, "ffmpeg", "-v", "error", "-i", from, "-t", "30", "-c", "copy", plain)
	b, err := os.ReadFile(plain)
	if err != nil {
		t.Fatal(err)
	}
	cue := &media.Track{Kind: media.Data, Codec: media.TSData, Config: []byte{0x86, 0}}
	klv := &media.Track{Kind: media.Data, ID: 1, Codec: media.TSData, Config: append([]byte{0x15, 0xfc}, 5, 4, 'K', 'L', 'V', 'A')}
	// splice_null, with its checksum (SCTE 35 9.3.1). KLV with times stands behind five bytes.
	section := []byte{0xfc, 0x30, 0x11, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xf0, 0x00, 0x00, 0x00, 0x00, 0x7a, 0x4f, 0xbf, 0xff}
	d := mpegts.NewDemuxer()
	frames := d.Flush(d.Feed(nil, b))
	layout := &media.Layout{}
	for _, f := range frames {
		if layout.Main(f.Track.Kind) == nil {
			layout = layout.With(f.Track)
		}
	}
	m := mpegts.NewPassing(layout.With(cue).With(klv))
	out := m.AppendTables(nil)
	for i, f := range frames {
		if f.Key && f.Track.Kind == media.Video {
			out = m.AppendTables(out)
		}
		f.DTS = f.Source
		out, _ = m.AppendFrame(out, f, f.DTS)
		if i%20 == 19 {
			out, _ = m.AppendFrame(out, &media.Frame{Track: cue, Payload: section}, f.DTS)
			out, _ = m.AppendFrame(out, &media.Frame{Track: klv, Payload: []byte("\x00\x00\xdf\x00\x13key, length, value\n")}, f.DTS)
		}
	}
	if err := os.WriteFile(to, out, 0o644); err != nil {
		t.Fatal(err)
	}
}
