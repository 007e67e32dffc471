package shelf

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	pathpkg "path"
	"strings"

	"weir/internal/service"
)

// A Disk writes files below a folder. Names may hold what a peer said: none leads
// out of the folder.
type Disk struct {
	Dir     string
	Log     *slog.Logger
	Notices *service.Notices
	// Subject is what is written, for complaints: "hls files of v/live/s".
	Subject string
}

// Write puts a whole file in place. What reads the folder meanwhile sees the old
// file or the new one.
func (d *Disk) Write(name string, body ...[]byte) error {
	root, err := os.OpenRoot(d.Dir)
	if errors.Is(err, os.ErrNotExist) {
		if err = os.MkdirAll(d.Dir, 0o755); err == nil {
			root, err = os.OpenRoot(d.Dir)
		}
	}
	if err != nil {
		return err
	}
	defer root.Close()
	if dir := pathpkg.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	tmp := name + ".tmp"
	if err := writeAll(root, tmp, body); err != nil {
		root.Remove(tmp) // half a file is of no use
		return err
	}
	return root.Rename(tmp, name)
}

func writeAll(root *os.Root, name string, body [][]byte) error {
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	for _, b := range body {
		if _, err := f.Write(b); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// Read returns what a file holds.
func (d *Disk) Read(name string) ([]byte, error) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.ReadFile(name)
}

// Remove takes files away; those that are not there are no fault.
func (d *Disk) Remove(names ...string) {
	root, err := os.OpenRoot(d.Dir)
	if err != nil {
		return
	}
	defer root.Close()
	for _, n := range names {
		if err := root.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
			d.Log.Warn("file cannot be removed", "file", n, "err", err)
		}
	}
}

// Complain says, once, that files cannot be written, and when they can again.
// Viewers are served from memory all the while.
func (d *Disk) Complain(err error) {
	text := ""
	if err != nil {
		text = fmt.Sprintf("%s cannot be written in %s: %v", d.Subject, d.Dir, bare(err))
	}
	if !d.Notices.Set(d.Subject, text) {
		return
	}
	kind, _, _ := strings.Cut(d.Subject, " ")
	if err != nil {
		d.Log.Error(kind+" files cannot be written, live goes on from memory", "dir", d.Dir, "err", bare(err))
	} else {
		d.Log.Info(kind + " files are written again")
	}
}

// bare is what the system said, without the names of files, so that the same
// complaint is the same text.
func bare(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}
