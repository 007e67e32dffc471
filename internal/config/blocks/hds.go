package blocks

import "time"

// HDSConfig is hds: Adobe's HTTP Dynamic Streaming, a manifest, a bootstrap and
// fragments of FLV.
type HDSConfig struct {
	// Enabled turns HDS on for the vhost.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Fragment is the least duration of a fragment; it ends at the next key frame.
	Fragment time.Duration `conf:"hds_fragment" default:"10" unit:"s" reload:"now"`

	// Window is how much of the stream the bootstrap lists, in seconds of media.
	Window time.Duration `conf:"hds_window" default:"60" unit:"s" reload:"now"`

	// Path is the directory of the files. It is made if it is missing.
	Path string `conf:"hds_path" default:"./objs/nginx/html" reload:"now"`

	// Files writes manifest, bootstrap and fragments below hds_path. With off they
	// are served from memory only. It is a directive of weir.
	Files bool `conf:"hds_files" default:"on" reload:"now" since:"weir"`
}
