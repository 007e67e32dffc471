package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/server"
)

// upgradeTime is how long an upgrade may take, as far as who asks for it waits.
const upgradeTime = 45 * time.Second

// runUpgrade has the program that is now on disk take over from the server that runs.
func runUpgrade(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("upgrade", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("c", "", "the `FILE` of the configuration; else SRS_CONFIG_FILE, or the built-in one")
	at := f.String("api", "", "the API of the server, as http://127.0.0.1:1985; else where the configuration has it")
	if f.Parse(args) != nil {
		return 1
	}
	pid, err := upgrade(*file, *at)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	fmt.Fprintf(stdout, "the new server is ready as pid %d; the old one goes on with those who are there\n", pid)
	return 0
}

func upgrade(file, at string) (pid int, err error) {
	var words []string
	if file != "" {
		words = []string{"-c", file}
	}
	o, err := parseFlags(words)
	if err != nil {
		return 0, err
	}
	conf, err := config.Parse(source(o), server.Specs(protocols))
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), upgradeTime)
	defer cancel()
	pid, err = askUpgrade(ctx, conf, at)
	if errors.Is(err, errNoAPI) && !o.builtIn {
		return signalUpgrade(ctx, conf)
	}
	return pid, err
}

// askUpgrade asks by the API.
func askUpgrade(ctx context.Context, conf *config.Snapshot, at string) (int, error) {
	res, at, err := askServer(ctx, conf, at, "upgrade", nil)
	if errors.Is(err, errNoAPI) {
		return 0, err
	}
	if err != nil {
		return 0, fmt.Errorf("the running server cannot be asked: %w; name its API with -api, or send SIGUSR2 to its process", err)
	}
	defer res.Body.Close()
	var answer struct {
		Error string
		New   int
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	switch {
	case answer.Error != "":
		return 0, fmt.Errorf("not upgraded: %s", answer.Error)
	case err != nil || res.StatusCode != http.StatusOK || answer.New == 0:
		return 0, fmt.Errorf("%s does not answer as a server of this version does: %s; it cannot be upgraded without loss", at, res.Status)
	}
	return answer.New, nil
}

// signalUpgrade sends the signal to the process that the pid file names, and waits until
// it names another.
func signalUpgrade(ctx context.Context, conf *config.Snapshot) (int, error) {
	root := blocks.Root.In(conf)
	path := root.PID
	if !filepath.IsAbs(path) {
		path = filepath.Join(root.WorkDir, path)
	}
	old, err := readPid(path)
	if err != nil {
		return 0, fmt.Errorf("the configuration has no http_api, and its pid file tells of no server: %w", err)
	}
	if err := syscall.Kill(old, syscall.SIGUSR2); err != nil {
		return 0, fmt.Errorf("process %d, which %s names, cannot be told: %w", old, path, err)
	}
	for {
		if pid, err := readPid(path); err == nil && pid != old && syscall.Kill(pid, 0) == nil {
			return pid, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return 0, errors.New("no new server has taken over; the log of the one that runs tells why")
		}
	}
}

func readPid(path string) (int, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}
