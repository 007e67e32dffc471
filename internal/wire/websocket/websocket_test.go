package websocket

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"
)

// The examples of RFC 6455 1.3 and 5.7.
func TestVectors(t *testing.T) {
	if got := Accept("dGhlIHNhbXBsZSBub25jZQ=="); got != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Errorf("accept %q", got)
	}
	for key, want := range map[string]bool{"dGhlIHNhbXBsZSBub25jZQ==": true, "": false, "dGhl": false, "dGhlIHNhbXBsZSBub25jZQ": false, "x": false} {
		if ValidKey(key) != want {
			t.Errorf("key %q: %v", key, !want)
		}
	}
	for _, c := range []struct {
		n    int
		want string
	}{{0, "8200"}, {125, "827d"}, {126, "827e007e"}, {256, "827e0100"}, {65535, "827effff"}, {65536, "827f0000000000010000"}} {
		if got := hex.EncodeToString(AppendHead(nil, Binary, c.n)); got != c.want || len(got) != 2*HeadLen(c.n) {
			t.Errorf("head of %d bytes: %s, want %s", c.n, got, c.want)
		}
	}
	if got := hex.EncodeToString(AppendClose(nil, Normal)); got != "880203e8" {
		t.Errorf("close %s", got)
	}
}

// frame is what a client sends.
func frame(first byte, payload string) string {
	mask := []byte{0x37, 0xfa, 0x21, 0x3d}
	b := []byte{first}
	switch n := len(payload); {
	case n <= 125:
		b = append(b, 0x80|byte(n))
	case n <= 0xffff:
		b = append(b, 0x80|126, byte(n>>8), byte(n))
	default:
		b = append(b, 0x80|127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, mask...)
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i&3])
	}
	return string(b)
}

func TestReader(t *testing.T) {
	long := string(bytes.Repeat([]byte("x"), 70000))
	for _, c := range []struct {
		name, sent, want string
		err              error
	}{
		{"ping", "\x89\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", "\x8a\x05Hello", nil},
		{"empty ping", frame(0x89, ""), "\x8a\x00", nil},
		{"pong", frame(0x8a, "x"), "", nil},
		{"data of every length", frame(0x81, "text") + frame(0x82, long[:200]) + frame(0x02, long) + frame(0x80, "") + frame(0x89, "a"), "\x8a\x01a", nil},
		{"pings within a message", frame(0x01, "a") + frame(0x89, "1") + frame(0x80, "b") + frame(0x89, "2"), "\x8a\x011\x8a\x012", nil},
		{"close", frame(0x88, "\x03\xe9bye") + frame(0x89, "late"), "\x88\x02\x03\xe9", ErrClosed},
		{"close without a word", frame(0x88, ""), "\x88\x02\x03\xe8", ErrClosed},
		{"close with a code that is none", frame(0x88, "\x03\xed"), "\x88\x02\x03\xea", ErrClosed},
		{"not masked", "\x89\x00", "\x88\x02\x03\xea", ErrSyntax},
		{"reserved bit", frame(0xc2, "x"), "\x88\x02\x03\xea", ErrSyntax},
		{"unknown opcode", frame(0x83, "x"), "\x88\x02\x03\xea", ErrSyntax},
		{"control in pieces", frame(0x09, "x"), "\x88\x02\x03\xea", ErrSyntax},
		{"control too long", frame(0x89, long[:126]), "\x88\x02\x03\xea", ErrSyntax},
		{"length over 63 bits", "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", "\x88\x02\x03\xea", ErrSyntax},
	} {
		for _, step := range []int{1, 3, 1 << 20} {
			var r Reader
			var got []byte
			var err error
			for b := []byte(c.sent); len(b) > 0 && err == nil; {
				n := min(step, len(b))
				got, err = r.Read(got, b[:n])
				b = b[n:]
			}
			if string(got) != c.want || !errors.Is(err, c.err) {
				t.Errorf("%s in steps of %d: %q, %v; want %q, %v", c.name, step, got, err, c.want, c.err)
			}
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte(frame(0x89, "ping")), 3)
	f.Add([]byte(frame(0x88, "\x03\xe8")), 1)
	f.Add([]byte(frame(0x82, string(make([]byte, 300)))+frame(0x89, "")), 7)
	f.Add([]byte("\x82\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00"), 5)
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		// However it is cut, the answer is the same, and never longer than what
		// was said.
		var whole, cut Reader
		want, wantErr := whole.Read(nil, b)
		var got []byte
		var err error
		for rest := b; len(rest) > 0 && err == nil; {
			n := max(1, min(step, len(rest)))
			got, err = cut.Read(got, rest[:n])
			rest = rest[n:]
		}
		if !bytes.Equal(got, want) || (err == nil) != (wantErr == nil) {
			t.Fatalf("at once %q, %v; in steps %q, %v", want, wantErr, got, err)
		}
		if len(want) > len(b)+4 {
			t.Fatalf("%d bytes answer %d", len(want), len(b))
		}
	})
}
