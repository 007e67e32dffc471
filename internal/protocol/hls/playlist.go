package hls

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"weir/internal/format/m3u8"
)

// playlist returns the playlist of what is listed now, in which every segment
// carries the given query ("?hls_ctx=..."), if it is not empty.
func (st *stream) playlist(query string) []byte {
	listed := st.index.Listed()
	if len(listed) == 0 {
		return nil
	}
	var longest time.Duration
	p := m3u8.Playlist{Sequence: uint64(listed[0].Seq), Segments: make([]m3u8.Segment, len(listed))}
	for i, g := range listed {
		p.Segments[i] = m3u8.Segment{URI: g.URI + query, Duration: g.Duration, Discontinuity: g.Discontinuity}
		longest = max(longest, g.Duration)
	}
	p.Target = m3u8.Target(longest, st.rules().Target())
	return p.Append(nil)
}

// recover returns the number of the first segment: the one after those that the
// playlist on disk lists, so that players that stayed over a restart go on.
func (st *stream) recover() int64 {
	conf := st.server.conf(st.key.Vhost)
	if !conf.Files || !conf.Recover {
		return 0
	}
	root, err := os.OpenRoot(st.dir)
	if err != nil {
		return 0
	}
	defer root.Close()
	b, err := root.ReadFile(filepath.FromSlash(st.playlistName))
	if err != nil {
		return 0
	}
	old, err := m3u8.Parse(b)
	if err != nil {
		st.log.Warn("hls playlist on disk is not read, the sequence starts at 0", "file", st.playlistName, "err", err)
		return 0
	}
	next := int64(old.Sequence) + int64(len(old.Segments))
	st.log.Info(fmt.Sprintf("hls goes on at sequence %d", next))
	return next
}
