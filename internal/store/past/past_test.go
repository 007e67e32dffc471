package past

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/store"
)

var key = hub.Key{Vhost: "v.test", App: "live/deep", Stream: "s.1"}

// picture and sound are tracks; level tells pictures apart.
func picture(level byte) *media.Track {
	return &media.Track{Kind: media.Video, Codec: media.H264, Width: 64, Height: 48,
		Config: []byte{1, 0x42, 0xc0, level, 0xff, 0xe1, 0, 4, 0x67, 0x42, 0xc0, level, 1, 0, 4, 0x68, 0xce, 0x3c, 0x80}}
}

func sound() *media.Track {
	return &media.Track{Kind: media.Audio, Codec: media.AAC, Config: []byte{0x12, 0x10}, SampleRate: 44100, Channels: 2}
}

// rig is a hub with an archive, in a bubble.
type rig struct {
	*Archive
	t    *testing.T
	set  Settings
	hub  *hub.Hub
	st   *store.Store
	off  time.Duration // of the clock, which may be set
	at   int           // pictures sent, of all publications
	p    *hub.Publication
	stop func()

	elder atomic.Bool // another writes too
	said  sync.Map    // notices that stand, by subject
}

func start(t *testing.T, set Settings) *rig {
	r := &rig{t: t, set: set}
	r.hub = hub.New(func(hub.Key) hub.Settings { return hub.Settings{Cache: true, Queue: time.Minute} })
	r.st = store.New(r.hub, func(_ hub.Key, f func() error) error { return f() })
	r.Archive = New(Options{Log: slog.New(slog.DiscardHandler), Hub: r.hub, Store: r.st, Vhosts: func() []string { return []string{key.Vhost} },
		Settings: func(string) Settings { return r.set }, Notice: func(subject, text string) bool {
			before, _ := r.said.Swap(subject, text)
			return before != text
		}, Now: func() time.Time { return time.Now().Add(r.off) }, Shared: r.elder.Load})
	r.hub.OnPublish(r.Published)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	r.stop = func() {
		if r.p != nil {
			r.p.Close(nil)
			r.p = nil
			synctest.Wait()
		}
		cancel()
		<-done
	}
	return r
}

// publish sends seconds of a stream as fast as it plays: 25 pictures a second, a key frame
// each second, two frames of sound with each. All payloads are numbered.
func (r *rig) publish(v, a *media.Track, seconds int) {
	r.t.Helper()
	if r.p == nil {
		var err error
		if r.p, err = r.hub.Publish(key, hub.PublishOptions{}); err != nil {
			r.t.Fatal(err)
		}
		r.p.Announce(v)
		r.p.Announce(a)
	}
	for range seconds * 25 {
		i := r.at
		typ := byte(0x41)
		if i%25 == 0 {
			typ = 0x65
		}
		at := time.Duration(i) * 40 * time.Millisecond
		r.p.Write(&media.Frame{Track: v, Source: at, CTO: time.Duration(i%3) * 40 * time.Millisecond, Key: i%25 == 0, Payload: numbered([]byte{0, 0, 0, 5, typ}, i)})
		for k := range 2 {
			r.p.Write(&media.Frame{Track: a, Source: at + time.Duration(k)*20*time.Millisecond, Payload: numbered([]byte{0x21}, 2*i+k)})
		}
		r.at++
		time.Sleep(40 * time.Millisecond)
	}
	synctest.Wait()
}

func (r *rig) leave() {
	r.p.Close(nil)
	r.p = nil
	time.Sleep(time.Second)
	synctest.Wait()
}

func numbered(b []byte, i int) []byte { return binary.BigEndian.AppendUint32(b, uint32(i)) }

func number(f *media.Frame) int {
	return int(binary.BigEndian.Uint32(f.Payload[len(f.Payload)-4:]))
}

// tape is the one of key.
func (r *rig) tape() *Tape {
	r.t.Helper()
	t, err := r.Tape(key)
	if err != nil {
		r.t.Fatal(err)
	}
	return t
}

// play reads n pictures, and the sound between, from a start, and checks that they follow
// one another.
func (r *rig) play(s Start, n int) (first *media.Frame, behind time.Duration) {
	r.t.Helper()
	rd, behind, err := r.tape().Play(s, false)
	if err != nil {
		r.t.Fatal(err)
	}
	return r.follow(rd, n), behind
}

func (r *rig) follow(rd *Reader, n int) (first *media.Frame) {
	r.t.Helper()
	last := map[media.Kind]*media.Frame{}
	for frames := make([]*media.Frame, 32); n > 0; {
		got, err := rd.Read(r.t.Context(), frames)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, f := range frames[:got] {
			before := last[f.Track.Kind]
			last[f.Track.Kind] = f
			if f.Track.Kind == media.Video {
				n--
				if first == nil {
					if first = f; !f.Key {
						r.t.Fatalf("it begins with picture %d, which is no key frame", number(f))
					}
				}
			}
			if before == nil {
				continue
			}
			if number(f) != number(before)+1 || f.Prev != before.DTS || f.DTS <= before.DTS {
				r.t.Fatalf("%v %d at %v (before it %v) follows %d at %v", f.Track.Kind, number(f), f.DTS, f.Prev, number(before), before.DTS)
			}
		}
	}
	return first
}

func hour(dir string) Settings {
	return Settings{Window: time.Hour, Dir: dir, Size: 1 << 30, Fragment: 2 * time.Second}
}

// A viewer who is behind is sent what was published then, at the speed of the clock, over a
// publication that ends and a codec that changes, which it is told of.
func TestPlay(t *testing.T) {
	for _, encoders := range []bool{true, false} {
		t.Run(fmt.Sprint("by the encoder's time ", encoders), func(t *testing.T) { testPlay(t, encoders) })
	}
}

// testPlay does so, also where another view has all written by the encoder's time, which is
// not ours.
func testPlay(t *testing.T, encoders bool) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hour(dir))
		defer r.stop()
		if encoders {
			defer r.st.Attach(key, &store.View{Rules: func() store.Rules { return store.Rules{Fragment: 2 * time.Second, Grid: true} },
				Forms: func(*store.Run) store.Forms { return store.MP4 | store.TS }, Next: func() int64 { return 0 }, Done: func(*store.Segment) {}})()
		}
		r.publish(picture(30), sound(), 60)
		ended := time.Now()
		// At play speed: what was 30 s ago comes now, whatever time it takes.
		rd, _, err := r.tape().Play(Start{Behind: 30 * time.Second}, false)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		if first := r.follow(rd, 25*5); number(first) < 700 || number(first) > 750 {
			t.Errorf("30 s ago was picture %d", number(first))
		}
		if took := time.Since(began); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("5 s took %v", took)
		}
		for _, behind := range []time.Duration{40 * time.Second, 30500 * time.Millisecond, time.Hour, 20 * time.Second} {
			want := max(0, 1500-int((behind-time.Since(ended))/(40*time.Millisecond)))
			first, _ := r.play(Start{Behind: behind}, 5)
			if n := number(first); n < want-50 || n > want {
				t.Errorf("%v behind begins with picture %d, want %d", behind, n, want)
			}
			want = max(0, 1500-int((behind-time.Since(ended))/(40*time.Millisecond)))
			first, _ = r.play(Start{At: time.Now().Add(-behind)}, 5)
			if n := number(first); n < want-50 || n > want {
				t.Errorf("%v ago begins with picture %d, want %d", behind, n, want)
			}
		}
		// What is being cut still is no reason to wait.
		if first, _ := r.play(Start{}, 1); number(first) < r.at-150 {
			t.Errorf("at once: picture %d of %d", number(first), r.at)
		}

		// The publisher goes for 20 s, and comes back with another codec.
		r.leave()
		time.Sleep(19 * time.Second)
		again := time.Now()
		r.publish(picture(31), sound(), 20)
		rd, _, err = r.tape().Play(Start{Behind: 45 * time.Second}, false)
		if err != nil {
			t.Fatal(err)
		}
		began = time.Now()
		first := r.follow(rd, 1)
		now := first
		frames := make([]*media.Frame, 1)
		for now.Track.Kind != media.Video || now.Layout == first.Layout {
			if _, err := rd.Read(t.Context(), frames); err != nil {
				t.Fatal(err)
			}
			now = frames[0]
		}
		if !now.Key || now.Layout.Main(media.Video).Config[3] != 31 {
			t.Errorf("the other run begins with %+v", now)
		}
		if d := time.Since(again) - 45*time.Second; d.Abs() > 3*time.Second {
			t.Errorf("the pause is off by %v", d)
		}
		// Who asks for a time within the pause begins behind it at once.
		first, behind := r.play(Start{At: again.Add(-8 * time.Second)}, 1)
		if number(first) != 1500 || behind < 40*time.Second {
			t.Errorf("within the pause: picture %d, %v behind", number(first), behind)
		}
		if _, _, err := r.tape().Play(Start{At: time.Now().Add(time.Minute)}, false); !errors.Is(err, ErrFuture) {
			t.Errorf("of tomorrow: %v", err)
		}
	})
}

// The answer ends when the stream has and all was read.
func TestPlayToTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hour(dir))
		defer r.stop()
		r.publish(picture(30), sound(), 10)
		r.leave()
		rd, _, err := r.tape().Play(Start{Behind: 6 * time.Second}, true)
		if err != nil {
			t.Fatal(err)
		}
		n, frames := 0, make([]*media.Frame, 16)
		for {
			got, err := rd.Read(t.Context(), frames)
			if _, ended := errors.AsType[*hub.EndError](err); ended {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			n += got
		}
		if n < 3*100 || n > 3*175 {
			t.Errorf("%d frames", n)
		}
		if _, _, err := r.tape().Play(Start{}, true); !errors.Is(err, ErrNothing) {
			t.Errorf("of what nobody publishes: %v", err)
		}
	})
}

// A server that starts has what an earlier one kept, goes on with numbers and line, and has
// nothing of what a crash left broken off.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, hour(dir))
		r.publish(picture(30), sound(), 20)
		r.stop()
		all := r.tape().All()
		last := all[len(all)-1]

		files, _ := fs.Glob(os.DirFS(dir), "*/*/*/*"+indexExt)
		if len(files) != 1 {
			t.Fatal(files)
		}
		index := filepath.Join(dir, files[0])
		b, _ := os.ReadFile(index)
		os.WriteFile(index, b[:len(b)-10], 0o644) // the last line

		time.Sleep(100 * time.Second)
		r = start(t, hour(dir))
		defer r.stop()
		synctest.Wait()
		if got := r.tape().All(); len(got) != len(all)-1 {
			t.Fatalf("%d segments, want %d", len(got), len(all)-1)
		}
		r.at = 1000
		r.publish(picture(30), sound(), 10)
		got := r.tape().All()
		next := got[len(all)-1]
		if next.Seq != last.Seq || !next.Discontinuity || next.Run.First != next.Seq {
			t.Errorf("goes on with %+v", next)
		}
		if pause := next.Start - last.End(); pause < 95*time.Second || pause > 102*time.Second {
			t.Errorf("a pause of %v", pause)
		}
		if next.Run.Origin != last.Run.Origin {
			t.Errorf("origin %v was %v", next.Run.Origin, last.Run.Origin)
		}
		if first, _ := r.play(Start{Behind: 125 * time.Second}, 25); number(first) > 150 {
			t.Errorf("begins with %d", number(first))
		}
		if first, _ := r.play(Start{Behind: 5 * time.Second}, 25); number(first) < 1100 {
			t.Errorf("begins with %d", number(first))
		}
	})
}

// What is older than the window goes, also of a stream that nobody publishes or asks for,
// and what is more than the bound.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	size := func() int64 { return sizeOf(dir) }
	synctest.Test(t, func(t *testing.T) {
		set := hour(dir)
		set.Window = time.Minute
		r := start(t, set)
		r.publish(picture(30), sound(), 150)
		all := r.tape().All()
		if kept := all[len(all)-1].End() - all[0].Start; kept < time.Minute || kept > 85*time.Second {
			t.Errorf("%v are kept", kept)
		}
		if got := r.Bytes(key.Vhost); got != size() {
			t.Errorf("%d bytes are counted, %d there", got, size())
		}
		r.set.Size = size() / 2
		r.publish(picture(30), sound(), 3)
		if got := size(); got > r.set.Size || got == 0 {
			t.Errorf("%d bytes, at most %d", got, r.set.Size)
		}
		if first, _ := r.play(Start{Behind: time.Hour}, 25); number(first) < 75*25 {
			t.Errorf("begins with %d", number(first))
		}
		r.stop()
		// Another server finds them, and deletes them when their time has come.
		r = start(t, set)
		defer r.stop()
		synctest.Wait()
		if r.Bytes(key.Vhost) != size() || size() == 0 {
			t.Errorf("%d bytes are counted, %d there", r.Bytes(key.Vhost), size())
		}
		time.Sleep(4 * time.Minute)
		synctest.Wait()
		if size() != 0 || r.Bytes(key.Vhost) != 0 || len(r.all()) != 0 {
			t.Errorf("%d bytes are left (%d), %d tapes", size(), r.Bytes(key.Vhost), len(r.all()))
		}
		if left, _ := os.ReadDir(dir); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
		if _, err := r.Tape(key); !errors.Is(err, ErrNothing) || len(r.all()) != 0 {
			t.Errorf("%v, %d tapes", err, len(r.all()))
		}
	})
}

// sizeOf returns how many bytes the files of a folder have.
func sizeOf(dir string) (n int64) {
	filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if i, e := d.Info(); err == nil && e == nil && !d.IsDir() {
			n += i.Size()
		}
		return nil
	})
	return n
}

// disk is a folder that takes so many bytes, and none where it is broken.
type disk struct {
	dir    string
	room   atomic.Int64
	broken atomic.Bool
}

type diskFile struct {
	file
	*disk
}

func (d *disk) create(root *os.Root, name string) (file, error) {
	f, err := create(root, name)
	return diskFile{f, d}, err
}

func (f diskFile) Write(b []byte) (int, error) {
	err, n := error(nil), int64(len(b))
	if room := max(f.room.Load()-sizeOf(f.dir), 0); room < n {
		err, n = syscall.ENOSPC, room
	}
	if f.broken.Load() {
		err, n = syscall.EIO, n/2
	}
	m, _ := f.file.Write(b[:n])
	if err != nil {
		err = &fs.PathError{Op: "write", Path: "x", Err: err}
	}
	return m, err
}

// On a full disk the oldest goes for the newest, and on a broken one nothing; the operator is
// told.
func TestDisk(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		set := hour(dir)
		set.Window = 4 * time.Minute
		r := start(t, set)
		defer r.stop()
		d := &disk{dir: dir}
		d.room.Store(1 << 30)
		r.create = d.create
		told := func(subject, want string) {
			t.Helper()
			if got, _ := r.said.Load("time shift of " + subject); got != want {
				t.Errorf("told of %s is %q, want %q", subject, got, want)
			}
		}
		r.publish(picture(30), sound(), 100)
		room := sizeOf(dir) + 100
		d.room.Store(room)
		r.publish(picture(30), sound(), 100)
		all := r.tape().All()
		first, last := all[0], all[len(all)-1]
		if gap := r.tape().Live() - last.End(); gap > 3*time.Second || r.Lost.Load() > 0 {
			t.Errorf("%v behind live are not kept, %d segments are lost", gap, r.Lost.Load())
		}
		if kept := last.End() - first.Start; kept > 100*time.Second || kept < 30*time.Second {
			t.Errorf("%v are kept where there is room for 100 s", kept)
		}
		if got := sizeOf(dir); got > room || got != r.Bytes(key.Vhost) {
			t.Errorf("%d bytes are there, %d counted, room was for %d", got, r.Bytes(key.Vhost), room)
		}
		told(key.Vhost, "time shift of v.test reaches less far back than its window: the disk is full")
		told(key.String(), "")

		d.room.Store(1 << 30)
		d.broken.Store(true)
		before, kept := sizeOf(dir), len(r.tape().All())
		r.publish(picture(30), sound(), 30)
		if got := sizeOf(dir); got != before || len(r.tape().All()) != kept {
			t.Errorf("%d bytes and %d segments are there, not %d and %d", got, len(r.tape().All()), before, kept)
		}
		told(key.String(), "time shift of v.test/live/deep/s.1 cannot be written: input/output error")
		if _, _, err := r.tape().Play(Start{Behind: 5 * time.Second}, false); !errors.Is(err, ErrNothing) {
			t.Errorf("of what could not be written: %v", err)
		}
		d.broken.Store(false)
		r.publish(picture(30), sound(), 10)
		all = r.tape().All()
		if next := all[kept]; !next.Discontinuity || next.Seq != all[kept-1].Seq+1 {
			t.Errorf("goes on with %+v", next)
		}
		told(key.String(), "")
		if first, _ := r.play(Start{Behind: 5 * time.Second}, 25); number(first) < 230*25 {
			t.Errorf("begins with %d", number(first))
		}

		d.room.Store(0) // others have taken it all
		r.publish(picture(30), sound(), 10)
		if got := sizeOf(dir); got != 0 || r.Bytes(key.Vhost) != 0 {
			t.Errorf("%d bytes are left, %d counted", got, r.Bytes(key.Vhost))
		}
		told(key.String(), "time shift of v.test/live/deep/s.1 cannot be written: no space left on device")
		d.room.Store(1 << 30)
		r.publish(picture(30), sound(), 12*60)
		told(key.Vhost, "")
		told(key.String(), "")
	})
}

// A clock that jumps an hour, either way, while a stream is kept and between two
// publications, moves no viewer.
func TestClockJumps(t *testing.T) {
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			r := start(t, hour(dir))
			r.publish(picture(30), sound(), 20)
			r.stop()
			// The next server's times are those of a clock that was set: the index says so.
			files, _ := fs.Glob(os.DirFS(dir), "*/*/*/*"+indexExt)
			index := filepath.Join(dir, files[0])
			b, _ := os.ReadFile(index)
			run, _, _, _, err := readIndex(b, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, lines, _ := strings.Cut(string(b), "\n")
			run.Began, run.Origin = run.Began.Add(-jump), run.Origin.Add(-jump)
			os.WriteFile(index, append(appendHead(nil, key.String(), run), lines...), 0o644)

			r = start(t, Settings{Window: 3 * time.Hour, Dir: dir, Size: 1 << 30, Fragment: 2 * time.Second})
			defer r.stop()
			synctest.Wait()
			r.at = 500
			r.publish(picture(30), sound(), 20)
			all := r.tape().All()
			var line time.Duration
			for i, s := range all {
				if s.Seq != int64(i) || s.Start < line {
					t.Fatalf("segment %d is %d, at %v, behind %v", i, s.Seq, s.Start, line)
				}
				line = s.End()
			}
			last := all[len(all)-1]
			if jump < 0 && last.Run.Origin.Equal(all[0].Run.Origin) || jump > 0 && !last.Run.Origin.Equal(all[0].Run.Origin) {
				t.Errorf("%v: origins %v and %v", jump, all[0].Run.Origin, last.Run.Origin)
			}
			if first, _ := r.play(Start{Behind: 10 * time.Second}, 25); number(first) < 700 || number(first) > 750 {
				t.Errorf("%v: 10 s behind is picture %d", jump, number(first))
			}
			if first, _ := r.play(Start{At: time.Now().Add(-10 * time.Second)}, 25); number(first) < 700 || number(first) > 750 {
				t.Errorf("%v: 10 s ago was picture %d", jump, number(first))
			}
		})
	}
}

// Who takes another's place goes on behind all that this one has written, whether or not it
// is still there, and however long ago it was looked for.
func TestUpgrade(t *testing.T) {
	for _, drains := range []bool{true, false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			elder := start(t, hour(dir))
			elder.publish(picture(30), sound(), 20)
			heir := start(t, hour(dir))
			defer heir.stop()
			heir.elder.Store(true)
			if first, _ := heir.play(Start{Behind: 10 * time.Second}, 25); number(first) < 200 {
				t.Errorf("begins with %d", number(first))
			}
			elder.publish(picture(30), sound(), 19)
			if drains {
				heir.tape() // looks, and then does not for a while
			}
			elder.stop()
			heir.elder.Store(drains)
			written := elder.tape().All()
			heir.at = elder.at
			heir.publish(picture(30), sound(), 10)
			all := heir.tape().All()
			if len(all) <= len(written) {
				t.Fatalf("%d segments, of which the other has written %d", len(all), len(written))
			}
			for i, s := range all {
				if s.Seq != int64(i) || i < len(written) && s.Start != written[i].Start {
					t.Errorf("segment %d is %d, at %v", i, s.Seq, s.Start)
				}
			}
			if first := all[len(written)]; !first.Discontinuity || first.Run.First != first.Seq {
				t.Errorf("goes on with %+v", first)
			}
		})
	}
}

// Segments that go while a viewer is behind cost it those; others read on.
func TestDeletedMeanwhile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		set := hour(dir)
		set.Window = time.Minute
		r := start(t, set)
		defer r.stop()
		r.publish(picture(30), sound(), 60)
		rd, _, err := r.tape().Play(Start{Behind: 55 * time.Second}, false)
		if err != nil {
			t.Fatal(err)
		}
		r.follow(rd, 25)
		r.publish(picture(30), sound(), 120) // it reads nothing all the while
		frames := make([]*media.Frame, 64)
		for !rd.Resumed() {
			if _, err := rd.Read(t.Context(), frames); err != nil {
				t.Fatal(err)
			}
		}
		if _, times := rd.Dropped(); times == 0 {
			t.Error("nothing was told of what was lost")
		}
		if n := number(frames[0]); n < 25*100/2 {
			t.Errorf("goes on with %d", n)
		}
	})
}

func TestParseStart(t *testing.T) {
	for text, want := range map[string]Start{
		"-300": {Behind: 5 * time.Minute}, "0": {}, "-0.5": {Behind: time.Second / 2}, "1700000000": {At: time.Unix(1700000000, 0)}, "1700000000.5": {At: time.Unix(1700000000, 5e8)},
		"2026-11-27T18:30:00Z": {At: time.Date(2026, 11, 27, 18, 30, 0, 0, time.UTC)}} {
		got, err := ParseStart(text)
		if err != nil || got.Behind != want.Behind || !got.At.Equal(want.At) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "yesterday", "NaN", "1e300", "-1e300", "2026-11-27"} {
		if got, err := ParseStart(text); !errors.Is(err, ErrTime) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

// Names cannot lead out of the folder, and each stream has one of its own.
func TestFolder(t *testing.T) {
	seen := map[string]hub.Key{}
	for _, k := range []hub.Key{key, {Vhost: "v.test", App: "live", Stream: "deep/s.1"}, {Vhost: "v", App: "..", Stream: ".."}, {Vhost: "v", App: "%2E%2E", Stream: "a/../b"},
		{Vhost: "v", App: "", Stream: "x"}, {Vhost: "v", App: "a", Stream: strings.Repeat("ü", 200)}, {Vhost: "v", App: "a", Stream: strings.Repeat("ü", 201)}, {Vhost: "v", App: "a", Stream: "=x"}} {
		f := folder(k)
		if o, taken := seen[f]; taken || !filepath.IsLocal(f) || strings.Count(f, "/") != 2 || strings.Contains(f, "..") || len(f) > 450 {
			t.Errorf("%v has %q, as %v", k, f, o)
		}
		seen[f] = k
	}
}

func FuzzIndex(f *testing.F) {
	r := &Run{First: 3, Line: time.Second, Start: 2 * time.Second, Began: time.Unix(100, 0), Origin: time.Unix(99, 0), Video: picture(30), Audio: sound(), Layout: (&media.Layout{Meta: []byte{1}}).With(picture(30)).With(sound())}
	b := appendHead(nil, key.String(), r)
	f.Add(b)
	f.Add(appendLine(b, &Segment{Seq: 3, Run: r, Start: time.Second, Duration: time.Second, Video: Span{100, 1, 2}, Audio: Span{50, 3, 4}, Key: true, Pictures: 25}, 700))
	f.Add([]byte(`{"weir":1}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, all, offs, n, err := readIndex(b, nil)
		if n > len(b) || len(all) != len(offs) || r == nil && len(all) > 0 {
			t.Fatal(r, len(all), len(offs), n, err)
		}
		if r == nil {
			return
		}
		again := appendHead(nil, "", r)
		for i, s := range all {
			again = appendLine(again, s, offs[i])
		}
		r2, all2, _, n2, err := readIndex(again, nil)
		if err != nil || n2 != len(again) || len(all2) != len(all) || r2.Line != r.Line {
			t.Fatal(fmt.Sprint(err), n2, len(again))
		}
	})
}
