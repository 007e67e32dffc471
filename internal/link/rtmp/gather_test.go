package rtmp

import (
	"context"
	"net"
	"testing"
	"time"
)

// counted is a connection that wraps another, as sessions do to count bytes.
type counted struct {
	net.Conn
	writes, gathers int
}

func (c *counted) Write(b []byte) (int, error) {
	c.writes++
	return c.Conn.Write(b)
}

func (c *counted) WriteBuffers(b *net.Buffers) (int64, error) {
	c.gathers++
	return b.WriteTo(c.Conn)
}

// A call must not become one system call for each frame because the connection
// is wrapped.
func TestWrappedConnectionsGather(t *testing.T) {
	near, far := net.Pipe()
	nc := &counted{Conn: near}
	c := NewConn(context.Background(), nc, Options{WriteTimeout: time.Second})
	defer c.Close()
	go func() {
		b := make([]byte, 100)
		for {
			if _, err := far.Read(b); err != nil {
				return
			}
		}
	}()
	if err := c.Write([]byte("a"), []byte("b"), []byte("c")); err != nil {
		t.Fatal(err)
	}
	if nc.gathers != 1 || nc.writes != 0 {
		t.Errorf("%d gathering calls and %d writes, want 1 and 0", nc.gathers, nc.writes)
	}
	far.Close()
}
