package rtmp

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/amf"
	"weir/internal/service"
	"weir/internal/wire/rtmp"
)

const (
	// bandTimeout is how long the client may take for each answer, and bandLast how
	// long it is waited for at the end; both are SRS's.
	bandTimeout = 6 * time.Second
	bandLast    = 600 * time.Millisecond
	// bandFiller is how much of nothing a message has, and bandStep how often a
	// limited test sends.
	bandFiller = 16 << 10
	bandStep   = 100 * time.Millisecond
)

// bandcheck measures the bandwidth to the client and back, as SRS 4 and its clients
// do, message for message: commands of transaction 0 on stream 0, each side saying
// when it begins and when it has stopped.
func (c *conn) bandcheck(t rtmp.Target, vhost string, conf *blocks.BandcheckConfig) error {
	query, _ := url.ParseQuery(strings.TrimLeft(t.Param, "?#"))
	if err := c.env.Bandcheck.Admit(vhost, conf, query.Get("key")); err != nil {
		c.log.Info("bandcheck refused", "err", err)
		if c.link.Command("onStatus", 0, nil, status(rtmp.ConnectRejected, err.Error())) == nil {
			c.link.Linger(refuseTime)
		}
		return err
	}
	c.log.Info("bandcheck begins", "limit_kbps", conf.LimitKbps)
	b := &bandTest{conn: c, conf: conf, flash: c.session.SwfURL != "", began: time.Now()}
	if err := b.run(); err != nil {
		return fmt.Errorf("bandcheck: %w", err)
	}
	c.log.Info("bandcheck is done", "play_kbps", b.play.kbps(), "publish_kbps", b.publish.kbps())
	return nil
}

func status(code, description string) amf.Object {
	return amf.Object{{Key: "level", Value: "error"}, {Key: "code", Value: code}, {Key: "description", Value: description}}
}

// bandTest is one test.
type bandTest struct {
	*conn
	conf  *blocks.BandcheckConfig
	flash bool // the client is a page's player, which ends a little differently
	began time.Time

	play, publish measured
}

// measured is what one direction moved.
type measured struct {
	bytes int64
	took  time.Duration
}

func (m measured) kbps() int64 {
	if ms := m.took.Milliseconds(); ms > 0 {
		return m.bytes * 8 / ms
	}
	return 0
}

func (b *bandTest) run() error {
	for _, step := range []func() error{b.playTest, b.publishTest, b.finish} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func number(name string, n int64) amf.Property { return amf.Property{Key: name, Value: float64(n)} }

func (b *bandTest) say(name string, o amf.Object) error { return b.link.Command(name, 0, nil, o) }

// await reads until the client says one of some things, and returns which.
func (b *bandTest) await(names ...string) (string, error) {
	for {
		m, err := b.link.ReadCommand(bandTimeout)
		if err != nil {
			return "", fmt.Errorf("wait for %s: %w", names[0], err)
		}
		for _, n := range names {
			if m.Name == n {
				return n, nil
			}
		}
	}
}

// start announces a direction.
func (b *bandTest) start(name string) error {
	return b.say(name, amf.Object{number("limit_kbps", int64(b.conf.LimitKbps)), number("duration_ms", service.BandTestTime.Milliseconds()), number("interval_ms", 0)})
}

// stop says what a direction has moved.
func (b *bandTest) stop(name string, m measured) error {
	return b.say(name, amf.Object{number("duration_ms", service.BandTestTime.Milliseconds()), number("interval_ms", 0),
		number("duration_delta", m.took.Milliseconds()), number("bytes_delta", m.bytes)})
}

// playTest sends to the client for as long as the test lasts.
func (b *bandTest) playTest() error {
	if err := b.start("onSrsBandCheckStartPlayBytes"); err != nil {
		return err
	}
	if _, err := b.await("onSrsBandCheckStartingPlayBytes"); err != nil {
		return err
	}
	filler := filling()
	began, before, pace := time.Now(), b.link.Sent(), service.NewPace(b.conf.LimitKbps)
	for time.Since(began) < service.BandTestTime {
		if err := b.say("onSrsBandCheckPlaying", filler); err != nil {
			return err
		}
		if wait := pace.Wait(int64(b.link.Sent() - before)); wait > 0 {
			if err := b.pause(min(wait, bandStep, service.BandTestTime-time.Since(began))); err != nil {
				return err
			}
			for pace.Wait(int64(b.link.Sent()-before)) > 0 && time.Since(began) < service.BandTestTime {
				if err := b.pause(10 * time.Millisecond); err != nil {
					return err
				}
			}
		}
	}
	b.play = measured{int64(b.link.Sent() - before), time.Since(began)}
	if err := b.stop("onSrsBandCheckStopPlayBytes", b.play); err != nil {
		return err
	}
	_, err := b.await("onSrsBandCheckStoppedPlayBytes")
	return err
}

// pause sleeps, unless the session ends.
func (b *bandTest) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-b.session.Context().Done():
		return context.Cause(b.session.Context())
	}
}

// publishTest counts what the client sends. What is over the limit is left in the
// socket, which slows the client down.
func (b *bandTest) publishTest() error {
	if err := b.start("onSrsBandCheckStartPublishBytes"); err != nil {
		return err
	}
	if _, err := b.await("onSrsBandCheckStartingPublishBytes"); err != nil {
		return err
	}
	began, before, pace := time.Now(), b.link.Received(), service.NewPace(b.conf.LimitKbps)
	stopped := false
	for time.Since(began) < service.BandTestTime && !stopped {
		name, err := b.await("onSrsBandCheckPublishing", "onSrsBandCheckStopPublishBytes")
		if err != nil {
			return err
		}
		stopped = name == "onSrsBandCheckStopPublishBytes"
		if wait := pace.Wait(int64(b.link.Received() - before)); wait > 0 && !stopped {
			if err := b.pause(min(wait, max(0, service.BandTestTime-time.Since(began)))); err != nil {
				return err
			}
		}
	}
	b.publish = measured{int64(b.link.Received() - before), time.Since(began)}
	if err := b.stop("onSrsBandCheckStopPublishBytes", b.publish); err != nil {
		return err
	}
	switch {
	case b.flash && !stopped:
		_, err := b.await("onSrsBandCheckStopPublishBytes")
		return err
	case !b.flash:
		_, err := b.await("onSrsBandCheckStoppedPublishBytes")
		return err
	}
	return nil
}

// finish tells the client the result.
func (b *bandTest) finish() error {
	err := b.say("onSrsBandCheckFinished", amf.Object{
		number("start_time", b.began.UnixMilli()), number("end_time", time.Now().UnixMilli()),
		number("play_kbps", b.play.kbps()), number("publish_kbps", b.publish.kbps()),
		number("play_bytes", b.play.bytes), number("publish_bytes", b.publish.bytes),
		number("play_time", b.play.took.Milliseconds()), number("publish_time", b.publish.took.Milliseconds())})
	if err != nil {
		return err
	}
	if !b.flash {
		if _, err := b.await("finalClientPacket"); err != nil {
			return err
		}
	}
	// The client reads the result and closes, or is closed.
	b.link.Linger(bandLast)
	return nil
}

// filling is an object that is long and means nothing, under SRS's keys.
func filling() amf.Object {
	const piece = "weir's band check: data that means nothing ........................................................"
	var o amf.Object
	for n := 0; n < bandFiller; n += len(piece) + 8 {
		o = append(o, amf.Property{Key: strconv.Itoa(len(o)), Value: piece})
	}
	return o
}
