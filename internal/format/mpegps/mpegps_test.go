package mpegps

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/aac"
)

var (
	pack    = []byte{0, 0, 1, 0xba, 0x44, 0, 4, 0, 4, 1, 0, 0x10, 3, 0xf9, 0xff} // one byte of stuffing
	pack1   = []byte{0, 0, 1, 0xba, 0x21, 0, 1, 0, 1, 1, 0xa1, 0x9c}
	system  = []byte{0, 0, 1, 0xbb, 0, 12, 0x80, 0x10, 1, 4, 0x21, 0x7f, 0xe0, 0xe0, 0xe0, 0xc0, 0xc0, 0x20}
	sps     = []byte{0x67, 0x64, 0, 0x0c, 0xac, 0xd9, 0x41, 0x41, 0x9f, 0x9f, 1, 0x10, 0, 0, 3, 0, 0x10, 0, 0, 3, 3, 0x20, 0xf1, 0x42, 0x99, 0x60}
	pps     = []byte{0x68, 0xef, 0x8f, 0xcb}
	hevcVPS = []byte{0x40, 1, 0x0c, 1, 0xff, 0xff, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3c, 0x95, 0x94, 9}
	hevcSPS = []byte{0x42, 1, 1, 1, 0x60, 0, 0, 3, 0, 0x90, 0, 0, 3, 0, 0, 3, 0, 0x3c, 0xa0, 0x0a, 8, 0x0c, 0x1f, 0x3e, 0x59, 0x59, 0x52, 0x93, 0x0b, 0xc0, 0x5a, 2, 0, 0, 3, 0, 2, 0, 0, 3, 0, 0x64, 0x10}
	hevcPPS = []byte{0x44, 1, 0xc0, 0x73, 0xc1, 0x89}
)

// psm is a map of pairs of type and stream.
func psm(pairs ...byte) []byte {
	b := []byte{0, 0, 1, 0xbc, 0, byte(10 + 2*len(pairs)), 0xe1, 0xff, 0, 0, 0, byte(2 * len(pairs))}
	for ; len(pairs) > 0; pairs = pairs[2:] {
		b = append(b, pairs[0], pairs[1], 0, 0)
	}
	return append(b, 0, 0, 0, 0)
}

// at is a PES packet; a negative time is none.
func at(stream byte, pts, dts time.Duration, body ...[]byte) []byte {
	head := []byte{0x80, 0, 0}
	stamp := func(mark byte, d time.Duration) {
		t := uint64(media.Ticks(d, 90000))
		head = append(head, mark|byte(t>>29)&0x0e|1, byte(t>>22), byte(t>>14)|1, byte(t>>7), byte(t<<1)|1)
		head[2] += 5
	}
	switch {
	case pts < 0:
	case pts == dts:
		head[1] = 0x80
		stamp(0x20, pts)
	default:
		head[1] = 0xc0
		stamp(0x30, pts)
		stamp(0x10, dts)
	}
	payload := bytes.Join(body, nil)
	b := binary.BigEndian.AppendUint16([]byte{0, 0, 1, stream}, uint16(len(head)+len(payload)))
	return append(append(b, head...), payload...)
}

func units(all ...[]byte) (b []byte) {
	for _, u := range all {
		b = append(append(b, 0, 0, 0, 1), u...)
	}
	return b
}

func slice(first byte, fill ...byte) []byte { return append([]byte{first, 0x80}, fill...) }

const ms = time.Millisecond

// text tells frames in words.
func text(frames []*media.Frame) string {
	var b strings.Builder
	for _, f := range frames {
		key := ""
		if f.Key && f.Track.Kind == media.Video {
			key = " key"
		}
		fmt.Fprintf(&b, "%v %v%+d%s %x\n", f.Track.Codec, f.Source.Round(ms), f.CTO.Milliseconds(), key, f.Payload[:min(8, len(f.Payload))])
	}
	return b.String()
}

func demux(b []byte, cut int) ([]*media.Frame, *Demuxer) {
	d := NewDemuxer()
	var frames []*media.Frame
	for len(b) > 0 {
		n := min(cut, len(b))
		frames = d.Feed(frames, bytes.Clone(b[:n]))
		b = b[n:]
	}
	return d.Flush(frames), d
}

func TestDemuxer(t *testing.T) {
	adts := func(fill byte) []byte {
		c := aac.Config{Type: aac.TypeLC, SampleRate: 48000, ChannelConfig: 1, Channels: 1}
		return append(c.AppendADTS(nil, 3), fill, fill, fill)
	}
	for _, c := range []struct {
		name string
		in   [][]byte
		want string
	}{
		{"a camera: H.264, each unit in a packet, G.711", [][]byte{
			pack, system, psm(0x1b, 0xe0, 0x90, 0xc0), at(0xe0, 40*ms, 40*ms, units(sps)), at(0xe0, -1, 0, units(pps)), at(0xe0, -1, 0, units(slice(0x65, 1))), at(0xc0, 40*ms, 40*ms, []byte{1, 2, 3}),
			pack, at(0xe0, 80*ms, 80*ms, units(slice(0x61, 2))), at(0xe0, -1, 0, []byte{9, 9}), at(0xc0, 80*ms, 80*ms, []byte{4, 5, 6}),
		}, "PCMA 40ms+0 010203\nH264 40ms+0 key 00000003658001\nPCMA 80ms+0 040506\nH264 80ms+0 0000000561800209\n"},
		{"μ-law", [][]byte{pack, psm(0x91, 0xc0), at(0xc0, 0, 0, []byte{1})}, "PCMU 0s+0 01\n"},
		{"H.265 with a map", [][]byte{
			pack, psm(0x24, 0xe1), at(0xe1, 80*ms, 40*ms, units(hevcVPS, hevcSPS, hevcPPS, []byte{0x26, 1, 0x80, 1})),
			pack, at(0xe1, 80*ms, 80*ms, units([]byte{0x02, 1, 0x80, 2})),
		}, "HEVC 40ms+40 key 0000000426018001\nHEVC 80ms+0 0000000402018002\n"},
		{"no map, pictures cut anywhere, several in a packet", [][]byte{
			pack, at(0xe2, 40*ms, 40*ms, units(sps, pps, slice(0x65, 1))[:20]), at(0xe2, -1, 0, units(sps, pps, slice(0x65, 1))[20:], units(slice(0x61, 2), []byte{9, 240}, slice(0x61, 3))),
			pack, at(0xe2, 160*ms, 160*ms, units(slice(0x61, 4))), at(0xe2, 200*ms, 200*ms, units(slice(0x61, 5))),
		}, "H264 40ms+0 key 00000003658001\nH264 40ms+0 00000003618002\nH264 40ms+0 00000003618003\nH264 160ms+0 00000003618004\nH264 200ms+0 00000003618005\n"},
		{"MPEG-1, without a map", [][]byte{
			pack1, {0, 0, 1, 0xe0, 0, 41, 0xff, 0xff, 0x60, 0x20, 0x21, 0, 1, 0x1c, 0x21}, units(sps, pps)[:32],
			{0, 0, 1, 0xe0, 0, 14, 0x0f}, units(sps, pps, slice(0x65, 1))[32:], {0, 0, 1, 0xbe, 0, 2, 0xff, 0xff},
		}, "H264 40ms+0 key 00000003658001\n"},
		{"AAC over two packets", [][]byte{
			pack, psm(0x0f, 0xc0), at(0xc0, 0, 0, adts(1), adts(2)[:5]), at(0xc0, 43*ms, 43*ms, adts(2)[5:], adts(3)),
		}, "AAC 0s+0 010101\nAAC 21ms+0 020202\nAAC 43ms+0 030303\n"},
		{"streams that are not taken", [][]byte{
			pack, psm(0x1b, 0xe0, 0x80, 0xe1, 0x99, 0xc0), at(0xe1, 0, 0, units(sps, pps, slice(0x65, 1))), at(0xc0, 0, 0, []byte{1}), at(0xe0, 0, 0, units(sps, pps, slice(0x65, 2))),
			at(0xe3, 0, 0, units(sps, pps, slice(0x65, 3))), at(0xbd, 0, 0, []byte{0xa0, 1, 2, 3}), {0, 0, 1, 0xbf, 0, 1, 7},
		}, "H264 0s+0 key 00000003658002\n"},
		{"a map that changes", [][]byte{
			pack, psm(0x90, 0xc0), at(0xc0, 0, 0, []byte{1}), pack, psm(0x91, 0xc0), at(0xc0, 20*ms, 20*ms, []byte{2}),
		}, "PCMA 0s+0 01\nPCMU 20ms+0 02\n"},
	} {
		whole := bytes.Join(c.in, nil)
		for _, cut := range []int{len(whole), 1, 7, 40} {
			got, d := demux(whole, cut)
			if text(got) != c.want || d.Lost() != 0 {
				t.Errorf("%s, cut at %d: lost %d\n%swant\n%s", c.name, cut, d.Lost(), text(got), c.want)
			}
		}
	}
}

// After bytes that are missing or no stream, the next pack is a new beginning.
func TestGap(t *testing.T) {
	first := bytes.Join([][]byte{pack, psm(0x1b, 0xe0), at(0xe0, 40*ms, 40*ms, units(sps, pps, slice(0x65, 1))), at(0xe0, 60*ms, 60*ms, units(slice(0x61, 9)))}, nil)
	second := bytes.Join([][]byte{pack, at(0xe0, 80*ms, 80*ms, units(slice(0x61, 2))), pack, at(0xe0, 120*ms, 120*ms, units(slice(0x61, 3)))}, nil)
	for name, b := range map[string][]byte{
		"garbage":          append(append(bytes.Clone(first), "this is no program stream"...), second...),
		"a lying length":   append(append(bytes.Clone(first), 0, 0, 1, 0xe0, 0, 20), second...),
		"an old code":      append(append(bytes.Clone(first), 0, 0, 1, 0x42), second...),
		"a strange pack":   append(append(bytes.Clone(first), 0, 0, 1, 0xba, 0xff, 0xff), second...),
		"garbage at first": append(append([]byte("\x00\x00\x01 garbage"), first...), second...),
	} {
		got, _ := demux(b, 16)
		if !strings.Contains(text(got), "H264 120ms+0 00000003618003\n") {
			t.Errorf("%s:\n%s", name, text(got))
		}
	}
	d := NewDemuxer()
	frames := d.Feed(nil, first)
	d.Gap()
	frames = d.Flush(d.Feed(frames, second))
	if got, want := text(frames), "H264 40ms+0 key 00000003658001\nH264 80ms+0 00000003618002\nH264 120ms+0 00000003618003\n"; got != want || d.Lost() != 1 {
		t.Errorf("after a gap:\n%s", got)
	}
}

func FuzzDemuxer(f *testing.F) {
	f.Add(bytes.Join([][]byte{pack, system, psm(0x1b, 0xe0, 0x90, 0xc0), at(0xe0, 40*ms, 40*ms, units(sps, pps, slice(0x65, 1))), at(0xc0, 40*ms, 40*ms, []byte{1, 2, 3}), pack, at(0xe0, 80*ms, 40*ms, units(slice(0x61, 2)))}, nil), uint8(7))
	f.Add(bytes.Join([][]byte{pack, at(0xe0, 80*ms, 40*ms, units(hevcVPS, hevcSPS, hevcPPS, []byte{0x26, 1, 0x80, 1})), at(0xbd, 0, 0, []byte{0x80, 1, 2, 3, 0x0b, 0x77})}, nil), uint8(200))
	f.Add(bytes.Join([][]byte{pack1, {0, 0, 1, 0xe0, 0, 10, 0xff, 0x60, 0x20, 0x31, 0, 1, 0x1c, 0x21, 0x11}}, nil), uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, cut uint8) {
		frames, d := demux(b, int(cut)+1)
		size := 0
		for _, f := range frames {
			size += len(f.Payload)
			if f.Track == nil || len(f.Payload) == 0 {
				t.Fatalf("%+v", f)
			}
		}
		// Start codes of three bytes become lengths of four.
		if size > 2*len(b) || cap(d.left) > 4*maxElement {
			t.Fatalf("%d bytes of frames, %d kept, of %d bytes", size, cap(d.left), len(b))
		}
	})
}
