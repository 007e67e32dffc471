package rtmp

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"net/netip"
)

// Sizes of the handshake in bytes.
const (
	// HandshakeSize is the length of C1, C2, S1 and S2 each (5.2.3).
	HandshakeSize = 1536
	// HelloSize is the length of C0 and C1.
	HelloSize = 1 + HandshakeSize
	// AnswerSize is the length of S0, S1 and S2.
	AnswerSize = 1 + 2*HandshakeSize
)

const (
	plainVersion  = 3
	serverVersion = 0x01000504
	clientVersion = 0x80000702

	digestSize  = sha256.Size
	digestBlock = 764 // a quarter short of half of C1: four-byte offset, digest, noise
)

// The keys of the digest handshake, which is not in Adobe's text but spoken by
// every player that wants H.264: a sentence, and 32 bytes that both keys
// share. The sentence alone signs C1 and S1, the whole signs C2 and S2.
var (
	serverKey = append([]byte("Genuine Adobe Flash Media Server 001"), keyTail...)
	clientKey = append([]byte("Genuine Adobe Flash Player 001"), keyTail...)

	serverSentence = serverKey[:len(serverKey)-len(keyTail)]
	clientSentence = clientKey[:len(clientKey)-len(keyTail)]
)

const keyTail = "\xf0\xee\xc2\x4a\x80\x68\xbe\xe8\x2e\x00\xd0\xd1\x02\x9e\x7e\x57" +
	"\x6e\xec\x5d\x2d\x29\x80\x6f\xab\x93\xb8\xe6\x36\xcf\xeb\x31\xae"

// A Schema says how a handshake was made.
type Schema uint8

// The schemas: without digests, and with the digest in the second or the first
// half of C1.
const (
	Simple   Schema = iota
	KeyFirst        // "schema 0": key block, then digest block
	DigestFirst
)

// AnswerHello answers C0 and C1 with S0, S1 and S2. The schema is the client's:
// one of those with digests if C1 holds a valid digest, else [Simple], in which
// case S2 repeats C1. epoch goes into S1 as our time; random gives noise.
func AnswerHello(hello []byte, epoch uint32, random io.Reader) ([]byte, Schema, error) {
	if len(hello) != HelloSize {
		return nil, 0, fmt.Errorf("rtmp: hello of %d bytes, want %d", len(hello), HelloSize)
	}
	if hello[0] != plainVersion {
		return nil, 0, fmt.Errorf("%w but %d", ErrPlainRequired, hello[0])
	}
	c1 := hello[1:]
	answer := make([]byte, AnswerSize)
	answer[0] = plainVersion
	s1, s2 := answer[1:HelloSize], answer[HelloSize:]
	if _, err := io.ReadFull(random, answer[1+8:]); err != nil {
		return nil, 0, fmt.Errorf("rtmp: noise for the handshake: %w", err)
	}
	binary.BigEndian.PutUint32(s1, epoch)

	digest, schema := findDigest(c1, clientSentence)
	if schema == Simple {
		clear(s1[4:8])
		copy(s2, c1)
		return answer, Simple, nil
	}
	binary.BigEndian.PutUint32(s1[4:], serverVersion)
	sign(s1, schema, serverSentence)
	signReply(s2, digest, serverKey)
	return answer, schema, nil
}

// AppendHello appends a client's C0 and C1. schema may be any; epoch goes into
// C1 as our time; random gives noise.
func AppendHello(dst []byte, schema Schema, epoch uint32, random io.Reader) ([]byte, error) {
	c1 := make([]byte, HandshakeSize)
	if _, err := io.ReadFull(random, c1[8:]); err != nil {
		return dst, fmt.Errorf("rtmp: noise for the handshake: %w", err)
	}
	binary.BigEndian.PutUint32(c1, epoch)
	if schema != Simple {
		binary.BigEndian.PutUint32(c1[4:], clientVersion)
		sign(c1, schema, clientSentence)
	}
	return append(append(dst, plainVersion), c1...), nil
}

// FinishHello returns C2 for the hello that was sent and the answer to it, and
// whether the server proved with digests that it understood ours. A server that
// did not is no less a server.
func FinishHello(hello, answer []byte, random io.Reader) (c2 []byte, proved bool, err error) {
	if len(hello) != HelloSize || len(answer) != AnswerSize {
		return nil, false, fmt.Errorf("rtmp: handshake of %d and %d bytes, want %d and %d", len(hello), len(answer), HelloSize, AnswerSize)
	}
	if answer[0] != plainVersion {
		return nil, false, fmt.Errorf("%w but %d", ErrPlainRequired, answer[0])
	}
	c1, s1, s2 := hello[1:], answer[1:HelloSize], answer[HelloSize:]
	c2 = make([]byte, HandshakeSize)
	ours, sent := findDigest(c1, clientSentence)
	theirs, got := findDigest(s1, serverSentence)
	if sent == Simple || got == Simple {
		copy(c2, s1)
		return c2, false, nil
	}
	if _, err := io.ReadFull(random, c2); err != nil {
		return nil, false, fmt.Errorf("rtmp: noise for the handshake: %w", err)
	}
	signReply(c2, theirs, clientKey)
	return c2, validReply(s2, ours, serverKey), nil
}

// digestAt returns where the digest of a C1 or S1 lies: somewhere in one half,
// at an offset that is the sum of that half's first four bytes.
func digestAt(b []byte, schema Schema) int {
	block := 8
	if schema == KeyFirst {
		block += digestBlock
	}
	sum := int(b[block]) + int(b[block+1]) + int(b[block+2]) + int(b[block+3])
	return block + 4 + sum%(digestBlock-4-digestSize)
}

// digestOf signs all of b but the 32 bytes at the given place.
func digestOf(b []byte, at int, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(b[:at])
	h.Write(b[at+digestSize:])
	return h.Sum(nil)
}

func sign(b []byte, schema Schema, key []byte) {
	at := digestAt(b, schema)
	copy(b[at:], digestOf(b, at, key))
}

func findDigest(b, key []byte) ([]byte, Schema) {
	for _, schema := range [...]Schema{KeyFirst, DigestFirst} {
		at := digestAt(b, schema)
		if digest := b[at : at+digestSize]; hmac.Equal(digest, digestOf(b, at, key)) {
			return digest, schema
		}
	}
	return nil, Simple
}

// replyDigest signs a C2 or S2 with a key made of the other side's digest.
func replyDigest(b, digest, key []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(digest)
	h = hmac.New(sha256.New, h.Sum(nil))
	h.Write(b[:len(b)-digestSize])
	return h.Sum(nil)
}

func signReply(b, digest, key []byte) { copy(b[len(b)-digestSize:], replyDigest(b, digest, key)) }

func validReply(b, digest, key []byte) bool {
	return hmac.Equal(b[len(b)-digestSize:], replyDigest(b, digest, key))
}

// A proxy of go-oryx tells the real client's address before C0: [ProxyMark],
// the length of what follows in two bytes, an IPv4 address, and room for more.
const (
	ProxyMark       = 0xf3
	ProxyHeaderSize = 3 // mark and length
	maxProxyBody    = 1024
)

// ProxyBodySize returns how many bytes follow the [ProxyHeaderSize] bytes of b.
func ProxyBodySize(b []byte) (int, error) {
	if len(b) < ProxyHeaderSize || b[0] != ProxyMark {
		return 0, fmt.Errorf("rtmp: not a proxy header: % x", b[:min(len(b), ProxyHeaderSize)])
	}
	n := int(binary.BigEndian.Uint16(b[1:]))
	if n > maxProxyBody {
		return 0, fmt.Errorf("%w: %d bytes", ErrProxyHeader, n)
	}
	return n, nil
}

// ProxyAddr returns the client's address in the body of a proxy header, or the
// zero Addr if there is none.
func ProxyAddr(body []byte) netip.Addr {
	if len(body) < 4 {
		return netip.Addr{}
	}
	return netip.AddrFrom4([4]byte(body))
}
