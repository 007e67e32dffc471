package sdp

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
)

func offer(t testing.TB, name string) string {
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestParseChromium(t *testing.T) {
	text := offer(t, "chromium-sendonly.sdp")
	for _, text := range []string{text, strings.ReplaceAll(text, "\n", "\r\n")} {
		s, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(s.Bundle, []string{"0", "1"}) || s.Ufrag != "ujs2" || s.Setup != "actpass" || len(s.Fingerprints) != 1 || len(s.Media) != 2 {
			t.Fatalf("%+v", s)
		}
		audio, video := s.Media[0], s.Media[1]
		if audio.Kind != "audio" || !audio.Sends() || audio.Receives() || !audio.RTCPMux || audio.Sources[0].SSRC != 4081425291 {
			t.Errorf("sound is %+v", audio)
		}
		if c := audio.Codec(111); c == nil || !c.Is("OPUS") || c.Clock != 48000 || c.Channels != 2 || c.Param("minptime") != "10" {
			t.Errorf("Opus is %+v", c)
		}
		if c := audio.Codec(8); c == nil || c.Name != "PCMA" || c.Clock != 8000 {
			t.Errorf("PCMA is %+v", c)
		}
		if video.Ext(ExtTWCC) != 3 || video.Ext(ExtMID) != 4 || len(video.Groups) != 1 || video.Groups[0].SSRC[1] != 1800996621 || len(video.Sources) != 2 {
			t.Errorf("picture has %+v, %+v", video.Groups, video.Sources)
		}
		c := video.Codec(108)
		if !c.Is("H264") || c.Param("packetization-mode") != "1" || c.Param("profile-level-id") != "42e01f" || !c.Has("nack pli") || c.Has("fir") {
			t.Errorf("H.264 is %+v", c)
		}
		if rtx, ok := video.Repair(108); !ok || rtx != 109 {
			t.Errorf("repair of 108 is %d, %v", rtx, ok)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":        "",
		"garbage":        "hello",
		"no equals":      "v=0\nhello\n",
		"media":          "v=0\nm=video\n",
		"type":           "v=0\nm=video 9 X 200\n",
		"clock":          "v=0\nm=video 9 X 96\na=rtpmap:96 VP8/x\n",
		"ssrc":           "v=0\nm=video 9 X 96\na=ssrc:x\n",
		"extension":      "v=0\nm=video 9 X 96\na=extmap:0 urn:x\n",
		"size":           "v=0\n" + strings.Repeat("a=x\n", MaxSize/4),
		"media count":    "v=0\n" + strings.Repeat("m=video 9 X 96\n", MaxMedia+1),
		"sources":        "v=0\nm=video 9 X 96\n" + many("a=ssrc:%\n", maxSources+1),
		"candidates":     "v=0\nm=video 9 X 96\n" + many("a=candidate:%\n", maxCandidates+1),
		"feedback count": "v=0\nm=video 9 X 96\n" + many("a=rtcp-fb:96 %\n", maxLayers+1),
	} {
		if _, err := Parse(text); !errors.Is(err, ErrSyntax) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func many(line string, n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(line, "%", strings.Repeat("1", i/10+1)+string(rune('0'+i%10))))
	}
	return b.String()
}

func TestLayers(t *testing.T) {
	s, err := Parse("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=sendonly\na=rid:hi send\na=rid:lo send pt=96\na=rid:x recv\na=simulcast:send hi;lo\n")
	if err != nil || !slices.Equal(s.Media[0].Layers, []string{"hi", "lo"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// The lines and their order are those that SRS was seen to write.
func TestAnswer(t *testing.T) {
	a := Answer{Origin: "SRS/7", ID: 5, Name: "SRSPlaySession", Stream: "live/s", Bundle: []string{"0", "1"}, Ufrag: "u", Pwd: "p", Fingerprint: "sha-256 AA", Setup: "passive",
		Candidates: []Candidate{{Host: "127.0.0.1", Port: 8000}, {TCP: true, Host: "2001:db8::1", Port: 8001}},
		Media: []AnswerMedia{
			{Kind: "audio", Proto: "UDP/TLS/RTP/SAVPF", MID: "0", Direction: "sendonly", Extmap: []Extension{{3, ExtTWCC}}, Sources: []uint32{7}, CName: "c", Label: "audio-1",
				Codecs: []Codec{{Type: 111, Name: "opus", Clock: 48000, Channels: 2, Feedback: []string{"transport-cc"}}}},
			{Kind: "video", Proto: "UDP/TLS/RTP/SAVPF", MID: "1", Direction: "sendonly", Sources: []uint32{8, 9}, CName: "c", Label: "video-1",
				Codecs: []Codec{{Type: 108, Name: "H264", Clock: 90000, Feedback: []string{"nack", "nack pli"}, Params: "packetization-mode=1"}, {Type: 109, Name: "rtx", Clock: 90000, Params: "apt=108"}}},
			{Kind: "video", Proto: "UDP/TLS/RTP/SAVPF", MID: "2"},
		}}
	want := `v=0
o=SRS/7 5 2 IN IP4 0.0.0.0
s=SRSPlaySession
t=0 0
a=ice-lite
a=group:BUNDLE 0 1
a=msid-semantic: WMS live/s
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:u
a=ice-pwd:p
a=fingerprint:sha-256 AA
a=setup:passive
a=mid:0
a=extmap:3 http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01
a=sendonly
a=msid:live/s audio-1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=ssrc:7 cname:c
a=ssrc:7 label:audio-1
a=candidate:0 1 udp 2130706431 127.0.0.1 8000 typ host generation 0
a=candidate:1 1 tcp 2130706431 2001:db8::1 8001 typ host tcptype passive generation 0
m=video 9 UDP/TLS/RTP/SAVPF 108 109
c=IN IP4 0.0.0.0
a=ice-ufrag:u
a=ice-pwd:p
a=fingerprint:sha-256 AA
a=setup:passive
a=mid:1
a=sendonly
a=msid:live/s video-1
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:108 H264/90000
a=rtcp-fb:108 nack
a=rtcp-fb:108 nack pli
a=fmtp:108 packetization-mode=1
a=rtpmap:109 rtx/90000
a=fmtp:109 apt=108
a=ssrc-group:FID 8 9
a=ssrc:8 cname:c
a=ssrc:8 label:video-1
a=ssrc:9 cname:c
a=ssrc:9 label:video-1
a=candidate:0 1 udp 2130706431 127.0.0.1 8000 typ host generation 0
a=candidate:1 1 tcp 2130706431 2001:db8::1 8001 typ host tcptype passive generation 0
m=video 0 UDP/TLS/RTP/SAVPF 0
c=IN IP4 0.0.0.0
a=mid:2
a=inactive
`
	if got := a.Text(); got != strings.ReplaceAll(want, "\n", "\r\n") {
		t.Errorf("it is\n%s", got)
	}
	if _, err := Parse(a.Text()); err != nil {
		t.Error(err)
	}
	if f := a.Fragment(); !strings.Contains(f, "a=ice-ufrag:u\r\n") || !strings.Contains(f, "m=audio") {
		t.Errorf("a fragment is %s", f)
	}
}

func TestFragment(t *testing.T) {
	s, err := ParseFragment("a=ice-ufrag:EsAw\r\na=ice-pwd:P2uY\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 UDP 1 192.0.2.1 5 typ host\r\na=end-of-candidates\r\n")
	if err != nil || s.Ufrag != "EsAw" || s.Pwd != "P2uY" || len(s.Media) != 1 || len(s.Media[0].Candidates) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := ParseFragment("hello"); !errors.Is(err, ErrSyntax) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(offer(f, "chromium-sendonly.sdp"))
	f.Add(offer(f, "chromium-recvonly.sdp"))
	f.Add("v=0\nm=video 9 UDP/TLS/RTP/SAVPF 96\na=rid:hi send\na=ssrc-group:FID 1 2\na=rtcp-fb:* nack\n")
	f.Fuzz(func(t *testing.T, text string) {
		ParseFragment(text)
		s, err := Parse(text)
		if err != nil {
			return
		}
		for _, m := range s.Media {
			if len(m.Codecs) > MaxCodecs || len(m.Sources) > maxSources {
				t.Fatal("over a limit")
			}
			for i := range m.Codecs {
				m.Codecs[i].Param("apt")
				m.Repair(m.Codecs[i].Type)
			}
		}
	})
}
