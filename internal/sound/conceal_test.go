package sound

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/thesyncim/gopus"

	"weir/internal/media"
	"weir/internal/media/opus"
)

// voiceLike is a voice as a coder of speech sees one: a pulse train whose pitch and
// loudness wander.
func voiceLike(d time.Duration) []float32 {
	n := int(d.Seconds() * outRate)
	pcm := make([]float32, n)
	phase := 0.
	for i := range n {
		at := float64(i) / outRate
		phase += (140 + 30*math.Sin(2*math.Pi*0.7*at)) / outRate
		s := 0.
		for k := 1; k <= 12; k++ {
			s += math.Sin(2*math.Pi*phase*float64(k)) / float64(k)
		}
		pcm[i] = float32(0.15 * s * (0.6 + 0.4*math.Sin(2*math.Pi*3*at)))
	}
	return pcm
}

// Of the Opus of a publisher whose way loses 10 % the AAC for others sounds nearly as
// without: what was lost comes of the copy in the next packet, or of the sound before, and
// is no silence. Times are what they would be.
func TestLostOpusIsConcealed(t *testing.T) {
	e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: outRate, Channels: 1, Application: gopus.ApplicationVoIP})
	if err != nil {
		t.Fatal(err)
	}
	e.SetBitrate(32000)
	e.SetInBandFEC(1)
	e.SetPacketLoss(15)
	var packets [][]byte
	buf := make([]byte, packetMost)
	for pcm := voiceLike(6 * time.Second); len(pcm) >= 960; pcm = pcm[960:] {
		n, err := e.Encode(pcm[:960], buf)
		if err != nil {
			t.Fatal(err)
		}
		packets = append(packets, append([]byte(nil), buf[:n]...))
	}
	track := &media.Track{Kind: media.Audio, Codec: media.Opus, SampleRate: outRate, Channels: 2, Config: opus.Head{Channels: 2, InputRate: outRate}.Append(nil)}
	run := func(lose float64, tell bool) *made {
		tr, err := New(track, Target{Codec: media.AAC})
		if err != nil {
			t.Fatal(err)
		}
		m := &made{}
		emit := m.decode(t, tr.Track())
		random, lost := rand.New(rand.NewPCG(3, 4)), 0
		for i, p := range packets {
			if i > 0 && i < len(packets)-1 && random.Float64() < lose {
				lost++
				continue
			}
			if !tell {
				lost = 0
			}
			if err := tr.WriteLossy(p, time.Duration(i)*20*time.Millisecond, lost, emit); err != nil {
				t.Fatal(err)
			}
			lost = 0
		}
		return m
	}
	// far is how far a sound is from another, in dB of that.
	far := func(m, whole *made) float64 {
		var noise, signal float64
		for i := range min(len(m.sound), len(whole.sound)) {
			d := float64(m.sound[i] - whole.sound[i])
			noise += d * d
			signal += float64(whole.sound[i]) * float64(whole.sound[i])
		}
		return 10 * math.Log10(signal/max(noise, 1e-9))
	}
	whole, concealed, silent := run(0, true), run(0.1, true), run(0.1, false)
	if len(concealed.sound) != len(whole.sound) || len(concealed.at) != len(whole.at) {
		t.Fatalf("%d packets of %d samples are made, of what lost nothing %d of %d", len(concealed.at), len(concealed.sound), len(whole.at), len(whole.sound))
	}
	for i, at := range concealed.at {
		if d := at - whole.at[i]; d < -time.Millisecond || d > time.Millisecond {
			t.Fatalf("packet %d is at %v, without loss at %v", i, at, whole.at[i])
		}
	}
	got, before := far(concealed, whole), far(silent, whole)
	t.Logf("10 %% of loss: %.1f dB above the difference with what was lost made up, %.1f dB without", got, before)
	if got < 10 || got < before+6 {
		t.Errorf("what lost 10 %% is %.1f dB above its difference from what lost nothing, and %.1f dB with silence", got, before)
	}
}
