package srt

import (
	"fmt"
	"time"
)

const (
	askEvery = 250 * time.Millisecond
	patience = 3 * time.Second
)

// A Caller is a connection in the making, at the end that dials.
type Caller struct {
	p        Params
	id, isn  uint32
	began    time.Time
	asked    time.Time
	deadline time.Time
	request  []byte
	streamID string
	keys     *Keys
	km       []byte
	proved   bool
}

// NewCaller begins to dial, for wait at most (3 s if 0). id and isn are random
// numbers, id from 1 to 2^30-1. The passphrase is "" for none. The error is that of
// the source of random bytes.
func NewCaller(now time.Time, p Params, id, isn uint32, streamID, passphrase string, wait time.Duration) (*Caller, error) {
	if len(streamID) > maxStream {
		return nil, fmt.Errorf("srt: the stream id has %d bytes, at most %d may be", len(streamID), maxStream)
	}
	if wait <= 0 {
		wait = patience
	}
	p = p.filled()
	c := &Caller{p: p, id: id, isn: isn & maxSeq, began: now, deadline: now.Add(wait), streamID: streamID}
	if passphrase != "" {
		c.keys = newKeys(passphrase)
		var err error
		if c.km, err = c.keys.generate(p.KeyLength, p.Rand); err != nil {
			return nil, err
		}
	}
	h := shake{version: 4, ext: 2, isn: c.isn, mss: uint32(p.MSS), window: uint32(p.RecvPackets), typ: hsInduction, id: id}
	c.ask(now, h.append(appendControl(nil, ctlHandshake, 0, 0, 0, 0)))
	return c, nil
}

func (c *Caller) ask(now time.Time, b []byte) {
	c.request, c.asked = b, now
	c.p.Send(b)
}

// Next returns when Advance is to be called.
func (c *Caller) Next() time.Time {
	if at := c.asked.Add(askEvery); at.Before(c.deadline) {
		return at
	}
	return c.deadline
}

// Advance asks again; the error is [ErrIdle] when that has been done for long enough.
func (c *Caller) Advance(now time.Time) error {
	if !now.Before(c.deadline) {
		return ErrIdle
	}
	if now.Sub(c.asked) >= askEvery {
		c.ask(now, c.request)
	}
	return nil
}

// Handle takes a datagram for the caller's id. It returns the connection once there
// is one; the error is a [Reject] if the listener said no.
func (c *Caller) Handle(now time.Time, b []byte) (*Conn, error) {
	if len(b) < headerSize || !isControl(b) {
		return nil, nil
	}
	if typ, _ := controlType(b); typ != ctlHandshake {
		return nil, nil
	}
	h, ext, ok := parseShake(b[headerSize:])
	switch {
	case !ok:
		return nil, nil
	case h.typ == hsInduction && !c.proved:
		if h.version == 5 && h.ext == magic {
			c.prove(now, &h)
		}
		return nil, nil
	case h.typ >= 1000 && h.typ < 1<<31:
		return nil, Reject(h.typ)
	case h.typ != hsConclusion || !c.proved:
		return nil, nil
	}
	return c.conclude(now, be.Uint32(b[8:]), h, ext)
}

// prove sends the conclusion, with the cookie and all that we want.
func (c *Caller) prove(now time.Time, h *shake) {
	c.proved = true
	r := shake{version: 5, ext: hasHS, isn: c.isn, mss: uint32(c.p.MSS), window: uint32(c.p.RecvPackets), typ: hsConclusion, id: c.id, cookie: h.cookie}
	ext := appendBlock(nil, extHSReq, c.p.hello().append(nil))
	if c.streamID != "" {
		r.ext |= hasConfig
		ext = appendBlock(ext, extStreamID, swapWords([]byte(c.streamID)))
	}
	if c.keys != nil {
		r.ext |= hasKM
		r.enc = uint16(c.keys.length / 8)
		ext = appendBlock(ext, extKMReq, c.km)
	}
	stamp := uint32(now.Sub(c.began).Microseconds())
	c.ask(now, append(r.append(appendControl(nil, ctlHandshake, 0, 0, stamp, 0)), ext...))
}

func (c *Caller) conclude(now time.Time, stamp uint32, h shake, ext []byte) (*Conn, error) {
	if h.version != 5 || h.id == 0 || h.mss < minMSS || h.mss > 1500 || h.window < 2 || !h.parseBlocks(ext) || !h.haveBlock[extHSRsp] {
		return nil, RejectRogue
	}
	theirs, ok := parseHello(h.blocks[extHSRsp])
	if !ok {
		return nil, RejectRogue
	}
	if c.keys != nil && string(h.blocks[extKMRsp]) != string(c.km) {
		return nil, RejectBadSecret
	}
	p := c.p
	p.MSS = int(h.mss)
	ours := p.hello()
	ours.recv, ours.peer = theirs.peer, theirs.recv
	conn := newConn(c.began, p, c.id, h.id, c.isn, h.window, ours, theirs, c.keys)
	conn.clock(now)
	conn.heard, conn.spoke = conn.now, conn.now
	conn.base = conn.now - int64(stamp)
	return conn, nil
}
