package srt

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/mpegts"
	"weir/internal/hub"
	"weir/internal/media"
)

// What a feed has begins with tables wherever a player may start, holds every frame once,
// goes out after a while even where it is not full, and forgets what nobody needs.
func TestFeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
		pub, err := h.Publish(hub.Key{Vhost: hub.DefaultVhost, App: "live", Stream: "s"}, hub.PublishOptions{})
		if err != nil {
			t.Fatal(err)
		}
		config := []byte("\x01\x42\xc0\x0d\xff\xe1\x00\x18\x67\x42\xc0\x0d\xd9\x01\x41\xfb\x01\x10\x00\x00\x03\x00\x10\x00\x00\x03\x03\x20\xf1\x42\xa4\x80\x01\x00\x05\x68\xcb\x83\xcb\x20")
		track := &media.Track{Kind: media.Video, Codec: media.H264, Config: config}
		n := 0
		write := func(size int) {
			key := n%25 == 0
			nal := append([]byte{0, 0, byte((size + 1) >> 8), byte(size + 1), 0x41}, bytes.Repeat([]byte{byte(n + 1)}, size)...)
			if key {
				nal[4] = 0x65
			}
			pub.Write(&media.Frame{Track: track, Source: time.Duration(n) * 40 * time.Millisecond, Key: key, Payload: nal})
			n++
			time.Sleep(40 * time.Millisecond)
		}
		write(500)
		all := feeds{all: map[feedKey]*feed{}}
		f := all.get(pub.Stream(), 1316)
		if all.get(pub.Stream(), 1316) != f {
			t.Error("two feeds of one stream")
		}
		for n < 110 {
			write(100 + 37*n%3000)
			f.look(time.Now())
		}
		v := f.look(time.Now())
		if place, seek := f.begin(); place != v.group || seek {
			t.Errorf("newcomers begin at %d, %v; the group is at %d", place, seek, v.group)
		}
		if !v.packs[v.group-v.first].access || v.packs[v.group-v.first].b[2] != mpegts.PIDTables {
			t.Error("a group does not begin with tables")
		}
		for i, p := range v.packs {
			if len(p.b) == 0 || len(p.b) > 1316 || len(p.b)%mpegts.PacketSize != 0 || p.access && p.b[2] != mpegts.PIDTables {
				t.Errorf("payload %d has %d bytes", i, len(p.b))
			}
		}
		d := mpegts.NewDemuxer()
		var frames []*media.Frame
		for _, p := range v.packs {
			frames = d.Feed(frames, p.b)
		}
		frames = d.Flush(frames)
		last := frames[len(frames)-1].Payload
		if d.Lost() > 0 || last[len(last)-1] != byte(n) {
			t.Errorf("%d lost, the last frame is %d of %d", d.Lost(), last[len(last)-1], n)
		}
		// Four seconds at 25 pictures: two are kept, and what belongs to the newest group.
		if oldest := frames[0]; len(frames) > 60 || !oldest.Key && len(frames) < 40 {
			t.Errorf("%d frames are kept", len(frames))
		}
		all.release(f)
		all.release(f)
		if len(all.all) > 0 {
			t.Error("a feed that nobody reads is kept")
		}
	})
}
