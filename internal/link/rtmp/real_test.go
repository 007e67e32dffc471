package rtmp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weir/internal/wire/rtmp"
)

// listen serves each connection to a port of its own with f, until the test
// ends, and returns the address of the stream live/s there.
func listen(t *testing.T, f func(c *Conn) error) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				c := NewConn(ctx, nc, Options{})
				defer c.Close()
				if _, err := c.Open(); err != nil {
					t.Errorf("open: %v", err)
					return
				}
				if err := accept(c); err != nil {
					t.Errorf("accept: %v", err)
				}
				if err := f(c); err != nil && !errors.Is(err, context.Canceled) {
					t.Errorf("server: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() {
		cancel()
		l.Close()
		wg.Wait()
	})
	return fmt.Sprintf("rtmp://%v/live/s", l.Addr())
}

// run runs a program that must be there, for half a minute at most, and returns
// what it writes.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		t.Fatal(err)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", name, err, stderr.Bytes())
	}
	return string(out), err
}

const seconds, rate = 2, 25

// publishArgs makes ffmpeg publish two seconds of a test picture.
func publishArgs(url string) []string {
	return append(strings.Fields("-v error -f lavfi -i testsrc=size=320x240:rate=25 -f lavfi -i sine=frequency=440:sample_rate=44100"+
		" -t 2 -c:v libx264 -preset ultrafast -g 25 -bf 0 -pix_fmt yuv420p -c:a aac -f flv"), url)
}

// recording publishes once with ffmpeg and returns what came.
var recording = sync.OnceValues(func() ([]rtmp.Message, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "ffmpeg", publishArgs(fmt.Sprintf("rtmp://%v/live/s?token=1", l.Addr()))...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Second))
	nc, err := l.Accept()
	if err != nil {
		return nil, err
	}
	c := NewConn(ctx, nc, Options{})
	defer c.Close()
	list, err := record(c)
	if err == nil {
		if err = cmd.Wait(); err != nil {
			err = fmt.Errorf("ffmpeg: %w\n%s", err, stderr.Bytes())
		}
	}
	return list, err
})

func record(c *Conn) ([]rtmp.Message, error) {
	if _, err := c.Open(); err != nil {
		return nil, err
	}
	if err := accept(c); err != nil {
		return nil, err
	}
	w, err := c.ReadWish(10 * time.Second)
	if err != nil {
		return nil, err
	}
	if w.Flow != rtmp.FMLE || w.Name != "s?token=1" {
		return nil, fmt.Errorf("wish %+v", w)
	}
	if err := c.StartPublish(); err != nil {
		return nil, err
	}
	var list []rtmp.Message
	for {
		m, err := c.ReadMedia(10 * time.Second)
		if err == ErrEnded {
			// deleteStream is still to come, then the end.
			if _, err := c.ReadWish(10 * time.Second); err == nil {
				return nil, errors.New("a wish after the end")
			}
			return list, nil
		}
		if err != nil {
			return nil, err
		}
		list = append(list, m)
	}
}

func TestFFmpegPublishes(t *testing.T) {
	list, err := recording()
	if err != nil {
		t.Fatal(err)
	}
	count := map[rtmp.MessageType]int{}
	var last uint32
	for _, m := range list {
		count[m.Type]++
		last = max(last, m.Timestamp)
	}
	// Besides the frames: the codec configurations, and the end of sequence.
	if count[rtmp.TypeVideo] != seconds*rate+2 || count[rtmp.TypeAudio] < 80 || count[rtmp.TypeDataAMF0] != 1 {
		t.Errorf("messages: %v", count)
	}
	if last < 1900 || last > 2100 {
		t.Errorf("the last timestamp is %d", last)
	}
}

// play serves the recording from a timestamp on, with absolute time in the first
// message of each chunk stream and deltas, which viewers could share, in all
// others. Before and behind each message it says what else a server may say.
func play(list []rtmp.Message, base uint32) func(c *Conn) error {
	return func(c *Conn) error {
		if _, err := c.ReadWish(10 * time.Second); err != nil {
			return err
		}
		if err := c.StartPlay(); err != nil {
			return err
		}
		before := map[uint32]uint32{}
		var b []byte
		for _, m := range list {
			m.Timestamp += base
			m.CSID = map[rtmp.MessageType]uint32{rtmp.TypeAudio: rtmp.CSIDAudio, rtmp.TypeVideo: rtmp.CSIDVideo}[m.Type]
			if m.CSID == 0 {
				m.CSID = rtmp.CSIDStream
			}
			m.StreamID = rtmp.StreamID
			if prev, ok := before[m.CSID]; ok {
				b = rtmp.AppendDelta(b, m.CSID, m.Timestamp-prev, m.Type, c.ChunkSize(), m.Payload)
			} else {
				b = rtmp.AppendMessage(b, m, c.ChunkSize())
			}
			before[m.CSID] = m.Timestamp
		}
		if err := c.Write(b); err != nil {
			return err
		}
		c.StreamEOF()
		c.Status(rtmp.Status{Level: "status", Code: rtmp.PlayStop, Description: "Stopped."})
		c.Linger(5 * time.Second)
		return nil
	}
}

// withoutMeta leaves out the script data, which says that the file has a length.
func withoutMeta(t *testing.T) []rtmp.Message {
	t.Helper()
	list, err := recording()
	if err != nil {
		t.Fatal(err)
	}
	var media []rtmp.Message
	for _, m := range list {
		if m.Type == rtmp.TypeAudio || m.Type == rtmp.TypeVideo {
			media = append(media, m)
		}
	}
	return media
}

// times lists the timestamps of the messages of a type that hold frames.
func times(list []rtmp.Message, typ rtmp.MessageType) (ts []uint32) {
	for _, m := range list {
		if m.Type == typ && len(m.Payload) > 1 && m.Payload[1] == 1 {
			ts = append(ts, m.Timestamp)
		}
	}
	return ts
}

func TestFFmpegPlaysDeltas(t *testing.T) {
	media := withoutMeta(t)
	for _, base := range []uint32{0, 0xffffff - 1000} {
		out, err := run(t, "ffprobe", "-v", "error", "-select_streams", "v", "-show_entries", "packet=dts", "-of", "csv=p=0", listen(t, play(media, base)))
		if err != nil {
			t.Fatal(err)
		}
		var got []uint32
		for _, s := range strings.Fields(out) {
			n, err := strconv.Atoi(strings.Trim(s, ","))
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, uint32(n))
		}
		want := times(media, rtmp.TypeVideo)
		if len(got) != len(want) {
			t.Fatalf("base %d: ffprobe saw %d frames, want %d", base, len(got), len(want))
		}
		for i := range got {
			if got[i] != want[i]+base {
				t.Fatalf("base %d: frame %d is at %d, want %d", base, i, got[i], want[i]+base)
			}
		}
	}
}

// rtmpdump speaks librtmp's protocol. With a hash of a player it makes the digest
// handshake, and gives up if it cannot verify ours.
func TestRtmpdumpPlays(t *testing.T) {
	media := withoutMeta(t)
	for _, c := range []struct {
		name   string
		args   []string
		digest bool
	}{
		{"simple", nil, false},
		{"digest", []string{"--swfhash", strings.Repeat("0123456789abcdef", 4), "--swfsize", "100000"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var schema atomic.Uint32
			serve := play(media, 0)
			url := listen(t, func(conn *Conn) error {
				schema.Store(uint32(conn.Schema()))
				return serve(conn)
			})
			file := filepath.Join(t.TempDir(), "out.flv")
			// rtmpdump ends with 2 for a stream without a length.
			_, err := run(t, "rtmpdump", append([]string{"-v", "-r", url, "-o", file}, c.args...)...)
			b, readErr := os.ReadFile(file)
			if readErr != nil {
				t.Fatalf("%v; %v", readErr, err)
			}
			if got, want := times(tags(t, b), rtmp.TypeVideo), times(media, rtmp.TypeVideo); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("rtmpdump wrote %d frames, want %d; %v", len(got), len(want), err)
			}
			if got := rtmp.Schema(schema.Load()); (got != rtmp.Simple) != c.digest {
				t.Errorf("schema %d", got)
			}
		})
	}
}

// GStreamer's rtmp2src is a third implementation.
func TestGStreamerPlaysDeltas(t *testing.T) {
	media := withoutMeta(t)
	file := filepath.Join(t.TempDir(), "out.flv")
	if _, err := run(t, "gst-launch-1.0", "-q", "rtmp2src", "location="+listen(t, play(media, 0)), "!", "filesink", "location="+file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := times(tags(t, b), rtmp.TypeVideo), times(media, rtmp.TypeVideo); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("GStreamer wrote %d frames at %v, want %v", len(got), got, want)
	}
}

// tags returns the tags of an FLV file.
func tags(t *testing.T, b []byte) (list []rtmp.Message) {
	t.Helper()
	if len(b) < 13 {
		t.Fatalf("file of %d bytes", len(b))
	}
	for b = b[13:]; len(b) > 15; {
		n := int(binary.BigEndian.Uint32(b) & 0xffffff)
		if len(b) < 15+n {
			t.Fatal("file ends inside a tag")
		}
		ts := binary.BigEndian.Uint32(b[4:])
		list = append(list, rtmp.Message{Type: rtmp.MessageType(b[0]), Timestamp: ts>>8 | ts<<24, Payload: b[11 : 11+n]})
		b = b[15+n:]
	}
	return list
}

// Our client publishes to ffmpeg's own server.
func TestClientPublishesToFFmpeg(t *testing.T) {
	list, err := recording()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []DialOptions{{FMLE: true}, {FMLE: true, Schema: rtmp.DigestFirst, ChunkSize: 128}} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		addr := l.Addr().String()
		l.Close() // ffmpeg cannot tell which port it took
		url := "rtmp://" + addr + "/live/s"
		file := filepath.Join(t.TempDir(), "out.flv")
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := run(t, "ffmpeg", "-v", "error", "-listen", "1", "-i", url, "-c", "copy", "-y", file); err != nil {
				t.Error(err)
			}
		})
		var c *Client
		for range 100 {
			if c, err = Dial(t.Context(), url, o); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if err == nil {
			err = publish(c, list)
		}
		wg.Wait()
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := len(times(tags(t, b), rtmp.TypeVideo)), seconds*rate; got != want {
			t.Errorf("ffmpeg received %d frames, want %d", got, want)
		}
	}
}

func publish(c *Client, list []rtmp.Message) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer c.Close()
	if err := c.Publish(); err != nil {
		return err
	}
	wg.Go(func() { c.Drain() })
	for _, m := range list {
		if err := c.WriteMessage(m.Type, m.Timestamp, m.Payload); err != nil {
			return err
		}
	}
	return c.Flush()
}
