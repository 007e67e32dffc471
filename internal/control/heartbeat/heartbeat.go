// Package heartbeat tells another server, again and again, that this one lives, in
// the shape in which SRS's proxies and operators' servers expect it.
//
// A call has one deadline and nobody waits for it; a server that is down is
// warned of and tried again at the next turn.
package heartbeat

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/host"
	"weir/internal/link"
	"weir/internal/service"
)

// patience is the deadline of a call.
const patience = 10 * time.Second

// Heartbeat is a service. Make one with New.
type Heartbeat struct {
	env    service.Env
	client *http.Client
	poke   chan struct{} // holds one: the configuration has changed
}

// New returns a heartbeat, which beats while the configuration says so.
func New(env service.Env) *Heartbeat {
	return &Heartbeat{env: env, poke: make(chan struct{}, 1), client: &http.Client{
		Timeout:       patience,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 1, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Prepare implements service.Preparer: a heartbeat that is turned on beats at
// once.
func (h *Heartbeat) Prepare(_ context.Context, old, next *config.Snapshot) (service.Turn, error) {
	return service.Turn{Commit: func() {
		if *blocks.Heartbeat.In(old) != *blocks.Heartbeat.In(next) {
			select {
			case h.poke <- struct{}{}:
			default:
			}
		}
	}}, nil
}

// Run implements service.Service.
func (h *Heartbeat) Run(ctx context.Context) error {
	defer h.client.CloseIdleConnections()
	for {
		conf := blocks.Heartbeat.In(h.env.Conf.Load())
		var next <-chan time.Time
		if conf.Enabled {
			if err := h.beat(ctx, conf); err != nil && ctx.Err() == nil {
				h.env.Log.Warn("heartbeat", "url", conf.URL, "err", err)
			}
			next = time.After(max(conf.Interval, 100*time.Millisecond))
		}
		select {
		case <-next:
		case <-h.poke:
		case <-ctx.Done():
			return nil
		}
	}
}

// message is what is posted, in SRS's order.
type message struct {
	DeviceID  string     `json:"device_id"`
	IP        string     `json:"ip"`
	Server    string     `json:"server"`
	Service   string     `json:"service"`
	PID       string     `json:"pid"`
	Summaries *summaries `json:"summaries,omitempty"`
	RTMP      []string   `json:"rtmp,omitempty"`
	HTTP      []string   `json:"http,omitempty"`
	API       []string   `json:"api,omitempty"`
	SRT       []string   `json:"srt,omitempty"`
}

type summaries struct {
	Data host.Summary `json:"data"`
}

func (h *Heartbeat) message(conf *blocks.HeartbeatConfig) message {
	snap := h.env.Conf.Load()
	m := message{DeviceID: conf.DeviceID, IP: address(blocks.Stats.In(snap).Network), Server: h.env.ID, Service: h.env.Service, PID: strconv.Itoa(h.env.PID)}
	if conf.Summaries {
		m.Summaries = &summaries{h.env.Summary()}
	}
	if conf.Ports {
		m.RTMP = blocks.Root.In(snap).Listen
		if c := blocks.HTTPServer.In(snap); c.Enabled {
			m.HTTP = c.Listen
		}
		if c := blocks.HTTPAPI.In(snap); c.Enabled {
			m.API = c.Listen
		}
		if c := blocks.SRTServer.In(snap); c.Enabled {
			for _, l := range c.Listen {
				if _, at, err := link.Address(l); err == nil {
					m.SRT = append(m.SRT, "udp://"+at)
				}
			}
		}
	}
	return m
}

// address is what the server calls its own: what the environment says, else the
// machine's address of that index.
func address(index int) string {
	ip := ""
	if all := host.Addresses(); index >= 0 && index < len(all) {
		ip = all[index].IP.String()
	} else if len(all) > 0 {
		ip = all[0].IP.String()
	}
	return cmp.Or(os.Getenv("SRS_DEVICE_IP"), ip)
}

// beat posts once. What is answered is not looked at, as in SRS, but for the
// status.
func (h *Heartbeat) beat(ctx context.Context, conf *blocks.HeartbeatConfig) error {
	body, err := json.Marshal(h.message(conf))
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, conf.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", h.env.Identity.Server)
	res, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // so that the connection can be used again
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return fmt.Errorf("answered %s", res.Status)
	}
	return nil
}
