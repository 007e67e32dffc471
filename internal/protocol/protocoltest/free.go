package protocoltest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// given are the ports that FreePort has returned.
var given sync.Map

// srtPort is where SRS, and so perhaps a server on this machine, has SRT.
const srtPort = 10080

// FreePort returns a loopback address at which nobody listens, by TCP or UDP, another one
// each time: a configuration cannot ask for any free port. It lies below the ports that the
// system gives to whoever asks for any, so that nobody gets it meanwhile who does not ask
// for it by its number.
func FreePort() (string, error) {
	for range 1000 {
		n := 10000 + rand.IntN(20000)
		if _, before := given.LoadOrStore(n, true); before || n == srtPort {
			continue
		}
		addr := fmt.Sprintf("127.0.0.1:%d", n)
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			continue
		}
		pc, err := net.ListenPacket("udp4", addr)
		l.Close()
		if err != nil {
			continue
		}
		pc.Close()
		return addr, nil
	}
	return "", errors.New("no free port")
}

// FreeAddr is FreePort for a test.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}
