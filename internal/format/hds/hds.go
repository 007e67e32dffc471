// Package hds writes what Adobe's HTTP Dynamic Streaming is made of, for live
// streams: the F4M manifest, the bootstrap, which lists fragments, and the box
// around a fragment's FLV tags (Adobe Flash Video File Format Specification 10.1,
// annex C; F4M 1.0). It reads its own bootstraps again, which is how a server that
// starts carries on with what it left.
//
// Written is SRS's shape: one segment, number 1, that has all fragments, and times
// in milliseconds.
package hds

import (
	"encoding/binary"
	"encoding/xml"
	"errors"
	"fmt"
	"strings"
)

// Types of the files.
const (
	TypeManifest  = "application/f4m+xml"
	TypeBootstrap = "application/octet-stream"
	TypeFragment  = "video/f4f"
)

// MaxFragments is how many fragments a bootstrap may have.
const MaxFragments = 65536

// ErrSyntax means that the input is no bootstrap as [Bootstrap.Append] writes it.
var ErrSyntax = errors.New("hds: bad bootstrap")

// A Bootstrap lists the fragments of a live stream.
type Bootstrap struct {
	// Version grows with each change.
	Version   uint32
	Fragments []Fragment
}

// A Fragment is one entry. Time and Duration are in milliseconds; a Duration of 0
// is written as 1, since 0 has another meaning.
type Fragment struct {
	Number   uint32
	Time     uint64
	Duration uint32
}

const live = 0x20 // profile named, live, no update

// Append appends the box abst.
func (b *Bootstrap) Append(dst []byte) []byte {
	dst, abst := begin(dst, "abst")
	dst = binary.BigEndian.AppendUint32(dst, b.Version)
	dst = append(dst, live)
	dst = binary.BigEndian.AppendUint32(dst, 1000) // ticks a second
	var now uint64
	if n := len(b.Fragments); n > 0 {
		now = b.Fragments[n-1].Time
	}
	dst = binary.BigEndian.AppendUint64(dst, now)
	dst = binary.BigEndian.AppendUint64(dst, 0) // SMPTE offset
	dst = append(dst, 0)                        // movie
	dst = append(dst, 0, 0)                     // servers, qualities
	dst = append(dst, 0, 0)                     // DRM, metadata
	dst = append(dst, 1)
	dst, at := begin(dst, "asrt")
	dst = append(dst, 0) // qualities
	dst = binary.BigEndian.AppendUint32(dst, 1)
	dst = binary.BigEndian.AppendUint32(dst, 1) // segment 1 has
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Fragments)))
	dst = end(dst, at)
	dst = append(dst, 1)
	dst, at = begin(dst, "afrt")
	dst = binary.BigEndian.AppendUint32(dst, 1000)
	dst = append(dst, 0) // qualities
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(b.Fragments)))
	for _, f := range b.Fragments {
		dst = binary.BigEndian.AppendUint32(dst, f.Number)
		dst = binary.BigEndian.AppendUint64(dst, f.Time)
		dst = binary.BigEndian.AppendUint32(dst, max(f.Duration, 1))
	}
	return end(end(dst, at), abst)
}

// begin starts a full box of version 0; end writes its size.
func begin(dst []byte, name string) ([]byte, int) {
	at := len(dst)
	return append(append(append(dst, 0, 0, 0, 0), name...), 0, 0, 0, 0), at
}

func end(dst []byte, at int) []byte {
	binary.BigEndian.PutUint32(dst[at:], uint32(len(dst)-at))
	return dst
}

// Parse reads a bootstrap that [Bootstrap.Append] wrote.
func Parse(b []byte) (*Bootstrap, error) {
	r := reader{b: b}
	r.box("abst")
	out := &Bootstrap{Version: r.u32()}
	r.want(live, 1)
	r.want(1000, 4)
	r.skip(16)
	r.want(0, 5)
	r.want(1, 1)
	r.box("asrt")
	r.want(0, 1)
	r.want(1, 4)
	r.want(1, 4)
	count := r.u32()
	r.want(1, 1)
	r.box("afrt")
	r.want(1000, 4)
	r.want(0, 1)
	if n := r.u32(); n != count || n > MaxFragments || int(n)*16 != len(r.b) {
		r.bad = true
	}
	if r.bad {
		return nil, ErrSyntax
	}
	for range count {
		f := Fragment{Number: r.u32(), Time: r.u64(), Duration: r.u32()}
		if f.Duration == 0 {
			return nil, fmt.Errorf("%w: fragment %d has no duration", ErrSyntax, f.Number)
		}
		out.Fragments = append(out.Fragments, f)
	}
	return out, nil
}

// reader takes bytes from the front, and notes when there are none.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n int) []byte {
	if r.bad || len(r.b) < n {
		r.bad = true
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) skip(n int)  { r.take(n) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// want takes a big-endian number of so many bytes, which must be v.
func (r *reader) want(v uint64, n int) {
	var got uint64
	for _, c := range r.take(n) {
		got = got<<8 | uint64(c)
	}
	r.bad = r.bad || got != v
}

func (r *reader) box(name string) {
	r.skip(4)
	r.bad = r.bad || string(r.take(4)) != name
	r.want(0, 4)
}

// AppendFragment appends the head of the box mdat, around size bytes of FLV tags
// that follow.
func AppendFragment(dst []byte, size int) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(size+8)), "mdat"...)
}

// AppendManifest appends the F4M manifest of a live stream; url is what fragments'
// names begin with, relative to it, and bitrate is in kbit/s.
func AppendManifest(dst []byte, id, url string, bitrate int) []byte {
	id, url = text(id), text(url)
	return fmt.Appendf(dst, `<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns="http://ns.adobe.com/f4m/1.0">
	<id>%s.f4m</id>
	<streamType>live</streamType>
	<bootstrapInfo profile="named" id="bootstrap0" url="%s.abst" />
	<media bitrate="%d" url="%s" bootstrapInfoId="bootstrap0"></media>
</manifest>
`, id, url, bitrate, url)
}

func text(s string) string {
	var b strings.Builder
	xml.EscapeText(&b, []byte(s)) // into memory: it does not fail
	return b.String()
}
