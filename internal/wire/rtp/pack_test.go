package rtp

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/pion/rtp/codecs"

	"weir/internal/media"
	"weir/internal/media/av1"
	"weir/internal/media/h264"
	"weir/internal/media/h265"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const (
	sampleSPS = "6742c00dd90141fb011000000300100000030320f142a480"
	samplePPS = "68cb83cb20"
	// of H.265
	sampleVPS265 = "40010c01ffff01600000030090000003000003003c959809"
	sampleSPS265 = "42010101600000030090000003000003003ca00a080b9f6d96566924caf0168080000003008000000c84"
	samplePPS265 = "4401c172b46240"
)

func trackH264(t testing.TB) *media.Track {
	c, err := h264.NewConfig([][]byte{unhex(t, sampleSPS)}, [][]byte{unhex(t, samplePPS)})
	if err != nil {
		t.Fatal(err)
	}
	return &media.Track{Kind: media.Video, Codec: media.H264, Config: c.Append(nil)}
}

// units makes an access unit of units with given headers and sizes.
func units(r *rand.Rand, head []byte, size ...int) (b []byte, all [][]byte) {
	for i, n := range size {
		u := make([]byte, n)
		for j := range u {
			u[j] = byte(r.Uint32())
		}
		copy(u, head)
		u[0] += byte(0 * i)
		b = append(append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), u...)
		all = append(all, u)
	}
	return b, all
}

func annexB(units ...[]byte) (b []byte) {
	for _, u := range units {
		b = append(append(b, 0, 0, 0, 1), u...)
	}
	return b
}

// Another implementation puts together what we cut.
func TestPackH264(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	track := trackH264(t)
	sps, pps := unhex(t, sampleSPS), unhex(t, samplePPS)
	for _, merge := range []bool{false, true} {
		for _, sizes := range [][]int{{10}, {1200}, {1201}, {1199, 5}, {5, 6, 7}, {40000}, {2400, 3, 100}} {
			for _, key := range []bool{false, true} {
				p := &Packer{Merge: merge}
				head := []byte{0x41}
				if key {
					head = []byte{0x65}
				}
				payload, all := units(r, head, sizes...)
				got := p.Append(nil, &media.Frame{Track: track, Key: key, Payload: payload})
				var unpack codecs.H264Packet
				var b []byte
				for i := range got {
					if got[i].Size() > MaxPayload {
						t.Errorf("a payload of %d bytes", got[i].Size())
					}
					if got[i].Marker != (i == len(got)-1) {
						t.Errorf("packet %d of %d: marker %v", i, len(got), got[i].Marker)
					}
					x, err := unpack.Unmarshal(got[i].AppendTo(nil))
					if err != nil {
						t.Fatal(err)
					}
					b = append(b, x...)
				}
				want := annexB(all...)
				if key {
					want = append(annexB(sps, pps), want...)
				}
				if !bytes.Equal(b, want) {
					t.Errorf("merge %v, sizes %v, key %v: %d bytes, want %d", merge, sizes, key, len(b), len(want))
				}
				if merge && len(sizes) == 3 && sizes[0] == 5 && len(got) != map[bool]int{false: 1, true: 2}[key] {
					t.Errorf("small units are in %d packets", len(got))
				}
			}
		}
	}
}

// In packetization-mode 0 units are sent whole, but for those that no browser would take so.
func TestPackSingle(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	payload, all := units(r, []byte{0x65}, SingleMost, 10, SingleMost+1)
	got := (&Packer{Single: true}).Append(nil, &media.Frame{Track: trackH264(t), Key: true, Payload: payload})
	if len(got) != 6 || !bytes.Equal(got[0].Body, unhex(t, sampleSPS)) || !bytes.Equal(got[2].Body, all[0]) || !bytes.Equal(got[3].Body, all[1]) || got[3].Cut() {
		t.Fatalf("%d packets", len(got))
	}
	if got[4].Head()[0]&31 != typeFUA || got[5].Head()[1]&0x40 == 0 || !got[5].Marker || len(got[4].Body)+len(got[5].Body) != SingleMost {
		t.Errorf("the long unit is sent as %x and %x", got[4].Head(), got[5].Head())
	}
}

func TestPackLeavesOut(t *testing.T) {
	track := trackH264(t)
	payload := []byte{0, 0, 0, 2, 9, 0xf0, 0, 0, 0, 2, 6, 1, 0, 0, 0, 2, 12, 0xff, 0, 0, 0, 2, 0x41, 1}
	if got := new(Packer).Append(nil, &media.Frame{Track: track, Payload: payload}); len(got) != 2 || got[0].Body[0] != 6 {
		t.Errorf("%d packets of SEI and a slice", len(got))
	}
	if got := (&Packer{DropSEI: true}).Append(nil, &media.Frame{Track: track, Payload: payload}); len(got) != 1 || got[0].Body[0] != 0x41 {
		t.Errorf("%d packets without SEI", len(got))
	}
}

// Frames that are shown before one that was sent are those of B pictures, also where
// others refer to them.
func TestPackBFrames(t *testing.T) {
	track := trackH264(t)
	order := []int{0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 11}
	for _, keep := range []bool{false, true} {
		p := &Packer{KeepB: keep}
		var got []int
		for i, n := range order {
			dts := time.Duration(i) * 40 * time.Millisecond
			pts := time.Duration(n) * 40 * time.Millisecond
			if len(p.Append(nil, &media.Frame{Track: track, DTS: dts, CTO: pts - dts, Key: i == 0, Payload: []byte{0, 0, 0, 2, 0x41, 1}})) > 0 {
				got = append(got, n)
			}
		}
		if want := 4; !keep && len(got) != want || keep && len(got) != len(order) {
			t.Errorf("keep %v: %v are sent", keep, got)
		}
	}
}

func TestPackH265(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	sets := [][]byte{unhex(t, sampleVPS265), unhex(t, sampleSPS265), unhex(t, samplePPS265)}
	c, err := h265.NewConfig(sets[:1], sets[1:2], sets[2:])
	if err != nil {
		t.Fatal(err)
	}
	track := &media.Track{Kind: media.Video, Codec: media.H265, Config: c.Append(nil)}
	payload, all := units(r, []byte{19 << 1, 1}, 5000, 7)
	got := new(Packer).Append(nil, &media.Frame{Track: track, Key: true, Payload: payload})
	var b []byte
	var unpack codecs.H265Depacketizer
	for i := range got {
		x, err := unpack.Unmarshal(got[i].AppendTo(nil))
		if err != nil {
			t.Fatal(err)
		}
		b = append(b, x...)
	}
	if want := annexB(append(sets, all...)...); !bytes.Equal(b, want) {
		t.Errorf("%d bytes, want %d", len(b), len(want))
	}
}

func TestPackVP(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	frame := make([]byte, 5000)
	for i := range frame {
		frame[i] = byte(r.Uint32())
	}
	copy(frame, unhex(t, "824983420013f00b30")) // a key frame of VP9, 320x180
	for _, codec := range []media.Codec{media.VP8, media.VP9} {
		p := new(Packer)
		got := p.Append(nil, &media.Frame{Track: &media.Track{Kind: media.Video, Codec: codec}, Key: true, Payload: frame})
		var b []byte
		for i := range got {
			if codec == media.VP8 {
				var u codecs.VP8Packet
				x, err := u.Unmarshal(got[i].AppendTo(nil))
				if err != nil || (u.S == 1) != (i == 0) || u.I != 1 || u.PictureID != 1 {
					t.Fatalf("packet %d: %+v, %v", i, u, err)
				}
				b = append(b, x...)
				continue
			}
			var u codecs.VP9Packet
			x, err := u.Unmarshal(got[i].AppendTo(nil))
			if err != nil || u.B != (i == 0) || u.E != (i == len(got)-1) || u.P || u.PictureID != 1 || u.V != (i == 0) {
				t.Fatalf("packet %d: %+v, %v", i, u, err)
			}
			if i == 0 && (u.Width[0] != 320 || u.Height[0] != 180) {
				t.Errorf("%v x %v", u.Width, u.Height)
			}
			b = append(b, x...)
		}
		if !bytes.Equal(b, frame) {
			t.Errorf("%v: %d bytes, want %d", codec, len(b), len(frame))
		}
	}
}

func TestPackAV1(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	body := make([]byte, 6000)
	for i := range body {
		body[i] = byte(r.Uint32())
	}
	sequence := unhex(t, "20000004457e3e6d7c9010d002")
	c, err := av1.NewConfig(av1.AppendUnit(nil, av1.TypeSequenceHeader, sequence))
	if err != nil {
		t.Fatal(err)
	}
	track := &media.Track{Kind: media.Video, Codec: media.AV1, Config: c.Append(nil)}
	for _, n := range []int{1, 100, 1193, 1194, 1195, 1196, 1197, 1198, 1199, 1200, 6000} {
		for _, inBand := range []bool{false, true} {
			var unit []byte
			if inBand {
				unit = av1.AppendUnit(nil, av1.TypeSequenceHeader, sequence)
			}
			unit = av1.AppendUnit(unit, av1.TypeMetadata, body[:30])
			unit = av1.AppendUnit(unit, av1.TypeFrame, body[:n])
			got := new(Packer).Append(nil, &media.Frame{Track: track, Key: true, Payload: unit})
			var u codecs.AV1Depacketizer
			var b []byte
			for i := range got {
				if got[i].Size() > MaxPayload {
					t.Errorf("%d bytes", got[i].Size())
				}
				x, err := u.Unmarshal(got[i].AppendTo(nil))
				if err != nil {
					t.Fatalf("%d, packet %d: %v", n, i, err)
				}
				b = append(b, x...)
			}
			want := av1.AppendUnit(nil, av1.TypeSequenceHeader, sequence)
			want = av1.AppendUnit(want, av1.TypeMetadata, body[:30])
			want = av1.AppendUnit(want, av1.TypeFrame, body[:n])
			if !bytes.Equal(b, want) {
				t.Errorf("frame of %d bytes: %d bytes, want %d", n, len(b), len(want))
			}
		}
	}
}

func TestPackSound(t *testing.T) {
	f := &media.Frame{Track: &media.Track{Kind: media.Audio, Codec: media.Opus}, Payload: []byte{1, 2, 3}}
	got := new(Packer).Append(nil, f)
	if len(got) != 1 || got[0].Marker || &got[0].Body[0] != &f.Payload[0] {
		t.Errorf("%+v", got)
	}
}

func FuzzPack(f *testing.F) {
	f.Add([]byte{0, 0, 0, 2, 0x65, 1}, uint8(media.H264), true)
	f.Add(av1.AppendUnit(nil, av1.TypeFrame, make([]byte, 3000)), uint8(media.AV1), true)
	track := trackH264(f)
	f.Fuzz(func(t *testing.T, b []byte, codec uint8, key bool) {
		c := media.Codec(codec)
		tr := &media.Track{Kind: c.Kind(), Codec: c, Config: track.Config}
		for _, p := range []*Packer{{}, {Merge: true, DropSEI: true}, {Single: true}} {
			for _, got := range p.Append(nil, &media.Frame{Track: tr, Key: key, Payload: b}) {
				if c.Kind() == media.Video && got.Size() > MaxPayload && (!p.Single || got.Size() > SingleMost) {
					t.Fatalf("%d bytes", got.Size())
				}
			}
		}
	})
}

// What every viewer shares is made without an allocation, but for key frames.
func BenchmarkPackH264(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 2))
	payload, _ := units(r, []byte{0x41}, 10000)
	f := &media.Frame{Track: trackH264(b), Payload: payload}
	p := &Packer{KeepB: true}
	var made []Payload
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		made = p.Append(made[:0], f)
	}
}

func TestPackDoesNotAllocate(t *testing.T) {
	payload, _ := units(rand.New(rand.NewPCG(1, 2)), []byte{0x41}, 10000)
	f := &media.Frame{Track: trackH264(t), Payload: payload}
	p := &Packer{KeepB: true}
	made := p.Append(nil, f)
	if n := testing.AllocsPerRun(100, func() { made = p.Append(made[:0], f) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
