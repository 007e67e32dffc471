package blocks

import (
	"fmt"
	"os"
	"strings"
	"time"

	"weir/internal/config"
)

// The blocks of WebRTC.
var (
	RTCServer = config.NewServer[RTCServerConfig]("rtc_server")
	RTC       = config.NewVhost[RTCConfig]("rtc")
)

// RTCServerConfig is rtc_server: where media of WebRTC come and go, and what peers are
// told of that.
type RTCServerConfig struct {
	// Enabled turns WebRTC on.
	Enabled bool `conf:"enabled" default:"off" reload:"restart"`

	// Listen is where media come by UDP, all of them at one port: port, ip:port or
	// [ip6]:port.
	Listen []string `conf:"listen" default:"8000" reload:"restart"`

	// TCP is media over TCP, for peers that get no UDP through.
	TCP RTCTCPConfig `conf:"tcp"`

	// Protocol is which candidates peers are told: udp, tcp, or both with all.
	Protocol string `conf:"protocol" default:"udp" enum:"udp|tcp|all" reload:"restart" since:"5.0.60"`

	// Candidate is the address that peers are told, with a port if it is another than
	// that of listen. With * or 0.0.0.0 the addresses of the interfaces are told; $NAME
	// is a variable of the environment, and if it is not set, *.
	Candidate []string `conf:"candidate" default:"*" reload:"restart"`

	// IPFamily is which addresses of the interfaces are told.
	IPFamily string `conf:"ip_family" default:"ipv4" enum:"ipv4|ipv6|all" reload:"restart"`

	// AutoDetect tells the addresses of the interfaces where candidate names none.
	AutoDetect bool `conf:"use_auto_detect_network_ip" default:"on" reload:"restart" since:"4.0.218"`

	// APIAsCandidates tells the address by which the API was called.
	APIAsCandidates bool `conf:"api_as_candidates" default:"on" reload:"restart" since:"4.0.218"`

	// ResolveAPIDomain tells the address of the name by which the API was called.
	ResolveAPIDomain bool `conf:"resolve_api_domain" default:"on" reload:"restart" since:"4.0.218"`

	// KeepAPIDomain tells that name itself.
	KeepAPIDomain bool `conf:"keep_api_domain" default:"off" reload:"restart" since:"4.0.218"`

	// ECDSA has the certificate of DTLS be one of ECDSA, else of RSA.
	ECDSA bool `conf:"ecdsa" default:"on" reload:"restart"`

	// Certificate is a file that keeps the certificate of DTLS and its key over
	// restarts; it is made if it is missing. Without one each start makes another
	// certificate. It is a directive of weir.
	Certificate string `conf:"certificate" default:"./objs/rtc.pem" reload:"restart" since:"weir"`

	// Encrypt encrypts media. With off nothing is, which no browser takes: it is for
	// looking at packets.
	Encrypt bool `conf:"encrypt" default:"on" reload:"restart"`

	// ReusePort is how many sockets share each port.
	ReusePort int `conf:"reuseport" default:"1" reload:"restart"`

	// MergeNALUs puts neighbouring units of a picture into one packet where they fit.
	MergeNALUs bool `conf:"merge_nalus" default:"off" reload:"restart"`

	// ICEServer is which servers of STUN and TURN those who come by WHIP and WHEP are told,
	// in headers Link (RFC 9725 4.6): stun:host[:port], or
	// turn:user:password@host[:port][?transport=tcp]. Nobody needs one to reach this server;
	// they are for what clients do besides. It is a directive of weir.
	ICEServer []string `conf:"ice_server" default:"" reload:"restart" since:"weir"`

	// BlackHole copies what was decrypted to an address, for looking at packets.
	BlackHole BlackHoleConfig `conf:"black_hole"`
}

// Validate implements config.Validator.
func (c *RTCServerConfig) Validate() error {
	for _, s := range c.ICEServer {
		if _, err := NewICEServer(s); err != nil {
			return err
		}
	}
	return nil
}

// An ICEServer is a server of STUN or TURN.
type ICEServer struct{ URL, User, Password string }

// NewICEServer reads a value of ice_server.
func NewICEServer(s string) (i ICEServer, err error) {
	scheme, rest, _ := strings.Cut(s, ":")
	at := strings.LastIndexByte(rest, '@')
	if at >= 0 {
		i.User, i.Password, _ = strings.Cut(rest[:at], ":")
	}
	i.URL = scheme + ":" + rest[at+1:]
	turn := scheme == "turn" || scheme == "turns"
	switch {
	case !turn && scheme != "stun" && scheme != "stuns", rest[at+1:] == "", strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"<>\\", r) }):
		err = fmt.Errorf("ice_server %s: write stun:host:port or turn:user:password@host:port", s)
	case turn != (at >= 0):
		err = fmt.Errorf("ice_server %s: turn has user:password@ before the host, stun has not", s)
	}
	return i, err
}

// RTCTCPConfig is rtc_server's tcp.
type RTCTCPConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"restart" since:"5.0.60"`

	// Listen is where; it may be a port of http_api's or http_server's.
	Listen []string `conf:"listen" default:"8000" reload:"restart" since:"5.0.60"`
}

// BlackHoleConfig is rtc_server's black_hole.
type BlackHoleConfig struct {
	// Enabled turns it on.
	Enabled bool `conf:"enabled" default:"off" reload:"restart"`

	// Addr is where the copies are sent by UDP: ip:port.
	Addr string `conf:"addr" default:"" reload:"restart"`
}

// Candidates returns the addresses that candidate names, none if they are to be found
// out.
func (c *RTCServerConfig) Candidates() (all []string) {
	for _, w := range c.Candidate {
		if name, ok := strings.CutPrefix(w, "$"); ok {
			w = os.Getenv(name)
		}
		if w != "" && w != "*" && w != "0.0.0.0" {
			all = append(all, w)
		}
	}
	return all
}

// RTCConfig is rtc of a vhost.
type RTCConfig struct {
	// Enabled lets WebRTC publish to the vhost and play from it.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// WHEPWait lets a player come by WHEP before its publisher, as in SRS; with off it is
	// answered 409, and when to come back.
	WHEPWait bool `conf:"whep_wait" default:"on" reload:"session" since:"weir"`

	// NACK asks publishers for packets that were lost, and sends players theirs again.
	NACK bool `conf:"nack" default:"on" reload:"session"`

	// NACKNoCopy kept lost packets without a copy in SRS; here they always are.
	NACKNoCopy bool `conf:"nack_no_copy" default:"on" reload:"session"`

	// NACKPreferRTX sends players lost packets again in a stream of their own (RFC
	// 4588), where they take it.
	NACKPreferRTX bool `conf:"nack_prefer_rtx" default:"off" reload:"session" since:"7.0.66"`

	// TWCC tells publishers how their packets arrive, from which they learn how much
	// they may send.
	TWCC bool `conf:"twcc" default:"on" reload:"session"`

	// STUNTimeout is the longest silence of a peer.
	STUNTimeout time.Duration `conf:"stun_timeout" default:"30" unit:"s" reload:"session"`

	// STUNStrictCheck was whether names in STUN's messages are checked; here they
	// always are, and signatures with them.
	STUNStrictCheck bool `conf:"stun_strict_check" default:"off" reload:"session"`

	// DTLSRole is who begins DTLS where a peer leaves that open: the peer with passive,
	// we with active.
	DTLSRole string `conf:"dtls_role" default:"passive" enum:"passive|active" reload:"session"`

	// DTLSVersion is DTLS's; 1.0 is not spoken any more, and 1.2 taken in its place.
	DTLSVersion string `conf:"dtls_version" default:"auto" enum:"auto|dtls1.0|dtls1.2" reload:"session"`

	// DropForPT drops publishers' packets of a payload type, for tests.
	DropForPT int `conf:"drop_for_pt" default:"0" reload:"session"`

	// RTMPToRTC lets WebRTC play what other protocols publish.
	RTMPToRTC bool `conf:"rtmp_to_rtc" default:"off" reload:"session"`

	// KeepBFrame sends B-frames too, which few players of WebRTC can show.
	KeepBFrame bool `conf:"keep_bframe" default:"off" reload:"session"`

	// KeepSEI sends units of supplemental enhancement information too.
	KeepSEI bool `conf:"keep_avc_nalu_sei" default:"on" reload:"session" since:"6.0.125"`

	// OpusBitrate is the rate of sound made for WebRTC of AAC or MP3, in bits a second.
	OpusBitrate int `conf:"opus_bitrate" default:"48000" reload:"session" since:"5.0"`

	// PlayoutDelay is how long players keep pictures at least, of streams with sound:
	// browsers keep sound about as long, and would have it be late beside the picture
	// for the first ten seconds. What peers of WebRTC publish is left to them unless much
	// is lost on the player's way, and with 0 everything is. It is in milliseconds.
	// Pictures that B-frames refer to come before they are due, and are kept that much longer.
	PlayoutDelay time.Duration `conf:"playout_delay" default:"180" unit:"ms" reload:"session" since:"weir"`

	// RTCToRTMP lets other protocols play what WebRTC publishes.
	RTCToRTMP bool `conf:"rtc_to_rtmp" default:"off" reload:"session"`

	// PLIForRTMP is how often a publisher is asked for a key frame where others play
	// it too, in seconds from 0.5 to 30.
	PLIForRTMP time.Duration `conf:"pli_for_rtmp" default:"6" unit:"s" reload:"session"`

	// RTCToRTMPAudio is what others get of WebRTC's Opus: AAC that is made of it, or
	// Opus as it is, which RTMP and HTTP-FLV carry in their enhanced form only.
	RTCToRTMPAudio string `conf:"rtc_to_rtmp_audio" default:"aac" enum:"aac|opus" reload:"session" since:"weir"`

	// AACBitrate is the rate of sound made of WebRTC's Opus, in bits a second.
	AACBitrate int `conf:"aac_bitrate" default:"48000" reload:"session" since:"5.0"`

	// InitRateFromSDP has times of a publisher be reckoned by the clock rate of its SDP
	// from the first packet on, before reports tell it. Here they always are.
	InitRateFromSDP bool `conf:"init_rate_from_sdp" default:"off" reload:"session" since:"7.0.66"`

	// KeepOriginalSSRC sends players packets with the publisher's SSRC.
	KeepOriginalSSRC bool `conf:"keep_original_ssrc" default:"off" reload:"session" since:"7.0.119"`
}
