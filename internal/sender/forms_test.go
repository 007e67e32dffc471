package sender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/wire/rtmp"
)

var (
	picture = &media.Track{Kind: media.Video, Codec: media.H264, Config: []byte{1, 100, 0, 31, 255, 224, 0}}
	another = &media.Track{Kind: media.Video, Codec: media.H264, Config: []byte{1, 77, 0, 31, 255, 224, 0}}
	sound   = &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}}
	script  = &media.Track{Kind: media.Data, Codec: media.AMF0}
)

// published returns what a hub makes of frames.
func published(t testing.TB, frames []*media.Frame, meta []byte) []*media.Frame {
	t.Helper()
	h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Hour} })
	key := hub.Key{Vhost: "v", App: "a", Stream: "s"}
	sub := h.Subscribe(key, hub.Options{})
	defer sub.Close()
	p, err := h.Publish(key, hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close(nil)
	if meta != nil {
		p.SetMeta(meta, false)
	}
	// As encoders do, whose sequence headers come before the first frame.
	for _, f := range slices.Backward(frames) {
		if f.Track != script {
			p.Announce(f.Track)
		}
	}
	for _, f := range frames {
		p.Write(f)
	}
	var out []*media.Frame
	dst := make([]*media.Frame, 64)
	for len(out) < len(frames) {
		n, err := sub.Read(t.Context(), dst)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, dst[:n]...)
	}
	return out
}

// mixed returns a stream of a picture and a sound whose frames come a little out
// of the order of their times, as encoders send them.
func mixed(r *rand.Rand, n int, base time.Duration) (frames []*media.Frame) {
	var video, audio time.Duration
	for i := range n {
		if i > 0 && r.IntN(2) == 0 {
			audio += time.Duration(r.IntN(40)+1) * time.Millisecond
			frames = append(frames, &media.Frame{Track: sound, Source: base + audio, Payload: payload(i, r.IntN(600)+4)})
			continue
		}
		video += time.Duration(r.IntN(60)+1) * time.Millisecond
		frames = append(frames, &media.Frame{Track: picture, Source: base + video, CTO: time.Duration(r.IntN(3)) * 40 * time.Millisecond, Key: i == 0 || r.IntN(10) == 0,
			Payload: payload(i, r.IntN(5000)+4)})
	}
	return frames
}

func payload(i, n int) []byte {
	p := bytes.Repeat([]byte{byte(i)}, n)
	p[0], p[1] = byte(i>>8), byte(i)
	return p
}

// message is what a player heard, less the sequence headers.
type message struct {
	typ  rtmp.MessageType
	at   int64
	body string
}

// decode reads RTMP as a player does.
func decode(t *testing.T, stream []byte, chunkSize int) (media []message, headers int) {
	t.Helper()
	set := rtmp.AppendSetChunkSize(nil, chunkSize)
	r := rtmp.NewReader(io.MultiReader(bytes.NewReader(set), bytes.NewReader(stream)), rtmp.Limits{})
	for {
		m, err := r.ReadMessage()
		if errors.Is(err, io.EOF) {
			return media, headers
		}
		if err != nil {
			t.Fatalf("after %d messages: %v", len(media), err)
		}
		switch {
		case m.Type == rtmp.TypeSetChunkSize:
		case !m.Type.Media():
			t.Fatalf("unexpected message %v", m.Type)
		case m.StreamID != rtmp.StreamID:
			t.Fatalf("%v message of stream %d", m.Type, m.StreamID)
		case m.Type == rtmp.TypeDataAMF0:
			media = append(media, message{m.Type, int64(m.Timestamp), string(m.Payload)})
		case m.Payload[1] == 0 && (m.Payload[0]&0x0f == 7 || m.Payload[0]>>4 == 10):
			headers++
		default:
			media = append(media, message{m.Type, int64(m.Timestamp), string(m.Payload)})
		}
	}
}

// expected returns what a player must hear of frames that starts at the first
// one: times count from there, and nothing is before it.
func expected(frames []*media.Frame, zero int64) (want []message) {
	for _, f := range frames {
		at := max(0, media.Milliseconds(f.DTS)-zero)
		want = append(want, message{rtmp.MessageType(flv.Type(f.Track.Kind)), at, string(flv.AppendBody(nil, f))})
	}
	return want
}

func compare(t *testing.T, who string, got, want []message) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: heard %d messages, want %d", who, len(got), len(want))
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%s: message %d is %v at %d (%d bytes), want %v at %d (%d bytes)", who, i, got[i].typ, got[i].at, len(got[i].body), want[i].typ, want[i].at, len(want[i].body))
		}
	}
}

func encode(e Encoder, frames []*media.Frame) []byte {
	var bufs net.Buffers
	for _, f := range frames {
		bufs = e.Append(bufs, f)
	}
	return bytes.Join(bufs, nil)
}

// Viewers that start at different moments, one with other chunks, and one that
// loses frames share bytes, and yet each hears exactly the stream's frames with
// exactly their distances, from zero on.
func TestRTMPViewersShareBytesAndTime(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		base := []time.Duration{0, time.Hour, 12 * time.Hour}[seed%3]
		frames := published(t, mixed(r, 300, base), nil)
		var keys []int
		for i, f := range frames {
			if f.Key {
				keys = append(keys, i)
			}
		}
		from := keys[r.IntN(len(keys))]
		size := []int{128, 4096, 60000, 65536}[r.IntN(4)]
		for _, v := range []struct {
			who       string
			from      int
			chunkSize int
		}{{"first", 0, size}, {"late", from, size}, {"other chunks", from, 200}, {"again", 0, size}} {
			got, headers := decode(t, encode(&RTMP{ChunkSize: v.chunkSize}, frames[v.from:]), v.chunkSize)
			compare(t, fmt.Sprintf("seed %d, %s", seed, v.who), got, expected(frames[v.from:], media.Milliseconds(frames[v.from].DTS)))
			if headers < 1 || headers > 3 {
				t.Errorf("seed %d, %s: %d sequence headers", seed, v.who, headers)
			}
		}

		// One that loses frames goes on at a key frame, at its own time.
		cut, to := keys[len(keys)/3]+1, keys[2*len(keys)/3]
		if cut > to {
			continue
		}
		e := &RTMP{ChunkSize: size}
		b := encode(e, frames[:cut])
		e.Restart()
		b = append(b, encode(e, frames[to:])...)
		got, _ := decode(t, b, size)
		zero := media.Milliseconds(frames[0].DTS)
		compare(t, fmt.Sprintf("seed %d, skipping", seed), got, append(expected(frames[:cut], zero), expected(frames[to:], zero)...))
	}
}

// The bytes that viewers share are the same memory, or sharing saves nothing.
func TestRTMPBytesAreShared(t *testing.T) {
	frames := published(t, mixed(rand.New(rand.NewPCG(1, 1)), 50, 0), nil)
	a, b := &RTMP{ChunkSize: 4096}, &RTMP{ChunkSize: 4096}
	shared := 0
	for _, f := range frames {
		x, y := a.Append(nil, f), b.Append(nil, f)
		if &x[len(x)-1][0] == &y[len(y)-1][0] {
			shared++
		}
	}
	if shared < len(frames)-4 {
		t.Errorf("%d of %d frames are shared", shared, len(frames))
	}
}

func TestRTMPLayoutChange(t *testing.T) {
	var in []*media.Frame
	for i := range 40 {
		track := picture
		if i >= 20 {
			track = another
		}
		in = append(in, &media.Frame{Track: track, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%10 == 0, Payload: payload(i, 50)},
			&media.Frame{Track: sound, Source: time.Duration(i) * 40 * time.Millisecond, Payload: payload(i, 20)})
	}
	frames := published(t, in, nil)
	got, headers := decode(t, encode(&RTMP{ChunkSize: 128}, frames), 128)
	compare(t, "viewer", got, expected(frames, 0))
	if headers < 3 || headers > 5 {
		t.Errorf("%d sequence headers, want that of the first picture, the sound and the other picture", headers)
	}
}

// With atc, and with time_jitter off, players get the publisher's own time.
func TestRTMPSourceTimes(t *testing.T) {
	const base = 100 * time.Hour
	frames := published(t, mixed(rand.New(rand.NewPCG(3, 3)), 100, base), nil)
	for _, from := range []int{0, slices.IndexFunc(frames[1:], func(f *media.Frame) bool { return f.Key }) + 1} {
		got, _ := decode(t, encode(&RTMP{ChunkSize: 4096, Times: Source}, frames[from:]), 4096)
		for i, f := range frames[from:] {
			if want := int64(uint32(media.Milliseconds(f.Source))); got[i].at != want {
				t.Fatalf("from %d, message %d is at %d, want %d", from, i, got[i].at, want)
			}
		}
	}
}

// Who forwards to a server that gave it another message stream shares no bytes that name
// the stream.
func TestRTMPSourceTimesOfAnotherStream(t *testing.T) {
	frames := published(t, mixed(rand.New(rand.NewPCG(3, 3)), 50, 90*time.Minute), nil)
	encode(&RTMP{ChunkSize: 4096, Times: Source, Stream: 5}, frames)
	got, _ := decode(t, encode(&RTMP{ChunkSize: 4096, Times: Source}, frames), 4096)
	if len(got) != len(frames) {
		t.Errorf("%d messages, want %d", len(got), len(frames))
	}
}

func TestRTMPMetadataAndScript(t *testing.T) {
	meta := []byte{3, 0, 0, 9}
	in := []*media.Frame{
		{Track: picture, Source: time.Second, Key: true, Payload: payload(1, 10)},
		{Track: script, Source: 1020 * time.Millisecond, Payload: []byte("\x02\x00\x05onCue\x05")},
		{Track: picture, Source: 1040 * time.Millisecond, Payload: payload(2, 10)},
		{Track: script, Source: 1060 * time.Millisecond, Payload: []byte("\x02\x00\x05onCue\x05")},
	}
	got, _ := decode(t, encode(&RTMP{ChunkSize: 128}, published(t, in, meta)), 128)
	want := []message{
		{rtmp.TypeDataAMF0, 0, "\x02\x00\x0aonMetaData\x03\x00\x00\x09"},
		{rtmp.TypeVideo, 0, ""}, {rtmp.TypeDataAMF0, 20, "\x02\x00\x05onCue\x05"}, {rtmp.TypeVideo, 40, ""}, {rtmp.TypeDataAMF0, 60, "\x02\x00\x05onCue\x05"},
	}
	for i, m := range got {
		if m.typ == rtmp.TypeVideo {
			got[i].body = ""
		}
	}
	// The layout changes with the script track, and with it the metadata comes
	// again; what counts is the order of all else.
	got = slices.CompactFunc(got, func(a, b message) bool { return a == b })
	got = slices.DeleteFunc(got, func(m message) bool { return m.body == want[0].body })
	if !slices.Equal(got, want[1:]) {
		t.Errorf("got %v, want %v", got, want[1:])
	}
}

// tags reads an FLV file.
func tags(t *testing.T, b []byte) (audio, video bool, all []flv.Tag) {
	t.Helper()
	r := flv.NewReader(bytes.NewReader(b))
	audio, video, err := r.ReadHeader()
	if err != nil {
		t.Fatal(err)
	}
	for {
		tag, err := r.ReadTag()
		if errors.Is(err, io.EOF) {
			return audio, video, all
		}
		if err != nil {
			t.Fatal(err)
		}
		tag.Body = slices.Clone(tag.Body)
		all = append(all, tag)
	}
}

func TestFLVHeaderAndTracks(t *testing.T) {
	both := published(t, mixed(rand.New(rand.NewPCG(5, 5)), 60, 0), []byte{3, 0, 0, 9})
	video := both[:1]
	for _, f := range both[1:] {
		if f.Track.Kind == media.Video {
			video = append(video[:len(video):len(video)], f)
		}
	}
	onlyPicture := published(t, strip(video), nil)
	for _, c := range []struct {
		name         string
		e            FLV
		frames       []*media.Frame
		audio, video bool // promised
		gotA, gotV   bool // sent
	}{
		{"guess, both", FLV{}, both, true, true, true, true},
		{"guess, picture alone", FLV{}, onlyPicture, false, true, false, true},
		{"has_audio off, drop_if_not_match", FLV{Promise: Promise{true, false, true}, Only: Only{NoAudio: true}}, both, false, true, false, true},
		{"has_video off, drop_if_not_match", FLV{Promise: Promise{true, true, false}, Only: Only{NoVideo: true}}, both, true, false, true, false},
		{"has_video off, drop_if_not_match off", FLV{Promise: Promise{true, true, false}}, both, true, false, true, true},
	} {
		audio, video, all := tags(t, encode(&c.e, c.frames))
		if audio != c.audio || video != c.video {
			t.Errorf("%s: the header promises sound %v and picture %v, want %v and %v", c.name, audio, video, c.audio, c.video)
		}
		n := map[uint8]int{}
		for _, tag := range all {
			n[tag.Type]++
		}
		if n[flv.TypeAudio] > 0 != c.gotA || n[flv.TypeVideo] > 0 != c.gotV {
			t.Errorf("%s: %d tags of sound and %d of picture", c.name, n[flv.TypeAudio], n[flv.TypeVideo])
		}
	}
}

func TestFLVTimes(t *testing.T) {
	frames := published(t, mixed(rand.New(rand.NewPCG(6, 6)), 60, time.Hour), nil)
	for _, times := range []Times{Line, Source} {
		_, _, all := tags(t, encode(&FLV{Times: times}, frames))
		i := 0
		for _, tag := range all {
			if tag.Type == flv.TypeScript || tag.Body[1] == 0 && (tag.Body[0]&0x0f == 7 || tag.Body[0]>>4 == 10) {
				continue
			}
			f := frames[i]
			i++
			if want := flv.Timestamp(times.of(f)); tag.Timestamp != want {
				t.Fatalf("times %d: frame %d is at %d, want %d", times, i, tag.Timestamp, want)
			}
			if !bytes.Equal(tag.Body, flv.AppendBody(nil, f)) {
				t.Fatalf("times %d: frame %d is damaged", times, i)
			}
		}
		if i != len(frames) {
			t.Errorf("times %d: %d frames of %d", times, i, len(frames))
		}
	}
}

// strip makes frames anew, as if they had not been published.
func strip(frames []*media.Frame) (out []*media.Frame) {
	for _, f := range frames {
		out = append(out, &media.Frame{Track: f.Track, Source: f.Source, CTO: f.CTO, Key: f.Key, Payload: f.Payload})
	}
	return out
}

// Once a frame is encoded a further viewer costs no allocation.
func TestNoAllocationPerViewerAndFrame(t *testing.T) {
	frames := published(t, mixed(rand.New(rand.NewPCG(7, 7)), 100, 0), nil)
	for _, c := range []struct {
		name string
		make func() Encoder
	}{
		{"RTMP", func() Encoder { return &RTMP{ChunkSize: 60000} }},
		{"RTMP, source times", func() Encoder { return &RTMP{ChunkSize: 60000, Times: Source} }},
		{"FLV", func() Encoder { return &FLV{} }},
		{"FLV, source times", func() Encoder { return &FLV{Times: Source} }},
	} {
		encode(c.make(), frames) // makes the shared bytes
		e := c.make()
		encode(e, frames[:20]) // makes this viewer's own
		bufs := make(net.Buffers, 0, 256)
		n := testing.AllocsPerRun(10, func() {
			bufs = bufs[:0]
			for _, f := range frames[20:] {
				bufs = e.Append(bufs, f)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations for %d frames of a warm viewer", c.name, n, len(frames)-20)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	frames := published(b, mixed(rand.New(rand.NewPCG(7, 7)), 100, 0), nil)
	for _, c := range []struct {
		name string
		e    Encoder
	}{{"rtmp", &RTMP{ChunkSize: 60000}}, {"flv", &FLV{}}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			bufs := make(net.Buffers, 0, 256)
			for b.Loop() {
				bufs = bufs[:0]
				for _, f := range frames {
					bufs = c.e.Append(bufs, f)
				}
			}
		})
	}
}
