package httplive

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"weir/internal/format/flv"
	"weir/internal/format/mp4"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/h264"
	"weir/internal/protocol/protocoltest"
)

// key is the example of RFC 6455 1.3, and accept its answer.
const (
	key    = "dGhlIHNhbXBsZSBub25jZQ=="
	accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgrade is a request for WebSocket.
func upgrade(path, host string, more ...string) []string {
	return append([]string{"GET " + path + " HTTP/1.1", "Host: " + host, "Upgrade: websocket", "Connection: keep-alive, Upgrade", "Sec-WebSocket-Key: " + key,
		"Sec-WebSocket-Version: 13"}, more...)
}

// messages reads what stands in the binary messages of a server, up to its Close.
type messages struct {
	r    *bufio.Reader
	left uint64
	// control are the payloads of control frames, opcode first.
	control []string
}

func (m *messages) Read(b []byte) (int, error) {
	for m.left == 0 {
		var head [10]byte
		if _, err := io.ReadFull(m.r, head[:2]); err != nil {
			return 0, err
		}
		op, n := head[0], uint64(head[1])
		switch n {
		case 126:
			io.ReadFull(m.r, head[:2])
			n = uint64(binary.BigEndian.Uint16(head[:]))
			if n < 126 {
				return 0, errors.New("a length is not the shortest")
			}
		case 127:
			io.ReadFull(m.r, head[:8])
			n = binary.BigEndian.Uint64(head[:])
			if n <= 0xffff {
				return 0, errors.New("a length is not the shortest")
			}
		default:
			if n > 127 {
				return 0, errors.New("a server's frame is masked")
			}
		}
		if op != 0x82 {
			said := make([]byte, n)
			io.ReadFull(m.r, said)
			m.control = append(m.control, string(op&15)+string(said))
			if op == 0x88 {
				return 0, io.EOF
			}
			if op != 0x8a {
				return 0, fmt.Errorf("frame begins with %#x", op)
			}
			continue
		}
		m.left = n
	}
	n, err := m.r.Read(b[:min(uint64(len(b)), m.left)])
	m.left -= uint64(n)
	return n, err
}

// http2Client is a client of HTTP/2.
type http2Client struct {
	client
	transport *http.Transport
	cancel    context.CancelFunc
	err       error
	asked     chan struct{}
}

func getHTTP2(url string) (*http2Client, error) {
	ctx, cancel := context.WithCancel(context.Background())
	c := &http2Client{transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}, cancel: cancel, asked: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(c.asked)
		if c.res, c.err = c.transport.RoundTrip(req); c.err == nil {
			c.flv = flv.NewReader(c.res.Body)
		}
	}()
	return c, nil
}

func (c *http2Client) Read() (*media.Frame, error) {
	late := time.AfterFunc(20*time.Second, c.cancel)
	defer late.Stop()
	<-c.asked
	if c.err != nil {
		return nil, c.err
	}
	if c.res.StatusCode != http.StatusOK {
		return nil, status(c.res.StatusCode)
	}
	if c.res.ProtoMajor != 2 {
		return nil, errors.New("answered by " + c.res.Proto)
	}
	return c.frame()
}

func (c *http2Client) Close() error {
	c.cancel()
	<-c.asked
	if c.res != nil {
		c.res.Body.Close()
	}
	c.transport.CloseIdleConnections()
	return nil
}

// tsClient reads a transport stream as players do, and checks what they rely on:
// tables first, and counters without a gap unless frames were lost.
type tsClient struct {
	*client
	cc     map[int]byte
	pes    map[int]*pes
	tables int
	track  *media.Track
}

type pes struct {
	data []byte
	size int // 0 if it is not told
	key  bool
}

func (c *tsClient) Read() (*media.Frame, error) {
	if err := c.stream(); err != nil {
		return nil, err
	}
	if c.cc == nil {
		c.cc, c.pes = map[int]byte{}, map[int]*pes{}
	}
	var p [mpegts.PacketSize]byte
	for len(c.ready) == 0 {
		if _, err := io.ReadFull(c.body, p[:]); err != nil {
			return nil, err
		}
		if err := c.packet(p[:]); err != nil {
			return nil, err
		}
	}
	f := c.ready[0]
	c.ready = c.ready[1:]
	return f, nil
}

func (c *tsClient) packet(p []byte) error {
	pid := int(p[1]&0x1f)<<8 | int(p[2])
	last, known := c.cc[pid]
	if p[0] != 0x47 || p[3]&0x10 == 0 {
		return fmt.Errorf("packet begins with % x", p[:4])
	}
	start := p[1]&0x40 != 0
	jump := known && p[3]&15 != (last+1)&15
	c.cc[pid] = p[3] & 15
	if pid != mpegts.PIDVideo && pid != mpegts.PIDAudio {
		if jump && c.pes[mpegts.PIDVideo] == nil {
			return fmt.Errorf("counter of %#x goes from %d to %d", pid, last, p[3]&15)
		}
		c.tables++
		return nil
	}
	if c.tables < 2 {
		return errors.New("no tables before the first frame")
	}
	if jump && !start {
		return fmt.Errorf("counter of %#x goes from %d to %d within a frame", pid, last, p[3]&15)
	}
	data, key, stuffed := p[4:], false, false
	if p[3]&0x20 != 0 {
		key = p[4] > 0 && p[5]&0x40 != 0
		stuffed = !start || p[4] > 7
		data = p[5+p[4]:]
	}
	if start {
		c.pes[pid] = &pes{key: key}
		if n := int(binary.BigEndian.Uint16(data[4:])); n > 0 {
			c.pes[pid].size = 6 + n
		}
	}
	e := c.pes[pid]
	e.data = append(e.data, data...)
	if e.size == len(e.data) || e.size == 0 && stuffed {
		return c.finish(pid, e)
	}
	return nil
}

// finish makes a frame of a packet of the elementary stream.
func (c *tsClient) finish(pid int, e *pes) error {
	b := e.data
	pts := clock(b[9:])
	dts := pts
	if b[7]&0x40 != 0 {
		dts = clock(b[14:])
	}
	b = b[9+b[8]:]
	f := &media.Frame{Track: protocoltest.Sound, Source: dts, CTO: pts - dts}
	if pid == mpegts.PIDAudio {
		_, head, size, err := aac.ParseADTS(b)
		if err != nil || size != len(b) {
			return fmt.Errorf("ADTS of %d bytes of %d: %w", size, len(b), err)
		}
		f.Payload = b[head:]
		c.ready = append(c.ready, f)
		return nil
	}
	f.Key, f.Track = e.key, protocoltest.Picture
	mark := []byte{0, 0, 0, 1}
	if !bytes.HasPrefix(b, []byte{0, 0, 0, 1, h264.TypeAUD}) {
		return fmt.Errorf("no delimiter before a frame: % x", b[:6])
	}
	b = b[6:]
	for _, t := range []*media.Track{protocoltest.Picture, protocoltest.OtherPicture} {
		config, err := h264.ParseConfig(t.Config)
		if err != nil {
			return err
		}
		sets := append(append(append(bytes.Clone(mark), config.SPS[0]...), mark...), config.PPS[0]...)
		if rest, ok := bytes.CutPrefix(b, sets); ok {
			b, c.track = rest, t
			break
		}
	}
	f.Track = c.track
	f.Payload = append(binary.BigEndian.AppendUint32(nil, uint32(len(b)-4)), b[4:]...)
	c.ready = append(c.ready, f)
	return nil
}

func clock(b []byte) time.Duration {
	t := int64(b[0]>>1&7)<<30 | int64(b[1])<<22 | int64(b[2]>>1)<<15 | int64(b[3])<<7 | int64(b[4]>>1)
	return media.Duration(t, 90000)
}

// mp4Client reads a fragmented MP4, in which a fragment is a frame.
type mp4Client struct {
	*client
	picture *media.Track
}

func (c *mp4Client) Read() (*media.Frame, error) {
	if err := c.stream(); err != nil {
		return nil, err
	}
	f := &media.Frame{}
	for {
		var head [8]byte
		if _, err := io.ReadFull(c.body, head[:]); err != nil {
			return nil, err
		}
		body := make([]byte, binary.BigEndian.Uint32(head[:])-8)
		if _, err := io.ReadFull(c.body, body); err != nil {
			return nil, err
		}
		switch string(head[4:]) {
		case "moov":
			for _, t := range []*media.Track{protocoltest.Picture, protocoltest.OtherPicture} {
				if bytes.Contains(body, t.Config) {
					c.picture = t
				}
			}
		case "moof":
			if err := c.fragment(f, body); err != nil {
				return nil, err
			}
		case "mdat":
			f.Payload = body
			return f, nil
		}
	}
}

// fragment reads the description of a frame.
func (c *mp4Client) fragment(f *media.Frame, moof []byte) error {
	box := func(name string) []byte {
		if i := bytes.Index(moof, []byte(name)); i >= 0 {
			return moof[i+8:] // behind version and flags
		}
		return make([]byte, 32)
	}
	n := binary.BigEndian.Uint32(box("trun"))
	if n != 1 {
		return fmt.Errorf("a fragment of %d frames", n)
	}
	id, at := binary.BigEndian.Uint32(box("tfhd")), int64(binary.BigEndian.Uint64(box("tfdt")))
	if id == 2 {
		f.Track, f.Source = protocoltest.Sound, media.Duration(at, mp4.Timescale(protocoltest.Sound))
		return nil
	}
	sample := box("trun")[8:] // duration, size, flags, composition
	f.Track, f.Source, f.Key = c.picture, media.Duration(at, 90000), sample[9]&1 == 0
	f.CTO = media.Duration(int64(int32(binary.BigEndian.Uint32(sample[12:]))), 90000)
	return nil
}
