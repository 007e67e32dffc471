package dvr

import (
	"fmt"
	"hash/fnv"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"weir/internal/hub"
	"weir/internal/store"
)

// ending is what follows the name of a file that is not finished.
const ending = ".tmp"

// recorded reports whether a name is that of a recording.
func recorded(name string) bool {
	ext := path.Ext(name)
	return ext == ".flv" || ext == ".mp4"
}

// folder returns the part of dvr_path that no variable changes, and the rest. As in
// SRS a path that ends in neither .flv nor .mp4 is a folder.
func folder(template string) (dir, name string) {
	if !recorded(template) {
		template = strings.TrimSuffix(template, "/") + "/[stream].[timestamp].flv"
	}
	fixed := template
	if i := strings.IndexByte(template, '['); i >= 0 {
		fixed = template[:i]
	}
	i := strings.LastIndexByte(fixed, '/')
	switch {
	case i < 0:
		return ".", template
	case i == 0:
		return "/", template[1:]
	}
	return template[:i], template[i+1:]
}

// longest is how long a part of a path may be, less than what file systems take,
// since endings follow.
const longest = 230

// expand fills a template; [duration] stays.
func expand(template string, key hub.Key, at time.Time) string {
	parts := strings.Split(path.Clean("/" + store.Expand(template, key, at))[1:], "/")
	for i, p := range parts {
		if len(p) > longest {
			ext := path.Ext(p)
			if len(ext) > 10 {
				ext = ""
			}
			h := fnv.New64a()
			h.Write([]byte(p))
			parts[i] = fmt.Sprintf("%s~%016x%s", p[:longest-40], h.Sum64(), ext)
		}
	}
	return path.Join(parts...)
}

// completed fills in what is known at the end.
func completed(name string, duration time.Duration) string {
	return strings.ReplaceAll(name, "[duration]", strconv.FormatInt(duration.Milliseconds(), 10))
}

// free returns a name like the given one under which there is nothing, nor a file
// that is not finished.
func free(root *os.Root, name string) string {
	taken := func(n string) bool {
		_, err := root.Lstat(n)
		_, tmp := root.Lstat(n + ending)
		return err == nil || tmp == nil
	}
	ext := path.Ext(name)
	try := name
	for i := 2; taken(try); i++ {
		try = strings.TrimSuffix(name, ext) + "-" + strconv.Itoa(i) + ext
	}
	return try
}

// create makes a file below dir, named like the given one and with [ending].
func create(dir, name string) (root *os.Root, f file, as string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, "", err
	}
	if root, err = os.OpenRoot(dir); err != nil {
		return nil, nil, "", err
	}
	if d := path.Dir(name); d != "." {
		if err := root.MkdirAll(d, 0o755); err != nil {
			root.Close()
			return nil, nil, "", err
		}
	}
	as = free(root, name)
	made, err := root.OpenFile(as+ending, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		root.Close()
		return nil, nil, "", err
	}
	lock(made)
	return root, made, as, nil
}

// join is a path as SRS writes it: the folder as it was configured.
func join(dir, name string) string {
	if dir == "." {
		return name
	}
	return strings.TrimSuffix(dir, "/") + "/" + name
}
