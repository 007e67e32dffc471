package stun

import (
	"bytes"
	"encoding/hex"
	"net/netip"
	"testing"
)

// The vectors are those of RFC 5769, 2.1 and 2.2.
const (
	sampleRequest = "000100582112a442b7e7a701bc34d686fa87dfae80220010535455" + "4e207465737420636c69656e74" +
		"002400046e0001ff80290008932ff9b151263b36" + "000600096576746a3a68367659202020" +
		"000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2" + "80280004e57a3bcf"
	sampleAnswer = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b" + "7465737420766563746f7220" +
		"002000080001a147e112a643" + "000800142b91f599fd9e90c38c7489f92af9ba53f06be7d7" + "80280004c07d4c96"
	sampleKey = "VOkJxbRl1RmTxUk/WvJxBt"
)

func unhex(t testing.TB, s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestVectors(t *testing.T) {
	m, err := Parse(unhex(t, sampleRequest))
	if err != nil || m.Type != BindingRequest || string(m.Username) != "evtj:h6vY" || m.Priority != 0x6e0001ff || !m.Controlled {
		t.Fatalf("%+v, %v", m, err)
	}
	if !m.Verify([]byte(sampleKey)) || m.Verify([]byte("another")) {
		t.Error("the integrity of the request is judged wrong")
	}
	m, err = Parse(unhex(t, sampleAnswer))
	if err != nil || m.Type != BindingSuccess || m.Address != netip.MustParseAddrPort("192.0.2.1:32853") || !m.Verify([]byte(sampleKey)) {
		t.Fatalf("%+v, %v", m, err)
	}
}

func TestRoundTrip(t *testing.T) {
	key := []byte("secret")
	r := Request{Transaction: [12]byte{1, 2, 3}, Username: "ours:theirs", Priority: 7, TieBreaker: 9, Nominate: true}
	b := r.Append([]byte("before"), key)[6:]
	m, err := Parse(b)
	if err != nil || !m.Nominated || m.Controlled || !m.Verify(key) || string(m.Username) != r.Username {
		t.Fatalf("%+v, %v", m, err)
	}
	for _, at := range []string{"127.0.0.1:8000", "[2001:db8::7]:65535"} {
		addr := netip.MustParseAddrPort(at)
		a, err := Parse(AppendSuccess(nil, &m, addr, key))
		if err != nil || a.Address != addr || a.Transaction != m.Transaction || !a.Verify(key) {
			t.Errorf("%s: %+v, %v", at, a, err)
		}
	}
	e, err := Parse(AppendError(nil, &m, 487, "Role Conflict", key))
	if err != nil || e.Code != 487 || !e.Verify(key) {
		t.Errorf("%+v, %v", e, err)
	}
	for i := range len(b) - 8 { // the fingerprint is a check of its own
		bad := bytes.Clone(b)
		bad[i] ^= 0x40
		if m, err := Parse(bad); err == nil && m.Verify(key) && i >= headerLen {
			t.Errorf("byte %d may be changed", i)
		}
	}
}

// Who floods with names that nobody has must not cost memory.
func TestParseDoesNotAllocate(t *testing.T) {
	b := unhex(t, sampleRequest)
	if n := testing.AllocsPerRun(100, func() { Parse(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(unhex(f, sampleRequest))
	f.Add(unhex(f, sampleAnswer))
	f.Add((&Request{Username: "a:b"}).Append(nil, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		m.Verify([]byte(sampleKey))
		if len(m.Username) > len(b) {
			t.Fatal("a name longer than the message")
		}
	})
}
