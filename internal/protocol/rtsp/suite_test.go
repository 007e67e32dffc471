package rtsp

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/protocol/protocoltest"
	"weir/internal/wire/rtp"
)

const (
	turnedOn = "rtsp_server { enabled on; listen 127.0.0.1:0; }"
	vhostOn  = "rtsp { enabled on; rtmp_to_rtsp on; wait_timeout 20; }"
)

func TestConformance(t *testing.T) {
	protocoltest.Run(t, protocoltest.Door{
		Protocol: Protocol, Root: turnedOn, Vhost: vhostOn, ToldOnce: true,
		Play: func(_ context.Context, h *protocoltest.House, n protocoltest.Name) (protocoltest.Player, error) {
			c, err := dial(h.Addr())
			if err != nil {
				return nil, err
			}
			c.url = "rtsp://" + n.Vhost + "/" + n.App + "/" + n.Stream
			return c, c.say("DESCRIBE", c.url, "Accept: application/sdp")
		},
		Code: func(err error) string {
			if s, ok := errors.AsType[refusal](err); ok {
				return strconv.Itoa(int(s))
			}
			return ""
		},
		PlayCodes: protocoltest.Codes{Denied: "403", NoVhost: "404", EmptyName: "404", BadName: "400", Full: "503", Shutdown: "503"},
	})
}

// refusal is an answer other than 200.
type refusal int

func (s refusal) Error() string { return "answered with status " + strconv.Itoa(int(s)) }

// client is a player, written for these tests alone.
type client struct {
	nc   net.Conn
	buf  []byte
	cseq int
	url  string

	playing bool
	tracks  map[byte]*track // by channel
	ready   []*media.Frame
	reports []string // what came on the other channels, in hex
	head    string   // of the answer to PLAY
}

// track is one that was set up.
type track struct {
	url   string
	media *media.Track
	clock int64
	base  uint32 // time stamp of the first packet
	begun bool
	seq   uint16
	unit  rtp.Unpacker
	sound []byte
}

func dial(addr string) (*client, error) {
	nc, err := net.Dial("tcp", addr)
	return &client{nc: nc, tracks: map[byte]*track{}}, err
}

func (c *client) Close() error { return c.nc.Close() }

// say sends a request with further lines.
func (c *client) say(method, url string, lines ...string) error {
	c.cseq++
	_, err := fmt.Fprintf(c.nc, "%s %s RTSP/1.0\r\nCSeq: %d\r\n%s\r\n", method, url, c.cseq, strings.Join(append(lines, ""), "\r\n"))
	return err
}

// fill reads until there are n bytes.
func (c *client) fill(n int) error {
	b := make([]byte, 64<<10)
	for len(c.buf) < n {
		c.nc.SetReadDeadline(time.Now().Add(20 * time.Second))
		k, err := c.nc.Read(b)
		c.buf = append(c.buf, b[:k]...)
		if err != nil {
			return err
		}
	}
	return nil
}

// hear reads the next response; packets before it are kept.
func (c *client) hear() (head, body string, err error) {
	for {
		if err := c.fill(4); err != nil {
			return "", "", err
		}
		if c.buf[0] != '$' {
			break
		}
		if err := c.packet(); err != nil {
			return "", "", err
		}
	}
	for !strings.Contains(string(c.buf), "\r\n\r\n") {
		if err := c.fill(len(c.buf) + 1); err != nil {
			return "", "", err
		}
	}
	head, _, _ = strings.Cut(string(c.buf), "\r\n\r\n")
	c.buf = c.buf[len(head)+4:]
	if m := regexp.MustCompile(`(?m)^Content-Length: (\d+)`).FindStringSubmatch(head); m != nil {
		n, _ := strconv.Atoi(m[1])
		if err := c.fill(n); err != nil {
			return "", "", err
		}
		body = string(c.buf[:n])
		c.buf = c.buf[n:]
	}
	var status int
	if _, err := fmt.Sscanf(head, "RTSP/1.0 %d", &status); err != nil {
		return "", "", fmt.Errorf("answered %q", head)
	}
	if status != 200 {
		return head, body, refusal(status)
	}
	return head, body, nil
}

func (c *client) ask(method, url string, lines ...string) (head, body string, err error) {
	if err := c.say(method, url, lines...); err != nil {
		return "", "", err
	}
	return c.hear()
}

// start goes on from the answer to DESCRIBE, which it waits for.
func (c *client) start() error {
	_, sdp, err := c.hear()
	if err != nil {
		return err
	}
	return c.startWith(sdp, 0)
}

// startWith sets up all tracks of a description, from a channel on, and plays.
func (c *client) startWith(sdp string, channel byte) (err error) {
	for _, m := range strings.Split(sdp, "\r\nm=")[1:] {
		x := &track{url: regexp.MustCompile(`a=control:(\S+)`).FindStringSubmatch(m)[1], clock: 90000}
		if strings.HasPrefix(m, "audio") {
			clock := regexp.MustCompile(`a=rtpmap:97 MPEG4-GENERIC/(\d+)/(\d+)`).FindStringSubmatch(m)
			config, err := hex.DecodeString(regexp.MustCompile(`config=(\w+)`).FindStringSubmatch(m)[1])
			if err != nil {
				return err
			}
			x.media = &media.Track{Kind: media.Audio, Codec: media.AAC, Config: config}
			x.media.SampleRate, _ = strconv.Atoi(clock[1])
			x.media.Channels, _ = strconv.Atoi(clock[2])
			x.clock = int64(x.media.SampleRate)
		} else {
			x.unit.Codec = media.H264
		}
		head, _, err := c.ask("SETUP", x.url, fmt.Sprintf("Transport: RTP/AVP/TCP;unicast;interleaved=%d-%d", channel, channel+1))
		if err != nil {
			return err
		}
		if !strings.Contains(head, fmt.Sprintf("interleaved=%d-%d;", channel, channel+1)) {
			return fmt.Errorf("set up by %q", head)
		}
		c.tracks[channel] = x
		channel += 2
	}
	c.head, _, err = c.ask("PLAY", c.url, "Range: npt=0.000-")
	c.playing = err == nil
	return err
}

func (c *client) Read() (*media.Frame, error) {
	if !c.playing {
		if err := c.start(); err != nil {
			return nil, err
		}
	}
	for len(c.ready) == 0 {
		if err := c.packet(); err != nil {
			return nil, err
		}
	}
	f := c.ready[0]
	c.ready = c.ready[1:]
	return f, nil
}

// packet takes one packet.
func (c *client) packet() error {
	if err := c.fill(4); err != nil {
		return err
	}
	if c.buf[0] != '$' {
		return fmt.Errorf("%q between packets", c.buf[:min(len(c.buf), 40)])
	}
	n := 4 + int(binary.BigEndian.Uint16(c.buf[2:]))
	if err := c.fill(n); err != nil {
		return err
	}
	channel, b := c.buf[1], c.buf[4:n:n]
	c.buf = c.buf[n:]
	x := c.tracks[channel]
	if x == nil {
		if c.tracks[channel-1] == nil {
			return fmt.Errorf("a packet on channel %d", channel)
		}
		c.reports = append(c.reports, hex.EncodeToString(b))
		return nil
	}
	h, payload, err := rtp.Parse(b)
	if err != nil {
		return err
	}
	if !x.begun {
		x.begun, x.base, x.seq = true, h.Timestamp, h.Sequence
	}
	if h.Sequence != x.seq {
		x.unit.Reset() // it was too slow; the frame that was cut is not finished
		x.seq = h.Sequence
	}
	x.seq++
	at := media.Duration(int64(h.Timestamp-x.base), x.clock)
	if x.media != nil && x.media.Kind == media.Audio {
		if binary.BigEndian.Uint16(payload) != 16 {
			return errors.New("not one frame of AAC in a packet")
		}
		x.sound = append(x.sound, payload[4:]...)
		if h.Marker {
			c.ready = append(c.ready, &media.Frame{Track: x.media, Source: at, Payload: x.sound})
			x.sound = nil
		}
		return nil
	}
	x.unit.Add(payload)
	if !h.Marker {
		return nil
	}
	units, key, ok := x.unit.Take()
	if !ok {
		return errors.New("a picture that is none")
	}
	f := &media.Frame{Source: at, Key: key}
	var sps, pps [][]byte
	for _, u := range units {
		u = append([]byte(nil), u...)
		switch h264.Type(u) {
		case h264.TypeSPS:
			sps = append(sps, u)
		case h264.TypePPS:
			pps = append(pps, u)
		default:
			f.Payload = append(binary.BigEndian.AppendUint32(f.Payload, uint32(len(u))), u...)
		}
	}
	x.unit.Reset()
	if sps != nil {
		conf, err := h264.NewConfig(sps, pps)
		if err != nil {
			return err
		}
		x.media = &media.Track{Kind: media.Video, Codec: media.H264, Config: conf.Append(nil)}
	}
	if x.media == nil {
		return errors.New("a picture without parameter sets before")
	}
	f.Track = x.media
	c.ready = append(c.ready, f)
	return nil
}

// gone reads until the server closes the connection.
func (c *client) gone() error {
	for {
		if err := c.fill(len(c.buf) + 1); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
}
