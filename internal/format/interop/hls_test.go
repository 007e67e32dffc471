package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/internal/format/m3u8"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// groups cuts frames before each key frame.
func groups(frames []*media.Frame) [][]*media.Frame {
	var out [][]*media.Frame
	start := 0
	for i, f := range frames {
		if f.Key && i > start {
			out, start = append(out, frames[start:i]), i
		}
	}
	return append(out, frames[start:])
}

// TestHLS reads playlists of segments in both formats.
func TestHLS(t *testing.T) {
	frames := sample(t, x264, "-c:a aac")
	for _, version := range []int{3, 7} {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir := t.TempDir()
			put := func(name string, b []byte) {
				if err := os.WriteFile(filepath.Join(dir, name), b, 0o666); err != nil {
					t.Fatal(err)
				}
			}
			p := m3u8.Playlist{Version: version, Target: m3u8.Target(time.Second, 2*time.Second), End: true}
			m := mpegts.NewMuxer(layoutOf(frames))
			init, err := mp4.AppendInit(nil, layoutOf(frames))
			if err != nil {
				t.Fatal(err)
			}
			if version == 7 {
				put("init.mp4", init)
			}
			done := 0
			for i, g := range groups(frames) {
				done += len(g)
				s := m3u8.Segment{URI: fmt.Sprintf("s-%d.ts", i), Duration: time.Second}
				b := m.AppendTables(nil)
				for _, f := range g {
					if b, err = m.AppendFrame(b, f, f.DTS); err != nil {
						t.Fatal(err)
					}
				}
				if version == 7 {
					s.URI, s.Map = fmt.Sprintf("s-%d.m4s", i), "init.mp4"
					b = mp4.AppendFragment(nil, uint32(i), g, frames[done:])
				}
				put(s.URI, b)
				p.Segments = append(p.Segments, s)
			}
			put("s.m3u8", p.Append(nil))
			file := filepath.Join(dir, "s.m3u8")
			compare(t, file, frames, time.Millisecond, version == 7)
			decodes(t, file)
		})
	}
}
