package sender

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"
)

// Who has just come gets the first answers in the pauses of those who have been there for
// longer, however long these are, and the server ends in them too.
func TestRepliesToNewCallers(t *testing.T) {
	r, err := newReplies(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	r.share, r.most = 1e-12, time.Hour // after the first turn
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	for n := range 3 {
		conn, nc := pair(t)
		echo := func(head []byte, _ func()) (Reply, bool) {
			return Reply{Parts: [][]byte{head}}, true
		}
		if !r.Take(Caller{Conn: nc, First: Reply{Parts: [][]byte{[]byte("0\r\n\r\n")}}, Reply: echo}) {
			t.Fatal("the connection is not taken")
		}
		in := bufio.NewReader(conn)
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		for i := range freshAnswers {
			want := string(rune('0'+i)) + "\r\n"
			if got, err := in.ReadString('\n'); err != nil || got != want {
				t.Fatalf("caller %d gets %q as answer %d, %v", n, got, i, err)
			}
			in.ReadString('\n')
			conn.Write([]byte(string(rune('0'+i+1)) + "\r\n\r\n"))
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func pair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	return client, server
}
