package m3u8

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var (
	ms    = time.Millisecond
	keyA  = Key{"http://h/live/s-0.key", [16]byte{0xdd, 0x12, 0x59, 15: 0x3d}}
	keyB  = Key{"k\"2", [16]byte{1}}
	when  = time.Date(2026, 1, 2, 3, 4, 5, 67e6, time.UTC)
	cases = []struct {
		name string
		p    Playlist
		want string
	}{
		{
			"first segments",
			Playlist{Target: 3, Segments: []Segment{
				{URI: "s-0.ts", Duration: 2023 * ms, Discontinuity: true},
				{URI: "s-1.ts", Duration: 2 * time.Second},
				{URI: "s-2.ts", Duration: 1559600 * time.Microsecond},
			}},
			"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:3\n#EXT-X-DISCONTINUITY\n" +
				"#EXTINF:2.023, no desc\ns-0.ts\n#EXTINF:2.000, no desc\ns-1.ts\n#EXTINF:1.560, no desc\ns-2.ts\n",
		},
		{
			"discontinuities that have gone",
			Playlist{Version: 3, Sequence: 1 << 40, Discontinuities: 2, Target: 10, Segments: []Segment{{URI: "a/b.ts?x=1", Duration: 0}}, End: true},
			"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:1099511627776\n#EXT-X-DISCONTINUITY-SEQUENCE:2\n#EXT-X-TARGETDURATION:10\n" +
				"#EXTINF:0.000, no desc\na/b.ts?x=1\n#EXT-X-ENDLIST\n",
		},
		{
			"keys",
			Playlist{Sequence: 5, Target: 1, Segments: []Segment{
				{URI: "5.ts", Duration: ms, Key: keyA}, {URI: "6.ts", Duration: ms, Key: keyA},
				{URI: "7.ts", Duration: ms, Key: keyB}, {URI: "8.ts", Duration: ms},
			}},
			"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:5\n#EXT-X-TARGETDURATION:1\n" +
				"#EXT-X-KEY:METHOD=AES-128,URI=\"http://h/live/s-0.key\",IV=0xDD12590000000000000000000000003D\n" +
				"#EXTINF:0.001, no desc\n5.ts\n#EXTINF:0.001, no desc\n6.ts\n" +
				"#EXT-X-KEY:METHOD=AES-128,URI=\"k%222\",IV=0x01000000000000000000000000000000\n" +
				"#EXTINF:0.001, no desc\n7.ts\n#EXT-X-KEY:METHOD=NONE\n#EXTINF:0.001, no desc\n8.ts\n",
		},
		{
			"fragmented",
			Playlist{Version: 7, Target: 4, Segments: []Segment{
				{URI: "1.m4s", Duration: 4 * time.Second, Map: "init.mp4", Time: when}, {URI: "2.m4s", Duration: 4 * time.Second, Map: "init.mp4"},
				{URI: "3.m4s", Duration: 4 * time.Second, Map: "init2.mp4", Discontinuity: true},
			}},
			"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:4\n#EXT-X-MAP:URI=\"init.mp4\"\n" +
				"#EXT-X-PROGRAM-DATE-TIME:2026-01-02T03:04:05.067Z\n#EXTINF:4.000, no desc\n1.m4s\n#EXTINF:4.000, no desc\n2.m4s\n" +
				"#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"init2.mp4\"\n#EXTINF:4.000, no desc\n3.m4s\n",
		},
		{
			"fragmented and encrypted",
			Playlist{Version: 7, Target: 4, Independent: true, Segments: []Segment{
				{URI: "1.m4s", Duration: 4 * time.Second, Map: "init.mp4", Key: keyB}, {URI: "2.m4s", Duration: 4 * time.Second, Map: "init.mp4", Key: keyB},
				{URI: "3.m4s", Duration: 4 * time.Second, Map: "init2.mp4", Key: keyB, Discontinuity: true},
			}},
			"#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:4\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-MAP:URI=\"init.mp4\"\n" +
				"#EXT-X-KEY:METHOD=AES-128,URI=\"k%222\",IV=0x01000000000000000000000000000000\n#EXTINF:4.000, no desc\n1.m4s\n#EXTINF:4.000, no desc\n2.m4s\n" +
				"#EXT-X-DISCONTINUITY\n#EXT-X-KEY:METHOD=NONE\n#EXT-X-MAP:URI=\"init2.mp4\"\n" +
				"#EXT-X-KEY:METHOD=AES-128,URI=\"k%222\",IV=0x01000000000000000000000000000000\n#EXTINF:4.000, no desc\n3.m4s\n",
		},
		{
			"names that would be lines",
			Playlist{Segments: []Segment{{URI: "#EXT-X-ENDLIST\n\x7f", Duration: -1}}},
			"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-MEDIA-SEQUENCE:0\n#EXT-X-TARGETDURATION:0\n#EXTINF:0.000, no desc\n%23EXT-X-ENDLIST%0A%7F\n",
		},
	}
)

func TestAppend(t *testing.T) {
	for _, c := range cases {
		got := string(c.p.Append(nil))
		if got != c.want {
			t.Errorf("%s:\n%s\nwant\n%s", c.name, got, c.want)
		}
		p, err := Parse([]byte(got))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if again := string(p.Append(nil)); again != got {
			t.Errorf("%s came back as\n%s", c.name, again)
		}
	}
}

func TestParse(t *testing.T) {
	want := &cases[0].p
	got, err := Parse([]byte(strings.ReplaceAll(strings.ReplaceAll(cases[0].want, "\n", "\r\n"), "1.560", "1.5596")))
	if err != nil {
		t.Fatal(err)
	}
	got.Version = 0
	got.Segments[2].Duration = want.Segments[2].Duration
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	const head = "#EXTM3U\n"
	bad := []struct {
		name, in string
		want     error
	}{
		{"nothing", "", ErrSyntax},
		{"something else", "<html>", ErrSyntax},
		{"master", string(AppendMaster(nil, false, Variant{URI: "a"})), ErrSyntax},
		{"segment without duration", head + "a.ts\n", ErrSyntax},
		{"negative duration", head + "#EXTINF:-1,\n", ErrSyntax},
		{"no number", head + "#EXTINF:nan,\n", ErrSyntax},
		{"endless segment", head + "#EXTINF:1e9,\n", ErrSyntax},
		{"negative sequence", head + "#EXT-X-MEDIA-SEQUENCE:-1\n", ErrSyntax},
		{"negative target", head + "#EXT-X-TARGETDURATION:-1\n", ErrSyntax},
		{"other method", head + "#EXT-X-KEY:METHOD=SAMPLE-AES\n", ErrSyntax},
		{"key without iv", head + "#EXT-X-KEY:METHOD=AES-128,URI=\"a\"\n", ErrSyntax},
		{"short iv", head + "#EXT-X-KEY:METHOD=AES-128,URI=\"a\",IV=0x00\n", ErrSyntax},
		{"many segments", head + strings.Repeat("#EXTINF:1,\na\n", MaxSegments+1), ErrLimit},
		{"long", head + strings.Repeat("#\n", MaxSize/2), ErrLimit},
	}
	for _, c := range bad {
		if p, err := Parse([]byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", c.name, p, err, c.want)
		}
	}
}

func TestMaster(t *testing.T) {
	got := string(AppendMaster(nil, false, Variant{URI: "/live/s.m3u8?hls_ctx=qpl12e0l&token=1"}))
	want := "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,AVERAGE-BANDWIDTH=1\n/live/s.m3u8?hls_ctx=qpl12e0l&token=1\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestMasterMeasured(t *testing.T) {
	got := string(AppendMaster(nil, true, Variant{URI: "s.m3u8", Bandwidth: 1200000, Average: 1000000, Codecs: "avc1.64001f,mp4a.40.2", Width: 1280, Height: 720, Rate: 30000. / 1001}))
	want := "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-STREAM-INF:BANDWIDTH=1200000,AVERAGE-BANDWIDTH=1000000,CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,FRAME-RATE=29.970\ns.m3u8\n"
	if got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTarget(t *testing.T) {
	for _, c := range []struct {
		longest, atMost time.Duration
		want            int
	}{{2023 * ms, 3 * time.Second, 3}, {3001 * ms, 3 * time.Second, 4}, {0, 0, 0}, {-1, 15 * time.Second, 15}} {
		if got := Target(c.longest, c.atMost); got != c.want {
			t.Errorf("Target(%v, %v) = %d, want %d", c.longest, c.atMost, got, c.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		for i := range cases {
			buf = cases[i].p.Append(buf[:0])
		}
	}); n != 0 {
		t.Errorf("a playlist into a warm buffer allocates %v times", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.want))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		once := p.Append(nil)
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("our own playlist: %v\n%s", err, once)
		}
		if len(again.Segments) != len(p.Segments) || again.Sequence != p.Sequence || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("round trip:\n%s\nbecame\n%s", once, again.Append(nil))
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	p := Playlist{Target: 10, Segments: make([]Segment, 6)}
	for i := range p.Segments {
		p.Segments[i] = Segment{URI: "livestream-123.ts", Duration: 10 * time.Second}
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0])
	}
}
