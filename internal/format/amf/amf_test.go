package amf

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.NewReplacer(" ", "", "\n", "", "\t", "").Replace(s))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var golden = []struct {
	name string
	hex  string
	want any
	// one says that encoding gives the same bytes back.
	one bool
}{
	{"number", "00 3ff0000000000000", 1.0, true},
	{"boolean", "01 01", true, true},
	{"boolean other than one", "01 07", true, false},
	{"string", "02 0004 6c697665", "live", true},
	{"empty string", "02 0000", "", true},
	{"object", "03 0003 617070 02 0004 6c697665 0001 6e 05 000009", Object{{"app", "live"}, {"n", nil}}, true},
	{"empty object", "03 000009", Object{}, true},
	{"empty key", "03 0000 05 000009", Object{{"", nil}}, true},
	{"object without end", "03 0001 61 05", Object{{"a", nil}}, false},
	{"null", "05", nil, true},
	{"undefined", "06", Undefined{}, true},
	{"unsupported", "0d", Undefined{}, false},
	{"ecma array", "08 00000001 0005 7769647468 00 4094000000000000 000009", ECMAArray{{"width", 1280.0}}, true},
	{"ecma array with a wrong count", "08 00000000 0001 61 0101 000009", ECMAArray{{"a", true}}, false},
	{"strict array", "0a 00000002 05 0100", StrictArray{nil, false}, true},
	{"date", "0b 4270000000000000 ffc4", Date{1099511627776, -60}, true},
	{"long string", "0c 00000002 6869", "hi", false},
	{"xml", "0f 00000004 3c612f3e", XML("<a/>"), true},
	{"typed object", "10 0001 43 0001 61 05 000009", TypedObject{"C", Object{{"a", nil}}}, true},
	{
		"reference", "0a 00000002 03 0001 61 05 000009 07 0001",
		StrictArray{Object{{"a", nil}}, Object{{"a", nil}}}, false,
	},

	{"amf3 undefined", "11 00", Undefined{}, false},
	{"amf3 null", "11 01", nil, false},
	{"amf3 false", "11 02", false, false},
	{"amf3 true", "11 03", true, false},
	{"amf3 integer", "11 04 8100", 128.0, false},
	{"amf3 negative integer", "11 04 ffffffff", -1.0, false},
	{"amf3 widest integer", "11 04 bfffffff", 268435455.0, false},
	{"amf3 double", "11 05 3ff8000000000000", 1.5, false},
	{"amf3 string", "11 06 09 6c697665", "live", false},
	{"amf3 date", "11 08 01 4270000000000000", Date{Milliseconds: 1099511627776}, false},
	{"amf3 dense array", "11 09 05 01 04 01 02", StrictArray{1.0, false}, false},
	{"amf3 mixed array", "11 09 03 03 61 03 01 04 05", ECMAArray{{"a", true}, {"0", 5.0}}, false},
	{"amf3 dynamic object", "11 0a 0b 01 03 61 04 01 01", Object{{"a", 1.0}}, false},
	{"amf3 sealed object", "11 0a 13 03 43 03 61 06 00", TypedObject{"C", Object{{"a", "C"}}}, false},
	{
		"amf3 traits and object references",
		"11 09 07 01 0a 13 01 03 61 04 01 0a 01 04 02 0a 02",
		StrictArray{Object{{"a", 1.0}}, Object{{"a", 2.0}}, Object{{"a", 1.0}}}, false,
	},
	{"amf3 array collection", "11 0a 07 43" + hex.EncodeToString([]byte("flex.messaging.io.ArrayCollection")) + "09 03 01 03", StrictArray{true}, false},
	{"amf3 bytes", "11 0c 05 0102", Bytes{1, 2}, false},
	{"amf3 xml", "11 0b 09 3c612f3e", XML("<a/>"), false},
}

func TestGolden(t *testing.T) {
	for _, c := range golden {
		in := unhex(t, c.hex)
		got, rest, err := Decode(append(bytes.Clone(in), 0xee))
		if strings.HasSuffix(c.name, "without end") {
			got, rest, err = Decode(in)
			rest = append(rest, 0xee)
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if !reflect.DeepEqual(got, c.want) || len(rest) != 1 {
			t.Errorf("%s: got %#v with %d bytes left, want %#v with 1", c.name, got, len(rest), c.want)
		}
		if out := Append(nil, got); c.one && !bytes.Equal(out, in) {
			t.Errorf("%s: encoded %x, want %x", c.name, out, in)
		}
	}
}

func TestDecodeAllSharesReferences(t *testing.T) {
	got, err := DecodeAll(unhex(t, "02 0001 61 03 0001 62 05 000009 07 0000 11 06 03 78 11 06 00"))
	want := []any{"a", Object{{"b", nil}}, Object{{"b", nil}}, "x", "x"}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v, %v, want %#v", got, err, want)
	}
}

func TestErrors(t *testing.T) {
	deep := bytes.Repeat(unhex(t, "03 0001 61"), MaxDepth+1)
	wide := append(unhex(t, "0a 00002710"), bytes.Repeat([]byte{5}, MaxNodes)...)
	// Each level refers to the one before twice: 2^60 nodes in few bytes.
	bomb := unhex(t, "0a 0000003c 0a 00000000")
	for i := range 59 {
		bomb = append(bomb, 0x0a, 0, 0, 0, 2, 7, 0, byte(i+1), 7, 0, byte(i+1))
	}
	// Levels that references pile up count as depth.
	tower := unhex(t, "0a 0000003c 0a 00000000")
	for i := range 59 {
		tower = append(tower, 0x0a, 0, 0, 0, 1, 7, 0, byte(i+1))
	}
	cases := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrTruncated},
		{"half a number", unhex(t, "00 3ff0"), ErrTruncated},
		{"half a string", unhex(t, "02 0004 6c"), ErrTruncated},
		{"long string that says 4 GiB", unhex(t, "0c ffffffff 61"), ErrTruncated},
		{"strict array that says 4 G", unhex(t, "0a ffffffff 05"), ErrTruncated},
		{"movie clip", unhex(t, "04"), ErrSyntax},
		{"dangling reference", unhex(t, "07 0000"), ErrSyntax},
		{"reference to itself", unhex(t, "03 0001 61 07 0000 000009"), ErrSyntax},
		{"too deep", deep, ErrLimit},
		{"too wide", wide, ErrLimit},
		{"references that double", bomb, ErrLimit},
		{"references that pile up", tower, ErrLimit},
		{"amf3 vector", unhex(t, "11 0d 01"), ErrSyntax},
		{"amf3 dangling string", unhex(t, "11 06 00"), ErrSyntax},
		{"amf3 class with many members", unhex(t, "11 0a ffffff7b 01"), ErrTruncated},
		{"amf3 unknown externalizable", unhex(t, "11 0a 07 03 43"), ErrSyntax},
		{"amf3 object in itself", unhex(t, "11 09 03 01 09 00"), ErrSyntax},
	}
	for _, c := range cases {
		if v, _, err := Decode(c.in); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, %v, want %v", c.name, v, err, c.want)
		}
	}
}

func TestAppendLongString(t *testing.T) {
	s := strings.Repeat("x", math.MaxUint16+1)
	b := Append(nil, s)
	got, rest, err := Decode(b)
	if b[0] != markLongString || got != s || len(rest) != 0 || err != nil {
		t.Errorf("a string of 64 KiB did not come back: marker %d, %d left, %v", b[0], len(rest), err)
	}
}

func TestObject(t *testing.T) {
	o := Object{{"a", 1.0}, {"b", "x"}}
	o = o.With("a", 2.0).With("c", true).Without("b")
	want := Object{{"a", 2.0}, {"c", true}}
	if !reflect.DeepEqual(o, want) {
		t.Errorf("got %v, want %v", o, want)
	}
	if n, ok := o.Number("a"); n != 2 || !ok {
		t.Errorf("Number(a) = %v, %v", n, ok)
	}
	if o.Text("c") != "" || o.Get("none") != nil {
		t.Error("a missing property has a value")
	}
	if p, ok := Properties(ECMAArray{{"k", nil}}); !ok || len(p) != 1 {
		t.Errorf("Properties of an ECMA array: %v, %v", p, ok)
	}
}

func FuzzDecode(f *testing.F) {
	for _, c := range golden {
		f.Add(unhex(f, c.hex))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		values, err := DecodeAll(in)
		if _, rest, err := Decode(in); err == nil && len(rest) >= len(in) {
			t.Fatal("a value took no bytes")
		}
		once := AppendAll(nil, values...)
		again, err2 := DecodeAll(once)
		if err2 != nil {
			t.Fatalf("what was decoded (%v) does not decode again: %v", err, err2)
		}
		if twice := AppendAll(nil, again...); !bytes.Equal(once, twice) {
			t.Fatalf("round trip changed the bytes:\n%x\n%x", once, twice)
		}
	})
}

func BenchmarkDecodeConnect(b *testing.B) {
	in := AppendAll(nil, "connect", 1, Object{
		{"app", "live"},
		{"flashVer", "FMLE/3.0 (compatible; FMSc/1.0)"},
		{"tcUrl", "rtmp://localhost/live"},
		{"fpad", false},
		{"capabilities", 15.0},
	})
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		if _, err := DecodeAll(in); err != nil {
			b.Fatal(err)
		}
	}
}
