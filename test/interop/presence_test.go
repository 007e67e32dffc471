package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// slow is a source of so many bytes that no buffer of the kernel hides a reader
// who does not read.
var slow = &source{file: "slow.flv", video: true, length: 25,
	args: "-f lavfi -i nullsrc=size=640x360:rate=25,noise=alls=100:allf=t" + x264 + "-preset ultrafast -b:v 20M -minrate 20M -maxrate 20M -bufsize 10M"}

// keep lets ffmpeg play until it is stopped, writing what came.
func keep(t *testing.T, url string) (*process, func() []packet) {
	t.Helper()
	p, file := keepIn(t, url)
	return p, func() []packet {
		p.signal(2) // SIGINT: it writes all it has
		p.wait(5 * time.Second)
		return readHashes(t, file)["video"]
	}
}

// keepIn is keep; the packets go to a file, line by line.
func keepIn(t *testing.T, url string) (p *process, file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "kept")
	p = background(t, "ffmpeg", "-v", "error", "-copyts", "-i", url, "-map", "0:v", "-c", "copy", "-f", "framemd5", "-flush_packets", "1", file)
	return p, file
}

// awaitPackets waits until a file of keepIn holds so many.
func awaitPackets(t *testing.T, file string, count int) {
	t.Helper()
	wait(t, fmt.Sprintf("the player has %d packets", count), func() bool {
		b, _ := os.ReadFile(file)
		return bytes.Count(b, []byte("\n0,")) >= count
	})
}

// An RTMP player stays while the publisher leaves, and is sent what the next one
// publishes; players who come first wait.
func TestPublisherReturns(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(p *process){
		"leaves": func(p *process) { p.signal(2); p.wait(5 * time.Second) },
		"dies":   func(p *process) { p.kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			baseline.list(t)
			bFrames.list(t)
			h := open(t, "")
			first, frames := keep(t, h.stream("s")) // comes before the publisher
			file := filepath.Join(t.TempDir(), "dump.flv")
			dump := background(t, "rtmpdump", "-q", "-v", "-r", h.stream("s"), "-o", file)
			wait(t, "two players wait", func() bool { s, _ := h.info(t, "s"); return s.Clients == 2 })
			for _, src := range []*source{baseline, bFrames} {
				pub := h.publish(t, src, "s")
				time.Sleep(3 * time.Second)
				leave(pub)
				wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
				time.Sleep(time.Second)
				if !first.running() || !dump.running() {
					t.Fatalf("a player has ended with the publisher: ffmpeg %v %s, rtmpdump %v %s", first.err, first.log, dump.err, dump.log)
				}
			}
			dump.signal(2)
			dump.wait(5 * time.Second)
			both(t, "ffmpeg", frames())
			// Its file changes parameters half way, which ffmpeg would grumble about.
			sums := filepath.Join(t.TempDir(), "sums")
			run(t, "ffmpeg", "-v", "fatal", "-copyts", "-i", file, "-map", "0:v", "-c", "copy", "-f", "framemd5", sums)
			both(t, "rtmpdump", readHashes(t, sums)["video"])
		})
	}
}

// both checks frames of two publications, one after the other.
func both(t *testing.T, what string, got []packet) {
	t.Helper()
	cut := 0
	for cut < len(got) && contains(baseline.packets["video"], got[cut]) {
		cut++
	}
	sameRun(t, what+": before", got[:cut], baseline.packets["video"], 3*rate-10)
	sameRun(t, what+": after", got[cut:], bFrames.packets["video"], 3*rate-10)
	steady(t, what, got, 10)
}

// A viewer that cannot follow is no matter to another, and is sent whole groups
// when it reads again.
func TestSlowViewer(t *testing.T) {
	t.Parallel()
	slow.list(t)
	h := open(t, "play { queue_length 2; }")
	h.publish(t, slow, "s")
	background(t, "curl", "-sS", "--limit-rate", "50k", "-o", os.DevNull, h.page("s", ".flv"))

	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, h.page("s", ".flv"), nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()

	// While the one above reads nothing, another must have everything.
	got := demux(t, h.page("s", ".flv"), 9, "")
	slow.check(t, "beside slow viewers", got, 9, true)

	// Now the stalled one reads on: what it gets has a hole, and decodes.
	stop := time.AfterFunc(6*time.Second, func() { res.Body.Close() })
	defer stop.Stop()
	b, _ := io.ReadAll(io.LimitReader(res.Body, 100<<20))
	b = wholeTags(b)
	file := filepath.Join(t.TempDir(), "stalled.flv")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if !h.log.await("viewer is too slow", time.Second) {
		t.Error("no viewer was found to be slow")
	}
	stalled := demux(t, file, seconds, "")
	if len(stalled.pictures) < 4*rate {
		t.Errorf("the stalled viewer saw %d pictures in %d bytes", len(stalled.pictures), len(b))
	}
	holes := 0
	for i, p := range stalled.video {
		if !contains(slow.packets["video"], p) {
			t.Fatalf("packet %d was not published", i)
		}
		if i > 0 && p.dts-stalled.video[i-1].dts > 0.1 {
			holes++
		}
	}
	if holes == 0 {
		t.Error("the stalled viewer lost nothing, so nothing was proved")
	}
}

// wholeTags drops the tag at the end of an FLV file that is not complete.
func wholeTags(b []byte) []byte {
	at := 13
	for at+11 <= len(b) {
		next := at + 15 + int(binary.BigEndian.Uint32(b[at:])&0xffffff)
		if next > len(b) {
			break
		}
		at = next
	}
	return b[:min(at, len(b))]
}

// A name that is taken is refused, and who holds it does not notice.
func TestBusyIsRefused(t *testing.T) {
	t.Parallel()
	h := open(t, "")
	bFrames.list(t)
	first := h.publish(t, bFrames, "s")
	player, file := keepIn(t, h.stream("s"))
	awaitPackets(t, file, 1)
	r := run(t, "ffmpeg", "-v", "error", "-re", "-i", baseline.path(t), "-t", "5", "-c", "copy", "-f", "flv", h.stream("s"))
	if exitCode(r.err) <= 0 {
		t.Errorf("the second publisher was not refused: %v", r)
	}
	awaitPackets(t, file, len(readHashes(t, file)["video"])+2*rate)
	if !first.running() || !player.running() {
		t.Errorf("the first publisher or its player has ended: %v, %v", first.err, player.err)
	}
	player.signal(2)
	player.wait(5 * time.Second)
	got := readHashes(t, file)["video"]
	sameRun(t, "player", got, bFrames.packets["video"], 25)
	steady(t, "player", got, 0.045)
}

// With preempt on a newcomer takes over and the viewers stay.
func TestPreempt(t *testing.T) {
	t.Parallel()
	h := open(t, "publish { preempt on; }")
	baseline.list(t)
	bFrames.list(t)
	first := h.publish(t, baseline, "s")
	before, _ := h.info(t, "s")
	player, frames := keep(t, h.stream("s"))
	wait(t, "the player plays", func() bool { s, _ := h.info(t, "s"); return s.Clients == 2 })
	time.Sleep(3 * time.Second)
	second := background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", h.stream("s"))
	if err := first.wait(10 * time.Second); exitCode(err) <= 0 {
		t.Errorf("the first publisher was not sent away: %v", err)
	}
	wait(t, "another publishes", func() bool {
		s, _ := h.info(t, "s")
		return s.Publish.Active && s.Publish.CID != before.Publish.CID
	})
	time.Sleep(4 * time.Second)
	if !second.running() || !player.running() {
		t.Errorf("the second publisher or the player has ended: %v %s, %v %s", second.err, second.log, player.err, player.log)
	}
	both(t, "player", frames())
}

// The API's list of clients is those who are there: when all have gone it is
// empty, whatever way they went.
func TestNobodyIsLeft(t *testing.T) {
	t.Parallel()
	h := open(t, "")
	pub := h.publish(t, baseline, "s")
	for i, url := range []string{h.stream("s"), h.page("s", ".flv"), h.page("s", ".mp4")} {
		p, _ := keep(t, url)
		wait(t, fmt.Sprintf("%d clients", i+2), func() bool { s, _ := h.info(t, "s"); return s.Clients == i+2 })
		defer p.kill()
		if i == 1 {
			p.kill()
			wait(t, "the FLV viewer is gone", func() bool { s, _ := h.info(t, "s"); return s.Clients == i+1 })
			q, _ := keep(t, url)
			defer q.kill()
			wait(t, "another is there", func() bool { s, _ := h.info(t, "s"); return s.Clients == i+2 })
		}
	}
	pub.kill()
	wait(t, "only the RTMP player is left", func() bool { s, _ := h.info(t, "s"); return s.Clients == 1 })
	b, err := get("http://" + h.api + "/api/v1/clients/")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), `"type":"`); n != 1 {
		t.Errorf("%d clients are listed, want 1: %s", n, b)
	}
}

// Who reads a stream whose publisher is killed gets its picture and silence until another
// publishes, in one piece.
func TestSlate(t *testing.T) {
	t.Parallel()
	h := open(t, "slate { enabled on; hold 30; }")
	pub := h.publish(t, bFrames, "s")
	file := filepath.Join(t.TempDir(), "seen.flv")
	reader := background(t, "ffmpeg", "-v", "error", "-i", h.page("s", ".flv"), "-t", "9", "-c", "copy", file)
	wait(t, "somebody reads", func() bool { s, _ := h.info(t, "s"); return s.Clients >= 2 })
	time.Sleep(time.Second)
	pub.kill()
	wait(t, "nobody publishes", func() bool { s, _ := h.info(t, "s"); return !s.Publish.Active })
	time.Sleep(2 * time.Second)
	h.publish(t, bFrames, "s")
	wait(t, "it has all", func() bool { return !reader.running() })
	rows := must(t, "ffprobe", "-v", "error", "-show_entries", "packet=codec_type,dts_time", "-of", "csv=p=0", file)
	last, seen := map[string]float64{}, map[string]int{}
	for line := range strings.Lines(rows) {
		kind, text, _ := strings.Cut(strings.TrimRight(line, ",\r\n"), ",")
		at, err := strconv.ParseFloat(text, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if most := map[string]float64{"video": 1.2, "audio": 0.3}[kind]; seen[kind] > 0 && (at <= last[kind] || at > last[kind]+most) {
			t.Errorf("%s goes from %v to %v", kind, last[kind], at)
		}
		last[kind] = at
		seen[kind]++
	}
	if seen["video"] < 60 || seen["audio"] < 250 || last["audio"] < 8.5 {
		t.Errorf("%v packets to %v", seen, last)
	}
}
