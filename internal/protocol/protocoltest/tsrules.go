package protocoltest

import (
	"fmt"
	"time"
)

// tsRules holds the segments of a transport stream to ISO/IEC 13818-1, one after
// the other.
type tsRules struct {
	counters map[int]byte          // continuity, by PID
	pts      map[int]time.Duration // of the newest packet of an elementary stream
}

// The PIDs of our transport streams.
const (
	pidTables = 0
	pidMap    = 0x1001
	pidVideo  = 0x100
	pidAudio  = 0x101
)

// segment looks at a whole segment.
func (r *tsRules) segment(b []byte, discontinuity, independent bool) error {
	if len(b)%188 != 0 || len(b) < 3*188 {
		return fmt.Errorf("%d bytes are no transport stream", len(b))
	}
	if r.counters == nil || discontinuity {
		r.counters, r.pts = map[int]byte{}, map[int]time.Duration{}
	}
	seen := map[int]bool{}
	for n := 0; n*188 < len(b); n++ {
		p := b[n*188 : n*188+188]
		pid := int(p[1]&0x1f)<<8 | int(p[2])
		switch {
		case p[0] != 0x47:
			return fmt.Errorf("packet %d begins with %x", n, p[0])
		case n == 0 && pid != pidTables || n == 1 && pid != pidMap:
			return fmt.Errorf("it does not begin with its tables, packet %d is of %x", n, pid)
		case pid != pidTables && pid != pidMap && pid != pidVideo && pid != pidAudio:
			return fmt.Errorf("packet %d is of %x", n, pid)
		case p[3]&0x10 == 0:
			return fmt.Errorf("packet %d has no payload", n)
		}
		anew := p[3]&0x20 != 0 && p[4] > 0 && p[5]&0x80 != 0 && (pid == pidTables || pid == pidMap) // discontinuity_indicator
		if last, ok := r.counters[pid]; ok && !anew && p[3]&15 != (last+1)&15 {
			return fmt.Errorf("packet %d of %x counts %d after %d", n, pid, p[3]&15, last)
		}
		r.counters[pid] = p[3] & 15
		if (pid == pidVideo || pid == pidAudio) && p[1]&0x40 != 0 {
			if err := r.unit(p, pid, !seen[pid] && pid == pidVideo && independent); err != nil {
				return fmt.Errorf("packet %d of %x: %w", n, pid, err)
			}
			seen[pid] = true
		}
	}
	if !seen[pidVideo] && !seen[pidAudio] {
		return fmt.Errorf("there is nothing in it")
	}
	return nil
}

// unit looks at a packet that begins one of the elementary stream; access says that
// decoding must be able to start there.
func (r *tsRules) unit(p []byte, pid int, access bool) error {
	at := 4
	if p[3]&0x20 != 0 {
		if at += 1 + int(p[4]); at > 170 {
			return fmt.Errorf("an adaptation field of %d bytes", p[4])
		}
	}
	if access && (at == 4 || p[4] == 0 || p[5]&0x40 == 0) {
		return fmt.Errorf("decoding cannot start there")
	}
	pes := p[at:]
	if len(pes) < 14 || pes[0] != 0 || pes[1] != 0 || pes[2] != 1 || pes[7]&0x80 == 0 {
		return fmt.Errorf("no head of an elementary stream's packet with a time: %x", pes[:min(14, len(pes))])
	}
	t := pes[9:14]
	if pes[7]&0x40 != 0 { // the decoding time
		t = pes[14:19]
	}
	ticks := uint64(t[0]>>1&7)<<30 | uint64(t[1])<<22 | uint64(t[2]>>1)<<15 | uint64(t[3])<<7 | uint64(t[4]>>1)
	d := time.Duration(ticks) * time.Second / 90000
	if last, ok := r.pts[pid]; ok && d <= last && last-d < time.Hour { // it wraps after a day
		return fmt.Errorf("time %v after %v", d, last)
	}
	r.pts[pid] = d
	return nil
}
