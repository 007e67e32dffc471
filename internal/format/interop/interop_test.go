// Package interop checks what the formats write against programs that are not
// ours: ffmpeg, ffprobe and Chromium. A program that is not installed fails
// the tests; they are never skipped.
package interop

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/ac3"
	"weir/internal/media/opus"
	"weir/internal/media/vp9"
)

// run runs a program and returns what it prints.
func run(t *testing.T, name string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command(name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, stderr.String())
	}
	return out
}

// packet is one packet as ffprobe sees it.
type packet struct {
	stream   int
	pts, dts time.Duration
	size     int
	key      bool
	pos      int64
}

type stream struct {
	Index      int    `json:"index"`
	Codec      string `json:"codec_name"`
	Type       string `json:"codec_type"`
	Width      int    `json:"width"`
	Height     int    `json:"height"`
	SampleRate string `json:"sample_rate"`
	Channels   int    `json:"channels"`
}

// probe asks ffprobe for the streams and packets of a file.
func probe(t *testing.T, file string) ([]stream, []packet) {
	t.Helper()
	var doc struct {
		Streams []stream `json:"streams"`
		Packets []struct {
			Stream int    `json:"stream_index"`
			PTS    string `json:"pts_time"`
			DTS    string `json:"dts_time"`
			Size   string `json:"size"`
			Pos    string `json:"pos"`
			Flags  string `json:"flags"`
		} `json:"packets"`
	}
	out := run(t, "ffprobe", "-v", "error", "-show_streams", "-show_packets", "-of", "json", file)
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
	var ps []packet
	for _, p := range doc.Packets {
		q := packet{stream: p.Stream, pts: seconds(p.PTS), dts: seconds(p.DTS), key: strings.HasPrefix(p.Flags, "K")}
		q.size, _ = strconv.Atoi(p.Size)
		q.pos, _ = strconv.ParseInt(p.Pos, 10, 64)
		ps = append(ps, q)
	}
	return doc.Streams, ps
}

func seconds(s string) time.Duration {
	f, _ := strconv.ParseFloat(s, 64)
	return time.Duration(math.Round(f * 1e9))
}

// decodes checks that ffmpeg decodes a whole file without a complaint.
func decodes(t *testing.T, file string) {
	t.Helper()
	cmd := exec.Command("ffmpeg", "-v", "warning", "-xerror", "-i", file, "-f", "null", "-")
	out, err := cmd.CombinedOutput()
	// What it says of sound that names no layout of channels is no fault.
	lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(out)), "\n"), func(l string) bool {
		return l == "" || strings.HasPrefix(l, "Guessed Channel Layout")
	})
	if err != nil || len(lines) > 0 {
		t.Errorf("ffmpeg decoding %s: %v\n%s", filepath.Base(file), err, out)
	}
}

var codecs = map[string]media.Codec{
	"h264": media.H264, "hevc": media.H265, "av1": media.AV1, "vp9": media.VP9, "vp8": media.VP8,
	"aac": media.AAC, "mp3": media.MP3, "opus": media.Opus, "ac3": media.AC3, "eac3": media.EAC3, "flac": media.FLAC,
}

// sample lets ffmpeg make two seconds of picture and sound, as the arguments
// say, and returns them as the frames of a stream. An empty string leaves
// picture or sound out.
func sample(t *testing.T, video, audio string) []*media.Frame {
	t.Helper()
	file := filepath.Join(t.TempDir(), "in.mp4")
	args := []string{"-v", "error", "-y"}
	var maps []string
	if video != "" {
		args = append(args, "-f", "lavfi", "-i", "testsrc=s=320x180:r=25")
		maps = append(append(maps, "-map", "0:v"), strings.Fields("-pix_fmt yuv420p "+video)...)
	}
	if audio != "" {
		args = append(args, "-f", "lavfi", "-i", "sine=f=440:r=48000")
		maps = append(append(maps, "-map", fmt.Sprintf("%d:a", strings.Count(strings.Join(args, " "), "-i ")-1)), strings.Fields("-ac 2 "+audio)...)
	}
	args = append(append(args, maps...), "-t", "2", "-strict", "-2", file)
	run(t, "ffmpeg", args...)
	return load(t, file)
}

func load(t *testing.T, file string) []*media.Frame {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	streams, packets := probe(t, file)
	l := &media.Layout{}
	tracks := map[int]*media.Track{}
	for _, s := range streams {
		tr := &media.Track{Codec: codecs[s.Codec], Width: s.Width, Height: s.Height, Channels: s.Channels}
		tr.Kind = tr.Codec.Kind()
		tr.SampleRate, _ = strconv.Atoi(s.SampleRate)
		for _, p := range packets {
			if p.stream == s.Index {
				tr.Config = config(t, tr.Codec, b, b[p.pos:])
				break
			}
		}
		l, tracks[s.Index] = l.With(tr), tr
	}
	base := time.Duration(math.MaxInt64)
	for _, p := range packets {
		base = min(base, p.dts)
	}
	var frames []*media.Frame
	for _, p := range packets {
		frames = append(frames, &media.Frame{
			Layout: l, Track: tracks[p.stream], DTS: p.dts - base, CTO: p.pts - p.dts, Key: p.key && tracks[p.stream].Kind == media.Video,
			Payload: b[p.pos : p.pos+int64(p.size)],
		})
	}
	slices.SortStableFunc(frames, func(a, b *media.Frame) int { return int(a.DTS - b.DTS) })
	last := map[*media.Track]time.Duration{}
	for i, f := range frames {
		f.Seq = uint64(i) + 1
		f.Source = f.DTS
		f.Prev = f.DTS
		if d, ok := last[f.Track]; ok {
			f.Prev = d
		}
		last[f.Track] = f.DTS
	}
	if len(frames) == 0 {
		t.Fatalf("no frames in %s", file)
	}
	return frames
}

// config finds the decoder configuration in the boxes of an MP4 file.
func config(t *testing.T, c media.Codec, b, first []byte) []byte {
	t.Helper()
	find := func(name string) []byte {
		i := bytes.Index(b, []byte(name))
		if i < 4 {
			t.Fatalf("no %s in the file", name)
		}
		return b[i+4 : i-4+int(binary.BigEndian.Uint32(b[i-4:]))]
	}
	switch c {
	case media.H264:
		return find("avcC")
	case media.H265:
		return find("hvcC")
	case media.AV1:
		return find("av1C")
	case media.VP8, media.VP9:
		return vp9.Record(find("vpcC"))
	case media.AAC:
		e := find("esds")
		i := bytes.LastIndex(e, []byte{5, 0x80, 0x80, 0x80})
		return e[i+5 : i+5+int(e[i+4])]
	case media.Opus:
		d := find("dOps")
		return opus.Head{Channels: int(d[1]), PreSkip: int(binary.BigEndian.Uint16(d[2:])), InputRate: int(binary.BigEndian.Uint32(d[4:]))}.Append(nil)
	case media.FLAC:
		return find("dfLa")[8:42]
	case media.AC3, media.EAC3:
		h, err := ac3.Parse(first)
		if err != nil {
			t.Fatal(err)
		}
		return h.AppendConfig(nil)
	}
	return nil
}

func layoutOf(frames []*media.Frame) *media.Layout { return frames[0].Layout }

// write writes b into a file of the test.
func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return file
}

// compare checks that a file has the frames of each carried track, at their
// times (within slack, after a common shift), and with their key frames; sizes
// too, where the format leaves payloads as they are.
func compare(t *testing.T, file string, frames []*media.Frame, slack time.Duration, sizes bool) {
	t.Helper()
	streams, packets := probe(t, file)
	for _, tr := range layoutOf(frames).Tracks {
		i := slices.IndexFunc(streams, func(s stream) bool { return codecs[s.Codec] == tr.Codec })
		if i < 0 {
			t.Errorf("no %v stream in %s", tr.Codec, filepath.Base(file))
			continue
		}
		if s := streams[i]; tr.Kind == media.Video && (s.Width != tr.Width || s.Height != tr.Height) {
			t.Errorf("%v is %dx%d, want %dx%d", tr.Codec, s.Width, s.Height, tr.Width, tr.Height)
		} else if tr.Kind == media.Audio && (s.SampleRate != strconv.Itoa(tr.SampleRate) || s.Channels != tr.Channels) {
			t.Errorf("%v has %s Hz and %d channels, want %d and %d", tr.Codec, s.SampleRate, s.Channels, tr.SampleRate, tr.Channels)
		}
		var want []*media.Frame
		for _, f := range frames {
			if f.Track == tr {
				want = append(want, f)
			}
		}
		var got []packet
		for _, p := range packets {
			if p.stream == streams[i].Index {
				got = append(got, p)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%v: %d packets, want %d", tr.Codec, len(got), len(want))
			continue
		}
		for j, f := range want {
			p := got[j]
			shiftPTS, shiftDTS := p.pts-f.PTS(), p.dts-f.DTS
			if far(shiftPTS, slack) || far(shiftDTS, slack) || tr.Kind == media.Video && p.key != f.Key || sizes && p.size != len(f.Payload) {
				t.Errorf("%v packet %d: got %+v, want pts %v dts %v key %v size %d", tr.Codec, j, p, f.PTS(), f.DTS, f.Key, len(f.Payload))
				break
			}
		}
	}
}

func far(d, slack time.Duration) bool { return d > slack || d < -slack }
