package performance

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"time"

	"weir/internal/bench"
	"weir/internal/protocol/protocoltest"
)

// webrtcBesideSRS holds weir against SRS, with the same stream of RTMP, with sound, and
// the same viewers.
func (y *yard) webrtcBesideSRS(b *strings.Builder) {
	const name = "WebRTC beside SRS"
	if *srsBin == "" || !wanted(name) {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\n%s as its own build makes it without sanitizer, with its FFmpeg, in turns with weir. The stream comes by RTMP, with 25 frames a second and\nsound of AAC, which both make Opus of. A viewer takes AES-GCM, which weir chooses, and AES-CM, which SRS has. Figures are SRS's, then weir's.\n\n"+
		"| what | CPU us a packet | ratio | CPU s/Gbit | delay p50 ms | delay p99 ms | first picture ms | KB a viewer | CPU ms a join | packets missed | stalls |\n|---|---|---|---|---|---|---|---|---|---|---|\n", name, srsVersion())
	for _, m := range []struct {
		what, file    string
		viewers, ramp int
	}{
		{"20 viewers of 2 Mbit/s", "2m", 20, 100},
		{"200 viewers of 2 Mbit/s", "2m", 200, 100},
		{"500 viewers of little", "tiny", 500, 100},
		{"200 viewers of little who come at once", "tiny", 200, 250},
	} {
		var srses, weirs []*bench.Result
		for range *rounds {
			o := bench.Options{File: y.file(m.file), Viewers: m.viewers, Ramp: m.ramp}
			s := y.rtcServer(*srsBin)
			srses = append(srses, y.measure(m.what+": SRS", s.whep(o)))
			s.stop()
			w := y.rtcHouse()
			weirs = append(weirs, y.measure(m.what+": weir", w.whep(o)))
			w.stop()
		}
		both := func(value func(r *bench.Result) float64) string {
			return figure(median(srses, value)) + " / " + figure(median(weirs, value))
		}
		fmt.Fprintf(b, "| %s | %s | %.2f | %s | %s | %s | %s | %s | %s | %s | %s |\n", m.what, both(perPacket), median(weirs, perPacket)/median(srses, perPacket), both(perGbit),
			both(func(r *bench.Result) float64 { return r.DelayP50 }), both(late), both(first), both(memory), both(perJoin),
			both(func(r *bench.Result) float64 { return float64(r.Missed) }), both(func(r *bench.Result) float64 { return float64(r.Stalls) }))
	}
}

// srtServer starts weir or SRS with SRT, and returns its port.
func (y *yard) srtServer(program string) (s *server, port string) {
	_, port, err := net.SplitHostPort(protocoltest.FreeAddr(y.b))
	if err != nil {
		y.b.Fatal(err)
	}
	return y.serve(program, "srt { enabled on; }", false, []string{"SRS_SRT_SERVER_ENABLED=on", "SRS_SRT_SERVER_LISTEN=" + port}), port
}

// srtBesideSRS holds weir against SRS with players of SRT. SRS has none of what comes by
// RTMP, so ffmpeg publishes by SRT, whose pictures carry no clock: there is no delay.
func (y *yard) srtBesideSRS(b *strings.Builder) {
	const name = "SRT beside SRS"
	if *srsBin == "" || !wanted(name) {
		return
	}
	fmt.Fprintf(b, "\n## %s\n\nThe same SRS in turns with weir. ffmpeg publishes 2 Mbit/s by SRT, since SRS's players of SRT have nothing else. Figures are SRS's, then weir's.\n\n"+
		"| what | CPU s/Gbit | ratio | first picture ms | KB a viewer | stalls |\n|---|---|---|---|---|---|\n", name)
	// Long enough for a run: ffmpeg halts for a moment where it begins again.
	y.run(exec.Command("ffmpeg", "-v", "error", "-stream_loop", "3", "-i", y.file("2m"), "-c", "copy", y.file("2mlong")))
	for _, viewers := range []int{30, 100} {
		what := fmt.Sprintf("%d SRT viewers", viewers)
		var srses, weirs []*bench.Result
		one := func(program, name string) *bench.Result {
			s, port := y.srtServer(program)
			defer s.stop()
			at := "srt://127.0.0.1:" + port + "?streamid=#!::r=live/s,m="
			publisher := exec.CommandContext(y.ctx, "ffmpeg", "-nostdin", "-v", "error", "-re", "-i", y.file("2mlong"), "-c", "copy", "-f", "mpegts", at+"publish")
			if err := publisher.Start(); err != nil {
				y.b.Fatal(err)
			}
			defer publisher.Wait()
			defer publisher.Process.Kill()
			time.Sleep(3 * time.Second) // until a group is under way, as viewers find it
			return y.measure(what+": "+name, bench.Options{Play: at + "request", Viewers: viewers, Ramp: 50, PIDs: []int{s.cmd.Process.Pid}})
		}
		for range *rounds {
			srses = append(srses, one(*srsBin, "SRS"))
			weirs = append(weirs, one(y.weir, "weir"))
		}
		both := func(value func(r *bench.Result) float64) string {
			return figure(median(srses, value)) + " / " + figure(median(weirs, value))
		}
		fmt.Fprintf(b, "| %s | %s | %.2f | %s | %s | %s |\n", what, both(perGbit), median(weirs, perGbit)/median(srses, perGbit), both(first), both(memory),
			both(func(r *bench.Result) float64 { return float64(r.Stalls) }))
	}
}
