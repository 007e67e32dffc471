package shelf

import (
	"hash/fnv"
	"net/http"
	pathpkg "path"
	"strconv"
	"strings"
)

// Parameters of requests for what a stream was: where time_shift keeps it.
const (
	StartParam  = "start"
	BehindParam = "behind"
	WindowParam = "window"
	// PastMark ends the folder in which segments of the past are found.
	PastMark = ".past"
)

// AsksPast reports whether a request may be for the past: for a manifest that ends with ext,
// with one of the parameters, or for a file of the past.
func AsksPast(r *http.Request, ext string) bool {
	if strings.Contains(r.URL.Path, PastMark+"/") {
		return true
	}
	q := r.URL.RawQuery
	return q != "" && (strings.Contains(q, StartParam+"=") || strings.Contains(q, BehindParam+"=") || strings.Contains(q, WindowParam+"=")) && pathpkg.Ext(r.URL.Path) == ext
}

// PastFile takes the path of a file of the past apart.
func PastFile(path string) (app, stream, file string, ok bool) {
	dir, file := pathpkg.Split(path)
	if dir, ok = strings.CutSuffix(dir, PastMark+"/"); !ok {
		return "", "", "", false
	}
	return pathpkg.Dir(dir), pathpkg.Base(dir), file, true
}

// SumOf tells bytes from others, in few characters that may stand in a name.
func SumOf(b []byte) string {
	h := fnv.New32a()
	h.Write(b)
	return strconv.FormatUint(uint64(h.Sum32()), 16)
}
