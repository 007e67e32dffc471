package server

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"

	"weir/internal/config"
	"weir/internal/config/blocks"
)

// OpenFiles returns how many descriptors the process may have (the hard limit,
// to which Go raises the soft one), 0 if that cannot be told.
func OpenFiles() uint64 {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0
	}
	return uint64(l.Max)
}

// InContainer reports whether the process runs in a container, by what Docker
// and its like leave to be seen.
func InContainer() bool {
	if runtime.GOOS != "linux" {
		return false
	}
	if _, err := os.Stat("/.dockerenv"); err == nil {
		return true
	}
	b, err := os.ReadFile("/proc/1/cgroup")
	return err == nil && strings.Contains(string(b), "/docker")
}

// MakeFolders makes the folders that the configuration names and that are
// missing, so that a server starts in an empty folder.
func MakeFolders(s *config.Snapshot, logFile string) error {
	var dirs []string
	if logFile != "" {
		dirs = append(dirs, filepath.Dir(logFile))
	}
	var written []string
	if c := blocks.HTTPServer.In(s); c.Enabled {
		dirs = append(dirs, c.Dir)
	}
	for _, v := range s.Vhosts() {
		if c := blocks.HLS.Of(v); v.Enabled && c.Enabled && c.Files {
			dirs, written = append(dirs, c.Path), append(written, c.Path)
		}
		if c := blocks.DASH.Of(v); v.Enabled && c.Enabled && c.Files {
			dirs = append(dirs, c.Path)
		}
		if c := blocks.HDS.Of(v); v.Enabled && c.Enabled && c.Files {
			dirs = append(dirs, c.Path)
		}
		if c := blocks.HTTPStatic.Of(v); v.Enabled && c.Enabled {
			dirs = append(dirs, strings.ReplaceAll(c.Dir, "[vhost]", v.Name))
		}
	}
	for _, d := range dirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("folder %s cannot be made: %w; make it, or let the configuration name another", d, bare(err))
		}
	}
	for _, d := range written {
		f, err := os.CreateTemp(d, ".weir-*")
		if err != nil {
			return fmt.Errorf("hls_path %s cannot be written: %w; make it writable for user id %d, let hls_path name another folder, or write no files with hls_files off", d, bare(err), os.Geteuid())
		}
		f.Close()
		os.Remove(f.Name())
	}
	return nil
}

// bare is what the system said, without the name of the call and the path.
func bare(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// A Pid is a pid file, which says that this process is the server. The zero value is
// none.
type Pid struct {
	// File is its path; empty for none.
	File string

	mu   sync.Mutex
	held *os.File // guarded by mu
}

// Take takes it, unless we have it.
func (p *Pid) Take() (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.File != "" && p.held == nil {
		p.held, err = lockPid(p.File)
	}
	return err
}

// Release gives it up, and leaves the file, as SRS does.
func (p *Pid) Release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		p.held.Close()
		p.held = nil
	}
}

// NotifySystemd tells a service manager that started us with Type=notify.
func NotifySystemd(state string) {
	path := os.Getenv("NOTIFY_SOCKET")
	if path == "" {
		return
	}
	if strings.HasPrefix(path, "@") {
		path = "\x00" + path[1:]
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return
	}
	defer c.Close()
	c.Write([]byte(state))
}
