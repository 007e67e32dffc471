package mpegts

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func layout(t testing.TB) *media.Layout {
	video := &media.Track{
		Kind: media.Video, Codec: media.H264,
		Config: unhex(t, "0142c00dffe100186742c00dd90141fb011000000300100000030320f142a48001000568cb83cb20"),
	}
	audio := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}
	return (&media.Layout{}).With(video).With(audio)
}

// A packet of the elementary stream, as demux finds it.
type pes struct {
	pid      uint16
	pts, dts int64
	data     []byte
	access   bool
}

// demux takes a transport stream apart and checks what 13818-1 asks for.
func demux(t testing.TB, b []byte, cc map[uint16]byte) []pes {
	t.Helper()
	var out []pes
	open := map[uint16]int{}
	if len(b)%PacketSize != 0 {
		t.Fatalf("%d bytes are no whole packets", len(b))
	}
	for at := 0; at < len(b); at += PacketSize {
		p := b[at : at+PacketSize]
		pid := uint16(p[1]&0x1f)<<8 | uint16(p[2])
		if p[0] != 0x47 || p[3]&0x10 == 0 {
			t.Fatalf("packet at %d begins with %x", at, p[:4])
		}
		if last, ok := cc[pid]; ok && p[3]&15 != (last+1)&15 {
			t.Fatalf("packet at %d: counter of %#x went from %d to %d", at, pid, last, p[3]&15)
		}
		cc[pid] = p[3] & 15
		start, access := p[1]&0x40 != 0, false
		p4 := p[4:]
		if p[3]&0x20 != 0 {
			access = p4[0] > 0 && p4[1]&0x40 != 0
			p4 = p4[1+p4[0]:]
		}
		if pid != PIDVideo && pid != PIDAudio {
			continue
		}
		if !start {
			i, ok := open[pid]
			if !ok {
				t.Fatalf("packet at %d goes on with nothing", at)
			}
			out[i].data = append(out[i].data, p4...)
			continue
		}
		open[pid] = len(out)
		if !bytes.HasPrefix(p4, []byte{0, 0, 1}) {
			t.Fatalf("packet at %d starts no PES: %x", at, p4[:4])
		}
		e := pes{pid: pid, access: access, pts: timestamp(p4[9:])}
		e.dts = e.pts
		if p4[7] == 0xc0 {
			e.dts = timestamp(p4[14:])
		}
		e.data = append(e.data, p4[9+p4[8]:]...)
		out = append(out, e)
	}
	return out
}

func timestamp(b []byte) int64 {
	return int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
}

func TestTables(t *testing.T) {
	m := NewMuxer(layout(t))
	b := m.AppendTables(nil)
	want := "474000100000b00d0001c100000001f001"
	if got := hex.EncodeToString(b[:17]); got != want {
		t.Errorf("PAT %s, want %s", got, want)
	}
	if sum := checksum(b[5:21]); sum != 0 {
		t.Errorf("PAT with its checksum sums to %#x, want 0", sum)
	}
	pmt := b[PacketSize:]
	want = "475001100002b0170001c10000e100f0001be100f0000fe101f000"
	if got := hex.EncodeToString(pmt[:27]); got != want {
		t.Errorf("PMT %s, want %s", got, want)
	}
	if sum := checksum(pmt[5:31]); sum != 0 {
		t.Errorf("PMT with its checksum sums to %#x, want 0", sum)
	}
	if again := m.AppendTables(nil); again[3] != 0x11 || again[PacketSize+3] != 0x11 {
		t.Error("counters of the tables do not count")
	}
	only := NewMuxer((&media.Layout{}).With(&media.Track{Kind: media.Audio, Codec: media.MP3, SampleRate: 24000}))
	want = "475001100002b0120001c10000e101f00004e101f000"
	if got := hex.EncodeToString(only.AppendTables(nil)[PacketSize:][:22]); got != want {
		t.Errorf("PMT of sound alone %s, want %s", got, want)
	}
}

func TestVideo(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	tr := l.Tracks[0]
	key := &media.Frame{Track: tr, Key: true, CTO: 80 * time.Millisecond, Payload: unhex(t, "0000000209f0"+"00000003060501"+"000000026588")}
	b, err := m.AppendFrame(nil, key, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	got := demux(t, b, map[uint16]byte{})[0]
	want := "0000000109f0" + "000000016742c00dd90141fb011000000300100000030320f142a480" + "0000000168cb83cb20" + "00000001060501" + "000000016588"
	if hex.EncodeToString(got.data) != want || got.pts != 97200 || got.dts != 90000 || !got.access {
		t.Errorf("key frame became %+v %x,\nwant %s", got, got.data, want)
	}
	own := &media.Frame{Track: tr, Key: true, Payload: unhex(t, "000000026764"+"000000026588")}
	b, err = m.AppendFrame(nil, own, 0)
	if err != nil {
		t.Fatal(err)
	}
	if got := hex.EncodeToString(demux(t, b, map[uint16]byte{})[0].data); got != "0000000109f0000000016764000000016588" {
		t.Errorf("a key frame with its own parameter sets became %s", got)
	}
	bad := &media.Frame{Track: tr, Payload: unhex(t, "00000009")}
	if b, err := m.AppendFrame([]byte("x"), bad, 0); !errors.Is(err, ErrFrame) || string(b) != "x" {
		t.Errorf("a broken frame: %x, %v", b, err)
	}
	foreign := &media.Frame{Track: &media.Track{Kind: media.Video, Codec: media.AV1}, Payload: []byte{1}}
	if b, err := m.AppendFrame(nil, foreign, 0); err != nil || len(b) != 0 || m.Carries(foreign) || !m.Carries(own) {
		t.Errorf("a frame of another codec: %x, %v", b, err)
	}
}

func TestH265(t *testing.T) {
	c := "0101600000009000000000005df000fcfdf8f800000f03" + "a00001000340010c" + "a100010003420101" + "a200010003440101"
	tr := &media.Track{Kind: media.Video, Codec: media.H265, Config: unhex(t, c)}
	m := NewMuxer((&media.Layout{}).With(tr))
	f := &media.Frame{Track: tr, Key: true, Payload: unhex(t, "0000000346015000000003260199")}
	b, err := m.AppendFrame(nil, f, 0)
	want := "00000001460150" + "0000000140010c" + "00000001420101" + "00000001440101" + "00000001260199"
	if got := hex.EncodeToString(demux(t, b, map[uint16]byte{})[0].data); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

func TestAudio(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	tr := l.Tracks[1]
	var frames []*media.Frame
	for i := range 50 {
		frames = append(frames, &media.Frame{Track: tr, DTS: time.Duration(i) * 23 * time.Millisecond, Payload: bytes.Repeat([]byte{byte(i)}, 4000)})
	}
	b, err := m.AppendAudio(nil, time.Second, frames...)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range demux(t, b, map[uint16]byte{}) {
		if want := media.Ticks(time.Second+frames[n].DTS, 90000); p.pts != want {
			t.Errorf("a packet of the elementary stream at %d, want %d", p.pts, want)
		}
		for d := p.data; len(d) > 0; n++ {
			c, head, size, err := aac.ParseADTS(d)
			if err != nil || c.SampleRate != 44100 || !bytes.Equal(d[head:size], frames[n].Payload) {
				t.Fatalf("frame %d: %+v, %v", n, c, err)
			}
			d = d[size:]
		}
	}
	if n != len(frames) {
		t.Errorf("%d frames, want %d", n, len(frames))
	}
	cc := m.cc
	long := &media.Frame{Track: tr, Payload: make([]byte, aac.MaxFrame+1)}
	if b, err := m.AppendAudio([]byte("x"), 0, frames[0], long); !errors.Is(err, ErrFrame) || string(b) != "x" || m.cc != cc {
		t.Errorf("a frame too long: %d bytes, %v", len(b), err)
	}
}

func TestWrap(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	const span = int64(1) << 33
	at := media.Duration(span-1, 90000)
	f := &media.Frame{Track: l.Tracks[0], CTO: media.Duration(3, 90000), Payload: unhex(t, "0000000141")}
	b, err := m.AppendFrame(nil, f, at)
	if err != nil {
		t.Fatal(err)
	}
	if p := demux(t, b, map[uint16]byte{})[0]; p.dts != span-1 || p.pts != 2 {
		t.Errorf("around the wrap: dts %d, pts %d, want %d and 2", p.dts, p.pts, span-1)
	}
}

func TestEverySize(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	cc := map[uint16]byte{}
	for n := range 800 {
		payload := append([]byte{0, 0, byte(n >> 8), byte(n)}, bytes.Repeat([]byte{0x41}, n)...)
		f := &media.Frame{Track: l.Tracks[0], Payload: payload}
		b, err := m.AppendFrame(m.AppendTables(nil), f, 0)
		if err != nil {
			t.Fatal(err)
		}
		want := 6 + 4 + n
		if n == 0 {
			want = 6
		}
		if got := demux(t, b, cc); len(got) != 1 || len(got[0].data) != want {
			t.Fatalf("a unit of %d bytes became %d bytes", n, len(got[0].data))
		}
	}
}

// The map has another version where it says something else, and only there.
func TestMapVersion(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	version := func() byte { return m.AppendTables(nil)[PacketSize+10] >> 1 & 31 }
	sound := (&media.Layout{}).With(l.Tracks[1])
	for i, c := range []struct {
		l    *media.Layout
		want byte
	}{{l, 0}, {l, 0}, {sound, 1}, {sound, 1}, {l, 2}} {
		if m.SetLayout(c.l); version() != c.want {
			t.Errorf("layout %d: version %d, want %d", i, version(), c.want)
		}
		if b := m.AppendTables(nil)[PacketSize:]; checksum(b[5:8+int(b[7])]) != 0 {
			t.Errorf("layout %d: the checksum is wrong", i)
		}
	}
}

// What one muxer makes of a frame alone is what another would have made in its
// stream, but for the counters.
func TestAlone(t *testing.T) {
	l := layout(t)
	other, mine, want := NewMuxer(l), NewMuxer(l), NewMuxer(l)
	other.AppendFrame(nil, &media.Frame{Track: l.Tracks[0], Payload: unhex(t, "0000000141")}, 0)
	var got, all []byte
	for i := range 40 {
		f := &media.Frame{Track: l.Tracks[i%2], Key: i%8 == 0, Payload: append([]byte{0, 0, byte(i * 200 >> 8), byte(i * 200)}, make([]byte, i*200)...)}
		at := time.Duration(i) * time.Second
		alone, err := other.AppendAlone(nil, f, at)
		if err != nil {
			t.Fatal(err)
		}
		if n := other.FrameSize(f); n < len(alone) || n > len(alone)+2*PacketSize {
			t.Errorf("frame %d: %d bytes, said %d", i, len(alone), n)
		}
		got = mine.AppendPackets(got, alone)
		all, _ = want.AppendFrame(all, f, at)
	}
	if !bytes.Equal(got, all) {
		t.Error("the streams differ")
	}
	demux(t, got, map[uint16]byte{})
	if a, b := want.AppendTablesAt(nil, want.TablesCounter()), want.AppendTables(nil); !bytes.Equal(a, b) {
		t.Error("the tables differ")
	}
}

func TestAllocations(t *testing.T) {
	l := layout(t)
	m := NewMuxer(l)
	v := &media.Frame{Track: l.Tracks[0], Key: true, Payload: append([]byte{0, 0, 0x75, 0x30, 0x65}, make([]byte, 29999)...)}
	a := &media.Frame{Track: l.Tracks[1], Payload: make([]byte, 300)}
	audio := []*media.Frame{a, a, a}
	buf := make([]byte, 0, 64<<10)
	n := testing.AllocsPerRun(100, func() {
		buf = m.AppendTables(buf[:0])
		buf, _ = m.AppendFrame(buf, v, time.Second)
		buf, _ = m.AppendAudio(buf, time.Second, audio...)
		buf, _ = m.AppendFrame(buf, a, time.Second)
	})
	if n != 0 {
		t.Errorf("muxing into a warm buffer allocates %v times", n)
	}
}

func FuzzMuxer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0x65, 0x88}, int64(0), true)
	f.Add([]byte{0, 0, 0, 2, 0x67, 0x64, 0, 0, 0, 1, 0x68}, int64(-5), true)
	f.Add(bytes.Repeat([]byte{0, 0, 0, 0}, 2000), int64(1)<<62, false)
	f.Fuzz(func(t *testing.T, payload []byte, at int64, key bool) {
		l := layout(t)
		m := NewMuxer(l)
		cc := map[uint16]byte{}
		for _, tr := range l.Tracks {
			fr := &media.Frame{Track: tr, Key: key, Payload: payload}
			b, err := m.AppendFrame(nil, fr, time.Duration(at))
			if n := m.FrameSize(fr); len(b) > n {
				t.Fatalf("%d bytes, said %d", len(b), n)
			}
			if err != nil {
				if len(b) != 0 {
					t.Fatal("an error and bytes")
				}
				continue
			}
			if got := demux(t, b, cc); len(got) != 1 || tr.Kind == media.Audio && !bytes.HasSuffix(got[0].data, payload) {
				t.Fatalf("%d packets", len(got))
			}
		}
		_ = NewMuxer((&media.Layout{}).With(&media.Track{Kind: media.Video, Codec: media.H265, Config: payload}).With(&media.Track{Kind: media.Audio, Codec: media.AAC, Config: payload}))
	})
}

func BenchmarkAppendFrame(b *testing.B) {
	l := layout(b)
	m := NewMuxer(l)
	v := &media.Frame{Track: l.Tracks[0], Payload: append([]byte{0, 0, 0x13, 0x88, 0x41}, make([]byte, 4999)...)}
	buf := make([]byte, 0, 64<<10)
	b.SetBytes(int64(len(v.Payload)))
	b.ReportAllocs()
	for b.Loop() {
		buf, _ = m.AppendFrame(buf[:0], v, time.Second)
	}
}

// Data go through as they are: sections, packets with a time and without, beside picture
// and sound; where they are not wanted they are not.
func TestData(t *testing.T) {
	section := []byte{0xfc, 0x30, 0x11, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xf0, 0, 0, 0, 0}
	sum := checksum(section[:16])
	section = append(section[:16], byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum))
	section[2] = byte(len(section) - 3)
	sum = checksum(section[:16])
	copy(section[16:], []byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
	tracks := []*media.Track{
		{Kind: media.Audio, Codec: media.MP3, SampleRate: 44100, Channels: 2},
		{Kind: media.Data, Codec: media.TSData, Config: []byte{typeSCTE35, 0}},
		{Kind: media.Data, ID: 1, Codec: media.TSData, Config: append([]byte{typeMetadata, streamMetadata}, 5, 4, 'K', 'L', 'V', 'A')},
		{Kind: media.Data, ID: 2, Codec: media.TSData, Config: append([]byte{typePrivate, streamPrivate}, 5, 4, 'K', 'L', 'V', 'A')},
	}
	layout := &media.Layout{Tracks: tracks}
	mp3 := append([]byte{0xff, 0xfb, 0x90, 0x64}, make([]byte, 413)...)
	long := bytes.Repeat([]byte("key, length, value. "), 40)
	frames := []*media.Frame{
		{Track: tracks[0], DTS: time.Second, Payload: mp3},
		{Track: tracks[1], DTS: time.Second, Payload: section},
		{Track: tracks[2], DTS: 2 * time.Second, Payload: long},
		{Track: tracks[3], DTS: 3 * time.Second, Payload: []byte("no time")},
		{Track: tracks[1], DTS: 3 * time.Second, Payload: section},
	}
	m := NewPassing(layout)
	b := m.AppendTables(nil)
	for _, f := range frames {
		n := len(b)
		if b, _ = m.AppendFrame(b, f, f.DTS); len(b)-n > m.FrameSize(f) || (len(b)-n)%PacketSize != 0 || len(b) == n {
			t.Errorf("%d bytes, at most %d were told", len(b)-n, m.FrameSize(f))
		}
	}
	d := NewDemuxer()
	got := d.Flush(d.Feed(nil, b))
	if data := d.Data(); len(data) != 3 || data[0].Label != "SCTE-35" || data[1].Label != "KLV" || d.Maps() != 1 {
		t.Fatalf("data %+v", data)
	}
	byTrack := map[uint8][]*media.Frame{}
	for _, f := range got {
		if f.Track.Kind == media.Data {
			byTrack[f.Track.ID] = append(byTrack[f.Track.ID], f)
			if !bytes.Equal(f.Track.Config, tracks[1+f.Track.ID].Config) {
				t.Errorf("data %d is %x", f.Track.ID, f.Track.Config)
			}
		}
	}
	if f := byTrack[0]; len(f) != 2 || !bytes.Equal(f[1].Payload, section) {
		t.Errorf("%d sections", len(f))
	}
	if f := byTrack[1]; len(f) != 1 || !bytes.Equal(f[0].Payload, long) || f[0].Source != 2*time.Second {
		t.Errorf("%d packets with a time", len(f))
	}
	if f := byTrack[2]; len(f) != 1 || string(f[0].Payload) != "no time" {
		t.Errorf("%d packets without", len(f))
	}
	plain := NewMuxer(layout)
	if plain.Carries(frames[1]) || plain.FrameSize(frames[1]) != 0 {
		t.Error("a segment would have data")
	}
}

// The language of a sound goes through a stream that passes everything on, and is not in
// others, whose maps stay as they are.
func TestLanguage(t *testing.T) {
	german := &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2, Lang: "deu"}
	opus := &media.Track{ID: 1, Kind: media.Audio, Codec: media.Opus, SampleRate: 48000, Channels: 2, Lang: "eng"}
	odd := &media.Track{ID: 2, Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2, Lang: "e\x00g"}
	l := (&media.Layout{}).With(german).With(opus).With(odd)
	m := NewPassing(l)
	b := m.AppendTables(nil)
	for i := range 4 {
		for _, tr := range l.Tracks {
			var err error
			if b, err = m.AppendFrame(b, &media.Frame{Track: tr, Payload: []byte{0xfc, 0x10, 4, 0x60, 0x8c, 0x1c}}, time.Second+time.Duration(i)*23*time.Millisecond); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[uint8]string{}
	d := NewDemuxer()
	for _, f := range d.Flush(d.Feed(nil, b)) {
		got[f.Track.ID] = f.Track.Lang
	}
	if got[0] != "deu" || got[1] != "eng" || got[2] != "" {
		t.Errorf("languages %v", got)
	}
	plain := *german
	plain.Lang = ""
	if !bytes.Equal(NewMuxer((&media.Layout{}).With(german)).AppendTables(nil), NewMuxer((&media.Layout{}).With(&plain)).AppendTables(nil)) {
		t.Error("a segment's map tells the language")
	}
	for n := range 9 { // it never runs over its packet
		var many media.Layout
		for i := range n {
			o := *opus
			o.ID = uint8(i)
			many = *many.With(&o)
		}
		if b := NewPassing(&many).AppendTables(nil); len(b) != 2*PacketSize {
			t.Errorf("tables of %d bytes", len(b))
		}
	}
}

// Pieces that are begun and aligned are alike whoever makes them, and one stream after
// another: counters of tracks go on, and the tables' say that they do not.
func TestPiecesAlike(t *testing.T) {
	l := layout(t)
	video, audio := l.Main(media.Video), l.Main(media.Audio)
	piece := func(m *Muxer, n int) ([]byte, int) {
		b := m.AppendBegin(nil)
		mark := 0
		for i := range n%7 + 1 {
			at := time.Duration(n)*time.Second + time.Duration(i)*40*time.Millisecond
			var err error
			if b, err = m.AppendFrame(b, &media.Frame{Track: video, Key: i == 0, Payload: append([]byte{0, 0, 0, byte(20 + n), 0x65}, make([]byte, 19+n)...)}, at); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				mark = len(b)
			}
			if i%2 == 0 {
				if b, err = m.AppendAudio(b, at, &media.Frame{Track: audio, Payload: make([]byte, 40+(n*37)%250)}); err != nil {
					t.Fatal(err)
				}
			}
		}
		return m.Align(b, mark)
	}
	a, late := NewMuxer(l), NewMuxer(l)
	late.AppendTables(nil)
	var all []byte
	for n := range 100 {
		one, mark := piece(a, n)
		if n >= 40 {
			if other, _ := piece(late, n); !bytes.Equal(one, other) {
				t.Fatalf("piece %d differs", n)
			}
		}
		if mark%PacketSize != 0 || mark < 3*PacketSize {
			t.Errorf("piece %d: mark %d", n, mark)
		}
		for at := 0; at < 2*PacketSize; at += PacketSize {
			p := one[at : at+PacketSize]
			if p[3] != 0x30 || p[4] != 1 || p[5] != 0x80 {
				t.Fatalf("piece %d begins with %x", n, p[:8])
			}
			if end := 10 + int(p[9]); checksum(p[7:end]) != 0 {
				t.Errorf("the table's sum is not right: %x", p[:end])
			}
		}
		cc := map[uint16]byte{PIDVideo: 15, PIDAudio: 15}
		if got := demux(t, one, cc); len(got) < 2 || len(got[0].data) < 20 {
			t.Errorf("piece %d has %d packets", n, len(got))
		}
		if cc[PIDVideo] != 15 || cc[PIDAudio] != 15 {
			t.Fatalf("piece %d ends with counters %v", n, cc)
		}
		all = append(all, one...)
	}
	// What reads the stream as one finds all that was written.
	if len(all)%PacketSize != 0 {
		t.Errorf("%d bytes", len(all))
	}
}
