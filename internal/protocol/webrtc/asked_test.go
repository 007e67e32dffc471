package webrtc

import (
	"net/http"
	"sync"
	"testing"

	pion "github.com/pion/webrtc/v4"

	"weir/internal/session"
)

// curious asks what the API tells of a session from the moment on that it does something.
type curious struct {
	stop chan struct{}
	wg   sync.WaitGroup
}

// Observe implements session.Observer.
func (c *curious) Observe(e session.Event) {
	if e.What != session.Published && e.What != session.Played {
		return
	}
	for range 3 {
		c.wg.Go(func() {
			for {
				select {
				case <-c.stop:
					return
				default:
					e.Session.Detail()
				}
			}
		})
	}
}

// A session is told of while it still begins: the race detector sees whether it can be.
func TestAskedForWhileItBegins(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on; rtc_to_rtmp on;", "")
	c := &curious{stop: make(chan struct{})}
	h.desk.Observe(c)
	for _, way := range []string{"whip", "whep"} {
		pc := client(t, nil)
		dir := pion.RTPTransceiverDirectionSendonly
		if way == "whep" {
			dir = pion.RTPTransceiverDirectionRecvonly
		}
		if _, err := pc.AddTransceiverFromKind(pion.RTPCodecTypeVideo, pion.RTPTransceiverInit{Direction: dir}); err != nil {
			t.Fatal(err)
		}
		if a := h.do("POST", "/rtc/v1/"+way+"/?app=live&stream=s", "application/sdp", offer(t, pc)); a.StatusCode != http.StatusCreated {
			t.Errorf("%s is answered %s: %s", way, a.Status, a.body)
		}
	}
	close(c.stop)
	c.wg.Wait()
}
