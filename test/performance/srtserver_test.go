package performance

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/format/mpegts"
)

var span = flag.Duration("span", 25*time.Second, "how long each part of BenchmarkSRTServerLoss sends")

// BenchmarkSRTServerLoss has ffmpeg's libsrt publish to weir, and srt-live-transmit play from
// it, over lossy ways of 20 ms, and beside them ffmpeg send to srt-live-transmit over such a
// way with the same numbers, all at one time, in the clear and with AES. At most one packet
// in 10,000 may be missing with 2 % at 4 round trips and 10 % at 10, and in no case more
// than between libsrt's own, but for as much as two of its runs differ.
func BenchmarkSRTServerLoss(b *testing.B) {
	y := &yard{b: b, dir: b.TempDir(), ctx: b.Context()}
	y.build()
	ts := filepath.Join(y.dir, "media.ts")
	y.run(exec.Command("ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc2=rate=25:size=640x360", "-f", "lavfi", "-i", "sine=sample_rate=44100", "-t", "20", "-c:v", "libx264",
		"-preset", "ultrafast", "-pix_fmt", "yuv420p", "-g", "25", "-b:v", "5M", "-minrate", "5M", "-maxrate", "5M", "-bufsize", "1M", "-x264-params", "nal-hrd=cbr", "-c:a", "aac", ts))
	for _, c := range []struct {
		loss    float64
		latency time.Duration
		most    float64 // of 10,000, 0 for no bound of its own
		key     int     // bytes
	}{{0.02, 160 * time.Millisecond, 1, 16}, {0.10, 400 * time.Millisecond, 1, 24}, {0.30, 400 * time.Millisecond, 0, 32}} {
		for _, key := range []int{0, c.key} {
			name := fmt.Sprintf("%.0f%%_at_%v", 100*c.loss, c.latency)
			if key > 0 {
				name += fmt.Sprintf("_AES-%d", 8*key)
			}
			b.Run(name, func(b *testing.B) {
				for b.Loop() {
					for try := 1; ; try++ { // a machine that stands still loses for whoever has his turn
						x := &crossing{b: b, yard: y, media: ts, loss: c.loss, latency: c.latency, key: key, seed: uint64(try)}
						theirs, receives, sends := x.run()
						for who, m := range map[string]missing{"libsrt": theirs, "weir receives": receives, "weir sends": sends} {
							b.Logf("%s: %d of %d are missing", who, m.lost, m.all)
						}
						b.ReportMetric(theirs.of(1e4), "libsrt_lost/10k")
						b.ReportMetric(receives.of(1e4), "recv_lost/10k")
						b.ReportMetric(sends.of(1e4), "send_lost/10k")
						allowed := max(theirs.of(1e4)*1.25, c.most)
						if max(receives.of(1e4), sends.of(1e4)) <= allowed+1e-9 {
							break
						}
						if try == 3 {
							b.Fatalf("at most %.1f of 10,000 may be missing", allowed)
						}
					}
				}
			})
		}
	}
}

// missing is how many packets of how many did not come.
type missing struct{ lost, all int64 }

func (m missing) of(n float64) float64 { return float64(m.lost) * n / float64(max(1, m.all)) }

// crossing is one way of losing.
type crossing struct {
	b       *testing.B
	yard    *yard
	media   string
	loss    float64
	latency time.Duration
	key     int // bytes, 0 for none
	seed    uint64
}

func (x *crossing) port() string {
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		x.b.Fatal(err)
	}
	defer pc.Close()
	return pc.LocalAddr().String()
}

// query is what an address of SRT says, with times in a unit.
func (x *crossing) query(more string, unit time.Duration) string {
	q := fmt.Sprintf("?latency=%d%s", x.latency/unit, more)
	if x.key > 0 {
		q += fmt.Sprintf("&pbkeylen=%d&passphrase=secretpass1", x.key)
	}
	return q
}

// ffmpeg publishes over and over until stop is called.
func (x *crossing) ffmpeg(to string) (stop func()) {
	format := "mpegts"
	if strings.HasPrefix(to, "rtmp") {
		format = "flv"
	}
	cmd := exec.Command("ffmpeg", "-v", "error", "-re", "-stream_loop", "-1", "-i", x.media, "-c", "copy", "-f", format, to)
	if err := cmd.Start(); err != nil {
		x.b.Fatal(err)
	}
	return func() { cmd.Process.Kill(); cmd.Wait() }
}

// watch has srt-live-transmit receive until the span is over, and counts what is missing in
// the transport stream, from begin on.
func (x *crossing) watch(from string, begin *atomic.Bool, m *missing) (stop func()) {
	cmd := exec.Command("srt-live-transmit", "-q", "-a:no", "-chunk:1316", from, "file://con")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		x.b.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		d := mpegts.NewDemuxer()
		p := make([]byte, 1316)
		for {
			if _, err := io.ReadFull(out, p); err != nil {
				return
			}
			was := d.Lost()
			clear(d.Feed(nil, p))
			if begin.Load() {
				m.all++
				m.lost += int64(d.Lost()-was+6) / 7 // packets of TS, seven of which are one of SRT
			}
		}
	})
	return func() { cmd.Process.Kill(); wg.Wait(); cmd.Wait() }
}

func (x *crossing) run() (theirs, receives, sends missing) {
	y, at := x.yard, x.port()
	more := ""
	if x.key > 0 {
		more = fmt.Sprintf("passphrase secretpass1; pbkeylen %d;", x.key)
	}
	// The last brace is the template's.
	s := y.house(fmt.Sprintf("srt { enabled on; } } srt_server { enabled on; listen %s; latency %d; %s", at, x.latency.Milliseconds(), more), false)
	defer s.stop()
	in, out, direct := newLossy(x.b, at, x.loss, x.seed), newLossy(x.b, at, x.loss, x.seed), x.port()
	way := newLossy(x.b, direct, x.loss, x.seed)
	var begin atomic.Bool
	defer x.ffmpeg("rtmp://" + s.rtmp + "/live/out")()
	defer x.ffmpeg("srt://" + in.addr + x.query("&pkt_size=1316&streamid=#!::r=live/in,m=publish", time.Microsecond))()
	stop := []func(){
		x.watch("srt://"+direct+x.query("&mode=listener", time.Millisecond), &begin, &theirs),
		x.watch("srt://"+out.addr+x.query("&streamid=#!::r=live/out", time.Millisecond), &begin, &sends),
	}
	time.Sleep(500 * time.Millisecond)
	defer x.ffmpeg("srt://" + way.addr + x.query("&pkt_size=1316", time.Microsecond))()
	time.Sleep(3 * time.Second)
	before := x.stats(s.api)
	begin.Store(true)
	time.Sleep(*span)
	after := x.stats(s.api)
	for _, f := range stop {
		f()
	}
	if after.all < before.all {
		x.b.Fatal("the publisher was not there all the time")
	}
	return theirs, missing{after.lost - before.lost, after.all - before.all}, sends
}

// stats are what the server says of who publishes by SRT.
func (x *crossing) stats(api string) (m missing) {
	get := func(path string, v any) {
		res, err := http.Get("http://" + api + path)
		if err != nil {
			x.b.Fatal(err)
		}
		defer res.Body.Close()
		json.NewDecoder(res.Body).Decode(v)
	}
	var list struct{ Clients []struct{ ID, Type string } }
	get("/api/v1/clients/", &list)
	for _, c := range list.Clients {
		if c.Type != "srt-publish" {
			continue
		}
		var one struct {
			Client struct {
				Detail struct {
					More struct {
						Received int64 `json:"packets_received"`
						GivenUp  int64 `json:"packets_given_up"`
					}
				}
			}
		}
		get("/api/v1/clients/"+c.ID+"?detail=1", &one)
		return missing{one.Client.Detail.More.GivenUp, one.Client.Detail.More.Received + one.Client.Detail.More.GivenUp}
	}
	x.b.Fatal("nobody publishes by SRT")
	return m
}
