package blocks

import (
	"errors"
	"fmt"
	"path"
	"time"

	"weir/internal/config"
)

// The blocks of SRT.
var (
	SRTServer = config.NewServer[SRTServerConfig]("srt_server")
	SRT       = config.NewVhost[SRTConfig]("srt")
)

// SRTServerConfig is srt_server: where SRT is spoken, and how.
type SRTServerConfig struct {
	// Enabled turns SRT on.
	Enabled bool `conf:"enabled" default:"off" reload:"restart"`

	// Listen is where: one or more of port, ip:port or [ip6]:port, of UDP.
	Listen []string `conf:"listen" default:"10080" reload:"restart"`

	// MaxBW is the most that is sent to one peer, in bytes a second. With -1 it is
	// twice what the stream has, and 5 MB a second at least.
	MaxBW int64 `conf:"maxbw" default:"-1" reload:"restart"`

	// MSS is the longest packet in bytes, that of IP included: from 576 to 1500. The
	// lesser of both ends' holds.
	MSS int `conf:"mss" default:"1500" reload:"restart"`

	// Latency is how long a lost packet is waited for. It holds both ways where
	// recvlatency and peerlatency are as by default.
	Latency time.Duration `conf:"latency" default:"120" unit:"ms" reload:"restart"`

	// RecvLatency is how long we wait for what a publisher's packets lack; the
	// publisher may ask for more.
	RecvLatency time.Duration `conf:"recvlatency" default:"120" unit:"ms" reload:"restart"`

	// PeerLatency is the least that a player is to wait.
	PeerLatency time.Duration `conf:"peerlatency" default:"0" unit:"ms" reload:"restart"`

	// ConnectTimeout is how long a caller is kept waiting for callbacks that are to
	// admit it. Callers give up after 3 seconds.
	ConnectTimeout time.Duration `conf:"connect_timeout" default:"3000" unit:"ms" reload:"restart"`

	// PeerIdleTimeout is the longest silence of a peer.
	PeerIdleTimeout time.Duration `conf:"peer_idle_timeout" default:"10000" unit:"ms" reload:"restart"`

	// SendBuf bounds what is kept for a player to be sent again, in bytes.
	SendBuf int `conf:"sendbuf" default:"12058624" reload:"restart"`

	// RecvBuf bounds what waits for a lost packet of a publisher, in bytes.
	RecvBuf int `conf:"recvbuf" default:"12058624" reload:"restart"`

	// PayloadSize is the most bytes of media in a packet that is sent; whole packets
	// of the transport stream are.
	PayloadSize int `conf:"payloadsize" default:"1316" reload:"restart"`

	// DefaultApp is the app of a stream id that names none.
	DefaultApp string `conf:"default_app" default:"live" reload:"restart"`

	// DefaultStreamID is the stream id of a peer that sends none.
	DefaultStreamID string `conf:"default_streamid" default:"#!::r=live/livestream,m=request" reload:"restart" since:"7.0.95"`

	// DefaultMode is what a stream id without m= wants.
	DefaultMode string `conf:"default_mode" default:"request" enum:"request|publish" reload:"restart" since:"7.0.131"`

	// TSBPDMode gives up what has not come in time. With off, all waits until a lost
	// packet has come after all.
	TSBPDMode bool `conf:"tsbpdmode" default:"on" reload:"restart"`

	// TLPktDrop gives up what has not come in time, with tsbpdmode.
	TLPktDrop bool `conf:"tlpktdrop" default:"on" reload:"restart"`

	// LossMaxTTL is how many packets may overtake one of a publisher's at most before it
	// is asked for again; how many they are follows what is seen. With 0 it is asked for at
	// once. It is a directive of weir, and libsrt's option of that name.
	LossMaxTTL int `conf:"lossmaxttl" default:"0" reload:"restart" since:"weir"`

	// Passphrase makes it that only peers with the same secret are let in, and
	// encrypts; 10 to 79 bytes.
	Passphrase string `conf:"passphrase" default:"" reload:"restart"`

	// PBKeyLen is the length of the key that peers are advised to take, in bytes: 16,
	// 24 or 32. With 0 they choose.
	PBKeyLen int `conf:"pbkeylen" default:"0" reload:"restart"`

	// Listeners are more ports, each for its own kind of peers. They are weir's own.
	Listeners []SRTListenerConfig `conf:"listener" since:"weir"`
}

// SRTListenerConfig is listener of srt_server: another port, which differs from the
// server's own in what it says, and is like it otherwise.
type SRTListenerConfig struct {
	// Name is for the log; it may be left out.
	Name string `conf:"$arg"`

	// Listen is where: one or more of port, ip:port or [ip6]:port, of UDP.
	Listen []string `conf:"listen" default:"10081" reload:"restart" since:"weir"`

	// Mode is what peers may do there: publish, play, or both.
	Mode string `conf:"mode" default:"both" enum:"both|publish|play" reload:"restart" since:"weir"`

	// DefaultStreamID is the stream id of a peer that sends none.
	DefaultStreamID string `conf:"default_streamid" default:"" shown:"that of srt_server" reload:"restart" since:"weir"`

	// DefaultMode is what a stream id without m= wants: request or publish.
	DefaultMode string `conf:"default_mode" default:"" shown:"publish if that is all peers may do, else that of srt_server" reload:"restart" since:"weir"`

	// Passphrase is the secret there; the word none is for no secret.
	Passphrase string `conf:"passphrase" default:"" shown:"that of srt_server" reload:"restart" since:"weir"`
}

// Latencies returns how long we wait, and the least that the peer is to wait.
func (c *SRTServerConfig) Latencies() (recv, peer time.Duration) {
	const usual = 120 * time.Millisecond
	recv, peer = c.RecvLatency, c.PeerLatency
	if c.Latency != usual {
		if recv == usual {
			recv = c.Latency
		}
		if peer == 0 {
			peer = c.Latency
		}
	}
	return recv, peer
}

// Validate refuses a secret that would not be one.
func (c *SRTServerConfig) Validate() error {
	if err := badSecret(c.Passphrase); err != nil {
		return fmt.Errorf("srt_server passphrase %w", err)
	}
	for _, l := range c.Listeners {
		if err := badSecret(l.Passphrase); err != nil && l.Passphrase != "none" {
			return fmt.Errorf("passphrase of a listener of srt_server %w", err)
		}
		if m := l.DefaultMode; m != "" && m != "request" && m != "publish" {
			return fmt.Errorf("default_mode %q of a listener of srt_server is neither request nor publish", m)
		}
	}
	switch c.PBKeyLen {
	case 0, 16, 24, 32:
		return nil
	}
	return fmt.Errorf("srt_server pbkeylen %d is none of 0, 16, 24 and 32", c.PBKeyLen)
}

func badSecret(s string) error {
	if n := len(s); n > 0 && (n < 10 || n > 79) {
		return fmt.Errorf("has %d bytes, it must have 10 to 79", n)
	}
	return nil
}

// SRTConfig is srt of a vhost.
type SRTConfig struct {
	// Enabled lets SRT publish to the vhost and play from it.
	Enabled bool `conf:"enabled" default:"off" reload:"session"`

	// Passphrases are secrets of streams, one directive each: passphrase WORD for all of
	// the vhost, or passphrase app/stream WORD, where * stands for any part of a name. The
	// first that fits holds instead of the server's; WORD may be none. It is a directive
	// of weir.
	Passphrases []config.Rule `conf:"passphrase" env:"-" reload:"session" since:"weir"`

	// ToRTMP lets other protocols play, forward, cut and record what SRT publishes. With off
	// players of SRT alone see it.
	ToRTMP bool `conf:"srt_to_rtmp" default:"on" env:"VHOST_SRT_SRT_TO_RTMP,VHOST_SRT_TO_RTMP" reload:"session"`
}

// Secret returns the passphrase of a stream, where there is one of its own.
func (c *SRTConfig) Secret(app, stream string) (word string, ok bool) {
	for _, r := range c.Passphrases {
		switch len(r.Args) {
		case 1:
			return plain(r.Args[0]), true
		case 2:
			if fits, err := path.Match(r.Args[0], app+"/"+stream); fits && err == nil {
				return plain(r.Args[1]), true
			}
		}
	}
	return "", false
}

// plain is a secret in the configuration as a peer has it: none is none.
func plain(word string) string {
	if word == "none" {
		return ""
	}
	return word
}

// Validate refuses secrets that would not be any.
func (c *SRTConfig) Validate() error {
	for _, r := range c.Passphrases {
		if len(r.Args) != 1 && len(r.Args) != 2 {
			return errors.New("srt passphrase needs a secret, or app/stream and a secret")
		}
		if len(r.Args) == 2 {
			if _, err := path.Match(r.Args[0], ""); err != nil {
				return fmt.Errorf("srt passphrase: %q is no pattern", r.Args[0])
			}
		}
		if err := badSecret(plain(r.Args[len(r.Args)-1])); err != nil {
			return fmt.Errorf("srt passphrase %w", err)
		}
	}
	return nil
}

// At returns the configuration of a listener: the server's, but for what it says itself.
func (c *SRTServerConfig) At(l *SRTListenerConfig) *SRTServerConfig {
	n := *c
	n.Listen = l.Listen
	if l.DefaultStreamID != "" {
		n.DefaultStreamID = l.DefaultStreamID
	}
	switch {
	case l.DefaultMode != "":
		n.DefaultMode = l.DefaultMode
	case l.Mode == "publish":
		n.DefaultMode = "publish"
	}
	if l.Passphrase != "" {
		n.Passphrase = plain(l.Passphrase)
	}
	return &n
}
