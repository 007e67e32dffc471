package srt

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What libsrt 1.5.1 sent.
const (
	km128 = "12202901 00000000 02000200 00000404 8396c9cc e884d099 e846443a 85ddff4a 226af472 a0617d12 89dccebd c1dcaec4 0e4af2f1 2eb394b6"
	km256 = "12202901 00000000 02000200 00000408 6ba43c30 bd247b0d 747aee0f a90b4723 df297227 6cf78b67 258370b4 830d3a52 f5f2affa 13f2c3d5 ca6874d3 675797e2 fcf312e1 4d4b0e42"
)

func TestKeyMaterial(t *testing.T) {
	for _, c := range []struct{ km, kek, sek string }{
		{km128, "5699a01b9dae35fe584d3056f5d929d7", "c0f0e0aa03db058e524a373f63ce0f65"},
		{km256, "cb9abb452814bf103f2f18d36a1fd2d3f9515afa506d3d266edb9e9cd3f6a037", "3bd3d3f04f3abd0587abc28b82c7d1cbc68ef4264b5e6fd2af7b96c28aa0f9b4"},
	} {
		k := newKeys("secretpass1")
		if !k.install(unhex(t, c.km)) {
			t.Fatal("not opened")
		}
		if got := hex.EncodeToString(k.kek); got != c.kek {
			t.Errorf("key of keys %s, want %s", got, c.kek)
		}
		if got := hex.EncodeToString(k.rx.key[0]); got != c.sek {
			t.Errorf("key %s, want %s", got, c.sek)
		}
		if got := appendKM(nil, keyEven, k.length, k.salt[:], wrap(k.kek, k.rx.key[0])); !bytes.Equal(got, unhex(t, c.km)) {
			t.Errorf("wrapped again: %x", got)
		}
	}
	k := newKeys("secretpass1")
	k.install(unhex(t, km128))
	b := unhex(t, "7904a8f920e6a768efa13ee0d56c51fd")
	if k.rx.apply(keyEven, k.salt[:], 0x0a5144a0, b); !bytes.Equal(b, bytes.Repeat([]byte{0x47}, 16)) {
		t.Errorf("deciphered %x", b)
	}
	if newKeys("wrongpass99").install(unhex(t, km128)) {
		t.Error("opened with the wrong passphrase")
	}
}

// conclusion is what libsrt's caller sends, with a good cookie.
func conclusion(t testing.TB, l *Listener, from netip.AddrPort, isn uint32, ext string) []byte {
	h := shake{version: 5, ext: hasHS, isn: isn, mss: 1500, window: 8192, typ: hsConclusion, id: 77, cookie: l.cookie(from, epoch.Unix()/cookieSlot)}
	return append(h.append(appendControl(nil, ctlHandshake, 0, 0, 1000, 0)), unhex(t, ext)...)
}

const (
	hsReq = "00010003 00010501 000000bf 00780000"
	sid   = "00050006 3a3a2123 696c3d72 612f6576 6d2c6362 6275703d 6873696c"
)

func TestInduction(t *testing.T) {
	l := &Listener{Secret: []byte("x")}
	h := shake{version: 4, ext: 2, isn: 1234, mss: 1500, window: 8192, typ: hsInduction, id: 77}
	reply, req := l.Handle(epoch, callerAddr, h.append(appendControl(nil, ctlHandshake, 0, 0, 0, 0)))
	if req != nil || len(reply) != 64 {
		t.Fatalf("%x, %v", reply, req)
	}
	a, _, _ := parseShake(reply[headerSize:])
	if a.version != 5 || a.ext != magic || a.id != 77 || a.isn != 1234 || a.cookie == 0 || be.Uint32(reply[12:]) != 77 || hex.EncodeToString(a.peerIP[:4]) != "0100007f" {
		t.Errorf("answer %x", reply)
	}
}

func TestConclusion(t *testing.T) {
	l := &Listener{Secret: []byte("x")}
	good := conclusion(t, l, callerAddr, 5, hsReq+sid)
	for _, c := range []struct {
		name string
		at   time.Duration
		from netip.AddrPort
		ok   bool
	}{
		{"good", 0, callerAddr, true},
		{"slot before", cookieSlot * time.Second, callerAddr, true},
		{"too old", 2 * cookieSlot * time.Second, callerAddr, false},
		{"of another", 0, netip.MustParseAddrPort("127.0.0.1:5001"), false},
	} {
		reply, req := l.Handle(epoch.Add(c.at), c.from, good)
		if reply != nil || (req != nil) != c.ok {
			t.Errorf("%s: %x, %v", c.name, reply, req)
		}
		if req != nil && req.StreamID != "#!::r=live/abc,m=publish" {
			t.Errorf("stream id %q", req.StreamID)
		}
	}
}

func TestRefusals(t *testing.T) {
	l := &Listener{Secret: []byte("x")}
	for _, c := range []struct {
		name, ext string
		change    func(b []byte)
		want      Reject
	}{
		{"version 4", hsReq, func(b []byte) { b[19] = 4 }, RejectVersion},
		{"version 6", hsReq, func(b []byte) { b[19] = 6 }, RejectVersion},
		{"no extensions", "", nil, RejectRogue},
		{"short HSREQ", "00010002 00010501 000000bf", nil, RejectRogue},
		{"old libsrt", "00010003 00010200 000000bf 00780000", nil, RejectRogue},
		{"file mode", "00010003 00010501 000000ff 00780000", nil, RejectMessageAPI},
		{"file congestion", hsReq + "00060001 656c6966", nil, RejectCongestion},
		{"filter", hsReq + "00070001 00636566", nil, RejectFilter},
		{"group", hsReq + "00080002 40000001 01000000", nil, RejectGroup},
		{"GCM", hsReq + "0003000e" + strings.Replace(km128, "02000200", "04010200", 1), nil, RejectCrypto},
		{"twice", hsReq + hsReq, nil, RejectRogue},
		{"too long a block", hsReq + "0005ffff 00000000", nil, RejectRogue},
		{"empty stream id", hsReq + "00050000", nil, RejectRogue},
		{"long stream id", hsReq + "00050081" + strings.Repeat("41414141", 129), nil, RejectRogue},
		{"300 blocks", hsReq + strings.Repeat("00090000", 300), nil, RejectRogue},
		{"small MSS", hsReq, func(b []byte) { b[16+12], b[16+13], b[16+14], b[16+15] = 0, 0, 0, 200 }, RejectRogue},
	} {
		b := conclusion(t, l, callerAddr, 5, c.ext)
		if c.change != nil {
			c.change(b)
		}
		reply, req := l.Handle(epoch, callerAddr, b)
		if req != nil || len(reply) != 64 || Reject(be.Uint32(reply[headerSize+20:])) != c.want {
			t.Errorf("%s: %x, %v; want %d", c.name, reply, req, c.want)
		}
	}
}

func TestStreamIDs(t *testing.T) {
	l := &Listener{Secret: []byte("x")}
	for _, id := range []string{"a", "abc", "abcd", strings.Repeat("x", 511), strings.Repeat("y", 512), "\xff\xfe", "a\x00b"} {
		b := conclusion(t, l, callerAddr, 5, hsReq)
		b = appendBlock(b, extStreamID, swapWords([]byte(id)))
		if _, req := l.Handle(epoch, callerAddr, b); req == nil || req.StreamID != id {
			t.Errorf("%q: %+v", id, req)
		}
	}
}

// A flood of strangers leaves nothing behind and is answered with no more than it
// brings.
func TestFlood(t *testing.T) {
	l := &Listener{Secret: []byte("x")}
	r := rand.New(rand.NewPCG(1, 1))
	good := conclusion(t, l, callerAddr, 5, hsReq+sid)
	for range 100_000 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{byte(r.Uint32()), byte(r.Uint32()), 3, 4}), uint16(r.Uint32()))
		b := bytes.Clone(good)
		be.PutUint32(b[headerSize+28:], r.Uint32())
		if reply, req := l.Handle(epoch, from, b); reply != nil || req != nil {
			t.Fatalf("a guessed cookie was answered: %x", reply)
		}
		be.PutUint32(b[headerSize+20:], hsInduction)
		if reply, req := l.Handle(epoch, from, b[:64]); len(reply) != 64 || req != nil {
			t.Fatalf("induction: %x, %v", reply, req)
		}
	}
}

// A script is one connection and what it sends.
type script struct {
	t    *testing.T
	c    *Conn
	now  time.Time
	sent [][]byte
	got  []string
}

func newScript(t *testing.T, flags uint32, isn uint32) *script {
	s := &script{t: t, now: epoch}
	l := &Listener{Secret: []byte("x")}
	b := conclusion(t, l, callerAddr, isn, "00010003 00010501"+fmt.Sprintf("%08x", flags)+"00780078")
	_, req := l.Handle(s.now, callerAddr, b)
	if req == nil {
		t.Fatal("refused")
	}
	s.c = req.Accept(s.now, 99, Params{
		Send:    func(b []byte) { s.sent = append(s.sent, bytes.Clone(b)) },
		Deliver: func(b []byte) { s.got = append(s.got, string(b)) },
	}, nil)
	s.said()
	return s
}

func (s *script) said() [][]byte {
	out := s.sent
	s.sent = nil
	return out
}

// only returns what was sent of one control type, without the head.
func (s *script) only(typ uint16) (all []string) {
	for _, b := range s.said() {
		if t, _ := controlType(b); isControl(b) && t == typ {
			all = append(all, hex.EncodeToString(b[headerSize:]))
		}
	}
	return all
}

func (s *script) pass(d time.Duration) {
	for end := s.now.Add(d); s.now.Before(end); {
		s.now = s.now.Add(time.Millisecond)
		s.c.Advance(s.now)
	}
}

func (s *script) data(seq uint32, text string) {
	b := be.AppendUint32(nil, seq)
	b = be.AppendUint32(b, flagSolo|1)
	b = be.AppendUint32(b, 1000+uint32(s.now.Sub(epoch).Microseconds()))
	b = append(be.AppendUint32(b, 99), text...)
	s.c.Handle(s.now, b)
}

func (s *script) ctl(typ uint16, info uint32, body string) {
	s.c.Handle(s.now, append(appendControl(nil, typ, 0, info, 0, 99), unhex(s.t, body)...))
}

func TestHolesAreReported(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	s.data(10, "a")
	s.data(12, "c")
	if got := s.only(ctlNAK); len(got) != 1 || got[0] != "0000000b" {
		t.Errorf("one missing: %v", got)
	}
	s.data(15, "f")
	if got := s.only(ctlNAK); len(got) != 1 || got[0] != "8000000d0000000e" {
		t.Errorf("two missing: %v", got)
	}
	s.pass(160 * time.Millisecond) // no round trip was measured yet
	if got := s.only(ctlNAK); len(got) == 0 || got[len(got)-1] != "0000000b8000000d0000000e" && got[0] != "0000000b8000000d0000000e" {
		t.Errorf("the whole list: %v", got)
	}
	if got := strings.Join(s.got, ""); got != "acf" || s.c.Stats().RecvDrop != 3 {
		t.Errorf("after their time: %q, %+v", got, s.c.Stats())
	}
	s.data(11, "b")
	if s.c.Stats().Belated != 1 || len(s.got) != 3 {
		t.Errorf("what came too late: %v, %+v", s.got, s.c.Stats())
	}
}

func TestHoleIsFilled(t *testing.T) {
	s := newScript(t, 0xbf, maxSeq-1)
	for i, q := range []uint32{maxSeq - 1, 1, 2, 0, maxSeq, 2} {
		s.data(q, string(rune('a'+i)))
	}
	if got := strings.Join(s.got, ""); got != "aedbc" || s.c.Stats().Duplicate+s.c.Stats().Belated != 1 {
		t.Errorf("%q, %+v", got, s.c.Stats())
	}
}

func TestAcknowledgement(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	for i := range 20 {
		s.data(uint32(10+i), "x")
		s.pass(time.Millisecond)
	}
	acks := s.said()
	n := 0
	for _, b := range acks {
		if typ, _ := controlType(b); isControl(b) && typ == ctlACK {
			n++
			if len(b) != 44 || be.Uint32(b[4:]) != uint32(n) {
				t.Errorf("acknowledgement %d: %x", n, b)
			}
			s.ctl(ctlACKACK, be.Uint32(b[4:]), "00000000")
		}
	}
	if n != 2 {
		t.Errorf("%d acknowledgements in 20 ms, want 2", n)
	}
	s.pass(50 * time.Millisecond)
	for _, b := range s.said() { // the last position, until it is confirmed
		s.ctl(ctlACKACK, be.Uint32(b[4:]), "00000000")
	}
	s.pass(500 * time.Millisecond)
	if got := s.only(ctlACK); len(got) != 0 {
		t.Errorf("all is confirmed, and it still says %v", got)
	}
	for i := range 200 {
		s.data(uint32(30+i), "x")
	}
	light := 0
	for _, b := range s.only(ctlACK) {
		if len(b) == 8 {
			light++
		}
	}
	if light != 3 {
		t.Errorf("%d light acknowledgements of 200 packets, want 3", light)
	}
}

func TestSender(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	for i := range 10 {
		s.c.Write(s.now, []byte{byte('a' + i)})
	}
	first := s.said()
	if len(first) != 10 {
		t.Fatalf("%d packets, want 10", len(first))
	}
	s.pass(30 * time.Millisecond)
	s.said()
	s.ctl(ctlNAK, 0, "8000000c0000000e00000013")
	again := s.said()
	if len(again) != 4 {
		t.Fatalf("%d packets again, want 4", len(again))
	}
	for i, n := range []int{2, 3, 4, 9} {
		want := bytes.Clone(first[n])
		want[4] |= 4 // nothing else changes
		if !bytes.Equal(again[i], want) {
			t.Errorf("again %x, first %x", again[i], first[n])
		}
	}
	s.ctl(ctlNAK, 0, "0000000c")
	if n := len(s.said()); n != 0 {
		t.Errorf("%d packets a third time at once", n)
	}
	s.ctl(ctlACK, 1, "00000010 00002710 00000100 00002000")
	if got := s.only(ctlACKACK); len(got) != 1 || s.c.Stats().Flight != 4 {
		t.Errorf("answer %v, %+v", got, s.c.Stats())
	}
	s.ctl(ctlNAK, 0, "0000000c")
	if got := s.only(ctlDropReq); len(got) != 1 || got[0] != "0000000c0000000c" {
		t.Errorf("of what is gone: %v", got)
	}
	for _, bad := range []string{"80000012 00000011", "80000012 7fffffff", "40000000", "80000012"} {
		s.ctl(ctlNAK, 0, bad)
	}
	s.ctl(ctlACK, 2, "00000015 00002710 00000100 00002000") // never sent
	s.ctl(ctlACK, 2, "80000010")
	if s.c.Err() != nil || s.c.Stats().Flight != 4 || s.c.Stats().Bogus != 6 || len(s.only(ctlDropReq)) != 0 {
		t.Errorf("after nonsense: %v, %+v", s.c.Err(), s.c.Stats())
	}
	s.ctl(ctlACK, 3, "00000014 00002710 00000100 00000000")
	s.said()
	s.c.Write(s.now, []byte("k"))
	if n := len(s.said()); n != 0 || s.c.Unsent() != 1 {
		t.Error("sent into a window of nothing")
	}
	s.ctl(ctlACK, 4, "00000014 00002710 00000100 00000064")
	if s.c.Unsent() != 0 {
		t.Error("not sent when the window opened")
	}
}

// A list of holes that names more packets than are on the way is nonsense, and costs no more
// than one that makes sense.
func TestHolesNamedAgainAndAgain(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	for range 100 {
		s.c.Write(s.now, []byte("x"))
	}
	s.pass(30 * time.Millisecond)
	s.said()
	s.ctl(ctlNAK, 0, "8000000a0000006d")
	if n := len(s.said()); n != 100 || s.c.Stats().Bogus != 0 {
		t.Errorf("of all that is on the way %d packets go again, %+v", n, s.c.Stats())
	}
	s.pass(300 * time.Millisecond)
	s.said()
	s.ctl(ctlNAK, 0, strings.Repeat("8000000a0000006d", 180))
	if n := len(s.said()); n != 100 || s.c.Stats().Bogus != 1 {
		t.Errorf("named 180 times: %d packets go again, %+v", n, s.c.Stats())
	}
}

func TestSenderDrops(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	s.c.Write(s.now, []byte("a"))
	s.pass(1010 * time.Millisecond)
	if s.c.Stats().SendDrop != 0 {
		t.Error("dropped too early")
	}
	s.pass(20 * time.Millisecond)
	if s.c.Stats().SendDrop != 1 || s.c.Stats().SendHeld != 0 {
		t.Errorf("%+v", s.c.Stats())
	}
	blind := newScript(t, 0xa7, 10) // reports no holes again, drops nothing
	blind.c.Write(blind.now, []byte("a"))
	blind.pass(2 * time.Second)
	if n := blind.c.Stats().Rexmit; n < 2 || blind.c.Stats().SendDrop != 0 {
		t.Errorf("sent again %d times, %+v", n, blind.c.Stats())
	}
}

func TestDropRequest(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	s.data(10, "a")
	s.data(14, "e")
	s.ctl(ctlDropReq, 0, "0000000c0000000d")
	s.data(11, "b")
	if got := strings.Join(s.got, ""); got != "abe" || s.c.Stats().RecvDrop != 2 {
		t.Errorf("%q, %+v", got, s.c.Stats())
	}
	for _, bad := range []string{"0000000c", "0000000d0000000c", "000000100000ffff", "000000ff00000100"} {
		s.ctl(ctlDropReq, 0, bad)
	}
	if s.c.Stats().Bogus != 4 || s.c.Err() != nil {
		t.Errorf("%+v", s.c.Stats())
	}
}

func TestForgedKeys(t *testing.T) {
	s := newScript(t, 0xbf, 10)
	for _, n := range []int{36, 104, 1400} {
		s.c.Handle(s.now, append(appendControl(nil, ctlExt, extKMReq, 0, 0, 99), make([]byte, n)...))
		s.c.Handle(s.now, append(appendControl(nil, ctlExt, extKMRsp, 0, 0, 99), make([]byte, n)...))
	}
	s.data(10, "a")
	if len(s.got) != 1 || s.c.Secured() || len(s.only(ctlExt)) != 0 {
		t.Error("a key on a clear connection had an effect")
	}
}

func TestBadAnswers(t *testing.T) {
	var code Reject
	if !errors.As(error(RejectConflict), &code) || code != 2409 {
		t.Error(code)
	}
}

func FuzzListener(f *testing.F) {
	l := &Listener{Secret: []byte("x")}
	good := conclusion(f, l, callerAddr, 5, hsReq+sid+"0003000e"+km128)
	f.Add(good)
	f.Add(good[:64])
	f.Add(good[:67])
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= headerSize+handshakeSize { // a good cookie, so that the rest is read
			b = bytes.Clone(b)
			be.PutUint32(b[headerSize+28:], l.cookie(callerAddr, epoch.Unix()/cookieSlot))
		}
		_, req := l.Handle(epoch, callerAddr, b)
		if req != nil {
			req.Accept(epoch, 1, Params{Send: func([]byte) {}}, nil)
		}
		c, _ := NewCaller(epoch, Params{Send: func([]byte) {}}, 1, 2, "a", "", 0)
		c.proved = true
		c.Handle(epoch, b)
	})
}

// FuzzConn plays datagrams, each behind its length in two bytes, into a connection
// that sends and receives.
func FuzzConn(f *testing.F) {
	add := func(packets ...[]byte) {
		var b []byte
		for _, p := range packets {
			b = append(be.AppendUint16(b, uint16(len(p))), p...)
		}
		f.Add(b, true)
		f.Add(b, false)
	}
	data := func(seq uint32) []byte {
		return append(be.AppendUint32(be.AppendUint32(be.AppendUint32(be.AppendUint32(nil, seq), flagSolo|1), 5000), 99), 0x47, 1)
	}
	ctl := func(typ uint16, body string) []byte {
		return append(appendControl(nil, typ, 1, 1, 0, 99), unhex(f, body)...)
	}
	add(data(10), data(12), data(20), ctl(ctlDropReq, "0000000b0000000b"), data(11))
	add(ctl(ctlACK, "0000000c 00002710 00000100 00002000"), ctl(ctlNAK, "8000000c0000000e00000013"), ctl(ctlACKACK, "00000000"))
	add(ctl(ctlExt, km128), ctl(ctlShutdown, "00000000"), ctl(ctlHandshake, ""))
	f.Fuzz(func(t *testing.T, b []byte, secret bool) {
		l := &Listener{Secret: []byte("x")}
		ext, pass := hsReq, ""
		if secret {
			ext, pass = ext+"0003000e"+km128, "secretpass1"
		}
		_, req := l.Handle(epoch, callerAddr, conclusion(t, l, callerAddr, 10, ext))
		keys, err := req.Unlock(pass)
		if err != nil {
			t.Fatal(err)
		}
		bytesOut, in := 0, len(b)
		c := req.Accept(epoch, 99, Params{Send: func(b []byte) { bytesOut += len(b) }, RecvPackets: 64, SendPackets: 64}, keys)
		now := epoch
		for i := range 12 {
			c.Write(now, []byte{byte(i)})
		}
		for len(b) >= 2 {
			n := min(int(be.Uint16(b)), len(b)-2)
			now = now.Add(time.Duration(n) * time.Millisecond / 8)
			c.Handle(now, bytes.Clone(b[2:2+n]))
			c.Advance(now)
			b = b[2+n:]
		}
		s := c.Stats()
		if s.RecvHeld > 64 || s.SendHeld > 64 || len(c.rcv.slots) > 128 {
			t.Fatalf("holds too much: %+v", s)
		}
		if bytesOut > 4096+in*200 {
			t.Fatalf("%d bytes were answered with %d", in, bytesOut)
		}
		if at := c.Next(); c.Err() == nil && at.Before(now) {
			t.Fatal("next is in the past")
		}
	})
}
