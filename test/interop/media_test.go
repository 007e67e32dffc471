package interop

import (
	"bufio"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const (
	rate    = 25 // pictures a second of all sources
	seconds = 60 // of all sources
	picture = "-f lavfi -i testsrc2=size=320x180:rate=25 "
	sound   = "-f lavfi -i sine=frequency=440:beep_factor=4:sample_rate=44100 "
	x264    = " -c:v libx264 -pix_fmt yuv420p -g 25 -sc_threshold 0 "
)

// source is a file that clients publish.
type source struct {
	file         string
	video, audio bool
	args         string // for ffmpeg, to make it
	length       int    // in seconds, if not the usual one

	once sync.Once
	err  error

	listed   sync.Once
	packets  map[string][]packet // by kind
	pictures []packet            // decoded
}

// The sources. What is not plain RTMP's is in MP4, for FFmpeg 8 to publish.
var (
	baseline  = &source{file: "baseline.flv", video: true, audio: true, args: picture + sound + x264 + "-preset ultrafast -profile:v baseline -c:a aac -b:a 64k"}
	bFrames   = &source{file: "bframes.flv", video: true, audio: true, args: picture + sound + x264 + "-preset veryfast -bf 3 -c:a aac -b:a 64k"}
	mp3Sound  = &source{file: "mp3.flv", video: true, audio: true, args: picture + sound + x264 + "-preset ultrafast -c:a libmp3lame -b:a 64k"}
	small     = &source{file: "small.flv", video: true, audio: true, args: strings.Replace(picture, "320x180", "256x144", 1) + sound + x264 + "-preset ultrafast -c:a aac -b:a 64k"}
	soundOnly = &source{file: "sound.flv", audio: true, args: sound + "-c:a aac -b:a 64k"}
	mute      = &source{file: "mute.flv", video: true, args: picture + x264 + "-preset veryfast -bf 2"}
	hevc      = &source{file: "hevc.mp4", video: true, audio: true, args: picture + sound +
		"-c:v libx265 -preset ultrafast -x265-params log-level=error:keyint=25:min-keyint=25 -tag:v hvc1 -c:a aac -b:a 64k"}
	multi = &source{file: "multi.mp4", video: true, audio: true, args: picture + strings.Replace(picture, "320x180", "160x90", 1) + sound + strings.Replace(sound, "440", "880", 1) +
		"-map 0 -map 1 -map 2 -map 3" + x264 + "-preset ultrafast -c:a aac -b:a 64k"}
	ac3 = &source{file: "ac3.mp4", video: true, audio: true, args: picture + strings.Replace(sound, "44100", "48000", 1) + x264 + "-preset ultrafast -c:a ac3 -b:a 96k"}
	av1 = &source{file: "av1.mp4", video: true, audio: true, args: picture + sound + "-c:v libsvtav1 -preset 12 -g 25 -c:a libopus -b:a 64k"}
	vp9 = &source{file: "vp9.mp4", video: true, audio: true, args: picture + sound + "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -lag-in-frames 0 -g 25 -c:a libopus -b:a 64k"}
)

// path makes the file if need be.
func (s *source) path(t *testing.T) string {
	t.Helper()
	path := filepath.Join(scratch, s.file)
	s.once.Do(func() {
		ovens <- struct{}{}
		defer func() { <-ovens }()
		args := append([]string{"-v", "error", "-y"}, strings.Fields(s.args)...)
		args = append(args, "-t", strconv.Itoa(cmp.Or(s.length, seconds)), path)
		if out, err := exec.Command("ffmpeg", args...).CombinedOutput(); err != nil {
			s.err = fmt.Errorf("ffmpeg %s: %w\n%s", s.args, err, out)
		}
	})
	if s.err != nil {
		t.Fatal(s.err)
	}
	return path
}

// list reads what the file holds.
func (s *source) list(t *testing.T) {
	t.Helper()
	path := s.path(t)
	s.listed.Do(func() {
		got := demux(t, path, cmp.Or(s.length, seconds), "")
		s.packets = map[string][]packet{"video": got.video, "audio": got.audio}
		s.pictures = got.pictures
	})
}

// packet is a line of ffmpeg's framemd5: a packet, or a decoded frame.
type packet struct {
	dts, pts float64 // seconds
	hash     string
}

// received is what ffmpeg read: packets as they came, and decoded pictures.
type received struct{ video, audio, pictures []packet }

// demux lets ffmpeg read some seconds of a file or an address, keeping the
// packets and decoding them, and be strict about it.
func demux(t *testing.T, from string, seconds int, more string) received {
	t.Helper()
	dir := t.TempDir()
	copied, decoded := filepath.Join(dir, "copied"), filepath.Join(dir, "decoded")
	args := strings.Fields("-v error -xerror -err_detect crccheck+bitstream+buffer -copyts -t " + strconv.Itoa(seconds))
	args = append(args, "-i", from)
	args = append(args, strings.Fields("-map 0 -dn -c copy "+more+" -f framemd5")...)
	args = append(args, copied)
	args = append(args, strings.Fields("-map 0 -dn -vsync passthrough -f framemd5")...)
	args = append(args, decoded)
	must(t, "ffmpeg", args...)
	raw, done := readHashes(t, copied), readHashes(t, decoded)
	if len(done["video"]) == 0 && len(done["audio"]) == 0 {
		t.Fatalf("ffmpeg decoded nothing of %s", from)
	}
	return received{raw["video"], raw["audio"], done["video"]}
}

// readHashes reads a file that ffmpeg wrote as framemd5.
func readHashes(t *testing.T, file string) map[string][]packet {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	all := map[string][]packet{}
	kind, base := map[int]string{}, map[int]float64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		line := lines.Text()
		var i int
		var num, den float64
		var what string
		if n, _ := fmt.Sscanf(line, "#tb %d: %f/%f", &i, &num, &den); n == 3 {
			base[i] = num / den
		} else if n, _ := fmt.Sscanf(line, "#media_type %d: %s", &i, &what); n == 2 {
			kind[i] = what
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(strings.ReplaceAll(line, " ", ""), ",")
		if len(fields) < 6 {
			t.Fatalf("framemd5: %q", line)
		}
		i, err1 := strconv.Atoi(fields[0])
		dts, err2 := strconv.ParseFloat(fields[1], 64)
		pts, err3 := strconv.ParseFloat(fields[2], 64)
		if err1 != nil || err2 != nil || err3 != nil {
			t.Fatalf("framemd5: %q", line)
		}
		all[kind[i]] = append(all[kind[i]], packet{dts * base[i], pts * base[i], fields[5]})
	}
	return all
}

// sameRun checks that got is a run of want without a hole, at least count long.
func sameRun(t *testing.T, what string, got, want []packet, count int) {
	t.Helper()
	if len(got) < count {
		t.Errorf("%s: %d came, want at least %d", what, len(got), count)
		return
	}
	best := 0
	for i := range want {
		n := 0
		for n < len(got) && i+n < len(want) && got[n].hash == want[i+n].hash {
			n++
		}
		if n == len(got) {
			return
		}
		best = max(best, n)
	}
	t.Errorf("%s: %d came, which are not those that were published; at most %d in a row are", what, len(got), best)
}

// steady checks that times grow, and never by more than a step of so many
// seconds.
func steady(t *testing.T, what string, got []packet, step float64) {
	t.Helper()
	for i := 1; i < len(got); i++ {
		d := got[i].dts - got[i-1].dts
		if d <= 0 || d > step {
			t.Errorf("%s: packet %d is %.3f s after the one before (at %.3f s)", what, i, d, got[i].dts)
			return
		}
	}
	for i, p := range got {
		if p.pts < p.dts-0.0015 {
			t.Errorf("%s: packet %d is shown at %.3f s, before its decoding at %.3f s", what, i, p.pts, p.dts)
			return
		}
	}
}

// check compares what a player received over some seconds with its source.
func (s *source) check(t *testing.T, what string, got received, seconds int, sameBytes bool) {
	t.Helper()
	s.list(t)
	if s.video {
		// Frames come out late by the reordering, and the last may not be complete.
		sameRun(t, what+": decoded pictures", got.pictures, s.pictures, seconds*rate-4)
		if sameBytes {
			sameRun(t, what+": video packets", got.video, s.packets["video"], seconds*rate-4)
		}
		steady(t, what+": video", got.video, 0.045)
	} else if len(got.video) > 0 {
		t.Errorf("%s: %d video packets of a stream without", what, len(got.video))
	}
	if s.audio {
		sameRun(t, what+": audio packets", got.audio, s.packets["audio"], seconds*38-4)
		timed := got.audio
		if !s.video && what == "hls" {
			timed = timed[min(6, len(timed)):] // ffmpeg misdates what it has probed
		}
		steady(t, what+": audio", timed, 0.035)
	} else if len(got.audio) > 0 {
		t.Errorf("%s: %d audio packets of a stream without", what, len(got.audio))
	}
}

// publish sends a source with ffmpeg, in real time and as it is.
func (h *house) publish(t *testing.T, s *source, name string) *process {
	t.Helper()
	p := background(t, "ffmpeg", "-v", "error", "-re", "-i", s.path(t), "-c", "copy", "-f", "flv", h.stream(name))
	h.awaitLive(t, strings.Split(name, "?")[0])
	return p
}

// contains reports whether a packet is among others.
func contains(all []packet, p packet) bool {
	return slices.ContainsFunc(all, func(q packet) bool { return q.hash == p.hash })
}
