package child

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// beFirst is the parent of all that have none, as the first process of a container
// is, and keeps programs that leave orphans and end with 7.
func beFirst() {
	const prSetChildSubreaper = 36
	if _, _, errno := syscall.Syscall(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0); errno != 0 {
		fmt.Println("prctl:", errno)
		os.Exit(1)
	}
	go Adopt(nil)
	var ended, other atomic.Int32
	for range 4 {
		Keep(Options{Retry: time.Millisecond, Spec: func() (Spec, error) {
			return shell("(setsid sleep 0.05 &) ; (exit 0) & exit 7"), nil
		}, Told: func(pid int, err error) {
			switch {
			case pid > 0:
			case err != nil && err.Error() == "exit status 7":
				ended.Add(1)
			default:
				other.Add(1)
				fmt.Println("ended with", err)
			}
		}})
	}
	for ended.Load() < 12 && other.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	// Orphans that ended are to go, while programs are still kept.
	left := ""
	for range 500 {
		if left = zombies(); left == "" {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Printf("ends %v, others %d, zombies %q\n", ended.Load() >= 12, other.Load(), left)
	os.Exit(0)
}

// zombies lists the children of this process that are dead.
func zombies() (all string) {
	dirs, _ := os.ReadDir("/proc")
	for _, d := range dirs {
		b, _ := os.ReadFile("/proc/" + d.Name() + "/stat")
		if _, rest, ok := strings.Cut(string(b), ") "); ok && strings.HasPrefix(rest, fmt.Sprintf("Z %d ", os.Getpid())) {
			all += d.Name() + " "
		}
	}
	return all
}

func TestAdopt(t *testing.T) {
	_, out := another(t, "first")
	b := make([]byte, 4096)
	n, err := out.Read(b)
	if got := string(b[:n]); got != "ends true, others 0, zombies \"\"\n" {
		t.Errorf("the first process says %q, %v", got, err)
	}
}
