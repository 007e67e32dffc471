package bench

import "time"

// usage is what processes have used up to a moment.
type usage struct {
	at        time.Time
	cpu       time.Duration // of the server
	user, sys uint64        // of the server, in ticks of any length
	rss       int64         // of the server, in bytes
	idle, all uint64        // of the machine, in ticks
	self      time.Duration // CPU of this program
	soft      time.Duration // CPU of the kernel's soft interrupt threads
}
