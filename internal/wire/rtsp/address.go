package rtsp

import (
	"fmt"
	"strconv"
	"strings"
)

// control is what stands between the address of a stream and the number of a track, as
// SRS has it.
const control = "/trackID="

// Control returns the address of a track of a stream, before the parameters of the
// stream's.
func Control(url string, track int) string {
	path, query := cutQuery(url)
	return path + control + strconv.Itoa(track) + query
}

// Track cuts the number of a track off an address. Parameters may stand before it, as
// clients put it that join addresses like words; track is -1 if there is none.
func Track(url string) (stream string, track int) {
	at := strings.LastIndex(url, control)
	if at < 0 {
		return url, -1
	}
	number, rest := url[at+len(control):], ""
	if i := strings.IndexAny(number, "?/"); i >= 0 {
		number, rest = number[:i], strings.TrimSuffix(number[i:], "/")
	}
	n, err := strconv.ParseUint(number, 10, 8)
	if err != nil {
		return url, -1
	}
	return url[:at] + rest, int(n)
}

// Split cuts an address into what RTMP calls tcUrl and stream: "rtsp://host:port/app"
// and "stream?parameters". A slash too many at the end of the path is none.
func Split(url string) (tcURL, stream string, err error) {
	path, query := cutQuery(url)
	if len(path) < 7 || !strings.EqualFold(path[:7], "rtsp://") {
		return "", "", fmt.Errorf("%w: address %.80q does not begin with rtsp://", ErrSyntax, url)
	}
	slash := strings.LastIndexByte(path, '/')
	if slash < 7 {
		return "", "", fmt.Errorf("%w: address %.80q names no stream", ErrSyntax, url)
	}
	return "rtsp" + path[4:slash], path[slash+1:] + query, nil
}

func cutQuery(url string) (path, query string) {
	if i := strings.IndexByte(url, '?'); i >= 0 {
		return url[:i], url[i:]
	}
	return url, ""
}
