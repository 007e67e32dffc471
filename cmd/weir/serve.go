package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"weir/internal/child"
	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/server"
	"weir/internal/service"
)

// serve runs the server in this process, or starts it in the background.
func serve(o flags, stdout, stderr io.Writer) (err error) {
	var elder *server.Predecessor
	if f := child.Succeeding(); f != nil {
		if elder, err = server.Succeed(f); err != nil {
			return err
		}
		defer func() {
			if err != nil {
				elder.Failed(err)
			}
		}()
	}
	inBackground, report := child.Detached()
	began := time.Now()
	snap, err := load(o, stdout, stderr)
	if err != nil {
		report(err)
		return err
	}
	if o.test {
		fmt.Fprintf(stdout, "the config file %[1]s syntax is ok\nconfig file %[1]s test is successful\n", snap.File)
		return nil
	}
	root := blocks.Root.In(snap)
	container := server.InContainer()
	if root.Background(container) && !inBackground && elder == nil {
		pid, err := child.Detach()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "weir runs in the background as pid %d; log: %s\n", pid, logPath(root, container))
		return nil
	}
	err = runServer(o, snap, elder, began, stdout, func() { report(nil) })
	if err != nil {
		report(err)
	}
	return err
}

// load reads the configuration, and with -t tells its warnings.
func load(o flags, stdout, stderr io.Writer) (*config.Snapshot, error) {
	snap, err := config.Parse(source(o), server.Specs(protocols))
	if err != nil {
		fmt.Fprintln(stderr, err)
		return nil, &silentError{err}
	}
	if o.test {
		for _, w := range snap.Warnings {
			fmt.Fprintln(stdout, "warning:", w)
		}
	}
	return snap, nil
}

func logPath(root *blocks.RootConfig, container bool) string {
	if root.LogToConsole(container) {
		return ""
	}
	return root.LogFile
}

// runServer runs until a signal ends it.
func runServer(o flags, snap *config.Snapshot, elder *server.Predecessor, began time.Time, stdout io.Writer, started func()) error {
	// From now on no signal kills the process while it starts.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2)
	parent := os.Getppid()
	if elder != nil {
		parent = elder.Parent
	}
	program, err := child.Path()
	if err != nil {
		return err
	}
	root := blocks.Root.In(snap)
	if err := os.Chdir(root.WorkDir); err != nil {
		return fmt.Errorf("work_dir %s: %w; make it, or let work_dir name another folder", root.WorkDir, cause(err))
	}
	if err := server.MakeFolders(snap, logPath(root, server.InContainer())); err != nil {
		return err
	}
	log, err := server.OpenLog(server.LogOptions{
		Level: server.ParseLevel(root.LogLevel, root.LogLevelV2), UTC: root.UTCTime,
		Path: logPath(root, server.InContainer()), Console: stdout, Color: isTerminal(stdout), JSON: root.LogFormat == "json",
	})
	if err != nil {
		return err
	}
	logger := slog.New(log)
	pidFile := root.PID
	if o.builtIn {
		pidFile = "" // it writes nothing that it was not told to
	}
	pid := &server.Pid{File: pidFile}
	defer pid.Release()
	if elder == nil { // else it has the file until it stops to accept
		if err := pid.Take(); err != nil {
			if log.File() {
				logger.Error("not started", "err", err)
			}
			return err
		}
	}
	logger.Info(server.Name+", speaks SRS "+server.Level, "pid", os.Getpid(), "conf", snap.File)
	for _, w := range snap.Warnings {
		logger.Warn(w.String())
	}
	if o.builtIn {
		logger.Info("no configuration was named, the built-in one is used; -h tells of others")
	}
	srv, err := server.New(server.Options{Conf: snap, Log: logger, Protocols: protocols, PidFile: pidFile,
		Container: server.InContainer(), Stamp: stamp(o), Pid: pid, Program: program, Dir: o.dir, Parent: parent, Predecessor: elder,
		Load: func(text []byte) (*config.Snapshot, error) { return reread(o, text) },
		Reloaded: func(next *config.Snapshot) {
			root := blocks.Root.In(next)
			log.SetLevel(server.ParseLevel(root.LogLevel, root.LogLevelV2))
			for _, w := range next.Warnings {
				logger.Warn("reload: " + w.String())
			}
		}, Ready: func(doors []service.Listen) {
			names := make([]string, len(doors))
			for i, d := range doors {
				names[i] = d.Name + " " + d.URL
			}
			logger.Info("ready in "+time.Since(began).Round(time.Millisecond).String(), "doors", strings.Join(names, ", "))
			if all := pages(doors, blocks.RTCServer.In(snap).Enabled); len(all) > 0 {
				logger.Info("pages for browsers: " + strings.Join(all, " "))
			}
			if elder == nil { // else it tells, which is the main process until then
				server.NotifySystemd("READY=1")
			}
			started()
		}})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	go handleSignals(signals, srv, log, logger, cancel)
	if root.AsProcess {
		gone := func() bool { return os.Getppid() != parent }
		if elder != nil {
			gone = elder.ParentGone
		}
		go followParent(ctx, gone, logger, cancel)
	}
	if err = srv.Run(ctx); err == nil {
		logger.Info("stopped")
	} else if log.File() {
		logger.Error("stopped", "err", err) // the console is told by main
	}
	return err
}

// pages are the addresses of the pages that players and publishers open in a browser: of
// all of them, and of WebRTC's.
func pages(doors []service.Listen, rtc bool) (all []string) {
	query := ""
	for _, d := range doors {
		if u, err := url.Parse(d.URL); err == nil && d.Name == "HTTP-API" && u.Port() != "1985" {
			query = "?api=" + u.Port()
		}
	}
	for _, d := range doors {
		u, err := url.Parse(d.URL)
		if err != nil || d.Name != "HTTP-Server" {
			continue
		}
		host := u.Hostname()
		if ip, err := netip.ParseAddr(host); err != nil || ip.IsUnspecified() {
			host = "127.0.0.1"
		}
		base := "http://" + net.JoinHostPort(host, u.Port()) + "/players/"
		if all = append(all, base); rtc {
			all = append(all, base+"whip.html"+query, base+"whep.html"+query)
		}
		break
	}
	return all
}

// cause is what the system said, without the name of the call and the path.
func cause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// followParent ends the server when the process that started it has gone (SRS's
// asprocess).
func followParent(ctx context.Context, gone func() bool, logger *slog.Logger, cancel context.CancelCauseFunc) {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if gone() {
				logger.Info("the parent process has gone (asprocess), stopping")
				cancel(errSignal)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// errSignal is the cause of an ordinary end.
var errSignal = errors.New("signal")

// handleSignals does what SRS's signals ask for. It ends with the process.
func handleSignals(signals <-chan os.Signal, srv *server.Server, log *server.Log, logger *slog.Logger, cancel context.CancelCauseFunc) {
	stopping := false
	for s := range signals {
		logger.Info("signal " + s.String())
		switch s {
		case syscall.SIGINT, syscall.SIGTERM, syscall.SIGQUIT:
			server.NotifySystemd("STOPPING=1")
			graceful := s == syscall.SIGQUIT || s == syscall.SIGTERM && blocks.Root.In(srv.Conf()).ForceGraceQuit
			switch {
			case graceful && !stopping:
				cancel(server.ErrGraceful)
			case graceful:
			case stopping: // a graceful stop that somebody will not wait for
				srv.Hurry()
			default:
				cancel(errSignal)
			}
			stopping = true
		case syscall.SIGUSR1:
			if err := log.Reopen(); err != nil {
				logger.Error("log cannot be reopened, the old file stays in use", "err", err)
			} else {
				logger.Info("log reopened")
			}
			if err := child.ReopenLogs(); err != nil {
				logger.Error("the log of a program cannot be reopened", "err", err)
			}
		case syscall.SIGHUP:
			srv.ReloadFile(context.Background())
		case syscall.SIGUSR2:
			go srv.Upgrade() // which tells the log how it went
		}
	}
}

// reread reads the configuration of a running server again, or a text in its
// place, and refuses what a start would refuse.
func reread(o flags, text []byte) (*config.Snapshot, error) {
	src := source(o)
	if text != nil {
		src.Text = text
	}
	return config.Parse(src, server.Specs(protocols))
}

// stamp tells files that have changed from those that have not: by what the file
// system knows of them, through links.
func stamp(o flags) func(files []string) string {
	return func(files []string) string {
		var b strings.Builder
		for _, name := range files {
			if st, err := os.Stat(o.path(name)); err == nil {
				inode := uint64(0)
				if sys, ok := st.Sys().(*syscall.Stat_t); ok {
					inode = sys.Ino // another file in its place may be as long and as old
				}
				fmt.Fprintln(&b, name, inode, st.Size(), st.ModTime().UnixNano())
			} else {
				fmt.Fprintln(&b, name, "missing")
			}
		}
		return b.String()
	}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
