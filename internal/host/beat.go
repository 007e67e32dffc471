package host

import "time"

// epoch is where beats are counted from. It is read by the monotonic clock.
var epoch = time.Now()

// NextBeat returns the next moment after now that is a multiple of every since the
// process began. What happens at beats happens together, and wakes the process once.
func NextBeat(now time.Time, every time.Duration) time.Time {
	return now.Add(every - now.Sub(epoch)%every)
}
