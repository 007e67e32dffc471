package sound

import (
	"errors"
	"math"
	"os"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/thesyncim/gopus"

	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/mp3"
	"weir/internal/media/opus"
	"weir/internal/sound/aaclc"
)

// tone is a sine of so many Hz with a beep of silence before it.
func tone(rate, channels int, hz float64, d time.Duration) []float32 {
	n := int(d.Seconds() * float64(rate))
	pcm := make([]float32, 0, n*channels)
	for i := range n {
		s := float32(0.4 * math.Sin(2*math.Pi*hz*float64(i)/float64(rate)))
		for range channels {
			pcm = append(pcm, s)
		}
	}
	return pcm
}

// aacOf encodes samples; packet i begins with sample (i-1)*1024, by the delay.
func aacOf(t testing.TB, rate, channels int, pcm []float32) (track *media.Track, packets [][]byte) {
	e, err := aaclc.NewEncoder(rate, channels, 160000)
	if err != nil {
		t.Fatal(err)
	}
	size := aaclc.FrameSize * channels
	for ; len(pcm) >= size; pcm = pcm[size:] {
		enc := &aacEncoder{e: e, channels: channels}
		p, err := enc.encode(nil, pcm[:size])
		if err != nil {
			t.Fatal(err)
		}
		if len(p) > 0 {
			packets = append(packets, p)
		}
	}
	return &media.Track{Kind: media.Audio, Codec: media.AAC, Config: e.Config(), SampleRate: rate, Channels: channels}, packets
}

// made is what came out of a transcoder.
type made struct {
	at     []time.Duration
	sound  []float32 // decoded, two channels
	packet int       // samples in one
}

func (m *made) decode(t testing.TB, track *media.Track) func(time.Duration, []byte) {
	dec, err := newDecoder(track)
	if err != nil {
		t.Fatal(err)
	}
	return func(at time.Duration, p []byte) {
		m.at = append(m.at, at)
		n := len(m.sound)
		pcm, err := dec.decode(m.sound, p)
		if err != nil {
			t.Fatal(err)
		}
		m.sound = pcm
		if _, ch := dec.format(); ch == 1 {
			m.sound = mix(m.sound, n, 1, 2)
		}
		m.packet = (len(m.sound) - n) / 2
	}
}

// snr is how far, in dB, a tone stands above all else in one channel, from one
// sample to another.
func snr(pcm []float32, hz float64, from, to int) float64 {
	var c, s, all float64
	period := outRate / gcd(outRate, int(hz))
	to -= (to - from) % period
	n := float64(to - from)
	for i := from; i < to; i++ {
		v := float64(pcm[2*i])
		w := 2 * math.Pi * hz * float64(i) / outRate
		c += v * math.Cos(w)
		s += v * math.Sin(w)
		all += v * v
	}
	signal := (c*c + s*s) * 2 / n
	return 10 * math.Log10(signal/math.Max(all-signal, 1e-12))
}

// The tone that comes out is the tone that went in, whatever the rates and channels,
// and packets follow each other without a gap.
func TestToneThrough(t *testing.T) {
	const hz = 1000
	for _, c := range []struct {
		name           string
		rate, channels int
		to             media.Codec
		least          float64
	}{
		{"AAC 44.1 kHz stereo to Opus", 44100, 2, media.Opus, 25},
		{"AAC 48 kHz stereo to Opus", 48000, 2, media.Opus, 25},
		{"AAC 44.1 kHz mono to Opus", 44100, 1, media.Opus, 25},
		{"AAC 48 kHz mono to AAC", 48000, 1, media.AAC, 25},
		{"AAC 44.1 kHz stereo to AAC", 44100, 2, media.AAC, 25},
	} {
		t.Run(c.name, func(t *testing.T) {
			track, packets := aacOf(t, c.rate, c.channels, tone(c.rate, c.channels, hz, time.Second))
			x, err := New(track, Target{Codec: c.to, Bitrate: 128000})
			if err != nil {
				t.Fatal(err)
			}
			var m made
			emit := m.decode(t, x.Track())
			for i, p := range packets {
				if err := x.Write(p, time.Second+samplesTime(int64(i)*1024, c.rate), emit); err != nil {
					t.Fatal(err)
				}
			}
			n := len(m.sound) / 2
			if got := snr(m.sound, hz, outRate/4, n-outRate/10); got < c.least {
				t.Errorf("%.1f dB of signal to noise, want %.0f", got, c.least)
			}
			if n < outRate*8/10 {
				t.Errorf("%d samples of a second", n)
			}
			for i := 1; i < len(m.at); i++ {
				if got, want := m.at[i]-m.at[i-1], samplesTime(int64(m.packet), outRate); (got-want).Abs() > time.Microsecond && m.at[i-1] > 0 {
					t.Fatalf("packet %d comes %v after the one before, want %v", i, got, want)
				}
			}
			if x.Track().SampleRate != outRate || x.Track().Channels != c.channels {
				t.Errorf("the track says %d Hz, %d channels", x.Track().SampleRate, x.Track().Channels)
			}
		})
	}
}

// A click stays where it is, by the times of the packets.
func TestLipSync(t *testing.T) {
	const rate = 44100
	for _, to := range []media.Codec{media.Opus, media.AAC} {
		pcm := make([]float32, 2*rate)
		click := 30000 // sample
		for i := range 200 {
			v := float32(0.8 * math.Sin(2*math.Pi*3000*float64(i)/rate))
			pcm[2*(click+i)], pcm[2*(click+i)+1] = v, v
		}
		track, packets := aacOf(t, rate, 2, pcm)
		x, err := New(track, Target{Codec: to, Bitrate: 128000})
		if err != nil {
			t.Fatal(err)
		}
		var m made
		emit := m.decode(t, x.Track())
		for i, p := range packets {
			if err := x.Write(p, time.Second+samplesTime(int64(i)*1024, rate), emit); err != nil {
				t.Fatal(err)
			}
		}
		loudest, at := float32(0), 0
		for i := 0; i < len(m.sound); i += 2 {
			if v := max(m.sound[i], -m.sound[i]); v > loudest {
				loudest, at = v, i/2
			}
		}
		got := m.at[0] + samplesTime(int64(at), outRate)
		// What is decoded of AAC lags a packet behind what was encoded.
		want := time.Second + samplesTime(int64(click+100+1024), rate)
		if d := got - want; d.Abs() > 8*time.Millisecond {
			t.Errorf("%v: the click is at %v, want %v", to, got, want)
		}
	}
}

// Opus with its switches of channels and lengths, from 2.5 to 60 ms, becomes AAC without a gap, as
// good as the packets are.
func TestOpusToAAC(t *testing.T) {
	const hz = 700
	var encoders [3]*gopus.Encoder
	for channels := 1; channels <= 2; channels++ {
		e, err := gopus.NewEncoder(gopus.EncoderConfig{SampleRate: opus.Rate, Channels: channels, Application: gopus.ApplicationAudio})
		if err != nil {
			t.Fatal(err)
		}
		encoders[channels] = e
	}
	track := &media.Track{Kind: media.Audio, Codec: media.Opus, Config: opus.Head{Channels: 2}.Append(nil), SampleRate: opus.Rate, Channels: 2}
	x, err := New(track, Target{Codec: media.AAC})
	if err != nil {
		t.Fatal(err)
	}
	config, err := aac.ParseConfig(x.Track().Config)
	if err != nil || config.SampleRate != outRate || config.Channels != 2 || config.Type != aac.TypeLC {
		t.Errorf("%+v %v", config, err)
	}
	var m, heard made
	emit, hear := m.decode(t, x.Track()), heard.decode(t, track)
	pcm := tone(opus.Rate, 1, hz, 3*time.Second)
	at := 0
	for i := 0; len(pcm) >= 2880; i++ {
		n, channels := []int{960, 480, 2880, 1920, 240, 120}[i/5%6], 1+i/8%2
		e := encoders[channels]
		if err := e.SetFrameSize(n); err != nil {
			t.Fatal(err)
		}
		in := append([]float32(nil), pcm[:n]...)
		if channels == 2 {
			in = mix(in, 0, 1, 2)
		}
		p, err := e.EncodeFloat32(in)
		if err != nil {
			t.Fatal(err)
		}
		when := time.Second + samplesTime(int64(at), opus.Rate)
		hear(when, p)
		if err := x.Write(p, when.Round(time.Millisecond), emit); err != nil { // as the times of RTMP are
			t.Fatal(err)
		}
		pcm = pcm[n:]
		at += n
	}
	if got, want := snr(m.sound, hz, outRate/2, 5*outRate/2), snr(heard.sound, hz, outRate/2, 5*outRate/2); got < want-1 {
		t.Errorf("%.1f dB of signal to noise, the packets have %.1f", got, want)
	}
	if missing := at - len(m.sound)/2; missing < 0 || missing > 3*aaclc.FrameSize {
		t.Errorf("%d samples of %d came", len(m.sound)/2, at)
	}
	for i := 1; i < len(m.at); i++ {
		if d := m.at[i] - m.at[i-1] - samplesTime(aaclc.FrameSize, outRate); d.Abs() > time.Microsecond {
			t.Fatalf("packet %d comes %v late after the one before", i, d)
		}
	}
}

// What is beyond it is said when it is asked for.
func TestUnsupported(t *testing.T) {
	he := aac.Config{Type: aac.TypeLC, SampleRate: 24000, ChannelConfig: 2, Channels: 2, SBR: true, ExtensionRate: 48000}.Append(nil)
	six := aac.Config{Type: aac.TypeLC, SampleRate: 48000, ChannelConfig: 6, Channels: 6}.Append(nil)
	for _, track := range []*media.Track{
		{Codec: media.AAC, Config: he}, {Codec: media.AAC, Config: six}, {Codec: media.AC3}, {Codec: media.FLAC},
	} {
		if _, err := New(track, Target{Codec: media.Opus}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", track.Codec, err)
		}
	}
	if _, err := New(&media.Track{Codec: media.AAC}, Target{Codec: media.Opus}); err == nil {
		t.Error("AAC without a configuration was taken")
	}
	if _, err := New(&media.Track{Codec: media.PCMA}, Target{Codec: media.MP3}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("making MP3: %v", err)
	}
}

// G.711 as its tables have it, and through to Opus.
func TestG711(t *testing.T) {
	for _, c := range []struct {
		law  func(byte) int16
		b    byte
		want int16
	}{
		{muLaw, 0xff, 0}, {muLaw, 0x7f, 0}, {muLaw, 0x80, 32124}, {muLaw, 0x00, -32124}, {muLaw, 0xf0, 120},
		{aLaw, 0xd5, 8}, {aLaw, 0x55, -8}, {aLaw, 0xaa, 32256}, {aLaw, 0x2a, -32256},
	} {
		if got := c.law(c.b); got != c.want {
			t.Errorf("%#x: %d, want %d", c.b, got, c.want)
		}
	}
	x, err := New(&media.Track{Codec: media.PCMU, SampleRate: 8000, Channels: 1}, Target{Codec: media.Opus})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i := range 50 {
		if err := x.Write(make([]byte, 160), time.Duration(i)*20*time.Millisecond, func(time.Duration, []byte) { n++ }); err != nil {
			t.Fatal(err)
		}
	}
	if n < 48 {
		t.Errorf("%d packets of a second", n)
	}
}

// Packets that make no sense are left out, and many in a row are an error.
func TestBrokenPackets(t *testing.T) {
	track, packets := aacOf(t, 48000, 2, tone(48000, 2, 440, time.Second))
	x, err := New(track, Target{Codec: media.Opus})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for i, p := range packets {
		if i%7 == 3 {
			p = []byte{0xff, 0xff, 0xff}
		}
		if err := x.Write(p, samplesTime(int64(i)*1024, 48000), func(time.Duration, []byte) { n++ }); err != nil {
			t.Fatal(err)
		}
	}
	if n < 35 {
		t.Errorf("%d packets of a second with holes", n)
	}
	for i := range faultsMost + 1 {
		if err = x.Write([]byte{0xff}, 0, nil); err != nil && i < faultsMost {
			t.Fatalf("packet %d: %v", i, err)
		}
	}
	if err == nil {
		t.Error("garbage for ever is no error")
	}
}

func FuzzTranscoder(f *testing.F) {
	track, packets := aacOf(f, 44100, 2, tone(44100, 2, 440, 100*time.Millisecond))
	f.Add(uint8(0), packets[1])
	f.Add(uint8(1), []byte{0xfc, 0xff, 0xfe})
	f.Add(uint8(2), []byte{0xff, 0xfb, 0x90, 0x64, 0, 0})
	f.Add(uint8(3), []byte{1, 2, 3})
	tracks := []*media.Track{track, {Codec: media.Opus}, {Codec: media.MP3}, {Codec: media.PCMA}}
	f.Fuzz(func(t *testing.T, which uint8, packet []byte) {
		x, err := New(tracks[int(which)%len(tracks)], Target{Codec: media.Opus})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			x.Write(packet, time.Duration(i)*20*time.Millisecond, func(_ time.Duration, p []byte) {
				if opus.Samples(p) != 960 {
					t.Errorf("% x is not 20 ms of Opus", p)
				}
			})
		}
	})
}

// At the rates that opus_bitrate and aac_bitrate have by default, and at twice that and
// more.
func BenchmarkAACToOpus(b *testing.B) {
	for _, rate := range []int{48000, 96000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) { bench(b, media.AAC, Target{Codec: media.Opus, Bitrate: rate}) })
	}
}

func BenchmarkOpusToAAC(b *testing.B) {
	for _, rate := range []int{48000, 128000} {
		b.Run(strconv.Itoa(rate), func(b *testing.B) { bench(b, media.Opus, Target{Codec: media.AAC, Bitrate: rate}) })
	}
}

// bench reports what a second of sound costs, as a share of a core.
func bench(b *testing.B, from media.Codec, to Target) {
	track, packets := aacOf(b, 44100, 2, music(44100, 4*time.Second))
	size := samplesTime(1024, 44100)
	if from == media.Opus {
		x, err := New(track, Target{Codec: media.Opus})
		if err != nil {
			b.Fatal(err)
		}
		var made [][]byte
		for i, p := range packets {
			x.Write(p, time.Duration(i)*size, func(_ time.Duration, p []byte) { made = append(made, append([]byte(nil), p...)) })
		}
		track, packets, size = x.Track(), made, 20*time.Millisecond
	}
	x, err := New(track, to)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	i := 0
	began := cpuTime(b)
	for b.Loop() {
		x.Write(packets[i%len(packets)], time.Duration(i)*size, func(time.Duration, []byte) {})
		i++
	}
	b.ReportMetric(float64(cpuTime(b)-began)/float64(time.Duration(i)*size)*100, "%core")
}

// cpuTime is what this process has used of all cores, so that a busy machine does not
// count.
func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tone.mp3 is 0.6 s of 1 kHz from ffmpeg's libmp3lame. The first frame leans on
// nothing; a stream that is joined later gives an error or two and then plays.
func TestMP3(t *testing.T) {
	b, err := os.ReadFile("testdata/tone.mp3")
	if err != nil {
		t.Fatal(err)
	}
	for _, skip := range []int{0, 5} {
		x, err := New(&media.Track{Codec: media.MP3, Channels: 2, SampleRate: 44100}, Target{Codec: media.Opus, Bitrate: 128000})
		if err != nil {
			t.Fatal(err)
		}
		var m made
		emit := m.decode(t, x.Track())
		i := 0
		for rest := b; len(rest) > mp3.HeaderLen; i++ {
			h, err := mp3.Parse(rest)
			if err != nil || h.Size > len(rest) {
				break
			}
			if i >= skip {
				if err := x.Write(rest[:h.Size], samplesTime(int64(i*h.Samples), h.SampleRate), emit); err != nil {
					t.Fatal(err)
				}
			}
			rest = rest[h.Size:]
		}
		n := len(m.sound) / 2
		if got := snr(m.sound, 1000, n/2, n-outRate/20); n < outRate*2/5 || got < 25 {
			t.Errorf("from frame %d: %d samples, %.1f dB of signal to noise", skip, n, got)
		}
	}
}

// MPEG 2.5, of less than 16 kHz, and layer II are told as not supported, after a few packets: an
// ffmpeg can do them.
func TestMP3ThatIsMore(t *testing.T) {
	for name, head := range map[string][]byte{"MPEG 2.5 of 11,025 Hz": {0xff, 0xe3, 0x40, 0xc0}, "layer II": {0xff, 0xfd, 0x84, 0x00}} {
		h, err := mp3.Parse(head)
		if err != nil {
			t.Fatal(err)
		}
		packet := append(head, make([]byte, h.Size-len(head))...)
		x, err := New(&media.Track{Codec: media.MP3, Channels: h.Channels, SampleRate: h.SampleRate}, Target{Codec: media.Opus})
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for err == nil && n < faultsMost {
			err = x.Write(packet, time.Duration(n)*h.Duration(), func(time.Duration, []byte) {})
			n++
		}
		if n > strangeMost+1 || !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: after %d packets: %v", name, n, err)
		}
	}
}
