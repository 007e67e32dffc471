package flv

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"weir/internal/format/amf"
)

func sheet() *Sheet {
	return &Sheet{Note: `{"app":"live"}`, Room: 8, Audio: true, Video: true, Meta: amf.Object{{Key: "width", Value: 320.0}, {Key: "duration", Value: 99.0}, {Key: "encoder", Value: "x"}}}
}

// A sheet keeps its length, whatever the file becomes, and comes back as it was.
func TestSheet(t *testing.T) {
	s := sheet()
	n := len(AppendSheet(nil, s))
	for _, keys := range []int{0, 1, 7, 8, 9, 16, 17, 1000} {
		s.Duration, s.Size, s.Keys = time.Duration(keys)*time.Second, int64(keys)*1e6, nil
		for i := range keys {
			s.Keys = append(s.Keys, Entry{time.Duration(i) * time.Second, int64(i) * 1000})
		}
		b := AppendSheet(nil, s)
		if len(b) != n {
			t.Errorf("with %d keys: %d bytes, want %d", keys, len(b), n)
		}
		values, err := amf.DecodeAll(b[headerLen+tagHeaderLen : len(b)-4])
		if err != nil {
			t.Fatal(err)
		}
		o, _ := amf.Properties(values[1])
		k, _ := amf.Properties(o.Get("keyframes"))
		times := k.Get("times").(amf.StrictArray)
		if len(times) > 8 || keys > 0 && len(times) < min(keys, 4) || len(times) > 1 && times[1] != times[1].(float64)*1 {
			t.Errorf("with %d keys: %d listed", keys, len(times))
		}
		if o.Get("duration") != float64(keys) || o.Get("width") != 320.0 || o.Get("encoder") != "x" {
			t.Errorf("with %d keys: %v", keys, o)
		}
		got, end, err := ReadSheet(bytes.NewReader(b), int64(len(b)))
		if err != nil || end != int64(n) || got.Note != s.Note || got.Duration != s.Duration || got.Size != s.Size || got.Room != 8 || !got.Audio || !got.Video {
			t.Errorf("read back: %+v, %d, %v", got, end, err)
		}
	}
	foreign, _, _, _ := recording(10)
	if _, _, err := ReadSheet(bytes.NewReader(foreign), int64(len(foreign))); !errors.Is(err, ErrNote) {
		t.Errorf("of a file that is not ours: %v", err)
	}
	s.Meta = amf.Object{{Key: "x", Value: strings.Repeat("x", 60000)}}
	if n := len(AppendSheet(nil, s)); n > 20000 {
		t.Errorf("a publisher's words take %d bytes", n)
	}
}

// Wherever a recording was cut off, what is whole of it is found.
func TestSurvey(t *testing.T) {
	b := AppendSheet(nil, sheet())
	head := len(b)
	b = AppendTag(b, TypeVideo, 0, []byte{0x17, 0, 0, 0, 0, 0xcc})
	type mark struct {
		end  int
		keys int
	}
	marks := []mark{{head, 0}, {len(b), 0}}
	for i := range 40 {
		first, keys := byte(0x27), marks[len(marks)-1].keys
		if i%10 == 0 {
			first = 0x17
			keys++
		}
		b = AppendTag(b, TypeVideo, uint32(40*i), append([]byte{first, 1, 0, 0, 0}, make([]byte, 20)...))
		marks = append(marks, mark{len(b), keys})
		b = AppendTag(b, TypeAudio, uint32(40*i), []byte{0xaf, 1, 2})
		marks = append(marks, mark{len(b), keys})
	}
	for cut := head; cut <= len(b); cut++ {
		want := marks[0]
		for _, m := range marks {
			if m.end <= cut {
				want = m
			}
		}
		s, end, err := Survey(bytes.NewReader(b[:cut]), int64(cut))
		if err != nil || end != int64(want.end) || len(s.Keys) != want.keys || s.Size != end {
			t.Fatalf("cut at %d: %+v, %d, %v; want %+v", cut, s, end, err, want)
		}
	}
	s, _, _ := Survey(bytes.NewReader(b), int64(len(b)))
	if s.Duration != 1600*time.Millisecond || s.Keys[1].At != 400*time.Millisecond || s.Note != `{"app":"live"}` {
		t.Errorf("%+v", s)
	}
	if p, ok := tagAt(bytes.NewReader(b), int64(len(b)), s.Keys[2].Off); !ok || !p.isKey() {
		t.Errorf("no key frame at %d", s.Keys[2].Off)
	}
}

func FuzzSurvey(f *testing.F) {
	b := AppendSheet(nil, sheet())
	b = AppendTag(b, TypeVideo, 0, []byte{0x17, 1, 0, 0, 0, 1})
	f.Add(b)
	f.Add(b[:100])
	f.Fuzz(func(t *testing.T, b []byte) {
		s, end, err := Survey(bytes.NewReader(b), int64(len(b)))
		if err == nil && (end > int64(len(b)) || len(AppendSheet(nil, s)) > int(end)) {
			t.Fatalf("%+v ends at %d of %d", s, end, len(b))
		}
	})
}
