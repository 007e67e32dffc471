// Package srt is the SRT protocol, live mode, handshake version 5, without any
// socket, clock or goroutine: datagrams and the time go in, datagrams and
// payloads come out.
//
// A [Listener] answers callers without remembering them until they have proved
// their address by a cookie, and then gives out a [Request], which is accepted or
// rejected. A [Caller] is the other side of it. Both make a [Conn], which carries
// payloads reliably within a latency: what is lost is asked for again, and what is
// still missing when it should be played is given up.
//
// The promise: nothing that a peer sends makes it panic, or makes it hold more than
// its windows allow; numbers that a peer may not send are dropped and counted.
//
// The limits: no rendezvous, no bonding, no forward error correction, no AES-GCM,
// no file mode, and no handshake version 4 (libsrt before 1.3). Callers that ask
// for them are told by the code that libsrt has for it. Payloads are handed out as
// soon as they are in order: the latency bounds how long a hole is waited for, and
// delays nothing else. The numbers in comments are those of sections of
// draft-sharabayko-srt.
package srt

import (
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	headerSize    = 16
	handshakeSize = 48 // without extensions
	// overhead is what IPv4 and UDP add to a datagram, as libsrt counts, also for IPv6.
	overhead = 28
	// MaxDatagram is the longest datagram that is read, in bytes.
	MaxDatagram = 1500 - overhead
	// MaxPayload is the most media that a packet can carry, in bytes.
	MaxPayload = MaxDatagram - headerSize
	minMSS     = 576
	maxSeq     = 0x7fffffff
	maxMessage = 0x03ffffff
	maxStream  = 512 // bytes of a stream id
	maxReorder = 1000
	// version is libsrt's that we claim to be.
	version    = 0x010501
	minVersion = 0x010300
)

// Params say how an end behaves. The zero value of a field means its default.
type Params struct {
	// RecvLatency is how long we wait for what is missing, PeerLatency what we want
	// the peer to wait; the greater of both ends' wishes holds. From 0 to 65 s.
	RecvLatency, PeerLatency time.Duration
	// NoTSBPD gives nothing up when its time has come, and neither does KeepLate: a
	// hole holds all up until it is filled.
	NoTSBPD, KeepLate bool
	// MSS is the longest packet in bytes, with 28 for IP and UDP: 576 to 1500.
	MSS int
	// RecvPackets and SendPackets bound what is held, in packets; 8192 if 0.
	RecvPackets, SendPackets int
	// Reorder is how many packets may overtake one at most before it is taken for lost;
	// how many they are at a time follows what is seen. With 0 a hole is told of at once.
	Reorder int
	// MaxBW is the most that is sent, in bytes a second. With 0 it is twice what is
	// written, at least [LeastRate].
	MaxBW int64
	// Idle is how long a peer may be silent; 5 s if 0.
	Idle time.Duration
	// KeyLength is that of keys a caller makes, in bytes: 16, 24 or 32; 16 if 0.
	KeyLength int
	// Refresh is after how many packets the key is changed, and Announce how many
	// before the peer is told; 2^24 and 2^16 if 0.
	Refresh, Announce int
	// Rand gives random bytes for keys; needed only if there is a passphrase.
	Rand io.Reader
	// Send sends a datagram, whose bytes are valid only until it returns. Deliver
	// takes a payload in the same way; it may be nil.
	Send    func(b []byte)
	Deliver func(payload []byte)
	// SendData, if set, sends packets with media that is not encrypted in Send's place, as
	// two parts. The header is valid only until it returns, the payload until the
	// connection has handled something and then written again.
	SendData func(header, payload []byte)
}

// LeastRate is what may be sent in any case where nothing bounds it, in bytes a
// second.
const LeastRate = 5 << 20

func (p Params) filled() Params {
	def := func(n *int, d, least, most int) {
		if *n == 0 {
			*n = d
		}
		*n = max(least, min(most, *n))
	}
	def(&p.MSS, 1500, minMSS, 1500)
	def(&p.RecvPackets, 8192, 32, 1<<16)
	def(&p.SendPackets, 8192, 32, 1<<16)
	def(&p.KeyLength, 16, 16, 32)
	p.Reorder = max(0, min(p.Reorder, maxReorder))
	def(&p.Refresh, 1<<24, 8, 1<<30)
	def(&p.Announce, min(1<<16, (p.Refresh-1)/2), 1, (p.Refresh-1)/2)
	if p.Idle <= 0 {
		p.Idle = 5 * time.Second
	}
	const most = 65535 * time.Millisecond
	p.RecvLatency, p.PeerLatency = max(0, min(most, p.RecvLatency)), max(0, min(most, p.PeerLatency))
	return p
}

// A Reject is why a connection is refused, as it is told on the wire.
type Reject uint32

// Reasons. Those from 2000 on are of the application's own choice, in HTTP's words.
const (
	RejectUnknown      Reject = 1000
	RejectResource     Reject = 1003 // no more ids
	RejectRogue        Reject = 1004 // the handshake makes no sense
	RejectBacklog      Reject = 1005 // too many at once
	RejectClosing      Reject = 1007 // the server is stopping
	RejectVersion      Reject = 1008 // older than handshake version 5
	RejectBadSecret    Reject = 1010 // wrong passphrase
	RejectUnsecure     Reject = 1011 // passphrase missing, or not expected
	RejectMessageAPI   Reject = 1012 // file mode
	RejectCongestion   Reject = 1013
	RejectFilter       Reject = 1014
	RejectGroup        Reject = 1015
	RejectCrypto       Reject = 1017 // AES-GCM
	RejectHost         Reject = 2003 // no such vhost
	RejectBadRequest   Reject = 2400 // the stream id makes no sense
	RejectUnauthorized Reject = 2401
	RejectOverload     Reject = 2402
	RejectForbidden    Reject = 2403
	RejectNotFound     Reject = 2404
	RejectBadMode      Reject = 2405 // m= is neither publish nor request
	RejectConflict     Reject = 2409 // somebody publishes that already
	RejectInternal     Reject = 2500
	RejectUnavailable  Reject = 2503
)

// Error tells the code.
func (r Reject) Error() string { return fmt.Sprintf("SRT connection rejected with code %d", uint32(r)) }

// Why a connection ended.
var (
	// ErrShutdown is the peer's own wish.
	ErrShutdown = errors.New("srt: shut down by the peer")
	// ErrIdle is a peer of whom nothing was heard.
	ErrIdle = errors.New("srt: nothing heard of the peer")
	// ErrSequence is a peer whose sequence numbers are not where they can be.
	ErrSequence = errors.New("srt: the peer's sequence numbers do not go on")
	// ErrClosed is our own end.
	ErrClosed = errors.New("srt: closed")
)

// seqNext returns the sequence number after s.
func seqNext(s uint32) uint32 { return (s + 1) & maxSeq }

// seqAdd returns the sequence number n after s, or before for a negative one.
func seqAdd(s uint32, n int) uint32 { return uint32(int64(s)+int64(n)) & maxSeq }

// seqDiff returns how far a is after b on the circle of 31 bits.
func seqDiff(a, b uint32) int { return int(int32((a-b)<<1) >> 1) }
