package rtsp

import (
	"testing"

	"weir/internal/protocol/protocoltest"
)

// A player that asks for a past time is sent that, from a key frame on; one that asks for
// none that is there is told so.
func TestPlayPast(t *testing.T) {
	h, _ := open(t, vhostOn+"\n"+protocoltest.TimeShift(t.TempDir()), 0)
	h.PastOf(t, name)
	c := connect(t, h)
	c.url += "?start=-5"
	if err := c.startWith(c.describe(t), 0); err != nil {
		t.Fatal(err)
	}
	protocoltest.PlaysPast(t, c)
	c.must(t, 200, "TEARDOWN", c.url)
	c.must(t, 404, "DESCRIBE", "rtsp://x/live/none?start=-5")
	c.must(t, 400, "DESCRIBE", "rtsp://x/live/s?start=yesterday")
}
