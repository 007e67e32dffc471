package sender

// A Ring sends by io_uring as the loops do and does nothing else, so that what it
// costs can be measured. It is for one thread.
type Ring struct {
	ring  *uring
	batch []send
}

// NewRing returns a Ring; the error says why the kernel has none.
func NewRing() (*Ring, error) {
	u, err := newUring()
	if err != nil {
		return nil, err
	}
	return &Ring{ring: u}, nil
}

// Send sends b to every socket in as few calls as possible and returns how many
// bytes they took.
func (r *Ring) Send(fds []int, b []byte) (sent int, err error) {
	for len(fds) > 0 {
		n := min(len(fds), batchMost)
		r.batch = r.batch[:0]
		for _, fd := range fds[:n] {
			s := send{o: &outlet{fd: fd}, n: 1, total: len(b)}
			s.pieces[0] = b
			r.batch = append(r.batch, s)
		}
		if err := r.ring.send(r.batch); err != nil {
			return sent, err
		}
		for i := range r.batch {
			sent += max(0, r.batch[i].res)
		}
		fds = fds[n:]
	}
	return sent, nil
}

// Close gives the ring back.
func (r *Ring) Close() { r.ring.close() }
