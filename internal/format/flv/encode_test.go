package flv

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"
	"testing/iotest"
	"time"

	"weir/internal/media"
)

func TestBody(t *testing.T) {
	ms := time.Millisecond
	video := func(c media.Codec, id uint8, legacy bool) *media.Track {
		return &media.Track{ID: id, Kind: media.Video, Codec: c, Legacy: legacy, Config: []byte{0xcc}}
	}
	audio := func(c media.Codec, id uint8, rate, ch int) *media.Track {
		return &media.Track{ID: id, Kind: media.Audio, Codec: c, SampleRate: rate, Channels: ch, Config: []byte{0xcc}}
	}
	cases := []struct {
		name         string
		track        *media.Track
		key          bool
		cto          time.Duration
		body, config string
	}{
		{"h264 key", video(media.H264, 0, false), true, 80 * ms, "1701000050aa", "1700000000cc"},
		{"h264 inter", video(media.H264, 0, false), false, -1 * ms, "2701ffffffaa", "1700000000cc"},
		{"h264 of another track", video(media.H264, 2, false), true, 80 * ms, "96016176633102000050aa", "96006176633102cc"},
		{"h265 legacy", video(media.H265, 0, true), true, 0, "1c01000000aa", "1c00000000cc"},
		{"h265", video(media.H265, 0, false), true, 0, "9368766331aa", "9068766331cc"},
		{"h265 with time", video(media.H265, 0, false), false, 40 * ms, "a168766331000028aa", "9068766331cc"},
		{"h265 of another track", video(media.H265, 1, true), false, 0, "a6036876633101aa", "96006876633101cc"},
		{"av1", video(media.AV1, 0, false), true, 0, "9161763031aa", "9061763031cc"},
		{"vp9", video(media.VP9, 0, false), false, 0, "a176703039aa", "9076703039cc"},
		{"vp8", video(media.VP8, 0, false), false, 0, "a176703038aa", "9076703038cc"},
		{"aac", audio(media.AAC, 0, 44100, 1), false, 0, "af01aa", "af00cc"},
		{"aac of another track", audio(media.AAC, 1, 44100, 1), false, 0, "95016d70346101aa", "95006d70346101cc"},
		{"mp3", audio(media.MP3, 0, 44100, 2), false, 0, "2faa", ""},
		{"mp3 at 24 kHz", audio(media.MP3, 0, 24000, 1), false, 0, "2aaa", ""},
		{"mp3 at 8 kHz", audio(media.MP3, 0, 8000, 1), false, 0, "e2aa", ""},
		{"pcma", audio(media.PCMA, 0, 8000, 1), false, 0, "72aa", ""},
		{"pcmu", audio(media.PCMU, 0, 8000, 2), false, 0, "83aa", ""},
		{"speex", audio(media.Speex, 0, 16000, 1), false, 0, "b6aa", ""},
		{"opus", audio(media.Opus, 0, 48000, 2), false, 0, "914f707573aa", "904f707573cc"},
		{"flac", audio(media.FLAC, 0, 48000, 2), false, 0, "91664c6143aa", "90664c6143664c614380000001cc"},
		{"ac-3", audio(media.AC3, 0, 48000, 2), false, 0, "9161632d33aa", ""},
		{"e-ac-3", audio(media.EAC3, 0, 48000, 2), false, 0, "9165632d33aa", ""},
		{"script", &media.Track{Kind: media.Data, Codec: media.AMF0}, false, 0, "aa", ""},
	}
	for _, c := range cases {
		f := &media.Frame{Track: c.track, Key: c.key, DTS: time.Second, CTO: c.cto, Payload: []byte{0xaa}}
		if got := hex.EncodeToString(AppendBody(nil, f)); got != c.body {
			t.Errorf("%s: body %s, want %s", c.name, got, c.body)
		}
		config, ok := AppendConfigBody(nil, c.track)
		if got := hex.EncodeToString(config); got != c.config || ok != (c.config != "") {
			t.Errorf("%s: configuration %s, %v, want %s", c.name, got, ok, c.config)
		}
	}
}

// TestCompositionTime checks that presentation times keep to the millisecond
// whatever the clock of the source was.
func TestCompositionTime(t *testing.T) {
	tr := &media.Track{Kind: media.Video, Codec: media.H264}
	for n := range int64(9000) {
		f := &media.Frame{Track: tr, DTS: media.Duration(n*3003, 90000), CTO: media.Duration(2*3003, 90000)}
		p, err := ParseVideo(nil, AppendBody(nil, f))
		if err != nil {
			t.Fatal(err)
		}
		got := media.Milliseconds(f.DTS) + p[0].CTO.Milliseconds()
		if want := media.Milliseconds(f.PTS()); got != want {
			t.Fatalf("frame %d is shown at %d ms, want %d", n, got, want)
		}
	}
}

func TestTags(t *testing.T) {
	b := AppendFileHeader(nil, true, false)
	b = AppendTag(b, TypeAudio, 0x81020304, []byte{0xaf}, []byte{1, 2})
	want := "464c5601040000000900000000" + "08000003020304810000" + "00" + "af0102" + "0000000e"
	if got := hex.EncodeToString(b); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	meta := []byte{5}
	tr := &media.Track{Kind: media.Video, Codec: media.H264, Config: []byte{1}}
	l := (&media.Layout{Meta: meta}).With(tr).With(&media.Track{Kind: media.Audio, Codec: media.MP3})
	f := &media.Frame{Track: tr, Key: true, Payload: []byte{7}}
	b = AppendFrameTag(AppendLayout(b, l, 5), f, 6)
	b = b[:len(b)-4] // a file may be cut before the last size

	r := NewReader(iotest.OneByteReader(bytes.NewReader(b)))
	if a, v, err := r.ReadHeader(); !a || v || err != nil {
		t.Errorf("header: %v %v %v", a, v, err)
	}
	var got []string
	for {
		tag, err := r.ReadTag()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, hex.EncodeToString(append([]byte{tag.Type, byte(tag.Timestamp >> 24), byte(tag.Timestamp)}, tag.Body...)))
	}
	all := []string{"088104af0102", "12000002000a6f6e4d6574614461746105", "090005170000000001", "090006170100000007"}
	for i := range all {
		if i >= len(got) || got[i] != all[i] {
			t.Fatalf("tags\n%q, want\n%q", got, all)
		}
	}
}

func TestReaderErrors(t *testing.T) {
	head := hex.EncodeToString(AppendFileHeader(nil, true, true))
	cases := []struct {
		name, in string
		want     error
	}{
		{"nothing", "", io.EOF},
		{"short header", "464c56", io.ErrUnexpectedEOF},
		{"not flv", "474c56010500000009" + "00000000", ErrSyntax},
		{"huge header", "464c560105ff000009" + "00000000", ErrSyntax},
		{"no tags", head, io.EOF},
		{"half a tag header", head + "0900", io.ErrUnexpectedEOF},
		{"half a body", head + "09ffffff00000000000000" + "00", io.ErrUnexpectedEOF},
		{"no body", head + "09ffffff00000000000000", io.ErrUnexpectedEOF},
		{"encrypted", head + "29000001000000000000000000000c00", ErrSyntax},
	}
	for _, c := range cases {
		if _, err := NewReader(bytes.NewReader(unhex(t, c.in))).ReadTag(); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
	}
}

// same compares what matters of two frames.
func same(a, b *media.Frame) bool {
	return a.Track.Codec == b.Track.Codec && a.Track.ID == b.Track.ID && bytes.Equal(a.Track.Config, b.Track.Config) &&
		a.Key == b.Key && bytes.Equal(a.Payload, b.Payload) && media.Milliseconds(a.CTO) == media.Milliseconds(b.CTO)
}

func seeds(f *testing.F) {
	for _, s := range []string{
		"1700000000" + avcC720, "17010000500000000165", "270100000000000001090000000165",
		"1700000000000000016764001facd9405005bb016a02020280000003008000001e478c18cb0000000168ebecb22c",
		"9068766331" + "01", "9168766331000028 0000000126", "936876633100000001 26", "9161763031 12003202aabb",
		"9061763031 812000000a0d20000004457e3e6d7c9010d002", "9561763031 800481200000",
		"90767030390100000001 1e870202020000", "9176703039a2498342e027f01df60638", "9176703038 00000000009d012a80026001",
		"9601687663310300000000aa", "96106176303100000001aa01000002bbbb", "96216876633100000004000028aa7670303901000001bb",
		"97020f423f0168766331000001aa",
		"af00" + asc44k, "af0121", "2ffffb904400", "72d5", "b601", "904f707573", "914f707573fc",
		"90664c6143664c6143800000221000100000000000000000ac44f000000000" + "00000000000000000000000000000000000000",
		"9161632d330b7700001440e100", "9165632d330b7700003f8600", "95016d7034610521",
	} {
		f.Add(unhex(f, s))
	}
}

func FuzzVideo(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) { checkParts(t, body, ParseVideo) })
}

func FuzzAudio(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, body []byte) { checkParts(t, body, ParseAudio) })
}

func checkParts(t *testing.T, body []byte, parse func([]Part, []byte) ([]Part, error)) {
	parts, _ := parse(nil, body)
	if len(parts) > MaxTracks {
		t.Fatalf("%d parts", len(parts))
	}
	total := 0
	for _, p := range parts {
		total += len(p.Payload)
		if p.CTO > 8389*time.Second || p.CTO < -8389*time.Second {
			t.Fatalf("cto %v", p.CTO)
		}
	}
	if total > len(body) {
		t.Fatalf("%d bytes of payload in %d", total, len(body))
	}
}

// FuzzIngest feeds two messages and checks that each frame that comes out can
// be written and comes back the same.
func FuzzIngest(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, opt := range []Ingest{{}, {TryAnnexB: true}, {SkipSPS: true}} {
			in, back := opt, Ingest{TryAnnexB: opt.TryAnnexB, SkipSPS: true}
			half := len(b) / 2
			for i, body := range [][]byte{unhex(t, "1700000000"+avcC720), unhex(t, "9068766331"+hvcCmin), unhex(t, "af001210"), b, b[:half], b[half:]} {
				for _, kind := range []media.Kind{media.Video, media.Audio} {
					fs, _ := in.Frames(nil, kind, 0, body)
					for _, fr := range fs {
						echo(t, &back, fr, i)
					}
				}
			}
			if len(in.Tracks(nil)) > MaxTracks {
				t.Fatal("too many tracks")
			}
		}
	})
}

// hvcCmin is a record without parameter sets.
const hvcCmin = "0101600000009000000000005df000fcfdf8f800000f00"

func echo(t *testing.T, back *Ingest, fr *media.Frame, i int) {
	t.Helper()
	fr.CTO = fr.CTO.Truncate(time.Millisecond)
	if config, ok := AppendConfigBody(nil, fr.Track); ok {
		if _, err := back.Frames(nil, fr.Track.Kind, 0, config); err != nil {
			t.Fatalf("message %d: our own configuration %x: %v", i, config, err)
		}
	}
	body := AppendBody(nil, fr)
	if len(body)-len(fr.Payload) > 12 {
		t.Fatalf("header of %d bytes", len(body)-len(fr.Payload))
	}
	got, err := back.Frames(nil, fr.Track.Kind, 0, body)
	if err != nil || len(got) != 1 || !same(got[0], fr) {
		t.Fatalf("message %d: %x came back as %v, %v; track %+v", i, body, got, err, fr.Track)
	}
}

func FuzzReadTag(f *testing.F) {
	b := AppendFileHeader(nil, true, true)
	f.Add(b)
	f.Add(AppendTag(AppendTag(bytes.Clone(b), 9, 0, []byte{0x17, 2}), 18, 1<<31, []byte{2, 0, 0}))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		again := AppendFileHeader(nil, true, true)
		var tags []Tag
		for {
			tag, err := r.ReadTag()
			if err != nil {
				break
			}
			tags = append(tags, tag)
			again = AppendTag(again, tag.Type, tag.Timestamp, tag.Body)
		}
		r = NewReader(bytes.NewReader(again))
		for i, want := range tags {
			got, err := r.ReadTag()
			if err != nil || got.Type != want.Type || got.Timestamp != want.Timestamp || !bytes.Equal(got.Body, want.Body) {
				t.Fatalf("tag %d: got %v, %v, want %v", i, got, err, want)
			}
		}
	})
}

func TestAllocations(t *testing.T) {
	f := &media.Frame{Track: &media.Track{Kind: media.Video, Codec: media.H264}, Payload: make([]byte, 5000)}
	buf := make([]byte, 0, TagSize(f))
	if n := testing.AllocsPerRun(100, func() { buf = AppendFrameTag(buf[:0], f, 1) }); n != 0 {
		t.Errorf("a tag into a warm buffer allocates %v times", n)
	}
}

func BenchmarkAppendFrameTag(b *testing.B) {
	f := &media.Frame{Track: &media.Track{Kind: media.Video, Codec: media.H264}, Payload: make([]byte, 5000)}
	buf := make([]byte, 0, TagSize(f))
	b.SetBytes(int64(len(f.Payload)))
	for b.Loop() {
		buf = AppendFrameTag(buf[:0], f, 1)
	}
}

func BenchmarkIngest(b *testing.B) {
	var in Ingest
	config := unhex(b, "1700000000"+avcC720)
	if _, err := in.Frames(nil, media.Video, 0, config); err != nil {
		b.Fatal(err)
	}
	body := append(unhex(b, "2701000000"), 0, 0, 0x13, 0x88)
	body = append(body, make([]byte, 5000)...)
	var fs []*media.Frame
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if fs, err = in.Frames(fs[:0], media.Video, 0, body); err != nil {
			b.Fatal(err)
		}
	}
}
