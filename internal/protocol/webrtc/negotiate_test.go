package webrtc

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/media"
	"weir/internal/session"
	"weir/internal/wire/sdp"
)

// chromium is an offer that Chromium made.
func chromium(t testing.TB, name string) string {
	b, err := os.ReadFile("../../wire/sdp/testdata/chromium-" + name + ".sdp")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func agreeOn(t *testing.T, text string, publish bool, want media.Codec, live *media.Layout, change func(*blocks.RTCConfig)) (*plan, error) {
	t.Helper()
	s, err := sdp.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	conf := blocks.RTC.Default()
	if change != nil {
		change(conf)
	}
	return agree(s, publish, want, live, conf)
}

func TestAgree(t *testing.T) {
	picture, _ := testTracks(t)
	high := *picture
	high.Config = slices.Clone(picture.Config)
	high.Config[1] = 77
	vp8 := &media.Track{Kind: media.Video, Codec: media.VP8}
	for name, c := range map[string]struct {
		offer   string
		publish bool
		want    media.Codec
		live    *media.Track
		video   uint8
		is      media.Codec
	}{
		"SRS's favourite to play":    {"recvonly", false, 0, nil, 108, media.H264},
		"SRS's favourite to publish": {"sendonly", true, 0, nil, 108, media.H264},
		"the stream's profile":       {"recvonly", false, 0, &high, 116, media.H264},
		"the stream's codec":         {"recvonly", false, 0, vp8, 96, media.VP8},
		"what is asked for":          {"recvonly", false, media.AV1, nil, 45, media.AV1},
		"VP9 of the first profile":   {"recvonly", false, media.VP9, nil, 98, media.VP9},
	} {
		var live *media.Layout
		if c.live != nil {
			live = live.With(c.live)
		}
		p, err := agreeOn(t, chromium(t, c.offer), c.publish, c.want, live, nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if p.video.codec.Type != c.video || p.video.is != c.is || p.audio.codec.Type != 111 || p.setup != "passive" || p.video.twcc != 3 {
			t.Errorf("%s: payload type %d of %v, sound %d, %s", name, p.video.codec.Type, p.video.is, p.audio.codec.Type, p.setup)
		}
		if more := !c.publish && c.want == 0 && c.live == nil; more != (len(p.video.others) == 3) {
			t.Errorf("%s: others are %+v", name, p.video.others)
		}
	}
}

// Who plays is told how long to keep pictures, unless nobody wants that.
func TestAgreeOnDelay(t *testing.T) {
	for _, c := range []struct {
		offer   string
		publish bool
		delay   time.Duration
		want    uint8
	}{{"recvonly", false, 180 * time.Millisecond, 5}, {"recvonly", false, 0, 0}, {"sendonly", true, 180 * time.Millisecond, 0}} {
		p, err := agreeOn(t, chromium(t, c.offer), c.publish, 0, nil, func(r *blocks.RTCConfig) { r.PlayoutDelay = c.delay })
		if err != nil || p.video.delay != c.want || p.audio.delay != 0 {
			t.Errorf("%+v: extension %d, %v", c, p.video.delay, err)
		}
	}
}

// A publisher's sound has the codec that its offer names first.
func TestAgreeOnSound(t *testing.T) {
	text := chromium(t, "sendonly")
	for typ, is := range map[string]media.Codec{"111": media.Opus, "0": media.PCMU, "8": media.PCMA} {
		first := strings.Replace(text, "m=audio 9 UDP/TLS/RTP/SAVPF 111 ", "m=audio 9 UDP/TLS/RTP/SAVPF "+typ+" 111 ", 1)
		p, err := agreeOn(t, first, true, 0, nil, nil)
		if err != nil || p.audio.is != is {
			t.Errorf("%s first: %v, %v", typ, p.audio.is, err)
		}
	}
}

func TestAgreeOnRoles(t *testing.T) {
	text := chromium(t, "recvonly")
	for _, c := range []struct{ offer, role, want string }{
		{"actpass", "passive", "passive"}, {"actpass", "active", "active"}, {"active", "active", "passive"}, {"passive", "passive", "active"},
	} {
		p, err := agreeOn(t, strings.ReplaceAll(text, "a=setup:actpass", "a=setup:"+c.offer), false, 0, nil, func(r *blocks.RTCConfig) { r.DTLSRole = c.role })
		if err != nil || p.setup != c.want {
			t.Errorf("%+v: %+v, %v", c, p, err)
		}
	}
}

// What is wrong with an offer is told in words.
func TestAgreeRefuses(t *testing.T) {
	receive, send := chromium(t, "recvonly"), chromium(t, "sendonly")
	video := receive[strings.Index(receive, "m=video"):]
	for name, c := range map[string]struct {
		offer   string
		publish bool
		want    string
	}{
		"no media":      {receive[:strings.Index(receive, "m=audio")], false, "no media"},
		"no names":      {strings.ReplaceAll(receive, "a=ice-ufrag", "a=x"), false, "ice-ufrag"},
		"no print":      {strings.ReplaceAll(receive, "a=fingerprint", "a=x"), false, "fingerprint"},
		"data":          {receive + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\n", false, "only audio and video"},
		"sendonly play": {send, false, "sendonly"},
		"recvonly":      {receive, true, "recvonly"},
		"two pictures":  {send + strings.ReplaceAll(video, "recvonly", "sendonly"), true, "more than one video"},
		"no codec":      {strings.ReplaceAll(video, "a=rtpmap", "a=x"), false, ""},
		"setup":         {strings.ReplaceAll(receive, "actpass", "holdconn"), false, "holdconn"},
		"unknown codec": {regexpReplace(send, "H264|VP8|VP9|AV1|H265", "FOO"), true, "FOO"},
	} {
		if name == "no codec" {
			c.offer = receive[:strings.Index(receive, "m=audio")] + c.offer
			c.want = "no ice" // nothing else is left to say
			c.offer, c.want = strings.ReplaceAll(c.offer, "a=ice", "a=ice"), "no codec"
		}
		_, err := agreeOn(t, c.offer, c.publish, 0, nil, nil)
		if err == nil || session.Code(err) != codeExchange || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// More media than are played are rejected one by one.
	p, err := agreeOn(t, receive+video, false, 0, nil, nil)
	if err != nil || len(p.lines) != 3 || p.lines[2].codec != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

// Who could not see the picture is told so, as one whose browser has no H.264, or who asked for
// another; whoever came before the publisher gets what it likes best.
func TestAgreeOnPictureNotOffered(t *testing.T) {
	picture, _ := testTracks(t)
	live := (*media.Layout)(nil).With(picture)
	lacks := regexpReplace(chromium(t, "recvonly"), "H264", "FOO")
	for _, c := range []struct {
		want media.Codec
		live *media.Layout
		err  string
	}{
		{0, live, "the picture is H264, which the offer has not; it has VP8, VP9, FOO, AV1; take a player that has H264"},
		{media.H264, nil, "the picture is H264"},
		{media.VP8, live, ""},
		{0, nil, ""},
	} {
		_, err := agreeOn(t, lacks, false, c.want, c.live, nil)
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("%v of %v: %v", c.want, c.live, err)
		}
	}
}

func TestCandidates(t *testing.T) {
	addr := netip.MustParseAddr
	all := []netip.Addr{addr("127.0.0.1"), addr("10.0.0.7"), addr("2001:db8::7"), addr("fe80::1")}
	t.Setenv("RTC_TEST_CANDIDATE", "198.51.100.9")
	for name, c := range map[string]struct {
		change      func(*blocks.RTCServerConfig)
		asked, host string
		near        bool
		want        string
	}{
		"found":            {want: "10.0.0.7:8000/udp"},
		"asked":            {asked: "192.0.2.5:18000", want: "192.0.2.5:18000/udp 10.0.0.7:8000/udp"},
		"called":           {host: "192.0.2.1", want: "192.0.2.1:8000/udp 10.0.0.7:8000/udp"},
		"called here":      {host: "127.0.0.1", near: true, want: "10.0.0.7:8000/udp 127.0.0.1:8000/udp"},
		"localhost":        {host: "localhost", want: "10.0.0.7:8000/udp"},
		"name":             {host: "weir.example.com", want: "203.0.113.4:8000/udp 10.0.0.7:8000/udp"},
		"name kept":        {change: func(c *blocks.RTCServerConfig) { c.KeepAPIDomain = true; c.ResolveAPIDomain = false }, host: "weir.example.com", want: "weir.example.com:8000/udp 10.0.0.7:8000/udp"},
		"not called":       {change: func(c *blocks.RTCServerConfig) { c.APIAsCandidates = false }, host: "192.0.2.1", want: "10.0.0.7:8000/udp"},
		"configured":       {change: func(c *blocks.RTCServerConfig) { c.Candidate = []string{"198.51.100.1"} }, want: "198.51.100.1:8000/udp"},
		"with a port":      {change: func(c *blocks.RTCServerConfig) { c.Candidate = []string{"198.51.100.1:9000", "[2001:db8::1]:9"} }, want: "198.51.100.1:9000/udp 2001:db8::1:9/udp"},
		"environment":      {change: func(c *blocks.RTCServerConfig) { c.Candidate = []string{"$RTC_TEST_CANDIDATE"} }, want: "198.51.100.9:8000/udp"},
		"environment void": {change: func(c *blocks.RTCServerConfig) { c.Candidate = []string{"$RTC_TEST_NOTHING"} }, want: "10.0.0.7:8000/udp"},
		"ipv6":             {change: func(c *blocks.RTCServerConfig) { c.IPFamily = "ipv6" }, want: "2001:db8::7:8000/udp"},
		"all":              {change: func(c *blocks.RTCServerConfig) { c.IPFamily = "all" }, want: "10.0.0.7:8000/udp 2001:db8::7:8000/udp"},
		"not detected":     {change: func(c *blocks.RTCServerConfig) { c.AutoDetect = false }, host: "192.0.2.1", want: "192.0.2.1:8000/udp"},
		"nothing else":     {change: func(c *blocks.RTCServerConfig) { c.AutoDetect = false }, want: "127.0.0.1:8000/udp 10.0.0.7:8000/udp"},
		"tcp":              {change: func(c *blocks.RTCServerConfig) { c.Protocol = "tcp" }, want: "10.0.0.7:8001/tcp"},
		"both":             {change: func(c *blocks.RTCServerConfig) { c.Protocol = "all" }, want: "10.0.0.7:8000/udp 10.0.0.7:8001/tcp"},
	} {
		conf := blocks.RTCServer.Default()
		if c.change != nil {
			c.change(conf)
		}
		r := &reach{conf: conf, udp: 8000, tcp: 8001, addresses: func() []netip.Addr { return all }, resolve: func(context.Context, string) []netip.Addr {
			return []netip.Addr{addr("203.0.113.4"), addr("127.0.0.1")}
		}}
		var got []string
		for _, x := range r.candidates(r.hosts(t.Context(), c.asked, c.host, c.near)) {
			typ := "udp"
			if x.TCP {
				typ = "tcp"
			}
			got = append(got, x.Host+":"+itoa(int(x.Port))+"/"+typ)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: %s, want %s", name, s, c.want)
		}
	}
}

func TestIdentityIsKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "objs", "rtc.pem")
	lost := func(err error) { t.Error(err) }
	a, err := newIdentity(file, true, lost)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newIdentity(file, true, lost)
	if err != nil || a.fingerprint != b.fingerprint {
		t.Errorf("%v, then %v, %v", a, b, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key may be read: %v, %v", info.Mode(), err)
	}
	if c, err := newIdentity("", false, lost); err != nil || c.fingerprint == a.fingerprint {
		t.Errorf("%v, %v", c, err)
	}
	os.WriteFile(file, []byte("no certificate"), 0o600)
	if _, err := newIdentity(file, true, lost); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Errorf("of a file that is none: %v", err)
	}
	told := false
	if _, err := newIdentity("/proc/nothing/rtc.pem", true, func(error) { told = true }); err != nil || !told {
		t.Errorf("where nothing can be kept: %v, %v", err, told)
	}
}
