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

// PlaysPast checks that a player of the stream of [House.PastOf], who asked for some
// seconds ago, begins with a key frame of the past and gets all that follow.
func PlaysPast(t *testing.T, p Player) {
	t.Helper()
	for first, want := -1, 0; first < 0 || want < first+20; {
		f, err := p.Read()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Mark(f); err != nil {
			t.Fatal(err)
		}
		switch n := Number(f); {
		case n < 0:
		case first < 0:
			if first, want = n, n+1; !f.Key || n > 150 {
				t.Errorf("begins with %d, key %v", n, f.Key)
			}
		case n != want:
			t.Fatalf("picture %d, want %d", n, want)
		default:
			want++
		}
	}
}
