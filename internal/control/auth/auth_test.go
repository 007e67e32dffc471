package auth

import (
	"strings"
	"testing"

	"weir/internal/hub"
	"weir/internal/session"
)

func newAuth(t *testing.T, rules []string, refer Refer) *session.Desk {
	t.Helper()
	sec := Security{On: rules != nil}
	for _, line := range rules {
		f := strings.Fields(line)
		r, err := Parse(f[0], f[1:])
		if err != nil {
			t.Fatal(err)
		}
		sec.Rules = append(sec.Rules, r)
	}
	d := session.New(hub.New(func(hub.Key) hub.Settings { return hub.Settings{} }), session.Rules{Vhost: func(n string) (string, bool) { return n, true }})
	d.Authorize(&Auth{Security: func(string) Security { return sec }, Refer: func(string) Refer { return refer }})
	return d
}

func TestSecurity(t *testing.T) {
	const in, out, six = "10.1.2.3", "192.168.1.1", "::ffff:10.1.2.3"
	for _, c := range []struct {
		rules         []string
		ip            string
		publish, play int // code, 0 for admitted
	}{
		{[]string{}, in, 1054, 1054},
		{[]string{"deny publish all"}, in, 1053, 0},
		{[]string{"deny publish 10.0.0.0/8"}, in, 1053, 0},
		{[]string{"deny publish 10.0.0.0/8"}, six, 1053, 0},
		{[]string{"deny publish 10.0.0.0/8"}, out, 0, 0},
		{[]string{"allow play all", "deny publish all"}, in, 1053, 0},
		{[]string{"allow play all"}, in, 1054, 0},
		{[]string{"allow publish 10.1.2.3", "allow play all"}, in, 0, 0},
		{[]string{"allow publish 10.1.2.3", "allow play all"}, out, 1054, 0},
		{[]string{"allow publish all", "deny publish 10.1.2.3"}, in, 1053, 1054},
		{[]string{"allow play 2001:db8::/32"}, "2001:db8::7", 1054, 0},
	} {
		d := newAuth(t, c.rules, Refer{})
		s, err := d.Connect(t.Context(), session.Visitor{IP: c.ip})
		if err != nil {
			t.Fatal(err)
		}
		ask := session.Ask{Key: hub.Key{Vhost: "v", App: "live", Stream: "a"}}
		_, err = s.Publish(t.Context(), ask)
		if got := session.Code(err); got != c.publish {
			t.Errorf("%q: publish by %s: code %d, want %d (%v)", c.rules, c.ip, got, c.publish, err)
		}
		s.Leave(nil)
		if got := session.Code(s.Watch(t.Context(), ask)); got != c.play {
			t.Errorf("%q: play by %s: code %d, want %d", c.rules, c.ip, got, c.play)
		}
		s.Close(nil)
	}
}

func TestBadRules(t *testing.T) {
	for _, bad := range []string{"allow", "allow publish", "deny watch all", "allow play 10.0.0.0/40", "allow play example.com"} {
		f := strings.Fields(bad)
		if _, err := Parse(f[0], f[1:]); err == nil {
			t.Errorf("%q is taken for a rule", bad)
		}
	}
}

func TestRefer(t *testing.T) {
	for _, c := range []struct {
		page string
		rtmp bool
		code int
	}{
		{"", true, 2015}, {"http://evil.com/", true, 2015}, {"http://www.github.com:8080/x", true, 0}, {"http://notgithub.com/x", true, 0},
		{"http://evil.com/github.com", true, 2015}, {"", false, 0},
	} {
		d := newAuth(t, nil, Refer{On: true, Play: []string{"github.com"}})
		s, err := d.Connect(t.Context(), session.Visitor{PageURL: c.page, Connects: c.rtmp})
		if err != nil {
			t.Fatal(err)
		}
		if got := session.Code(s.Watch(t.Context(), session.Ask{Key: hub.Key{Stream: "a"}})); got != c.code {
			t.Errorf("page %q: code %d, want %d", c.page, got, c.code)
		}
		s.Close(nil)
	}
}

// With labels a host matches whole labels of a name only.
func TestReferLabels(t *testing.T) {
	for page, want := range map[string][2]bool{
		"http://github.com/": {true, true}, "http://www.github.com/": {true, true}, "http://notgithub.com/": {true, false}, "http://github.com.evil/": {false, false},
	} {
		for i, labels := range []bool{false, true} {
			if err := (Refer{Labels: labels, Play: []string{"github.com"}}).check(session.Play, page); (err == nil) != want[i] {
				t.Errorf("%s, labels %v: %v", page, labels, err)
			}
		}
	}
	if err := (Refer{Labels: true, Play: []string{".github.com"}}).check(session.Play, "http://www.github.com/"); err != nil {
		t.Error(err)
	}
}
