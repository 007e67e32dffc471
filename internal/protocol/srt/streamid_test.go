package srt

import (
	"errors"
	"testing"

	"weir/internal/config/blocks"
	wire "weir/internal/wire/srt"
)

// The spellings are those of SRS 7.0.18, as it was seen to take them.
func TestStreamID(t *testing.T) {
	conf := blocks.SRTServer.Default()
	for _, c := range []struct {
		id   string
		want wish
		code wire.Reject
	}{
		{"", wish{app: "live", stream: "livestream"}, 0},
		{"live/s", wish{app: "live", stream: "s"}, 0},
		{"s", wish{app: "live", stream: "s"}, 0},
		{"live/s?token=1", wish{app: "live", stream: "s", param: "token=1"}, 0},
		{"!!!###", wish{app: "live", stream: "!!!###"}, 0},
		{"#!::r=live/s1,m=publish", wish{publish: true, app: "live", stream: "s1"}, 0},
		{"#!::r=live/s2", wish{app: "live", stream: "s2"}, 0},
		{"#!::r=live/s3,m=PUBLISH", wish{publish: true, app: "live", stream: "s3"}, 0},
		{"#!::h=my.com,r=live/s5,m=publish", wish{publish: true, host: "my.com", app: "live", stream: "s5", param: "vhost=my.com"}, 0},
		{"#!::h=live/s7,m=publish", wish{publish: true, app: "live", stream: "s7"}, 0},
		{"#!::h=my.com/live/s8,m=publish", wish{publish: true, host: "my.com", app: "live", stream: "s8", param: "vhost=my.com"}, 0},
		{"#!::r=s10,m=publish", wish{publish: true, app: "live", stream: "s10"}, 0},
		{"#!::r=a/b/s11,m=publish", wish{publish: true, app: "a", stream: "b/s11"}, 0},
		{"#!::r=live/s12?token=1&k=v,m=publish", wish{publish: true, app: "live", stream: "s12", param: "token=1&k=v"}, 0},
		{"#!::r=live/s13,m=publish,u=bob,token=abc,s=sess,t=stream", wish{publish: true, app: "live", stream: "s13", param: "u=bob&token=abc&s=sess&t=stream"}, 0},
		{"#!::r=live/s14&&m=publish;token=1", wish{publish: true, app: "live", stream: "s14", param: "token=1"}, 0},
		{"#!::r=live/s15,m=publish,vhost=my.com", wish{publish: true, app: "live", stream: "s15", param: "vhost=my.com"}, 0},
		{"%23!::r=live%2Fs16,m=publish", wish{publish: true, app: "live", stream: "s16"}, 0},
		{"#!::r=live/base,m=play", wish{}, wire.RejectBadMode},
		{"#!::m=publish", wish{}, wire.RejectBadRequest},
		{"#!::", wish{}, wire.RejectBadRequest},
		{"#!::nonsense", wish{}, wire.RejectBadRequest},
		{"/", wish{}, wire.RejectBadRequest},
	} {
		got, err := parseStreamID(c.id, conf)
		var code wire.Reject
		errors.As(err, &code)
		if code != c.code || code == 0 && (got != c.want || err != nil) {
			t.Errorf("%q: %+v, %v; want %+v, %d", c.id, got, err, c.want, c.code)
		}
	}
	conf.DefaultMode, conf.DefaultStreamID = "publish", "#!::r=x/y"
	if w, err := parseStreamID("", conf); err != nil || !w.publish || w.app != "x" {
		t.Errorf("by default: %+v, %v", w, err)
	}
}

func FuzzStreamID(f *testing.F) {
	f.Add("#!::h=my.com/live/s8,m=publish")
	f.Add("live/s?a=b")
	conf := blocks.SRTServer.Default()
	f.Fuzz(func(t *testing.T, id string) {
		if w, err := parseStreamID(id, conf); err == nil && (w.app == "" || w.stream == "") {
			t.Fatalf("%q names nothing", id)
		}
	})
}
