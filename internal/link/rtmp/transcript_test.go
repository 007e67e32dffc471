package rtmp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"weir/internal/format/amf"
	"weir/internal/wire/rtmp"
)

// TestTranscripts plays the conversations in testdata, which are those that
// SRS 7 and its clients were seen to have, except where a comment says so. A
// line is one of
//
//	C>S what the client sends
//	S>C what the server must send next; "..." at the end stands for anything
//	!   what the server's owner must be told next
//	quiet   nothing else has been sent or told
//
// Messages look like `cmd csid=3 sid=0 len=29: "_result" 2 null 1`.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Test(t, func(t *testing.T) { runTranscript(t, file, string(text)) })
		})
	}
}

func runTranscript(t *testing.T, file, text string) {
	p := newPeer(t)
	for i, line := range strings.Split(text, "\n") {
		verb, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		at := fmt.Sprintf("%s:%d", file, i+1)
		switch verb {
		case "", "#":
		case "C>S":
			b, err := parseLine(rest)
			if err != nil {
				t.Fatalf("%s: %v", at, err)
			}
			p.write(b)
		case "S>C", "!":
			list := p.heard
			if verb == "!" {
				list = p.told
			}
			synctest.Wait()
			got := list.next()
			if prefix, ok := strings.CutSuffix(rest, "..."); ok && strings.HasPrefix(got, prefix) {
				continue
			}
			if got != rest {
				t.Fatalf("%s:\n got %s\nwant %s", at, got, rest)
			}
		case "quiet":
			synctest.Wait()
			if s := p.heard.next() + p.told.next(); s != "" {
				t.Fatalf("%s: unexpected %s", at, s)
			}
		default:
			t.Fatalf("%s: unknown verb %q", at, verb)
		}
	}
	synctest.Wait()
	if s := p.heard.next() + p.told.next(); s != "" {
		t.Errorf("%s: unexpected at the end: %s", file, s)
	}
}

// A list gathers lines from one goroutine for another.
type list struct {
	mu    sync.Mutex
	lines []string
}

func (l *list) add(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *list) next() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return ""
	}
	s := l.lines[0]
	l.lines = l.lines[1:]
	return s
}

// A peer is a client that speaks bytes, with a server that accepts all but
// streams named busy or missing.
type peer struct {
	t           *testing.T
	nc          net.Conn
	heard, told *list
}

func newPeer(t *testing.T) *peer {
	near, far := net.Pipe()
	p := &peer{t: t, nc: near, heard: new(list), told: new(list)}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		defer far.Close()
		err := serve(ctx, far, p.told)
		var coded *rtmp.Error
		switch {
		case errors.As(err, &coded):
			p.told.add("error %d", coded.Code)
		case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, context.Canceled) && !errors.Is(err, io.ErrClosedPipe):
			p.told.add("error %v", err)
		}
	})
	hello := make([]byte, rtmp.HelloSize)
	hello[0] = 3
	go near.Write(hello)
	answer := make([]byte, rtmp.AnswerSize)
	if _, err := io.ReadFull(near, answer); err != nil {
		t.Fatal(err)
	}
	p.write(answer[1:rtmp.HelloSize])
	wg.Go(func() {
		r := rtmp.NewReader(near, rtmp.Limits{})
		for {
			m, err := r.ReadMessage()
			if err != nil {
				if err == io.EOF {
					p.heard.add("closed")
				}
				return
			}
			p.heard.add("%s", format(m))
		}
	})
	t.Cleanup(func() {
		cancel()
		near.Close()
		wg.Wait()
	})
	return p
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("the server has closed: %v", err)
	}
}

func serve(ctx context.Context, nc net.Conn, told *list) error {
	c := NewConn(ctx, nc, Options{})
	defer c.Close()
	info, err := c.Open()
	if err != nil {
		return err
	}
	told.add("connect %s app=%s encoding=%v caps=%v args=%d", info.TcURL, info.App, info.ObjectEncoding, info.Capabilities.Ex, len(info.Args))
	err = c.Accept(rtmp.Reply{
		Identity:     rtmp.Identity{Server: "weir/1", Version: "7.0.18", ServerIP: "127.0.0.1", PID: 1, ID: "id"},
		Capabilities: rtmp.Capabilities{FourCCs: []string{"hvc1"}, Ex: rtmp.CapsMultitrack},
	})
	for err == nil {
		var w rtmp.Wish
		if w, err = c.ReadWish(3 * time.Minute); err != nil {
			return err
		}
		switch {
		case w.Name == "busy":
			told.add("refused")
			err = c.Refuse(rtmp.PublishBadName, "Stream is busy.")
		case w.Publish:
			told.add("publish %v %q %s", w.Flow, w.Name, w.Type)
			if err = c.StartPublish(); err == nil {
				err = serveMedia(c, told)
			}
		default:
			told.add("play %q start=%v duration=%v reset=%v", w.Name, w.Start, w.Duration, w.Reset)
			if err = c.StartPlay(); err == nil {
				err = serveControl(c, told)
			}
		}
	}
	return err
}

func serveMedia(c *Conn, told *list) error {
	for {
		m, err := c.ReadMedia(20 * time.Second)
		if err == ErrEnded {
			told.add("ended")
			return nil
		}
		if err != nil {
			return err
		}
		told.add("%v ts=%d len=%d", m.Type, m.Timestamp, len(m.Payload))
	}
}

func serveControl(c *Conn, told *list) error {
	names := map[rtmp.EventKind]string{rtmp.Paused: "paused", rtmp.Resumed: "resumed", rtmp.AudioOff: "audio off", rtmp.VideoOn: "video on"}
	for {
		e, err := c.ReadControl(0)
		switch {
		case err == ErrEnded:
			told.add("ended")
			return nil
		case err != nil:
			return err
		case e.Kind == rtmp.Buffer:
			told.add("buffer %v", e.Buffer)
		default:
			told.add("%s", names[e.Kind])
		}
	}
}

var controls = map[string]rtmp.MessageType{"chunksize": rtmp.TypeSetChunkSize, "ack": rtmp.TypeAcknowledgement,
	"window": rtmp.TypeWindowAckSize, "bandwidth": rtmp.TypeSetPeerBandwidth}

var events = map[string]rtmp.EventType{"begin": rtmp.StreamBegin, "eof": rtmp.StreamEOF, "buffer": rtmp.SetBufferLength,
	"ping": rtmp.PingRequest, "pong": rtmp.PingResponse}

// format writes a message as a line of a transcript.
func format(m rtmp.Message) string {
	for name, typ := range controls {
		if m.Type == typ {
			v, _ := rtmp.ParseUint32(m.Payload)
			return fmt.Sprintf("%s %d", name, v)
		}
	}
	if m.Type == rtmp.TypeUserControl {
		u, _ := rtmp.ParseUserControl(m.Payload)
		for name, typ := range events {
			if u.Type == typ {
				return fmt.Sprintf("%s %d", name, u.Value)
			}
		}
	}
	name := map[rtmp.MessageType]string{rtmp.TypeCommandAMF0: "cmd", rtmp.TypeDataAMF0: "data"}[m.Type]
	if name == "" {
		return fmt.Sprintf("%v csid=%d sid=%d ts=%d len=%d", m.Type, m.CSID, m.StreamID, m.Timestamp, len(m.Payload))
	}
	s := fmt.Sprintf("%s csid=%d sid=%d len=%d:", name, m.CSID, m.StreamID, len(m.Payload))
	values, err := amf.DecodeAll(m.Payload)
	if err != nil {
		return s + err.Error()
	}
	for _, v := range values {
		s += " " + formatValue(v)
	}
	return s
}

func formatValue(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case amf.Undefined:
		return "undefined"
	case string:
		return strconv.Quote(v)
	case amf.StrictArray:
		var s []string
		for _, e := range v {
			s = append(s, formatValue(e))
		}
		return "[" + strings.Join(s, ", ") + "]"
	}
	o, ok := amf.Properties(v)
	if !ok {
		return fmt.Sprint(v)
	}
	var s []string
	for _, p := range o {
		s = append(s, p.Key+": "+formatValue(p.Value))
	}
	return "{" + strings.Join(s, ", ") + "}"
}

// parseLine does what format does, the other way, with defaults for what is not
// said.
func parseLine(line string) ([]byte, error) {
	head, values, _ := strings.Cut(line, ": ")
	if _, _, ok := strings.Cut(head, `"`); ok {
		head, values = line, ""
	}
	f := strings.Fields(head)
	m := rtmp.Message{CSID: 3}
	length := 0
	for _, f := range f[1:] {
		k, v, ok := strings.Cut(f, "=")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(v, 10, 32)
		if err != nil {
			return nil, err
		}
		switch k {
		case "csid":
			m.CSID = uint32(n)
		case "sid":
			m.StreamID = uint32(n)
		case "ts":
			m.Timestamp = uint32(n)
		case "len":
			length = int(n)
		}
	}
	if typ, ok := controls[f[0]]; ok {
		n, err := strconv.ParseUint(f[1], 10, 32)
		m = rtmp.Message{Type: typ, CSID: 2, Payload: []byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}}
		return rtmp.AppendMessage(nil, m, 128), err
	}
	if typ, ok := events[f[0]]; ok {
		n, err := strconv.ParseUint(f[1], 10, 32)
		return rtmp.AppendUserControl(nil, rtmp.UserControl{Type: typ, Value: uint32(n), Buffer: uint32(n)}), err
	}
	switch f[0] {
	case "audio", "video":
		m.Type = map[string]rtmp.MessageType{"audio": rtmp.TypeAudio, "video": rtmp.TypeVideo}[f[0]]
		m.Payload = make([]byte, length)
	case "aggregate": // two audio tags of one byte, 10 ms apart
		m.Type = rtmp.TypeAggregate
		for ts := range byte(2) {
			m.Payload = append(m.Payload, 8, 0, 0, 1, 0, 0, 100+10*ts, 0, 0, 0, 0, 7, 0, 0, 0, 12)
		}
	case "cmd", "amf3", "data":
		m.Type = map[string]rtmp.MessageType{"cmd": rtmp.TypeCommandAMF0, "amf3": rtmp.TypeCommandAMF3, "data": rtmp.TypeDataAMF0}[f[0]]
		if f[0] == "amf3" {
			m.Payload = []byte{0}
		}
		for values = strings.TrimSpace(values); values != ""; values = strings.TrimSpace(values) {
			v, rest, err := parseValue(values)
			if err != nil {
				return nil, err
			}
			m.Payload, values = amf.Append(m.Payload, v), rest
		}
	default:
		return nil, fmt.Errorf("unknown message %q", f[0])
	}
	return rtmp.AppendMessage(nil, m, 128), nil
}

func parseValue(s string) (v any, rest string, err error) {
	switch s[0] {
	case '"':
		q, err := strconv.QuotedPrefix(s)
		if err != nil {
			return nil, "", err
		}
		v, err := strconv.Unquote(q)
		return v, s[len(q):], err
	case '{':
		o := amf.Object{}
		for s = s[1:]; ; {
			s = strings.TrimLeft(s, ", ")
			if s == "" {
				return nil, "", io.ErrUnexpectedEOF
			}
			if s[0] == '}' {
				return o, s[1:], nil
			}
			k, after, _ := strings.Cut(s, ": ")
			v, rest, err := parseValue(after)
			if err != nil {
				return nil, "", err
			}
			o, s = append(o, amf.Property{Key: k, Value: v}), rest
		}
	case '[':
		a := amf.StrictArray{}
		for s = s[1:]; s[0] != ']'; s = strings.TrimLeft(s, ", ") {
			v, rest, err := parseValue(s)
			if err != nil {
				return nil, "", err
			}
			a, s = append(a, v), rest
		}
		return a, s[1:], nil
	}
	end := strings.IndexAny(s, " ,}]")
	if end < 0 {
		end = len(s)
	}
	word, rest := s[:end], s[end:]
	switch word {
	case "null":
		return nil, rest, nil
	case "undefined":
		return amf.Undefined{}, rest, nil
	case "true", "false":
		return word == "true", rest, nil
	}
	n, err := strconv.ParseFloat(word, 64)
	return n, rest, err
}
