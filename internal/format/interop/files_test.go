package interop

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
)

const (
	x264 = "-c:v libx264 -preset veryfast -bf 2 -g 25"
	x265 = "-c:v libx265 -preset ultrafast -bf 2 -g 25 -tag:v hvc1 -x265-params log-level=none"
)

func TestMP4(t *testing.T) {
	cases := []struct{ name, video, audio, codecs string }{
		{"h264 and aac", x264, "-c:a aac", "avc1.64000c,mp4a.40.2"},
		{"h265 and mp3", x265, "-c:a libmp3lame", "hvc1.1.6.L60.90,mp4a.6B"},
		{"av1 and opus", "-c:v libsvtav1 -preset 12 -g 25", "-c:a libopus", "av01.0.00M.08,opus"},
		{"vp9 and flac", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -g 25", "-c:a flac", "vp09.00.11.08,fLaC"},
		{"ac-3", "", "-c:a ac3", "ac-3"},
		{"e-ac-3", "", "-c:a eac3", "ec-3"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			frames := sample(t, c.video, c.audio)
			if got := mp4.Codecs(layoutOf(frames)); got != c.codecs {
				t.Errorf("codecs %q, want %q", got, c.codecs)
			}
			init, err := mp4.AppendInit(nil, layoutOf(frames))
			if err != nil {
				t.Fatal(err)
			}
			whole := bytes.Clone(init)
			for i, seq := 0, uint32(1); i < len(frames); i, seq = i+17, seq+1 {
				end := min(i+17, len(frames))
				n := len(whole)
				whole = mp4.AppendFragment(whole, seq, frames[i:end], frames[end:])
				if size := mp4.FragmentSize(frames[i:end]); len(whole)-n > size {
					t.Errorf("a fragment of %d bytes, but FragmentSize says %d", len(whole)-n, size)
				}
			}
			each := bytes.Clone(init)
			for _, f := range frames {
				n := len(each)
				each = mp4.AppendFrameFragment(each, f)
				if size := mp4.FrameFragmentSize(f); len(each)-n > size {
					t.Errorf("a fragment of %d bytes, but FrameFragmentSize says %d", len(each)-n, size)
				}
			}
			movie, err := mp4.AppendMovie(nil, layoutOf(frames), nil)
			if err != nil {
				t.Fatal(err)
			}
			movie = append(movie, whole[len(init):]...)
			moov, end, err := mp4.Finish(nil, bytes.NewReader(movie), int64(len(movie)))
			if err != nil || end != int64(len(movie)) {
				t.Fatalf("a movie of %d bytes ends at %d: %v", len(movie), end, err)
			}
			finished := append(bytes.Clone(movie), moov...)
			copy(finished[mp4.LidAt:], mp4.AppendLid(nil, end))
			for name, b := range map[string][]byte{"groups.mp4": whole, "frames.mp4": each, "recording.mp4": movie, "recorded.mp4": finished} {
				file := write(t, name, b)
				compare(t, file, frames, time.Millisecond, true)
				decodes(t, file)
			}
		})
	}
}

func TestMPEGTS(t *testing.T) {
	cases := []struct{ name, video, audio string }{
		{"h264 and aac", x264, "-c:a aac"},
		{"h265 and mp3", x265, "-c:a libmp3lame"},
		{"h264 and ac-3", x264, "-c:a ac3"},
		{"h264 and e-ac-3", x264, "-c:a eac3"},
		{"h265 alone", x265, ""},
		{"aac alone", "", "-c:a aac"},
		{"mp3 at a low rate", "", "-c:a libmp3lame -ar 22050"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			frames := sample(t, c.video, c.audio)
			m := mpegts.NewMuxer(layoutOf(frames))
			b := m.AppendTables(nil)
			for _, f := range frames {
				if f.Key {
					b = m.AppendTables(b)
				}
				var err error
				// Some time from zero, for nothing may be before it.
				if b, err = m.AppendFrame(b, f, f.DTS); err != nil {
					t.Fatal(err)
				}
			}
			file := write(t, "out.ts", b)
			compare(t, file, frames, time.Millisecond, false)
			decodes(t, file)
		})
	}
}

// TestMPEGTSGroupsAudio has several frames in each packet of the elementary
// stream, as segmenters write them.
func TestMPEGTSGroupsAudio(t *testing.T) {
	frames := sample(t, "", "-c:a aac")
	m := mpegts.NewMuxer(layoutOf(frames))
	b := m.AppendTables(nil)
	for i := 0; i < len(frames); i += 5 {
		var err error
		if b, err = m.AppendAudio(b, frames[i].DTS, frames[i:min(i+5, len(frames))]...); err != nil {
			t.Fatal(err)
		}
	}
	file := write(t, "out.ts", b)
	compare(t, file, frames, time.Millisecond, false)
	decodes(t, file)
}

// TestFLV takes a file by ffmpeg through tags, frames and tags again.
func TestFLV(t *testing.T) {
	for name, args := range map[string][]string{
		"h264 and aac": {"-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "aac"},
		"h264 and mp3": {"-c:v", "libx264", "-bf", "2", "-g", "25", "-pix_fmt", "yuv420p", "-c:a", "libmp3lame", "-ar", "44100"},
		"speex":        {"-vn", "-c:a", "libspeex", "-ar", "16000", "-ac", "1"},
		"pcma":         {"-vn", "-c:a", "pcm_alaw", "-ar", "8000", "-ac", "1"},
	} {
		t.Run(name, func(t *testing.T) {
			in := filepath.Join(t.TempDir(), "in.flv")
			run(t, "ffmpeg", append(append([]string{"-v", "error", "-y", "-f", "lavfi", "-i", "testsrc=s=320x180:r=25", "-f", "lavfi", "-i", "sine=r=48000"}, args...), "-t", "2", in)...)
			out := write(t, "out.flv", remux(t, in))
			_, want := probe(t, in)
			_, got := probe(t, out)
			if len(got) == 0 || len(got) != len(want) {
				t.Fatalf("%d packets, want %d", len(got), len(want))
			}
			for i := range got {
				got[i].pos, want[i].pos = 0, 0
				if got[i] != want[i] {
					t.Fatalf("packet %d: got %+v, want %+v", i, got[i], want[i])
				}
			}
			decodes(t, out)
		})
	}
}

func remux(t *testing.T, file string) []byte {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := flv.NewReader(f)
	audio, video, err := r.ReadHeader()
	if err != nil {
		t.Fatal(err)
	}
	out := flv.AppendFileHeader(nil, audio, video)
	var in flv.Ingest
	clock := media.Unwrapper{Bits: 32, Rate: 1000}
	layout := &media.Layout{}
	var frames []*media.Frame
	for {
		tag, err := r.ReadTag()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind := media.Video
		switch tag.Type {
		case flv.TypeScript:
			if meta, ok := flv.Meta(tag.Body, "weir", "test"); ok {
				layout = layout.WithMeta(meta)
			}
			continue
		case flv.TypeAudio:
			kind = media.Audio
		}
		if frames, err = in.Frames(frames, kind, clock.Unwrap(uint64(tag.Timestamp)), tag.Body); err != nil {
			t.Fatal(err)
		}
	}
	for _, tr := range in.Tracks(nil) {
		layout = layout.With(tr)
	}
	out = flv.AppendLayout(out, layout, 0)
	for _, f := range frames {
		f.DTS = f.Source
		out = flv.AppendFrameTag(out, f, flv.Timestamp(f.DTS))
	}
	return out
}
