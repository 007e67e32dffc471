package blocks

import "time"

// SlateConfig is slate: when a publisher drops, its viewers stay, and see its last key
// frame, or a file, until it is back or another publishes. Time goes on; HLS and DASH tell
// of it with a discontinuity and a period. Who is ended by the API or a rule, and who is
// replaced, leaves nothing. Recordings, forwards and programs do without it. It is a block
// of weir.
type SlateConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now" since:"weir"`

	// Hold is for how long viewers are kept.
	Hold time.Duration `conf:"hold" default:"30" unit:"s" reload:"now" since:"weir"`

	// File is an FLV file that is shown over and over meanwhile, of 64 MB at most: best of
	// the codecs, size and rate of the stream, as by ffmpeg -i slate.mp4 -c copy slate.flv.
	// Without one viewers see the last key frame, and hear silence if the sound is AAC-LC, Opus
	// or G.711.
	File string `conf:"file" default:"" shown:"none" reload:"now" since:"weir"`
}
