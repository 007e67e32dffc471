// Package jwks has the public keys that an identity provider publishes (JSON Web Key
// Set, RFC 7517): read from its address or from a file, kept, and read again when they
// grow old or when a token names a key that is not among them.
package jwks

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"time"

	"weir/internal/service"
)

// The pace of reading.
const (
	// fresh is how long a set is taken for what the provider has now.
	fresh = 10 * time.Minute
	// soonest is the shortest time between two attempts, whatever tokens name.
	soonest = 10 * time.Second
	// patience bounds one attempt, and how long a visitor waits for it.
	patience = 5 * time.Second
	// maxSet bounds a set in bytes.
	maxSet = 1 << 20
)

// A Source is one set. The zero value with its Address set is ready; it must not be
// copied.
type Source struct {
	// Address is an http or https address, or the path of a file.
	Address string
	// Client is what asks, nil means one that checks certificates.
	Client *http.Client
	// Log is told of faults of ours; nil for nobody.
	Log *slog.Logger

	mu      sync.Mutex
	keys    []Key         // of the last attempt that did well; guarded by mu
	read    time.Time     // when that was; guarded by mu
	tried   time.Time     // when the last attempt began; guarded by mu
	err     error         // of the last attempt; guarded by mu
	reading chan struct{} // closed when the attempt under way ends, nil if there is none; guarded by mu
}

// Keys returns the keys that may have signed a token that names id: those of that
// name, or, where the token names none, all. Where that is none, or the set is old,
// the set is read again; a visitor waits for it only in the first case. Keys that
// were had once stay good while the provider cannot be reached.
func (s *Source) Keys(ctx context.Context, id string) ([]Key, error) {
	s.mu.Lock()
	found := named(s.keys, id)
	now := time.Now()
	if s.reading == nil && (len(found) == 0 || now.Sub(s.read) > fresh) && (s.tried.IsZero() || now.Sub(s.tried) >= soonest) {
		s.tried, s.reading = now, make(chan struct{})
		go s.attempt()
	}
	wait := s.reading
	s.mu.Unlock()
	if len(found) > 0 {
		return found, nil
	}
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	found = named(s.keys, id)
	switch {
	case len(found) > 0:
		return found, nil
	case s.err != nil:
		return nil, fmt.Errorf("the keys of %s cannot be had: %w", s.Address, s.err)
	}
	return nil, fmt.Errorf("no key %.40q in %s", id, s.Address)
}

func named(keys []Key, id string) []Key {
	if id == "" {
		return keys
	}
	var found []Key
	for _, k := range keys {
		if k.ID == id || k.ID == "" { // a set may name none of its keys
			found = append(found, k)
		}
	}
	return found
}

// attempt reads the set once.
func (s *Source) attempt() {
	// Nobody's context: others wait for it too, and it is bounded.
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var keys []Key
	err := service.Guard(cmp.Or(s.Log, discard), func() error {
		text, err := s.text(ctx)
		if err == nil {
			keys, err = Parse(text)
		}
		return err
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err = err; err == nil {
		s.keys, s.read = keys, time.Now()
	}
	close(s.reading)
	s.reading = nil
}

func (s *Source) text(ctx context.Context) ([]byte, error) {
	if !service.Whole(s.Address) {
		f, err := os.Open(s.Address)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		return all(f)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/jwk-set+json, application/json")
	client := s.Client
	if client == nil {
		client = strict
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers %s", resp.Status)
	}
	return all(resp.Body)
}

var discard = slog.New(slog.DiscardHandler)

// strict is never led from https to http.
var strict = &http.Client{CheckRedirect: func(r *http.Request, via []*http.Request) error {
	if len(via) >= 5 || via[0].URL.Scheme == "https" && r.URL.Scheme != "https" {
		return errors.New("it leads elsewhere too often, or away from https")
	}
	return nil
}}

func all(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxSet+1))
	if err == nil && len(text) > maxSet {
		err = errors.New("it is larger than 1 MiB")
	}
	return text, err
}

// Sources has one [Source] for each address, so that vhosts share them and reloads
// keep what was read. The zero value is ready.
type Sources struct {
	Log *slog.Logger // may be nil
	all sync.Map     // of address to *Source
}

// Of returns the source of an address, which the configuration names.
func (s *Sources) Of(address string) *Source {
	v, ok := s.all.Load(address)
	if !ok {
		v, _ = s.all.LoadOrStore(address, &Source{Address: address, Log: s.Log})
	}
	return v.(*Source)
}
