// Package protocoltest is the conformance suite that every protocol passes.
//
// A protocol's own test describes its [Door]: how a client of it publishes and
// plays, over real sockets. [Run] then holds the door to what every door
// promises: frames arrive whole; each refusal is told in words; a busy stream is
// refused or taken over as configured; a change of codec, a slow reader, a kick,
// a publisher that leaves and comes back, and the end of the server go as they
// must, with no goroutine left behind; and nobody publishes or plays without the
// desk.
//
// What a door cannot do is left out by leaving its field empty, and the suite
// then does that part through the desk itself.
//
// The package is used by tests only. It knows no concrete protocol.
package protocoltest

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"weir/internal/format/flv"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/service"
)

// A Name is what a client asks for.
type Name struct {
	Vhost, App, Stream string
	// From is the address that the client comes from, empty for any. It is one
	// of 127.0.0.0/8.
	From string
}

// Key returns the name as the hub has it.
func (n Name) Key() hub.Key { return hub.Key{Vhost: n.Vhost, App: n.App, Stream: n.Stream} }

// A Publisher is a client that has been let in to publish. Its methods are for
// one goroutine, but for Wait.
type Publisher interface {
	// Write sends a frame, of which Track, Source, CTO, Key and Payload count.
	Write(f *media.Frame) error
	// Wait returns when the server has ended the client.
	Wait() error
	// Close takes leave, as the protocol has it.
	Close() error
}

// A Player is a client that plays.
type Player interface {
	// Read returns the next frame with Track, Source (the time that the client
	// was told), CTO, Key and Payload. After 20 s without one it fails.
	Read() (*media.Frame, error)
	Close() error
}

// A Door is one protocol, as its clients see it.
type Door struct {
	Protocol service.Protocol
	// Vhost are directives for the default vhost, and Root such that stand
	// directly in the file.
	Vhost, Root string
	// Web says that the protocol is served by the shared HTTP server.
	Web bool
	// TLS says that it is over TLS.
	TLS bool

	// Publish and Play come in. Play may put a refusal off until the first Read.
	Publish func(ctx context.Context, h *House, n Name) (Publisher, error)
	Play    func(ctx context.Context, h *House, n Name) (Player, error)
	// Code returns what the server said in an error of the above, in the
	// protocol's own words, such as "NetStream.Publish.BadName" or "404"; empty
	// if it said nothing.
	Code func(err error) string
	// PublishCodes and PlayCodes are the words for each refusal.
	PublishCodes, PlayCodes Codes

	// Connects says that the desk is asked about connecting first.
	Connects bool
	// Senders are the ways of sending to try, nil for all.
	Senders []string
	// EndsWithPublisher says that a player's answer ends with the publication.
	EndsWithPublisher bool
	// ToldOnce says that players are told of the tracks once, and so begin when sound
	// and picture are there.
	ToldOnce bool
}

// lead is how many frames there must be before a player gets one.
func (d *Door) lead() int {
	if d.ToldOnce {
		return 2
	}
	return 1
}

// Codes are the words that a door has for each refusal; empty ones are not
// tried.
type Codes struct {
	Denied, NoVhost, EmptyName, BadName, Busy, Full, Shutdown string
}

// config720 is an AVCDecoderConfigurationRecord of 1280x720, High, 3.1, and
// otherConfig the same with another picture parameter set.
const (
	config720   = "0164001fffe1001c6764001facd9405005bb016a02020280000003008000001e478c18cb01000568ebecb22cfdf8f800"
	otherConfig = "0164001fffe1001c6764001facd9405005bb016a02020280000003008000001e478c18cb01000568ebecb22dfdf8f800"
)

// The tracks of the suite.
var (
	Picture      = track(media.Video, "1700000000"+config720)
	OtherPicture = track(media.Video, "1700000000"+otherConfig)
	Sound        = track(media.Audio, "af00121056e500")
)

func track(k media.Kind, body string) *media.Track {
	b, err := hex.DecodeString(body)
	if err != nil {
		panic("BUG: " + err.Error())
	}
	var in flv.Ingest
	if _, err := in.Frames(nil, k, 0, b); err != nil {
		panic("BUG: " + err.Error())
	}
	return in.Tracks(nil)[0]
}

// Video returns frame i of a picture with 25 frames a second, in groups of gop,
// of about size bytes.
func Video(t *media.Track, i, gop, size int) *media.Frame {
	key := i%gop == 0
	n := max(size, 32)
	p := binary.BigEndian.AppendUint32(make([]byte, 0, n), uint32(n-4))
	unit := byte(0x41)
	if key {
		unit = 0x65
	}
	p = append(p, unit)
	return &media.Frame{Track: t, Source: time.Duration(i) * 40 * time.Millisecond, Key: key, Payload: fill(p, i, n)}
}

// Audio returns frame i of a sound of 50 frames a second.
func Audio(i int) *media.Frame {
	return &media.Frame{Track: Sound, Source: time.Duration(i) * 20 * time.Millisecond, Payload: fill([]byte{0x21}, i, 64)}
}

// fill appends a mark of frame i, and then bytes that tell a mistake, up to n.
func fill(p []byte, i, n int) []byte {
	p = binary.BigEndian.AppendUint32(p, 0xfee1900d)
	p = binary.BigEndian.AppendUint32(p, uint32(i))
	for len(p) < n {
		p = append(p, byte(i+len(p)))
	}
	return p
}

// Mark returns which frame f is: "video 12 key" or "audio 3", and an error if
// it is not whole.
func Mark(f *media.Frame) (string, error) {
	at, suffix := 1, ""
	if f.Track.Kind == media.Video {
		at = 5
		if f.Key {
			suffix = " key"
		}
	}
	if len(f.Payload) < at+8 || binary.BigEndian.Uint32(f.Payload[at:]) != 0xfee1900d {
		return "", fmt.Errorf("%v frame of %d bytes is none of ours", f.Track.Kind, len(f.Payload))
	}
	i := binary.BigEndian.Uint32(f.Payload[at+4:])
	for n := at + 8; n < len(f.Payload); n++ {
		if f.Payload[n] != byte(int(i)+n) {
			return "", fmt.Errorf("%v frame %d is damaged at byte %d of %d", f.Track.Kind, i, n, len(f.Payload))
		}
	}
	return fmt.Sprintf("%v %d%s", f.Track.Kind, i, suffix), nil
}

// Number returns the number of a video frame, -1 if it is no such.
func Number(f *media.Frame) int {
	if f.Track.Kind != media.Video || len(f.Payload) < 13 {
		return -1
	}
	return int(binary.BigEndian.Uint32(f.Payload[9:]))
}

// Senders are the ways in which viewers are sent to, as WEIR_SENDER names them:
// by a goroutine each, or by a send loop in either of its forms. Where the system
// has no such loop, it is a goroutine again.
var Senders = []string{"goroutine", "writev", "io_uring"}

// Run holds a door to its promises, however its viewers are sent to.
func Run(t *testing.T, d Door) {
	senders := d.Senders
	if senders == nil {
		senders = Senders
	}
	for _, how := range senders {
		t.Run(how, func(t *testing.T) {
			t.Setenv("WEIR_SENDER", how)
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) { c.run(t, d) })
			}
		})
	}
}
