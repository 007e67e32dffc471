package rtp

import (
	"bytes"
	"testing"
	"time"
)

func TestPutHeader(t *testing.T) {
	b := make([]byte, 32)
	PutHeader(b, true, 96, 65535, 1<<31, 7)
	h, payload, err := Parse(b[:14])
	if err != nil || !h.Marker || h.PayloadType != 96 || h.Sequence != 65535 || h.Timestamp != 1<<31 || h.SSRC != 7 || len(payload) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	n := PutDelay(b, HeaderSize, 6, 180*time.Millisecond)
	h, payload, err = Parse(b[:n+2])
	if err != nil || !bytes.Equal(h.Find(6), []byte{0x01, 0x2f, 0xff}) || h.SSRC != 7 || len(payload) != 2 {
		t.Errorf("%+v, %v", h, err)
	}
	n = PutCounter(b, false, 96, 1, 2, 3, 5, 0x1234)
	h, payload, err = Parse(b[:n+3])
	if err != nil || len(payload) != 3 || !bytes.Equal(h.Find(5), []byte{0x12, 0x34}) || h.Find(4) != nil {
		t.Errorf("%+v, %v", h, err)
	}
	n = PutDelay(b, n, 6, 180*time.Millisecond)
	h, payload, err = Parse(b[:n+1])
	if err != nil || len(payload) != 1 || !bytes.Equal(h.Find(5), []byte{0x12, 0x34}) || !bytes.Equal(h.Find(6), []byte{0x01, 0x2f, 0xff}) {
		t.Errorf("%+v, %v", h, err)
	}
	h, _, err = Parse(unhex(t, "906000010000000000000001"+"10000002"+"05021234"+"0701ff00"+"aa"))
	if err != nil || !bytes.Equal(h.Find(5), []byte{0x12, 0x34}) || !bytes.Equal(h.Find(7), []byte{0xff}) {
		t.Errorf("two-byte headers: %+v, %v", h, err)
	}
}

func FuzzFind(f *testing.F) {
	b := make([]byte, 32)
	n := PutCounter(b, false, 96, 1, 2, 3, 5, 0x1234)
	f.Add(b[:n+3])
	f.Add(unhex(f, "906000010000000000000001100000020502123407"+"01ff00aa"))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, _, err := Parse(b)
		if err != nil {
			return
		}
		for id := range uint8(16) {
			if len(h.Find(id)) > len(b) {
				t.Fatal("more than there is")
			}
		}
	})
}
