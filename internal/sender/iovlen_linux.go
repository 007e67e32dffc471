package sender

import "syscall"

// setIovlen sets a field whose width is the machine's.
func setIovlen(m *syscall.Msghdr, n int) { setWord(&m.Iovlen, n) }

func setWord[T uint32 | uint64](p *T, n int) { *p = T(n) }
