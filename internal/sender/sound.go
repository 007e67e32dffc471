package sender

import (
	"net"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/media"
)

// TS encodes for a viewer of HTTP-TS. The packets of a frame are made once for
// all; each viewer's copy has the counters of its own stream.
type TS struct {
	Only  Only
	Times Times

	mux    *mpegts.Muxer
	layout *media.Layout
	due    bool
	last   time.Duration // of the tables
	buf    []byte        // of the batch
}

// keptBuf is how much memory a viewer keeps from batch to batch, in bytes.
const keptBuf = 256 << 10

// Restart implements Encoder.
func (e *TS) Restart() { e.due = true }

// Append implements Encoder.
func (e *TS) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if len(bufs) == 0 { // what was made before has been sent
		if e.buf = e.buf[:0]; cap(e.buf) > keptBuf {
			e.buf = nil
		}
	}
	if f.Layout != e.layout {
		e.layout, e.due = f.Layout, true
		if f.Layout.Own {
			e.Times = Source
		}
		if e.mux == nil {
			e.mux = mpegts.NewMuxer(e.Only.layout(f.Layout))
		} else {
			e.mux.SetLayout(e.Only.layout(f.Layout))
		}
	}
	if !e.mux.Carries(f) {
		return bufs
	}
	at := len(e.buf)
	if e.due || tablesDue(f, e.last) {
		e.due, e.last = false, f.DTS
		e.buf = e.mux.AppendTables(e.buf)
	}
	if e.Times == Source {
		e.buf, _ = e.mux.AppendFrame(e.buf, f, f.Source)
	} else {
		e.buf = e.mux.AppendPackets(e.buf, f.Encoded(media.FormTS, func(f *media.Frame) []byte {
			b, _ := e.mux.AppendAlone(make([]byte, 0, e.mux.FrameSize(f)), f, f.DTS)
			return b
		}))
	}
	if len(e.buf) == at {
		return bufs
	}
	return append(bufs, e.buf[at:len(e.buf):len(e.buf)])
}

// ADTS encodes AAC for a listener, without a picture.
type ADTS struct {
	// Before returns frames from before the one with that sequence number, which
	// are sent first; nil is none.
	Before func(seq uint64) []*media.Frame

	adts  adts
	began bool
}

// Restart implements Encoder.
func (e *ADTS) Restart() {}

// Append implements Encoder.
func (e *ADTS) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if !e.began && mainSound(f, media.AAC) {
		e.began = true
		if e.Before != nil {
			for _, f := range e.Before(f.Seq) {
				bufs = e.append(bufs, f)
			}
		}
	}
	return e.append(bufs, f)
}

func (e *ADTS) append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if !e.adts.carries(f) {
		return bufs
	}
	return append(bufs, f.Encoded(media.FormADTS, func(f *media.Frame) []byte { return e.adts.append(nil, f) }))
}

// MP3 encodes MP3 for a listener, without a picture.
type MP3 struct {
	// Before is as in [ADTS].
	Before func(seq uint64) []*media.Frame

	began bool
}

// Restart implements Encoder.
func (e *MP3) Restart() {}

// Append implements Encoder.
func (e *MP3) Append(bufs net.Buffers, f *media.Frame) net.Buffers {
	if !mainSound(f, media.MP3) {
		return bufs
	}
	if !e.began {
		e.began = true
		bufs = append(bufs, id3)
		if e.Before != nil {
			for _, f := range e.Before(f.Seq) {
				if mainSound(f, media.MP3) {
					bufs = append(bufs, f.Payload)
				}
			}
		}
	}
	return append(bufs, f.Payload)
}
