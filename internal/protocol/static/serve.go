package static

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"

	"weir/internal/format/flv"
)

// content is a file that is open.
type content interface {
	io.ReadSeeker
	io.ReaderAt
}

// serve answers with a file, or with the part of it that is asked for: by Range,
// in MP4 also by the parameters range and bytes, in FLV by start.
func (s *server) serve(w http.ResponseWriter, r *http.Request, name string, st fs.FileInfo, file content) {
	h, ext := w.Header(), strings.ToLower(path.Ext(name))
	modified := st.ModTime()
	if modified.IsZero() {
		modified = s.env.Started.Truncate(time.Second) // of a built-in page
	}
	h.Set("Content-Type", ContentType(name))
	tag := fmt.Sprintf("%x-%x", modified.UnixNano(), st.Size())
	if revalidated[ext] {
		h.Set("Cache-Control", "no-cache")
	}
	var body io.ReadSeeker = file
	switch q := r.URL.Query(); {
	case ext == ".mp4" && r.Header.Get("Range") == "":
		if part := q.Get("range") + q.Get("bytes"); part != "" {
			r = r.Clone(r.Context())
			r.Header.Set("Range", "bytes="+part)
		}
	case ext == ".flv" && q.Has("start"):
		start, err := strconv.ParseInt(q.Get("start"), 10, 64)
		if err != nil || start <= 0 {
			break // the whole file, as in SRS
		}
		if start >= st.Size() {
			h.Set("Content-Range", fmt.Sprintf("bytes */%d", st.Size()))
			http.Error(w, "start is behind the end of the file", http.StatusRequestedRangeNotSatisfiable)
			return
		}
		head, at, err := flv.Seek(file, st.Size(), start)
		if err != nil {
			break // no FLV, or no tag from there on
		}
		body = &spliced{head: head, rest: io.NewSectionReader(file, at, st.Size()-at)}
		tag += "-" + strconv.FormatInt(at, 16)
	}
	h.Set("ETag", `"`+tag+`"`)
	http.ServeContent(w, r, name, modified, body)
}

// revalidated are the endings of files that change under their name: a cache must
// ask each time, which the ETag makes cheap.
var revalidated = map[string]bool{".html": true, ".m3u8": true, ".mpd": true, ".f4m": true, ".abst": true, ".js": true, ".css": true, ".json": true}

// spliced is head, then rest.
type spliced struct {
	head []byte
	rest *io.SectionReader
	at   int64
}

func (s *spliced) Read(b []byte) (int, error) {
	if s.at < int64(len(s.head)) {
		n := copy(b, s.head[s.at:])
		s.at += int64(n)
		return n, nil
	}
	n, err := s.rest.ReadAt(b, s.at-int64(len(s.head)))
	s.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

func (s *spliced) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += s.at
	case io.SeekEnd:
		offset += int64(len(s.head)) + s.rest.Size()
	}
	if offset < 0 {
		return 0, errors.New("seek before the beginning")
	}
	s.at = offset
	return offset, nil
}
