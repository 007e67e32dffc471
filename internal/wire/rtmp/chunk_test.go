package rtmp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
)

func equal(a, b Message) bool {
	return a.Type == b.Type && a.StreamID == b.StreamID && a.CSID == b.CSID && a.Timestamp == b.Timestamp &&
		bytes.Equal(a.Payload, b.Payload)
}

func short(m Message) string {
	return fmt.Sprintf("%v csid %d sid %d ts %d %d bytes", m.Type, m.CSID, m.StreamID, m.Timestamp, len(m.Payload))
}

// readAll reads until an error, which io.EOF is not.
func readAll(r *Reader) (list []Message, err error) {
	for {
		m, err := r.ReadMessage()
		if err != nil {
			if err == io.EOF {
				err = nil
			}
			return list, err
		}
		list = append(list, m)
	}
}

func check(t *testing.T, got, want []Message) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d messages, want %d", len(got), len(want))
	}
	for i := range min(len(got), len(want)) {
		if !equal(got[i], want[i]) {
			t.Fatalf("message %d is %s, want %s", i, short(got[i]), short(want[i]))
		}
	}
}

func TestRoundTrip(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	csids := []uint32{2, 3, 5, 63, 64, 319, 320, 65599}
	times := []uint32{0, 1, 0xfffffe, 0xffffff, 0x1000000, 0xffffffff}
	for round := range 30 {
		var wire []byte
		var want []Message
		size := DefaultChunkSize
		for range 40 {
			if rnd.IntN(4) == 0 {
				size = []int{1, 2, 128, 4096, 60000, 1<<31 - 1}[rnd.IntN(6)]
				m := Message{Type: TypeSetChunkSize, CSID: 2, Payload: AppendSetChunkSize(nil, size)[12:]}
				wire = AppendMessage(wire, m, lastSize(want))
				want = append(want, m)
			}
			m := Message{Type: TypeVideo, StreamID: rnd.Uint32N(3), CSID: csids[rnd.IntN(len(csids))],
				Timestamp: times[rnd.IntN(len(times))], Payload: make([]byte, rnd.IntN(1<<rnd.IntN(15)))}
			for i := range m.Payload {
				m.Payload[i] = byte(rnd.Uint32())
			}
			cut := 0
			if len(m.Payload) > 0 {
				cut = rnd.IntN(len(m.Payload))
			}
			wire = AppendParts(wire, m, size, m.Payload[:cut], nil, m.Payload[cut:])
			want = append(want, m)
			if rnd.IntN(2) == 0 {
				delta := times[rnd.IntN(len(times))]
				m.Timestamp += delta
				m.Type = TypeAudio
				wire = AppendDelta(wire, m.CSID, delta, m.Type, size, m.Payload)
				want = append(want, m)
			}
		}
		for _, src := range []io.Reader{bytes.NewReader(wire), iotest.OneByteReader(bytes.NewReader(wire))} {
			r := NewReader(src, Limits{})
			got, err := readAll(r)
			if err != nil {
				t.Fatalf("round %d: after %d messages: %v", round, len(got), err)
			}
			check(t, got, want)
			if r.Received() != uint64(len(wire)) || r.partial != 0 || r.active != 0 {
				t.Errorf("received %d of %d, %d bytes in %d messages left over", r.Received(), len(wire), r.partial, r.active)
			}
		}
	}
}

// lastSize is the chunk size that the last Set Chunk Size of list asks for.
func lastSize(list []Message) int {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Type == TypeSetChunkSize {
			v, _ := ParseUint32(list[i].Payload)
			return int(v)
		}
	}
	return DefaultChunkSize
}

func TestChunkLayout(t *testing.T) {
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"type 0", AppendMessage(nil, Message{TypeAudio, 1, 4, 0x010203, []byte{9}}, 128), "04 010203 000001 08 01000000 09"},
		{"two-byte csid", AppendMessage(nil, Message{TypeAudio, 1, 64, 0, nil}, 128), "00 00 000000 000000 08 01000000"},
		{"three-byte csid", AppendMessage(nil, Message{TypeAudio, 1, 320, 0, nil}, 128), "01 00 01 000000 000000 08 01000000"},
		{"extended time in each chunk", AppendMessage(nil, Message{TypeVideo, 1, 6, 0x1000000, []byte{1, 2, 3}}, 2),
			"06 ffffff 000003 09 01000000 01000000 01 02 c6 01000000 03"},
		{"largest short time", AppendMessage(nil, Message{TypeVideo, 1, 6, 0xfffffe, nil}, 2), "06 fffffe 000000 09 01000000"},
		{"type 1", AppendDelta(nil, 6, 40, TypeVideo, 2, []byte{1}, []byte{2, 3}), "46 000028 000003 09 01 02 c6 03"},
		{"extended delta", AppendDelta(nil, 6, 0xffffff, TypeVideo, 2, []byte{1}, []byte{2, 3}),
			"46 ffffff 000003 09 00ffffff 01 02 c6 00ffffff 03"},
	} {
		if want := unhex(t, c.want); !bytes.Equal(c.got, want) {
			t.Errorf("%s: % x, want % x", c.name, c.got, want)
		}
	}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	var b []byte
	half := -1
	for _, r := range s {
		v := bytes.IndexRune([]byte("0123456789abcdef"), r)
		switch {
		case r == ' ':
		case v < 0:
			t.Fatalf("not hex: %q", r)
		case half < 0:
			half = v
		default:
			b, half = append(b, byte(half<<4|v)), -1
		}
	}
	return b
}

func TestReader(t *testing.T) {
	audio := func(ts uint32, p ...byte) Message { return Message{TypeAudio, 1, 4, ts, p} }
	for _, c := range []struct {
		name, wire string
		want       []Message
		err        error
	}{
		{"types 0, 1, 2, 3", "04 00000a 000001 08 01000000 01  44 000005 000002 08 02 03  84 000007 04 05  c4 06 07",
			[]Message{audio(10, 1), audio(15, 2, 3), audio(22, 4, 5), audio(29, 6, 7)}, nil},
		{"type 3 after 0 repeats the time", "04 00000a 000001 08 01000000 01 c4 02", []Message{audio(10, 1), audio(20, 2)}, nil},
		{"time wraps", "04 ffffff 000001 08 01000000 ffffffff 01  44 000003 000001 08 02",
			[]Message{audio(0xffffffff, 1), audio(2, 2)}, nil},
		{"extended delta", "04 000001 000001 08 01000000 01  44 ffffff 000001 08 01000000 02  c4 01000000 03  c4 04",
			[]Message{audio(1, 1), audio(0x1000001, 2), audio(0x2000001, 3), audio(0x3000001, 4)}, nil},
		{"extended time repeated as absolute", "02 000000 000004 01 00000000 00000002  04 000000 000001 08 01000000 00" +
			"44 ffffff 000003 08 01000001 01 02 c4 01000001 03  44 ffffff 000003 08 01000000 01 02 c4 02000001 03",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}, audio(0, 0), audio(0x1000001, 1, 2, 3), audio(0x2000001, 1, 2, 3)}, nil},
		{"extended time left out", "02 000000 000004 01 00000000 00000002  04 ffffff 000005 08 01000000 01000000 01 02 c4 01 04 c4 05",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}, audio(0x1000000, 1, 2, 1, 4, 5)}, nil},
		{"interleaved", "02 000000 000004 01 00000000 00000002  04 000001 000003 08 01000000 01 02  05 000002 000003 12 01000000 0a 0b  c4 03  c5 0c",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}, audio(1, 1, 2, 3), {TypeDataAMF0, 1, 5, 2, []byte{10, 11, 12}}}, nil},
		{"abort", "02 000000 000004 01 00000000 00000002  04 000001 000003 08 01000000 01 02  02 000000 000004 02 00000000 0000 c2 0004" +
			"44 000001 000001 08 07",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}, {TypeAbort, 0, 2, 0, []byte{0, 0, 0, 4}}, audio(2, 7)}, nil},
		{"type 1 goes on", "02 000000 000004 01 00000000 00000002  04 000001 000003 08 01000000 01 02  44 000001 000003 08 03",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}, audio(1, 1, 2, 3)}, nil},
		{"begins with type 1", "44 000003 000001 08 01", []Message{{TypeAudio, 0, 4, 3, []byte{1}}}, nil},
		{"empty message", "04 000001 000000 08 01000000", []Message{audio(1)}, nil},
		{"begins with type 2", "84 000003", nil, ErrChunkStart},
		{"begins with type 3", "c4", nil, ErrChunkStart},
		{"message in a message", "02 000000 000004 01 00000000 00000002  04 000001 000003 08 01000000 01 02  04 000001 000003 08 01000000",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 2}}}, ErrChunkStart},
		{"chunk size 0", "02 000000 000004 01 00000000 00000000", nil, ErrChunkSize},
		{"chunk size with the top bit", "02 000000 000004 01 00000000 80000000", nil, ErrChunkSize},
		{"over the limit", "04 000001 000065 08 01000000", nil, ErrMessageSize},
		{"ends in a header", "04 000001 00", nil, io.ErrUnexpectedEOF},
		{"ends in a payload", "04 000001 000002 08 01000000 01", nil, io.ErrUnexpectedEOF},
		{"ends between chunks", "02 000000 000004 01 00000000 00000001 04 000001 000002 08 01000000 01",
			[]Message{{TypeSetChunkSize, 0, 2, 0, []byte{0, 0, 0, 1}}}, io.ErrUnexpectedEOF},
	} {
		t.Run(c.name, func(t *testing.T) {
			wire := unhex(t, c.wire)
			for _, src := range []io.Reader{bytes.NewReader(wire), iotest.OneByteReader(bytes.NewReader(wire))} {
				got, err := readAll(NewReader(src, Limits{Message: 100}))
				if !errors.Is(err, c.err) {
					t.Errorf("error %v, want %v", err, c.err)
				}
				check(t, got, c.want)
			}
		})
	}
}

func TestReaderLimits(t *testing.T) {
	// Headers of messages that never come cost next to nothing.
	r := NewReader(nil, Limits{})
	for csid := range uint32(62) {
		r.Feed(AppendHeader0(nil, Message{Type: TypeVideo, CSID: csid + 2}, MaxMessage))
		r.Feed([]byte{1})
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal(ok, err)
		}
		// Fill the chunk, so that the next header can come.
		r.Feed(make([]byte, DefaultChunkSize-1))
		if _, ok, err := r.Next(); ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if r.partial > 62*firstStep {
		t.Errorf("62 headers made %d bytes", r.partial)
	}

	r = NewReader(nil, Limits{Streams: 3})
	for csid := range uint32(4) {
		r.Feed(AppendMessage(nil, Message{Type: TypeVideo, CSID: csid + 62}, 128))
		_, ok, err := r.Next()
		if want := csid < 3; ok != want || (err == nil) != want {
			t.Errorf("chunk stream %d: %v, %v", csid, ok, err)
		}
	}

	r = NewReader(nil, Limits{Partial: 40000})
	r.Feed(AppendSetChunkSize(nil, 20000))
	var err error
	for csid := uint32(3); err == nil; csid++ {
		if csid > 6 {
			t.Fatal("no limit")
		}
		r.Feed(AppendMessage(nil, Message{Type: TypeVideo, CSID: csid, Payload: make([]byte, 20001)}, 20000)[:20012])
		for ok := true; ok && err == nil; {
			_, ok, err = r.Next()
		}
	}
	if !errors.Is(err, ErrMessageSize) {
		t.Errorf("too much in parts: %v", err)
	}
}

type stalling struct{ chunks [][]byte }

var errStall = errors.New("stall")

func (s *stalling) Read(p []byte) (int, error) {
	if len(s.chunks) == 0 {
		return 0, io.EOF
	}
	b := s.chunks[0]
	s.chunks = s.chunks[1:]
	if b == nil {
		return 0, errStall
	}
	return copy(p, b), nil
}

func TestReaderGoesOnAfterSourceError(t *testing.T) {
	m := Message{TypeVideo, 1, 6, 5, make([]byte, 300)}
	wire := AppendMessage(nil, m, 128)
	for cut := range len(wire) {
		r := NewReader(&stalling{[][]byte{wire[:cut], nil, wire[cut:]}}, Limits{})
		if cut == 0 {
			r = NewReader(&stalling{[][]byte{nil, wire}}, Limits{})
		}
		if _, err := r.ReadMessage(); err != errStall {
			t.Fatalf("cut %d: %v", cut, err)
		}
		got, err := r.ReadMessage()
		if err != nil || !equal(got, m) {
			t.Fatalf("cut %d: %s, %v", cut, short(got), err)
		}
	}
}

// Frames are kept for seconds, so no payload may change after it was returned.
func TestPayloadsAreNotReused(t *testing.T) {
	var wire []byte
	for i := range 3000 {
		wire = AppendMessage(wire, Message{TypeAudio, 1, 4, 0, bytes.Repeat([]byte{byte(i)}, i*7%9000)}, 128)
	}
	got, err := readAll(NewReader(bytes.NewReader(wire), Limits{}))
	if err != nil || len(got) != 3000 {
		t.Fatal(len(got), err)
	}
	for i, m := range got {
		if cap(m.Payload) != len(m.Payload) && len(m.Payload) <= slabCut {
			t.Fatalf("message %d can be appended to: %d of %d", i, len(m.Payload), cap(m.Payload))
		}
		for _, b := range m.Payload {
			if b != byte(i) {
				t.Fatalf("message %d has been overwritten", i)
			}
		}
	}
}

func FuzzChunkReader(f *testing.F) {
	f.Add(AppendMessage(nil, Message{TypeVideo, 1, 6, 0x1000000, make([]byte, 300)}, 128), 20)
	f.Add(AppendDelta(AppendMessage(nil, Message{TypeVideo, 1, 70, 3, make([]byte, 3)}, 128), 70, 0xffffff, TypeVideo, 128, make([]byte, 140)), 9)
	f.Add(AppendMessage(AppendSetChunkSize(nil, 1), Message{TypeDataAMF0, 1, 400, 3, make([]byte, 30)}, 1), 3)
	f.Add(AppendAbort(AppendMessage(nil, Message{TypeAudio, 1, 4, 3, make([]byte, 300)}, 128)[:140], 4), 141)
	f.Fuzz(func(t *testing.T, wire []byte, cut int) {
		limits := Limits{Message: 1 << 20, Streams: 8, Partial: 2 << 20}
		whole := NewReader(nil, limits)
		run := func(r *Reader, b []byte) (list []Message, err error) {
			r.Feed(b)
			for {
				m, ok, err := r.Next()
				if !ok || err != nil {
					return list, err
				}
				list = append(list, m)
			}
		}
		want, wantErr := run(whole, wire)
		if whole.partial > limits.Partial+limits.Message || whole.partial < 0 || whole.active < 0 {
			t.Fatalf("%d bytes in %d unfinished messages", whole.partial, whole.active)
		}
		got, err := readAll(NewReader(iotest.OneByteReader(bytes.NewReader(wire)), limits))
		if wantErr != nil && (err == nil || err.Error() != wantErr.Error()) {
			t.Fatalf("byte by byte: %v, at once: %v", err, wantErr)
		}
		check(t, got, want)
		if cut = max(0, min(cut, len(wire))); cut >= 0 {
			r := NewReader(nil, limits)
			a, err := run(r, wire[:cut])
			if err == nil {
				r.Shrink()
				var b []Message
				b, err = run(r, wire[cut:])
				a = append(a, b...)
			}
			if (err == nil) != (wantErr == nil) {
				t.Fatalf("cut at %d: %v, at once: %v", cut, err, wantErr)
			}
			check(t, a, want)
		}
		// What was read can be written and read again.
		var again []byte
		for i := range want {
			if want[i].Type != TypeSetChunkSize && want[i].Type != TypeAbort {
				again = AppendMessage(again, want[i], DefaultChunkSize)
			}
		}
		back, err := readAll(NewReader(bytes.NewReader(again), limits))
		if err != nil {
			t.Fatalf("what we wrote is not read: %v", err)
		}
		for i, j := 0, 0; i < len(want); i++ {
			if want[i].Type != TypeSetChunkSize && want[i].Type != TypeAbort {
				if !equal(back[j], want[i]) {
					t.Fatalf("%s became %s", short(want[i]), short(back[j]))
				}
				j++
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	for _, size := range []int{200, 5000, 100000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			var wire []byte
			wire = AppendSetChunkSize(wire, 4096)
			for i := range 100 {
				wire = AppendMessage(wire, Message{TypeVideo, 1, 6, uint32(i), make([]byte, size)}, 4096)
			}
			b.SetBytes(int64(len(wire)))
			b.ReportAllocs()
			for b.Loop() {
				r := NewReader(bytes.NewReader(wire), Limits{})
				for range 101 {
					if _, err := r.ReadMessage(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkAppendDelta(b *testing.B) {
	head, body := make([]byte, 5), make([]byte, 5000)
	dst := make([]byte, 0, 6000)
	b.SetBytes(5005)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendDelta(dst[:0], CSIDVideo, 40, TypeVideo, 60000, head, body)
	}
}
