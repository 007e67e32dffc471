// Package stun reads and writes the messages of STUN that ICE needs (RFC 8489,
// RFC 8445): a binding request, its checks, and the answers to it.
//
// A message is parsed without a copy or an allocation, so that a flood of requests
// for names that nobody has costs nothing but the look. Attributes that are not known
// are passed over, as ICE wants; a message has at most [maxAttributes].
package stun

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net/netip"
)

// Types of messages (RFC 8489 5).
const (
	BindingRequest    = 0x0001
	BindingIndication = 0x0011
	BindingSuccess    = 0x0101
	BindingError      = 0x0111
)

// Attributes (RFC 8489 14, RFC 8445 16.1).
const (
	attrUsername       = 0x0006
	attrIntegrity      = 0x0008
	attrErrorCode      = 0x0009
	attrXORAddress     = 0x0020
	attrPriority       = 0x0024
	attrUseCandidate   = 0x0025
	attrFingerprint    = 0x8028
	attrIceControlled  = 0x8029
	attrIceControlling = 0x802a
)

const (
	headerLen     = 20
	cookie        = 0x2112a442
	integrityLen  = 20
	maxAttributes = 32
	// fingerprintXOR is what the checksum is mixed with (RFC 8489 14.7).
	fingerprintXOR = 0x5354554e
)

// ErrSyntax is wrapped by all errors of this package.
var ErrSyntax = errors.New("stun: bad syntax")

// A Message is what was received. Its slices are of the bytes that were parsed.
type Message struct {
	Type        uint16
	Transaction [12]byte
	Username    []byte
	// Nominated says that the sender uses the pair of addresses (USE-CANDIDATE).
	Nominated bool
	// Controlled says that the sender takes us for the one who nominates.
	Controlled bool
	Priority   uint32
	// Address is what an answer says that we look like; zero if it says nothing.
	Address netip.AddrPort
	// Code is that of an error, 0 if there is none.
	Code int

	raw       []byte
	integrity int // offset of the attribute, 0 if there is none
}

// Is reports whether a datagram looks like STUN, by its first bytes (RFC 7983).
func Is(b []byte) bool {
	return len(b) >= headerLen && b[0] < 4 && binary.BigEndian.Uint32(b[4:]) == cookie
}

// Parse reads a message. A fingerprint that is there must be right; integrity is
// checked by [Message.Verify], when it is known who is meant.
func Parse(b []byte) (m Message, err error) {
	if !Is(b) {
		return m, fmt.Errorf("%w: not a message of STUN", ErrSyntax)
	}
	m.Type = binary.BigEndian.Uint16(b)
	size := int(binary.BigEndian.Uint16(b[2:]))
	if size%4 != 0 || headerLen+size > len(b) {
		return m, fmt.Errorf("%w: %d bytes of attributes in %d", ErrSyntax, size, len(b))
	}
	copy(m.Transaction[:], b[8:])
	m.raw = b[:headerLen+size]
	for off, n := headerLen, 0; off < len(m.raw); n++ {
		if n == maxAttributes {
			return m, fmt.Errorf("%w: more than %d attributes", ErrSyntax, maxAttributes)
		}
		if len(m.raw)-off < 4 {
			return m, fmt.Errorf("%w: attribute ends early", ErrSyntax)
		}
		typ, length := binary.BigEndian.Uint16(m.raw[off:]), int(binary.BigEndian.Uint16(m.raw[off+2:]))
		if length > len(m.raw)-off-4 {
			return m, fmt.Errorf("%w: attribute of %d bytes ends early", ErrSyntax, length)
		}
		if err := m.attribute(typ, off, m.raw[off+4:off+4+length]); err != nil {
			return m, err
		}
		off += 4 + (length+3)&^3
	}
	return m, nil
}

func (m *Message) attribute(typ uint16, off int, v []byte) error {
	if m.integrity != 0 && typ != attrFingerprint {
		return nil // what follows the integrity is not to be trusted (RFC 8489 14.5)
	}
	short := func(n int) error {
		if len(v) < n {
			return fmt.Errorf("%w: attribute %#x has %d bytes", ErrSyntax, typ, len(v))
		}
		return nil
	}
	switch typ {
	case attrUsername:
		m.Username = v
	case attrIntegrity:
		if len(v) != integrityLen {
			return fmt.Errorf("%w: integrity of %d bytes", ErrSyntax, len(v))
		}
		m.integrity = off
	case attrFingerprint:
		if err := short(4); err != nil {
			return err
		}
		if off+8 != len(m.raw) || binary.BigEndian.Uint32(v) != crc32.ChecksumIEEE(m.raw[:off])^fingerprintXOR {
			return fmt.Errorf("%w: wrong fingerprint", ErrSyntax)
		}
	case attrPriority:
		if err := short(4); err != nil {
			return err
		}
		m.Priority = binary.BigEndian.Uint32(v)
	case attrUseCandidate:
		m.Nominated = true
	case attrIceControlled:
		m.Controlled = true
	case attrErrorCode:
		if err := short(4); err != nil {
			return err
		}
		m.Code = int(v[2]&7)*100 + int(v[3])
	case attrXORAddress:
		return m.address(v)
	}
	return nil
}

func (m *Message) address(v []byte) error {
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], m.Transaction[:])
	n := len(v) - 4
	if n != 4 && n != 16 {
		return fmt.Errorf("%w: address of %d bytes", ErrSyntax, len(v))
	}
	for i := range n {
		mask[i] ^= v[4+i]
	}
	ip, _ := netip.AddrFromSlice(mask[:n])
	m.Address = netip.AddrPortFrom(ip, binary.BigEndian.Uint16(v[2:])^(cookie>>16))
	return nil
}

// Verify reports whether the message was made by who knows key (RFC 8489 14.5).
func (m *Message) Verify(key []byte) bool {
	if m.integrity == 0 {
		return false
	}
	mac := hmac.New(sha1.New, key)
	var head [4]byte
	copy(head[:], m.raw[:2])
	binary.BigEndian.PutUint16(head[2:], uint16(m.integrity+4+integrityLen-headerLen))
	mac.Write(head[:])
	mac.Write(m.raw[4:m.integrity])
	var sum [integrityLen]byte
	return hmac.Equal(mac.Sum(sum[:0]), m.raw[m.integrity+4:m.integrity+4+integrityLen])
}

// AppendSuccess appends the answer to a request that came from addr, signed with key.
func AppendSuccess(dst []byte, m *Message, addr netip.AddrPort, key []byte) []byte {
	at := len(dst)
	dst = appendHeader(dst, BindingSuccess, m.Transaction)
	ip := addr.Addr().Unmap()
	family := byte(1)
	if ip.Is6() {
		family = 2
	}
	b := ip.AsSlice()
	dst = append(dst, 0, attrXORAddress, 0, byte(4+len(b)), 0, family)
	dst = binary.BigEndian.AppendUint16(dst, addr.Port()^(cookie>>16))
	var mask [16]byte
	binary.BigEndian.PutUint32(mask[:], cookie)
	copy(mask[4:], m.Transaction[:])
	for i := range b {
		dst = append(dst, b[i]^mask[i])
	}
	return seal(dst, at, key)
}

// AppendError appends the answer to a request that is refused, signed with key.
func AppendError(dst []byte, m *Message, code int, reason string, key []byte) []byte {
	at := len(dst)
	dst = appendHeader(dst, BindingError, m.Transaction)
	dst = append(dst, 0, attrErrorCode, 0, byte(4+len(reason)), 0, 0, byte(code/100), byte(code%100))
	dst = append(dst, reason...)
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	return seal(dst, at, key)
}

// A Request is a binding request of the side that nominates.
type Request struct {
	Transaction [12]byte
	Username    string // theirs, a colon, ours
	Priority    uint32
	TieBreaker  uint64
	Nominate    bool
}

// Append appends the request, signed with the password of the other side.
func (r *Request) Append(dst []byte, key []byte) []byte {
	at := len(dst)
	dst = appendHeader(dst, BindingRequest, r.Transaction)
	dst = binary.BigEndian.AppendUint16(append(dst, 0, attrUsername), uint16(len(r.Username)))
	dst = append(dst, r.Username...)
	for (len(dst)-at)%4 != 0 {
		dst = append(dst, 0)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, 0, attrPriority, 0, 4), r.Priority)
	dst = binary.BigEndian.AppendUint64(append(dst, attrIceControlling>>8, attrIceControlling&0xff, 0, 8), r.TieBreaker)
	if r.Nominate {
		dst = append(dst, 0, attrUseCandidate, 0, 0)
	}
	return seal(dst, at, key)
}

func appendHeader(dst []byte, typ uint16, transaction [12]byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, typ)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, cookie)
	return append(dst, transaction[:]...)
}

// seal appends integrity and fingerprint to the message that begins at at.
func seal(dst []byte, at int, key []byte) []byte {
	m := dst[at:]
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)+4+integrityLen-headerLen))
	mac := hmac.New(sha1.New, key)
	mac.Write(m)
	dst = mac.Sum(append(dst, 0, attrIntegrity, 0, integrityLen))
	m = dst[at:]
	binary.BigEndian.PutUint16(m[2:], uint16(len(m)+8-headerLen))
	sum := crc32.ChecksumIEEE(m) ^ fingerprintXOR
	return binary.BigEndian.AppendUint32(append(dst, attrFingerprint>>8, attrFingerprint&0xff, 0, 4), sum)
}
