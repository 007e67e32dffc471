package shelf

import (
	"bytes"
	"encoding/gob"
	"sync"

	"weir/internal/hub"
	"weir/internal/store"
)

// A Loan is what a stream's listing of segments has to do with an upgrade: what is
// published then is cut, named and written by the old process to its end, and each
// segment told to the new one, which lists it. The zero value is of a listing that is
// nobody's but our own.
type Loan struct {
	mu       sync.Mutex
	send     func(piece []byte) // of the old process, while it lends; guarded by mu
	borrowed bool               // of the new process, while it borrows; guarded by mu
	unpacker store.Unpacker     // guarded by mu
}

// loaned is a segment on its way. Hint is what else the other must know to list it under
// the same names. Part says that the segment is not whole yet, and has what is new of it.
type loaned struct {
	Hint, Segment []byte
	Part          bool
}

// List has one segment taken in at a time, so that none is missed nor told twice. take
// lists it, and hint returns what the other process must know of it.
func (l *Loan) List(g *store.Segment, take func() (ok bool), hint func() any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if take() && l.send != nil {
		l.tell(g, hint())
	}
}

// ListPart is List for a chunk of a segment that is not whole yet.
func (l *Loan) ListPart(g *store.Segment, c *store.Chunk, take func(), hint func() any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	take()
	if l.send != nil {
		l.tellPart(g, []*store.Chunk{c}, hint())
	}
}

// tellPart tells of chunks of a segment that is not whole yet. l.mu is held.
func (l *Loan) tellPart(g *store.Segment, chunks []*store.Chunk, hint any) {
	var h bytes.Buffer
	if gob.NewEncoder(&h).Encode(hint) == nil {
		own := *g
		own.Chunks = chunks
		l.pass(&own, h.Bytes(), true)
	}
}

// tell tells of a segment. l.mu is held.
func (l *Loan) tell(g *store.Segment, hint any) {
	var h bytes.Buffer
	if gob.NewEncoder(&h).Encode(hint) == nil {
		l.pass(g, h.Bytes(), false)
	}
}

// pass is tell with a hint as it is sent. l.mu is held.
func (l *Loan) pass(g *store.Segment, hint []byte, part bool) {
	var b bytes.Buffer
	p, err := loaned{Hint: hint, Part: part}, error(nil)
	if p.Segment, err = store.Pack(g); err == nil && gob.NewEncoder(&b).Encode(&p) == nil {
		l.send(b.Bytes())
	}
}

// Lend tells of all segments that there are, which each yields with its hint, and of
// each that follows. It returns false if that is done already.
func (l *Loan) Lend(send func(piece []byte), each func(yield func(g *store.Segment, hint any))) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.send != nil {
		return false
	}
	l.send = send
	each(l.tell)
	return true
}

// Keep ends a loan that came to nothing.
func (l *Loan) Keep() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send = nil
}

// Borrowed reports whether the segments come from another process. Who lists them calls
// it from within List and Take only.
func (l *Loan) Borrowed() bool { return l.borrowed }

// Take takes a piece: take lists its segment by the hint, which it decodes, or the chunks
// of one that is not whole yet.
func (l *Loan) Take(piece []byte, take func(g *store.Segment, part bool, hint func(to any) error) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var p loaned
	if err := gob.NewDecoder(bytes.NewReader(piece)).Decode(&p); err != nil {
		return err
	}
	g, err := l.unpacker.Segment(p.Segment)
	if err != nil {
		return err
	}
	l.borrowed = true
	defer func() { l.borrowed = false }()
	err = take(g, p.Part, func(to any) error { return gob.NewDecoder(bytes.NewReader(p.Hint)).Decode(to) })
	if err == nil && l.send != nil { // it is lent on
		l.pass(g, p.Hint, p.Part)
	}
	return err
}

// Segmented is what an index lists: a segment, and what was made of it.
type Segmented interface {
	store.Listed
	Whole() *store.Segment
}

// LendAll is [Loan.Lend] of what an index holds, each with its hint.
func LendAll[T Segmented, H any](l *Loan, x *store.Index[T], hint func(T) H, send func(piece []byte)) bool {
	return l.Lend(send, func(yield func(*store.Segment, any)) {
		for _, s := range x.All() {
			yield(s.Whole(), hint(s))
		}
	})
}

// LendOpen tells of the chunks that there are of a segment which is not whole yet. It is
// called from within Lend.
func (l *Loan) LendOpen(g *store.Segment, chunks []*store.Chunk, hint any) {
	l.tellPart(g, chunks, hint)
}

// TakeInto is [Loan.Take] for an index, whose numbers begin with those of the other
// process. Parts go to part, which may be nil.
func TakeInto[T Segmented, H any](l *Loan, x *store.Index[T], piece []byte, take, part func(*store.Segment, *H) error) error {
	return l.Take(piece, func(g *store.Segment, isPart bool, decode func(any) error) error {
		var h H
		if err := decode(&h); err != nil {
			return err
		}
		if isPart {
			if part == nil {
				return nil
			}
			return part(g, &h)
		}
		if len(x.All()) == 0 {
			x.Restart(g.Seq)
		}
		return take(g, &h)
	})
}

// Name implements service.Mirror.
func (k *Keeper[T]) Name() string { return k.Of }

// Keys implements service.Mirror.
func (k *Keeper[T]) Keys() (all []hub.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key := range k.all {
		all = append(all, key)
	}
	return all
}

// Lend implements service.Mirror.
func (k *Keeper[T]) Lend(key hub.Key, send func(piece []byte)) bool {
	one, ok := k.Get(key)
	return ok && one.Lend(send)
}

// Keep implements service.Mirror.
func (k *Keeper[T]) Keep() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, e := range k.all {
		e.one.Keep()
	}
}

// Borrow implements service.Mirror.
func (k *Keeper[T]) Borrow(key hub.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.borrowed == nil {
		k.borrowed = map[hub.Key]bool{}
	}
	k.borrowed[key] = true
}

// Take implements service.Mirror.
func (k *Keeper[T]) Take(key hub.Key, piece []byte) error {
	k.mu.Lock()
	e := k.all[key]
	if e == nil {
		one, ok := k.Empty(key)
		if !ok {
			k.mu.Unlock()
			return nil // the new configuration does not want it
		}
		e = k.put(key, one)
	}
	k.mu.Unlock()
	return e.one.Take(piece)
}

// Return implements service.Mirror.
func (k *Keeper[T]) Return(key hub.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.borrowed, key)
}
