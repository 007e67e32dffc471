package hls

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"
	pathpkg "path"
	"slices"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/service/shelf"
	"weir/internal/store"
)

// initOf returns the initialization segment of g, whose bytes are body, and the same
// again if it is new. The first one has the configured name; others, which hold something
// else, are told apart by the number of their first segment. With hls_deterministic each is by
// what is in it.
func (x *listing) initOf(conf *blocks.HLSConfig, g *store.Segment, body []byte) (init, fresh *beside) {
	st := x.stream
	st.mu.Lock()
	defer st.mu.Unlock()
	for _, b := range x.beside {
		if bytes.Equal(b.body, body) {
			return b, nil
		}
	}
	if st.hinted != nil {
		for _, f := range st.hinted.Besides {
			if f.Mark == x.mark && bytes.Equal(f.Body, body) {
				b := &beside{name: f.Name, uri: f.URI, body: body}
				return b, b
			}
		}
	}
	name := x.own(conf.InitFile, pathpkg.Clean(store.Expand(conf.InitFile, x.files, time.Time{})))
	mark := strconv.FormatInt(g.Seq, 10)
	if conf.Deterministic {
		mark = shelf.SumOf(body)
	}
	if g.Seq > 0 {
		ext := pathpkg.Ext(name)
		name = strings.TrimSuffix(name, ext) + "-" + mark + ext
	}
	b := &beside{name: name, uri: uri(conf.EntryPrefix, x.playlistName, name), body: body}
	if conf.Files {
		b.disk = &st.disk
	}
	return b, b
}

// key is what segments are encrypted with, and where players find it.
type key struct {
	*beside
	url   string // what playlists say
	iv    [16]byte
	block cipher.Block
}

// keyFor returns the key of g: that of the segment before, or a fresh one each
// hls_fragments_per_key segments.
func (st *stream) keyFor(conf *blocks.HLSConfig, g *store.Segment) (k *key, fresh bool, err error) {
	if st.hinted != nil {
		if st.hintedKey == nil {
			return st.key128, false, nil
		}
		st.key128 = st.hintedKey
		return st.key128, true, nil
	}
	if st.key128 != nil && g.Seq%int64(max(conf.FragmentsPerKey, 1)) != 0 {
		return st.key128, false, nil
	}
	k = &key{beside: &beside{body: make([]byte, 16)}}
	rand.Read(k.body) // it does not fail
	rand.Read(k.iv[:])
	if k.block, err = aes.NewCipher(k.body); err != nil {
		return nil, false, fmt.Errorf("hls key: %w", err)
	}
	k.name = numbered(conf.KeyFile, st.key, g, g.Began)
	if conf.KeyURL == "" {
		// Without a URL of its own a key is found beside the playlist.
		k.uri = uri("", st.playlistName, k.name)
	}
	k.url = keyURL(conf.KeyURL, k.uri, k.name)
	if conf.Files || conf.KeyURL != "" {
		k.disk = &shelf.Disk{Dir: conf.KeyDir(), Log: st.log, Notices: st.server.env.Notices, Subject: "hls keys of " + st.key.String()}
	}
	st.key128 = k
	return k, true, nil
}

// keyURL is what a playlist calls a key. As in SRS hls_key_url and the key's name
// stand together as they are, and a query stays at the end; but a host alone is
// given the slash that it lacks.
func keyURL(prefix, relative, name string) string {
	if prefix == "" {
		return relative
	}
	base, query, asked := strings.Cut(prefix, "?")
	if _, rest, ok := strings.Cut(base, "://"); ok && !strings.Contains(rest, "/") {
		base += "/"
	}
	base += shelf.Escape(name)
	if asked {
		base += "?" + query
	}
	return base
}

// encrypt returns the body of a segment in AES-128-CBC, padded as PKCS 7 says
// (RFC 8216 section 4.3.2.4).
func (k *key) encrypt(body [][]byte) []byte {
	b := slices.Concat(body...)
	pad := aes.BlockSize - len(b)%aes.BlockSize
	for range pad {
		b = append(b, byte(pad))
	}
	cipher.NewCBCEncrypter(k.block, k.iv[:]).CryptBlocks(b, b)
	return b
}
