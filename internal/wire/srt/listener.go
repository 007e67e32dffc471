package srt

import (
	"crypto/hmac"
	"crypto/sha256"
	"net/netip"
	"time"
)

// cookieSlot is for how long a cookie is the same; it is good for one more.
const cookieSlot = 64

// A Listener answers callers, and remembers none. Its methods may be called by
// anybody at any time.
type Listener struct {
	// Secret makes the cookies ours. It is not to be known to anybody.
	Secret []byte
	// KeyLength is the length of key that callers are told, in bytes; 0 leaves it to
	// them.
	KeyLength int
}

// A Request is a caller that has proved its address and wants to be connected.
type Request struct {
	From netip.AddrPort
	// PeerID and ISN tell the caller's sockets apart: a repetition of a request has
	// the same.
	PeerID, ISN uint32
	// StreamID is what the caller wants, as it says it: at most 512 bytes.
	StreamID string
	// Version is libsrt's at the caller: 0x010501.
	Version uint32
	// Encrypted says that the caller has a passphrase.
	Encrypted bool

	arrived time.Time
	stamp   uint32
	shake   shake
	hello   hello
	km      []byte
}

// Handle takes a datagram for socket id 0. The reply, if any, is to be sent to from;
// it is never longer than what was asked unless the address is proved. A request is
// to be accepted or rejected; it keeps nothing of b.
func (l *Listener) Handle(now time.Time, from netip.AddrPort, b []byte) (reply []byte, req *Request) {
	if len(b) < headerSize+handshakeSize || len(b) > MaxDatagram || !isControl(b) || len(b)%4 != 0 {
		return nil, nil
	}
	if typ, _ := controlType(b); typ != ctlHandshake {
		return nil, nil
	}
	h, ext, ok := parseShake(b[headerSize:])
	if !ok || h.id == 0 {
		return nil, nil
	}
	switch h.typ {
	case hsInduction:
		return l.induct(now, from, &h), nil
	case hsConclusion:
		if !l.proved(now, from, h.cookie) {
			return nil, nil
		}
		return l.conclude(now, from, be.Uint32(b[8:]), h, ext)
	}
	return nil, nil
}

// induct answers the first packet; nothing of it is kept.
func (l *Listener) induct(now time.Time, from netip.AddrPort, h *shake) []byte {
	a := *h
	a.version, a.enc, a.ext = 5, uint16(l.KeyLength/8), magic
	a.cookie = l.cookie(from, now.Unix()/cookieSlot)
	a.peerIP = wireIP(from.Addr())
	return a.append(appendControl(nil, ctlHandshake, 0, 0, 0, h.id))
}

// cookie is a hash of whose and when, which nobody else can make.
func (l *Listener) cookie(from netip.AddrPort, slot int64) uint32 {
	m := hmac.New(sha256.New, l.Secret)
	ip := from.Addr().Unmap().As16()
	m.Write(ip[:])
	m.Write(be.AppendUint64(be.AppendUint16(nil, from.Port()), uint64(slot)))
	return max(1, be.Uint32(m.Sum(nil)))
}

func (l *Listener) proved(now time.Time, from netip.AddrPort, cookie uint32) bool {
	slot := now.Unix() / cookieSlot
	return cookie != 0 && (cookie == l.cookie(from, slot) || cookie == l.cookie(from, slot-1))
}

// conclude reads what a proved caller wants, or refuses it.
func (l *Listener) conclude(now time.Time, from netip.AddrPort, stamp uint32, h shake, ext []byte) ([]byte, *Request) {
	r := &Request{From: from, PeerID: h.id, ISN: h.isn, arrived: now, stamp: stamp, shake: h}
	if code := r.read(ext); code != 0 {
		return r.Reject(code), nil
	}
	r.shake.blocks = [9][]byte{} // of a datagram that is not ours
	return nil, r
}

func (r *Request) read(ext []byte) Reject {
	h := &r.shake
	switch {
	case h.version != 5:
		return RejectVersion
	case !h.parseBlocks(ext), h.isn > maxSeq, h.mss < minMSS, h.window < 2, !h.haveBlock[extHSReq]:
		return RejectRogue
	}
	var ok bool
	if r.hello, ok = parseHello(h.blocks[extHSReq]); !ok || r.hello.version < minVersion {
		return RejectRogue
	}
	r.Version = r.hello.version
	switch {
	case r.hello.flags&flagStream != 0:
		return RejectMessageAPI
	case h.haveBlock[extCongestion] && text(h.blocks[extCongestion]) != "live":
		return RejectCongestion
	case h.haveBlock[extFilter]:
		return RejectFilter
	case h.haveBlock[extGroup]:
		return RejectGroup
	}
	if b := h.blocks[extStreamID]; h.haveBlock[extStreamID] {
		if len(b) == 0 || len(b) > maxStream {
			return RejectRogue
		}
		r.StreamID = text(b)
	}
	if h.haveBlock[extKMReq] {
		m, ok := parseKM(h.blocks[extKMReq])
		switch {
		case ok && m.cipher == cipherGCM:
			return RejectCrypto
		case !ok || m.kk != keyEven && m.kk != keyOdd:
			return RejectRogue
		}
		r.km, r.Encrypted = append([]byte(nil), h.blocks[extKMReq]...), true
	}
	return 0
}

// Reject returns the datagram that refuses the caller, and why.
func (r *Request) Reject(code Reject) []byte {
	h := r.shake
	h.typ = uint32(code)
	return h.append(appendControl(nil, ctlHandshake, 0, 0, 0, r.PeerID))
}

// Unlock opens the caller's keys with our passphrase, "" if there is none. It takes
// about a millisecond if there is one. The error is a [Reject].
func (r *Request) Unlock(passphrase string) (*Keys, error) {
	switch {
	case r.Encrypted != (passphrase != ""):
		return nil, RejectUnsecure
	case !r.Encrypted:
		return nil, nil
	}
	k := newKeys(passphrase)
	if !k.install(r.km) {
		return nil, RejectBadSecret
	}
	return k, nil
}

// Accept makes the connection, and sends the answer. id is the new socket's: from 1
// to 2^30-1, random, and nobody else's on the same UDP socket. keys are those of
// Unlock.
func (r *Request) Accept(now time.Time, id uint32, p Params, keys *Keys) *Conn {
	p = p.filled()
	us := p.hello()
	us.flags &= r.hello.flags | ^uint32(flagRexmitOK)
	if r.hello.flags&flagTSBPDSend == 0 {
		us.flags &^= flagTSBPDRecv | flagDropLate
	}
	us.recv, us.peer = max(us.recv, r.hello.peer), max(us.peer, r.hello.recv)
	p.MSS = min(p.MSS, int(min(1500, r.shake.mss)))

	h := r.shake
	h.version, h.typ, h.id, h.mss, h.window = 5, hsConclusion, id, uint32(p.MSS), uint32(p.RecvPackets)
	h.enc, h.ext = 0, hasHS
	h.peerIP = wireIP(r.From.Addr())
	ext := appendBlock(nil, extHSRsp, us.append(nil))
	if keys != nil {
		h.ext |= hasKM
		h.enc = uint16(keys.length / 8)
		ext = appendBlock(ext, extKMRsp, r.km)
	}
	c := newConn(now, p, id, r.PeerID, r.ISN, r.shake.window, us, r.hello, keys)
	c.rcv.order.tolerance = p.Reorder
	c.base = r.arrived.Sub(now).Microseconds() - int64(r.stamp)
	c.answer = append(h.append(appendControl(nil, ctlHandshake, 0, 0, 0, r.PeerID)), ext...)
	c.transmit(c.answer)
	return c
}
