// Package m3u8 writes HLS playlists (RFC 8216) as SRS does, and reads its own
// again, which is how a server that starts carries on with what it left.
//
// Writing appends to a slice; text from outside that is put into a URI cannot
// break out of its line, since control characters are escaped. Reading is
// bounded by [MaxSize] and [MaxSegments], skips tags that it does not know and
// is not a parser for playlists of others.
package m3u8

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Limits of [Parse].
const (
	// MaxSize is the longest playlist, in bytes.
	MaxSize = 4 << 20
	// MaxSegments is how many segments a playlist may have.
	MaxSegments = 16384
	// MaxDuration is the longest segment.
	MaxDuration = 24 * time.Hour
)

// Errors of [Parse].
var (
	// ErrSyntax means that the input is no media playlist.
	ErrSyntax = errors.New("m3u8: bad syntax")
	// ErrLimit means that the playlist is over one of the limits.
	ErrLimit = errors.New("m3u8: over the limit")
)

// A Playlist is a media playlist.
type Playlist struct {
	// Version is the protocol version: 3 for MPEG-TS, 7 for fragmented MP4, 8 for gaps.
	// 0 stands for 3.
	Version int
	// Sequence is the number of the first segment.
	Sequence uint64
	// Discontinuities counts the discontinuities that have left the playlist.
	// It is written only if it is not 0.
	Discontinuities uint64
	// Target is the target duration in seconds; see [Target].
	Target int
	// Independent says that decoding can start at each segment.
	Independent bool
	// IFrames says that each entry is a single picture, which is shown until the next.
	IFrames bool
	// Low is set for low latency.
	Low      *Low
	Segments []Segment
	// End says that no segments will follow.
	End bool
}

// A Segment is one entry of a playlist.
type Segment struct {
	URI      string
	Duration time.Duration
	// Discontinuity says that the segment does not go on from the one before.
	Discontinuity bool
	// Time is when the segment was taken, written as PROGRAM-DATE-TIME unless
	// zero.
	Time time.Time
	// Key tells how the segment is encrypted.
	Key Key
	// Map is the URI of the initialization segment, "" for none.
	Map string
	// Gap says that there is no such segment: players take another rendition.
	Gap bool
	// Bytes is how many bytes of the file are meant, from its start; 0 for all.
	Bytes int
	// Parts are listed too, before the segment.
	Parts []Part
}

// A Key tells how segments are encrypted. The zero Key is no encryption.
type Key struct {
	URI string
	IV  [16]byte
}

// Target returns the target duration, in whole seconds, for segments of which
// the longest lasts longest and which are meant to last atMost.
func Target(longest, atMost time.Duration) int {
	d := max(longest, atMost, 0)
	return int((d + time.Second - 1) / time.Second)
}

// Append appends the playlist. Keys and maps are written where they change,
// and so always before the first segment: a playlist whose first segments have
// gone can be decrypted.
func (p *Playlist) Append(dst []byte) []byte {
	dst = AppendHead(dst, p)
	prev := &Segment{}
	for i := range p.Segments {
		s := &p.Segments[i]
		dst = AppendSegment(dst, s, prev)
		prev = s
	}
	if p.End {
		dst = append(dst, "#EXT-X-ENDLIST\n"...)
	}
	return dst
}

// AppendHead appends what stands before the segments.
func AppendHead(dst []byte, p *Playlist) []byte {
	version := p.Version
	if version == 0 {
		version = 3
	}
	dst = append(dst, "#EXTM3U\n"...)
	dst = appendNumber(dst, "#EXT-X-VERSION:", uint64(version))
	dst = appendNumber(dst, "#EXT-X-MEDIA-SEQUENCE:", p.Sequence)
	if p.Discontinuities > 0 {
		dst = appendNumber(dst, "#EXT-X-DISCONTINUITY-SEQUENCE:", p.Discontinuities)
	}
	dst = appendNumber(dst, "#EXT-X-TARGETDURATION:", uint64(max(p.Target, 0)))
	if p.Independent {
		dst = append(dst, "#EXT-X-INDEPENDENT-SEGMENTS\n"...)
	}
	if p.IFrames {
		dst = append(dst, "#EXT-X-I-FRAMES-ONLY\n"...)
	}
	if p.Low != nil {
		dst = AppendLow(dst, p.Low)
	}
	return dst
}

func appendNumber(dst []byte, tag string, n uint64) []byte {
	return append(strconv.AppendUint(append(dst, tag...), n, 10), '\n')
}

// AppendSegment appends the lines of s, which follows prev in the playlist; the
// zero Segment stands before the first.
func AppendSegment(dst []byte, s, prev *Segment) []byte {
	dst = AppendSegmentHead(dst, s, prev)
	return append(appendURI(dst, s.URI, false), '\n')
}

// AppendSegmentHead appends the lines of s that stand before its URI, for
// writers that put the URI together for each viewer.
func AppendSegmentHead(dst []byte, s, prev *Segment) []byte {
	dst = AppendOpen(dst, s, prev)
	dst = append(appendSeconds(append(dst, "#EXTINF:"...), s.Duration), ", no desc\n"...)
	if s.Bytes > 0 {
		dst = append(strconv.AppendInt(append(dst, "#EXT-X-BYTERANGE:"...), int64(s.Bytes), 10), "@0\n"...)
	}
	return dst
}

// AppendOpen appends the lines of s that stand before its duration: all there is to
// say of one that is not whole.
func AppendOpen(dst []byte, s, prev *Segment) []byte {
	if s.Discontinuity {
		dst = append(dst, "#EXT-X-DISCONTINUITY\n"...)
	}
	last := prev.Key
	if s.Map != prev.Map && s.Map != "" {
		// A key holds for the maps that follow it, too, and ours are in the clear.
		dst, last = appendKey(dst, Key{}, last)
		dst = appendURI(append(dst, `#EXT-X-MAP:URI="`...), s.Map, true)
		dst = append(dst, "\"\n"...)
	}
	dst, _ = appendKey(dst, s.Key, last)
	if !s.Time.IsZero() {
		dst = s.Time.UTC().AppendFormat(append(dst, "#EXT-X-PROGRAM-DATE-TIME:"...), timeFormat)
		dst = append(dst, '\n')
	}
	if s.Gap {
		dst = append(dst, "#EXT-X-GAP\n"...)
	}
	for _, p := range s.Parts {
		dst = AppendPart(dst, p)
	}
	return dst
}

// appendKey goes over from one key to another.
func appendKey(dst []byte, k, last Key) ([]byte, Key) {
	switch k {
	case last:
	case Key{}:
		dst = append(dst, "#EXT-X-KEY:METHOD=NONE\n"...)
	default:
		dst = appendURI(append(dst, `#EXT-X-KEY:METHOD=AES-128,URI="`...), k.URI, true)
		dst = append(dst, `",IV=0x`...)
		at := len(dst)
		dst = hex.AppendEncode(dst, k.IV[:])
		for i, c := range dst[at:] { // SRS writes capitals
			if c >= 'a' {
				dst[at+i] = c - 'a' + 'A'
			}
		}
		dst = append(dst, '\n')
	}
	return dst, k
}

const timeFormat = "2006-01-02T15:04:05.000Z07:00"

// appendURI appends s with control characters percent-encoded, and quotes too
// if it stands in quotes. A URI at the start of a line cannot pass for a tag.
func appendURI(dst []byte, s string, quoted bool) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c == 0x7f || quoted && c == '"' || !quoted && i == 0 && c == '#' {
			dst = append(dst, '%', "0123456789ABCDEF"[c>>4], "0123456789ABCDEF"[c&15])
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// A Variant is what a multivariant playlist says of one media playlist. What is 0
// or empty is not known.
type Variant struct {
	URI string
	// Bandwidth is the rate of the segment that needs most, Average that of all,
	// in bits a second.
	Bandwidth, Average int64
	Codecs             string // RFC 6381
	Width, Height      int
	Rate               float64 // pictures a second
	// Audio is the group of sounds that goes with it.
	Audio string
}

// A Sound is one of several sounds to choose from.
type Sound struct {
	Group, Name, Language string // the language as in RFC 5646, or empty
	Default               bool
	Channels              int
	URI                   string
}

// A Ladder is a multivariant playlist.
type Ladder struct {
	// Independent says that decoding can start at each segment of all.
	Independent bool
	Sounds      []Sound
	// Variants are what there is to choose from, the one to begin with first; IFrames the
	// same as single pictures.
	Variants, IFrames []Variant
}

// Append appends the playlist. Without a known bandwidth it says 1, as SRS does; the
// attribute must be there.
func (l *Ladder) Append(dst []byte) []byte {
	dst = append(dst, "#EXTM3U\n"...)
	if l.Independent {
		dst = append(dst, "#EXT-X-INDEPENDENT-SEGMENTS\n"...)
	}
	for _, s := range l.Sounds {
		dst = appendSound(dst, s)
	}
	for _, v := range l.Variants {
		dst = appendVariant(dst, v)
	}
	for _, v := range l.IFrames {
		dst = appendFacts(append(dst, "#EXT-X-I-FRAME-STREAM-INF:"...), v)
		dst = appendURI(append(dst, `,URI="`...), v.URI, true)
		dst = append(dst, "\"\n"...)
	}
	return dst
}

func appendSound(dst []byte, s Sound) []byte {
	dst = appendQuoted(append(dst, "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="...), s.Group)
	dst = appendQuoted(append(dst, ",NAME="...), s.Name)
	if s.Language != "" {
		dst = appendQuoted(append(dst, ",LANGUAGE="...), s.Language)
	}
	if s.Default {
		dst = append(dst, ",DEFAULT=YES"...)
	}
	dst = append(dst, ",AUTOSELECT=YES"...)
	if s.Channels > 0 {
		dst = appendQuoted(append(dst, ",CHANNELS="...), strconv.Itoa(s.Channels))
	}
	dst = appendURI(append(dst, `,URI="`...), s.URI, true)
	return append(dst, "\"\n"...)
}

// appendQuoted appends a quoted string, which holds no quote and no end of line (RFC 8216
// 4.2).
func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s {
		if r < ' ' || r == 0x7f || r == '"' {
			r = '_'
		}
		dst = utf8.AppendRune(dst, r)
	}
	return append(dst, '"')
}

// AppendMaster appends a multivariant playlist of variants alone.
func AppendMaster(dst []byte, independent bool, variants ...Variant) []byte {
	l := Ladder{Independent: independent, Variants: variants}
	return l.Append(dst)
}

func appendVariant(dst []byte, v Variant) []byte {
	dst = appendFacts(append(dst, "#EXT-X-STREAM-INF:"...), v)
	if v.Rate > 0 {
		dst = strconv.AppendFloat(append(dst, ",FRAME-RATE="...), v.Rate, 'f', 3, 64)
	}
	if v.Audio != "" {
		dst = appendQuoted(append(dst, ",AUDIO="...), v.Audio)
	}
	return append(appendURI(append(dst, '\n'), v.URI, false), '\n')
}

// appendFacts appends what variants of either kind have.
func appendFacts(dst []byte, v Variant) []byte {
	dst = strconv.AppendInt(append(dst, "BANDWIDTH="...), max(v.Bandwidth, 1), 10)
	dst = strconv.AppendInt(append(dst, ",AVERAGE-BANDWIDTH="...), max(v.Average, 1), 10)
	if v.Codecs != "" {
		dst = append(append(append(dst, `,CODECS="`...), v.Codecs...), '"')
	}
	if v.Width > 0 && v.Height > 0 {
		dst = strconv.AppendInt(append(dst, ",RESOLUTION="...), int64(v.Width), 10)
		dst = strconv.AppendInt(append(dst, 'x'), int64(v.Height), 10)
	}
	return dst
}

// attribute returns the value of an attribute in a list (RFC 8216 4.2), without
// quotes.
func attribute(list, name string) (string, bool) {
	for list != "" {
		key, rest, ok := strings.Cut(list, "=")
		if !ok {
			return "", false
		}
		var value string
		if quoted, found := strings.CutPrefix(rest, `"`); found {
			if value, list, ok = strings.Cut(quoted, `"`); !ok {
				return "", false
			}
			list = strings.TrimPrefix(list, ",")
		} else {
			value, list, _ = strings.Cut(rest, ",")
		}
		if strings.TrimSpace(key) == name {
			return value, true
		}
	}
	return "", false
}
