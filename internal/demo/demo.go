// Package demo publishes a built-in moving picture with sound, over and over,
// as an encoder would: through the RTMP door.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"time"

	"weir/internal/format/flv"
	link "weir/internal/link/rtmp"
	"weir/internal/wire/rtmp"
)

// loop is eight seconds of a test picture and a beep, made once with
//
//	ffmpeg -f lavfi -i testsrc2=size=640x360:rate=25:duration=8
//	  -f lavfi -i sine=frequency=440:beep_factor=4:duration=8:sample_rate=44100
//	  -c:v libx264 -preset veryslow -profile:v high -bf 0 -g 50 -sc_threshold 0
//	  -crf 27 -pix_fmt yuv420p -c:a aac -b:a 64k -ac 2 -f flv loop.flv
//
//go:embed loop.flv
var loop []byte

// Loop returns the built-in picture and sound as an FLV file.
func Loop() []byte { return loop }

// Publish sends the loop to an RTMP address, such as
// rtmp://127.0.0.1/live/livestream, in real time until ctx is done or the
// server ends it.
func Publish(ctx context.Context, url string) error {
	c, err := link.Dial(ctx, url, link.DialOptions{FMLE: true})
	if err != nil {
		return fmt.Errorf("demo publisher: %w", err)
	}
	defer c.Close()
	if err := c.Publish(); err != nil {
		return fmt.Errorf("demo publisher: %w", err)
	}
	drained := make(chan error, 1)
	go func() { drained <- c.Drain() }()
	err = play(ctx, c)
	c.Close()
	return errors.Join(err, ended(ctx, <-drained))
}

// ended drops the error of a connection that we closed ourselves.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func play(ctx context.Context, c *link.Client) error {
	began := time.Now()
	clock := time.NewTimer(0)
	defer clock.Stop()
	var base, last uint32
	for first := true; ; first = false {
		r := flv.NewReader(bytes.NewReader(loop))
		for {
			tag, err := r.ReadTag()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return fmt.Errorf("demo loop: %w", err)
			}
			if !first && isHeader(tag) {
				continue
			}
			last = base + tag.Timestamp
			if wait := time.Until(began.Add(time.Duration(last) * time.Millisecond)); wait > 0 {
				if err := c.Flush(); err != nil {
					return ended(ctx, err)
				}
				clock.Reset(wait)
				select {
				case <-clock.C:
				case <-ctx.Done():
					return nil
				}
			}
			if err := c.WriteMessage(rtmp.MessageType(tag.Type), last, tag.Body); err != nil {
				return ended(ctx, err)
			}
		}
		base = last + 40
	}
}

// isHeader reports whether a tag says what the first round has said already.
func isHeader(t flv.Tag) bool {
	return t.Type == flv.TypeScript || len(t.Body) > 1 && t.Body[1] == 0
}
