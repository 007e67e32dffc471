//go:build linux && (386 || amd64 || arm || arm64 || riscv64 || ppc64le || loong64 || s390x)

package datagram

// cutNothing has the system cut nothing.
func (s *Socket) cutNothing() { s.segments.Store(false) }
