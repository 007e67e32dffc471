package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"

	"weir/internal/child"
	"weir/internal/cluster/twin"
	"weir/internal/config/blocks"
	sockets "weir/internal/link"
	link "weir/internal/link/twin"
	"weir/internal/service"
	"weir/internal/session"
)

// An upgrade has two sides. The elder process, of which this file tells, starts its
// successor and gives it the listening sockets; when that has bound all it needs, the
// elder stops accepting, and when that has begun to, the elder only goes on with those
// who are there. Whatever goes wrong before leaves the elder as it was. The other side
// is in successor.go.

// What the two tell each other: first the elder sends sockets and begin, then the
// successor bound, the elder go, the successor ready. Of failed the successor dies. Stop
// means that the elder is not wanted any more.
const (
	kindListener = "listener"
	kindDatagram = "datagram"
	kindBegin    = "begin"
	kindBound    = "bound"
	kindGo       = "go"
	kindReady    = "ready"
	kindFailed   = "failed"
	kindStop     = "stop"
	// Once it is ready the elder gives floors away, and the successor passes connections
	// on for those that it has not got: see service.Floor.
	kindFloor  = "floor"
	kindClient = "client"
)

// succeedTime is how long a successor may take until it is ready.
const succeedTime = 30 * time.Second

// goneTime is how long the end is waited for of one that has closed its connection, to
// tell how it ended: moments, unless the machine is busy with other work.
const goneTime = 3 * time.Second

// heritage is what the elder tells with begin.
type heritage struct {
	ID     string `json:"id"`     // of the server
	Parent int    `json:"parent"` // the process that started the first of us, for asprocess
	// Vhosts are the ids of vhosts in the API, by name.
	Vhosts map[string]string `json:"vhosts"`
	// Secrets are what parts tell strangers apart by, by a name.
	Secrets map[string][]byte `json:"secrets"`
	// Floors are those that the elder has.
	Floors []string `json:"floors"`
}

// An UpgradeError says why there was no upgrade; nothing has changed then.
type UpgradeError struct {
	Status int // of HTTP
	Text   string
}

// Error implements error.
func (e *UpgradeError) Error() string { return e.Text }

func notNow(format string, args ...any) error {
	return &UpgradeError{http.StatusConflict, fmt.Sprintf(format, args...)}
}

// Upgrade starts the program that is now where this one came from, and has it take over.
// It returns its process id when it is ready; from then on this process lets nobody in,
// goes on with those who are there, and ends when they have left, or after
// upgrade_drain. After an error all is as before.
func (s *Server) Upgrade() (pid int, err error) {
	defer func() {
		if err != nil {
			s.env.Log.Error("upgrade: it is not done, this server goes on", "err", err)
		}
	}()
	if !s.upgrading.CompareAndSwap(false, true) {
		return 0, notNow("an upgrade is under way already; wait for it")
	}
	defer s.upgrading.Store(false)
	switch {
	case os.Getpid() == 1:
		return 0, notNow("this server is process 1 of a container, which ends with it and cannot be replaced from within; start a container of the new image beside this one, then stop this one with SIGQUIT")
	case s.options.Program == "":
		return 0, notNow("this server does not know where its program is")
	case s.elders() >= eldersMost:
		return 0, notNow("%d servers that were before this one still go on with clients of their own; wait until one has ended (see upgrade_drain), or end one with SIGTERM", eldersMost)
	case s.state.Load() != ready:
		return 0, notNow("the server is starting or stopping, or has been replaced")
	}
	s.turning.Lock()
	defer s.turning.Unlock()
	s.env.Log.Info("upgrade: starting the new server", "program", s.options.Program)
	NotifySystemd("RELOADING=1")
	h, err := s.succeed()
	if err != nil {
		NotifySystemd("READY=1")
		return 0, err
	}
	pid = h.process.Pid
	NotifySystemd("MAINPID=" + strconv.Itoa(pid) + "\nREADY=1")
	s.env.Log.Info("upgrade: the new server is ready, this one goes on with those who are there", "new", pid)
	s.state.Store(draining)
	s.env.Handover.Leave()
	s.group.Doors().Leave()
	close(s.handed)
	return pid, nil
}

// eldersMost is how many processes that were before may still go on with clients of
// their own when there is another upgrade: each has the memory of a server.
const eldersMost = 4

// eldersPath is where a process is asked how many were before it.
const eldersPath = "/elders"

// elders counts the processes that were before and still serve.
func (s *Server) elders() (n int) {
	if !s.env.Handover.HasElder() {
		return 0
	}
	if err := s.env.Handover.AskElder(eldersPath, nil, &n); err != nil {
		s.env.Log.Debug("the server that was before does not say how many were before it", "err", err)
	}
	return n + 1
}

// An heir is the process that is to take over.
type heir struct {
	server  *Server
	process *os.Process
	conn    *link.Conn
	said    chan link.Message // bound, ready, failed; closed when it has gone
	gone    chan struct{}     // closed when the process has been waited for
	state   *os.ProcessState  // once gone

	mu     sync.Mutex
	passed map[string]*net.UnixConn // of datagramTalk, by place; guarded by mu
}

// succeed starts an heir and has it take over, or ends it.
func (s *Server) succeed() (*heir, error) {
	h, err := s.startHeir()
	if err != nil {
		return nil, fmt.Errorf("the new server cannot be started: %w", err)
	}
	limit := time.NewTimer(succeedTime)
	defer limit.Stop()
	if err = h.bequeath(limit.C); err != nil {
		h.conn.Close()
		h.process.Kill()
		<-h.gone
		return nil, err
	}
	return h, nil
}

func (s *Server) startHeir() (*heir, error) {
	conn, theirs, err := link.Pair()
	if err != nil {
		return nil, err
	}
	p, err := child.Succeed(s.options.Program, s.options.Dir, theirs)
	theirs.Close()
	if err != nil {
		conn.Close()
		return nil, err
	}
	h := &heir{server: s, process: p, conn: conn, said: make(chan link.Message, 4), gone: make(chan struct{}), passed: map[string]*net.UnixConn{}}
	go func() {
		h.state, _ = child.Gone(p)
		close(h.gone)
	}()
	go h.listen()
	return h, nil
}

// listen takes what the heir says until it goes.
func (h *heir) listen() {
	defer close(h.said)
	defer h.server.twin.Part(twin.Heir)
	for {
		m, err := h.conn.Receive()
		if err != nil {
			return
		}
		switch m.Kind {
		case kindBound, kindReady, kindFailed:
			select {
			case h.said <- m:
			default: // it says too much
			}
		case kindStop:
			h.server.stopElder()
			h.server.Hurry()
		case kindClient:
			if m.File != nil {
				h.server.env.Handover.TakeConn(m.Name, m.File)
			}
			continue
		}
		if h.passes(&m) || h.server.twin.Take(&m, twin.Heir) {
			continue
		}
		if m.File != nil {
			m.File.Close()
		}
	}
}

// await waits until the heir says something.
func (h *heir) await(kind string, limit <-chan time.Time) error {
	select {
	case m, ok := <-h.said:
		switch {
		case ok && m.Kind == kind:
			return nil
		case ok && m.Kind == kindFailed:
			return fmt.Errorf("the new server does not start: %s", m.Name)
		case ok:
			return fmt.Errorf("the new server says %q where %q is due", m.Kind, kind)
		}
		return h.died()
	case <-limit:
		return fmt.Errorf("the new server was not ready within %v; it has been ended", succeedTime)
	}
}

// died tells how the heir ended, which has closed its connection.
func (h *heir) died() error {
	select {
	case <-h.gone:
		return fmt.Errorf("the new server died at its start (%v)", h.state)
	case <-time.After(goneTime):
		return errors.New("the new server is none that can take over: it has closed the connection to this one")
	}
}

// bequeath gives the heir all it needs, and returns when it is ready.
func (h *heir) bequeath(limit <-chan time.Time) error {
	s := h.server
	doors := s.group.Doors()
	for _, l := range doors.Sockets() {
		if err := h.give(kindListener, l.Network, l.Address, l.Index, l); err != nil {
			return err
		}
	}
	for _, d := range s.env.Handover.Shared() {
		if err := h.give(kindDatagram, d.Network, d.Address, d.Index, sockets.Socket{Conn: d.Socket}); err != nil {
			return err
		}
	}
	for _, u := range s.env.Handover.Kept() {
		if err := h.give(kindDatagram, u.Network, u.Address, 0, sockets.Socket{Conn: u}); err != nil {
			return err
		}
	}
	s.env.Handover.SetHeir(func(name string, data []byte) error {
		return h.conn.Send(link.Message{Kind: kindFloor, Name: name, Data: data})
	})
	data, err := json.Marshal(heritage{ID: s.env.ID, Parent: s.options.Parent, Vhosts: s.api.VhostIDs(), Secrets: s.env.Handover.Secrets(), Floors: s.env.Handover.Floors()})
	if err != nil {
		return err
	}
	if err := h.send(link.Message{Kind: kindBegin, Data: data}); err != nil {
		return err
	}
	if err := h.await(kindBound, limit); err != nil {
		return err
	}
	if err := h.show(); err != nil {
		return err
	}
	doors.Pause()
	h.divert()
	s.options.Pid.Release()
	err = h.send(link.Message{Kind: kindGo})
	if err == nil {
		err = h.await(kindReady, limit)
	}
	if err != nil {
		h.process.Kill() // so that it has the pid file no more
		<-h.gone
		if taken := s.options.Pid.Take(); taken != nil {
			s.env.Log.Error("upgrade: the pid file is lost", "err", taken)
		}
		for _, d := range s.env.Handover.Shared() {
			d.Divert(nil)
		}
		doors.Resume()
	}
	return err
}

// datagramTalk names the connections by which the heir passes on what came to a UDP
// socket and is none of its own; their data is the socket's place.
const datagramTalk = "datagrams"

// passes takes such a connection. It returns false if it is something else.
func (h *heir) passes(m *link.Message) bool {
	if m.Name != datagramTalk {
		return false
	}
	var place string
	if uc, ok := m.Conn(); ok && json.Unmarshal(m.Data, &place) == nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.passed[place] = uc
	}
	return true
}

// divert has the UDP sockets that the heir takes be read there, and what it passes on be
// read here.
func (h *heir) divert() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.server.env.Handover.Shared() {
		if uc := h.passed[d.Place()]; uc != nil {
			delete(h.passed, d.Place())
			if err := d.Divert(uc); err != nil {
				h.server.env.Log.Error("upgrade: who came by a UDP socket is lost", "socket", d.Place(), "err", err)
			}
		}
	}
}

// show lends the heir all streams that there are.
func (h *heir) show() error {
	ctx, cancel := context.WithTimeout(context.Background(), showTime)
	defer cancel()
	h.server.twin.Meet(h.conn, twin.Heir)
	err := h.server.twin.LendAll(ctx)
	if err != nil {
		err = fmt.Errorf("the new server has not taken all streams over within %v", showTime)
	}
	return err
}

// showTime is how long the heir may take to have all streams.
const showTime = 15 * time.Second

// retire goes on with those who are there after an upgrade, until they have left, the
// time is over, or ctx is done.
func (s *Server) retire(ctx context.Context) {
	drain := blocks.Root.In(s.env.Conf.Load()).UpgradeDrain
	limit := make(<-chan time.Time)
	if drain > 0 {
		t := time.NewTimer(drain)
		defer t.Stop()
		limit = t.C
	}
	s.env.Log.Info("upgrade: waiting until those who are there have left", "at most", drain)
	beat := time.NewTicker(retireBeat)
	defer beat.Stop()
	asked := s.twin.Move(session.Move{TcURL: blocks.Root.In(s.env.Conf.Load()).GraceMoveTo, Description: "The server has been upgraded."})
	s.env.Log.Info("upgrade: clients that can were asked to go to the new server", "asked", asked)
	for empty := time.Now(); ; {
		// Who has connected and not said yet what it wants is no session: so some time
		// passes after the last one.
		switch now := time.Now(); {
		case s.env.Handover.HasElder(), s.twin.Needed() > 0: // what those have gets to the new one through us
			empty = now
		case s.env.Handover.Clients(s.env.Desk.Sessions()) > 0:
			empty = now
		case now.Sub(empty) >= blocks.Root.In(s.env.Conf.Load()).GraceFinalWait:
			s.env.Log.Info("upgrade: everybody has left")
			return
		}
		select {
		case <-beat.C:
		case <-limit:
			s.env.Log.Info("upgrade: the time is over, those who are still there are ended", "sessions", s.env.Handover.Clients(s.env.Desk.Sessions()))
			return
		case <-s.hurry:
			return
		case <-ctx.Done():
			return
		}
	}
}

// retireBeat is how often it is looked whether everybody has left.
const retireBeat = 250 * time.Millisecond

// upgraded is the answer to a wish for an upgrade.
type upgraded struct {
	New int `json:"new"` // process id
}

// upgradeEndpoint is SIGUSR2 with an answer.
func (s *Server) upgradeEndpoint() service.Endpoint {
	return service.Endpoint{Method: http.MethodPost, Path: "upgrade", Summary: "start the program that is now on disk and have it take over without loss; answers when it has",
		Reply: upgraded{}, Answer: func(*http.Request) (any, *service.Refusal) {
			pid, err := s.Upgrade()
			if err != nil {
				status := http.StatusUnprocessableEntity
				if e, ok := errors.AsType[*UpgradeError](err); ok {
					status = e.Status
				}
				return nil, &service.Refusal{Status: status, Code: status, Text: err.Error()}
			}
			return upgraded{pid}, nil
		}}
}

// give gives the heir a socket.
func (h *heir) give(kind, network, address string, index int, l sockets.Socket) error {
	err := h.conn.SendSocket(link.Message{Kind: kind, Network: network, Address: address, Index: index}, l.Conn)
	return h.lost(err)
}

func (h *heir) send(m link.Message) error { return h.lost(h.conn.Send(m)) }

// lost says in words that the heir could not be told something.
func (h *heir) lost(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		select {
		case m, ok := <-h.said: // its last words
			if ok && m.Kind == kindFailed {
				return fmt.Errorf("the new server does not start: %s", m.Name)
			}
		case <-time.After(goneTime):
		}
		return h.died()
	}
	return fmt.Errorf("the new server cannot be told: %w", err)
}
