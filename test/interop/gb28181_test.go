package interop

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
	"weir/internal/wire/rtp"
)

// What a device says of itself, and what it does when it is invited, for SIPp.
const (
	deviceSays = `<?xml version="1.0"?><scenario name="device">
<send retrans="500"><![CDATA[
REGISTER sip:34020000002000000001@3402000000 SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
From: <sip:34020000001320000001@3402000000>;tag=[call_number]
To: <sip:34020000001320000001@3402000000>
Call-ID: [call_id]
CSeq: 1 REGISTER
Contact: <sip:34020000001320000001@[local_ip]:[local_port]>
Max-Forwards: 70
Expires: 3600
Content-Length: 0

]]></send>
<recv response="401" auth="true"/>
<send retrans="500"><![CDATA[
REGISTER sip:34020000002000000001@3402000000 SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
From: <sip:34020000001320000001@3402000000>;tag=[call_number]
To: <sip:34020000001320000001@3402000000>
Call-ID: [call_id]
CSeq: 2 REGISTER
Contact: <sip:34020000001320000001@[local_ip]:[local_port]>
Max-Forwards: 70
Expires: 3600
[authentication username=34020000001320000001 password=secretpass1]
Content-Length: 0

]]></send>
<recv response="200"/>
<label id="alive"/>
<pause milliseconds="1000"/>
<send retrans="500"><![CDATA[
MESSAGE sip:34020000002000000001@3402000000 SIP/2.0
Via: SIP/2.0/[transport] [local_ip]:[local_port];rport;branch=[branch]
From: <sip:34020000001320000001@3402000000>;tag=[call_number]
To: <sip:34020000002000000001@3402000000>
Call-ID: [call_id]
CSeq: [cseq] MESSAGE
Max-Forwards: 70
Content-Type: Application/MANSCDP+xml
Content-Length: [len]

<?xml version="1.0"?>
<Notify><CmdType>Keepalive</CmdType><SN>1</SN><DeviceID>34020000001320000001</DeviceID><Status>OK</Status></Notify>
]]></send>
<recv response="200" next="alive"/>
</scenario>`

	deviceSends = `<?xml version="1.0"?><scenario name="invited">
<recv request="INVITE"><action>
<ereg regexp="m=video [0-9]+ [A-Z/]+" search_in="body" assign_to="m"/>
<ereg regexp="y=([0-9]+)" search_in="body" check_it="true" assign_to="all,y"/>
<ereg regexp="34020000001320000001:[0-9]+,34020000002000000001:0" search_in="hdr" header="Subject:" check_it="true" assign_to="s"/>
<log message="invited [$m] ssrc [$y]"/>
</action></recv>
<Reference variables="all,s"/>
<send><![CDATA[
SIP/2.0 100 Trying
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
<send retrans="500"><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:];tag=device[call_number]
[last_Call-ID:]
[last_CSeq:]
Contact: <sip:34020000001320000001@[local_ip]:[local_port];transport=[transport]>
Content-Type: application/sdp
Content-Length: [len]

v=0
o=34020000001320000001 0 0 IN IP4 [local_ip]
s=Play
c=IN IP4 [local_ip]
t=0 0
m=video 9 TCP/RTP/AVP 96
a=sendonly
a=rtpmap:96 PS/90000
y=[$y]
]]></send>
<recv request="ACK"/>
<recv request="BYE"><action><log message="told to stop"/></action></recv>
<send><![CDATA[
SIP/2.0 200 OK
[last_Via:]
[last_From:]
[last_To:]
[last_Call-ID:]
[last_CSeq:]
Content-Length: 0

]]></send>
</scenario>`
)

// A device is a GB/T 28181 camera: SIPp speaks for it, and ffmpeg makes its program
// streams.
type device struct {
	t   *testing.T
	log string // file of SIPp's
}

func newDevice(t *testing.T, server, transport string) *device {
	t.Helper()
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	d := &device{t, filepath.Join(dir, "log")}
	mode := map[string]string{"udp": "u1", "tcp": "t1"}[transport]
	cmd := exec.Command("sipp", server, "-sf", write("says.xml", deviceSays), "-oocsf", write("sends.xml", deviceSends), "-t", mode, "-i", "127.0.0.1",
		"-m", "1", "-nostdin", "-trace_logs", "-log_file", d.log, "-aa")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TERM=dumb")
	log := newJournal()
	cmd.Stdout, cmd.Stderr = io.Discard, log
	start(t, cmd, log)
	return d
}

var invitedTo = regexp.MustCompile(`invited +(m=video.*?) ssrc +(\d+)`)

// invited waits for the device's nth invitation, and returns what it asks for.
func (d *device) invited(n int) (m string, ssrc uint32) {
	d.t.Helper()
	wait(d.t, fmt.Sprintf("invitation %d", n), func() bool {
		b, _ := os.ReadFile(d.log)
		all := invitedTo.FindAllStringSubmatch(string(b), -1)
		if len(all) < n {
			return false
		}
		y, err := strconv.ParseUint(all[n-1][2], 10, 32)
		m, ssrc = all[n-1][1], uint32(y)
		return err == nil
	})
	return m, ssrc
}

// send sends a source as a program stream in RTP, by TCP or UDP, in real time.
func send(t *testing.T, s *source, network, to string, ssrc uint32, args ...string) *process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ffmpeg", append(append([]string{"-v", "error", "-re", "-i", s.path(t)}, args...), "pipe:1")...)
	cmd.Stdout = w
	p := start(t, cmd, nil)
	w.Close()
	packet := dialRTP(t, network, to, ssrc)
	go func() {
		defer r.Close()
		buf := make([]byte, 1300)
		for {
			n, err := r.Read(buf)
			if err == nil {
				err = packet(buf[:n])
			}
			if err != nil && (n == 0 || network == "tcp") {
				return
			}
		}
	}()
	return p
}

// dialRTP returns what sends packets of a source until the test ends, by TCP behind their
// lengths.
func dialRTP(t *testing.T, network, to string, ssrc uint32) (packet func(b []byte) error) {
	t.Helper()
	nc, err := net.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	h := rtp.Header{PayloadType: 96, SSRC: ssrc}
	return func(b []byte) error {
		h.Sequence++
		p := append(h.Append(nil), b...)
		if network == "tcp" {
			p = append(binary.BigEndian.AppendUint16(nil, uint16(len(p))), p...)
		}
		_, err := nc.Write(p)
		return err
	}
}

// beat calls f each 40 ms, as often as pictures come, until it says that it is done or the
// test ends.
func beat(t *testing.T, f func(n int) (more bool)) {
	t.Helper()
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop) })
	go func() {
		for n := 0; f(n); n++ {
			select {
			case <-time.After(time.Second / rate):
			case <-stop:
				return
			}
		}
	}()
}

// openGB starts a server for devices, and returns where it takes SIP and media.
func openGB(t *testing.T, sip string) (h *house, sipAt, mediaAt string) {
	t.Helper()
	sipAt, mediaAt = protocoltest.FreeAddr(t), protocoltest.FreeAddr(t)
	h = open(t, "play { mix_correct on; } } stream_caster { enabled on; caster gb28181; listen "+mediaAt+
		"; output rtmp://[rtmp]/live/[stream]; sip { enabled on; listen "+sipAt+"; password secretpass1; reinvite 0.2; timeout 20; "+sip+" }", everyMount)
	return h, sipAt, mediaAt
}

// A device that SIPp speaks for registers by digest, keeps itself known, is invited, and
// what it sends is published with the packets that it sent, by both kinds of transport; it
// is invited again when its media end, and told to stop when the server does.
func TestGB28181(t *testing.T) {
	const id = "34020000001320000001"
	for transport, want := range map[string]string{"tcp": "TCP/RTP/AVP", "udp": "RTP/AVP"} {
		t.Run(transport, func(t *testing.T) {
			t.Parallel()
			mp3Sound.list(t)
			plainHEVC.list(t)
			h, sip, media := openGB(t, "media "+transport+";")
			d := newDevice(t, sip, transport)
			m, ssrc := d.invited(1)
			if !strings.HasSuffix(m, " "+want) || !strings.Contains(m, media[strings.LastIndex(media, ":")+1:]) {
				t.Errorf("invited to %q", m)
			}
			muxer := map[string]string{"tcp": "vob", "udp": "mpeg"}[transport]
			p := send(t, mp3Sound, transport, media, ssrc, "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", muxer)
			h.awaitLive(t, id)
			got := demux(t, h.stream(id), 4, "")
			sameRun(t, "decoded pictures", got.pictures, mp3Sound.pictures, 3*rate)
			sameRun(t, "video packets", got.video, mp3Sound.packets["video"], 3*rate)
			sameRun(t, "audio packets", got.audio, mp3Sound.packets["audio"], 3*38)
			steady(t, "video", got.video, 0.045)
			// The muxer has sound up to half a second behind the picture; what belongs before the
			// first picture comes at once.
			steady(t, "audio", got.audio[min(20, len(got.audio)):], 0.035)
			if transport == "udp" {
				h.awaitHLS(t, id)
			} else {
				p.kill()
				wait(t, "the stream is off the air", func() bool { s, _ := h.info(t, id); return !s.Publish.Active })
				_, again := d.invited(2)
				send(t, plainHEVC, transport, media, again, "-c:v", "copy", "-bsf:v", "hevc_mp4toannexb", "-an", "-f", "vob")
				h.awaitLive(t, id)
				got = demux(t, h.page(id, ".ts"), 3, "")
				sameRun(t, "decoded HEVC pictures", got.pictures, plainHEVC.pictures, 2*rate-6)
			}
			h.process.signal(2)
			wait(t, "the device is told to stop", func() bool { b, _ := os.ReadFile(d.log); return strings.Contains(string(b), "told to stop") })
		})
	}
}

// Another program speaks SIP, and announces a stream to the API; GStreamer makes one with
// a map of its streams.
func TestGB28181WithoutSIP(t *testing.T) {
	t.Parallel()
	baseline.list(t)
	media := protocoltest.FreeAddr(t)
	h := open(t, "play { mix_correct on; } } stream_caster { enabled on; caster gb28181; listen "+media+"; output rtmp://[rtmp]/live/[stream]; sip { enabled off; timeout 20; }")
	announce := func(body string) string {
		return must(t, "curl", "-s", "--data-binary", body, "http://"+h.api+"/gb/v1/publish/")
	}
	_, port, _ := net.SplitHostPort(media)
	if got := strings.TrimSpace(announce(`{"id":"cam","ssrc":"0123456789"}`)); got != `{"code":0,"port":`+port+`,"is_tcp":true}` {
		t.Errorf("the API says %s", got)
	}
	const busy, body = `{"code":1028,"desc":"StreamBusy",`, `{"code":3008,"desc":"HttpResponseData",`
	for ask, want := range map[string]string{`{"id":"cam","ssrc":"5"}`: busy, `{"id":"b","ssrc":"123456789"}`: busy, `{"id":"b","ssrc":"x"}`: body, `{`: body} {
		if got := announce(ask); !strings.HasPrefix(got, want) {
			t.Errorf("%s: the API says %s", ask, got)
		}
	}
	pipe := filepath.Join(t.TempDir(), "out.ps")
	gst := strings.Fields("-q filesrc location=" + baseline.path(t) + " ! flvdemux name=d d.video ! queue ! h264parse ! mpegpsmux name=m ! filesink location=" + pipe + " d.audio ! queue ! aacparse ! m.")
	must(t, "gst-launch-1.0", gst...)
	packet := dialRTP(t, "tcp", media, 123456789)
	b, err := os.ReadFile(pipe)
	if err != nil {
		t.Fatal(err)
	}
	// At its own pace, as near as its size tells.
	piece := len(b) / seconds / rate
	beat(t, func(n int) bool {
		packet(b[n*piece : min(len(b), (n+1)*piece)])
		return (n+1)*piece < len(b)
	})
	h.awaitLive(t, "cam")
	got := demux(t, h.stream("cam"), 3, "")
	sameRun(t, "audio packets", got.audio, baseline.packets["audio"], 2*38)
	sameRun(t, "decoded pictures", got.pictures, baseline.pictures, 2*rate)
}

// G.711, as most cameras send it, goes to those who can have it, RTMP and FLV; the others
// have the picture.
func TestGB28181Sound(t *testing.T) {
	t.Parallel()
	media := protocoltest.FreeAddr(t)
	h := open(t, "} stream_caster { enabled on; caster gb28181; listen "+media+"; output rtmp://[rtmp]/live/[stream]; sip { enabled off; }")
	must(t, "curl", "-s", "--data-binary", `{"id":"cam","ssrc":"7"}`, "http://"+h.api+"/gb/v1/publish/")
	file := filepath.Join(t.TempDir(), "out.ps")
	must(t, "ffmpeg", "-v", "error", "-i", baseline.path(t), "-t", "30", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-an", "-f", "vob", file)
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	packet := dialRTP(t, "udp", media, 7)
	packs, at := len(b)/2048, 0
	beat(t, func(n int) bool {
		// A map that has the sound, and 40 ms of silence.
		pts := uint64(45000 + n*3600)
		packet([]byte{0, 0, 1, 0xbc, 0, 14, 0xe1, 0xff, 0, 0, 0, 4, 0x90, 0xc0, 0, 0, 0, 0, 0, 0})
		pes := []byte{0, 0, 1, 0xc0, 1, 0x48, 0x80, 0x80, 5, byte(pts>>29)&0x0e | 0x21, byte(pts >> 22), byte(pts>>14) | 1, byte(pts >> 7), byte(pts<<1) | 1}
		for range 320 {
			pes = append(pes, 0xd5)
		}
		packet(pes)
		for ; at < packs && at < packs*(n+1)/(30*rate); at++ {
			packet(b[at*2048 : at*2048+1024])
			packet(b[at*2048+1024 : at*2048+2048])
		}
		return true
	})
	h.awaitLive(t, "cam")
	h.awaitHLS(t, "cam")
	for url, want := range map[string]string{h.stream("cam"): "h264,pcm_alaw", h.page("cam", ".flv"): "h264,pcm_alaw", h.page("cam", ".m3u8"): "h264"} {
		got := strings.Fields(must(t, "ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", url))
		slices.Sort(got)
		if strings.Join(slices.Compact(got), ",") != want {
			t.Errorf("%s has %s, want %s", url, got, want)
		}
	}
}
