package blocks

import "time"

// DASHConfig is dash: MPEG-DASH, a manifest and segments of fragmented MP4.
type DASHConfig struct {
	// Enabled turns DASH on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Fragment is the least duration of a segment; it ends at the next key frame.
	Fragment time.Duration `conf:"dash_fragment" default:"10" unit:"s" reload:"now"`

	// UpdatePeriod is how often players fetch the manifest; at least once in each
	// fragment.
	UpdatePeriod time.Duration `conf:"dash_update_period" default:"5" unit:"s" reload:"now"`

	// Timeshift is accepted and changes nothing, as in SRS: dash_window_size says how
	// far back players may go.
	Timeshift time.Duration `conf:"dash_timeshift" default:"300" unit:"s" reload:"now"`

	// WindowSize is how many segments the manifest lists.
	WindowSize int `conf:"dash_window_size" default:"5" reload:"now"`

	// Deterministic makes of an encoder's stream what every server makes of it: segments
	// begin where the encoder's time passes multiples of dash_fragment, at the next key frame,
	// and are called by that time, so that players may have them from any of several servers.
	// Segments that were not seen whole are left out. Let the encoder make a key frame each
	// dash_fragment seconds. It is a directive of weir.
	Deterministic bool `conf:"dash_deterministic" default:"off" reload:"now" since:"weir"`

	// LowLatency sends segments in chunks of dash_chunk while they are made, lists the one
	// that is being made, and tells players to stay dash_latency behind (LL-DASH). Others
	// wait for the end of a segment, as ever. Use it with short fragments. It is a
	// directive of weir.
	LowLatency bool `conf:"dash_low_latency" default:"off" reload:"now" since:"weir"`

	// Chunk is how long a chunk may last, 0.1 seconds at least. It is a directive of weir.
	Chunk time.Duration `conf:"dash_chunk" default:"0.5" unit:"s" reload:"now" since:"weir"`

	// Latency is how far behind the publisher players are told to be with
	// dash_low_latency. It is a directive of weir.
	Latency time.Duration `conf:"dash_latency" default:"2" unit:"s" reload:"now" since:"weir"`

	// Path is the directory of the files. It is made if it is missing.
	Path string `conf:"dash_path" default:"./objs/nginx/html" reload:"now"`

	// Files writes segments and manifests below dash_path. With off they are served
	// from memory only. It is a directive of weir.
	Files bool `conf:"dash_files" default:"on" reload:"now" since:"weir"`

	// Tracks says what is listed of a stream that has several pictures or sounds
	// (multitrack): all of them, pictures as representations to choose from and each sound
	// as an adaptation set, or the first of each only. It is a directive of weir.
	Tracks string `conf:"dash_tracks" default:"all" enum:"all|first" reload:"now" since:"weir"`

	// MPDFile is the name of the manifest below dash_path, with [vhost], [app] and
	// [stream]. Segments are beside it, in a folder that is called as the stream.
	MPDFile string `conf:"dash_mpd_file" default:"[app]/[stream].mpd" reload:"now"`

	// Cleanup removes the files of segments that have left the manifest.
	Cleanup bool `conf:"dash_cleanup" default:"on" reload:"now" since:"5.0"`

	// Dispose removes manifest and segments so long after the last frame; with 0
	// they stay.
	Dispose time.Duration `conf:"dash_dispose" default:"120" unit:"s" reload:"now" since:"5.0"`
}

// Warnings tells what is accepted and probably not meant.
func (c *DASHConfig) Warnings() []string {
	if c.Enabled && c.WindowSize < 3 {
		return []string{"dash_window_size is below three segments; players stall"}
	}
	return nil
}
