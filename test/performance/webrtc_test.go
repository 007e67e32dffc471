package performance

import (
	"fmt"
	"net"
	"os"
	"strings"

	"weir/internal/bench"
	"weir/internal/protocol/protocoltest"
)

// rtcHouse starts weir with WebRTC.
func (y *yard) rtcHouse() *server {
	return y.rtcServer(y.weir)
}

// rtcServer starts weir or SRS with WebRTC. SRS takes a port only.
func (y *yard) rtcServer(program string) *server {
	_, port, err := net.SplitHostPort(protocoltest.FreeAddr(y.b))
	if err != nil {
		y.b.Fatal(err)
	}
	return y.serve(program, "rtc { enabled on; rtmp_to_rtc on; }", false, []string{"SRS_RTC_SERVER_ENABLED=on", "SRS_RTC_SERVER_LISTEN=" + port, "SRS_RTC_SERVER_CANDIDATE=127.0.0.1"})
}

// fan is plain pion with the picture of weir's stream; media is that weir.
type fan struct {
	*server
	media *server
}

func (y *yard) fan() *fan {
	self, err := os.Executable()
	if err != nil {
		y.b.Fatal(err)
	}
	f := &fan{&server{http: protocoltest.FreeAddr(y.b)}, y.house("", false)}
	f.cmd = y.start(f.http, []string{fanOutEnv + "=" + f.http + " rtmp://" + f.media.rtmp + "/live/s0"}, self)
	return f
}

func (f *fan) load(o bench.Options) bench.Options {
	o = f.media.load("rtmp", o)
	o.Play, o.PIDs = "http://"+f.http+"/whep", []int{f.cmd.Process.Pid}
	return o
}

func (f *fan) stop() {
	f.cmd.Process.Kill()
	f.cmd.Wait()
	f.media.stop()
}

func (s *server) whep(o bench.Options) bench.Options {
	o = s.load("rtmp", o)
	o.Play = "whep://" + s.api + "/live/s%d"
	return o
}

func perPacket(r *bench.Result) float64 { return r.Cost.PerPacket }
func perJoin(r *bench.Result) float64   { return r.Cost.PerJoin }
func late(r *bench.Result) float64      { return r.DelayP99 }

// webrtc holds weir against plain pion, with the same stream, without sound, and the
// same viewers in this process.
func (y *yard) webrtc(b *strings.Builder) {
	const name = "WebRTC"
	if !wanted(name) && !strings.HasPrefix(*only, name) {
		return
	}
	fmt.Fprintf(b, "\n## WebRTC beside plain pion\n\nA server of a page's length on pion/webrtc v4.2.20 as it comes (default interceptors), whose picture is that of weir's stream by RTMP; weir\nwith its defaults. The picture has 25 frames a second and no sound; viewers are in a process of their own. Delay is from\nthe publisher's write to the viewer's read, for pion with weir's RTMP between.\n\n"+
		"| what | pion | weir | ratio | needed | |\n|---|---|---|---|---|---|\n")
	for _, m := range []struct {
		run, what, file, unit string // what are taken from one run
		viewers, ramp         int
		value                 func(r *bench.Result) float64
		most                  float64
		absolute              bool
	}{
		{run: "20 viewers of 2 Mbit/s", what: "CPU per packet and viewer", file: "2mv", unit: "us", viewers: 20, ramp: 100, value: perPacket, most: 1. / 3},
		{run: "20 viewers of 2 Mbit/s", what: "delay p99", unit: "ms", value: late, most: 40, absolute: true},
		{run: "200 viewers of 2 Mbit/s", what: "CPU per packet and viewer", file: "2mv", unit: "us", viewers: 200, ramp: 100, value: perPacket, most: 1. / 3},
		{run: "200 viewers of 2 Mbit/s", what: "delay p99", unit: "ms", value: late, most: 40, absolute: true},
		{run: "500 viewers of little", what: "memory", file: "tinyv", unit: "KB a viewer", viewers: 500, ramp: 100, value: memory, most: 150, absolute: true},
		{run: "200 viewers who come at once", what: "CPU until they have a picture", file: "tinyv", unit: "ms a viewer", viewers: 200, ramp: 250, value: perJoin, most: 5, absolute: true},
	} {
		if !wanted(name + ": " + m.run) {
			continue
		}
		if m.file != "" {
			y.pions, y.weirs = nil, nil
			for range *rounds {
				o := bench.Options{File: y.file(m.file), Viewers: m.viewers, Ramp: m.ramp}
				f := y.fan()
				y.pions = append(y.pions, y.measure(m.run+": pion", f.load(o)))
				f.stop()
				w := y.rtcHouse()
				y.weirs = append(y.weirs, y.measure(m.run+": weir", w.whep(o)))
				w.stop()
			}
		}
		p, w := median(y.pions, m.value), median(y.weirs, m.value)
		measured, target := w/p, fmt.Sprintf("%.2f ×", m.most)
		if m.absolute {
			measured, target = w, figure(m.most)+" "+m.unit
		}
		verdict := "missed"
		if measured <= m.most {
			verdict = "reached"
		}
		fmt.Fprintf(b, "| %s: %s | %s %s | %s %s | %.2f | %s | %s |\n", m.run, m.what, figure(p), m.unit, figure(w), m.unit, w/p, target, verdict)
		y.say("%s: %s: pion %s, weir %s %s", m.run, m.what, figure(p), figure(w), m.unit)
	}
}
