package host

import "syscall"

// Name returns what uname tells.
func Name() Uname {
	var u syscall.Utsname
	if syscall.Uname(&u) != nil {
		return unknown()
	}
	return Uname{text(u.Sysname[:]), text(u.Nodename[:]), text(u.Release[:]), text(u.Version[:]), text(u.Machine[:])}
}

// text is a C string; its bytes are signed on some processors.
func text[T int8 | uint8](c []T) string {
	b := make([]byte, 0, len(c))
	for _, x := range c {
		if x == 0 {
			break
		}
		b = append(b, byte(x))
	}
	return string(b)
}
