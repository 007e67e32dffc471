package twin

import (
	"errors"
	"io"
	"net"
	"testing"
)

// Messages, listening sockets and further connections come over as they went.
func TestPair(t *testing.T) {
	a, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		a.Send(Message{Kind: "hello", Name: "you"})
		a.SendSocket(Message{Kind: "listener", Network: "tcp4", Address: "127.0.0.1:0", Index: 1}, l.(*net.TCPListener))
		c, err := a.Dial("talk", map[string]int{"n": 7})
		if err != nil {
			return
		}
		c.Write([]byte("word"))
		c.Close()
		a.Close()
	}()
	m, err := b.Receive()
	if err != nil || m.Kind != "hello" || m.Name != "you" || m.File != nil {
		t.Fatalf("%+v, %v", m, err)
	}
	if m, err = b.Receive(); err != nil || m.Kind != "listener" || m.Index != 1 || m.File == nil {
		t.Fatalf("%+v, %v", m, err)
	}
	same, err := net.FileListener(m.File)
	m.File.Close()
	if err != nil || same.Addr().String() != l.Addr().String() {
		t.Fatalf("the listener is at %v, %v; want %v", same, err, l.Addr())
	}
	same.Close()
	if m, err = b.Receive(); err != nil || m.Name != "talk" || string(m.Data) != `{"n":7}` {
		t.Fatalf("%+v, %v", m, err)
	}
	c, ok := m.Conn()
	if !ok {
		t.Fatal("no connection came")
	}
	if word, err := io.ReadAll(c); string(word) != "word" || err != nil {
		t.Errorf("got %q, %v", word, err)
	}
	c.Close()
	if _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

// What is no message is an error, and nothing is allocated on its word.
func TestNonsense(t *testing.T) {
	a, file, err := Pair()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a.uc.Write([]byte{0xff, 0xff, 0xff, 0xff})
	if _, err := b.Receive(); err == nil {
		t.Error("a message of 4 GB was taken")
	}
	a.uc.Write([]byte{0, 0, 0, 1, '{'})
	if _, err := b.Receive(); err == nil {
		t.Error("half an object was taken")
	}
	a.Close()
}
