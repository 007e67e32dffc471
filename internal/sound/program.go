package sound

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	"weir/internal/child"
	"weir/internal/format/mpegts"
	"weir/internal/media"
	"weir/internal/media/aac"
	"weir/internal/media/opus"
)

// ErrNoProgram is wrapped by the errors of [NewProgram] where there is no ffmpeg.
var ErrNoProgram = errors.New("sound: no ffmpeg")

const (
	// programPlace is where SRS has its ffmpeg; else the one in PATH is taken.
	programPlace = "./objs/ffmpeg/bin/ffmpeg"
	// triesMost is how often it may end by itself before that is an error.
	triesMost = 3
	// restart is how long after that it is started again.
	restart = 500 * time.Millisecond
	// early is how far the times of what ffmpeg is given are from zero, which its
	// times must not get below.
	early = 10 * time.Second
)

// Open returns a Line: of this process where that can do it, else of an ffmpeg. That
// takes over too where packets turn out to be more than their configuration said.
func Open(from *media.Track, to Target, emit func(*media.Frame), fail func(error)) (*Line, error) {
	t, err := New(from, to)
	switch {
	case err == nil:
		return newLine(t.Track(), &either{now: &inside{t, emit}, other: func() (maker, error) { return findProgram(from, t.Track(), to, emit) }}, fail), nil
	case !errors.Is(err, ErrUnsupported):
		return nil, err
	}
	l, other := NewProgram(from, to, emit, fail)
	if other != nil {
		return nil, fmt.Errorf("%w; %w", err, other)
	}
	return l, nil
}

// either is a maker that another takes the place of if it turns out to be unable.
type either struct {
	other func() (maker, error) // nil when that was done; the Line's goroutine's

	mu   sync.Mutex
	now  maker // guarded by mu; the Line's goroutine alone changes it
	over bool  // guarded by mu
}

func (e *either) write(f *media.Frame) error {
	err := e.now.write(f)
	if !errors.Is(err, ErrUnsupported) || e.other == nil {
		return err
	}
	m, without := e.other()
	if e.other = nil; without != nil {
		return fmt.Errorf("%w; %w", err, without)
	}
	e.mu.Lock()
	e.now = m
	over := e.over
	e.mu.Unlock()
	if over {
		m.close()
		return nil
	}
	return m.write(f)
}

func (e *either) close() {
	e.mu.Lock()
	e.over = true
	m := e.now
	e.mu.Unlock()
	m.close()
}

// NewProgram is [NewLine] for what that cannot do, by an ffmpeg: HE-AAC, more than two
// channels, AC-3 and E-AC-3 become two channels of Opus or AAC. It is started with the
// first frame and ends with the Line. The error wraps [ErrUnsupported] if this codec
// cannot be handed to it, and [ErrNoProgram] if there is none.
func NewProgram(from *media.Track, to Target, emit func(*media.Frame), fail func(error)) (*Line, error) {
	track := programTrack(from, to)
	m, err := findProgram(from, track, to, emit)
	if err != nil {
		return nil, err
	}
	return newLine(track, m, fail), nil
}

// findProgram is NewProgram for a track of what is to come out.
func findProgram(from, track *media.Track, to Target, emit func(*media.Frame)) (maker, error) {
	path := programPlace
	if !child.Runs(path) {
		var err error
		if path, err = child.Find("ffmpeg"); err != nil {
			return nil, fmt.Errorf("%w: install one, it does what is not done here: %w", ErrNoProgram, err)
		}
	}
	argv, err := programArgs(path, to, track.Channels)
	if err != nil {
		return nil, err
	}
	return newProgram(path, argv, from, track, emit)
}

// programArgs is ffmpeg's command line: transport streams in and out, since these have
// times, each packet as soon as it can be.
func programArgs(path string, to Target, channels int) ([]string, error) {
	a := []string{path, "-hide_banner", "-nostdin", "-loglevel", "error", "-threads", "1", "-fflags", "nobuffer", "-flags", "low_delay",
		"-probesize", "20000", "-analyzeduration", "100000", "-f", "mpegts", "-i", "pipe:0", "-map", "0:a:0",
		"-af", "aresample=" + strconv.Itoa(outRate) + ":async=1000", "-ac", strconv.Itoa(channels), "-threads", "1"}
	switch to.Codec {
	case media.Opus:
		a = append(a, "-c:a", "libopus", "-frame_duration", "20", "-b:a", strconv.Itoa(cmp.Or(to.Bitrate, opusBitrate)))
	case media.AAC:
		a = append(a, "-c:a", "aac", "-b:a", strconv.Itoa(cmp.Or(to.Bitrate, aacBitrate)))
	default:
		return nil, fmt.Errorf("%w: making %v", ErrUnsupported, to.Codec)
	}
	return append(a, "-copyts", "-f", "mpegts", "-muxdelay", "0", "-muxpreload", "0", "-pes_payload_size", "0", "-flush_packets", "1", "pipe:1"), nil
}

// programTrack describes what comes out of a program.
func programTrack(from *media.Track, to Target) *media.Track {
	t := &media.Track{ID: from.ID, Kind: media.Audio, Codec: to.Codec, SampleRate: outRate, Channels: 2, Lang: from.Lang, Label: from.Label}
	if to.Codec == media.AAC {
		t.Profile = "LC"
		t.Config = aac.Config{Type: aac.TypeLC, SampleRate: outRate, ChannelConfig: 2, Channels: 2}.Append(nil)
	} else {
		t.Config = opus.Head{Channels: 2, PreSkip: 312, InputRate: outRate}.Append(nil)
	}
	return t
}

// A program is a maker outside of this process.
type program struct {
	// Immutable.
	track *media.Track
	emit  func(*media.Frame)
	kept  *child.Program

	// Owned by the Line's goroutine.
	mux *mpegts.Muxer
	buf []byte

	mu sync.Mutex
	// All below is guarded by mu.
	turn  sync.Cond
	in    io.Writer // nil while it does not run
	fresh bool      // in has got nothing
	zero  time.Duration
	shift time.Duration // of Source from DTS
	tries int
	err   error
	over  bool
}

func newProgram(path string, argv []string, from, track *media.Track, emit func(*media.Frame)) (*program, error) {
	if !mpegts.Supported(from) {
		return nil, fmt.Errorf("%w: %v", ErrUnsupported, from.Codec)
	}
	var layout *media.Layout
	p := &program{track: track, emit: emit, mux: mpegts.NewMuxer(layout.With(from))}
	p.turn.L = &p.mu
	p.kept = child.Keep(child.Options{
		Spec: func() (child.Spec, error) { return child.Spec{Path: path, Argv: argv, Talk: p.talk}, nil },
		Told: p.told, Retry: restart, Patience: time.Second,
	})
	return p, nil
}

// talk has a program that was just started be used.
func (p *program) talk(in io.Writer, out io.Reader) {
	p.mu.Lock()
	p.in, p.fresh = in, true
	p.mu.Unlock()
	p.turn.Broadcast()
	go p.read(out)
}

// told notes that the program has ended by itself.
func (p *program) told(pid int, err error) {
	if pid != 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = nil
	if p.tries++; p.tries >= triesMost {
		p.err = cmp.Or(err, io.ErrUnexpectedEOF)
		p.turn.Broadcast()
	}
}

func (p *program) write(f *media.Frame) error {
	p.mu.Lock()
	for p.in == nil && p.err == nil && !p.over {
		p.turn.Wait()
	}
	in, err, fresh := p.in, p.err, p.fresh
	if fresh {
		p.zero, p.fresh = f.PTS(), false
	}
	at := f.PTS() - p.zero + early
	p.shift = f.Source - f.DTS
	over := p.over
	p.mu.Unlock()
	switch {
	case over:
		return nil
	case err != nil:
		if lines := p.kept.Status().Lines; len(lines) > 0 {
			return fmt.Errorf("ffmpeg ended: %w: %s", err, lines[len(lines)-1])
		}
		return fmt.Errorf("ffmpeg ended: %w", err)
	case at < 0:
		return nil
	}
	p.buf = p.buf[:0]
	if fresh {
		p.buf = p.mux.AppendTables(p.buf)
	}
	if p.buf, err = p.mux.AppendFrame(p.buf, f, at); err != nil {
		return nil // a packet that cannot be: a hole
	}
	if _, err := in.Write(p.buf); err != nil {
		p.mu.Lock()
		if p.in == in {
			p.in = nil
		}
		p.mu.Unlock()
	}
	return nil
}

// read emits what a program says until it ends.
func (p *program) read(out io.Reader) {
	d := mpegts.NewDemuxer()
	b := make([]byte, 32<<10)
	var frames []*media.Frame
	for {
		n, err := out.Read(b)
		if err != nil {
			return
		}
		frames = d.Feed(frames[:0], b[:n])
		for _, f := range frames {
			if f.Track.Codec == p.track.Codec && !p.pass(f) {
				return
			}
		}
		clear(frames)
	}
}

// pass emits a frame of the program's; it reports false if there is to be none.
func (p *program) pass(f *media.Frame) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	p.tries = 0
	at := max(0, f.Source-early+p.zero)
	p.emit(&media.Frame{Track: p.track, DTS: at, Source: at + p.shift, Payload: f.Payload})
	return true
}

func (p *program) close() {
	p.mu.Lock()
	p.over = true
	p.mu.Unlock()
	p.turn.Broadcast()
	p.kept.Stop(0)
}
