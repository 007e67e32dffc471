package host

import (
	"encoding/json"
	"regexp"
	"testing"
	"time"
)

func TestWholeDisk(t *testing.T) {
	for name, want := range map[string]bool{"sda": true, "sda1": false, "vdb": true, "xvda": true, "xvda1": false, "nvme0n1": true, "nvme0n1p2": false, "loop0": false, "dm-0": false} {
		if wholeDisk(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestSample(t *testing.T) {
	h := New(func() Stats { return Stats{On: true} })
	at := h.last.at
	h.sample(reading{at: at.Add(2 * time.Second), self: h.last.self + 3, busy: h.last.busy + 1, total: h.last.total + 4,
		diskRead: h.last.diskRead + 8, diskWrite: h.last.diskWrite + 16, diskMS: h.last.diskMS + 500})
	u, _ := h.usage()
	if u.self != 1.5 || u.system != 0.25 || u.diskRead != 2 || u.diskWrite != 4 || u.diskBusy != 0.25 {
		t.Errorf("%+v", u)
	}
	if h.CPU() != 1.5 {
		t.Errorf("CPU is %v", h.CPU())
	}
}

func TestSummaryOff(t *testing.T) {
	h := New(func() Stats { return Stats{} })
	b, err := json.Marshal(h.Summary(Server{Version: "7.0.18"}))
	if err != nil || !regexp.MustCompile(`^\{"ok":false,"now_ms":[0-9]+,"self":\{"version":"7.0.18","pid":`).Match(b) {
		t.Errorf("%s, %v", b, err)
	}
}

func TestAddresses(t *testing.T) {
	all := Addresses()
	if len(all) == 0 {
		t.Fatal("none, not even that of the loopback interface")
	}
	for _, a := range all {
		if a.Interface == "" || !a.IP.IsValid() {
			t.Errorf("%+v", a)
		}
	}
}

func TestCPUs(t *testing.T) {
	for quota, want := range map[string]float64{"max 100000\n": 0, "50000 100000\n": 0.5, "300000 100000": 3, "": 0, "x y": 0, "1 0": 0} {
		if got := parseQuota([]byte(quota)); got != want {
			t.Errorf("%q: %v, want %v", quota, got, want)
		}
	}
	if CPUs() <= 0 {
		t.Errorf("CPUs: %v", CPUs())
	}
}

// The disks that are named count, else every whole one.
func TestStatsDisk(t *testing.T) {
	stats := []byte("   8 0 sda 1 0 100 0 2 0 200 0 0 30 0\n   8 1 sda1 1 0 90 0 2 0 190 0 0 30 0\n 259 0 nvme0n1 1 0 7 0 2 0 9 0 0 11 0\n   7 0 loop0 1 0 5 0 2 0 5 0 0 5 0\nshort\n")
	for _, c := range []struct {
		names           []string
		read, write, ms float64
	}{
		{nil, 107, 209, 41}, {[]string{"nvme0n1"}, 7, 9, 11}, {[]string{"sda1", "loop0"}, 95, 195, 35}, {[]string{"none"}, 0, 0, 0},
	} {
		var r reading
		r.disks(stats, c.names)
		if r.diskRead != c.read || r.diskWrite != c.write || r.diskMS != c.ms {
			t.Errorf("%v: %v read, %v written, %v ms; want %v, %v, %v", c.names, r.diskRead, r.diskWrite, r.diskMS, c.read, c.write, c.ms)
		}
	}
}
