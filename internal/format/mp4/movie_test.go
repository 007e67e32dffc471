package mp4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
)

// movieOf returns a recording of n pictures with sound, cut in fragments, where each
// fragment ends, and how many pictures it has until then.
func movieOf(t testing.TB, n int) (b []byte, ends []int, pictures []int) {
	all := tracks(t)
	l := (&media.Layout{}).With(all["h264"]).With(all["aac"])
	b, err := AppendMovie(nil, l, []byte(`{"app":"live"}`))
	if err != nil {
		t.Fatal(err)
	}
	ends, pictures = append(ends, len(b)), append(pictures, 0)
	var frames []*media.Frame
	for i := range n {
		at := time.Duration(i) * 40 * time.Millisecond
		frames = append(frames, &media.Frame{Track: all["h264"], DTS: at, CTO: time.Duration(i%3) * 40 * time.Millisecond, Key: i%10 == 0, Payload: []byte(fmt.Sprintf("v%03d", i))},
			&media.Frame{Track: all["aac"], DTS: at + 5*time.Millisecond, Payload: []byte(fmt.Sprintf("a%d", i))})
	}
	for i := 0; i < len(frames); i += 14 {
		end := min(i+14, len(frames))
		b = AppendFragment(b, uint32(i), frames[i:end], frames[end:])
		ends, pictures = append(ends, len(b)), append(pictures, end/2)
	}
	return b, ends, pictures
}

// finish does what the owner of a file does.
func finish(t testing.TB, b []byte) []byte {
	t.Helper()
	moov, end, err := Finish(nil, bytes.NewReader(b), int64(len(b)))
	if err != nil {
		t.Fatal(err)
	}
	b = append(bytes.Clone(b[:end]), moov...)
	copy(b[LidAt:], AppendLid(nil, end))
	return b
}

// Wherever a recording was cut off, it can be finished with what is whole of it.
func TestFinish(t *testing.T) {
	b, ends, pictures := movieOf(t, 40)
	for cut := ends[0]; cut <= len(b); cut += 3 {
		want, n := ends[0], 0
		for i, e := range ends {
			if e <= cut {
				want, n = e, pictures[i]
			}
		}
		moov, end, err := Finish(nil, bytes.NewReader(b[:cut]), int64(cut))
		if err != nil || end != int64(want) {
			t.Fatalf("cut at %d: ends at %d, %v; want %d", cut, end, err, want)
		}
		if got := bytes.Count(moov, []byte("trak")); got != min(n, 1)*2 {
			t.Fatalf("cut at %d: %d tracks", cut, got)
		}
	}
	note, finished, err := ReadNote(bytes.NewReader(b))
	if string(note) != `{"app":"live"}` || finished || err != nil {
		t.Errorf("note %q, %v, %v", note, finished, err)
	}
	done := finish(t, b)
	note, finished, err = ReadNote(bytes.NewReader(done))
	if string(note) != `{"app":"live"}` || !finished || err != nil {
		t.Errorf("note %q of the finished one, %v, %v", note, finished, err)
	}
	if _, _, err := Finish(nil, bytes.NewReader(done), int64(len(done))); !errors.Is(err, ErrMovie) {
		t.Errorf("finished twice: %v", err)
	}
	for _, bad := range [][]byte{nil, []byte("short"), make([]byte, 5000)} {
		if _, _, err := Finish(nil, bytes.NewReader(bad), int64(len(bad))); !errors.Is(err, ErrMovie) {
			t.Errorf("of what is none: %v", err)
		}
	}
	if _, err := AppendMovie(nil, &media.Layout{}, nil); !errors.Is(err, ErrTracks) {
		t.Errorf("of nothing: %v", err)
	}
	if _, err := AppendMovie(nil, &media.Layout{}, make([]byte, NoteLen+1)); err == nil {
		t.Error("with too long a note")
	}
}

// A finished movie is an mdat and a moov whose tables find every sample.
func TestTables(t *testing.T) {
	b, _, _ := movieOf(t, 40)
	done := finish(t, b)
	var names []string
	for at := 0; at < len(done); {
		name, n, ok := boxAt(bytes.NewReader(done), int64(len(done)), int64(at))
		if !ok {
			t.Fatalf("box at %d of %d", at, len(done))
		}
		names = append(names, name)
		at += int(n)
	}
	if got := strings.Join(names, " "); got != "ftyp mdat moov" {
		t.Fatalf("boxes %s", got)
	}
	moov := done[bytes.LastIndex(done, []byte("moov"))-4:]
	for i, prefix := range []string{"v", "a"} {
		trak := moov[index(moov, "trak", i):]
		sizes, chunks, perChunk := table(trak, "stsz", 1), table(trak, "stco", 0), table(trak, "stsc", 0)
		if len(sizes) != 40 || len(chunks) != 6 || perChunk[1] != 7 {
			t.Fatalf("%s: %d samples in %d chunks, %v", prefix, len(sizes), len(chunks), perChunk)
		}
		for s, at := 0, uint32(0); s < 40; s++ {
			if s%7 == 0 {
				at = chunks[s/7]
			}
			want := fmt.Sprintf("v%03d", s)
			if prefix == "a" {
				want = fmt.Sprintf("a%d", s)
			}
			if got := string(done[at : at+sizes[s]]); got != want {
				t.Fatalf("sample %d is %q, want %q", s, got, want)
			}
			at += sizes[s]
		}
	}
	if keys := table(moov, "stss", 0); fmt.Sprint(keys) != "[1 11 21 31]" {
		t.Errorf("key frames %v", keys)
	}
	if steps := table(moov, "stts", 0); fmt.Sprint(steps) != "[39 3600 1 3000]" {
		t.Errorf("steps %v", steps)
	}
	if elst := moov[index(moov, "elst", 0):]; binary.BigEndian.Uint64(elst[16:]) != 5 {
		t.Errorf("the sound begins % x", elst[:40])
	}
}

// index returns where the i-th box of a name begins.
func index(b []byte, name string, i int) int {
	at := 0
	for ; i >= 0; i-- {
		at += bytes.Index(b[at:], []byte(name)) + 4
	}
	return at - 8
}

// table returns the numbers of the first table of a name, which are counted behind
// skip others.
func table(b []byte, name string, skip int) (all []uint32) {
	box := b[index(b, name, 0):]
	box = box[:binary.BigEndian.Uint32(box)]
	for box = box[16+4*skip:]; len(box) >= 4; box = box[4:] {
		all = append(all, binary.BigEndian.Uint32(box))
	}
	return all
}

func FuzzFinish(f *testing.F) {
	b, _, _ := movieOf(f, 15)
	f.Add(b)
	f.Add(b[:len(b)-20])
	f.Fuzz(func(t *testing.T, b []byte) {
		moov, end, err := Finish(nil, bytes.NewReader(b), int64(len(b)))
		if err == nil && (end > int64(len(b)) || len(moov) == 0) {
			t.Fatalf("ends at %d of %d", end, len(b))
		}
	})
}
