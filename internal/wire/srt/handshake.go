package srt

import (
	"bytes"
	"net/netip"
	"slices"
	"time"
)

// Handshake types (3.2.1).
const (
	hsInduction  = 1
	hsConclusion = 0xffffffff
)

const (
	magic = 0x4a17 // of the listener's answer to an induction
	// bits of the extension field
	hasHS, hasKM, hasConfig = 1, 2, 4
)

// Extension blocks.
const (
	extHSReq      = 1
	extHSRsp      = 2
	extKMReq      = 3
	extKMRsp      = 4
	extStreamID   = 5
	extCongestion = 6
	extFilter     = 7
	extGroup      = 8
	maxBlocks     = 16
)

// Flags of HSREQ and HSRSP.
const (
	flagTSBPDSend = 0x01
	flagTSBPDRecv = 0x02
	flagCrypt     = 0x04
	flagDropLate  = 0x08
	flagNAKReport = 0x10
	flagRexmitOK  = 0x20
	flagStream    = 0x40
)

// shake is a handshake packet's content.
type shake struct {
	version   uint32
	enc, ext  uint16
	isn       uint32
	mss       uint32
	window    uint32
	typ       uint32
	id        uint32
	cookie    uint32
	peerIP    [16]byte
	blocks    [9][]byte // by type, as they stand; aliases the datagram
	haveBlock [9]bool
}

// parseShake reads what stands behind the header; the extensions are left alone.
func parseShake(b []byte) (h shake, ext []byte, ok bool) {
	if len(b) < handshakeSize {
		return h, nil, false
	}
	h = shake{version: be.Uint32(b), enc: be.Uint16(b[4:]), ext: be.Uint16(b[6:]), isn: be.Uint32(b[8:]), mss: be.Uint32(b[12:]),
		window: be.Uint32(b[16:]), typ: be.Uint32(b[20:]), id: be.Uint32(b[24:]), cookie: be.Uint32(b[28:])}
	copy(h.peerIP[:], b[32:48])
	return h, b[handshakeSize:], true
}

// parseBlocks reads the extensions. Unknown ones are passed over.
func (h *shake) parseBlocks(b []byte) bool {
	for n := 0; len(b) > 0; n++ {
		if len(b) < 4 || n == maxBlocks {
			return false
		}
		typ, size := int(be.Uint16(b)), 4*int(be.Uint16(b[2:]))
		b = b[4:]
		if size > len(b) {
			return false
		}
		if typ > 0 && typ < len(h.blocks) {
			if h.haveBlock[typ] {
				return false
			}
			h.blocks[typ], h.haveBlock[typ] = b[:size], true
		}
		b = b[size:]
	}
	return true
}

func (h *shake) append(dst []byte) []byte {
	dst = be.AppendUint32(dst, h.version)
	dst = be.AppendUint16(be.AppendUint16(dst, h.enc), h.ext)
	for _, w := range []uint32{h.isn, h.mss, h.window, h.typ, h.id, h.cookie} {
		dst = be.AppendUint32(dst, w)
	}
	return append(dst, h.peerIP[:]...)
}

func appendBlock(dst []byte, typ uint16, content []byte) []byte {
	dst = be.AppendUint16(be.AppendUint16(dst, typ), uint16((len(content)+3)/4))
	dst = append(dst, content...)
	for len(dst)%4 != 0 {
		dst = append(dst, 0)
	}
	return dst
}

// swapWords turns the bytes of each word around, as texts are sent.
func swapWords(b []byte) []byte {
	out := slices.Clone(b)
	for len(out)%4 != 0 {
		out = append(out, 0)
	}
	for i := 0; i < len(out); i += 4 {
		slices.Reverse(out[i : i+4])
	}
	return out
}

func text(b []byte) string { return string(bytes.TrimRight(swapWords(b), "\x00")) }

// wireIP is an address as handshakes carry it: each word the other way round.
func wireIP(a netip.Addr) (out [16]byte) {
	a = a.Unmap()
	if a.Is4() {
		ip := a.As4()
		copy(out[:], swapWords(ip[:]))
	} else if a.Is6() {
		ip := a.As16()
		copy(out[:], swapWords(ip[:]))
	}
	return out
}

// hello is HSREQ and HSRSP (3.2.1.1).
type hello struct {
	version, flags uint32
	// recv is what the speaker waits when it receives, peer what it wants the other
	// to wait, both in ms.
	recv, peer uint16
}

func parseHello(b []byte) (hello, bool) {
	if len(b) < 12 {
		return hello{}, false
	}
	return hello{be.Uint32(b), be.Uint32(b[4:]), be.Uint16(b[8:]), be.Uint16(b[10:])}, true
}

func (h hello) append(dst []byte) []byte {
	dst = be.AppendUint32(be.AppendUint32(dst, h.version), h.flags)
	return be.AppendUint16(be.AppendUint16(dst, h.recv), h.peer)
}

// ourHello is what an end says of itself.
func (p *Params) hello() hello {
	h := hello{version: version, flags: flagTSBPDSend | flagCrypt | flagNAKReport | flagRexmitOK,
		recv: uint16(p.RecvLatency / time.Millisecond), peer: uint16(p.PeerLatency / time.Millisecond)}
	if !p.NoTSBPD {
		h.flags |= flagTSBPDRecv
		if !p.KeepLate {
			h.flags |= flagDropLate
		}
	}
	return h
}
