package bench

import (
	"context"
	"strings"
	"testing"
	"time"
)

// Every way sends what it is asked to, or says why it cannot.
func TestLimit(t *testing.T) {
	o := LimitOptions{Viewers: 5, Time: 800 * time.Millisecond, Rounds: 1}
	floors, err := Limit(t.Context(), o)
	if err != nil || len(floors) != len(ways) {
		t.Fatalf("%d floors, %v", len(floors), err)
	}
	for _, f := range floors {
		switch {
		case f.Why != "":
			if !strings.Contains(f.Way, "io_uring") && !strings.Contains(f.Way, "GSO") { // a kernel may lack those
				t.Errorf("%s: %s", f.Way, f.Why)
			}
		case f.Mbps <= 0 || f.PerGbit <= 0 || f.PerSend <= 0:
			t.Errorf("%+v", f)
		}
	}
	var b strings.Builder
	if err := WriteFloors(&b, append(floors, Floor{Way: "another", Why: "not here"})); err != nil || !strings.Contains(b.String(), "TCP, write per frame") || !strings.Contains(b.String(), "not here") {
		t.Errorf("%v\n%s", err, &b)
	}
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if floors, err = Limit(over, o); err != nil || floors[0].Why != "interrupted" {
		t.Errorf("interrupted: %+v, %v", floors, err)
	}
	for _, bad := range []string{"limit -viewers -1", "limit -mbps 1000", "limit -time 1h", "limit -rounds 99", "limit more", "limit -x", "-play rtmp://h/l/s -stalled 50", "-play http://h/l/s.m3u8 -stalled 1"} {
		if _, err := Parse(strings.Fields(bad)); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
