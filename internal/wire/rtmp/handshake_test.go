package rtmp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"
)

// noise gives the bytes i*mul+add for i from start on.
type noise struct{ mul, add, i int }

func (n *noise) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(n.i*n.mul + n.add)
		n.i++
	}
	return len(p), nil
}

// The digests were computed with another program, in another language, from the
// description of the algorithm.
func TestDigestHandshakeVectors(t *testing.T) {
	for _, c := range []struct {
		schema         Schema
		c1At, s1At     int
		c1, s1, s2, c2 string
	}{
		{KeyFirst, 942, 1026,
			"8e211aefe949d44221d8905aa6154973bcab5ecb43dc582f65b1de1c2f94e4d5",
			"037452b66a32a3d4c1bcb26c45554103347f1c10dd1e55d40735e00f8864bc7c",
			"f8b5093d8222641183278491180dee66f8f5ea3459768cfa91f6f15ece621f02",
			"41774736c47e97a5a663f34afb9fb8b12695894adfc65d2d1b231d25553cbe2c"},
		{DigestFirst, 290, 46,
			"0b441119ef46c4660e578ac88d3bf4c2d8901ff9a39c94bb92cb345f63928860",
			"282c56386d34f77da59895e290f75f68f6161ebcfa1c48cd877f172a4437a02c",
			"3a13cff98c0c05fd4d40da30a8d6d8fe91194d39b2485eb5d00a1ee081052cef",
			"449cc4bd1ad5a6c17e3bfe752c5077d4f6472105ff880fe87f0dc6bc82b91479"},
	} {
		hello, err := AppendHello(nil, c.schema, 0, &noise{7, 3, 8})
		if err != nil {
			t.Fatal(err)
		}
		answer, schema, err := AnswerHello(hello, 0, &noise{5, 1, 0})
		if err != nil || schema != c.schema {
			t.Fatalf("schema %d answered as %d, %v", c.schema, schema, err)
		}
		c2, proved, err := FinishHello(hello, answer, &noise{3, 9, 0})
		if err != nil || !proved {
			t.Fatalf("schema %d: proved %v, %v", c.schema, proved, err)
		}
		for _, d := range []struct{ name, got, want string }{
			{"C1", hex.EncodeToString(hello[1:][c.c1At:][:32]), c.c1},
			{"S1", hex.EncodeToString(answer[1:][c.s1At:][:32]), c.s1},
			{"S2", hex.EncodeToString(answer[AnswerSize-32:]), c.s2},
			{"C2", hex.EncodeToString(c2[HandshakeSize-32:]), c.c2},
			{"version", hex.EncodeToString(answer[5:9]), "01000504"},
		} {
			if d.got != d.want {
				t.Errorf("schema %d: %s is %s, want %s", c.schema, d.name, d.got, d.want)
			}
		}
	}
}

func TestSimpleHandshake(t *testing.T) {
	hello, err := AppendHello(nil, Simple, 7, &noise{7, 3, 0})
	if err != nil {
		t.Fatal(err)
	}
	// A version without a digest is a simple handshake too.
	for _, version := range []byte{0, 0x80} {
		hello[5] = version
		answer, schema, err := AnswerHello(hello, 9, &noise{5, 1, 0})
		if err != nil || schema != Simple {
			t.Fatalf("schema %d, %v", schema, err)
		}
		if !bytes.Equal(answer[HelloSize:], hello[1:]) {
			t.Error("S2 does not repeat C1")
		}
		c2, proved, err := FinishHello(hello, answer, &noise{})
		if err != nil || proved || !bytes.Equal(c2, answer[1:HelloSize]) {
			t.Errorf("C2 does not repeat S1: proved %v, %v", proved, err)
		}
	}
	hello[0] = 6
	if _, _, err := AnswerHello(hello, 0, &noise{}); !errors.Is(err, ErrPlainRequired) {
		t.Errorf("version 6: %v", err)
	}
}

func TestProxyHeader(t *testing.T) {
	n, err := ProxyBodySize([]byte{ProxyMark, 0, 6})
	if err != nil || n != 6 {
		t.Errorf("size %d, %v", n, err)
	}
	if got, want := ProxyAddr([]byte{10, 1, 2, 3, 0, 0}), netip.MustParseAddr("10.1.2.3"); got != want {
		t.Errorf("address %v, want %v", got, want)
	}
	if ProxyAddr([]byte{1, 2}).IsValid() {
		t.Error("address made of two bytes")
	}
	if _, err := ProxyBodySize([]byte{ProxyMark, 0xff, 0xff}); !errors.Is(err, ErrProxyHeader) {
		t.Errorf("oversize: %v", err)
	}
}

func FuzzHandshake(f *testing.F) {
	for _, s := range []Schema{Simple, KeyFirst, DigestFirst} {
		hello, _ := AppendHello(nil, s, 1, &noise{7, 3, 8})
		f.Add(hello, byte(s))
	}
	f.Add([]byte{ProxyMark, 0, 4, 1, 2, 3, 4}, byte(0))
	f.Fuzz(func(t *testing.T, hello []byte, schema byte) {
		if n, err := ProxyBodySize(hello); err == nil && len(hello) >= 3+n {
			ProxyAddr(hello[3 : 3+n])
		}
		answer, got, err := AnswerHello(hello, 2, &noise{3, 1, 0})
		if err != nil {
			return
		}
		c2, proved, err := FinishHello(hello, answer, &noise{3, 2, 0})
		if err != nil || len(c2) != HandshakeSize {
			t.Fatalf("own answer not understood: %v", err)
		}
		if proved != (got != Simple) {
			t.Fatalf("schema %d proved %v", got, proved)
		}
		// Whatever noise C1 has, a digest put into it is found.
		want := Schema(schema % 3)
		ours, err := AppendHello(nil, want, 5, bytes.NewReader(hello[9:]))
		if err != nil {
			t.Fatal(err)
		}
		if _, got, _ := AnswerHello(ours, 2, &noise{3, 1, 0}); got != want {
			t.Fatalf("schema %d understood as %d", want, got)
		}
	})
}
