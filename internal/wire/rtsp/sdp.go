package rtsp

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"

	"weir/internal/media"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
)

// Type returns the payload type of a codec; ok is false for codecs that have no form in
// RTSP. Each has one of its own, so that players who were told of one codec do not take
// packets of another for it.
func Type(c media.Codec) (typ uint8, ok bool) {
	switch c {
	case media.PCMU:
		return 0, true
	case media.PCMA:
		return 8, true
	case media.MP3:
		return 14, true
	case media.H264:
		return 96, true
	case media.AAC:
		return 97, true
	case media.H265:
		return 98, true
	case media.VP8:
		return 99, true
	case media.VP9:
		return 100, true
	case media.AV1:
		return 101, true
	case media.Opus:
		return 102, true
	}
	return 0, false
}

// Carries reports whether a track can be sent by RTSP.
func Carries(t *media.Track) bool {
	_, ok := Type(t.Codec)
	switch t.Codec {
	case media.Opus:
		return t.Channels <= 2
	case media.AAC:
		return len(t.Config) > 0
	case media.PCMA, media.PCMU: // types 8 and 0 are of one channel at 8 kHz
		return t.Channels <= 1 && (t.SampleRate == 0 || t.SampleRate == 8000)
	}
	return ok
}

// Clock returns the rate of the time stamps of a track, in Hz.
func Clock(t *media.Track) int64 {
	switch t.Codec {
	case media.PCMA, media.PCMU:
		return 8000
	case media.Opus:
		return 48000
	case media.AAC:
		if t.SampleRate > 0 {
			return int64(t.SampleRate)
		}
	}
	return 90000
}

// Fits reports whether a player that was told of one track can go on with another.
// Parameter sets of pictures come along with them, those of AAC do not.
func Fits(told, t *media.Track) bool {
	if told.Codec != t.Codec || Clock(told) != Clock(t) {
		return false
	}
	return t.Codec != media.AAC || string(told.Config) == string(t.Config)
}

// A Medium is one track in a description, and the address to set it up by.
type Medium struct {
	Track   *media.Track
	Control string
}

// AppendSDP appends the description of a stream at url (RFC 8866, RFC 2326 C.1).
func AppendSDP(dst []byte, url string, all ...Medium) []byte {
	dst = append(dst, "v=0\r\no=- 0 0 IN IP4 0.0.0.0\r\ns=Play\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\na=range:npt=now-\r\na=control:"...)
	dst = append(append(dst, url...), "\r\n"...)
	for _, m := range all {
		if !Carries(m.Track) {
			continue
		}
		typ, _ := Type(m.Track.Codec)
		dst = fmt.Appendf(dst, "m=%v 0 RTP/AVP %d\r\na=rtpmap:%d %s\r\n", m.Track.Kind, typ, typ, encoding(m.Track))
		if f := format(m.Track); f != "" {
			dst = fmt.Appendf(dst, "a=fmtp:%d %s\r\n", typ, f)
		}
		dst = fmt.Appendf(dst, "a=control:%s\r\na=recvonly\r\n", m.Control)
	}
	return dst
}

// encoding is the name, the clock and the channels of a track.
func encoding(t *media.Track) string {
	switch t.Codec {
	case media.H264:
		return "H264/90000"
	case media.H265:
		return "H265/90000"
	case media.VP8:
		return "VP8/90000"
	case media.VP9:
		return "VP9/90000"
	case media.AV1:
		return "AV1/90000"
	case media.Opus:
		return "opus/48000/2" // whatever it has (RFC 7587 7)
	case media.MP3:
		return "MPA/90000"
	case media.PCMA:
		return "PCMA/8000"
	case media.PCMU:
		return "PCMU/8000"
	}
	return fmt.Sprintf("MPEG4-GENERIC/%d/%d", Clock(t), max(1, t.Channels))
}

// format is what a decoder has to know, where it can be said.
func format(t *media.Track) string {
	switch t.Codec {
	case media.H264: // RFC 6184 8.2.1
		f := "packetization-mode=1"
		c, err := h264.ParseConfig(t.Config)
		if err != nil || len(c.SPS) == 0 || len(c.SPS[0]) < 4 {
			return f
		}
		return f + ";profile-level-id=" + strings.ToUpper(hex.EncodeToString(c.SPS[0][1:4])) + ";sprop-parameter-sets=" + encoded(append(c.SPS[:len(c.SPS):len(c.SPS)], c.PPS...))
	case media.H265: // RFC 7798 7.1
		c, err := h265.ParseConfig(t.Config)
		if err != nil {
			return ""
		}
		var all []string
		for _, s := range []struct {
			name string
			typ  byte
		}{{"vps", h265.TypeVPS}, {"sps", h265.TypeSPS}, {"pps", h265.TypePPS}} {
			if u := c.Units(s.typ); len(u) > 0 {
				all = append(all, "sprop-"+s.name+"="+encoded(u))
			}
		}
		return strings.Join(all, ";")
	case media.AAC: // RFC 3640 4.1
		return "streamtype=5;profile-level-id=1;mode=AAC-hbr;sizelength=13;indexlength=3;indexdeltalength=3;config=" + strings.ToUpper(hex.EncodeToString(t.Config))
	case media.Opus:
		if t.Channels > 1 {
			return "sprop-stereo=1"
		}
	}
	return ""
}

func encoded(units [][]byte) string {
	var all []string
	for _, u := range units {
		all = append(all, base64.StdEncoding.EncodeToString(u))
	}
	return strings.Join(all, ",")
}
