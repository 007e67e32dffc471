package rtmp

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"weir/internal/format/amf"
	"weir/internal/format/flv"
	"weir/internal/media"
	"weir/internal/protocol/protocoltest"
	"weir/internal/session"
	"weir/internal/wire/rtmp"
)

// A talker is a client that says what a script tells it, byte by byte as a
// stranger would, and writes down what it hears.
type talker struct {
	t     *testing.T
	nc    net.Conn
	r     *rtmp.Reader
	heard chan string // closed when the server has closed
	frame int
}

func newTalker(t *testing.T, h *protocoltest.House) *talker {
	t.Helper()
	nc, err := net.Dial("tcp", h.Addr())
	if err != nil {
		t.Fatal(err)
	}
	k := &talker{t: t, nc: nc, heard: make(chan string, 10000)}
	t.Cleanup(func() { nc.Close() })
	hello, err := rtmp.AppendHello(nil, rtmp.DigestFirst, 0, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k.write(hello)
	answer := make([]byte, rtmp.AnswerSize)
	if _, err := io.ReadFull(nc, answer); err != nil {
		t.Fatal(err)
	}
	c2, proved, err := rtmp.FinishHello(hello, answer, rand.Reader)
	if err != nil || !proved {
		t.Fatalf("handshake: %v, proved: %v", err, proved)
	}
	k.write(c2)
	k.r = rtmp.NewReader(nc, rtmp.Limits{})
	go k.listen()
	return k
}

func (k *talker) write(b []byte) {
	// An error will be seen by the reader.
	k.nc.SetWriteDeadline(time.Now().Add(patience))
	k.nc.Write(b)
}

func (k *talker) listen() {
	defer close(k.heard)
	for {
		m, err := k.r.ReadMessage()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			k.heard <- "lost: " + err.Error()
			return
		}
		k.heard <- brief(m)
	}
}

// brief tells a message in a line. Its whole bytes are proved elsewhere, in the
// transcripts of link/rtmp; here it is what comes after what.
func brief(m rtmp.Message) string {
	number := func() string { n, _ := rtmp.ParseUint32(m.Payload); return strconv.Itoa(int(n)) }
	switch m.Type {
	case rtmp.TypeWindowAckSize:
		return "window " + number()
	case rtmp.TypeSetPeerBandwidth:
		return "bandwidth " + number()
	case rtmp.TypeSetChunkSize:
		return "chunks " + number()
	case rtmp.TypeAcknowledgement:
		return "ack"
	case rtmp.TypeUserControl:
		u, err := rtmp.ParseUserControl(m.Payload)
		if err != nil {
			return err.Error()
		}
		return map[rtmp.EventType]string{rtmp.StreamBegin: "begin", rtmp.StreamEOF: "eof", rtmp.PingRequest: "ping"}[u.Type] + " " + strconv.Itoa(int(u.Value))
	case rtmp.TypeAudio, rtmp.TypeVideo:
		if m.Payload[1] == 0 {
			return fmt.Sprintf("%v sh %d", m.Type, m.Timestamp)
		}
		what := m.Type.String()
		if m.Payload[0] == 0x17 {
			what = "key"
		}
		return fmt.Sprintf("%s %d", what, m.Timestamp)
	case rtmp.TypeDataAMF0:
		values, err := amf.DecodeAll(m.Payload)
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("data %v", values[0])
	case rtmp.TypeCommandAMF0:
		c, err := rtmp.ParseCommand(m)
		if err != nil {
			return err.Error()
		}
		line := fmt.Sprintf("%s %v", c.Name, c.Transaction)
		if len(c.Args) > 0 {
			if o, ok := amf.Properties(c.Args[0]); ok {
				if o.Text("level") == "error" {
					line += " error"
				}
				return line + " " + strings.TrimSpace(o.Text("code")+" "+o.Text("tcUrl")+o.Text("description"))
			}
			return fmt.Sprintf("%s %v", line, c.Args[0])
		}
		return line
	}
	return m.Type.String()
}

// say sends one line of a script: a command with its transaction and arguments,
// or one of "connect URL [pageUrl]", "reconnects URL", "meta [NAME]", "headers", "frames N", "audio N",
// "window N", "close", "wait MS".
func (k *talker) say(line string) {
	k.t.Helper()
	words := strings.Fields(line)
	number := func(i int) int {
		n, err := strconv.Atoi(words[i])
		if err != nil {
			k.t.Fatalf("%q: %v", line, err)
		}
		return n
	}
	switch words[0] {
	case "connect", "reconnects": // the second is one that can be asked to
		o := amf.Object{{Key: "app", Value: "live"}, {Key: "tcUrl", Value: strings.Trim(words[1], `"`)}}
		if words[0] == "reconnects" {
			o = append(o, amf.Property{Key: "capsEx", Value: rtmp.CapsReconnect})
		}
		if len(words) > 2 {
			o = append(o, amf.Property{Key: "pageUrl", Value: words[2]})
		}
		k.command(rtmp.CSIDCommand, 0, "connect", 1, o)
	case "meta":
		meta := amf.ECMAArray{{Key: "width", Value: 1280}, {Key: "duration", Value: 3}}
		if len(words) > 1 { // a property that is "true"
			meta = append(meta, amf.Property{Key: words[1], Value: "true"})
		}
		body := amf.AppendAll(nil, "@setDataFrame", "onMetaData", meta)
		k.message(rtmp.TypeDataAMF0, 0, body)
	case "headers":
		for _, t := range []*media.Track{protocoltest.Picture, protocoltest.Sound} {
			body, _ := flv.AppendConfigBody(nil, t)
			k.message(rtmp.MessageType(flv.Type(t.Kind)), 0, body)
		}
	case "frames":
		for range number(1) {
			k.send(protocoltest.Video(protocoltest.Picture, k.frame, 25, 100))
			k.frame++
		}
	case "audio":
		for i := range number(1) {
			k.send(protocoltest.Audio(i))
		}
	case "pings": // so many bursts, more than it will read the answers of
		k.nc.(*net.TCPConn).SetReadBuffer(4 << 10)
		var burst []byte
		for range 9000 {
			burst = rtmp.AppendUserControl(burst, rtmp.UserControl{Type: rtmp.PingRequest})
		}
		go func() {
			for range number(1) {
				k.write(burst)
				time.Sleep(20 * time.Millisecond)
			}
		}()
	case "window":
		k.write(rtmp.AppendWindowAckSize(nil, uint32(number(1))))
	case "wait":
		time.Sleep(time.Duration(number(1)) * time.Millisecond)
	case "close":
		k.nc.Close()
	default:
		var args []any
		for _, w := range words[2:] {
			switch n, err := strconv.ParseFloat(w, 64); {
			case err == nil:
				args = append(args, n)
			case w == "true" || w == "false":
				args = append(args, w == "true")
			default:
				args = append(args, strings.Trim(w, `"`))
			}
		}
		stream := uint32(0)
		if words[0] == "publish" || words[0] == "play" || words[0] == "pause" || words[0] == "closeStream" {
			stream = 1
		}
		k.command(rtmp.CSIDPublish, stream, words[0], float64(number(1)), append([]any{nil}, args...)...)
	}
}

func (k *talker) send(f *media.Frame) {
	k.message(rtmp.MessageType(flv.Type(f.Track.Kind)), flv.Timestamp(f.Source), flv.AppendBody(nil, f))
}

func (k *talker) command(csid, stream uint32, name string, transaction float64, values ...any) {
	body := rtmp.AppendCommand(nil, name, transaction, values...)
	k.write(rtmp.AppendParts(nil, rtmp.Message{Type: rtmp.TypeCommandAMF0, CSID: csid, StreamID: stream}, rtmp.DefaultChunkSize, body))
}

func (k *talker) message(typ rtmp.MessageType, ts uint32, body []byte) {
	m := rtmp.Message{Type: typ, CSID: rtmp.CSIDStream, StreamID: 1, Timestamp: ts}
	k.write(rtmp.AppendParts(nil, m, rtmp.DefaultChunkSize, body))
}

// hear returns the next line, "closed" after the end, and "silence" if none
// comes.
func (k *talker) hear(patience time.Duration) string {
	select {
	case line, ok := <-k.heard:
		if !ok {
			return "closed"
		}
		return line
	case <-time.After(patience):
		return "silence"
	}
}

// patience is how long a talker waits for what it is to hear.
const patience = 20 * time.Second

// run plays a script. "server: URL" has everybody asked to go there, "server: has N"
// waits until so many pictures have come. Lines that begin with a word and a colon are
// for a talker of that name; ">" before what it hears next, all else is said. "> skip
// TEXT" skips up to a line, "> accepted" stands for the answer to connect.
func run(t *testing.T, h *protocoltest.House, script string) {
	t.Helper()
	talkers := map[string]*talker{}
	for i, line := range strings.Split(script, "\n") {
		line, _, _ = strings.Cut(line, "#")
		who, line, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if !ok {
			continue
		}
		if n, ok := strings.CutPrefix(line, "has "); ok && who == "server" {
			h.Wait("the server "+line, func() bool { return pictures(h) == n })
			continue
		}
		if who == "server" {
			h.Env.Desk.Move(session.Move{TcURL: line}, nil)
			continue
		}
		k := talkers[who]
		if k == nil {
			k = newTalker(t, h)
			talkers[who] = k
		}
		want, listen := strings.CutPrefix(line, "> ")
		if !listen {
			k.say(line)
			continue
		}
		fail := func(got, want string) {
			t.Helper()
			t.Fatalf("line %d, %s heard %q, want %q", i, who, got, want)
		}
		switch {
		case want == "accepted":
			for _, prefix := range []string{"window ", "bandwidth 2500000", "chunks ", "_result 1", "onBWDone 0"} {
				if got := k.hear(patience); !strings.HasPrefix(got, prefix) {
					fail(got, prefix)
				}
			}
		case want == "closed": // with what it said last unread, perhaps
			if got := k.hear(patience); got != want && !strings.HasSuffix(got, "connection reset by peer") {
				fail(got, want)
			}
		case want == "silence":
			if got := k.hear(100 * time.Millisecond); got != want {
				fail(got, want)
			}
		case strings.HasPrefix(want, "skip "):
			want = strings.TrimPrefix(want, "skip ")
			for got := ""; got != want; {
				if got = k.hear(patience); got == "closed" || got == "silence" {
					fail(got, want)
				}
			}
		default:
			if got := k.hear(patience); got != want {
				fail(got, want)
			}
		}
	}
	for _, k := range talkers {
		k.nc.Close()
		for range k.heard {
		}
	}
}

// pictures tells how many the server has been sent.
func pictures(h *protocoltest.House) string {
	n := uint64(0)
	for _, st := range h.Env.Hub.All() {
		n += st.Counters().VideoFrames
	}
	return strconv.FormatUint(n, 10)
}
