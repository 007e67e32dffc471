package server

import (
	"errors"
	"testing"
	"time"

	link "weir/internal/link/rtmp"
	wire "weir/internal/wire/rtmp"
)

// A graceful stop asks who can to go where it was configured, and serves it until it has
// left.
func TestGracefulStopAsksToMove(t *testing.T) {
	h := open(t, "grace_start_wait 0; grace_final_wait 0; grace_move_to rtmp://other:1936;", "")
	c, err := link.Dial(t.Context(), "rtmp://"+h.rtmp+"/live/s", link.DialOptions{Capabilities: wire.Capabilities{Has: true, Ex: wire.CapsReconnect}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Publish(); err != nil {
		t.Fatal(err)
	}
	h.cancel(ErrGraceful)
	_, err = c.ReadCommand(20 * time.Second)
	if e, ok := errors.AsType[*link.StatusError](err); !ok || e.Code != wire.ConnectReconnect || e.More.Text("tcUrl") != "rtmp://other:1936/live" {
		t.Fatalf("it is told %v, not to go on elsewhere", err)
	}
	if err := c.WriteMessage(wire.TypeAudio, 0, []byte{0x2f, 0}); err != nil || c.Flush() != nil {
		t.Errorf("it is not served until it leaves: %v", err)
	}
	c.Close()
	select {
	case err := <-h.done:
		h.done <- err
	case <-time.After(30 * time.Second):
		t.Error("the server waits though everybody has left")
	}
}
