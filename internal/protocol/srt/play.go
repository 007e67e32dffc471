package srt

import (
	"context"
	"errors"
	"time"

	"weir/internal/hub"
	wire "weir/internal/wire/srt"
)

// errGone is the end of a peer's connection.
var errGone = errors.New("SRT peer is gone")

// perform has the loop send the stream, as packets of a transport stream, until the peer
// ends that.
func (k *socket) perform(ctx context.Context, p *peer, sub *hub.Subscription) error {
	f := k.server.feeds.get(sub.Stream(), min(k.conf.PayloadSize, wire.MaxPayload))
	defer k.server.feeds.release(f)
	sub.Park()
	if !k.do(func() { k.join(f, p) }) {
		return errGone
	}
	defer k.do(func() { k.part(f, p) })
	select {
	case <-p.over:
		return errGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// send writes what a feed has for the peer, as far as there is room.
func (p *peer) send(now time.Time, f *feed, v view) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conn.Err() != nil {
		return
	}
	if p.place < v.first { // too slow: on with the newest group
		to := v.head()
		if v.grouped {
			to = v.group
		}
		f.stream.Lost(int(to - p.place))
		p.place, p.seek = to, !v.grouped
	}
	for p.place < v.head() && p.conn.Unsent() < maxUnsent {
		pk := &v.packs[p.place-v.first]
		if p.seek && !pk.access {
			p.place++
			continue
		}
		if !p.conn.WriteShared(now, pk.b) {
			break
		}
		p.seek = false
		p.place++
	}
	p.look()
}
