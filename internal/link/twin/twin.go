// Package twin joins two processes of this server, of which one was started by the other
// to take its place.
//
// They share a pair of sockets that has no path and that nobody else can reach. Over it
// go messages, each with a descriptor at will: of a listening socket, or of one end of a
// further pair ([Conn.Dial]), so that what the two have to tell each other at length has
// connections of its own and none waits behind another.
//
// The two may be of different versions: who reads ignores what it does not know.
package twin

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// A Message is what one of the two tells the other.
type Message struct {
	// Kind says what it is about.
	Kind string `json:"kind"`
	// Name says more: which part of the server, or why not.
	Name string `json:"name,omitempty"`
	// Network, Address and Index tell what the descriptor is of: the Index'th socket
	// at an address as the configuration has it.
	Network string `json:"network,omitempty"`
	Address string `json:"address,omitempty"`
	Index   int    `json:"index,omitempty"`
	// Data depends on the kind.
	Data json.RawMessage `json:"data,omitempty"`

	// File is the descriptor that came with it, or nil. Who receives it closes it.
	File *os.File `json:"-"`
}

const (
	// messageMost bounds a message, in bytes.
	messageMost = 1 << 20
	// sendTime is how long the other may take to take a message.
	sendTime = 10 * time.Second
	// kindConn is the kind of the messages of Dial.
	kindConn = "conn"
)

// A Conn is one end.
type Conn struct {
	uc *net.UnixConn
	mu sync.Mutex // held while a message is written
}

// Pair returns both ends; theirs is for another process, and is to be closed once that
// has it.
func Pair() (ours *Conn, theirs *os.File, err error) {
	a, b, err := pair(syscall.SOCK_STREAM)
	if err != nil {
		return nil, nil, err
	}
	uc, err := unixConn(a)
	if err != nil {
		b.Close()
		return nil, nil, err
	}
	return &Conn{uc: uc}, b, nil
}

// Open returns the end that a file is.
func Open(f *os.File) (*Conn, error) {
	uc, err := unixConn(f)
	if err != nil {
		return nil, err
	}
	return &Conn{uc: uc}, nil
}

// pair returns two sockets that are joined, which no child inherits unawares.
func pair(kind int) (a, b *os.File, err error) {
	syscall.ForkLock.RLock()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, kind, 0)
	if err == nil {
		syscall.CloseOnExec(fds[0])
		syscall.CloseOnExec(fds[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), "twin"), os.NewFile(uintptr(fds[1]), "twin"), nil
}

// unixConn makes a connection of a file, which it closes.
func unixConn(f *os.File) (*net.UnixConn, error) {
	defer f.Close()
	nc, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		nc.Close()
		return nil, errors.New("the descriptor is no Unix socket")
	}
	return uc, nil
}

// Close ends the connection; the other notices.
func (c *Conn) Close() error { return c.uc.Close() }

// Send sends a message without a descriptor.
func (c *Conn) Send(m Message) error { return c.send(m, nil) }

// SendSocket sends a message with the descriptor of a socket, which stays ours too.
func (c *Conn) SendSocket(m Message, s syscall.Conn) error {
	raw, err := s.SyscallConn()
	if err != nil {
		return err
	}
	// Not by File or Fd, which would have Go's poller lose hold of it.
	if control := raw.Control(func(fd uintptr) { err = c.send(m, syscall.UnixRights(int(fd))) }); control != nil {
		return control
	}
	return err
}

func (c *Conn) send(m Message, rights []byte) error {
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if len(body) > messageMost {
		return fmt.Errorf("a message of %d bytes is too long", len(body))
	}
	b := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.uc.SetWriteDeadline(time.Now().Add(sendTime))
	n, _, err := c.uc.WriteMsgUnix(b, rights, nil)
	if err == nil && n < len(b) {
		_, err = c.uc.Write(b[n:])
	}
	return err
}

// Receive waits for a message. One goroutine calls it. The error is io.EOF when the
// other has gone.
func (c *Conn) Receive() (Message, error) {
	var m Message
	var head [4]byte
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, _, _, err := c.uc.ReadMsgUnix(head[:], oob)
	if err == nil && n == 0 {
		err = io.EOF
	}
	if err != nil {
		return m, err
	}
	file := descriptor(oob[:oobn])
	body, err := c.body(head, n)
	if err == nil {
		err = json.Unmarshal(body, &m)
	}
	if err != nil {
		if file != nil {
			file.Close()
		}
		return Message{}, err
	}
	m.File = file
	return m, nil
}

// body reads what follows the first n bytes of a head.
func (c *Conn) body(head [4]byte, n int) ([]byte, error) {
	if _, err := io.ReadFull(c.uc, head[n:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > messageMost {
		return nil, fmt.Errorf("a message of %d bytes is too long", size)
	}
	body := make([]byte, size)
	_, err := io.ReadFull(c.uc, body)
	return body, err
}

// descriptor returns the one in a control message, or nil.
func descriptor(oob []byte) *os.File {
	all, err := syscall.ParseSocketControlMessage(oob)
	if err != nil {
		return nil
	}
	for _, m := range all {
		if fds, err := syscall.ParseUnixRights(&m); err == nil && len(fds) > 0 {
			for _, fd := range fds[1:] {
				syscall.Close(fd)
			}
			return os.NewFile(uintptr(fds[0]), "handed over")
		}
	}
	return nil
}

// Dial makes a further connection to the other, which learns its name, and data.
func (c *Conn) Dial(name string, data any) (*net.UnixConn, error) {
	return c.dial(syscall.SOCK_STREAM, name, data)
}

// DialPackets is Dial for one that keeps the bounds of what is written.
func (c *Conn) DialPackets(name string, data any) (*net.UnixConn, error) {
	return c.dial(syscall.SOCK_DGRAM, name, data)
}

func (c *Conn) dial(kind int, name string, data any) (*net.UnixConn, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return nil, err
	}
	ours, theirs, err := pair(kind)
	if err != nil {
		return nil, err
	}
	defer theirs.Close()
	uc, err := unixConn(ours)
	if err != nil {
		return nil, err
	}
	if err := c.SendSocket(Message{Kind: kindConn, Name: name, Data: b}, theirs); err != nil {
		uc.Close()
		return nil, err
	}
	return uc, nil
}

// Conn returns the connection that a message brings, false if it brings none.
func (m *Message) Conn() (*net.UnixConn, bool) {
	if m.Kind != kindConn || m.File == nil {
		return nil, false
	}
	uc, err := unixConn(m.File)
	return uc, err == nil
}
