package sender

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"
)

// io_uring by its system calls. A batch of sends is one call: the sockets never
// block (MSG_DONTWAIT), so every send is done, or refused for want of room, when
// the call returns, and nothing is under way afterwards.

// The numbers are the same on all of Linux's architectures since 5.1.
const (
	sysUringSetup = 425
	sysUringEnter = 426

	opSendMsg = 9
	opSend    = 26

	enterGetEvents = 1

	offSQ   = 0
	offCQ   = 0x8000000
	offSQEs = 0x10000000

	featSingleMmap = 1
)

// uringParams is struct io_uring_params.
type uringParams struct {
	sqEntries, cqEntries, flags, sqThreadCPU, sqThreadIdle, features, wqFD uint32
	resv                                                                   [3]uint32
	sq                                                                     struct {
		head, tail, ringMask, ringEntries, flags, dropped, array, resv1 uint32
		userAddr                                                        uint64
	}
	cq struct {
		head, tail, ringMask, ringEntries, overflow, cqes, flags, resv1 uint32
		userAddr                                                        uint64
	}
}

// sqe is struct io_uring_sqe.
type sqe struct {
	opcode, flags uint8
	ioprio        uint16
	fd            int32
	off           uint64
	addr          uint64
	len           uint32
	opFlags       uint32
	userData      uint64
	pad           [3]uint64
}

// cqe is struct io_uring_cqe.
type cqe struct {
	userData uint64
	res      int32
	flags    uint32
}

// uring is one ring, used by one thread.
type uring struct {
	fd                     int
	sqMem, cqMem, sqeMem   []byte
	sqTail, sqMask, cqMask *uint32
	cqHead, cqTail         *uint32
	array                  []uint32
	sqes                   []sqe
	cqes                   []cqe
	msgs                   []syscall.Msghdr
	vecs                   [][maxPieces]syscall.Iovec
}

func newUring() (*uring, error) {
	var p uringParams
	fd, _, errno := syscall.Syscall(sysUringSetup, batchMost, uintptr(unsafe.Pointer(&p)), 0)
	if errno != 0 {
		return nil, fmt.Errorf("io_uring_setup: %w", errno)
	}
	syscall.CloseOnExec(int(fd))
	r := &uring{fd: int(fd)}
	if err := r.mapMemory(&p); err != nil {
		r.close()
		return nil, err
	}
	r.msgs = make([]syscall.Msghdr, batchMost)
	r.vecs = make([][maxPieces]syscall.Iovec, batchMost)
	return r, nil
}

func (r *uring) mapMemory(p *uringParams) (err error) {
	const prot, flags = syscall.PROT_READ | syscall.PROT_WRITE, syscall.MAP_SHARED | syscall.MAP_POPULATE
	sqSize := int(p.sq.array + p.sqEntries*4)
	cqSize := int(p.cq.cqes + p.cqEntries*uint32(unsafe.Sizeof(cqe{})))
	if p.features&featSingleMmap != 0 {
		sqSize = max(sqSize, cqSize)
	}
	if r.sqMem, err = syscall.Mmap(r.fd, offSQ, sqSize, prot, flags); err != nil {
		return fmt.Errorf("io_uring memory: %w", err)
	}
	cq := r.sqMem
	if p.features&featSingleMmap == 0 {
		if r.cqMem, err = syscall.Mmap(r.fd, offCQ, cqSize, prot, flags); err != nil {
			return fmt.Errorf("io_uring memory: %w", err)
		}
		cq = r.cqMem
	}
	if r.sqeMem, err = syscall.Mmap(r.fd, offSQEs, int(p.sqEntries)*int(unsafe.Sizeof(sqe{})), prot, flags); err != nil {
		return fmt.Errorf("io_uring memory: %w", err)
	}
	at := func(m []byte, off uint32) *uint32 { return (*uint32)(unsafe.Pointer(&m[off])) }
	r.sqTail, r.sqMask = at(r.sqMem, p.sq.tail), at(r.sqMem, p.sq.ringMask)
	r.cqHead, r.cqTail, r.cqMask = at(cq, p.cq.head), at(cq, p.cq.tail), at(cq, p.cq.ringMask)
	r.array = unsafe.Slice(at(r.sqMem, p.sq.array), p.sqEntries)
	r.sqes = unsafe.Slice((*sqe)(unsafe.Pointer(&r.sqeMem[0])), p.sqEntries)
	r.cqes = unsafe.Slice((*cqe)(unsafe.Pointer(&cq[p.cq.cqes])), p.cqEntries)
	return nil
}

func (r *uring) close() {
	for _, m := range [][]byte{r.sqMem, r.cqMem, r.sqeMem} {
		if m != nil {
			syscall.Munmap(m)
		}
	}
	syscall.Close(r.fd)
}

// send sends a batch of at most batchMost and sets what became of each. An error
// is one of the ring itself; sends whose res is 0 then were not done.
func (r *uring) send(batch []send) error {
	tail, mask := *r.sqTail, *r.sqMask
	for i := range batch {
		s := &batch[i]
		q := &r.sqes[(tail+uint32(i))&mask]
		*q = sqe{fd: int32(s.o.fd), opFlags: syscall.MSG_NOSIGNAL | syscall.MSG_DONTWAIT, userData: uint64(i)}
		if s.n == 1 {
			q.opcode = opSend
			q.addr, q.len = uint64(uintptr(unsafe.Pointer(&s.pieces[0][0]))), uint32(len(s.pieces[0]))
		} else {
			for j, p := range s.pieces[:s.n] {
				r.vecs[i][j].Base = &p[0]
				r.vecs[i][j].SetLen(len(p))
			}
			r.msgs[i] = syscall.Msghdr{Iov: &r.vecs[i][0]}
			setIovlen(&r.msgs[i], s.n)
			q.opcode = opSendMsg
			q.addr, q.len = uint64(uintptr(unsafe.Pointer(&r.msgs[i]))), 1
		}
		r.array[(tail+uint32(i))&mask] = (tail + uint32(i)) & mask
	}
	atomic.StoreUint32(r.sqTail, tail+uint32(len(batch)))
	submitted, done := 0, 0
	for done < len(batch) {
		n, _, errno := syscall.RawSyscall6(sysUringEnter, uintptr(r.fd), uintptr(len(batch)-submitted), uintptr(min(1, len(batch)-done)), enterGetEvents, 0, 0)
		if errno == syscall.EINTR || errno == syscall.EAGAIN || errno == syscall.EBUSY {
			done += r.reap(batch)
			continue
		}
		if errno != 0 {
			return fmt.Errorf("io_uring_enter: %w", errno)
		}
		submitted += int(n)
		done += r.reap(batch)
	}
	runtime.KeepAlive(batch)
	clear(r.vecs[:len(batch)]) // a stream that has ended is not held on to
	return nil
}

// reap takes what the kernel has finished.
func (r *uring) reap(batch []send) (n int) {
	head, tail := *r.cqHead, atomic.LoadUint32(r.cqTail)
	for ; head != tail; head++ {
		c := &r.cqes[head&*r.cqMask]
		if c.userData < uint64(len(batch)) {
			batch[c.userData].res = int(c.res)
			n++
		}
	}
	atomic.StoreUint32(r.cqHead, head)
	return n
}
