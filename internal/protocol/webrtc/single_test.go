package webrtc

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/wire/rtp"
)

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// count is how often the log has a text.
func (j *journal) count(text string) int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Count(j.b.String(), text)
}

// warnings is how often the log warns of packetization mode 0.
func (j *journal) warnings() int {
	return j.count("packetization-mode 0 only, and the pictures have units too long for that")
}

// Players of packetization mode 0 alone are sent units whole. Where some are too long for
// that, there is a warning, once for all of them; there is none for units that fit, nor for
// players of the other mode.
func TestModeZeroWarns(t *testing.T) {
	for _, c := range []struct {
		name string
		mode string // instead of 1
		size int    // of the units
		want int
	}{{"short units", "0", 1800, 0}, {"long units", "0", 4000, 1}, {"the other mode", "1", 4000, 0}} {
		t.Run(c.name, func(t *testing.T) {
			h := build(t, "", "rtmp_to_rtc on;", "")
			log := &journal{}
			h.s.env.Log = slog.New(slog.NewTextHandler(log, nil))
			picture, _ := testTracks(t)
			pub, err := h.hub.Publish(key, hub.PublishOptions{By: "rtmp"})
			if err != nil {
				t.Fatal(err)
			}
			quit, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				defer pub.Close(nil)
				for i := 0; ; i++ {
					pub.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 10 * time.Millisecond, Key: true, Payload: unit(0x65, c.size, i)})
					select {
					case <-time.After(10 * time.Millisecond):
					case <-quit:
						return
					}
				}
			}()
			defer func() {
				close(quit)
				<-done
			}()
			for range 2 {
				offer := strings.ReplaceAll(chromium(t, "recvonly"), "packetization-mode=1", "packetization-mode="+c.mode)
				b := h.bareOffer("/rtc/v1/whep/?app=live&stream=s&dtls=false", offer, "AyIn", 0)
				for range 5 {
					longest := 0
					b.untilRTP("a picture comes", func(h *rtp.Header, payload []byte) bool {
						longest = max(longest, len(payload))
						return h.Marker
					})
					if whole := c.mode == "0" && c.want == 0; whole != (longest == c.size) {
						t.Errorf("of a unit of %d bytes %d come at once", c.size, longest)
					}
				}
			}
			if n := log.warnings(); n != c.want {
				t.Errorf("there are %d warnings", n)
			}
		})
	}
}

// Who comes before there is a stream is sent whatever codec of the offer it then has, also one
// after the other.
func TestPlayerBeforeTheStream(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	b := h.bareOffer("/rtc/v1/whep/?app=live&stream=s&dtls=false", chromium(t, "recvonly"), "AyIn", 0)
	sees := func(typ uint8) {
		t.Helper()
		marks := 0
		b.untilRTP("pictures come", func(h *rtp.Header, _ []byte) bool {
			if h.Marker && h.PayloadType == typ {
				marks++
			}
			return marks == 3
		})
	}
	pub, err := h.hub.Publish(key, hub.PublishOptions{By: "rtmp"})
	if err != nil {
		t.Fatal(err)
	}
	vp8 := &media.Track{Kind: media.Video, Codec: media.VP8, Width: 320, Height: 180}
	for i := range 5 {
		pub.Write(&media.Frame{Track: vp8, Source: time.Duration(i) * 40 * time.Millisecond, Key: i == 0, Payload: append([]byte{0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00}, make([]byte, 500)...)})
	}
	sees(96)
	pub.Close(nil)
	h.feed("rtmp")
	sees(108)
}

// Who asked for a codec before there was a stream, which is of another, sees nothing, and the
// log says why, once.
func TestForeignCodecWarns(t *testing.T) {
	h := build(t, "", "rtmp_to_rtc on;", "")
	log := &journal{}
	h.s.env.Log = slog.New(slog.NewTextHandler(log, nil))
	b := h.bareOffer("/rtc/v1/whep/?app=live&stream=s&dtls=false&codec=vp8", chromium(t, "recvonly"), "AyIn", 0)
	h.feed("rtmp")
	heard := 0
	b.untilRTP("sound comes for a while", func(*rtp.Header, []byte) bool {
		heard++
		return heard == 20
	})
	if n := log.count("different codecs"); n != 1 {
		t.Errorf("that is said %d times", n)
	}
}
