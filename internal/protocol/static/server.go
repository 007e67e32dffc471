// Package static serves files: those below http_server.dir, those of vhosts
// with http_static, and, where these have none of that name, the built-in
// pages.
//
// Every path goes through an [os.Root], so that no name, however it is written,
// leads out of its folder.
package static

import (
	"cmp"
	"context"
	"embed"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/service"
	"weir/internal/service/shelf"
)

// Protocol is this package's line in cmd/weir.
var Protocol = service.Protocol{
	Name:  "static",
	Phase: service.Sinks,
	Conf:  []config.Spec{blocks.HTTPServer, blocks.HTTPStatic, blocks.PlayCookie},
	New: func(env service.Env) (service.Service, error) {
		s := &server{env: env}
		env.Media.Handle(service.OrderFiles, s.handle)
		return s, nil
	},
}

//go:embed html
var pages embed.FS

type server struct{ env service.Env }

// Run implements service.Service; files are sent by the HTTP server's
// goroutines.
func (s *server) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// types are the content types of SRS, whatever the machine thinks of them.
var types = map[string]string{
	".ts": "video/MP2T", ".flv": "video/x-flv", ".m4v": "video/x-m4v", ".3gpp": "video/3gpp", ".3gp": "video/3gpp", ".mp4": "video/mp4",
	".aac": "audio/x-aac", ".mp3": "audio/mpeg", ".m4a": "audio/x-m4a", ".ogg": "audio/ogg",
	".m3u8": "application/vnd.apple.mpegurl", ".mpd": "application/dash+xml", ".m4s": "video/iso.segment",
	".rss": "application/rss+xml", ".json": "application/json", ".swf": "application/x-shockwave-flash", ".f4m": "application/f4m+xml",
	".doc": "application/msword", ".zip": "application/zip", ".rar": "application/x-rar-compressed", ".xml": "text/xml; charset=utf-8",
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".txt": "text/plain; charset=utf-8",
	".ico": "image/x-icon", ".png": "image/png", ".jpeg": "image/jpeg", ".jpg": "image/jpeg", ".gif": "image/gif",
}

// ContentType returns the type of a file by its name.
func ContentType(name string) string {
	ext := strings.ToLower(path.Ext(name))
	if t := types[ext]; t != "" {
		return t
	}
	if t := mime.TypeByExtension(ext); t != "" {
		return t
	}
	return "application/octet-stream"
}

// folder returns the folder that serves a request and the name that a path has in it.
func (s *server) folder(r *http.Request, sent string) (dir, name string) {
	snap := s.env.Conf.Load()
	p := path.Clean("/" + sent)
	if v, ok := snap.Vhost(service.VhostName(r)); ok {
		if c := blocks.HTTPStatic.Of(v); c.Enabled {
			mount := strings.ReplaceAll(c.Mount, "[vhost]", "")
			if i := strings.IndexByte(mount, '/'); i > 0 {
				mount = mount[i:] // a host in front, which the request has proved
			}
			mount = "/" + strings.Trim(mount, "/")
			if mount != "/" {
				mount += "/"
			}
			if strings.HasPrefix(p+"/", mount) {
				rest := strings.TrimPrefix(strings.TrimPrefix(p, strings.TrimSuffix(mount, "/")), "/")
				return strings.ReplaceAll(c.Dir, "[vhost]", v.Name), rest
			}
		}
	}
	return blocks.HTTPServer.In(snap).Dir, strings.TrimPrefix(p, "/")
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) bool {
	cors := blocks.HTTPServer.In(s.env.Conf.Load()).CrossDomain
	if cors && r.Header.Get("Origin") != "" {
		service.CORS(w.Header())
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost:
	case http.MethodOptions:
		if !cors {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return true
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, OPTIONS")
		http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
		return true
	}
	paths := []string{r.URL.Path}
	if sent, differs := service.AsSent(r); differs {
		paths = append(paths, sent) // files of streams whose names have escapes
	}
	for _, p := range paths {
		dir, name := s.folder(r, p)
		if shelf.Leftover(s.env.Conf.Load(), name) {
			break
		}
		for _, open := range []func(string) (fs.File, error){fromFolder(dir), pages404} {
			if s.send(w, r, open, name) {
				return true
			}
		}
	}
	http.Error(w, "Not Found", http.StatusNotFound)
	return true
}

// fromFolder opens files below dir.
func fromFolder(dir string) func(string) (fs.File, error) {
	return func(name string) (fs.File, error) {
		root, err := os.OpenRoot(dir)
		if err != nil {
			return nil, err
		}
		defer root.Close()
		// A pipe would keep whoever opens it waiting.
		if st, err := root.Stat(name); err == nil && !st.Mode().IsRegular() && !st.IsDir() {
			return nil, fs.ErrNotExist
		}
		return root.Open(name)
	}
}

// same are pages that have SRS's name and ours; they know by which they were called.
var same = map[string]string{"players/rtc_player.html": "players/whep.html", "players/rtc_publisher.html": "players/whip.html"}

func pages404(name string) (fs.File, error) {
	return pages.Open(path.Join("html", cmp.Or(same[name], name)))
}

// send answers with the file of that name, the index of a folder, or a
// redirection to a folder. It returns false if there is nothing.
func (s *server) send(w http.ResponseWriter, r *http.Request, open func(string) (fs.File, error), name string) bool {
	if name == "" {
		name = "."
	}
	f, err := open(name)
	if err != nil {
		return false
	}
	defer func() { f.Close() }()
	st, err := f.Stat()
	if err != nil {
		return false
	}
	if st.IsDir() {
		if !strings.HasSuffix(r.URL.Path, "/") {
			w.Header().Set("Location", path.Base(name)+"/")
			w.WriteHeader(http.StatusFound)
			return true
		}
		f.Close()
		name = path.Join(name, "index.html")
		if f, err = open(name); err != nil {
			f = nowhere{}
			return false
		}
		if st, err = f.Stat(); err != nil || st.IsDir() {
			return false
		}
	}
	if !st.Mode().IsRegular() {
		return false
	}
	file, ok := f.(content)
	if !ok {
		return false
	}
	s.serve(w, r, name, st, file)
	return true
}

// nowhere is a file that needs no closing.
type nowhere struct{ fs.File }

// Close does nothing.
func (nowhere) Close() error { return nil }
