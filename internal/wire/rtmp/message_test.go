package rtmp

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"weir/internal/format/amf"
)

func TestParseCommand(t *testing.T) {
	body := AppendCommand(nil, "publish", 5, nil, "s", "live")
	want := Command{"publish", 5, nil, []any{"s", "live"}}
	for _, m := range []Message{
		{Type: TypeCommandAMF0, Payload: body},
		{Type: TypeCommandAMF3, Payload: append([]byte{0}, body...)},
	} {
		if got, err := ParseCommand(m); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v: %+v, %v", m.Type, got, err)
		}
	}
	got, err := ParseCommand(Message{Type: TypeCommandAMF0, Payload: append(AppendCommand(nil, "x", 1, nil, 7.0), 0xff)})
	if err != nil || got.Number(0, 0) != 7 || len(got.Args) != 1 {
		t.Errorf("a bad argument spoils those before it: %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, {5}, {2, 0, 9}, amf.AppendAll(nil, 1.0, 1.0), amf.AppendAll(nil, "x", "y")} {
		if _, err := ParseCommand(Message{Type: TypeCommandAMF0, Payload: bad}); !errors.Is(err, ErrCommand) {
			t.Errorf("% x: %v", bad, err)
		}
	}
	got, err = ParseCommand(Message{Type: TypeCommandAMF0, Payload: amf.Append(nil, "x")})
	if err != nil || got.Name != "x" || got.Text(0) != "" || got.Bool(3, true) != true {
		t.Errorf("a name alone: %+v, %v", got, err)
	}
}

func TestUserControl(t *testing.T) {
	for _, u := range []UserControl{{StreamBegin, 1, 0}, {PingRequest, 12345, 0}, {SetBufferLength, 1, 3000}} {
		m, ok, err := feed(AppendUserControl(nil, u))
		if err != nil || !ok || m.CSID != CSIDControl || m.StreamID != 0 {
			t.Fatal(short(m), ok, err)
		}
		if got, err := ParseUserControl(m.Payload); err != nil || got != u {
			t.Errorf("%+v, %v; want %+v", got, err, u)
		}
	}
	for _, bad := range [][]byte{{}, {0}, {0, 6, 1, 2, 3}, {0, 3, 0, 0, 0, 1}} {
		if _, err := ParseUserControl(bad); err == nil {
			t.Errorf("% x is taken", bad)
		}
	}
	// Flash Media Server's own event has one byte.
	if _, err := ParseUserControl([]byte{0, 0x1a, 1}); err != nil {
		t.Error(err)
	}
}

func feed(b []byte) (Message, bool, error) {
	r := NewReader(nil, Limits{})
	r.Feed(b)
	return r.Next()
}

func TestAcks(t *testing.T) {
	// The figures are those of a run of SRS with a window of 100,000.
	a := Acks{Window: 100000}
	for _, c := range []struct {
		received uint64
		due      bool
	}{{3073, false}, {49999, false}, {50076, true}, {50076, false}, {100000, false}, {101423, true}, {1<<32 + 200000, true}} {
		seq, due := a.Due(c.received)
		if due != c.due || due && seq != uint32(c.received) {
			t.Errorf("%d: %d, %v", c.received, seq, due)
		}
	}
	var never Acks
	if _, due := never.Due(1 << 40); due {
		t.Error("acknowledged without a window")
	}
}

func TestAggregate(t *testing.T) {
	tag := func(typ byte, ts uint32, n int) []byte {
		b := []byte{typ, 0, 0, byte(n), byte(ts >> 16), byte(ts >> 8), byte(ts), byte(ts >> 24), 0, 0, 0}
		b = append(b, bytes.Repeat([]byte{typ}, n)...)
		return append(b, 0, 0, 0, byte(n+11))
	}
	body := bytes.Join([][]byte{tag(8, 0x1000005, 2), tag(22, 0x1000006, 1), tag(9, 0x1000009, 0), tag(18, 0x1000001, 3)}, nil)
	walk := func(body []byte) (list []Message, err error) {
		a := NewAggregate(Message{TypeAggregate, 1, 4, 100, body})
		for {
			m, ok, err := a.Next()
			if !ok || err != nil {
				return list, err
			}
			list = append(list, m)
		}
	}
	want := []Message{{8, 1, 4, 100, []byte{8, 8}}, {9, 1, 4, 104, nil}, {18, 1, 4, 96, []byte{18, 18, 18}}}
	for _, b := range [][]byte{body, body[:len(body)-4]} {
		got, err := walk(b)
		if err != nil {
			t.Error(err)
		}
		check(t, got, want)
	}
	if got, err := walk(body[:len(body)-5]); err == nil || len(got) != 2 {
		t.Errorf("cut short: %d messages, %v", len(got), err)
	}
}

func TestCapabilities(t *testing.T) {
	c := Capabilities{FourCCs: []string{"hvc1", "Opus"}, Video: []FourCC{{"av01", CanForward}}, Ex: CapsMultitrack | CapsModEx, Has: true}
	v, _, err := amf.Decode(amf.Append(nil, c.Properties()))
	if err != nil {
		t.Fatal(err)
	}
	got := ParseCapabilities(v.(amf.Object))
	if !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, want %+v", got, c)
	}
	for code, want := range map[string]bool{"hvc1": true, "av01": true, "vp09": false} {
		if got.Knows(code) != want {
			t.Errorf("knows %s: %v", code, !want)
		}
	}
	if c := ParseCapabilities(amf.Object{{Key: "fourCcList", Value: amf.StrictArray{"*"}}}); !c.Knows("any1") {
		t.Error("the asterisk does not stand for all")
	}
	if ParseCapabilities(nil).Has {
		t.Error("capabilities out of nothing")
	}
}

// converse brings a server to where a publication or a player has begun.
func converse(t testing.TB, publish bool) *Server {
	t.Helper()
	s := NewServer()
	say := func(name string, values ...any) Event {
		e, err := s.Handle(Message{Type: TypeCommandAMF0, Payload: AppendCommand(nil, name, 1, values...)})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return e
	}
	if e := say("connect", amf.Object{{Key: "tcUrl", Value: "rtmp://h/live"}}); e.Kind != Connect {
		t.Fatalf("connect is %v", e.Kind)
	}
	s.Accept(Reply{})
	if publish {
		say("releaseStream", nil, "s")
		if e := say("publish", nil, "s", "live"); e.Kind != Wished || e.Wish.Flow != FMLE {
			t.Fatalf("publish is %+v", e)
		}
		s.StartPublish()
		return s
	}
	if e := say("play", nil, "s", -2000, 1500); e.Kind != Wished || e.Wish.Duration != 1500*time.Millisecond {
		t.Fatalf("play is %+v", e)
	}
	s.StartPlay()
	return s
}

func TestServerBoundsIdleTalk(t *testing.T) {
	s := NewServer()
	var err error
	for n := 0; err == nil && n < 2*maxIdle; n++ {
		_, err = s.Handle(Message{Type: TypeCommandAMF0, Payload: AppendCommand(nil, "nosuch", 1, nil)})
	}
	if !errors.Is(err, ErrIdentify) {
		t.Errorf("talk without connect: %v", err)
	}
}

// A result is not a call: two servers must not answer each other for ever.
func TestServerDoesNotAnswerAnswers(t *testing.T) {
	s := converse(t, false)
	s.Take(nil)
	for _, name := range []string{"_result", "_error", "onStatus"} {
		if _, err := s.Handle(Message{Type: TypeCommandAMF0, Payload: AppendCommand(nil, name, 3, nil)}); err != nil || s.Pending() > 0 {
			t.Errorf("%s is answered: %v", name, err)
		}
	}
}

func FuzzMessage(f *testing.F) {
	f.Add(byte(TypeCommandAMF0), AppendCommand(nil, "connect", 1, amf.Object{{Key: "tcUrl", Value: "rtmp://h/live"}}))
	f.Add(byte(TypeCommandAMF0), AppendCommand(nil, "play", 4, nil, "s", -2000, 1e300, false))
	f.Add(byte(TypeCommandAMF3), append([]byte{0}, AppendCommand(nil, "pause", 4, nil, true, 1000)...))
	f.Add(byte(TypeUserControl), []byte{0, 3, 0, 0, 0, 1, 0, 0, 3, 0xe8})
	f.Add(byte(TypeAggregate), []byte{8, 0, 0, 1, 0, 0, 5, 0, 0, 0, 0, 7, 0, 0, 0, 12})
	f.Add(byte(TypeWindowAckSize), []byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, typ byte, payload []byte) {
		m := Message{Type: MessageType(typ), Payload: payload}
		fresh := NewServer()
		for _, s := range []*Server{fresh, converse(t, true), converse(t, false)} {
			s.Take(nil)
			if e, err := s.Handle(m); err == nil && e.Kind == Ended {
				s.Next()
			}
			s.Received(1 << 20)
			if s.Pending() > 1000 {
				t.Fatalf("%d bytes of answer", s.Pending())
			}
			if out := s.Take(nil); len(out) > 0 {
				r := NewReader(nil, Limits{})
				r.Feed(append(AppendSetChunkSize(nil, s.ChunkSize()), out...))
				for ok := true; ok; {
					var err error
					if _, ok, err = r.Next(); err != nil {
						t.Fatalf("our answer is not RTMP: %v", err)
					}
				}
			}
		}
		if c, err := ParseCommand(m); err == nil {
			again := Message{Type: TypeCommandAMF0, Payload: AppendCommand(nil, c.Name, c.Transaction, append([]any{c.Object}, c.Args...)...)}
			if d, err := ParseCommand(again); err != nil || d.Name != c.Name || len(d.Args) != len(c.Args) {
				t.Fatalf("%+v became %+v, %v", c, d, err)
			}
			o, _ := amf.Properties(c.Object)
			ParseCapabilities(o)
		}
		if u, err := ParseUserControl(payload); err == nil {
			if _, ok, err := feed(AppendUserControl(nil, u)); !ok || err != nil {
				t.Fatal(ok, err)
			}
		}
		a, total := NewAggregate(m), 0
		for {
			sub, ok, err := a.Next()
			if !ok || err != nil {
				break
			}
			if total += len(sub.Payload); total > len(payload) || !sub.Type.Media() {
				t.Fatalf("aggregate of %d bytes gives %d", len(payload), total)
			}
		}
	})
}

// A whole conversation, out of any bytes.
func FuzzServer(f *testing.F) {
	talk := func(commands ...[]any) (b []byte) {
		for i, c := range commands {
			b = AppendMessage(b, Message{Type: TypeCommandAMF0, CSID: CSIDCommand, StreamID: 1,
				Payload: AppendCommand(nil, c[0].(string), float64(i+1), c[1:]...)}, DefaultChunkSize)
		}
		return b
	}
	connect := []any{"connect", amf.Object{{Key: "tcUrl", Value: "rtmp://h/live"}, {Key: "capsEx", Value: 1}}}
	f.Add(talk(connect, []any{"releaseStream", nil, "s"}, []any{"FCPublish", nil, "s"}, []any{"createStream", nil},
		[]any{"publish", nil, "s", "live"}, []any{"FCUnpublish", nil, "s"}, []any{"publish", nil, "t"}, []any{"play", nil, "t"}))
	f.Add(talk(connect, []any{"play", nil, "s", -2000, 5}, []any{"pause", nil, true}, []any{"play", nil, "t"}, []any{"closeStream", nil}))
	f.Fuzz(func(t *testing.T, wire []byte) {
		s, r := NewServer(), NewReader(nil, Limits{Message: 1 << 16, Streams: 8, Partial: 1 << 18})
		r.Feed(wire)
		for {
			m, ok, err := r.Next()
			if !ok || err != nil {
				return
			}
			s.Received(r.Received())
			e, err := s.Handle(m)
			for ; err == nil && e.Kind != None; e, err = s.Next() {
				switch e.Kind {
				case Connect:
					if e.Connect.TcURL == "" {
						t.Fatal("connect without tcUrl")
					}
					s.Accept(Reply{})
				case Wished:
					if e.Wish.Duration < 0 {
						t.Fatalf("duration %v", e.Wish.Duration)
					}
					if e.Wish.Publish {
						s.StartPublish()
					} else {
						s.StartPlay()
					}
				}
				if e.Kind != Ended {
					break
				}
			}
			if err != nil {
				return
			}
			if n := len(s.Take(nil)); n > 4000 {
				t.Fatalf("%d bytes of answer to %d", n, len(m.Payload))
			}
		}
	})
}
