package blocks

import "time"

// PublishConfig is publish: the rules for publishers.
type PublishConfig struct {
	// MR gathers what a publisher sends before it is read, which saves system
	// calls and costs latency.
	MR bool `conf:"mr" default:"off" reload:"session"`

	// MRLatency is how long a read may wait for that.
	MRLatency time.Duration `conf:"mr_latency" default:"350" unit:"ms" reload:"session"`

	// FirstPktTimeout is how long a publisher may take until its first packet;
	// after that it is disconnected.
	FirstPktTimeout time.Duration `conf:"firstpkt_timeout" default:"20000" unit:"ms" reload:"session"`

	// NormalTimeout is how long a publisher may be silent later on.
	NormalTimeout time.Duration `conf:"normal_timeout" default:"5000" unit:"ms" reload:"session"`

	// ParseSPS reads the size of the picture from the sequence parameter set. With
	// off, a set that makes no sense does no harm.
	ParseSPS bool `conf:"parse_sps" default:"on" reload:"session"`

	// TryAnnexBFirst takes the units of a frame for Annex B if they look so, before
	// it takes them for what the container says.
	TryAnnexBFirst bool `conf:"try_annexb_first" default:"on" reload:"session" since:"5.0"`

	// KickoffForIdle disconnects a publisher when nobody has watched for so long;
	// with 0 never. It cannot be combined with forward.
	KickoffForIdle time.Duration `conf:"kickoff_for_idle" default:"0" unit:"s" reload:"session" since:"5.0.144"`

	// Preempt says who may take over a stream that is being published: nobody (off,
	// as in SRS), whoever comes from the same address (same_ip), or anybody (on).
	// The newcomer must be admitted by the hooks first; viewers stay on. It is a
	// directive of weir.
	Preempt string `conf:"preempt" default:"off" enum:"off|same_ip|on" reload:"session" since:"weir"`
}

// PlayConfig is play: the rules for players.
type PlayConfig struct {
	// GOPCache starts players at the newest key frame that is over, so that they see
	// a picture at once. With off they wait for the next.
	GOPCache bool `conf:"gop_cache" default:"on" reload:"session"`

	// GOPCacheMaxFrames is the most frames that are kept for that; a longer group is
	// not kept. With 0 there is no bound but that of memory.
	GOPCacheMaxFrames int `conf:"gop_cache_max_frames" default:"2500" reload:"session" since:"5.0.93"`

	// QueueLength is how far a slow player may lag behind before frames are skipped
	// for it.
	QueueLength time.Duration `conf:"queue_length" default:"30" unit:"s" reload:"session"`

	// TimeJitter is how time is repaired for players: full makes it begin near zero
	// and always grow, zero only makes it begin at zero, off leaves it alone.
	TimeJitter string `conf:"time_jitter" default:"full" enum:"full|zero|off" reload:"session"`

	// MixCorrect puts sound and picture in the order of their time.
	MixCorrect bool `conf:"mix_correct" default:"off" reload:"session"`

	// ATC keeps the absolute time of the publisher, so that two servers fed by two
	// encoders show the same time.
	ATC bool `conf:"atc" default:"off" reload:"session"`

	// ATCAuto turns atc on for a stream whose metadata has bravo_atc.
	ATCAuto bool `conf:"atc_auto" default:"off" reload:"session"`

	// MWLatency is how long messages may be gathered before they are sent together.
	MWLatency time.Duration `conf:"mw_latency" default:"350" unit:"ms" reload:"session"`

	// MWMsgs is how many messages are gathered before they are sent, at most 128;
	// with min_latency it is 0.
	MWMsgs int `conf:"mw_msgs" default:"8" reload:"session"`

	// SendMinInterval is the least time between two messages to a player.
	SendMinInterval time.Duration `conf:"send_min_interval" default:"0" unit:"ms" reload:"session"`

	// ReduceSequenceHeader does not send a codec configuration again that did not
	// change.
	ReduceSequenceHeader bool `conf:"reduce_sequence_header" default:"off" reload:"session"`
}

// MaxMWMsgs bounds mw_msgs.
const MaxMWMsgs = 128

// Messages returns how many messages are gathered: mw_msgs within its bounds, and
// 0 with min_latency.
func (c *PlayConfig) Messages(minLatency bool) int {
	if minLatency {
		return 0
	}
	return max(0, min(MaxMWMsgs, c.MWMsgs))
}

// Warnings tells what is accepted and probably not meant.
func (c *PlayConfig) Warnings() []string {
	var out []string
	if c.MWMsgs > MaxMWMsgs {
		out = append(out, "mw_msgs is above 128, and 128 is used")
	}
	if c.QueueLength <= 0 {
		out = append(out, "queue_length is not above 0: a player that is slow once loses frames at once")
	}
	return out
}
