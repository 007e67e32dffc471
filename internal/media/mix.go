package media

import "slices"

// A Mixer puts the frames of a publisher whose sound and picture come in bursts
// back into the order of their time. It holds frames until both kinds wait, so
// it costs latency: as much as one kind is behind the other. Where only one kind
// comes it holds no more than [mixMost] frames (SRS's figure).
//
// The zero value is ready; one goroutine uses it at a time.
type Mixer struct {
	held   []*Frame // by Source
	videos int
	audios int
}

// mixMost is how many frames of one kind are held while none of the other comes.
const mixMost = 10

// Push takes the next frame and appends those that may go now to dst.
func (m *Mixer) Push(dst []*Frame, f *Frame) []*Frame {
	at := len(m.held)
	for at > 0 && m.held[at-1].Source > f.Source {
		at--
	}
	m.held = slices.Insert(m.held, at, f)
	m.count(f, 1)
	for len(m.held) > 0 && (m.videos > 0 && m.audios > 0 || m.videos+m.audios >= mixMost || m.videos+m.audios == 0) {
		first := m.held[0]
		m.held = slices.Delete(m.held, 0, 1)
		m.count(first, -1)
		dst = append(dst, first)
	}
	return dst
}

// Flush appends all that is held to dst.
func (m *Mixer) Flush(dst []*Frame) []*Frame {
	dst = append(dst, m.held...)
	*m = Mixer{}
	return dst
}

func (m *Mixer) count(f *Frame, n int) {
	switch f.Track.Kind {
	case Video:
		m.videos += n
	case Audio:
		m.audios += n
	}
}
