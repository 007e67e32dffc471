package session

import (
	"strings"
	"testing"
)

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "",
		"rtmp://h/live":                       "rtmp://h/live",
		"rtmp://h/live?token=abc":             "rtmp://h/live?token=***",
		"?vhost=a&auth_key=1-2-3&x=1":         "?vhost=a&auth_key=***&x=1",
		"?txSecret=abc&txTime=5":              "?txSecret=***&txTime=5",
		`{"param":"?token=abc","stream":"s"}`: `{"param":"?token=***","stream":"s"}`,
		`{"param":"?token=a\u0026x=1"}`:       `{"param":"?token=***\u0026x=1"}`,
		"rtmp://user:pa:ss@h:1935/live":       "rtmp://user:***@h:1935/live",
		"http://user@h/":                      "http://user@h/",
		"http://h/a:b@c":                      "http://h/a:b@c",
		"url=http://h/?sign=1&sign=2, err=no": "url=http://h/?sign=***&sign=***, err=no",
		"?token=":                             "?token=",
		"?tokens=5&monkeys=3":                 "?tokens=5&monkeys=3",
		"=":                                   "=",
		"://:@":                               "://:@",
		"rtmp://a:b@h/?k=1&password=x y":      "rtmp://a:***@h/?k=1&password=*** y",
	} {
		if got := Mask(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func FuzzMask(f *testing.F) {
	for _, s := range []string{"rtmp://a:b@h/live?token=abc", "=", "://", "?key==&key=", "a://:@b://c:d@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Mask(s)
		if twice := Mask(once); twice != once {
			t.Errorf("%q: %q, then %q", s, once, twice)
		}
		if strings.Contains(Mask("?token="+strings.Repeat("z", 9)+"&"+s), "zzzzzzzzz") && !strings.Contains(s, "zzzzzzzzz") {
			t.Errorf("%q: the token is told", s)
		}
	})
}
