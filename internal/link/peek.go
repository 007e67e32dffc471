package link

import "net"

// peekCopy is peek for connections that cannot be looked into.
func peekCopy(nc net.Conn) (byte, net.Conn, error) {
	p := &peeked{Conn: nc}
	if _, err := nc.Read(p.first[:]); err != nil {
		return 0, nc, err
	}
	p.has = true
	return p.first[0], p, nil
}

// peeked is a connection of which a byte was read already.
type peeked struct {
	net.Conn
	first [1]byte
	has   bool // first is still to be read
}

// Read implements net.Conn.
func (p *peeked) Read(b []byte) (int, error) {
	if !p.has || len(b) == 0 {
		return p.Conn.Read(b)
	}
	p.has = false
	return copy(b, p.first[:]), nil
}
