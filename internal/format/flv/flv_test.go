package flv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/format/amf"
	"weir/internal/media"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// show prints parts as the golden texts have them.
func show(parts []Part, err error) string {
	var lines []string
	for _, p := range parts {
		name := p.Codec.String()
		if p.Codec == 0 {
			name = fmt.Sprintf("id %d", p.ID)
			if !p.Legacy {
				name = fmt.Sprintf("fourcc %v", p.FourCC)
			}
		}
		s := fmt.Sprintf("%v %d %s %v", p.Kind, p.Track, name, p.Type)
		if p.Kind == media.Video {
			s += fmt.Sprintf(" frame %d", p.Frame)
		}
		if p.Legacy {
			s += " legacy"
		}
		if p.CTO != 0 {
			s += fmt.Sprintf(" cto %v", p.CTO)
		}
		lines = append(lines, fmt.Sprintf("%s [%x]", s, p.Payload))
	}
	if err != nil {
		lines = append(lines, err.Error())
	}
	return strings.Join(lines, "\n")
}

func TestParse(t *testing.T) {
	cases := []struct{ name, kind, in, want string }{
		{"avc sequence header", "v", "17 00 000000 01640028", "video 0 H264 sequence frame 1 legacy [01640028]"},
		{"avc key frame", "v", "17 01 000050 0000000165", "video 0 H264 coded frame 1 legacy cto 80ms [0000000165]"},
		{"avc negative cts", "v", "27 01 fffff6 0000000141", "video 0 H264 coded frame 2 legacy cto -10ms [0000000141]"},
		{"avc end", "v", "17 02 000000", "video 0 H264 end frame 1 legacy []"},
		{"avc end without time", "v", "17 02", "video 0 H264 end frame 1 legacy []"},
		{"hevc as id 12", "v", "1c 01 000000 01", "video 0 HEVC coded frame 1 legacy [01]"},
		{"vp6", "v", "14 0102", "video 0 id 4 coded frame 1 legacy [0102]"},
		{"command frame", "v", "57 00", "video 0 id 7 command frame 5 legacy []"},
		{"empty video", "v", "", ""},
		{"avc cut", "v", "17 01 00", "flv: bad syntax: video message ends early"},
		{"avc packet type", "v", "17 03 000000", "flv: bad syntax: AVC packet type 3"},

		{"enhanced hevc sequence start", "v", "90 68766331 01", "video 0 HEVC sequence frame 1 [01]"},
		{"enhanced hevc coded frames", "v", "91 68766331 000028 02", "video 0 HEVC coded frame 1 cto 40ms [02]"},
		{"enhanced hevc coded frames x", "v", "a3 68766331 02", "video 0 HEVC coded frame 2 [02]"},
		{"enhanced avc", "v", "a1 61766331 000001 02", "video 0 H264 coded frame 2 cto 1ms [02]"},
		{"enhanced av1 has no cts", "v", "91 61763031 000001", "video 0 AV1 coded frame 1 [000001]"},
		{"enhanced vp9", "v", "91 76703039 07", "video 0 VP9 coded frame 1 [07]"},
		{"enhanced vvc", "v", "91 76766331 000001 02", "video 0 fourcc vvc1 coded frame 1 cto 1ms [02]"},
		{"sequence end", "v", "92 61763031", "video 0 AV1 end frame 1 []"},
		{"metadata", "v", "d4 68766331 02", "video 0 HEVC metadata frame 5 [02]"},
		{"enhanced command", "v", "d0 00", "video 0 fourcc .... command frame 5 []"},
		{"av1 as ts descriptor", "v", "95 61763031 8004 81040c00", "video 0 AV1 ts-sequence frame 1 [800481040c00]"},
		{"one track", "v", "96 01 68766331 03 000000 aa", "video 3 HEVC coded frame 1 [aa]"},
		{
			"many tracks", "v", "96 10 61763031 00 000001 aa 01 000002 bbbb",
			"video 0 AV1 sequence frame 1 [aa]\nvideo 1 AV1 sequence frame 1 [bbbb]",
		},
		{
			"many tracks and codecs", "v", "96 21 68766331 00 000004 000028 aa 76703039 01 000001 bb",
			"video 0 HEVC coded frame 1 cto 40ms [aa]\nvideo 1 VP9 coded frame 1 [bb]",
		},
		{"many tracks, the last cut", "v", "96 10 61763031 00 000001 aa 01 000003 bbbb", "video 0 AV1 sequence frame 1 [aa]\nflv: bad syntax: enhanced message ends early"},
		{"multitrack in multitrack", "v", "96 06 61763031", "flv: bad syntax: video packet type 6"},
		{"multitrack type", "v", "96 31 61763031", "flv: bad syntax: multitrack type 3"},
		{"nanoseconds", "v", "97 02 0f423f 01 68766331 000001 aa", "video 0 HEVC coded frame 1 cto 1.999999ms [aa]"},
		{"nanoseconds over a millisecond", "v", "97 02 0f4240 01 68766331 000001 aa", "flv: bad syntax: offset of 1000000 ns"},
		{"unknown modifier, then multitrack", "v", "97 00 ff 56 01 61763031 02 aa", "video 2 AV1 coded frame 1 [aa]"},
		{"long modifier", "v", "97 ff 0003 01020304 51 61763031 aa", "video 0 AV1 coded frame 1 [aa]"},
		{"modifier cut", "v", "97 05 00", "flv: bad syntax: ModEx ends early"},
		{"packet type", "v", "98 61763031", "flv: bad syntax: video packet type 8"},
		{"sound in picture", "v", "91 4f707573 01", "video 0 fourcc Opus coded frame 1 [01]"},

		{"aac sequence header", "a", "af 00 1210", "audio 0 AAC sequence legacy [1210]"},
		{"aac", "a", "af 01 21", "audio 0 AAC coded legacy [21]"},
		{"aac cut", "a", "af", "flv: bad syntax: audio message ends early"},
		{"aac packet type", "a", "af 02", "flv: bad syntax: AAC packet type 2"},
		{"mp3", "a", "2f fffb", "audio 0 MP3 coded legacy [fffb]"},
		{"mp3 at 8 kHz", "a", "ee fffb", "audio 0 MP3 coded legacy [fffb]"},
		{"pcma", "a", "72 d5", "audio 0 PCMA coded legacy [d5]"},
		{"pcmu", "a", "82 ff", "audio 0 PCMU coded legacy [ff]"},
		{"speex", "a", "b6 01", "audio 0 Speex coded legacy [01]"},
		{"nellymoser", "a", "62 01", "audio 0 id 6 coded legacy [01]"},
		{"silence", "a", "", ""},
		{"enhanced opus", "a", "91 4f707573 fc", "audio 0 Opus coded [fc]"},
		{"enhanced opus sequence start", "a", "90 4f707573", "audio 0 Opus sequence []"},
		{"enhanced aac", "a", "90 6d703461 1210", "audio 0 AAC sequence [1210]"},
		{"enhanced mp3", "a", "91 2e6d7033 fffb", "audio 0 MP3 coded [fffb]"},
		{"enhanced flac", "a", "91 664c6143 ff", "audio 0 FLAC coded [ff]"},
		{"enhanced ac-3", "a", "91 61632d33 0b77", "audio 0 AC-3 coded [0b77]"},
		{"enhanced e-ac-3", "a", "91 65632d33 0b77", "audio 0 E-AC-3 coded [0b77]"},
		{"channels", "a", "94 4f707573 0102", "audio 0 Opus multichannel [0102]"},
		{"audio one track", "a", "95 01 6d703461 05 21", "audio 5 AAC coded [21]"},
		{"audio packet type 3", "a", "93 6d703461", "flv: bad syntax: audio packet type 3"},
	}
	for _, c := range cases {
		parse := ParseVideo
		if c.kind == "a" {
			parse = ParseAudio
		}
		if got := show(parse(nil, unhex(t, c.in))); got != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.name, got, c.want)
		}
	}
}

// Configurations: 1280x720 in profile High at level 3.1, and AAC-LC.
var (
	avcC720 = "0164001fffe1001a6764001facd9405005bb011000000300100000030320f183196001000468ef8fcbfdf8f800"
	asc44k  = "1210"
)

func feed(t *testing.T, in *Ingest, kind media.Kind, ts int, body string) []*media.Frame {
	t.Helper()
	fs, err := in.Frames(nil, kind, time.Duration(ts)*time.Millisecond, unhex(t, body))
	if err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return fs
}

func TestIngest(t *testing.T) {
	var in Ingest
	if fs := feed(t, &in, media.Video, 0, "27 01 000000 0000000141"); len(fs) != 0 || in.Dropped() != 1 {
		t.Errorf("a frame before its configuration: %d frames, %d dropped", len(fs), in.Dropped())
	}
	feed(t, &in, media.Video, 0, "17 00 000000"+avcC720)
	feed(t, &in, media.Audio, 0, "af 00"+asc44k)
	a := feed(t, &in, media.Video, 40, "17 01 000050 0000000165")
	if len(a) != 1 {
		t.Fatalf("got %d frames, want 1", len(a))
	}
	f, tr := a[0], a[0].Track
	if tr.Width != 1280 || tr.Height != 720 || tr.Profile != "High" || tr.Level != "3.1" {
		t.Errorf("track is %dx%d %s %s, want 1280x720 High 3.1", tr.Width, tr.Height, tr.Profile, tr.Level)
	}
	if !f.Key || f.Source != 40*time.Millisecond || f.CTO != 80*time.Millisecond || string(f.Payload) != "\x00\x00\x00\x01\x65" {
		t.Errorf("frame is %+v", f)
	}
	feed(t, &in, media.Video, 0, "17 00 000000"+avcC720)
	if b := feed(t, &in, media.Video, 80, "27 01 000000 0000000141"); b[0].Track != tr || b[0].Key {
		t.Error("the same configuration made another track")
	}
	other := strings.Replace(avcC720, "68ef8fcb", "68ef8fcc", 1)
	feed(t, &in, media.Video, 0, "17 00 000000"+other)
	if b := feed(t, &in, media.Video, 80, "27 01 000000 0000000141"); b[0].Track == tr {
		t.Error("another configuration left the track as it was")
	}
	s := feed(t, &in, media.Audio, 50, "af 01 2110")
	if at := s[0].Track; at.SampleRate != 44100 || at.Channels != 2 || at.Profile != "LC" {
		t.Errorf("audio track is %+v", at)
	}
	for _, silent := range []string{"", "af 01"} {
		if fs := feed(t, &in, media.Audio, 60, silent); len(fs) != 0 {
			t.Errorf("silence %q made a frame", silent)
		}
	}
	if fs := feed(t, &in, media.Video, 60, "17 02 000000"); len(fs) != 0 {
		t.Error("an end of sequence made a frame")
	}
	if n := len(in.Tracks(nil)); n != 2 {
		t.Errorf("%d tracks, want 2", n)
	}
}

func TestIngestKeepsPayloadInPlace(t *testing.T) {
	var in Ingest
	feed(t, &in, media.Video, 0, "17 00 000000"+avcC720)
	body := unhex(t, "17 01 000000 0000000165")
	fs, err := in.Frames(nil, media.Video, 0, body)
	if err != nil || &fs[0].Payload[0] != &body[5] {
		t.Errorf("payload was copied, or %v", err)
	}
}

func TestIngestAnnexB(t *testing.T) {
	in := Ingest{TryAnnexB: true}
	feed(t, &in, media.Video, 0, "17 00 000000"+avcC720)
	f := feed(t, &in, media.Video, 0, "17 01 000000 00000001 09f0 000001 6588")[0]
	if got, want := hex.EncodeToString(f.Payload), "0000000209f0000000026588"; got != want {
		t.Errorf("payload %s, want %s", got, want)
	}
	// A length that looks like a start code: 0x000001ff.
	long := append(unhex(t, "17 01 000000 000001ff"), bytes.Repeat([]byte{0x65}, 0x1ff)...)
	fs, err := in.Frames(nil, media.Video, 0, long)
	if err != nil || len(fs[0].Payload) != 4+0x1ff || &fs[0].Payload[0] != &long[5] {
		t.Errorf("lengths were taken for start codes: %v", err)
	}
	sps, pps := "6764001facd9405005bb016a02020280000003008000001e478c18cb", "68ebecb22c"
	feed(t, &in, media.Video, 0, "17 00 000000 00000001"+sps+"00000001"+pps)
	tr := feed(t, &in, media.Video, 0, "17 01 000000 0000000165")[0].Track
	if tr.Width != 1280 || hex.EncodeToString(tr.Config[:5]) != "0164001fff" {
		t.Errorf("configuration with start codes gave %+v", tr)
	}
	off := Ingest{}
	feed(t, &off, media.Video, 0, "17 00 000000"+avcC720)
	if _, err := off.Frames(nil, media.Video, 0, unhex(t, "17 01 000000 00000001 09f0 000001 6588")); !errors.Is(err, ErrPayload) {
		t.Errorf("start codes with the option off: %v", err)
	}
}

func TestIngestErrors(t *testing.T) {
	badSPS := "0164001fffe10004676400ff01000568ebecb22c"
	cases := []struct {
		name string
		kind media.Kind
		body string
		want error
	}{
		{"broken lengths", media.Video, "17 01 000000 000000ff65", ErrPayload},
		{"broken record", media.Video, "17 00 000000 0164001fffe100ff67", ErrConfig},
		{"broken sps", media.Video, "17 00 000000" + badSPS, ErrConfig},
		{"broken asc", media.Audio, "af 00 ff", ErrConfig},
		{"vp6", media.Video, "14 00", ErrCodec},
		{"vvc", media.Video, "91 76766331 000001 02", ErrCodec},
		{"vvc sequence", media.Video, "90 76766331 02", ErrCodec},
		{"nellymoser", media.Audio, "62 01", ErrCodec},
		{"syntax", media.Video, "17", ErrSyntax},
		{"script", media.Data, "02", ErrSyntax},
		{"long configuration", media.Audio, "af 00" + strings.Repeat("00", MaxConfig+1), ErrLimit},
	}
	for _, c := range cases {
		var in Ingest
		feed(t, &in, media.Video, 0, "17 00 000000"+avcC720)
		if _, err := in.Frames(nil, c.kind, 0, unhex(t, c.body)); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
	in := Ingest{SkipSPS: true}
	feed(t, &in, media.Video, 0, "17 00 000000"+badSPS)
	if tr := feed(t, &in, media.Video, 0, "17 01 000000 0000000165")[0].Track; tr.Width != 0 || tr.Profile != "" {
		t.Errorf("unread parameter sets gave %+v", tr)
	}
	for id := range MaxTracks {
		feed(t, &in, media.Audio, 0, fmt.Sprintf("95 00 6d703461 %02x 1210", id))
		if id == MaxTracks-2 {
			break // with video it is full
		}
	}
	if _, err := in.Frames(nil, media.Audio, 0, unhex(t, "95 00 6d703461 ff 1210")); !errors.Is(err, ErrLimit) {
		t.Errorf("a track too many: %v", err)
	}
}

func TestIngestSoundWithoutHeader(t *testing.T) {
	cases := []struct {
		name, body string
		codec      media.Codec
		rate, ch   int
	}{
		{"mp3", "2f fffb9044 00", media.MP3, 44100, 2},
		{"mp3 mono at 48 kHz", "2e fffb94c4 00", media.MP3, 48000, 1},
		{"mp3 that has no header", "2b 00000000", media.MP3, 22050, 2},
		{"enhanced mp3", "91 2e6d7033 fffb9044 00", media.MP3, 44100, 2},
		{"pcma", "72 d5", media.PCMA, 8000, 1},
		{"pcmu stereo", "83 ff", media.PCMU, 8000, 2},
		{"speex", "b6 01", media.Speex, 16000, 1},
		{"opus", "91 4f707573 fc01", media.Opus, 48000, 2},
		{"ac-3", "91 61632d33 0b77 0000 14 40 e1 00", media.AC3, 48000, 6},
	}
	for _, c := range cases {
		var in Ingest
		fs := feed(t, &in, media.Audio, 0, c.body)
		if len(fs) != 1 {
			t.Errorf("%s: %d frames", c.name, len(fs))
			continue
		}
		tr := fs[0].Track
		if tr.Codec != c.codec || tr.SampleRate != c.rate || tr.Channels != c.ch {
			t.Errorf("%s: track is %v %d Hz %d channels, want %v %d %d", c.name, tr.Codec, tr.SampleRate, tr.Channels, c.codec, c.rate, c.ch)
		}
		if again := feed(t, &in, media.Audio, 0, c.body); again[0].Track != tr {
			t.Errorf("%s: each frame has its own track", c.name)
		}
	}
}

func TestIngestAV1(t *testing.T) {
	var in Ingest
	// Configuration with the sequence header of a 352x288 stream by libaom.
	feed(t, &in, media.Video, 0, "90 61763031 812000000a0d20000004457e3e6d7c9010d002")
	fs := feed(t, &in, media.Video, 0, "91 61763031 1200 3202aabb")
	if got, want := hex.EncodeToString(fs[0].Payload), "3202aabb"; got != want {
		t.Errorf("payload %s, want %s", got, want)
	}
	if tr := fs[0].Track; tr.Width != 352 || tr.Height != 288 || tr.Profile != "High" || tr.Level != "2.0" {
		t.Errorf("track is %dx%d %s %s, want 352x288 High 2.0", tr.Width, tr.Height, tr.Profile, tr.Level)
	}
	fs = feed(t, &in, media.Video, 0, "91 61763031 1200 30aabb")
	if got, want := hex.EncodeToString(fs[0].Payload), "3202aabb"; got != want {
		t.Errorf("payload of a unit without size %s, want %s", got, want)
	}
	if _, err := in.Frames(nil, media.Video, 0, unhex(t, "91 61763031 3209aabb")); !errors.Is(err, ErrPayload) {
		t.Errorf("a unit that is cut: %v", err)
	}
}

func TestIngestVP9Size(t *testing.T) {
	var in Ingest
	feed(t, &in, media.Video, 0, "90 76703039 01000000 011e870202020000")
	key := "91 76703039 a2498342e027f01df60638" // profile 1
	a := feed(t, &in, media.Video, 0, key)[0]
	if a.Track.Width != 640 || a.Track.Height != 480 {
		t.Errorf("track is %dx%d, want 640x480", a.Track.Width, a.Track.Height)
	}
	if b := feed(t, &in, media.Video, 0, key)[0]; b.Track != a.Track {
		t.Error("each key frame has its own track")
	}
}

func TestScript(t *testing.T) {
	meta := amf.ECMAArray{{Key: "duration", Value: 0.0}, {Key: "width", Value: 640.0}, {Key: "server", Value: "x"}}
	bodies := map[string][]byte{
		"plain":        amf.AppendAll(nil, "onMetaData", meta),
		"setDataFrame": amf.AppendAll(nil, "@setDataFrame", "onMetaData", meta),
		"amf3":         amf.AppendAll([]byte{0}, "@setDataFrame", "onMetaData", amf.Object(meta)),
	}
	want := amf.Append(nil, amf.Object{{Key: "width", Value: 640.0}, {Key: "server", Value: "s"}, {Key: "server_version", Value: "1"}})
	for name, body := range bodies {
		got, ok := Meta(body, "s", "1")
		if !ok || !bytes.Equal(got, want) {
			t.Errorf("%s: got %x, %v, want %x", name, got, ok, want)
		}
		if n, _, err := ParseScript(body); n != "onMetaData" || err != nil {
			t.Errorf("%s: name %q, %v", name, n, err)
		}
	}
	cue := amf.AppendAll(nil, "@setDataFrame", "onCuePoint", amf.Object{})
	if _, ok := Meta(cue, "", ""); ok {
		t.Error("a cue point is metadata")
	}
	if got := Unwrap(cue); !bytes.HasPrefix(got, amf.Append(nil, "onCuePoint")) {
		t.Errorf("Unwrap gave %x", got)
	}
	for _, bad := range []string{"", "05", "02 0005 61"} {
		if _, _, err := ParseScript(unhex(t, bad)); !errors.Is(err, ErrSyntax) {
			t.Errorf("%q: got %v", bad, err)
		}
	}
}
