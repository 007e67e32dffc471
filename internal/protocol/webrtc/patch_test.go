package webrtc

import (
	"strings"
	"testing"

	pion "github.com/pion/webrtc/v4"
)

// fragment is the part of an offer that a restart of ICE sends.
func fragment(offer string) string {
	var b strings.Builder
	for _, prefix := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
		_, rest, _ := strings.Cut(offer, prefix)
		value, _, _ := strings.Cut(rest, "\r\n")
		b.WriteString(prefix + value + "\r\n")
	}
	b.WriteString("m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:0\r\na=candidate:1 1 UDP 2130706431 192.0.2.77 5000 typ host\r\n")
	return b.String()
}

func TestPatch(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	loc, etag := w.answer.Header.Get("Location"), w.answer.Header.Get("ETag")
	if !strings.HasPrefix(etag, `"`) || w.answer.Header.Get("Accept-Patch") != fragmentType {
		t.Errorf("%v", w.answer.Header)
	}
	<-w.frames
	same := fragment(w.pc.LocalDescription().SDP)
	for name, c := range map[string]struct {
		path, typ, body, match string
		status                 int
	}{
		"candidates":   {loc, fragmentType, same, etag, 204},
		"any":          {loc, fragmentType, same, "*", 204},
		"no condition": {loc, fragmentType, same, "", 428},
		"stale":        {loc, fragmentType, same, `"other"`, 412},
		"type":         {loc, "application/json", same, etag, 415},
		"text":         {loc, "text/plain", same, etag, 415},
		"no type":      {loc, "", same, etag, 415},
		"garbage":      {loc, fragmentType, "hello", etag, 400},
		"no password":  {loc, fragmentType, "a=ice-ufrag:abcdefgh\r\n", "*", 400},
		"unknown":      {"/rtc/v1/whip/?session=x&token=y", fragmentType, same, etag, 404},
		"wrong token":  {strings.Replace(loc, "token=", "token=x", 1), fragmentType, same, etag, 403},
	} {
		if a := h.do("PATCH", c.path, c.typ, c.body, "If-Match", c.match); a.StatusCode != c.status {
			t.Errorf("%s: %s %s", name, a.Status, a.body)
		}
	}
	for x := range h.desk.Sessions() {
		if a, ok := x.Detail().(about); !ok || !strings.Contains(strings.Join(a.Theirs, " "), "192.0.2.77") || a.State != "connected" || len(a.Silent) != 0 {
			t.Errorf("the API says %+v", x.Detail())
		}
	}

	// A restart of ICE: media go on, under other names.
	o, err := w.pc.CreateOffer(&pion.OfferOptions{ICERestart: true})
	if err != nil {
		t.Fatal(err)
	}
	before := w.pc.RemoteDescription().SDP
	gathered := pion.GatheringCompletePromise(w.pc)
	if err := w.pc.SetLocalDescription(o); err != nil {
		t.Fatal(err)
	}
	<-gathered
	a := h.do("PATCH", loc, fragmentType, fragment(w.pc.LocalDescription().SDP), "If-Match", "*")
	if !strings.Contains(a.body, "a=group:BUNDLE 0 1\r\n") || !strings.Contains(a.body, "a=end-of-candidates") {
		t.Errorf("the fragment is\n%s", a.body)
	}
	for x := range h.desk.Sessions() {
		if all := strings.Join(x.Detail().(about).Theirs, " "); strings.Count(all, "192.0.2.77") != 1 {
			t.Errorf("after a restart its candidates are %s", all)
		}
	}
	if a.StatusCode != 200 || a.Header.Get("ETag") == etag || a.Header.Get("Content-Type") != fragmentType {
		t.Fatalf("a restart is answered %s %v %s", a.Status, a.Header, a.body)
	}
	value := func(s, prefix string) string {
		_, rest, _ := strings.Cut(s, prefix)
		v, _, _ := strings.Cut(rest, "\r\n")
		return prefix + v
	}
	after := before
	for _, prefix := range []string{"a=ice-ufrag:", "a=ice-pwd:"} {
		after = strings.ReplaceAll(after, value(before, prefix), value(a.body, prefix))
	}
	if after == before {
		t.Fatalf("the names stay:\n%s", a.body)
	}
	if err := w.pc.SetRemoteDescription(pion.SessionDescription{Type: pion.SDPTypeAnswer, SDP: after}); err != nil {
		t.Fatal(err)
	}
	var sess interface{ Bytes() (int64, int64) }
	for x := range h.desk.Sessions() {
		sess = x
	}
	h.s.mu.Lock()
	var p *peer
	for _, p = range h.s.ids {
	}
	h.s.mu.Unlock()
	checks := p.checks.Load()
	until(t, "checks come with the new names", func() bool { return p.checks.Load() > checks })
	for len(w.frames) > 0 {
		<-w.frames
	}
	for range 20 {
		<-w.frames
	}
	if in, _ := sess.Bytes(); in == 0 {
		t.Error("nothing was counted")
	}
	if a := h.do("PATCH", loc, fragmentType, same, "If-Match", etag); a.StatusCode != 412 {
		t.Errorf("the old tag is answered %s", a.Status)
	}
	if a := h.do("DELETE", loc, "", ""); a.StatusCode != 200 {
		t.Error(a.Status)
	}
	until(t, "session ends", func() bool { n, _ := h.desk.Len(); return n == 0 })
}

// SRS's request to lose packets makes a player ask for them again.
func TestSimulatedLoss(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	h.feed("rtmp")
	w := h.watch("/rtc/v1/whep/?app=live&stream=s", nil)
	<-w.frames
	_, session, _ := strings.Cut(w.answer.Header.Get("Location"), "session=")
	a := h.do("GET", "/rtc/v1/nack/?username="+session+"&drop=10", "", "")
	if !strings.Contains(a.body, `"code":0`) || !strings.Contains(a.body, `"drop":"10"`) {
		t.Errorf("it is answered %s", a.body)
	}
	h.s.mu.Lock()
	var p *peer
	for _, p = range h.s.ids {
	}
	h.s.mu.Unlock()
	until(t, "they are lost", func() bool { return p.lose.Load() <= 0 })
	if a := h.do("GET", "/rtc/v1/nack/?username=nobody&drop=10", "", ""); !strings.Contains(a.body, `"code":5022`) {
		t.Errorf("for nobody it is answered %s", a.body)
	}
}

// With rtc_bearer_enabled the API's token is asked of WHIP and WHEP too.
func TestRTCBearer(t *testing.T) {
	h := build(t, "", "", "http_api { enabled on; listen 1985; auth { enabled on; type bearer; token secret; rtc_bearer_enabled on; } }")
	send := chromium(t, "sendonly")
	for _, c := range []struct {
		header []string
		status int
	}{{nil, 401}, {[]string{"Authorization", "Bearer wrong"}, 401}, {[]string{"Authorization", "Bearer secret"}, 201}} {
		a := h.do("POST", "/rtc/v1/whip/?app=live&stream=s", "application/sdp", send, c.header...)
		if a.StatusCode != c.status || c.status == 401 && a.Header.Get("WWW-Authenticate") == "" {
			t.Errorf("%v: %s %s", c.header, a.Status, a.body)
		}
	}
	for x := range h.desk.Sessions() {
		if x.Bearer != "secret" {
			t.Errorf("rules are told %q", x.Bearer)
		}
	}
	// A browser's question before it asks has none.
	if a := h.do("OPTIONS", "/rtc/v1/whip/?stream=s", "", "", "Origin", "http://a", "Access-Control-Request-Method", "POST"); a.StatusCode != 200 {
		t.Error(a.Status)
	}
}
