package blocks

import (
	"time"

	"weir/internal/config"
)

// ExecConfig is exec: programs that are started for each publisher.
type ExecConfig struct {
	_ struct{} `env:"-"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Publish is a program and its arguments, one directive for each program: it runs
	// while the stream is published, and is started again 3 s after it ended. No shell
	// is involved. The arguments may hold [vhost], [port], [app], [stream], [url] (the
	// stream at this server), [tcUrl], [swfUrl], [pageUrl], and parts of the time
	// ([2006] [01] [02] [15] [04] [05] [999] [timestamp]); >FILE, 1>FILE and 2>FILE
	// redirect what it writes. A stream whose name would become an option, or a path
	// from the root, starts nothing.
	Publish []config.Rule `conf:"publish" env:"-" reload:"now"`
}

// IngestConfig is ingest: a stream that is pulled in by ffmpeg.
type IngestConfig struct {
	// ID names it within its vhost.
	ID string `conf:"$arg"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// Input is where it comes from.
	Input IngestInput `conf:"input"`

	// FFmpeg is the program. If there is no such file, the ffmpeg in PATH serves.
	FFmpeg string `conf:"ffmpeg" default:"./objs/ffmpeg/bin/ffmpeg" reload:"now"`

	// Native says whether the server itself has the stream, without ffmpeg: a file of
	// FLV, MP4 or MPEG-TS, which is read over and over while times go on, rtmp://,
	// rtmps://, srt://, or FLV over http:// or https://. It is for engines that copy and whose
	// output is this server; what it cannot have ffmpeg has. With auto it is for where
	// there is no ffmpeg; off leaves all to ffmpeg, as SRS does.
	Native string `conf:"native" default:"auto" enum:"off|auto|on" reload:"now" since:"weir"`

	// OnDemand has it begin when somebody plays the output, and end some time after
	// nobody does.
	OnDemand bool `conf:"on_demand" default:"off" reload:"now" since:"weir"`

	// OnDemandKeep is for how long it goes on after the last player.
	OnDemandKeep time.Duration `conf:"on_demand_keep" default:"10" unit:"s" reload:"now" since:"weir"`

	// Engines are what is made of it.
	Engines []EngineConfig `conf:"engine"`
}

// OnDemandKeep is the usual on_demand_keep.
const OnDemandKeep = 10 * time.Second

// IngestInput is ingest's input.
type IngestInput struct {
	// Type is file, stream or device. Files and streams are read at their own pace
	// (-re), a device as fast as it gives.
	Type string `conf:"type" default:"file" reload:"now"`

	// URL is the file, URL or device.
	URL string `conf:"url" reload:"now"`
}

// TranscodeConfig is transcode: other streams that ffmpeg makes of a stream.
type TranscodeConfig struct {
	// Scope is an app, app/stream, or empty for all streams of the vhost.
	Scope string `conf:"$arg"`

	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// FFmpeg is the program. If there is no such file, the ffmpeg in PATH serves.
	FFmpeg string `conf:"ffmpeg" default:"./objs/ffmpeg/bin/ffmpeg" reload:"now"`

	// OnDemand has an engine run while somebody plays what it makes, and some time after.
	// It is for engines whose output is a stream of this server; others run always.
	OnDemand bool `conf:"on_demand" default:"off" reload:"now" since:"weir"`

	// OnDemandKeep is for how long it goes on after the last player.
	OnDemandKeep time.Duration `conf:"on_demand_keep" default:"10" unit:"s" reload:"now" since:"weir"`

	// Engines are what is made of each stream.
	Engines []EngineConfig `conf:"engine"`
}

// EngineConfig is engine: what one ffmpeg makes of its input.
type EngineConfig struct {
	// Name is what [engine] stands for in output.
	Name string `conf:"$arg"`

	// Enabled turns it on. The engine of an ingest copies if it is off.
	Enabled bool `conf:"enabled" default:"off" reload:"now"`

	// IFormat is the format of the input; off leaves it to ffmpeg.
	IFormat string `conf:"iformat" default:"flv" reload:"now"`

	// VCodec is the coding of the picture: vn for none, copy to keep it.
	VCodec string `conf:"vcodec" reload:"now"`

	// VBitrate is how many kilobits a second the picture takes.
	VBitrate int `conf:"vbitrate" default:"0" reload:"now"`

	// VFPS is how many pictures there are a second.
	VFPS float64 `conf:"vfps" default:"0" reload:"now"`

	// VWidth is the width of the picture.
	VWidth int `conf:"vwidth" default:"0" reload:"now"`

	// VHeight is the height of the picture.
	VHeight int `conf:"vheight" default:"0" reload:"now"`

	// VThreads is how many threads make the picture.
	VThreads int `conf:"vthreads" default:"1" reload:"now"`

	// VProfile is the profile of the coding; a coder needs it.
	VProfile string `conf:"vprofile" reload:"now"`

	// VPreset is the preset of the coder, which needs it.
	VPreset string `conf:"vpreset" reload:"now"`

	// ACodec is the coding of the sound: an for none, copy to keep it. Where ffmpeg has
	// no libfdk_aac, aac serves.
	ACodec string `conf:"acodec" reload:"now"`

	// ABitrate is how many kilobits a second the sound takes.
	ABitrate int `conf:"abitrate" default:"0" reload:"now"`

	// ASampleRate is how many samples there are a second.
	ASampleRate int `conf:"asample_rate" default:"0" reload:"now"`

	// AChannels is how many channels there are.
	AChannels int `conf:"achannels" default:"0" reload:"now"`

	// OFormat is the format of the output; off leaves it to ffmpeg.
	OFormat string `conf:"oformat" default:"flv" reload:"now"`

	// Output is where it goes, usually back to this server. It may hold [vhost],
	// [port], [app], [stream], [param], [engine] and parts of the time.
	Output string `conf:"output" reload:"now"`

	// PerFile are options before the input.
	PerFile EngineOptions `conf:"perfile"`

	// VFilter are options of the picture that come first, such as filters.
	VFilter EngineOptions `conf:"vfilter"`

	// VParams are further options of the picture.
	VParams EngineOptions `conf:"vparams"`

	// AParams are further options of the sound.
	AParams EngineOptions `conf:"aparams"`
}

// EngineOptions are options of ffmpeg: each directive is one, its values the option's.
type EngineOptions struct {
	// Options are in the order of the file.
	Options []config.Rule `conf:"*" reload:"now"`
}
