package golive

import (
	"hash/fnv"
	"slices"

	"weir/internal/config/blocks"
)

// answer chooses what an encoder is to send of what is configured.
func answer(conf *blocks.MultitrackVideoConfig, ask *request) *reply {
	a := &reply{Meta: meta{Service: "weir", Schema: ask.Schema}, Status: status{Result: "success"}, Video: []video{}}
	ladder, _ := conf.Ladder()
	canvases := ask.Preferences.Canvases
	if len(canvases) == 0 && ask.Preferences.Width > 0 {
		canvases = []canvas{ask.Preferences.canvas}
	}
	for i, c := range canvases[:min(len(canvases), maxCanvases)] {
		for _, r := range rungsFor(ladder, c) {
			if v, ok := videoOf(conf, ask, r, c); ok {
				v.Canvas = i
				a.Video = append(a.Video, v)
			}
		}
	}
	a.limit(ask)
	if len(a.Video) == 0 {
		a.Status = status{"error", "The server asks for nothing that this encoder can send: its codecs or the limits of its settings leave no rung of the ladder."}
	}
	channels := ask.Preferences.Channels
	if channels == 0 || channels > 2 {
		channels = 2
	}
	one := []sound{{Codec: "aac", Track: 1, Channels: channels, Settings: soundSettings{conf.AudioKbps}}}
	if a.Audio.Live = one; ask.Preferences.VOD {
		a.Audio.VOD = []sound{{Codec: "aac", Track: 2, Channels: channels, Settings: soundSettings{conf.AudioKbps}}}
	}
	a.Meta.ID = configID(a.Video)
	return a
}

const (
	// maxCanvases and maxTracks are what OBS has.
	maxCanvases = 2
	maxTracks   = 10
)

// rungsFor returns the rungs that fit a canvas, upright where it is. One that is smaller
// than all gets the lowest in its own size.
func rungsFor(ladder []blocks.Rung, c canvas) (fit []blocks.Rung) {
	for _, r := range ladder {
		if c.Height > c.Width {
			r.Width, r.Height = r.Height, r.Width
		}
		if r.Width <= c.Width && r.Height <= c.Height {
			fit = append(fit, r)
		}
	}
	if len(fit) == 0 && len(ladder) > 0 && c.Width > 1 && c.Height > 1 {
		r := ladder[len(ladder)-1]
		r.Width, r.Height = c.Width&^1, c.Height&^1
		fit = append(fit, r)
	}
	return fit
}

// videoOf is a rung as OBS is told it; false says that the encoder has no encoder for it.
func videoOf(conf *blocks.MultitrackVideoConfig, ask *request, r blocks.Rung, c canvas) (v video, ok bool) {
	if !slices.Contains(ask.Client.Codecs, r.Codec) && (r.Codec != "h264" || len(ask.Client.Codecs) > 0) {
		return v, false
	}
	name := conf.Encoder
	if name == "auto" {
		if name = encoders[vendorOf(ask)][r.Codec]; name == "" {
			name = software[r.Codec]
		}
	}
	if name == "" {
		return v, false
	}
	rate := rate{r.FPS, 1}
	if n, d := c.Rate.Numerator, c.Rate.Denominator; n > 0 && d > 0 && n < r.FPS*d {
		rate = c.Rate
	}
	v = video{Type: name, Width: r.Width, Height: r.Height, Rate: rate, Scale: "OBS_SCALE_BICUBIC", Space: "VIDEO_CS_709", Range: "VIDEO_RANGE_PARTIAL", Format: "VIDEO_FORMAT_NV12",
		Settings: videoSettings{Kbps: r.Kbps, RateControl: "CBR", KeyInterval: conf.KeyInterval, Profile: "main"}}
	if r.Codec == "h264" {
		v.Settings.Profile, v.Settings.BFrames = "high", 2
	}
	if name == software["h264"] {
		v.Settings.Preset = "veryfast"
	}
	return v, true
}

// encoders are OBS's names of those of graphics cards, by the vendor's number on the PCI
// bus; software of those that need none.
var (
	encoders = map[uint32]map[string]string{
		0x10de: {"h264": "obs_nvenc_h264_tex", "h265": "obs_nvenc_hevc_tex", "av1": "obs_nvenc_av1_tex"},
		0x1002: {"h264": "h264_texture_amf", "h265": "h265_texture_amf", "av1": "av1_texture_amf"},
		0x8086: {"h264": "obs_qsv11_v2", "h265": "obs_qsv11_hevc", "av1": "obs_qsv11_av1"},
	}
	software = map[string]string{"h264": "obs_x264", "av1": "ffmpeg_svt_av1"}
)

// vendorOf is who made the card that the encoder works with.
func vendorOf(ask *request) uint32 {
	gpu, at := ask.Capabilities.GPU, uint32(0)
	if i := ask.Preferences.GPU; i != nil {
		at = *i
	}
	if int64(at) < int64(len(gpu)) {
		return gpu[at].Vendor
	}
	return 0
}

// limit leaves out what is over what the encoder's user allows: of too many tracks the
// last, of too much in all the one that needs most, but for the last that is left.
func (a *reply) limit(ask *request) {
	most := maxTracks
	if n := ask.Preferences.Tracks; n != nil && int64(*n) < maxTracks {
		most = max(int(*n), 1)
	}
	a.Video = a.Video[:min(len(a.Video), most)]
	for ask.Preferences.Kbps != nil && len(a.Video) > 1 {
		sum, worst := uint64(0), 0
		for i, v := range a.Video {
			sum += uint64(v.Settings.Kbps)
			if v.Settings.Kbps > a.Video[worst].Settings.Kbps {
				worst = i
			}
		}
		if sum <= *ask.Preferences.Kbps {
			break
		}
		a.Video = slices.Delete(a.Video, worst, worst+1)
	}
}

func fnv32(b []byte) uint32 {
	h := fnv.New32a()
	h.Write(b)
	return h.Sum32()
}
