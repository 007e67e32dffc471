package session

import (
	"context"
	"time"

	"weir/internal/hub"
)

// SampleEvery is the distance of the samples from which rates are made, and
// Window the time that a rate is the mean of, as in SRS's kbps fields.
const (
	SampleEvery = 3 * time.Second
	Window      = 30 * time.Second
	samples     = int(Window/SampleEvery) + 1
)

// A meter makes a rate of two growing totals.
type meter struct {
	at  [samples][2]int64
	n   int // samples taken
	pos int
}

func (m *meter) sample(in, out int64) {
	m.at[m.pos] = [2]int64{in, out}
	m.pos = (m.pos + 1) % samples
	m.n++
}

// rates returns kbit/s over the window, 0 until it is full.
func (m *meter) rates() (in, out int) {
	if m.n < samples {
		return 0, 0
	}
	oldest, newest := m.at[m.pos], m.at[(m.pos+samples-1)%samples]
	per := func(i int) int { return int((newest[i] - oldest[i]) * 8 / Window.Milliseconds()) }
	return per(0), per(1)
}

// A total is what a stream or a vhost has moved.
type total struct {
	in, out int64 // of acts that ended
	meter   meter
	frames  meter // of a stream: video and audio
	payload meter // of a stream: bytes of its frames
}

// Traffic is what a stream, a vhost or the server has moved, in bytes and, over
// the last 30 s, in kbit/s.
type Traffic struct {
	In, Out         int64
	KbpsIn, KbpsOut int
}

// perSecond returns the mean growth a second over what the meter has seen, at most
// its window; false before it has seen two samples.
func (m *meter) perSecond() (a, b float64, ok bool) {
	n := min(m.n, samples)
	if n < 2 {
		return 0, 0, false
	}
	newest, oldest := m.at[(m.pos+samples-1)%samples], m.at[(m.pos+samples-n)%samples]
	d := SampleEvery.Seconds() * float64(n-1)
	return float64(newest[0]-oldest[0]) / d, float64(newest[1]-oldest[1]) / d, true
}

// Rates is what a stream's publisher has sent a second, over the last 30 s or since
// it is watched over.
type Rates struct {
	Video, Audio float64 // frames
	Bytes        float64 // of frames
}

// Rates returns the rates of a stream by its id; false if they are not known yet.
func (d *Desk) Rates(stream string) (r Rates, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.totals[stream]
	if t == nil {
		return r, false
	}
	r.Video, r.Audio, ok = t.frames.perSecond()
	r.Bytes, _, _ = t.payload.perSecond()
	return r, ok
}

// Run takes the samples for the rates until ctx is done.
func (d *Desk) Run(ctx context.Context) error {
	t := time.NewTicker(SampleEvery)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			d.sample()
		case <-ctx.Done():
			return nil
		}
	}
}

func (d *Desk) sample() {
	sums := map[string]Traffic{}
	for s := range d.Sessions() {
		in, out := s.Bytes()
		s.mu.Lock()
		s.meter.sample(in, out)
		act, ask, stream := s.act, s.ask, s.stream
		s.mu.Unlock()
		if act == 0 {
			continue
		}
		in, out = s.since()
		for _, name := range []string{stream.ID, ask.Key.Vhost} {
			t := sums[name]
			t.In, t.Out = t.In+in, t.Out+out
			sums[name] = t
		}
	}
	streams := map[string]hub.Counters{}
	for _, s := range d.Hub.All() {
		streams[s.ID] = s.Counters()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name := range sums {
		d.total(name)
	}
	for name, t := range d.totals {
		if isStream := len(name) > 4 && name[:4] == "vid-"; isStream {
			c, ok := streams[name]
			if !ok {
				delete(d.totals, name)
				continue
			}
			t.frames.sample(int64(c.VideoFrames), int64(c.AudioFrames))
			t.payload.sample(int64(c.Bytes), 0)
		}
		t.meter.sample(t.in+sums[name].In, t.out+sums[name].Out)
	}
}

// total returns the totals of a stream id or vhost name. d.mu is held.
func (d *Desk) total(name string) *total {
	t := d.totals[name]
	if t == nil {
		t = &total{}
		d.totals[name] = t
	}
	return t
}

// settle adds the bytes of an act that ended to the totals.
func (d *Desk) settle(s *Session, stream, vhost string) {
	in, out := s.since()
	s.baseIn.Add(in)
	s.baseOut.Add(out)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range []string{stream, vhost} {
		t := d.total(name)
		t.in, t.out = t.in+in, t.out+out
	}
	d.in.Add(in)
	d.out.Add(out)
}

// Traffic returns what the streams by id, the vhosts by name and the whole
// server (under "") have moved.
func (d *Desk) Traffic() map[string]Traffic {
	all := map[string]Traffic{}
	add := func(name string, in, out int64) {
		t := all[name]
		t.In, t.Out = t.In+in, t.Out+out
		all[name] = t
	}
	for s := range d.Sessions() {
		act, ask, stream := s.Doing()
		if act == 0 {
			continue
		}
		in, out := s.since()
		add(stream.ID, in, out)
		add(ask.Key.Vhost, in, out)
		add("", in, out)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, t := range d.totals {
		add(name, t.in, t.out)
		tr := all[name]
		tr.KbpsIn, tr.KbpsOut = t.meter.rates()
		all[name] = tr
	}
	add("", d.in.Load(), d.out.Load())
	return all
}

// Watchers returns how many sessions publish or play each stream, by its key.
func (d *Desk) Watchers() map[hub.Key]int {
	n := map[hub.Key]int{}
	for s := range d.Sessions() {
		if act, ask, _ := s.Doing(); act != 0 {
			n[ask.Key]++
		}
	}
	return n
}
