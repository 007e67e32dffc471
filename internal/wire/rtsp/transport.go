package rtsp

import (
	"fmt"
	"strconv"
	"strings"
)

// A Transport is how a client wants to be sent one track (12.39).
type Transport struct {
	// TCP says that the packets go between the messages of the connection.
	TCP bool
	// Multicast is asked for, and Record, which is to send rather than to be sent.
	Multicast, Record bool
	// Channels are those of RTP and RTCP. Chosen says that the client chose them.
	Channels [2]uint8
	Chosen   bool
}

// maxTransports is the most ways that one header offers.
const maxTransports = 16

// ParseTransport returns the ways that a client offers, in its order. Ways of other
// protocols than RTP are left out.
func ParseTransport(value string) (all []Transport, err error) {
	for spec := range strings.SplitSeq(value, ",") {
		if len(all) == maxTransports {
			return nil, fmt.Errorf("%w: more than %d transports", ErrSyntax, maxTransports)
		}
		name, params, _ := strings.Cut(strings.TrimSpace(spec), ";")
		var t Transport
		switch strings.ToUpper(strings.TrimSpace(name)) {
		case "RTP/AVP/TCP":
			t.TCP = true
		case "RTP/AVP", "RTP/AVP/UDP":
		default:
			continue
		}
		if err := t.params(params); err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: no transport of RTP in %.80q", ErrSyntax, value)
	}
	return all, nil
}

func (t *Transport) params(text string) error {
	for p := range strings.SplitSeq(text, ";") {
		name, value, _ := strings.Cut(strings.TrimSpace(p), "=")
		switch strings.ToLower(name) {
		case "multicast":
			t.Multicast = true
		case "mode":
			t.Record = !strings.EqualFold(strings.Trim(value, "\""), "play")
		case "interleaved":
			low, high, pair := strings.Cut(value, "-")
			a, err := strconv.ParseUint(low, 10, 8)
			if err != nil {
				return fmt.Errorf("%w: interleaved=%.20q", ErrSyntax, value)
			}
			b := a + 1
			if pair {
				if b, err = strconv.ParseUint(high, 10, 8); err != nil {
					return fmt.Errorf("%w: interleaved=%.20q", ErrSyntax, value)
				}
			}
			if b > 255 || a == b {
				return fmt.Errorf("%w: interleaved=%.20q has not two channels", ErrSyntax, value)
			}
			t.Channels, t.Chosen = [2]uint8{uint8(a), uint8(b)}, true
		}
	}
	return nil
}

// Answer is the header of the response to a client that is sent a track so.
func (t *Transport) Answer(ssrc uint32) string {
	return fmt.Sprintf("RTP/AVP/TCP;unicast;interleaved=%d-%d;ssrc=%08X;mode=\"PLAY\"", t.Channels[0], t.Channels[1], ssrc)
}
