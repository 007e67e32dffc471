package srt

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	wire "weir/internal/wire/srt"
)

// A Target is what an address asks for.
type Target struct {
	Addr       string // host:port
	StreamID   string
	Passphrase string // "" for none
	// Params are the connection's; Send, Deliver and Rand are set by [Dial].
	Params wire.Params
	// Wait is how long the listener may take to let us in, 3 s if 0.
	Wait time.Duration
	// Payload is how many bytes of media a packet that is sent has at most.
	Payload int
}

// micro is from where on a time without a unit is in µs, as in ffmpeg's addresses, and
// not in ms, as everywhere else: SRT has no latency of ten seconds.
const micro = 10000

// ParseURL reads an address: srt://host:port?streamid=...&passphrase=...&pbkeylen=16,
// with latency, rcvlatency, peerlatency, connect_timeout (in ms; from 10000 on in µs,
// which ffmpeg has), maxbw in bytes a second, and pkt_size. A streamid stands last, or
// has its & and # escaped; it need not be escaped otherwise. Other parameters of libsrt
// that change nothing here are passed over; what cannot be had is an error.
func ParseURL(s string) (t Target, err error) {
	rest, ok := strings.CutPrefix(s, "srt://")
	if !ok {
		return t, fmt.Errorf("%.100q is no address of SRT; write srt://host:port?streamid=...", s)
	}
	at, query, _ := strings.Cut(rest, "?")
	at = strings.TrimSuffix(at, "/")
	host, port, err := net.SplitHostPort(at)
	if n, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil || n == 0 || host == "" {
		return t, fmt.Errorf("%.100q names no host and port; write srt://host:port?streamid=...", s)
	}
	t = Target{Addr: net.JoinHostPort(host, port), Payload: 1316}
	for pair := range strings.SplitSeq(query, "&") {
		k, v, _ := strings.Cut(pair, "=")
		if plain, err := url.PathUnescape(v); err == nil {
			v = plain
		}
		if err := t.set(k, v); err != nil {
			return t, fmt.Errorf("%s=%.100q in an address of SRT: %w", k, v, err)
		}
	}
	return t, nil
}

var (
	errNumber = errors.New("it is no number that can be")
	errSecret = errors.New("it must have 10 to 79 bytes")
	errMode   = errors.New("only caller is possible")
)

func (t *Target) set(k, v string) (err error) {
	number := func(least, most int64) int64 {
		n, convErr := strconv.ParseInt(v, 10, 64)
		if convErr != nil || n < least || n > most {
			err = errNumber
		}
		return n
	}
	span := func() time.Duration {
		n := number(0, 3600e6)
		if n >= micro {
			return time.Duration(n) * time.Microsecond
		}
		return time.Duration(n) * time.Millisecond
	}
	switch k {
	case "streamid", "srt_streamid":
		if t.StreamID = v; len(v) > 512 {
			err = errors.New("it has more than 512 bytes")
		}
	case "passphrase":
		if t.Passphrase = v; len(v) > 0 && (len(v) < 10 || len(v) > 79) {
			err = errSecret
		}
	case "pbkeylen":
		if t.Params.KeyLength = int(number(0, 32)); t.Params.KeyLength%8 != 0 || t.Params.KeyLength == 8 {
			err = errNumber
		}
	case "latency":
		t.Params.RecvLatency = span()
		t.Params.PeerLatency = t.Params.RecvLatency
	case "rcvlatency":
		t.Params.RecvLatency = span()
	case "peerlatency":
		t.Params.PeerLatency = span()
	case "connect_timeout", "conntimeo":
		t.Wait = span()
	case "maxbw":
		t.Params.MaxBW = max(0, number(-1, 1<<40))
	case "mss":
		t.Params.MSS = int(number(576, 1500))
	case "pkt_size", "payload_size", "payloadsize":
		t.Payload = int(number(188, wire.MaxPayload))
	case "mode":
		if v != "caller" {
			err = errMode
		}
	case "transtype":
		if v != "live" {
			err = errors.New("only live is possible")
		}
	}
	return err
}
