package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"weir/internal/cluster/twin"
	link "weir/internal/link/twin"
)

// A Predecessor is the process that started this one to take its place.
type Predecessor struct {
	conn *link.Conn
	heritage
	listeners map[string]net.Listener
	datagrams map[string][]*os.File

	once sync.Once
	gone chan struct{} // closed when the elder said go, or has gone
	word chan struct{} // closed when it said go
}

// Succeed takes over from the process at the other end of f: it takes the sockets that
// are handed over. Whoever calls it calls Failed if it does not start.
func Succeed(f *os.File) (*Predecessor, error) {
	conn, err := link.Open(f)
	if err != nil {
		return nil, err
	}
	p := &Predecessor{conn: conn, listeners: map[string]net.Listener{}, datagrams: map[string][]*os.File{}, gone: make(chan struct{}), word: make(chan struct{})}
	for {
		m, err := conn.Receive()
		if err != nil {
			return nil, fmt.Errorf("the server that is to be replaced does not say what to take over: %w", err)
		}
		if err := p.take(&m); err != nil {
			return nil, err
		}
		if m.Kind == kindBegin {
			return p, json.Unmarshal(m.Data, &p.heritage)
		}
	}
}

// take takes a socket.
func (p *Predecessor) take(m *link.Message) error {
	if m.File == nil {
		return nil
	}
	if m.Kind == kindDatagram {
		place := m.Network + " " + m.Address
		p.datagrams[place] = append(p.datagrams[place], m.File)
		return nil
	}
	defer m.File.Close()
	if m.Kind != kindListener {
		return nil
	}
	l, err := net.FileListener(m.File)
	if err != nil {
		return fmt.Errorf("the listening socket at %s cannot be taken over: %w", m.Address, err)
	}
	p.listeners[m.Network+" "+m.Address] = l
	return nil
}

// Failed tells the elder why this process does not start.
func (p *Predecessor) Failed(err error) {
	if p != nil {
		p.conn.Send(link.Message{Kind: kindFailed, Name: err.Error()})
	}
}

// ParentGone reports whether the process has gone that started the first server.
func (p *Predecessor) ParentGone() bool { return syscall.Kill(p.Parent, 0) == syscall.ESRCH }

// id returns the server's id: that of the elder, if there is one.
func (p *Predecessor) id(configured, pidFile string) string {
	if p != nil && configured == "" && p.ID != "" {
		return p.ID
	}
	return serverID(configured, pidFile)
}

// hold says that all is bound, and returns when the elder accepts no more.
func (s *Server) hold(context.Context) error {
	p := s.options.Predecessor
	s.env.Handover.SetElder(true)
	s.env.Handover.SetPass(func(name string, nc syscall.Conn) error {
		return p.conn.SendSocket(link.Message{Kind: kindClient, Name: name}, nc)
	})
	s.twin.Meet(p.conn, twin.Elder)
	if err := s.passOn(p); err != nil {
		return err
	}
	if err := p.conn.Send(link.Message{Kind: kindBound}); err != nil {
		return err
	}
	go s.heed(p)
	go s.countElders(p)
	select {
	case <-p.word:
		return s.options.Pid.Take()
	case <-p.gone:
		return errors.New("the server that was to be replaced has given up")
	case <-time.After(succeedTime):
		return errors.New("the server that was to be replaced does not say when to begin")
	}
}

// passOn has what comes to UDP sockets and is nobody's here be passed on to the elder.
func (s *Server) passOn(p *Predecessor) error {
	for _, d := range s.env.Handover.Shared() {
		if !d.Inherited {
			continue
		}
		uc, err := p.conn.DialPackets(datagramTalk, d.Place())
		if err == nil {
			err = d.PassTo(uc)
		}
		if err != nil {
			return fmt.Errorf("the UDP socket at %s cannot be taken over: %w", d.Address, err)
		}
	}
	s.env.Handover.Disinherit()
	return nil
}

// heed does what the elder says until it has gone.
func (s *Server) heed(p *Predecessor) {
	defer s.env.Handover.SetElder(false)
	defer s.twin.Part(twin.Elder)
	defer close(p.gone)
	for {
		m, err := p.conn.Receive()
		if err != nil {
			return
		}
		switch m.Kind {
		case kindGo:
			p.once.Do(func() { close(p.word) })
		case kindFloor:
			s.env.Handover.TakeFloor(m.Name, m.Data)
		}
		if s.twin.Take(&m, twin.Elder) {
			continue
		}
		if m.File != nil {
			m.File.Close()
		}
	}
}

// succeeded tells the elder that this process is ready.
func (s *Server) succeeded() {
	if p := s.options.Predecessor; p != nil {
		p.conn.Send(link.Message{Kind: kindReady})
	}
}

// stopElder ends the elder too.
func (s *Server) stopElder() {
	if p := s.options.Predecessor; p != nil {
		s.stopped.Store(true)
		p.conn.Send(link.Message{Kind: kindStop})
	}
}

// awaitElder waits until the elder has ended, which a stop has told to: who supervises
// this process may end with force what is left when it has gone.
func (s *Server) awaitElder() {
	if p := s.options.Predecessor; p != nil && s.stopped.Load() {
		select {
		case <-p.gone:
		case <-time.After(partTime):
		}
	}
}

// sessionsPath is where a process is asked how many sessions it has, with those before it.
const sessionsPath = "/sessions"

// countEvery is how often that is asked.
const countEvery = time.Second

// countElders notes how many sessions are at the processes before this one, for limits that
// hold for all of them, until they have gone.
func (s *Server) countElders(p *Predecessor) {
	beat := time.NewTicker(countEvery)
	defer beat.Stop()
	defer s.others.Store(0)
	for {
		var n int64
		if s.env.Handover.AskElder(sessionsPath, nil, &n) == nil {
			s.others.Store(n)
		}
		select {
		case <-beat.C:
		case <-p.gone:
			return
		}
	}
}
