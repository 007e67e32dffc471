package interop

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// What ffmpeg puts into a transport stream comes out as ffprobe sees it, however the
// bytes are cut, also where packets are lost.
func TestDemuxMPEGTS(t *testing.T) {
	for name, c := range map[string]struct {
		args         []string
		video, audio media.Codec
	}{
		"H.264 with B-frames and AAC": {[]string{"-c:v", "libx264", "-bf", "2", "-g", "25", "-c:a", "aac"}, media.H264, media.AAC},
		"H.265 and AC-3":              {[]string{"-c:v", "libx265", "-x265-params", "log-level=error", "-g", "25", "-c:a", "ac3"}, media.H265, media.AC3},
		"H.264 and MP3":               {[]string{"-c:v", "libx264", "-g", "25", "-c:a", "libmp3lame"}, media.H264, media.MP3},
		"H.264 and Opus":              {[]string{"-c:v", "libx264", "-g", "25", "-c:a", "libopus"}, media.H264, media.Opus},
		"H.264 and E-AC-3":            {[]string{"-c:v", "libx264", "-g", "25", "-c:a", "eac3"}, media.H264, media.EAC3},
		"sound only":                  {[]string{"-vn", "-c:a", "aac"}, 0, media.AAC},
		"picture only":                {[]string{"-an", "-c:v", "libx264", "-g", "25"}, media.H264, 0},
		"the clock wraps":             {[]string{"-c:v", "libx264", "-g", "25", "-c:a", "aac", "-output_ts_offset", "95441"}, media.H264, media.AAC},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "x.ts")
			args := append([]string{"-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-f", "lavfi", "-i", "sine=sample_rate=48000", "-t", "4"}, c.args...)
			run(t, "ffmpeg", append(args, file)...)
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			streams, packets := probe(t, file)
			frames := feed(mpegts.NewDemuxer(), b, 1000)
			for kind, codec := range map[string]media.Codec{"video": c.video, "audio": c.audio} {
				var want []packet
				for _, p := range packets {
					if streams[p.stream].Type == kind {
						want = append(want, p)
					}
				}
				var got []*media.Frame
				for _, f := range frames {
					if f.Track.Kind.String() == kind {
						got = append(got, f)
					}
				}
				if len(got) != len(want) {
					t.Errorf("%s: %d frames, ffprobe has %d", kind, len(got), len(want))
					continue
				}
				for i, f := range got {
					const wrap = time.Duration(1<<33) * time.Second / 90000
					dts := want[i].dts
					if dts-f.Source > wrap/2 { // ffprobe corrects it in its own way
						dts -= wrap
					} else if f.Source-dts > wrap/2 {
						dts += wrap
					}
					if f.Track.Codec != codec || far(f.Source-dts, time.Millisecond) || kind == "video" && (f.Key != want[i].key || far(f.CTO-(want[i].pts-want[i].dts), time.Millisecond)) {
						t.Fatalf("%s frame %d: %v at %v+%v key %v, ffprobe has %+v", kind, i, f.Track.Codec, f.Source, f.CTO, f.Key, want[i])
					}
				}
				if len(got) > 0 && kind == "video" && (got[0].Track.Width != 320 || got[0].Track.Height != 180 || !got[0].Key) {
					t.Errorf("first picture: %+v", got[0].Track)
				}
			}
			again := feed(mpegts.NewDemuxer(), b, 7)
			if len(again) != len(frames) {
				t.Errorf("cut elsewhere it is %d frames, not %d", len(again), len(frames))
			}
			damaged(t, b, len(frames))
		})
	}
}

// feed takes bytes in pieces of up to n.
func feed(d *mpegts.Demuxer, b []byte, n int) (frames []*media.Frame) {
	r := rand.New(rand.NewPCG(1, 2))
	for len(b) > 0 {
		k := min(len(b), 1+r.IntN(n))
		frames = d.Feed(frames, b[:k])
		b = b[k:]
	}
	return d.Flush(frames)
}

// damaged loses packets and bytes, and wants most frames all the same.
func damaged(t *testing.T, b []byte, whole int) {
	t.Helper()
	var bad bytes.Buffer
	r := rand.New(rand.NewPCG(3, 4))
	for at := 0; at+mpegts.PacketSize <= len(b); at += mpegts.PacketSize {
		p := b[at : at+mpegts.PacketSize]
		switch r.IntN(200) {
		case 0:
			continue
		case 1:
			p = p[r.IntN(len(p)):]
		}
		bad.Write(p)
	}
	d := mpegts.NewDemuxer()
	if n := len(feed(d, bad.Bytes(), 1000)); n > whole || n < whole/6 || d.Lost() == 0 {
		t.Errorf("%d frames of %d come through a loss of 1 %%, %d lost", n, whole, d.Lost())
	}
}
