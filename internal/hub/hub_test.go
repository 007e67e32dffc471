package hub

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/media"
)

var (
	picture = &media.Track{Kind: media.Video, Codec: media.H264}
	sound   = &media.Track{Kind: media.Audio, Codec: media.AAC}
	key     = Key{DefaultVhost, "live", "a"}
)

func newHub(s Settings) *Hub { return New(func(Key) Settings { return s }) }

var usual = Settings{Cache: true, CacheFrames: 2500, Queue: 30 * time.Second}

func publish(t *testing.T, h *Hub) *Publication {
	t.Helper()
	p, err := h.Publish(key, PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	p.Announce(picture)
	return p
}

// video writes frame i of a stream with a key frame every gop frames.
func video(p *Publication, i, gop int) {
	p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%gop == 0, Payload: []byte{byte(i)}})
}

func audio(p *Publication, i int) {
	p.Write(&media.Frame{Track: sound, Source: time.Duration(i) * 23 * time.Millisecond, Payload: []byte{byte(i)}})
}

// read returns the first payload bytes of what one Read gives.
func read(t *testing.T, s *Subscription) []byte {
	t.Helper()
	dst := make([]*media.Frame, 64)
	n, err := s.Read(t.Context(), dst)
	if err != nil {
		t.Fatal(err)
	}
	var got []byte
	for _, f := range dst[:n] {
		got = append(got, f.Payload[0])
	}
	return got
}

func TestNewViewerStartsAtNewestKey(t *testing.T) {
	h := newHub(usual)
	p := publish(t, h)
	for i := range 25 {
		video(p, i, 10)
	}
	s := h.Subscribe(key, Options{})
	if got, want := read(t, s), []byte{20, 21, 22, 23, 24}; !slices.Equal(got, want) {
		t.Errorf("got frames %v, want %v", got, want)
	}
	live := h.Subscribe(key, Options{LiveEdge: true})
	for i := 25; i < 32; i++ {
		video(p, i, 10)
	}
	if got, want := read(t, live), []byte{30, 31}; !slices.Equal(got, want) {
		t.Errorf("at the live edge: got frames %v, want %v", got, want)
	}
}

func TestGroupOverCacheFramesMakesNewViewersWait(t *testing.T) {
	h := newHub(Settings{Cache: true, CacheFrames: 10, Queue: time.Second})
	p := publish(t, h)
	for i := range 100 {
		video(p, i, 1000)
	}
	if n := p.stream.next - p.stream.first; n > 11 {
		t.Errorf("ring holds %d frames of a group that is over its bound", n)
	}
	s := h.Subscribe(key, Options{})
	video(p, 100, 1000)
	video(p, 101, 101)
	if got, want := read(t, s), []byte{101}; !slices.Equal(got, want) {
		t.Errorf("got frames %v, want %v", got, want)
	}
}

func TestSlowReaderSkipsToKey(t *testing.T) {
	h := newHub(Settings{Cache: true, CacheFrames: 2500, Queue: 2 * time.Second})
	p := publish(t, h)
	video(p, 0, 25)
	slow := h.Subscribe(key, Options{})
	if got, want := read(t, slow), []byte{0}; !slices.Equal(got, want) {
		t.Fatalf("got frames %v, want %v", got, want)
	}
	for i := 1; i < 210; i++ {
		video(p, i, 25)
	}
	got := read(t, slow)
	if got[0] != 200 {
		t.Errorf("slow reader goes on at frame %d, want 200, the newest key frame", got[0])
	}
	if !slow.Resumed() {
		t.Error("reader was not told that it lost frames")
	}
	if frames, times := slow.Dropped(); frames != 199 || times != 1 {
		t.Errorf("dropped %d frames in %d goes, want 199 in 1", frames, times)
	}
}

func TestReaderInsideQueueLosesNothing(t *testing.T) {
	h := newHub(usual)
	p := publish(t, h)
	s := h.Subscribe(key, Options{})
	for i := range 250 { // 10 s, of a queue of 30
		video(p, i, 25)
	}
	n := 0
	for n < 250 {
		got := read(t, s)
		if int(got[0]) != n {
			t.Fatalf("frame %d where %d was due", got[0], n)
		}
		n += len(got)
	}
}

func TestSoundAloneStartsAtOnce(t *testing.T) {
	h := newHub(usual)
	p, err := h.Publish(key, PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		audio(p, i)
	}
	if got, want := read(t, h.Subscribe(key, Options{})), []byte{9}; !slices.Equal(got, want) {
		t.Errorf("got frames %v, want %v", got, want)
	}
	if n := p.stream.next - p.stream.first; n > 2 {
		t.Errorf("ring holds %d frames of sound that nobody needs", n)
	}
}

func TestPictureThatStopsDoesNotHoldSoundBack(t *testing.T) {
	h := newHub(usual)
	p := publish(t, h)
	video(p, 0, 25)
	for i := range 200 {
		audio(p, i)
	}
	if got, want := read(t, h.Subscribe(key, Options{})), []byte{199}; !slices.Equal(got, want) {
		t.Errorf("got frames %v, want %v", got, want)
	}
}

func TestViewerStaysOverPublications(t *testing.T) {
	h := newHub(usual)
	s := h.Subscribe(key, Options{})
	for epoch := range uint32(3) {
		p := publish(t, h)
		video(p, 0, 25)
		video(p, 1, 25)
		dst := make([]*media.Frame, 8)
		n, err := s.Read(t.Context(), dst)
		if n != 2 || err != nil {
			t.Fatalf("publication %d: %d frames, %v", epoch, n, err)
		}
		if dst[0].Epoch != epoch+1 || !dst[0].First || dst[1].First {
			t.Errorf("publication %d: frame of epoch %d, first %v, then %v", epoch, dst[0].Epoch, dst[0].First, dst[1].First)
		}
		if epoch > 0 && dst[0].DTS <= 40*time.Millisecond {
			t.Errorf("publication %d starts at %v: the line did not go on", epoch, dst[0].DTS)
		}
		cause := errors.New("gone")
		p.Close(cause)
		_, err = s.Read(t.Context(), dst)
		if end, ok := errors.AsType[*EndError](err); !ok || end.Cause != cause {
			t.Errorf("after the end of publication %d: %v", epoch, err)
		}
	}
	s.Close()
	if h.Stream(key) != nil {
		t.Error("stream without publisher and viewer is kept")
	}
	if h.Bytes() != 0 {
		t.Errorf("%d bytes are counted where nothing is held", h.Bytes())
	}
}

func TestBusyAndTakeover(t *testing.T) {
	h := newHub(usual)
	taken := false
	first, err := h.Publish(key, PublishOptions{Taken: func() { taken = true }})
	if err != nil {
		t.Fatal(err)
	}
	s := h.Subscribe(key, Options{})
	if _, err := h.Publish(key, PublishOptions{}); !errors.Is(err, ErrBusy) {
		t.Errorf("second publisher: %v, want ErrBusy", err)
	}
	first.Announce(picture)
	video(first, 0, 25)
	second, err := h.Publish(key, PublishOptions{Takeover: true})
	if err != nil || !taken {
		t.Fatalf("takeover: %v, told the first: %v", err, taken)
	}
	video(first, 25, 25) // must go nowhere
	second.Announce(picture)
	video(second, 50, 25)
	if got, want := read(t, s), []byte{0}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if _, err := s.Read(t.Context(), make([]*media.Frame, 1)); !errors.Is(err, ErrTaken) {
		t.Errorf("at the takeover: %v", err)
	}
	if got, want := read(t, s), []byte{50}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	first.Close(nil)
	if h.Stream(key).Publication() != second {
		t.Error("the first publisher's close ended the second")
	}
}

func TestGatherWakesManyReadersSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(usual)
		p := publish(t, h)
		video(p, 0, 1000)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const readers = 400
		type tally struct{ frames, reads int }
		got := make([]tally, readers)
		for i := range readers {
			s := h.Subscribe(key, Options{Gather: 350 * time.Millisecond})
			go func() {
				defer s.Close()
				dst := make([]*media.Frame, 64)
				for {
					n, err := s.Read(ctx, dst)
					if err != nil {
						return
					}
					got[i].frames += n
					got[i].reads++
				}
			}()
		}
		for i := 1; i <= 250; i++ {
			synctest.Wait()
			time.Sleep(10 * time.Millisecond)
			video(p, i, 1000)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for i, g := range got {
			if g.frames != 251 {
				t.Fatalf("reader %d got %d frames of 251", i, g.frames)
			}
			if g.reads > 80 {
				t.Fatalf("reader %d was woken %d times for 2.5 s, want one each 42 ms", i, g.reads)
			}
		}
		cancel()
		synctest.Wait()
	})
}

func TestReadEndsWithContextAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHub(usual)
		s := h.Subscribe(key, Options{})
		why := errors.New("kicked")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel(why)
		}()
		if _, err := s.Read(ctx, make([]*media.Frame, 1)); err != why {
			t.Errorf("got %v, want the cause of the context", err)
		}
		go func() {
			time.Sleep(time.Second)
			s.Close()
		}()
		if _, err := s.Read(t.Context(), make([]*media.Frame, 1)); err != ErrClosed {
			t.Errorf("got %v, want ErrClosed", err)
		}
	})
}

// Whatever publishers and readers do, a reader starts and goes on only at a
// random access point, sees each frame once and in order, and the ring stays
// inside its bounds.
func TestRandomReaders(t *testing.T) {
	for seed := range uint64(30) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		queue := time.Duration(1+rnd.IntN(5)) * time.Second
		h := newHub(Settings{Cache: rnd.IntN(2) == 0, CacheFrames: 20 + rnd.IntN(200), Queue: queue})
		type reader struct {
			sub     *Subscription
			last    uint64
			started bool
		}
		var readers []*reader
		p := publish(t, h)
		hold, release := h.Hold(key)
		dst := make([]*media.Frame, 50)
		i := 0
		for step := range 3000 {
			switch n := rnd.IntN(100); {
			case n < 60:
				p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * 40 * time.Millisecond, Key: rnd.IntN(40) == 0})
				i++
			case n < 70:
				p.Write(&media.Frame{Track: sound, Source: time.Duration(i) * 40 * time.Millisecond})
			case n < 72 && len(readers) < 10:
				readers = append(readers, &reader{sub: h.Subscribe(key, Options{LiveEdge: rnd.IntN(2) == 0})})
			case n == 72 && len(readers) > 0:
				k := rnd.IntN(len(readers))
				readers[k].sub.Close()
				readers = slices.Delete(readers, k, k+1)
			case n == 73 && step%7 == 0:
				p.Close(nil)
				p = publish(t, h)
			case len(readers) > 0:
				r := readers[rnd.IntN(min(len(readers), 1+rnd.IntN(4)))]
				n, err := r.sub.take(dst[:1+rnd.IntN(len(dst))])
				if _, ended := errors.AsType[*EndError](err); ended {
					r.started = false
				} else if err != nil {
					t.Fatal(err)
				}
				for _, f := range dst[:n] {
					if f.Seq <= r.last {
						t.Fatalf("seed %d: frame %d after %d", seed, f.Seq, r.last)
					}
					if (!r.started || f.Seq != r.last+1) && !(f.Key && f.Track == picture) && f.Track != sound {
						t.Fatalf("seed %d: reader starts at frame %d, which is no key frame", seed, f.Seq)
					}
					r.started, r.last = true, f.Seq
				}
			}
			if hold.next-hold.first > maxFrames || hold.bytes > maxBytes {
				t.Fatalf("ring of %d frames, %d bytes", hold.next-hold.first, hold.bytes)
			}
		}
		for _, r := range readers {
			r.sub.Close()
		}
		p.Close(nil)
		release()
		if h.Bytes() != 0 || h.Stream(key) != nil {
			t.Fatalf("seed %d: something is left: %d bytes", seed, h.Bytes())
		}
	}
}

func TestRingIsBoundedInBytes(t *testing.T) {
	h := newHub(Settings{Cache: true, Queue: time.Hour})
	p := publish(t, h)
	s := h.Subscribe(key, Options{})
	defer s.Close()
	big := make([]byte, 1<<20)
	for i := range 200 {
		p.Write(&media.Frame{Track: picture, Source: time.Duration(i) * time.Millisecond, Key: i == 0, Payload: big})
	}
	if b := h.Bytes(); b > maxBytes {
		t.Errorf("ring holds %d bytes, bound is %d", b, maxBytes)
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, readers := range []int{0, 100, 1000} {
		b.Run(fmt.Sprint("readers-", readers), func(b *testing.B) {
			h := newHub(usual)
			p, err := h.Publish(key, PublishOptions{})
			if err != nil {
				b.Fatal(err)
			}
			p.Announce(picture)
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			for range readers {
				s := h.Subscribe(key, Options{Gather: 350 * time.Millisecond})
				go func() {
					dst := make([]*media.Frame, 64)
					for {
						if _, err := s.Read(ctx, dst); err != nil {
							return
						}
					}
				}()
			}
			i := 0
			for b.Loop() {
				video(p, i, 50)
				i++
			}
		})
	}
}

// A reader that is a little behind learns of every end, and loses nothing of
// what follows it.
func TestEndWaitsForReaders(t *testing.T) {
	h := newHub(usual)
	p := publish(t, h)
	s := h.Subscribe(key, Options{})
	defer s.Close()
	video(p, 0, 10)
	if got, want := read(t, s), []byte{0}; !slices.Equal(got, want) {
		t.Fatalf("got frames %v, want %v", got, want)
	}
	p.Close(nil)
	p = publish(t, h)
	for i := range 100 {
		video(p, i, 10)
	}
	dst := make([]*media.Frame, 1)
	if _, err := s.Read(t.Context(), dst); !errors.As(err, new(*EndError)) {
		t.Fatalf("got %v, want the end of the first publication", err)
	}
	if got := read(t, s); len(got) != 64 || got[0] != 0 {
		t.Errorf("got frames %v, want those from 0 on", got)
	}
	if lost, times := s.Dropped(); lost+times != 0 {
		t.Errorf("lost %d frames in %d skips", lost, times)
	}
	p.Close(nil)
}

// A reader that goes back to the newest random access point keeps what follows it, although
// nobody else needs that any more.
func TestReaderThatGoesBackLosesNothing(t *testing.T) {
	h := newHub(usual)
	p := publish(t, h)
	s := h.Subscribe(key, Options{})
	defer s.Close()
	const n = lookEvery + 10
	for i := range n {
		video(p, i, 1000)
		if got := read(t, s); len(got) != 1 || got[0] != byte(i) {
			t.Fatalf("got frames %v, want %d", got, i)
		}
	}
	s.SkipToLive()
	video(p, 1000, 1000)
	if got := read(t, s); len(got) != n+1 || got[0] != 0 {
		t.Errorf("got frames %v, want those from 0 on", got)
	}
	if lost, times := s.Dropped(); lost+times != 0 {
		t.Errorf("lost %d frames in %d skips", lost, times)
	}
}

// Where memory is short a reader that is behind loses frames, but not the end: nothing else
// would tell it that no more comes.
func TestEndIsToldThoughMemoryIsShort(t *testing.T) {
	h := newHub(usual)
	h.budget.Store(1)
	p := publish(t, h)
	s := h.Subscribe(key, Options{})
	defer s.Close()
	video(p, 0, 10)
	if got, want := read(t, s), []byte{0}; !slices.Equal(got, want) {
		t.Fatalf("got frames %v, want %v", got, want)
	}
	for i := 1; i < 5; i++ {
		video(p, i, 10)
	}
	cause := errors.New("why")
	p.Close(cause)
	dst := make([]*media.Frame, 10)
	if n, err := s.take(dst); !errors.Is(err, cause) || !errors.As(err, new(*EndError)) {
		t.Fatalf("got %d frames, %v, want the end", n, err)
	}
	if b := h.Bytes(); b != 0 {
		t.Errorf("%d bytes are held", b)
	}
	p = publish(t, h)
	video(p, 10, 10)
	if n, err := s.take(dst); n != 1 || err != nil {
		t.Errorf("then it reads %d frames, %v", n, err)
	}
	p.Close(nil)
}

// record is a tap that counts.
type record struct{ frames, ends int }

func (r *record) Frame(*media.Frame, bool) { r.frames++ }
func (r *record) End(error)                { r.ends++ }

func TestPrivatePublicationIsSeenByInsidersOnly(t *testing.T) {
	h := New(func(Key) Settings { return Settings{Cache: true, Queue: time.Minute} })
	key := Key{DefaultVhost, "live", "s"}
	told, all := 0, 0
	h.OnPublish(func(*Publication) { told++ })
	h.OnAnyPublish(func(*Publication) { all++ })
	early := h.Subscribe(key, Options{})
	outside, inside, other := &record{}, &record{}, &record{}
	early.Stream().Attach(outside)
	early.Stream().AttachInside(inside, Insider{Protocol: "webrtc"})
	early.Stream().AttachInside(other, Insider{Protocol: "srt"})
	if early.Stream().Hurried() {
		t.Error("insiders alone hurry a stream")
	}
	track := &media.Track{Kind: media.Video, Codec: media.H264}
	write := func(p *Publication, n int) {
		for i := range n {
			p.Write(&media.Frame{Track: track, Source: time.Duration(i) * 40 * time.Millisecond, Key: i%5 == 0, Payload: []byte{byte(n)}})
		}
	}
	p, err := h.Publish(key, PublishOptions{Private: true, By: "webrtc"})
	if err != nil {
		t.Fatal(err)
	}
	write(p, 20)
	late, insider := h.Subscribe(key, Options{}), h.Subscribe(key, Options{Inside: "webrtc"})
	stranger := h.Subscribe(key, Options{Inside: "srt"})
	if p.Stream().Shown() != nil || p.Stream().Publication() != p {
		t.Error("everybody may see a private publication")
	}
	frames := make([]*media.Frame, 64)
	if n, err := insider.Read(t.Context(), frames); n != 5 || err != nil {
		t.Errorf("an insider reads %d frames, %v", n, err)
	}
	for _, sub := range []*Subscription{early, late, stranger} {
		if n, err := sub.take(frames); n != 0 || err != nil {
			t.Errorf("an outsider reads %d frames, %v", n, err)
		}
		sub.SkipToLive()
	}
	write(p, 7)
	p.Close(nil)
	p, _ = h.Publish(key, PublishOptions{By: "rtmp"})
	write(p, 3)
	for _, sub := range []*Subscription{early, late, stranger} {
		n, err := sub.Read(t.Context(), frames)
		if _, ended := errors.AsType[*EndError](err); ended {
			n, err = sub.Read(t.Context(), frames)
		}
		if n != 3 || err != nil || frames[0].Payload[0] != 3 {
			t.Errorf("then it reads %d frames, %v", n, err)
		}
	}
	if told != 1 || all != 2 || outside.frames != 3 || other.frames != 3 || inside.frames != 30 || p.Stream().Shown() != p {
		t.Errorf("told %d and %d, taps %d, %d and %d", told, all, outside.frames, other.frames, inside.frames)
	}
}

// Frames for insiders reach their taps alone, with a time on the stream's line.
func TestWriteInside(t *testing.T) {
	h := newHub(Settings{Queue: time.Minute})
	p, err := h.Publish(key, PublishOptions{By: "webrtc"})
	if err != nil {
		t.Fatal(err)
	}
	p.Announce(picture)
	var inner, other, outer listener
	p.Stream().AttachInside(&inner, Insider{Protocol: "webrtc", Hurry: true})
	p.Stream().AttachInside(&other, Insider{Protocol: "srt"})
	if !p.Stream().Hurried() {
		t.Error("nobody hurries the stream")
	}
	p.Stream().Attach(&outer)
	video(p, 0, 10)
	opus := &media.Track{ID: InsideID, Kind: media.Audio, Codec: media.Opus}
	p.WriteInside(&media.Frame{Track: opus, Source: 40 * time.Millisecond})
	video(p, 1, 10)
	if len(inner.frames) != 3 || len(outer.frames) != 2 || len(other.frames) != 2 {
		t.Fatalf("insiders were told of %d frames, others of %d", len(inner.frames), len(outer.frames))
	}
	f := inner.frames[1]
	if f.Track != opus || f.Layout == nil || f.Layout.Track(media.Audio, InsideID) != nil || f.Arrived.IsZero() {
		t.Errorf("%+v", f)
	}
	if n := p.Stream().Counters().Frames; n != 2 {
		t.Errorf("%d frames are counted", n)
	}
	p.Close(nil)
	p.WriteInside(&media.Frame{Track: opus})
	if len(inner.frames) != 3 {
		t.Error("a frame came after the end")
	}
}

// listener is a tap that keeps what it is told.
type listener struct{ frames []*media.Frame }

func (l *listener) Frame(f *media.Frame, _ bool) { l.frames = append(l.frames, f) }
func (l *listener) End(error)                    {}
