package caster

import (
	"bytes"
	"testing"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/wire/rtmp"
)

var packet = append([]byte{0x47}, bytes.Repeat([]byte{1}, 187)...)

func TestPackets(t *testing.T) {
	rtp := func(head ...byte) []byte { return append(append(head, make([]byte, 12-len(head))...), packet...) }
	extended := append([]byte{0x91, 33}, make([]byte, 10)...)
	extended = append(append(append(extended, 1, 2, 3, 4), 0xbe, 0xde, 0, 1), 5, 6, 7, 8)
	for name, c := range map[string]struct {
		b    []byte
		want int
	}{
		"bare":                   {packet, 188},
		"seven":                  {bytes.Repeat(packet, 7), 7 * 188},
		"RTP":                    {rtp(0x80, 33), 188},
		"sources, an extension":  {append(extended, packet...), 188},
		"padding":                {append(rtp(0xa0, 33), 0, 0, 3), 188},
		"padding longer than it": {append(rtp(0xa0, 33), 255), 0},
		"garbage":                {[]byte("hello, this is no transport stream"), 0},
		"half an RTP header":     {[]byte{0x80, 33, 0}, 0},
		"nothing":                {nil, 0},
	} {
		if got := packets(c.b); len(got) != c.want || len(got) > 0 && got[0] != 0x47 {
			t.Errorf("%s: %d bytes, want %d", name, len(got), c.want)
		}
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(packet)
	f.Add(append([]byte{0xbf, 33, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, packet...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := packets(b); len(got) > len(b) || len(got) > 0 && got[0] != 0x47 {
			t.Fatalf("%d bytes of %d", len(got), len(b))
		}
	})
}

// An output at one of this server's own doors needs no connection.
func TestOurs(t *testing.T) {
	conf := func(listen string) *server {
		snap, err := config.Parse(config.Source{File: "test", Text: []byte("listen " + listen + ";"), Getenv: func(string) string { return "" }}, blocks.All())
		if err != nil {
			t.Fatal(err)
		}
		return &server{env: service.Env{Conf: config.NewStore(snap)}}
	}
	for _, c := range []struct {
		listen, url string
		want        bool
	}{
		{"1935", "rtmp://127.0.0.1/live/s", true},
		{"1935", "rtmp://localhost/live/s", true},
		{"1935", "rtmp://127.0.0.1:1936/live/s", false},
		{"1935 1936", "rtmp://127.0.0.1:1936/live/s", true},
		{"127.0.0.1:1935", "rtmp://127.0.0.1/live/s", true},
		{"127.0.0.1:1935", "rtmp://127.0.0.2/live/s", false},
		{"1935", "rtmp://192.0.2.1/live/s", false},
		{"1935", "rtmp://example.com/live/s", false},
		{"443", "rtmps://127.0.0.1/live/s", false},
	} {
		target, err := rtmp.ParseURL(c.url)
		if err != nil {
			t.Fatal(err)
		}
		if got := conf(c.listen).ours(target); got != c.want {
			t.Errorf("listen %s, output %s: %v", c.listen, c.url, got)
		}
	}
}
