package rtsp

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"weir/internal/media"
)

func TestNext(t *testing.T) {
	stream := "OPTIONS rtsp://h/live/s RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: a\r\n b\r\n\r\n" +
		"\r\nSET_PARAMETER rtsp://h/live/s RTSP/1.0\ncseq:2\ncontent-length: 3\n\nx:y" +
		"$\x01\x00\x02ab" +
		"RTSP/1.0 200 OK\r\nCSeq: 7\r\n\r\n"
	var got []string
	// However it is cut, the same comes out.
	for _, step := range []int{1, 7, len(stream)} {
		got = got[:0]
		var b []byte
		for from := 0; from < len(stream); from += step {
			b = append(b, stream[from:min(from+step, len(stream))]...)
			for {
				m, n, err := Next(b)
				if err != nil {
					t.Fatal(err)
				}
				if n == 0 {
					break
				}
				got = append(got, fmt.Sprintf("%s %s %v %q %d %q", m.Method, m.URL, m.Header, m.Body, m.Channel, m.Packet))
				b = b[n:]
			}
		}
		want := []string{
			`OPTIONS rtsp://h/live/s [CSeq 1 User-Agent a b] "" 0 ""`,
			`SET_PARAMETER rtsp://h/live/s [cseq 2 content-length 3] "x:y" 0 ""`,
			`  [] "" 1 "ab"`,
			`  [CSeq 7] "" 0 ""`,
		}
		if !slices.Equal(got, want) || len(b) != 0 {
			t.Errorf("in steps of %d: %q, %d bytes are left", step, got, len(b))
		}
	}
}

func TestNextRefuses(t *testing.T) {
	for _, bad := range []string{
		"GET\r\n\r\n",
		"A B C D\r\n\r\n",
		"A:B rtsp://h RTSP/1.0\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\nno colon\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\n goes on from nothing\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\nContent-Length: -1\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\nContent-Length: 65537\r\n\r\n",
		"OPTIONS * RTSP/1.0\r\n" + strings.Repeat("A: b\r\n", MaxLines+1) + "\r\n",
		"OPTIONS " + strings.Repeat("x", MaxHead),
		strings.Repeat("\n", MaxHead+1),
		"\x16\x03\x01\x02\x00\x01", // TLS
		"OPTIONS * RTSP/1.0\r\nA: \x1b[2J\r\n\r\n",
	} {
		if _, n, err := Next([]byte(bad)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%.40q: %d bytes, %v", bad, n, err)
		}
	}
}

func TestResponse(t *testing.T) {
	r := Response{Status: OK, CSeq: "3", Server: "weir", Session: "abc;timeout=60", Header: Header{"Public", Methods}, Body: []byte("xy")}
	want := "RTSP/1.0 200 OK\r\nCSeq: 3\r\nCache-Control: no-store\r\nPragma: no-cache\r\nServer: weir\r\nSession: abc;timeout=60\r\nPublic: " + Methods + "\r\nContent-Length: 2\r\n\r\nxy"
	if got := string(r.Append(nil)); got != want {
		t.Errorf("%q", got)
	}
}

func TestTransport(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"RTP/AVP/TCP;unicast;interleaved=4-5", "[{true false false [4 5] true}]"},
		{"RTP/AVP/TCP;unicast;interleaved=4", "[{true false false [4 5] true}]"},
		{"RTP/AVP/TCP", "[{true false false [0 0] false}]"},
		{"RTP/AVP;unicast;client_port=5000-5001, RTP/AVP/TCP;interleaved=0-1;mode=\"PLAY\"", "[{false false false [0 0] false} {true false false [0 1] true}]"},
		{"RAW/RAW/UDP;unicast,rtp/avp/tcp", "[{true false false [0 0] false}]"},
		{"RTP/AVP/TCP;unicast;interleaved=0-1;mode=record", "[{true false true [0 1] true}]"},
		{"RTP/AVP;multicast", "[{false true false [0 0] false}]"},
		{"RTP/AVP/TCP;interleaved=255", ""},
		{"RTP/AVP/TCP;interleaved=3-3", ""},
		{"RTP/AVP/TCP;interleaved=256-257", ""},
		{"", ""},
		{strings.Repeat("RTP/AVP,", 17), ""},
	} {
		got, err := ParseTransport(tt.in)
		if s := fmt.Sprint(got); err == nil && s != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%q: %s, %v", tt.in, s, err)
		}
	}
}

func TestAddress(t *testing.T) {
	for _, url := range []string{"rtsp://h:8554/live/s", "rtsp://h/live/s?token=a/b", "rtsp://[::1]:8554/s"} {
		if got, n := Track(Control(url, 1)); got != url || n != 1 {
			t.Errorf("%q, %d of %q", got, n, Control(url, 1))
		}
	}
	for _, tt := range []struct {
		in, stream string
		track      int
	}{
		{"rtsp://h/live/s?a=b/trackID=1", "rtsp://h/live/s?a=b", 1},
		{"rtsp://h/live/s/trackID=0/", "rtsp://h/live/s", 0},
		{"rtsp://h/live/s", "rtsp://h/live/s", -1},
		{"rtsp://h/live/s/trackID=x", "rtsp://h/live/s/trackID=x", -1},
	} {
		if s, n := Track(tt.in); s != tt.stream || n != tt.track {
			t.Errorf("%q: %q, %d", tt.in, s, n)
		}
	}
	for in, want := range map[string]string{
		"rtsp://h:8554/live/s?token=a/b": "rtsp://h:8554/live s?token=a/b",
		"RTSP://h/a/b/s":                 "rtsp://h/a/b s",
		"rtsp://h/s":                     "rtsp://h s",
		"rtsp://h":                       "",
		"http://h/live/s":                "",
		"*":                              "",
	} {
		tc, s, err := Split(in)
		if got := tc + " " + s; err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

func TestSDP(t *testing.T) {
	h264 := []byte("\x01\x64\x00\x1f\xff\xe1\x00\x05\x67\x64\x00\x1f\xac\x01\x00\x02\x68\xee")
	got := string(AppendSDP(nil, "rtsp://h/live/s",
		Medium{&media.Track{Kind: media.Audio, Codec: media.AAC, SampleRate: 44100, Channels: 2, Config: []byte{0x12, 0x10}}, "rtsp://h/live/s/trackID=0"},
		Medium{&media.Track{Kind: media.Video, Codec: media.H264, Config: h264}, "rtsp://h/live/s/trackID=1"},
		Medium{&media.Track{Kind: media.Audio, Codec: media.Speex}, "no"}))
	want := strings.ReplaceAll(`v=0
o=- 0 0 IN IP4 0.0.0.0
s=Play
c=IN IP4 0.0.0.0
t=0 0
a=range:npt=now-
a=control:rtsp://h/live/s
m=audio 0 RTP/AVP 97
a=rtpmap:97 MPEG4-GENERIC/44100/2
a=fmtp:97 streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=1210
a=control:rtsp://h/live/s/trackID=0
a=recvonly
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=fmtp:96 packetization-mode=1;profile-level-id=64001F;sprop-parameter-sets=Z2QAH6w=,aO4=
a=control:rtsp://h/live/s/trackID=1
a=recvonly
`, "\n", "\r\n")
	if got != want {
		t.Errorf("got\n%s", got)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("DESCRIBE rtsp://127.0.0.1:8554/live/s RTSP/1.0\r\nAccept: application/sdp\r\nCSeq: 2\r\nUser-Agent: Lavf59.27.100\r\n\r\n"))
	f.Add([]byte("SETUP rtsp://127.0.0.1:8554/live/s/trackID=0 RTSP/1.0\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nCSeq: 3\r\n\r\n$\x01\x00\x01x"))
	f.Add([]byte("$\x00\x00\x04\x80\x60\x00\x01"))
	f.Add([]byte("\r\n\r\nSET_PARAMETER * RTSP/1.0\nContent-Length: 2\n\nab"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			m, n, err := Next(b)
			if err != nil || n == 0 {
				if err == nil && len(b) > MaxMessage+MaxHead {
					t.Fatalf("%d bytes are not enough", len(b))
				}
				return
			}
			if n > len(b) || len(m.Header) > 2*MaxLines || len(m.Body) > MaxBody {
				t.Fatalf("%d of %d bytes: %+v", n, len(b), m)
			}
			// Half of it is not taken for another message.
			if again, k, err := Next(b[:n-1]); err == nil && k > 0 && again.Packet == nil != (m.Packet == nil) {
				t.Fatalf("%q is %+v, less a byte %+v", b[:n], m, again)
			}
			if all, err := ParseTransport(m.Header.Get("Transport")); err == nil {
				for _, x := range all {
					if x.Chosen && x.Channels[0] == x.Channels[1] {
						t.Fatalf("%+v", x)
					}
				}
			}
			stream, track := Track(m.URL)
			if len(stream) > len(m.URL) || track > 255 {
				t.Fatalf("track %d of %q, %q", track, m.URL, stream)
			}
			if tc, name, err := Split(stream); err == nil && !strings.HasPrefix(tc, "rtsp://") {
				t.Fatalf("%q, %q of %q", tc, name, stream)
			}
			r := Response{Status: OK, CSeq: m.Header.Get("CSeq"), Server: "x"}
			if bytes.Count(r.Append(nil), []byte("\n")) > 6 {
				t.Fatalf("%q", r.Append(nil))
			}
			b = b[n:]
		}
	})
}
