package srt

import (
	"context"
	"fmt"
	"time"

	"weir/internal/config/blocks"
	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// publish makes frames of what the peer sends until it ends that.
func (s *server) publish(ctx context.Context, p *peer, pub *hub.Publication, program uint16) error {
	vhost, _ := s.env.Conf.Load().Vhost(pub.Stream().Key.Vhost)
	conf := blocks.Publish.Of(vhost)
	in := &ingest{pub: pub, demuxer: mpegts.NewDemuxer()}
	in.demuxer.Program = program
	defer in.flush()
	timeout := time.NewTimer(conf.FirstPktTimeout)
	defer timeout.Stop()
	wait := conf.FirstPktTimeout
	var spare []byte
	told := false
	take := func() {
		p.mu.Lock()
		media, lost := p.inbox, p.lost
		p.inbox = spare[:0]
		p.mu.Unlock()
		if lost > 0 && !told {
			told = true
			p.log.Warn("SRT publisher sends more than is kept up with, some is left out", "bytes", lost)
		}
		in.feed(media)
		spare = media
	}
	for {
		select {
		case <-p.came:
			take()
			wait = conf.NormalTimeout
			timeout.Reset(wait)
		case <-p.over:
			take()
			return nil
		case <-timeout.C:
			return fmt.Errorf("%w: publisher sent nothing for %v", session.ErrTimeout, wait)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ingest turns a transport stream into frames.
type ingest struct {
	pub     *hub.Publication
	demuxer *mpegts.Demuxer
	maps    int // of the demuxer's, that have been looked at
	frames  []*media.Frame
}

func (in *ingest) feed(b []byte) {
	frames := in.demuxer.Feed(in.frames[:0], b)
	if n := in.demuxer.Maps(); n != in.maps {
		in.maps = n
		for _, t := range in.demuxer.Data() {
			in.pub.Announce(t)
		}
	}
	in.write(frames)
}

func (in *ingest) flush() { in.write(in.demuxer.Flush(in.frames[:0])) }

func (in *ingest) write(frames []*media.Frame) {
	for _, f := range frames {
		in.pub.Write(f)
	}
	clear(frames)
	in.frames = frames[:0]
}
