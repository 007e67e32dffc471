package rtp

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/av1"
)

// What we cut, put together again, is what it was.
func TestUnpackWhatWasPacked(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	h265 := &media.Track{Kind: media.Video, Codec: media.H265}
	for _, c := range []struct {
		track *media.Track
		head  []byte
		key   []byte
	}{{trackH264(t), []byte{0x41}, []byte{0x65}}, {h265, []byte{2, 1}, []byte{19 << 1, 1}}} {
		for _, merge := range []bool{false, true} {
			for _, key := range []bool{false, true} {
				head := c.head
				if key {
					head = c.key
				}
				payload, all := units(r, head, 5, 1200, 1201, 9, 9, 40000)
				u := &Unpacker{Codec: c.track.Codec}
				for _, p := range (&Packer{Merge: merge}).Append(nil, &media.Frame{Track: c.track, Key: key, Payload: payload}) {
					u.Add(p.AppendTo(nil))
				}
				got, gotKey, ok := u.Take()
				if key && c.track.Codec == media.H264 {
					got = got[2:] // the parameter sets
				}
				if !ok || gotKey != key || len(got) != len(all) {
					t.Fatalf("%v, merge %v, key %v: %d units, %v, %v", c.track.Codec, merge, key, len(got), gotKey, ok)
				}
				for i := range got {
					if !bytes.Equal(got[i], all[i]) {
						t.Errorf("%v: unit %d differs", c.track.Codec, i)
					}
				}
			}
		}
	}
	frame := make([]byte, 5000)
	for i := range frame {
		frame[i] = byte(r.Uint32())
	}
	for _, codec := range []media.Codec{media.VP8, media.VP9, media.Opus} {
		for _, key := range []bool{false, true} {
			frame[0] = frame[0] &^ 1
			if !key {
				frame[0] |= 1
			}
			u := &Unpacker{Codec: codec}
			for _, p := range new(Packer).Append(nil, &media.Frame{Track: &media.Track{Kind: codec.Kind(), Codec: codec}, Key: key, Payload: frame}) {
				u.Add(p.AppendTo(nil))
			}
			if got, k, ok := u.Take(); !ok || k != key && codec != media.Opus || len(got) != 1 || !bytes.Equal(got[0], frame) {
				t.Errorf("%v: %d units, key %v, %v", codec, len(got), k, ok)
			}
		}
	}
	sequence := unhex(t, "20000004457e3e6d7c9010d002")
	unit := av1.AppendUnit(nil, av1.TypeSequenceHeader, sequence)
	unit = av1.AppendUnit(unit, av1.TypeFrame, frame)
	u := &Unpacker{Codec: media.AV1}
	for _, p := range new(Packer).Append(nil, &media.Frame{Track: &media.Track{Kind: media.Video, Codec: media.AV1}, Key: true, Payload: unit}) {
		u.Add(p.AppendTo(nil))
	}
	got, key, ok := u.Take()
	if b, s := AppendTemporalUnit(nil, got); !ok || !key || !bytes.Equal(b, unit) || !bytes.Equal(s, unit[:len(sequence)+2]) {
		t.Errorf("AV1: %d bytes of %d, key %v, %v", len(b), len(unit), key, ok)
	}
}

func TestUnpackRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		codec    media.Codec
		payloads []string
	}{
		"middle of a unit":        {media.H264, []string{"5c0501"}},
		"unit that never ends":    {media.H264, []string{"7c8501", "7c0502"}},
		"unit within a unit":      {media.H264, []string{"7c8501", "41aa"}},
		"start within a unit":     {media.H264, []string{"7c8501", "7c8501"}},
		"aggregate with a lie":    {media.H264, []string{"780005aa"}},
		"unknown type":            {media.H264, []string{"1e00"}},
		"H.265, short":            {media.H265, []string{"02"}},
		"H.265, middle":           {media.H265, []string{"62010511"}},
		"VP8 without its start":   {media.VP8, []string{"00aa"}},
		"VP8 without payload":     {media.VP8, []string{"90808001"}},
		"VP9 without its start":   {media.VP9, []string{"00aa"}},
		"VP9, groups that lie":    {media.VP9, []string{"0a08ff"}},
		"AV1 that did not begin":  {media.AV1, []string{"90aa"}},
		"AV1, a length that lies": {media.AV1, []string{"007f00"}},
		"AV1 that never ends":     {media.AV1, []string{"50aa"}},
	} {
		u := &Unpacker{Codec: c.codec}
		for _, p := range c.payloads {
			u.Add(unhex(t, p))
		}
		if units, _, ok := u.Take(); ok {
			t.Errorf("%s: %x", name, units)
		}
	}
}

func TestUnpackIsBounded(t *testing.T) {
	u := &Unpacker{Codec: media.H264}
	start, more := append([]byte{0x7c, 0x85}, make([]byte, 1200)...), append([]byte{0x7c, 0x05}, make([]byte, 1200)...)
	u.Add(start)
	for range 2 * MaxFrame / 1200 {
		u.Add(more)
	}
	if cap(u.buf) > 3*MaxFrame {
		t.Errorf("%d bytes are kept", cap(u.buf))
	}
}

func TestJitter(t *testing.T) {
	now := time.Unix(1e9, 0)
	const wait = 100 * time.Millisecond
	var j Jitter
	push := func(seqs ...uint16) {
		for _, s := range seqs {
			j.Push(now, s, uint32(s), false, []byte{byte(s)})
		}
	}
	pop := func() (all []uint16, lost int) {
		for {
			r, ok := j.Pop(now, wait)
			if !ok {
				return all, lost
			}
			if r.Lost {
				lost++
			}
			all = append(all, r.Seq)
		}
	}
	expect := func(what string, lost int, want ...uint16) {
		t.Helper()
		got, l := pop()
		if l != lost || len(got) != len(want) {
			t.Fatalf("%s: %v, %d gaps; want %v, %d", what, got, l, want, lost)
		}
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: %v, want %v", what, got, want)
			}
		}
	}
	push(65533, 65535, 65534, 65534)
	expect("order", 0, 65533, 65534, 65535)
	push(65533) // late
	expect("late", 0)
	push(1, 4)
	expect("gap", 0)
	if m := j.Missing(now, make([]uint16, 0, 10)); len(m) != 3 || m[0] != 0 || m[1] != 2 || m[2] != 3 {
		t.Fatalf("missing %v", m)
	}
	if m := j.Missing(now.Add(time.Millisecond), make([]uint16, 0, 10)); len(m) != 0 {
		t.Fatalf("asked again at once: %v", m)
	}
	push(0)
	expect("filled", 0, 0, 1)
	if m := j.Missing(now.Add(askEvery), make([]uint16, 0, 1)); len(m) != 1 || m[0] != 2 {
		t.Fatalf("asked again: %v", m)
	}
	now = now.Add(wait)
	push(3)
	expect("given up", 1, 3, 4)
	push(5, 6)
	expect("goes on", 0, 5, 6)
	push(30000, 30001) // strangers
	expect("strangers", 0)
	push(30002, 30003)
	expect("new beginning", 1, 30002, 30003)
	push(30003 + 1023)
	expect("far ahead", 0)
	now = now.Add(wait)
	expect("all of it given up", 1, 30003+1023)
}

// How soon a packet is asked for once more is learnt from how long the first ones took.
func TestJitterAsksInTime(t *testing.T) {
	now := time.Unix(1e9, 0)
	var j Jitter
	j.Push(now, 0, 0, false, nil)
	for seq := uint16(2); seq < 40; seq += 2 { // each second one comes 24 ms after it was asked for
		j.Push(now, seq, 0, false, nil)
		if m := j.Missing(now, make([]uint16, 0, 9)); len(m) != 1 {
			t.Fatalf("missing %v", m)
		}
		now = now.Add(24 * time.Millisecond)
		j.Push(now, seq-1, 0, false, nil)
	}
	j.Push(now, 40, 0, false, nil)
	j.Missing(now, make([]uint16, 0, 9))
	if m := j.Missing(now.Add(29*time.Millisecond), make([]uint16, 0, 9)); len(m) != 0 {
		t.Errorf("asked again before it can have come: %v", m)
	}
	if m := j.Missing(now.Add(30*time.Millisecond), make([]uint16, 0, 9)); len(m) != 1 {
		t.Error("not asked again in time")
	}
}

// However much is lost for good, what comes is late by no more than one packet is waited
// for.
func TestJitterDoesNotFallBehind(t *testing.T) {
	const wait, every = 80 * time.Millisecond, 5 * time.Millisecond
	j := Jitter{Slots: 128}
	now := time.Unix(1e9, 0)
	came := map[uint16]time.Time{}
	r := rand.New(rand.NewPCG(1, 2))
	out := 0
	for seq := range uint16(4000) {
		if now = now.Add(every); r.IntN(5) > 0 {
			came[seq] = now
			j.Push(now, seq, 0, false, []byte{1})
		}
		for {
			p, ok := j.Pop(now, wait)
			if !ok {
				break
			}
			out++
			if d := now.Sub(came[p.Seq]); d > wait {
				t.Fatalf("packet %d is handed out after %v", p.Seq, d)
			}
		}
	}
	if len(came)-out > int(wait/every) {
		t.Errorf("%d of %d packets came out", out, len(came))
	}
}

// Whatever comes, what is handed out goes forward and is bounded.
func FuzzJitter(f *testing.F) {
	f.Add([]byte{0, 1, 0, 3, 0, 2, 1, 0, 0xff, 0xff, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		j := Jitter{Slots: 64}
		now := time.Unix(1e9, 0)
		var last uint16
		any := false
		for ; len(b) >= 2; b = b[2:] {
			seq := uint16(b[0])<<8 | uint16(b[1])
			j.Push(now, seq, 0, false, b[:2])
			now = now.Add(time.Duration(b[1]) * time.Millisecond)
			for n := 0; ; n++ {
				r, ok := j.Pop(now, 50*time.Millisecond)
				if !ok {
					break
				}
				if n > 64 {
					t.Fatal("more than it holds")
				}
				if any && !r.Lost && r.Seq != last+1 {
					t.Fatalf("%d follows %d", r.Seq, last)
				}
				last, any = r.Seq, true
			}
			if m := j.Missing(now, make([]uint16, 0, 16)); len(m) > 16 {
				t.Fatal(m)
			}
		}
	})
}

func FuzzUnpack(f *testing.F) {
	f.Add([]byte{3, 0x7c, 0x85, 1, 3, 0x7c, 0x45, 1}, uint8(media.H264))
	f.Add([]byte{4, 0x62, 1, 0x93, 1}, uint8(media.H265))
	f.Add([]byte{5, 0x90, 0x80, 0x80, 1, 0}, uint8(media.VP8))
	f.Add([]byte{6, 0x8a, 0x80, 1, 8, 1, 2}, uint8(media.VP9))
	f.Add([]byte{4, 0x10, 0x0a, 1, 2}, uint8(media.AV1))
	f.Fuzz(func(t *testing.T, b []byte, codec uint8) {
		u := &Unpacker{Codec: media.Codec(codec)}
		size := 0
		for len(b) > 0 {
			n := min(int(b[0]), len(b)-1)
			u.Add(b[1 : 1+n])
			size += n
			b = b[1+n:]
		}
		units, _, ok := u.Take()
		if !ok {
			return
		}
		total := 0
		for _, x := range units {
			total += len(x)
		}
		if total > size+len(units) {
			t.Fatalf("%d bytes of %d", total, size)
		}
		AppendTemporalUnit(nil, units)
	})
}
