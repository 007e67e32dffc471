package m3u8

import (
	"strconv"
	"time"
)

// Low is what a playlist of low latency says of itself (RFC 8216bis 4.4.3.7 and 4.4.3.8).
type Low struct {
	// Part is the longest that a part may last.
	Part time.Duration
	// HoldBack is how far from the end players stay, three parts at least, and SkipUntil
	// how old segments are that an update may leave out, six targets at least.
	HoldBack, SkipUntil time.Duration
}

// A Part is a piece of a segment that is listed before the segment is whole.
type Part struct {
	URI         string
	Duration    time.Duration
	Independent bool // decoding can start at it
	Gap         bool // there is no such part
}

// A Report says how far another rendition's playlist is (RFC 8216bis 4.4.5.4).
type Report struct {
	URI string
	// Sequence is the number of the segment that its last part belongs to, and Part that
	// part's number in it.
	Sequence int64
	Part     int
}

// AppendReport appends the line that tells of another rendition.
func AppendReport(dst []byte, r Report) []byte {
	dst = appendURI(append(dst, `#EXT-X-RENDITION-REPORT:URI="`...), r.URI, true)
	dst = strconv.AppendInt(append(dst, `",LAST-MSN=`...), r.Sequence, 10)
	return append(strconv.AppendInt(append(dst, ",LAST-PART="...), int64(r.Part), 10), '\n')
}

// AppendLow appends what stands in the head of a playlist of low latency.
func AppendLow(dst []byte, l *Low) []byte {
	dst = appendSeconds(append(dst, "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK="...), l.HoldBack)
	dst = appendSeconds(append(dst, ",CAN-SKIP-UNTIL="...), l.SkipUntil)
	dst = appendSeconds(append(dst, "\n#EXT-X-PART-INF:PART-TARGET="...), l.Part)
	return append(dst, '\n')
}

// AppendPart appends the line of a part.
func AppendPart(dst []byte, p Part) []byte {
	dst = appendSeconds(append(dst, "#EXT-X-PART:DURATION="...), p.Duration)
	dst = appendURI(append(dst, `,URI="`...), p.URI, true)
	dst = append(dst, '"')
	if p.Independent {
		dst = append(dst, ",INDEPENDENT=YES"...)
	}
	if p.Gap {
		dst = append(dst, ",GAP=YES"...)
	}
	return append(dst, '\n')
}

// AppendHint appends the line that tells of the part which comes next.
func AppendHint(dst []byte, uri string) []byte {
	return append(appendURI(append(dst, `#EXT-X-PRELOAD-HINT:TYPE=PART,URI="`...), uri, true), "\"\n"...)
}

// AppendSkip appends the line that stands for the first segments, in an update.
func AppendSkip(dst []byte, segments int) []byte {
	return appendNumber(dst, "#EXT-X-SKIP:SKIPPED-SEGMENTS=", uint64(segments))
}

func appendSeconds(dst []byte, d time.Duration) []byte {
	ms := max(d+time.Millisecond/2, 0).Milliseconds()
	dst = strconv.AppendInt(dst, ms/1000, 10)
	return append(dst, '.', byte('0'+ms/100%10), byte('0'+ms/10%10), byte('0'+ms%10))
}
