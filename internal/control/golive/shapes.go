package golive

// request is what is read of OBS's question.
type request struct {
	Schema string `json:"schema_version"`
	Client struct {
		Codecs []string `json:"supported_codecs"`
	} `json:"client"`
	Capabilities struct {
		GPU []struct {
			Vendor uint32 `json:"vendor_id"`
		} `json:"gpu"`
	} `json:"capabilities"`
	Preferences struct {
		Kbps     *uint64  `json:"maximum_aggregate_bitrate"`
		Tracks   *uint32  `json:"maximum_video_tracks"`
		VOD      bool     `json:"vod_track_audio"`
		GPU      *uint32  `json:"composition_gpu_index"`
		Channels uint32   `json:"audio_channels"`
		Canvases []canvas `json:"canvases"`
		canvas            // of schema 2024-06-04, which knows one
	} `json:"preferences"`
}

type canvas struct {
	Width  int  `json:"width"`
	Height int  `json:"height"`
	Rate   rate `json:"framerate"`
}

type rate struct {
	Numerator   int `json:"numerator"`
	Denominator int `json:"denominator"`
}

// reply is what OBS is answered.
type reply struct {
	Meta      meta       `json:"meta"`
	Status    status     `json:"status"`
	Endpoints []endpoint `json:"ingest_endpoints"`
	Video     []video    `json:"encoder_configurations"`
	Audio     sounds     `json:"audio_configurations"`
}

type meta struct {
	Service string `json:"service"`
	Schema  string `json:"schema_version"`
	ID      string `json:"config_id"`
}

type status struct {
	Result string `json:"result"` // success, warning or error
	Text   string `json:"html_en_us,omitempty"`
}

type endpoint struct {
	Protocol string `json:"protocol"`
	URL      string `json:"url_template"`
}

type video struct {
	Type     string        `json:"type"`
	Width    int           `json:"width"`
	Height   int           `json:"height"`
	Rate     rate          `json:"framerate"`
	Scale    string        `json:"gpu_scale_type"`
	Space    string        `json:"colorspace"`
	Range    string        `json:"range"`
	Format   string        `json:"format"`
	Settings videoSettings `json:"settings"`
	Canvas   int           `json:"canvas_index"`
}

type videoSettings struct {
	Kbps        int    `json:"bitrate"`
	RateControl string `json:"rate_control"`
	KeyInterval int    `json:"keyint_sec"`
	Profile     string `json:"profile"`
	BFrames     int    `json:"bf"`
	Preset      string `json:"preset,omitempty"`
}

type sounds struct {
	Live []sound `json:"live"`
	VOD  []sound `json:"vod,omitempty"`
}

type sound struct {
	Codec    string        `json:"codec"`
	Track    int           `json:"track_id"`
	Channels uint32        `json:"channels"`
	Settings soundSettings `json:"settings"`
}

type soundSettings struct {
	Kbps int `json:"bitrate"`
}
