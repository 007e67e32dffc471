package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"weir/internal/format/flv"
	"weir/internal/media"
)

// maxSource is the longest file, in bytes.
const maxSource = 1 << 30

// A source is a file ready to be sent over and over. It is only read.
type source struct {
	tags []tag
	// length is from one round to the next, in milliseconds.
	length uint32
	// stamped says that the pictures can carry the clock.
	stamped bool
}

// tag is a message of the file.
type tag struct {
	typ  uint8
	at   uint32 // milliseconds since the first
	body []byte
	once bool // is sent in the first round alone
	key  bool
	// cut is where the stamp goes into the body, 0 for nowhere; lengthSize is
	// how long the length before each NAL unit is.
	cut, lengthSize int
}

// openSource reads a file, or if there is no name the bytes of one.
func openSource(file string, loop []byte) (*source, error) {
	if file == "" {
		src, err := readSource(bytes.NewReader(loop))
		if err != nil {
			return nil, fmt.Errorf("bench: without -file: %w", err)
		}
		return src, nil
	}
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer f.Close()
	src, err := readSource(io.LimitReader(f, maxSource))
	if err != nil {
		return nil, fmt.Errorf("bench: %s: %w", file, err)
	}
	return src, nil
}

func readSource(in io.Reader) (*source, error) {
	src := &source{}
	r := flv.NewReader(in)
	lengthSize := 0
	var frames, firstFrame, lastFrame, last uint32
	for base, first := uint32(0), true; ; {
		t, err := r.ReadTag()
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) && len(src.tags) > 0 {
			break // a file that was cut short is as good
		}
		if err != nil {
			return nil, err
		}
		if first {
			base, first = t.Timestamp, false
		}
		m := tag{typ: t.Type, at: t.Timestamp - base, body: t.Body, once: t.Type == flv.TypeScript}
		if int32(m.at) < int32(last) {
			m.at = last // a file's time goes on; what does not must not stop us
		}
		last = m.at
		switch t.Type {
		case flv.TypeVideo:
			if src.video(&m, &lengthSize) {
				if frames++; frames == 1 {
					firstFrame = m.at
				}
				lastFrame = m.at
			}
		case flv.TypeAudio:
			parts, err := flv.ParseAudio(nil, t.Body)
			m.once = err == nil && len(parts) > 0 && parts[0].Type == flv.Sequence
		case flv.TypeScript:
		default:
			continue
		}
		src.tags = append(src.tags, m)
	}
	if frames < 2 || lastFrame == firstFrame {
		return nil, errors.New("the file holds no moving picture")
	}
	interval := (lastFrame - firstFrame) / (frames - 1)
	src.length = max(last, lastFrame+interval)
	return src, nil
}

// video looks where the stamp goes, and reports whether m is a frame.
func (s *source) video(m *tag, lengthSize *int) bool {
	parts, err := flv.ParseVideo(nil, m.body)
	if err != nil || len(parts) != 1 {
		return err == nil && len(parts) > 0
	}
	p := parts[0]
	switch p.Type {
	case flv.Sequence:
		m.once = true
		if p.Codec == media.H264 && len(p.Payload) > 4 {
			*lengthSize = int(p.Payload[4]&3) + 1
		}
		return false
	case flv.Coded:
	default:
		return false
	}
	m.key = p.Frame.Key()
	n := *lengthSize
	if p.Codec != media.H264 || n == 0 || len(p.Payload) <= n || !bytes.HasSuffix(m.body, p.Payload) {
		return true
	}
	m.cut, m.lengthSize = len(m.body)-len(p.Payload), n
	if p.Payload[n]&31 == 9 { // an access unit delimiter stays the first
		length := 0
		for _, b := range p.Payload[:n] {
			length = length<<8 | int(b)
		}
		if length <= len(p.Payload)-n {
			m.cut += n + length
		}
	}
	s.stamped = true
	return true
}

// parts returns the body as it is sent at a moment; scratch holds the stamp.
func (m *tag) parts(scratch []byte, now time.Time) (head, stamp, tail []byte) {
	if m.cut == 0 {
		return m.body, scratch[:0], nil
	}
	return m.body[:m.cut], appendStamp(scratch[:0], m.lengthSize, m.key, now.UnixNano()), m.body[m.cut:]
}
