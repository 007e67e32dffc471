package mp4

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/opus"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func tracks(t testing.TB) map[string]*media.Track {
	return map[string]*media.Track{
		"h264":  {Kind: media.Video, Codec: media.H264, Width: 640, Height: 360, Config: unhex(t, "0164001fffe1000467640000010000")},
		"h265":  {Kind: media.Video, Codec: media.H265, Config: unhex(t, "0121600000009000000000005df000fcfdf8f800000f00")},
		"av1":   {Kind: media.Video, Codec: media.AV1, Config: unhex(t, "81094c00")},
		"vp9":   {Kind: media.Video, Codec: media.VP9, Config: unhex(t, "001f800202020000")},
		"vp8":   {Kind: media.Video, Codec: media.VP8, Config: unhex(t, "0000800202020000")},
		"aac":   {Kind: media.Audio, Codec: media.AAC, SampleRate: 44100, Channels: 2, Config: unhex(t, "1210")},
		"he":    {Kind: media.Audio, Codec: media.AAC, SampleRate: 44100, Channels: 2, Config: unhex(t, "2b920800")},
		"hev2":  {Kind: media.Audio, Codec: media.AAC, SampleRate: 44100, Channels: 2, Config: unhex(t, "eb8a0800")},
		"mp3":   {Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2},
		"opus":  {Kind: media.Audio, Codec: media.Opus, SampleRate: 48000, Channels: 2, Config: opus.Head{Channels: 2}.Append(nil)},
		"ac3":   {Kind: media.Audio, Codec: media.AC3, SampleRate: 48000, Channels: 2, Config: unhex(t, "101140")},
		"ec3":   {Kind: media.Audio, Codec: media.EAC3, SampleRate: 48000, Channels: 2, Config: unhex(t, "0600200400")},
		"flac":  {Kind: media.Audio, Codec: media.FLAC, SampleRate: 96000, Channels: 2, Config: make([]byte, 34)},
		"pcma":  {Kind: media.Audio, Codec: media.PCMA, SampleRate: 8000, Channels: 1},
		"amf0":  {Kind: media.Data, Codec: media.AMF0},
		"empty": {Kind: media.Video, Codec: media.H264},
	}
}

func TestCodec(t *testing.T) {
	all := tracks(t)
	for name, want := range map[string]string{
		"h264": "avc1.64001f", "h265": "hvc1.1.6.H93.90", "av1": "av01.0.09M.10", "vp9": "vp09.00.31.08", "vp8": "vp08.00.10.08",
		"aac": "mp4a.40.2", "he": "mp4a.40.5", "hev2": "mp4a.40.29", "mp3": "mp4a.6B", "opus": "opus",
		"ac3": "ac-3", "ec3": "ec-3", "flac": "fLaC", "pcma": "", "amf0": "", "empty": "",
	} {
		if got := Codec(all[name]); got != want {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	l := (&media.Layout{}).With(all["h264"]).With(all["aac"]).With(all["amf0"])
	if got := Codecs(l); got != "avc1.64001f,mp4a.40.2" {
		t.Errorf("layout: %q", got)
	}
}

// containers tells the boxes that hold boxes, and where in them those begin.
var containers = map[string]int{
	"moov": 8, "trak": 8, "mdia": 8, "minf": 8, "dinf": 8, "stbl": 8, "mvex": 8, "moof": 8, "traf": 8, "dref": 16, "stsd": 16,
	"avc1": 86, "hvc1": 86, "av01": 86, "vp09": 86, "vp08": 86, "mp4a": 36, "Opus": 36, "ac-3": 36, "ec-3": 36, "fLaC": 36,
}

// tree lists the boxes of b, and fails if their sizes do not add up.
func tree(t *testing.T, b []byte) string {
	t.Helper()
	var names []string
	for len(b) > 0 {
		if len(b) < 8 {
			t.Fatalf("%d bytes are no box", len(b))
		}
		n, name := int(binary.BigEndian.Uint32(b)), string(b[4:8])
		if n < 8 || n > len(b) {
			t.Fatalf("box %q of %d bytes in %d", name, n, len(b))
		}
		if at, ok := containers[name]; ok {
			name += "(" + tree(t, b[at:n]) + ")"
		}
		names, b = append(names, name), b[n:]
	}
	return strings.Join(names, " ")
}

func TestInit(t *testing.T) {
	all := tracks(t)
	for name, entry := range map[string]string{
		"h264": "avc1(avcC)", "h265": "hvc1(hvcC)", "av1": "av01(av1C)", "vp9": "vp09(vpcC)", "vp8": "vp08(vpcC)",
		"aac": "mp4a(esds)", "mp3": "mp4a(esds)", "opus": "Opus(dOps)", "ac3": "ac-3(dac3)", "ec3": "ec-3(dec3)", "flac": "fLaC(dfLa)",
	} {
		b, err := AppendInit(nil, (&media.Layout{}).With(all[name]).With(all["amf0"]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		head := "smhd"
		if all[name].Kind == media.Video {
			head = "vmhd"
		}
		want := fmt.Sprintf("ftyp moov(mvhd trak(tkhd mdia(mdhd hdlr minf(%s dinf(dref(url )) stbl(stsd(%s) stts stsc stco stsz)))) mvex(trex))", head, entry)
		if got := tree(t, b); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", name, got, want)
		}
	}
	broken := &media.Track{Kind: media.Audio, Codec: media.Opus, Config: []byte{1}}
	for _, l := range []*media.Layout{{}, {Tracks: []*media.Track{all["pcma"], all["empty"]}}, {Tracks: []*media.Track{broken}}} {
		if _, err := AppendInit(nil, l); !errors.Is(err, ErrTracks) {
			t.Errorf("%+v: %v, want %v", l, err, ErrTracks)
		}
	}
}

func TestFragment(t *testing.T) {
	all := tracks(t)
	v, a, d := all["h264"], all["aac"], all["amf0"]
	ms := time.Millisecond
	frames := []*media.Frame{
		{Track: d, Payload: []byte{0xdd}},
		{Track: v, DTS: 1000 * ms, CTO: 80 * ms, Key: true, Payload: []byte{1, 2}},
		{Track: a, DTS: 1010 * ms, Payload: []byte{3}},
		{Track: v, DTS: 1040 * ms, CTO: -10 * ms, Payload: []byte{4}},
	}
	next := []*media.Frame{{Track: v, DTS: 1090 * ms}}
	b := AppendFragment(nil, 7, frames, next)
	if got, want := tree(t, b), "moof(mfhd traf(tfhd tfdt trun) traf(tfhd tfdt trun)) mdat"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	want := "000000c86d6f6f66" + "000000106d666864" + "00000000" + "00000007" +
		"0000006474726166" + "0000001474666864" + "00020020" + "00000001" + "01010000" +
		"0000001474666474" + "01000000" + "0000000000015f90" +
		"000000347472756e" + "01000f01" + "00000002" + "000000d0" +
		"00000e10" + "00000002" + "02000000" + "00001c20" +
		"00001194" + "00000001" + "01010000" + "fffffc7c" +
		"0000004c74726166"
	if got := hex.EncodeToString(b); !strings.HasPrefix(got, want) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := hex.EncodeToString(b[len(b)-12:]); got != "0000000c6d646174"+"01020403" {
		t.Errorf("ends with %s", got)
	}
	if got := AppendFragment([]byte("x"), 1, frames[:1], nil); string(got) != "x" {
		t.Errorf("a fragment of nothing is %x", got)
	}
	one := AppendFrameFragment(nil, &media.Frame{Track: v, Seq: 9, DTS: time.Hour * 1e5, Prev: time.Hour*1e5 - 40*ms, Payload: []byte{1}})
	if at := bytes.Index(one, []byte("tfdt")); binary.BigEndian.Uint64(one[at+8:]) != 1e5*3600*90000 {
		t.Errorf("decode time after a hundred thousand hours is %d", binary.BigEndian.Uint64(one[at+8:]))
	}
}

func TestSamples(t *testing.T) {
	all := tracks(t)
	samples := []Sample{{Payload: []byte{1, 2}, Time: 90000, Duration: 3600, Offset: 7200, Key: true}, {Payload: []byte{4}, Time: 93600, Duration: 4500, Offset: -900}}
	b := AppendSamples(nil, 7, all["h264"], samples)
	want := "0000007c6d6f6f66" + "000000106d666864" + "00000000" + "00000007" +
		"0000006474726166" + "0000001474666864" + "00020020" + "00000001" + "01010000" +
		"0000001474666474" + "01000000" + "0000000000015f90" +
		"000000347472756e" + "01000f01" + "00000002" + "00000084" +
		"00000e10" + "00000002" + "02000000" + "00001c20" +
		"00001194" + "00000001" + "01010000" + "fffffc7c" +
		"0000000b6d646174" + "010204"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if n := SamplesSize(samples); n < len(b) {
		t.Errorf("%d bytes, but SamplesSize says %d", len(b), n)
	}
	b = AppendSamples(nil, 1, all["aac"], []Sample{{Payload: []byte{9}, Time: 1024, Duration: 1024, Key: true}})
	if got := tree(t, b); got != "moof(mfhd traf(tfhd tfdt trun)) mdat" || !bytes.Contains(b, []byte("trun\x01\x00\x03\x01\x00\x00\x00\x01")) {
		t.Errorf("sound: %s, %x", got, b)
	}
	if b := AppendSamples(nil, 1, all["aac"], nil); b != nil {
		t.Errorf("nothing is %x", b)
	}
}

func TestFrameDuration(t *testing.T) {
	all := tracks(t)
	ms := time.Millisecond
	cases := []struct {
		name    string
		track   string
		step    time.Duration
		payload string
		want    time.Duration
	}{
		{"video", "h264", 40 * ms, "00", 40 * ms},
		{"first video", "h264", 0, "00", defaultDuration},
		{"jitter", "h264", 2 * ms, "00", defaultDuration},
		{"pause", "h264", time.Minute, "00", defaultDuration},
		{"aac", "aac", time.Minute, "00", 1024 * time.Second / 44100},
		{"he-aac", "he", time.Minute, "00", 1024 * time.Second / 22050},
		{"mp3", "mp3", 0, "00", 1152 * time.Second / 44100},
		{"opus", "opus", 0, "fc", 20 * ms},
		{"ac-3", "ac3", 0, "00", 32 * ms},
		{"flac", "flac", 48 * ms, "00", 48 * ms},
	}
	for _, c := range cases {
		f := &media.Frame{Track: all[c.track], DTS: time.Hour, Prev: time.Hour - c.step, Payload: unhex(t, c.payload)}
		if got := FrameDuration(f); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	all := tracks(t)
	l := (&media.Layout{}).With(all["h264"]).With(all["aac"])
	var frames []*media.Frame
	for i := range 50 {
		frames = append(frames, &media.Frame{Layout: l, Track: l.Tracks[i&1], DTS: time.Duration(i) * 20 * time.Millisecond, Payload: make([]byte, 1000)})
	}
	buf := make([]byte, 0, FragmentSize(frames))
	if n := testing.AllocsPerRun(100, func() { buf = AppendFragment(buf[:0], 1, frames, nil) }); n != 0 {
		t.Errorf("a fragment into a warm buffer allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { buf = AppendFrameFragment(buf[:0], frames[1]) }); n != 0 {
		t.Errorf("a fragment of a frame into a warm buffer allocates %v times", n)
	}
}

// FuzzTrack checks that no configuration breaks the writer, and that boxes add
// up whatever is in them.
func FuzzTrack(f *testing.F) {
	for _, tr := range tracks(f) {
		f.Add(uint8(tr.Codec), tr.Config, uint32(tr.SampleRate), int64(0), int64(0))
	}
	f.Fuzz(func(t *testing.T, codec uint8, config []byte, rate uint32, dts, cto int64) {
		c := media.Codec(codec)
		tr := &media.Track{Kind: c.Kind(), Codec: c, Config: config, SampleRate: int(rate)}
		Codec(tr)
		if b, err := AppendInit(nil, (&media.Layout{}).With(tr)); err == nil {
			tree(t, b)
		}
		fr := &media.Frame{Track: tr, DTS: time.Duration(dts) / 4, CTO: time.Duration(cto) / 4, Payload: config}
		tree(t, AppendFrameFragment(nil, fr))
	})
}

func BenchmarkAppendFrameFragment(b *testing.B) {
	f := &media.Frame{Track: tracks(b)["h264"], DTS: time.Second, Payload: make([]byte, 5000)}
	buf := make([]byte, 0, FrameFragmentSize(f))
	b.SetBytes(int64(len(f.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendFrameFragment(buf[:0], f)
	}
}
