package service

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"strconv"

	"weir/internal/link/datagram"
)

// A SharedSocket is a UDP socket that an upgrade hands over. The new process reads it, and
// passes on what is for the old one.
type SharedSocket struct {
	*datagram.Socket
	// Network and Address are as the configuration has them, and Index counts those
	// that share them.
	Network, Address string
	Index            int
	// Inherited says that it came from the process that was before.
	Inherited bool
}

// Place tells the socket from others, at both processes.
func (s *SharedSocket) Place() string {
	return s.Network + " " + s.Address + " " + strconv.Itoa(s.Index)
}

// Inherit gives UDP sockets of the process that was before, by network and address, to be
// taken in place of new ones, and its secrets.
func (h *Handover) Inherit(sockets map[string][]*os.File, secrets map[string][]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sockets, h.secrets = sockets, secrets
}

// Disinherit closes those that nobody wanted.
func (h *Handover) Disinherit() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, files := range h.sockets {
		for _, f := range files {
			f.Close()
		}
	}
	h.sockets = nil
}

// Shared lists the sockets of Datagrams.
func (h *Handover) Shared() []*SharedSocket {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.shared
}

// Datagrams opens n UDP sockets at an address, or takes those that the process before had
// there.
func (h *Handover) Datagrams(ctx context.Context, network, address string, n int) (all []*datagram.Socket, err error) {
	if h == nil {
		return datagram.Listen(ctx, network, address, n)
	}
	h.mu.Lock()
	files := h.sockets[network+" "+address]
	delete(h.sockets, network+" "+address)
	h.mu.Unlock()
	if files != nil {
		defer func() {
			for _, f := range files {
				f.Close()
			}
		}()
		if all, err = datagram.Listed(files, network); err != nil {
			return nil, fmt.Errorf("take over from the process before: %w", err)
		}
	} else if all, err = datagram.Listen(ctx, network, address, n); err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, s := range all {
		h.shared = append(h.shared, &SharedSocket{Socket: s, Network: network, Address: address, Index: i, Inherited: files != nil})
	}
	return all, nil
}

// Secret returns 32 random bytes of a name, the same in both processes.
func (h *Handover) Secret(name string) []byte {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	if h == nil {
		return b
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.secrets[name]; len(old) == len(b) {
		return old
	}
	if h.secrets == nil {
		h.secrets = map[string][]byte{}
	}
	h.secrets[name] = b
	return b
}

// Secrets returns those that there are.
func (h *Handover) Secrets() map[string][]byte {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.secrets
}
