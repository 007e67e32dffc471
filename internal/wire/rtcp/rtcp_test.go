package rtcp

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	pion "github.com/pion/rtcp"
)

// read has another implementation read what we wrote.
func read[T pion.Packet](t *testing.T, b []byte) (p T) {
	t.Helper()
	all, err := pion.Unmarshal(b)
	if err != nil || len(all) != 1 {
		t.Fatalf("%x: %v, %v", b, all, err)
	}
	p, ok := all[0].(T)
	if !ok {
		t.Fatalf("%T", all[0])
	}
	return p
}

func TestAgainstAnother(t *testing.T) {
	sr := read[*pion.SenderReport](t, AppendSR(nil, 7, Sender{1 << 40, 2, 3, 4}))
	if sr.SSRC != 7 || sr.NTPTime != 1<<40 || sr.RTPTime != 2 || sr.PacketCount != 3 || sr.OctetCount != 4 {
		t.Errorf("%+v", sr)
	}
	rr := read[*pion.ReceiverReport](t, AppendRR(nil, 7, Report{SSRC: 8, Fraction: 9, Lost: 10, Highest: 11, Jitter: 12, LastSR: 13, Delay: 14}))
	if r := rr.Reports[0]; rr.SSRC != 7 || r.SSRC != 8 || r.FractionLost != 9 || r.TotalLost != 10 || r.LastSequenceNumber != 11 || r.Delay != 14 {
		t.Errorf("%+v", rr)
	}
	for n := range 9 {
		name := "abcdefghi"[:n]
		if d := read[*pion.SourceDescription](t, AppendSDES(nil, 7, name)); d.Chunks[0].Items[0].Text != name {
			t.Errorf("%+v", d)
		}
	}
	if p := read[*pion.PictureLossIndication](t, AppendPLI(nil, 7, 8)); p.SenderSSRC != 7 || p.MediaSSRC != 8 {
		t.Errorf("%+v", p)
	}
	if p := read[*pion.FullIntraRequest](t, AppendFIR(nil, 7, 8, 3)); p.FIR[0].SSRC != 8 || p.FIR[0].SequenceNumber != 3 {
		t.Errorf("%+v", p)
	}
	lost := []uint16{65533, 65535, 0, 12, 13, 40, 41, 1000}
	b := AppendNACK(nil, 7, 8, lost)
	var got []uint16
	for _, pair := range read[*pion.TransportLayerNack](t, b).Nacks {
		got = append(got, pair.PacketList()...)
	}
	p, rest, err := Next(b)
	if !slices.Equal(got, lost) || !slices.Equal(p.Lost(nil), lost) || len(rest) != 0 || err != nil || p.Media() != 8 {
		t.Errorf("%v, %v of %v", got, p.Lost(nil), lost)
	}
	if n := len(p.Lost(make([]uint16, 0, 3))); n != 3 {
		t.Errorf("%d of at most 3", n)
	}
}

func TestReadsAnother(t *testing.T) {
	b, err := pion.Marshal([]pion.Packet{
		&pion.SenderReport{SSRC: 1, NTPTime: 2, RTPTime: 3, PacketCount: 4, OctetCount: 5, Reports: []pion.ReceptionReport{{SSRC: 6, TotalLost: 7}}},
		&pion.PictureLossIndication{SenderSSRC: 8, MediaSSRC: 9},
		&pion.FullIntraRequest{SenderSSRC: 8, MediaSSRC: 9, FIR: []pion.FIREntry{{SSRC: 10}, {SSRC: 11}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	sr, b, err := Next(b)
	s, ok := sr.Sender()
	r, there := sr.Report(0)
	_, more := sr.Report(1)
	if err != nil || !ok || !there || more || sr.SSRC != 1 || s != (Sender{2, 3, 4, 5}) || r.SSRC != 6 || r.Lost != 7 {
		t.Errorf("%+v %+v %+v %v", sr, s, r, err)
	}
	pli, b, _ := Next(b)
	fir, b, err := Next(b)
	if !pli.Asks(9) || pli.Asks(10) || !fir.Asks(11) || fir.Asks(12) || len(b) != 0 || err != nil {
		t.Errorf("%+v %+v %v", pli, fir, err)
	}
}

func TestTWCC(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		all := make([]Arrival, 1+r.IntN(60))
		at := r.Int64N(1 << 30)
		for i := range all {
			at += r.Int64N(400) - 20
			all[i] = Arrival{at, len(all) > 1 && i != len(all)/2 && r.IntN(4) == 0}
		}
		b, n := AppendTWCC(nil, 7, 8, 65530, 5, all)
		p := read[*pion.TransportLayerCC](t, b)
		if n != len(all) || p.BaseSequenceNumber != 65530 || int(p.PacketStatusCount) != n || p.FbPktCount != 5 {
			t.Fatalf("%d of %d: %+v", n, len(all), p)
		}
		when, i := int64(p.ReferenceTime)<<8, 0
		for _, a := range all {
			if a.Lost {
				continue
			}
			when += p.RecvDeltas[i].Delta / 250
			if i++; when != a.Time&(1<<32-1) {
				t.Fatalf("packet %d came at %d, want %d", i, when, a.Time)
			}
		}
		if i != len(p.RecvDeltas) {
			t.Fatalf("%d deltas, want %d", len(p.RecvDeltas), i)
		}
	}
	if b, n := AppendTWCC(nil, 7, 8, 1, 1, []Arrival{{0, false}, {1 << 20, false}}); n != 1 || read[*pion.TransportLayerCC](t, b).PacketStatusCount != 1 {
		t.Errorf("%d arrivals over a gap", n)
	}
	if _, n := AppendTWCC(nil, 7, 8, 1, 1, []Arrival{{Lost: true}}); n != 0 {
		t.Errorf("%d", n)
	}
}

// What feedback says is read as another writes it, with runs and vectors of both kinds,
// and as we do.
func TestFates(t *testing.T) {
	want := []Fate{{Counter: 65534}, {Counter: 65535}, {0, 3<<8 + 40, true}, {1, 3<<8 + 30, true}, {Counter: 2}, {Counter: 3}}
	b, err := (&pion.TransportLayerCC{
		Header: pion.Header{Count: pion.FormatTCC, Type: pion.TypeTransportSpecificFeedback, Length: 6, Padding: true}, BaseSequenceNumber: 65534, PacketStatusCount: 6, ReferenceTime: 3,
		PacketChunks: []pion.PacketStatusChunk{
			&pion.RunLengthChunk{Type: pion.TypeTCCRunLengthChunk, PacketStatusSymbol: 0, RunLength: 2},
			&pion.StatusVectorChunk{Type: pion.TypeTCCStatusVectorChunk, SymbolSize: pion.TypeTCCSymbolSizeTwoBit, SymbolList: []uint16{1, 2, 0, 0, 0, 0, 0}},
		},
		RecvDeltas: []*pion.RecvDelta{{Type: 1, Delta: 40 * 250}, {Type: 2, Delta: -10 * 250}},
	}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	p, _, err := Next(b)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Fates(make([]Fate, 0, 100)); !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	if got := p.Fates(make([]Fate, 0, 3)); !slices.Equal(got, want[:3]) {
		t.Errorf("bounded: %+v", got)
	}
	// One bit a packet, and a packet that ends early.
	raw := []byte{0x8f, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 9, 0, 3, 0, 0, 1, 0, 0xb0, 0x00, 7, 9}
	one, _, err := Next(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got := one.Fates(make([]Fate, 0, 100)); !slices.Equal(got, []Fate{{9, 1<<8 + 7, true}, {10, 1<<8 + 16, true}, {Counter: 11}}) {
		t.Errorf("%+v", got)
	}
	one.Body = one.Body[:len(one.Body)-1]
	if got := one.Fates(make([]Fate, 0, 100)); len(got) != 1 {
		t.Errorf("of one that ends early: %+v", got)
	}
	mine, n := AppendTWCC(nil, 1, 2, 65535, 4, []Arrival{{Time: 1<<32 + 1000}, {Lost: true}, {Time: 1<<32 + 900}})
	own, _, err := Next(mine)
	if got := own.Fates(make([]Fate, 0, 100)); n != 3 || err != nil || !slices.Equal(got, []Fate{{65535, 1000, true}, {Counter: 0}, {1, 900, true}}) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestNTP(t *testing.T) {
	at := time.Unix(1e9, 250_000_000)
	if n := NTP(at); n>>32 != 1e9+2208988800 || n&math.MaxUint32 != 1<<30 {
		t.Errorf("%x", n)
	}
	if d := Duration(NTP(at), NTP(at.Add(1500*time.Millisecond))); d != 1500*time.Millisecond {
		t.Error(d)
	}
	if d := Duration(NTP(at.Add(time.Second)), NTP(at)); d != -time.Second {
		t.Error(d)
	}
}

func FuzzNext(f *testing.F) {
	f.Add(AppendNACK(nil, 1, 2, []uint16{1, 2, 30}))
	f.Add(AppendFIR(AppendSR(nil, 1, Sender{}), 1, 2, 3))
	f.Add(AppendRR(nil, 1, Report{}))
	twcc, _ := AppendTWCC(nil, 1, 2, 3, 4, []Arrival{{Time: 1000}, {Lost: true}, {Time: 1900}})
	f.Add(twcc)
	f.Fuzz(func(t *testing.T, b []byte) {
		for len(b) > 0 {
			p, rest, err := Next(b)
			if err != nil {
				return
			}
			p.Report(0)
			p.Report(31)
			p.Sender()
			p.Media()
			p.Asks(2)
			if n := len(p.Fates(make([]Fate, 0, 64))); n > 64 {
				t.Fatalf("%d fates", n)
			}
			if n := len(p.Lost(make([]uint16, 0, 64))); n > 64 {
				t.Fatalf("%d asked for", n)
			}
			if len(rest) >= len(b) {
				t.Fatal("nothing was cut off")
			}
			b = rest
		}
	})
}
