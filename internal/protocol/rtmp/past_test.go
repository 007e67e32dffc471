package rtmp

import (
	"errors"
	"testing"

	link "weir/internal/link/rtmp"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// A player that asks for a past time is sent that, from a key frame on, under the rules of
// playing; one that asks for none that is there is told why.
func TestPlayPast(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol, Vhost: protocoltest.TimeShift(t.TempDir())})
	n := protocoltest.Name{Vhost: "__defaultVhost__", App: "live", Stream: "s"}
	h.PastOf(t, n)
	play := func(stream string) (protocoltest.Player, error) {
		return playAt(t.Context(), h, protocoltest.Name{Vhost: n.Vhost, App: "live", Stream: stream}, link.DialOptions{})
	}
	p, err := play("s?start=-5&token=x")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	protocoltest.PlaysPast(t, p)
	for stream, want := range map[string]string{"none?start=-5": rtmp.PlayStreamNotFound, "s?start=yesterday": rtmp.PlayFailed, "s?start=2999-01-01T00:00:00Z": rtmp.PlayFailed} {
		p, err := play(stream)
		if code(err) != want {
			t.Errorf("%s: %v, want %s", stream, err, want)
		}
		if err == nil {
			p.Close()
		}
	}
	h.Diary.Deny(func(r *session.Request) error {
		if r.Act == session.Play && r.Ask.Said.Param == "?start=-5" {
			return errors.New("not you")
		}
		return nil
	})
	if _, err := play("s?start=-5"); code(err) != rtmp.PlayFailed {
		t.Errorf("denied: %v", err)
	}
}
