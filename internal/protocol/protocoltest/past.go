package protocoltest

import (
	"testing"
	"time"
)

// TimeShift is the directive of a vhost whose streams are kept in a folder.
func TimeShift(dir string) string {
	return "time_shift { enabled on; window 600; path " + dir + "; fragment 1; }"
}

// PastOf publishes ten seconds of a stream at once, 25 pictures a second in groups of a
// second, and its sound, and waits until they are kept. All of them are in the past then.
func (h *House) PastOf(t *testing.T, n Name) Publisher {
	t.Helper()
	p, err := Publish(t.Context(), h, n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	pub := h.Env.Hub.Stream(n.Key()).Publication()
	pub.Announce(Picture)
	pub.Announce(Sound)
	for i := range 250 {
		p.Write(Video(Picture, i, 25, 1000))
		p.Write(Audio(2 * i))
		p.Write(Audio(2*i + 1))
	}
	h.Wait("the stream is kept", func() bool {
		tape, err := h.Env.Past.Tape(n.Key())
		if err != nil {
			return false
		}
		all := tape.All()
		return all[len(all)-1].End() > 8*time.Second
	})
	return p
}
