package interop

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	recoder "weir/internal/sound"
)

// tones are what is heard one after the other, three quarters of a second each, in Hz, so many times.
var tones = []float64{440, 1000, 3000}

// Each time is at another level and begins in another phase: by these alone a tone comes out some dB
// better or worse, of both.
const tonesArgs = "-f lavfi -i aevalsrc=0*st(0\\,floor(t/0.75))+0*st(1\\,floor(ld(0)/3))+0*st(2\\,mod(ld(0)\\,3))+" +
	"0.1*(1+mod(ld(1)\\,4))*sin(0.7*ld(1)+2*PI*t*if(eq(ld(2)\\,0)\\,440\\,if(eq(ld(2)\\,1)\\,1000\\,3000))):s=48000:d=%g -ac 2 "

// Tones that are turned into another codec stand above their noise as they do where
// FFmpeg does it at the same rate, to within 1 dB on average; with -long each tone does, of 16 times. Left
// alone FFmpeg would make Opus of twice the rate of tones.
func TestSoundLikeFFmpeg(t *testing.T) {
	t.Parallel()
	times := 2
	if *long {
		times = 16
	}
	source := fmt.Sprintf(tonesArgs, 0.75*float64(len(tones)*times))
	dir := t.TempDir()
	for name, c := range map[string]struct {
		from, theirs string
		to           media.Codec
	}{
		"AAC to Opus": {"-ar 44100 -c:a aac -b:a 160k", "-c:a libopus -vbr constrained", media.Opus},
		"MP3 to Opus": {"-ar 44100 -c:a libmp3lame -b:a 160k", "-c:a libopus -vbr constrained", media.Opus},
		"Opus to AAC": {"-c:a libopus -b:a 96k", "-c:a aac", media.AAC},
	} {
		file := func(ext string) string { return filepath.Join(dir, strings.ReplaceAll(name, " ", "")+ext) }
		must(t, "ffmpeg", append(strings.Fields("-v error "+source+c.from), file(".ts"))...)
		must(t, "ffmpeg", append(append([]string{"-v", "error", "-i", file(".ts"), "-ar", "48000", "-b:a", "48k"}, strings.Fields(c.theirs)...), file("-theirs.mp4"))...)
		if err := os.WriteFile(file("-ours.mp4"), recode(t, file(".ts"), recoder.Target{Codec: c.to, Bitrate: 48000}), 0o644); err != nil {
			t.Fatal(err)
		}
		ours, theirs := snr(t, file("-ours.mp4"), times), snr(t, file("-theirs.mp4"), times)
		t.Logf("%s: %.1f dB, FFmpeg's %.1f", name, ours, theirs)
		if mean(ours) < mean(theirs)-1 {
			t.Errorf("%s: %.1f dB of signal to noise, FFmpeg's has %.1f", name, ours, theirs)
		}
		for k, hz := range tones {
			if *long && ours[k] < theirs[k]-1 {
				t.Errorf("%s: %g Hz has %.1f dB of signal to noise, FFmpeg's %.1f", name, hz, ours[k], theirs[k])
			}
		}
	}
}

func mean(all []float64) (sum float64) {
	for _, v := range all {
		sum += v / float64(len(all))
	}
	return sum
}

// recode reads the sound of a transport stream and makes another of it, in an MP4.
func recode(t *testing.T, file string, to recoder.Target) (out []byte) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	d := mpegts.NewDemuxer()
	var x *recoder.Transcoder
	var layout *media.Layout
	for _, f := range d.Flush(d.Feed(nil, b)) {
		if x == nil {
			if x, err = recoder.New(f.Track, to); err != nil {
				t.Fatal(err)
			}
			layout = layout.With(x.Track())
			if out, err = mp4.AppendInit(nil, layout); err != nil {
				t.Fatal(err)
			}
		}
		if err := x.Write(f.Payload, f.Source, func(pts time.Duration, p []byte) {
			out = mp4.AppendFrameFragment(out, &media.Frame{Track: x.Track(), Layout: layout, DTS: pts, Source: pts, Payload: bytes.Clone(p)})
		}); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// snr is how far each of the tones stands above all else, in dB, in half a second of each time
// that a file as FFmpeg decodes it has them, on average.
func snr(t *testing.T, file string, times int) []float64 {
	t.Helper()
	const rate, slot, size = 48000, 36000, 24000
	b := []byte(must(t, "ffmpeg", strings.Fields("-v error -i "+file+" -f f32le -ac 1 -ar 48000 -")...))
	if want := slot*len(tones)*times - slot/8; len(b) < want*4 {
		t.Fatalf("%s has %d samples, want %d", file, len(b)/4, want)
	}
	all := make([]float64, len(tones))
	for n := range len(tones) * times {
		k := n % len(tones)
		var s, c, power float64
		for i := range size {
			v, w := float64(math.Float32frombits(binary.LittleEndian.Uint32(b[4*(i+n*slot+slot/5):]))), 2*math.Pi*tones[k]*float64(i)/rate
			s, c, power = s+v*math.Sin(w), c+v*math.Cos(w), power+v*v
		}
		tone := (s*s + c*c) * 2 / size
		all[k] += 10 * math.Log10(tone/math.Max(power-tone, 1e-12)) / float64(times)
	}
	return all
}
