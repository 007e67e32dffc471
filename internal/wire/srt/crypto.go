package srt

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/subtle"
	"errors"
	"io"
)

const (
	cipherCTR = 2
	cipherGCM = 4
	keyEven   = 1
	keyOdd    = 2
	saltSize  = 16
	maxKM     = 104
	rounds    = 2048 // of PBKDF2 (6.1.4)
)

// km is a key material message (3.2.2), in the bytes of the wire.
type km struct {
	kk     byte
	cipher byte
	length int // of a key
	salt   []byte
	wrap   []byte
}

// parseKM reads one. Whatever cannot be is refused before anything is copied.
func parseKM(b []byte) (m km, ok bool) {
	if len(b) < 33 || len(b) > maxKM || len(b)%4 != 0 || b[0] != 0x12 || b[1] != 0x20 || b[2] != 0x29 || b[10] != 2 {
		return m, false
	}
	m = km{kk: b[3] & 3, cipher: b[8], length: 4 * int(b[15]), salt: b[16:32], wrap: b[32:]}
	n := 1
	if m.kk == keyEven|keyOdd {
		n = 2
	}
	return m, m.kk != 0 && (m.cipher == cipherCTR || m.cipher == cipherGCM) && b[14] == saltSize/4 &&
		(m.length == 16 || m.length == 24 || m.length == 32) && len(m.wrap) == n*m.length+8
}

func appendKM(dst []byte, kk byte, length int, salt, wrap []byte) []byte {
	dst = append(dst, 0x12, 0x20, 0x29, kk, 0, 0, 0, 0, cipherCTR, 0, 2, 0, 0, 0, saltSize/4, byte(length/4))
	return append(append(dst, salt...), wrap...)
}

// A cryptor is the keys of one direction.
type cryptor struct {
	block [2]cipher.Block // even, odd
	key   [2][]byte
}

func (c *cryptor) set(i int, key []byte) {
	c.block[i], _ = aes.NewCipher(key) // the length was checked
	c.key[i] = key
}

// apply encrypts or decrypts b in place; kk is keyEven or keyOdd. It reports whether
// there is such a key.
func (c *cryptor) apply(kk byte, salt []byte, seq uint32, b []byte) bool {
	if kk != keyEven && kk != keyOdd || c.block[kk-1] == nil {
		return false
	}
	var iv [16]byte
	copy(iv[:14], salt)
	for i := range 4 {
		iv[10+i] ^= byte(seq >> (24 - 8*i))
	}
	cipher.NewCTR(c.block[kk-1], iv[:]).XORKeyStream(b, b)
	return true
}

// Keys are a connection's secrets.
type Keys struct {
	passphrase string
	length     int
	salt       [saltSize]byte
	kek        []byte
	rx, tx     cryptor
	active     byte // keyEven or keyOdd: what we encrypt with
	sent       int  // packets encrypted with it

	last    []byte // the peer's last message, which is answered without work
	renewal []byte // ours, that the peer has not confirmed yet
	asked   int    // times
	askedAt int64
}

func newKeys(passphrase string) *Keys { return &Keys{passphrase: passphrase, active: keyEven} }

// derive makes the key that keys are wrapped with. Only the last half of the salt
// counts.
func (k *Keys) derive() {
	k.kek, _ = pbkdf2.Key(sha1.New, k.passphrase, k.salt[8:], rounds, k.length)
}

// install takes the peer's first message: its key serves both ways.
func (k *Keys) install(b []byte) bool {
	m, ok := parseKM(b)
	if !ok {
		return false
	}
	k.length = m.length
	copy(k.salt[:], m.salt)
	k.derive()
	if !k.open(&k.rx, m) {
		return false
	}
	k.tx = k.rx
	k.active = m.kk & keyEven
	if k.active == 0 {
		k.active = keyOdd
	}
	k.last = bytes.Clone(b)
	return true
}

func (k *Keys) open(c *cryptor, m km) bool {
	keys, ok := unwrap(k.kek, m.wrap)
	if !ok {
		return false
	}
	for i := range 2 {
		if m.kk&(1<<i) != 0 {
			c.set(i, keys[:m.length])
			keys = keys[m.length:]
		}
	}
	return true
}

// renew takes a message of a connection that is secured, and reports whether it is
// to be answered. One that cannot be opened changes nothing.
func (k *Keys) renew(b []byte) bool {
	if bytes.Equal(b, k.last) {
		return true
	}
	m, ok := parseKM(b)
	if !ok || m.cipher != cipherCTR || m.length != k.length || !bytes.Equal(m.salt, k.salt[:]) || !k.open(&k.rx, m) {
		return false
	}
	k.last = bytes.Clone(b)
	return true
}

// generate makes the first key of a caller and its message.
func (k *Keys) generate(length int, rand io.Reader) ([]byte, error) {
	key := make([]byte, length)
	if rand == nil {
		return nil, errors.New("srt: a passphrase needs a source of random bytes")
	}
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rand, k.salt[:]); err != nil {
		return nil, err
	}
	k.length = length
	k.derive()
	k.tx.set(0, key)
	k.rx = k.tx
	return appendKM(nil, keyEven, length, k.salt[:], wrap(k.kek, key)), nil
}

// next makes the key that follows the active one, and the message that tells of
// both.
func (k *Keys) next(rand io.Reader) bool {
	key := make([]byte, k.length)
	if rand == nil {
		return false
	}
	if _, err := io.ReadFull(rand, key); err != nil {
		return false
	}
	k.tx.set(int(2-k.active), key) // the other one
	both := append(bytes.Clone(k.tx.key[0]), k.tx.key[1]...)
	k.renewal = appendKM(nil, keyEven|keyOdd, k.length, k.salt[:], wrap(k.kek, both))
	k.asked = 0
	return true
}

const wrapIV = 0xa6a6a6a6a6a6a6a6

// wrap wraps keys (RFC 3394 2.2.1).
func wrap(kek, keys []byte) []byte {
	block, err := aes.NewCipher(kek)
	if err != nil {
		panic("BUG: srt: key of a length that was not checked")
	}
	out := append(be.AppendUint64(nil, wrapIV), keys...)
	n := len(keys) / 8
	var b [16]byte
	for t := 1; t <= 6*n; t++ {
		r := out[8*((t-1)%n+1):][:8]
		copy(b[:8], out[:8])
		copy(b[8:], r)
		block.Encrypt(b[:], b[:])
		be.PutUint64(out, be.Uint64(b[:])^uint64(t))
		copy(r, b[8:])
	}
	return out
}

// unwrap is the inverse of wrap; false says that the key is another.
func unwrap(kek, wrapped []byte) ([]byte, bool) {
	block, err := aes.NewCipher(kek)
	if err != nil || len(wrapped) < 24 || len(wrapped)%8 != 0 {
		return nil, false
	}
	out := bytes.Clone(wrapped)
	n := len(out)/8 - 1
	var b [16]byte
	for t := 6 * n; t >= 1; t-- {
		r := out[8*((t-1)%n+1):][:8]
		be.PutUint64(b[:], be.Uint64(out)^uint64(t))
		copy(b[8:], r)
		block.Decrypt(b[:], b[:])
		copy(out, b[:8])
		copy(r, b[8:])
	}
	return out[8:], subtle.ConstantTimeCompare(out[:8], be.AppendUint64(nil, wrapIV)) == 1
}
