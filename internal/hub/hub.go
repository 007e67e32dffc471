// Package hub joins publishers to viewers.
//
// A [Stream] is a bounded ring of immutable frames with one writer and many
// readers. The writer never waits: a reader is a position in the ring, and one
// that falls further behind than the ring holds goes on at the newest random
// access point and loses whole groups of pictures, which are counted. The ring
// is also the GOP cache: a new viewer starts at the newest random access point
// and has a picture at once.
//
// A stream outlives its publications: it exists while it has a publisher, a
// viewer or a hold, so viewers may come before the publisher and stay when it
// leaves. Its time line goes on over publications (see [media.Timeline]).
//
// The package knows no protocol, no configuration and no HTTP.
package hub

import (
	"errors"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/internal/media"
)

// A Key names a stream.
type Key struct{ Vhost, App, Stream string }

// String returns vhost/app/stream.
func (k Key) String() string { return k.Vhost + "/" + k.App + "/" + k.Stream }

// URL returns the name that SRS's API and logs give to a stream:
// /app/stream, with the vhost in front unless it is the default one.
func (k Key) URL() string {
	if k.Vhost == DefaultVhost || k.Vhost == "" {
		return "/" + k.App + "/" + k.Stream
	}
	return k.Vhost + "/" + k.App + "/" + k.Stream
}

// DefaultVhost is the name of the vhost that takes what no other does.
const DefaultVhost = "__defaultVhost__"

// ErrBusy is returned by Publish when the key already has a publisher.
var ErrBusy = errors.New("stream is busy")

// ErrTaken is the cause given to a publication that a newcomer replaced.
var ErrTaken = errors.New("taken over by a new publisher")

// ErrClosed is returned by Read when the stream or the subscription is gone.
var ErrClosed = errors.New("stream is closed")

// Settings bound the memory of a stream.
type Settings struct {
	// Cache says that new viewers start at the newest random access point
	// rather than wait for the next one.
	Cache bool
	// CacheFrames is the longest group, in frames, that is kept for new
	// viewers; 0 means as long as the ring.
	CacheFrames int
	// Queue is how much of the stream a slow reader may be behind.
	Queue time.Duration
	// Mix puts sound and picture in the order of their time; see [media.Mixer].
	Mix bool
}

// Limits of a ring, whatever Settings say.
const (
	maxFrames = 16384
	maxBytes  = 64 << 20
	// frameCost is the memory of a frame besides its payload.
	frameCost = 256
)

// A Hub is the set of streams.
type Hub struct {
	// Immutable after New.
	settings func(Key) Settings

	mu           sync.Mutex
	streams      map[Key]*Stream      // guarded by mu
	onPublish    []func(*Publication) // guarded by mu
	onAnyPublish []func(*Publication) // guarded by mu

	bytes  atomic.Int64 // held by all rings
	budget atomic.Int64 // what they may hold together beyond the newest group of each
}

// New returns an empty hub. settings is asked for each new stream and again at
// each publication.
func New(settings func(Key) Settings) *Hub {
	h := &Hub{settings: settings, streams: map[Key]*Stream{}}
	h.budget.Store(1 << 30)
	return h
}

// OnPublish has f called for every publication that is not private, before its first
// frame can be seen. f must return at once; what it starts usually subscribes with
// [Options.Passive].
func (h *Hub) OnPublish(f func(*Publication)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onPublish = append(h.onPublish, f)
}

// OnAnyPublish is OnPublish for insiders, who see private publications too.
func (h *Hub) OnAnyPublish(f func(*Publication)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.onAnyPublish = append(h.onAnyPublish, f)
}

// PublishOptions say how a publisher comes.
type PublishOptions struct {
	// Takeover lets the newcomer replace a publisher that is there, whose
	// viewers stay.
	Takeover bool
	// Taken is called, once, when a newcomer took this publication over.
	Taken func()
	// By is the protocol that publishes.
	By string
	// Yields lets any newcomer replace this publication.
	Yields bool
	// Private shows the publication to insiders of that protocol only. Others may read
	// the stream, and wait as if nobody published.
	Private bool
	// Lent says that the publisher is at another process, which passes on what it has:
	// see [Publication.WriteLent]. A stream that is new has the id StreamID then.
	Lent     bool
	StreamID string
}

// Publish claims key until the publication is closed. The error is ErrBusy if
// it is claimed already and o does not take over.
func (h *Hub) Publish(key Key, o PublishOptions) (*Publication, error) {
	h.mu.Lock()
	fresh := h.streams[key] == nil
	s := h.stream(key)
	if fresh && o.StreamID != "" {
		s.ID = o.StreamID // nobody has seen it yet
	}
	hooks := h.onAnyPublish
	if !o.Private {
		hooks = append(slices.Clone(hooks), h.onPublish...)
	}
	s.mu.Lock()
	old := s.publication
	if old != nil && !o.Takeover && !old.Yields {
		s.mu.Unlock()
		h.mu.Unlock()
		return nil, ErrBusy
	}
	if old != nil {
		s.end(ErrTaken)
	}
	s.settings = h.settings(key)
	s.epoch++
	s.line.Publish()
	s.layout = nil
	s.mix = media.Mixer{}
	p := &Publication{stream: s, taken: o.Taken, By: o.By, Yields: o.Yields, Private: o.Private, Lent: o.Lent, Epoch: s.epoch, Began: time.Now()}
	s.publication = p
	s.mu.Unlock()
	h.mu.Unlock()
	if old != nil && old.taken != nil {
		old.taken()
	}
	for _, f := range hooks {
		f(p)
	}
	return p, nil
}

// Subscribe joins key, which need not have a publisher.
func (h *Hub) Subscribe(key Key, o Options) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stream(key).subscribe(o)
}

// Hold keeps the stream of key, with its time line, until release is called.
func (h *Hub) Hold(key Key) (s *Stream, release func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s = h.stream(key)
	s.mu.Lock()
	s.holds++
	s.mu.Unlock()
	return s, sync.OnceFunc(func() {
		s.mu.Lock()
		s.holds--
		s.mu.Unlock()
		h.release(s)
	})
}

// Stream returns the stream of key, or nil if there is none.
func (h *Hub) Stream(key Key) *Stream {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.streams[key]
}

// All iterates over a snapshot of the streams.
func (h *Hub) All() iter.Seq2[Key, *Stream] {
	h.mu.Lock()
	defer h.mu.Unlock()
	return maps.All(maps.Clone(h.streams))
}

// Bytes returns the memory that all rings hold.
func (h *Hub) Bytes() int64 { return h.bytes.Load() }

// stream returns the stream of key, made if need be. h.mu is held.
func (h *Hub) stream(key Key) *Stream {
	s := h.streams[key]
	if s == nil {
		s = &Stream{hub: h, Key: key, ID: NewID("vid-", 7), settings: h.settings(key), next: 1, first: 1}
		h.streams[key] = s
	}
	return s
}

// release forgets s if nobody needs it any more.
func (h *Hub) release(s *Stream) {
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.publication != nil || s.holds > 0 || s.viewers > 0 || h.streams[s.Key] != s {
		return
	}
	delete(h.streams, s.Key)
	s.close()
}

// NewID returns prefix and n random characters of the alphabet that SRS uses
// for its ids: digits and lower case letters.
func NewID(prefix string, n int) string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyz"
	b := []byte(prefix)
	for range n {
		b = append(b, alphabet[rand.IntN(len(alphabet))])
	}
	return string(b)
}

// Counters are a stream's totals since it exists.
type Counters struct {
	Frames      uint64 // of all kinds
	VideoFrames uint64
	AudioFrames uint64
	Keys        uint64
	Bytes       uint64 // payload
	Dropped     uint64 // frames that slow readers lost
	Skips       uint64 // times that a slow reader lost frames
	LastDTS     time.Duration
	LastVideo   time.Duration // DTS of the newest frame of video, and of audio
	LastAudio   time.Duration
	Jumps       int // of the publisher's time, that were repaired
	LastKey     time.Time
	LastFrame   time.Time
	GOP         time.Duration // distance of the last two key frames
}

// info is the part of a stream that others ask for.
type info struct {
	layout      *media.Layout
	publication *Publication
	viewers     int
	counters    Counters
}
