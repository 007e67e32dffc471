package bench

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

// A stamp is a supplemental enhancement information message of H.264 (ITU-T
// H.264, D.1.6: user data unregistered) with the wall clock of its sending. All
// of its text is printable, so no byte of it is changed by any container or by
// emulation prevention, and it is found by searching.
//
// stampID is its UUID, of version 4 in form. No byte of it is 0.
const stampID = "weir-bEn\xb7-clock!"

const (
	stampText = 1 + 16 // K or F, and nanoseconds since 1970 in hexadecimal
	stampNAL  = 3 + len(stampID) + stampText + 1
)

// appendStamp appends the stamp as a NAL unit behind its length of lengthSize
// bytes.
func appendStamp(dst []byte, lengthSize int, key bool, at int64) []byte {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(stampNAL))
	dst = append(dst, n[4-lengthSize:]...)
	dst = append(dst, 6, 5, byte(len(stampID)+stampText)) // SEI, user data unregistered
	dst = append(dst, stampID...)
	mark := byte('F')
	if key {
		mark = 'K'
	}
	dst = append(dst, mark)
	dst = fmt.Appendf(dst, "%016x", uint64(at))
	return append(dst, 0x80) // rbsp_trailing_bits
}

// nextStamp finds the first whole stamp in b, and returns what follows it.
func nextStamp(b []byte) (key bool, at int64, rest []byte, ok bool) {
	for {
		i := bytes.Index(b, []byte(stampID))
		if i < 0 {
			return false, 0, nil, false
		}
		b = b[i+len(stampID):]
		if len(b) < stampText {
			return false, 0, nil, false
		}
		n, err := strconv.ParseUint(string(b[1:stampText]), 16, 63)
		if err == nil && (b[0] == 'K' || b[0] == 'F') {
			return b[0] == 'K', int64(n), b[stampText:], true
		}
	}
}
