package shelf

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"weir/internal/service"
)

// Cache headers. Manifests change, and whoever keeps one must ask again.
const CacheManifest = "no-cache"

// CacheFor is the header of what never changes and is asked for while it may be
// listed.
func CacheFor(d time.Duration) string {
	return "max-age=" + strconv.Itoa(max(1, int(d/time.Second))) + ", immutable"
}

// CacheShared is the header of a manifest that caches may give to everybody for a
// while.
func CacheShared(d time.Duration) string {
	return "public, max-age=" + strconv.Itoa(max(1, int(d/time.Second)))
}

// gzipLeast is the size from which text is compressed: what fits in one packet
// gains nothing.
const gzipLeast = 1400

// A File is ready to be sent. It is immutable.
type File struct {
	// Type, Cache and ETag are headers.
	Type, Cache, ETag string
	// Body is what it holds, Size bytes.
	Body [][]byte
	Size int

	small   *zipped     // the same compressed; nil if that is not worth while
	growing *Growing    // what it has, if it is not whole; Body and Size are of no use then
	sent    func(n int) // told of bytes of growing that went; nil if nobody wants to know
}

// zipped is text that is compressed when it is first asked for.
type zipped struct {
	once sync.Once
	b    []byte
}

// zippers are kept, since each has most of a megabyte.
var zippers = sync.Pool{New: func() any {
	z, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is one
	return z
}}

func (s *zipped) of(text []byte) []byte {
	s.once.Do(func() {
		z := zippers.Get().(*gzip.Writer)
		defer zippers.Put(z)
		var b bytes.Buffer
		z.Reset(&b)
		z.Write(text) // into memory: it cannot fail
		z.Close()
		s.b = b.Bytes()
	})
	return s.b
}

// New returns a file. Its ETag follows from tag, which must differ where the bytes
// do; without one there is none.
func New(typ, cache, tag string, body ...[]byte) *File {
	f := &File{Type: typ, Cache: cache, Body: body}
	if tag != "" {
		f.ETag = `"` + tag + `"`
	}
	for _, b := range body {
		f.Size += len(b)
	}
	return f
}

// Text returns a file of text, with an ETag made of it, and compressed for those
// who take it so.
func Text(typ, cache string, text []byte) *File {
	h := fnv.New64a()
	h.Write(text)
	return Tagged(typ, cache, fmt.Sprintf("%x", h.Sum64()), text)
}

// Tagged is Text with an ETag that follows from tag: see [New].
func Tagged(typ, cache, tag string, text []byte) *File {
	f := New(typ, cache, tag, text)
	if len(text) >= gzipLeast {
		f.small = &zipped{}
	}
	return f
}

// Serve answers a GET or HEAD, with ranges and conditions.
func (f *File) Serve(w http.ResponseWriter, r *http.Request) {
	if f.growing != nil {
		f.grow(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.Type)
	h.Set("Cache-Control", f.Cache)
	body, size, tag := f.Body, f.Size, f.ETag
	if f.small != nil {
		h.Set("Vary", "Accept-Encoding")
		if takesGzip(r) {
			b := f.small.of(f.Body[0])
			body, size, tag = [][]byte{b}, len(b), strings.TrimSuffix(tag, `"`)+`-gz"`
			h.Set("Content-Encoding", "gzip")
		}
	}
	if tag != "" {
		h.Set("ETag", tag)
	}
	if r.Method == http.MethodGet && r.Header.Get("Range") == "" && r.Header.Get("If-None-Match") == "" {
		// All of it, straight from memory.
		if h.Get("Content-Encoding") == "" {
			h.Set("Accept-Ranges", "bytes")
		}
		h.Set("Content-Length", strconv.Itoa(size))
		for _, b := range body {
			if _, err := service.Share(w, b); err != nil {
				return
			}
		}
		return
	}
	http.ServeContent(w, r, "", time.Time{}, &parts{all: body, size: int64(size)})
}

// takesGzip reports whether a client takes gzip and does not weigh it with 0.
func takesGzip(r *http.Request) bool {
	for part := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(part, ";")
		if strings.TrimSpace(name) == "gzip" {
			q := strings.TrimPrefix(strings.TrimSpace(weight), "q=")
			return strings.Trim(q, "0.") != "" || q == ""
		}
	}
	return false
}

// parts reads several slices as one file.
type parts struct {
	all      [][]byte
	size, at int64
}

// Read implements io.Reader.
func (p *parts) Read(dst []byte) (int, error) {
	off := p.at
	for _, b := range p.all {
		if off < int64(len(b)) {
			n := copy(dst, b[off:])
			p.at += int64(n)
			return n, nil
		}
		off -= int64(len(b))
	}
	return 0, io.EOF
}

// Seek implements io.Seeker.
func (p *parts) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		offset += p.size
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	p.at = offset
	return offset, nil
}
