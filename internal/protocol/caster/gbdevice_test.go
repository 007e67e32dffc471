package caster

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// What a device is told to send, and where to.
func TestOffer(t *testing.T) {
	t.Setenv("CANDIDATE", "203.0.113.5")
	for _, c := range []struct {
		candidate, media, local string
		want                    []string
	}{
		{"*", "tcp", "192.0.2.1:5060", []string{"c=IN IP4 192.0.2.1\r\n", "m=video 9000 TCP/RTP/AVP 96\r\n", "a=setup:passive\r\n", "a=rtpmap:96 PS/90000\r\n", "s=Play\r\n", "y=0000000007\r\n"}},
		{"198.51.100.4", "udp", "192.0.2.1:5060", []string{"c=IN IP4 198.51.100.4\r\n", "m=video 9000 RTP/AVP 96\r\n"}},
		{"$CANDIDATE", "tcp", "192.0.2.1:5060", []string{"o=cam 0 0 IN IP4 203.0.113.5\r\n"}},
		{"$NOBODY", "tcp", "192.0.2.1:5060", []string{"c=IN IP4 192.0.2.1\r\n"}},
		{"*", "tcp", "[2001:db8::1]:5060", []string{"c=IN IP6 2001:db8::1\r\n"}},
	} {
		g := testGB("")
		g.conf.SIP.Candidate, g.conf.SIP.Media = []string{c.candidate}, c.media
		s, err := g.announce(7, "cam")
		if err != nil {
			t.Fatal(err)
		}
		m := newMouth()
		m.local = netip.MustParseAddrPort(c.local)
		offer := (&device{g: g, id: "cam", way: &m.way, server: "1", domain: "2"}).call(s).offer()
		for _, want := range c.want {
			if !strings.Contains(offer, want) {
				t.Errorf("%+v: %q is not in %q", c, want, offer)
			}
		}
	}
}

// script is a device by UDP: what it was told, and when.
type script struct {
	mu     sync.Mutex
	g      *gbCaster
	way    *way
	began  time.Time
	said   []string
	answer func(method, request string) string // of its response, "" for none
}

var (
	firstLine = regexp.MustCompile(`^(\S+) sip:`)
	headers   = regexp.MustCompile(`(?m)^(?:Via|From|To|Call-ID|CSeq): .*\r\n`)
)

func newScript(g *gbCaster) *script {
	p := &script{g: g, began: time.Now()}
	p.way = &way{network: "UDP", to: netip.MustParseAddrPort("192.0.2.7:5060"), local: netip.MustParseAddrPort("192.0.2.1:5060"), send: p.told}
	return p
}

func (p *script) told(b []byte) error {
	m := firstLine.FindStringSubmatch(string(b))
	if m == nil {
		return nil // an answer
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.said = append(p.said, fmt.Sprintf("%.1f %s", time.Since(p.began).Seconds(), m[1]))
	if p.answer == nil {
		return nil
	}
	if a := p.answer(m[1], string(b)); a != "" {
		text := "SIP/2.0 " + a + "\n" + strings.ReplaceAll(strings.Join(headers.FindAllString(string(b), -1), ""), "\r\n", "\n") + "Content-Length: 0\n\n"
		go say(p.g, &mouth{way: *p.way}, text)
	}
	return nil
}

func (p *script) all() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, ", ")
}

// A device that does not answer is asked again and again, and forgotten in the end; one
// that answers and does not send is asked once more after a while; one that hangs up is
// left alone; one whose registration is over too.
func TestGBTimes(t *testing.T) {
	for _, c := range []struct {
		name, more string
		answer     func(method, request string) string
		want       string
	}{
		{"mute", "", nil, "0.0 INVITE, 0.5 INVITE, 1.5 INVITE, 3.5 INVITE, 7.5 INVITE, 10.0 CANCEL, " +
			"15.0 INVITE, 15.5 INVITE, 16.5 INVITE, 18.5 INVITE, 22.5 INVITE, 25.0 CANCEL, 30.0 INVITE, 30.5 INVITE, 31.5 INVITE, 33.5 INVITE, 37.5 INVITE, 40.0 CANCEL"},
		{"no media", "", func(method, _ string) string { return "200 OK" }, "0.0 INVITE, 0.0 ACK, 10.0 BYE, 15.0 INVITE, 15.0 ACK, 25.0 BYE, 30.0 INVITE, 30.0 ACK, 40.0 BYE"},
		{"busy, and its registration ends", "Expires: 30\n", func(method, _ string) string { return "486 Busy Here" },
			"0.0 INVITE, 0.0 ACK, 5.0 INVITE, 5.0 ACK, 10.0 INVITE, 10.0 ACK, 15.0 INVITE, 15.0 ACK, 20.0 INVITE, 20.0 ACK, 25.0 INVITE, 25.0 ACK, 30.0 INVITE, 30.0 ACK"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := testGB("")
				g.conf.SIP.Timeout, g.conf.SIP.Reinvite = 10*time.Second, 5*time.Second
				g.ctx = t.Context()
				p := newScript(g)
				p.answer = c.answer
				say(g, &mouth{way: *p.way}, request("REGISTER", c.more))
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if got := p.all(); got != c.want {
					t.Errorf("told:\n%s\nwant:\n%s", got, c.want)
				}
				if len(g.devices)+len(g.calls)+len(g.slots) > 0 {
					t.Errorf("%d devices, %d calls, %d slots are left", len(g.devices), len(g.calls), len(g.slots))
				}
			})
		})
	}
}

// A device that hangs up, or lets itself be forgotten, is invited no more; when the server
// stops it is told.
func TestGBEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(g *gbCaster, p *script, stop context.CancelFunc)
		want string
	}{
		"hangs up": {func(g *gbCaster, p *script, _ context.CancelFunc) {
			for _, id := range slices.Collect(maps.Keys(g.calls)) {
				say(g, &mouth{way: *p.way}, strings.Replace(request("BYE", ""), "Call-ID: a", "Call-ID: "+id, 1))
			}
		}, "0.0 INVITE, 0.0 ACK"},
		"leaves": {func(g *gbCaster, p *script, _ context.CancelFunc) {
			say(g, &mouth{way: *p.way}, request("REGISTER", "Expires: 0\n"))
		}, "0.0 INVITE, 0.0 ACK, 3.0 BYE"},
		"the server stops": {func(_ *gbCaster, _ *script, stop context.CancelFunc) { stop() }, "0.0 INVITE, 0.0 ACK, 3.0 BYE"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := testGB("")
				g.conf.SIP.Timeout, g.conf.SIP.Reinvite = 10*time.Second, time.Second
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				g.ctx = ctx
				p := newScript(g)
				p.answer = func(string, string) string { return "200 OK" }
				say(g, &mouth{way: *p.way}, request("REGISTER", ""))
				time.Sleep(3 * time.Second)
				synctest.Wait()
				c.end(g, p, stop)
				time.Sleep(time.Minute)
				g.wg.Wait()
				if got := p.all(); got != c.want {
					t.Errorf("told %s, want %s", got, c.want)
				}
			})
		})
	}
}
