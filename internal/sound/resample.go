package sound

import "math"

const (
	// halfTaps is how many input samples on each side make one output sample, where
	// the output's rate is not below the input's.
	halfTaps = 24
	// kaiser is the shape of the window: 80 dB of what would fold back.
	kaiser = 8
	// passband is the share of the band that is kept.
	passband = 0.95
)

// A resampler changes the rate of interleaved samples by a polyphase filter: a sinc
// under a Kaiser window, with the two rates as a fraction.
type resampler struct {
	from, channels int
	up, down       int
	half           int
	phases         [][]float32 // by phase, 2*half taps
	history        []float32   // input not yet used up
	at             int         // in history, of the next output's newest sample on the left
	phase          int
}

func newResampler(from, to, channels int) *resampler {
	g := gcd(from, to)
	r := &resampler{from: from, channels: channels, up: to / g, down: from / g, half: halfTaps}
	if r.up == r.down {
		return r
	}
	cut := passband
	if to < from {
		cut *= float64(to) / float64(from)
		r.half = (halfTaps*from/to + 1) &^ 1 // dot wants a multiple of four
	}
	r.phases = make([][]float32, r.up)
	for p := range r.phases {
		taps := make([]float32, 2*r.half)
		sum := 0.0
		raw := make([]float64, len(taps))
		for i := range raw {
			// The distance of tap i from the output sample, in input samples.
			x := float64(i-r.half+1) - float64(p)/float64(r.up)
			raw[i] = sinc(cut*x) * window(x/float64(r.half))
			sum += raw[i]
		}
		for i, v := range raw {
			taps[i] = float32(v / sum)
		}
		r.phases[p] = taps
	}
	r.reset()
	return r
}

// reset forgets what came before; the first samples then start from silence.
func (r *resampler) reset() {
	if r.phases == nil {
		return
	}
	r.history = append(r.history[:0], make([]float32, (r.half-1)*r.channels)...)
	r.at, r.phase = r.half-1, 0
}

// append appends what can be made of more samples.
func (r *resampler) append(dst, pcm []float32) []float32 {
	if r.phases == nil {
		return append(dst, pcm...)
	}
	r.history = append(r.history, pcm...)
	have := len(r.history) / r.channels
	for r.at+r.half < have {
		taps := r.phases[r.phase]
		from := r.history[(r.at-r.half+1)*r.channels:]
		if r.channels == 2 {
			left, right := dot2(taps, from)
			dst = append(dst, left, right)
		} else {
			dst = append(dst, dot(taps, from))
		}
		r.phase += r.down
		r.at += r.phase / r.up
		r.phase %= r.up
	}
	if drop := r.at - r.half + 1; drop > 0 {
		drop = min(drop, have)
		r.history = r.history[:copy(r.history, r.history[drop*r.channels:])]
		r.at -= drop
	}
	return dst
}

// dot sums products of taps, a multiple of four, in sums that need not wait for each other.
func dot(taps, from []float32) float32 {
	var a, b, c, d float32
	for i := 0; i+4 <= len(taps); i += 4 {
		t, f := (*[4]float32)(taps[i:]), (*[4]float32)(from[i:])
		a += t[0] * f[0]
		b += t[1] * f[1]
		c += t[2] * f[2]
		d += t[3] * f[3]
	}
	return a + b + (c + d)
}

// dot2 is dot for two channels.
func dot2(taps, from []float32) (left, right float32) {
	var l0, l1, r0, r1 float32
	for i := 0; i+4 <= len(taps); i += 4 {
		t, f := (*[4]float32)(taps[i:]), (*[8]float32)(from[2*i:])
		l0 += t[0] * f[0]
		r0 += t[0] * f[1]
		l1 += t[1] * f[2]
		r1 += t[1] * f[3]
		l0 += t[2] * f[4]
		r0 += t[2] * f[5]
		l1 += t[3] * f[6]
		r1 += t[3] * f[7]
	}
	return l0 + l1, r0 + r1
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// window is the Kaiser window over -1 to 1.
func window(x float64) float64 {
	if x < -1 || x > 1 {
		return 0
	}
	return bessel(kaiser*math.Sqrt(1-x*x)) / bessel(kaiser)
}

// bessel is the modified Bessel function of the first kind and order 0.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-12; k++ {
		term *= x / (2 * k) * x / (2 * k)
		sum += term
	}
	return sum
}
