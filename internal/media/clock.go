package media

import "time"

// Ticks converts d to ticks of a clock with the given rate per second,
// rounded to the nearest.
func Ticks(d time.Duration, rate int64) int64 {
	if d < 0 {
		return -Ticks(-d, rate)
	}
	sec, rem := int64(d)/1e9, int64(d)%1e9
	return sec*rate + (rem*rate+5e8)/1e9
}

// Duration converts ticks of a clock with the given rate per second to a
// duration, rounded to the nearest nanosecond. For rates up to 10 MHz
// Ticks(Duration(n, rate), rate) == n.
func Duration(ticks, rate int64) time.Duration {
	if ticks < 0 {
		return -Duration(-ticks, rate)
	}
	return time.Duration((ticks/rate)*1e9 + ((ticks%rate)*1e9+rate/2)/rate)
}

// Milliseconds converts d to milliseconds, rounded to the nearest.
func Milliseconds(d time.Duration) int64 { return Ticks(d, 1000) }

// An Unwrapper turns the wrapping timestamps of a wire format into times that
// go on. The zero value is not usable; Bits and Rate must be set.
type Unwrapper struct {
	Bits uint  // width of the counter, 1 to 63
	Rate int64 // ticks per second

	started bool
	last    int64
}

// Unwrap returns the time of ts, taken as the value nearest to the one before.
func (u *Unwrapper) Unwrap(ts uint64) time.Duration {
	span := int64(1) << u.Bits
	v := int64(ts & uint64(span-1))
	if !u.started {
		u.started, u.last = true, v
		return Duration(v, u.Rate)
	}
	diff := (v - u.last) & (span - 1)
	if diff >= span/2 {
		diff -= span
	}
	u.last += diff
	return Duration(u.last, u.Rate)
}
