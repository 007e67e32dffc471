package rtmp

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"weir/internal/protocol/protocoltest"
)

// Who said that it can be asked to go on elsewhere is asked, whatever it does and however
// it is sent to, and is served on; who did not hears nothing.
func TestMove(t *testing.T) {
	able := strings.NewReplacer("connect ", "reconnects ")
	for _, how := range protocoltest.Senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			run(t, protocoltest.Open(t, protocoltest.Options{Protocol: Protocol}), `
		i: reconnects rtmp://127.0.0.1/live
		i: > accepted
		i: createStream 4
		i: > _result 4 1
		`+able.Replace(flash)+`
		p: headers
		p: frames 1
		`+able.Replace(play)+`
		`+strings.ReplaceAll(play, "v: ", "w: ")+`
		v: > skip key 0
		w: > skip key 0
		server: rtmp://other:1936
		p: > onStatus 0 NetConnection.Connect.ReconnectRequest rtmp://other:1936/live
		v: > onStatus 0 NetConnection.Connect.ReconnectRequest rtmp://other:1936/live
		i: > onStatus 0 NetConnection.Connect.ReconnectRequest rtmp://other:1936/live
		p: frames 1
		v: > video 40
		w: > video 40
		v: closeStream 0
		v: > silence
		server: rtmp://other/app
		v: > onStatus 0 NetConnection.Connect.ReconnectRequest rtmp://other/app
		v: play 3 s
		v: > skip key 0
		server: /app
		v: > skip onStatus 0 NetConnection.Connect.ReconnectRequest /app
		w: > silence
`)
		})
	}
}

func TestMoveByTheAPI(t *testing.T) {
	h := protocoltest.Open(t, protocoltest.Options{Protocol: Protocol})
	e, ok := h.Env.Endpoints.Find("POST", "move")
	if !ok {
		t.Fatal("no endpoint")
	}
	k, other := newTalker(t, h), newTalker(t, h)
	k.say("reconnects rtmp://127.0.0.1/live")
	other.say("connect rtmp://127.0.0.1/live")
	for _, x := range []*talker{k, other} {
		for range 5 {
			x.hear(20 * time.Second)
		}
	}
	// Who has another answer is served, and so can be asked.
	if k.say("createStream 4"); !strings.HasPrefix(k.hear(20*time.Second), "_result 4 1") {
		t.Fatal("no answer to createStream")
	}
	for query, want := range map[string]int{"url=rtmp://b": 1, "": 1, "client=nosuch": 0, "stream=nosuch": 0, "url=rtmp:": -1, "url=%25%25": -1, "description=" + strings.Repeat("x", 1025): -1} {
		got, no := e.Answer(httptest.NewRequest(http.MethodPost, "http://x/api/v1/move?"+query, nil))
		if no != nil && want >= 0 || no == nil && got.(asked).Asked != want {
			t.Errorf("%q: %v, %v", query, got, no)
		}
	}
}
