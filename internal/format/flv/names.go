package flv

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"weir/internal/format/amf"
	"weir/internal/media"
)

// naming is what a publisher calls a track.
type naming struct {
	kind        media.Kind
	id          uint8
	lang, label string
}

// maxName is how long a name may be, in bytes.
const maxName = 128

// Names takes what a publisher's metadata, the AMF0 value of onMetaData, tells of its
// tracks: their language and name, in the maps that Enhanced RTMP has for tracks from 1 on,
// and the language at the top for the first. Tracks that are there already become others.
func (in *Ingest) Names(meta []byte) {
	v, _, err := amf.Decode(meta)
	if err != nil {
		return
	}
	all, _ := amf.Properties(v)
	in.named = in.named[:0]
	for kind, prefix := range map[media.Kind]string{media.Video: "video", media.Audio: "audio"} {
		infos, _ := amf.Properties(all.Get(prefix + "TrackIdInfoMap"))
		for _, p := range infos[:min(len(infos), MaxTracks)] {
			id, err := strconv.ParseUint(p.Key, 10, 8)
			info, ok := amf.Properties(p.Value)
			if err == nil && ok {
				in.note(naming{kind, uint8(id), text(info, "language", "lang"), text(info, "title", "label", "name")})
			}
		}
	}
	in.note(naming{media.Audio, 0, text(all, "language", "lang"), ""})
	for i := range in.tracks {
		t := *in.tracks[i].track
		if in.name(&t); t.Lang != in.tracks[i].track.Lang || t.Label != in.tracks[i].track.Label {
			in.tracks[i].track = &t
		}
	}
}

func (in *Ingest) note(n naming) {
	if n.lang != "" || n.label != "" {
		in.named = append(in.named, n)
	}
}

// name gives a track what the publisher calls it.
func (in *Ingest) name(t *media.Track) {
	for _, n := range in.named {
		if n.kind == t.Kind && n.id == t.ID {
			t.Lang, t.Label = n.lang, n.label
		}
	}
}

// text returns the first of some properties that is a usable text.
func text(o amf.Object, names ...string) string {
	for _, name := range names {
		if s := strings.TrimSpace(o.Text(name)); s != "" && len(s) <= maxName && utf8.ValidString(s) {
			return s
		}
	}
	return ""
}
