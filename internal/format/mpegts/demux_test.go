package mpegts

import (
	"bytes"
	"testing"
	"time"

	"weir/internal/media"
)

// units are three pictures and the sound between them, muxed.
func muxed(t testing.TB) (ts []byte, frames []*media.Frame) {
	t.Helper()
	l := layout(t)
	m := NewMuxer(l)
	ts = m.AppendTables(nil)
	for i := range 12 {
		f := &media.Frame{Layout: l, Track: l.Tracks[1], DTS: time.Duration(i) * 20 * time.Millisecond, Payload: bytes.Repeat([]byte{0x21, byte(i)}, 50)}
		if i%2 == 0 {
			typ := byte(0x41)
			if i%6 == 0 {
				typ = 0x65
			}
			size := 300 + 100*i
			p := append([]byte{0, 0, byte((size + 1) >> 8), byte(size + 1), typ}, bytes.Repeat([]byte{byte(0x80 + i)}, size)...)
			f = &media.Frame{Layout: l, Track: l.Tracks[0], DTS: f.DTS, CTO: 40 * time.Millisecond, Key: typ == 0x65, Payload: p}
		}
		var err error
		if ts, err = m.AppendFrame(ts, f, f.DTS+time.Second); err != nil {
			t.Fatal(err)
		}
		frames = append(frames, f)
	}
	return ts, frames
}

// Opus, in packets of all lengths, alone and several together.
func TestOpus(t *testing.T) {
	for channels := 1; channels <= 2; channels++ {
		l := &media.Layout{Tracks: []*media.Track{{Kind: media.Audio, Codec: media.Opus, SampleRate: 48000, Channels: channels}}}
		m := NewMuxer(l)
		ts := m.AppendTables(nil)
		var want [][]byte
		var frames []*media.Frame
		for i, n := range []int{3, 254, 255, 256, 510, 1275, 60, 60, 60, 60} {
			f := &media.Frame{Layout: l, Track: l.Tracks[0], DTS: time.Duration(i) * 20 * time.Millisecond, Payload: append([]byte{0xfc}, bytes.Repeat([]byte{byte(i)}, n-1)...)}
			want, frames = append(want, f.Payload), append(frames, f)
		}
		for _, f := range frames[:6] {
			at := len(ts)
			ts, _ = m.AppendFrame(ts, f, f.DTS)
			if n := m.FrameSize(f); len(ts)-at > n {
				t.Errorf("%d bytes, said %d", len(ts)-at, n)
			}
		}
		ts, _ = m.AppendAudio(ts, frames[6].DTS, frames[6:]...)
		d := NewDemuxer()
		got := d.Flush(d.Feed(nil, ts))
		if len(got) != len(want) {
			t.Fatalf("%d packets of %d", len(got), len(want))
		}
		for i, f := range got {
			if !bytes.Equal(f.Payload, want[i]) || f.Track.Channels != channels || f.Source != frames[i].DTS {
				t.Errorf("packet %d: %d bytes of %d channels at %v", i, len(f.Payload), f.Track.Channels, f.Source)
			}
		}
	}
}

// What the muxer writes the demuxer reads.
func TestDemuxerReadsTheMuxer(t *testing.T) {
	ts, frames := muxed(t)
	for _, n := range []int{1, 187, 188, 189, 1316, len(ts)} {
		d := NewDemuxer()
		var got []*media.Frame
		for b := ts; len(b) > 0; {
			k := min(n, len(b))
			got = d.Feed(got, b[:k])
			b = b[k:]
		}
		got = d.Flush(got)
		if len(got) != len(frames) || d.Lost() != 0 {
			t.Fatalf("in pieces of %d: %d frames of %d, %d lost", n, len(got), len(frames), d.Lost())
		}
		for i, f := range got {
			w := frames[i]
			if !bytes.Equal(f.Payload, w.Payload) || f.Source != w.DTS+time.Second || f.CTO != w.CTO || f.Key != w.Key || f.Track.Codec != w.Track.Codec {
				t.Errorf("frame %d is %v at %v+%v, key %v, %d bytes", i, f.Track.Codec, f.Source, f.CTO, f.Key, len(f.Payload))
			}
		}
		if c := got[0].Track.Config; !bytes.Equal(c, frames[0].Track.Config) {
			t.Errorf("configuration %x, want %x", c, frames[0].Track.Config)
		}
	}
}

// Several pictures and sounds go through, each under its number, alone as well as in their
// stream; a muxer that is not asked for all has the first ones.
func TestSeveralTracks(t *testing.T) {
	l := layout(t)
	for n := range uint8(12) {
		for _, first := range []*media.Track{l.Tracks[0], l.Main(media.Audio)} {
			track := *first
			track.ID = n
			l = l.With(&track)
		}
	}
	all, one, alone := NewPassing(l), NewMuxer(l), NewPassing(l)
	ts, few := all.AppendTables(nil), one.AppendTables(nil)
	again := alone.AppendTables(nil)
	want := map[media.Kind][12]int{}
	for i := range 30 {
		for _, track := range l.Tracks {
			p := []byte{0, 0, 0, 4, 0x65, byte(i), 0x80 | track.ID, 0x80}
			f := &media.Frame{Layout: l, Track: track, DTS: time.Duration(i) * 40 * time.Millisecond, Key: true, Payload: p}
			var err error
			size := all.FrameSize(f)
			was := len(ts)
			if ts, err = all.AppendFrame(ts, f, f.DTS); err != nil || len(ts)-was > size {
				t.Fatalf("%d bytes of %d: %v", len(ts)-was, size, err)
			}
			few, _ = one.AppendFrame(few, f, f.DTS)
			b, _ := alone.AppendAlone(nil, f, f.DTS)
			again = alone.AppendPackets(again, b)
			if most := map[media.Kind]uint8{media.Video: maxVideos, media.Audio: maxAudios}[track.Kind]; track.ID < most {
				n := want[track.Kind]
				n[track.ID]++
				want[track.Kind] = n
			}
		}
	}
	if !bytes.Equal(ts, again) {
		t.Error("frames alone make another stream")
	}
	read := func(ts []byte) map[media.Kind][12]int {
		d := NewDemuxer()
		got := map[media.Kind][12]int{}
		for _, f := range d.Flush(d.Feed(nil, ts)) {
			n := got[f.Track.Kind]
			n[f.Track.ID]++
			got[f.Track.Kind] = n
			if p := f.Payload; p[6] != 0x80|f.Track.ID {
				t.Errorf("%v %d has a frame of %d", f.Track.Kind, f.Track.ID, p[6]&0x7f)
			}
		}
		if d.Lost() > 0 {
			t.Errorf("%d lost", d.Lost())
		}
		return got
	}
	if got := read(ts); got[media.Video] != want[media.Video] || got[media.Audio] != want[media.Audio] {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := read(few); got[media.Video] != [12]int{30} || got[media.Audio] != [12]int{30} {
		t.Errorf("of the first alone: %v", got)
	}
}

// Tables may change on the way, and a stream may begin anywhere.
func TestDemuxerFollowsTables(t *testing.T) {
	ts, frames := muxed(t)
	d := NewDemuxer()
	got := d.Feed(nil, append([]byte("garbage that has a G in it"), ts[:5*PacketSize]...))
	l := layout(t)
	sound := (&media.Layout{}).With(l.Tracks[1])
	m := NewMuxer(l)
	m.SetLayout(sound)
	b := m.AppendTables(nil)
	f := &media.Frame{Layout: sound, Track: l.Tracks[1], Payload: []byte{1, 2, 3}}
	b, err := m.AppendFrame(b, f, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := len(got)
	got = d.Flush(d.Feed(got, b))
	if len(got) <= n || len(got) > len(frames) {
		t.Fatalf("%d frames, %d before", len(got), n)
	}
	if f := got[len(got)-1]; f.Track.Codec != media.AAC || !bytes.Equal(f.Payload, []byte{1, 2, 3}) {
		t.Errorf("after the change: %+v", f)
	}
}

func FuzzDemuxer(f *testing.F) {
	ts, _ := muxed(f)
	f.Add(ts, 100)
	f.Add(ts[PacketSize:], 188)
	lying := bytes.Clone(ts)
	lying[4*PacketSize+4] = 0xff
	f.Add(lying, 7)
	f.Add(bytes.Repeat([]byte{0x47}, 1000), 3)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		d := NewDemuxer()
		var got []*media.Frame
		size := 0
		for rest := b; len(rest) > 0; {
			k := min(len(rest), max(1, n))
			got = d.Feed(got, rest[:k])
			rest = rest[k:]
		}
		for _, fr := range d.Flush(got) {
			if fr.Track == nil || len(fr.Payload) == 0 {
				t.Fatalf("frame %+v", fr)
			}
			size += len(fr.Payload)
		}
		if size > 2*len(b)+64 {
			t.Fatalf("%d bytes of frames come of %d", size, len(b))
		}
	})
}

func BenchmarkDemuxer(b *testing.B) {
	ts, frames := muxed(b)
	b.SetBytes(int64(len(ts)))
	b.ReportMetric(float64(len(ts)/PacketSize), "packets/op")
	d := NewDemuxer()
	got := make([]*media.Frame, 0, 2*len(frames))
	for b.Loop() {
		d.pmt, d.pat = section{}, section{}
		for _, s := range d.streams {
			s.counted = false
		}
		got = d.Flush(d.Feed(got[:0], ts))
	}
}

// Of several programs the first is taken, or the one that is asked for.
func TestPrograms(t *testing.T) {
	pat := []byte{0x00, 0xb0, 17, 0, 1, 0xc1, 0, 0, 0, 1, 0xe1, 0x00, 0, 2, 0xe2, 0x00}
	table := make([]byte, PacketSize)
	putTable(table, PIDTables, pat)
	stream := append([]byte(nil), table...)
	for i, pid := range []uint16{0x100, 0x200} {
		pmt := []byte{0x02, 0xb0, 18, 0, byte(i + 1), 0xc1, 0, 0, 0xe3, byte(i), 0xf0, 0, typeMP3MPEG1, 0xe3, byte(i), 0xf0, 0}
		putTable(table, pid, pmt)
		stream = append(stream, table...)
	}
	mp3 := append([]byte{0xff, 0xfb, 0x90, 0x64}, make([]byte, 413)...)
	for i := range 2 {
		mp3[10] = byte(i + 1)
		pes := append(appendTimes([]byte{0, 0, 1, streamAudio, 0x01, 0xa9}, 0, 0), mp3...)
		cc := byte(0)
		stream = appendPackets(stream, 0x300+uint16(i), &cc, pes, noClock, false)
	}
	for program, want := range map[uint16]byte{0: 1, 1: 1, 2: 2, 3: 0} {
		d := NewDemuxer()
		d.Program = program
		frames := d.Flush(d.Feed(nil, stream))
		if want == 0 && len(frames) == 0 {
			continue
		}
		if len(frames) != 1 || frames[0].Payload[10] != want {
			t.Errorf("program %d: %d frames, want that of program %d", program, len(frames), want)
		}
	}
}
