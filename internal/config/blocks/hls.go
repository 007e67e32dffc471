package blocks

import (
	"cmp"
	"strings"
	"time"

	"weir/internal/config"
)

// HLSConfig is hls: HTTP Live Streaming, playlists and segments.
type HLSConfig struct {
	// Enabled turns HLS on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Fragment is the least duration of a segment; it ends at the next key frame.
	Fragment time.Duration `conf:"hls_fragment" default:"10" unit:"s" reload:"now"`

	// TDRatio is how many fragments long a segment must be before a key frame ends
	// it. The playlist's target duration is at least that.
	TDRatio float64 `conf:"hls_td_ratio" default:"1.0" reload:"now"`

	// AOFRatio is how many fragments long a segment is before sound ends it, which
	// is where streams of sound alone are cut.
	AOFRatio float64 `conf:"hls_aof_ratio" default:"2.1" reload:"now"`

	// Window is how much of the stream the playlist holds at least, in seconds of media:
	// the segment that reaches over its beginning is listed, too.
	Window time.Duration `conf:"hls_window" default:"60" unit:"s" reload:"now"`

	// OnError is what follows an error in SRS. Here only files can fail, and what
	// cannot be written is logged while HLS goes on from memory, whatever this says.
	OnError string `conf:"hls_on_error" default:"continue" enum:"ignore|disconnect|continue" reload:"now"`

	// Path is the directory of the files. It is made if it is missing.
	Path string `conf:"hls_path" default:"./objs/nginx/html" reload:"now"`

	// Files writes segments and playlists below hls_path. With off they are served
	// from memory only. It is a directive of weir.
	Files bool `conf:"hls_files" default:"on" reload:"now" since:"weir"`

	// M3U8File is the name of the playlist below hls_path, with [vhost], [app] and
	// [stream].
	M3U8File string `conf:"hls_m3u8_file" default:"[app]/[stream].m3u8" reload:"now"`

	// TSFile is the name of a segment below hls_path, with [vhost], [app],
	// [stream], [seq], [duration] and [timestamp] (in ms), and the parts of date and
	// time [2006] [01] [02] [15] [04] [05] [999].
	TSFile string `conf:"hls_ts_file" default:"[app]/[stream]-[seq].ts" reload:"now"`

	// TSFloor cuts at multiples of hls_fragment of the wall clock, so that several
	// servers cut alike.
	TSFloor bool `conf:"hls_ts_floor" default:"off" reload:"now"`

	// Deterministic makes of an encoder's stream what every server makes of it: segments
	// begin where the encoder's time passes multiples of hls_fragment, at the next key frame,
	// and their numbers, names, times and counters follow from that, so that players may have
	// them from any of several servers. Segments that were not seen whole are left out. Let
	// the encoder make a key frame each hls_fragment seconds. It is a directive of weir.
	Deterministic bool `conf:"hls_deterministic" default:"off" reload:"now" since:"weir"`

	// LowLatency lists segments in parts of hls_part while they are made, and lets
	// players wait for the next (LL-HLS), so that those that know of it are two or three
	// parts behind the publisher; others see an ordinary playlist. Use it with short
	// fragments. Not with hls_keys. It is a directive of weir.
	LowLatency bool `conf:"hls_low_latency" default:"off" reload:"now" since:"weir"`

	// Part is how long a part may last. It is a directive of weir.
	Part time.Duration `conf:"hls_part" default:"0.5" unit:"s" reload:"now" since:"weir"`

	// EntryPrefix is put before each segment in the playlist.
	EntryPrefix string `conf:"hls_entry_prefix" default:"" shown:"nothing" reload:"now"`

	// ACodec was the sound that segments announce before the first frame. It does
	// nothing: the stream says what it holds.
	ACodec string `conf:"hls_acodec" default:"aac" reload:"now"`

	// VCodec was the same for the picture.
	VCodec string `conf:"hls_vcodec" default:"h264" reload:"now"`

	// Cleanup removes the files of segments that have left the playlist.
	Cleanup bool `conf:"hls_cleanup" default:"on" reload:"now"`

	// Dispose removes playlist and segments so long after the last frame; with 0
	// they stay.
	Dispose time.Duration `conf:"hls_dispose" default:"120" unit:"s" reload:"now"`

	// NBNotify is how many bytes are read of the answer to on_hls_notify; -1 reads
	// all.
	NBNotify int `conf:"hls_nb_notify" default:"64" reload:"now"`

	// WaitKeyframe cuts at key frames only.
	WaitKeyframe bool `conf:"hls_wait_keyframe" default:"on" reload:"now"`

	// Ctx gives each player a token in the URL of its playlist, by which it is
	// counted, shown in the API and asked about by hooks.
	Ctx bool `conf:"hls_ctx" default:"on" reload:"now" since:"4.0.163"`

	// TSCtx puts the token in the URLs of the segments too.
	TSCtx bool `conf:"hls_ts_ctx" default:"on" reload:"now" since:"5.0.49"`

	// Cacheable makes playlists that name no viewer, whatever hls_ctx says, and lets
	// caches keep them for half a fragment. Who watches through a cache is not
	// counted. It is a directive of weir.
	Cacheable bool `conf:"hls_cacheable" default:"off" reload:"now" since:"weir"`

	// Multivariant is a playlist that names others, for players to choose from by what
	// their connection can carry: its name, then those of the streams, the one to begin
	// with first. [stream] stands for the same in all of them: with "[stream]_all
	// [stream]_hd [stream]_sd" /live/cam_all.m3u8 lists live/cam_hd and live/cam_sd, such
	// as a transcode's engines make them, while they are there. The directive may be
	// given again. hls_m3u8_file must begin with [app]/[stream].
	Multivariant []config.Rule `conf:"hls_multivariant" env:"-" reload:"now" since:"weir"`

	// Tracks says what players are given of a stream that has several pictures or sounds
	// (multitrack): all of them, each as a playlist of its own that the multivariant
	// playlist lists, or the first of each only, as of every other stream. It is a
	// directive of weir.
	Tracks string `conf:"hls_tracks" default:"all" enum:"all|first" reload:"now" since:"weir"`

	// IFrames makes playlists of the first picture of each segment, beside those of pictures
	// and in the multivariant playlist, for players to seek in and to wind through. With
	// hls_keys there are none. It is a directive of weir.
	IFrames bool `conf:"hls_iframes" default:"off" reload:"now" since:"weir"`

	// Keys encrypts segments with AES-128.
	Keys bool `conf:"hls_keys" default:"off" reload:"now"`

	// FragmentsPerKey is for how many segments a key is used.
	FragmentsPerKey int `conf:"hls_fragments_per_key" default:"5" reload:"now"`

	// KeyFile is the name of a key below hls_key_file_path.
	KeyFile string `conf:"hls_key_file" default:"[app]/[stream]-[seq].key" reload:"now"`

	// KeyFilePath is the directory of the keys.
	KeyFilePath string `conf:"hls_key_file_path" default:"" shown:"that of hls_path" reload:"now"`

	// KeyURL is put before the name of each key in the playlist; a query stays at
	// its end. Without it keys are found beside the playlist.
	KeyURL string `conf:"hls_key_url" default:"" shown:"that of the playlist" reload:"now"`

	// DTSDirectly is accepted and changes nothing: segments have the stream's time,
	// which is repaired once for all ways out.
	DTSDirectly bool `conf:"hls_dts_directly" default:"on" reload:"now"`

	// UseFMP4 makes segments of fragmented MP4 in place of TS. Streams of codecs
	// that HLS does not have in TS, AV1, VP9, Opus and FLAC, have them always.
	UseFMP4 bool `conf:"hls_use_fmp4" default:"off" reload:"session" since:"7.0.51"`

	// FMP4File is the name of such a segment.
	FMP4File string `conf:"hls_fmp4_file" default:"[app]/[stream]-[seq].m4s" reload:"now" since:"7.0.51"`

	// InitFile is the name of what such segments begin with.
	InitFile string `conf:"hls_init_file" default:"[app]/[stream]/init.mp4" reload:"now" since:"7.0.51"`

	// Recover goes on with the old playlist when a stream is published again.
	Recover bool `conf:"hls_recover" default:"on" reload:"now" since:"7.0.57"`

	// MasterPathRelative writes a relative URL in the master playlist that hls_ctx
	// makes.
	MasterPathRelative bool `conf:"hls_master_m3u8_path_relative" default:"off" reload:"now" since:"7.0.104"`
}

// KeyDir returns the directory of the keys.
func (c *HLSConfig) KeyDir() string { return cmp.Or(c.KeyFilePath, c.Path) }

// Warnings tells what is accepted and probably not meant.
func (c *HLSConfig) Warnings() []string {
	var out []string
	if c.Fragment <= 0 {
		out = append(out, "hls_fragment is not above 0: every key frame begins a segment")
	}
	if c.Enabled && c.Window < 3*c.Fragment {
		out = append(out, "hls_window holds fewer than three segments of hls_fragment; players stall")
	}
	for _, r := range c.Multivariant {
		switch {
		case len(r.Args) < 2:
			out = append(out, "hls_multivariant needs the name of a playlist and those of the streams that it lists; it lists nothing")
		case !strings.HasPrefix(c.M3U8File, "[app]/[stream]."):
			out = append(out, "hls_multivariant is not found where hls_m3u8_file does not begin with [app]/[stream]")
		}
	}
	return out
}
