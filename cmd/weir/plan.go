package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"weir/internal/config"
	"weir/internal/config/blocks"
	"weir/internal/server"
)

// runPlan tells what a new configuration would change: in the server that runs,
// which is asked, or against another file.
func runPlan(args []string, stdout, stderr io.Writer) int {
	f := flag.NewFlagSet("plan", flag.ContinueOnError)
	f.SetOutput(stderr)
	file := f.String("c", "", "the new configuration `FILE`")
	from := f.String("from", "", "compare with this `FILE`, and ask no server")
	at := f.String("api", "", "the API of the server, as http://127.0.0.1:1985; else where the new configuration has it")
	if f.Parse(args) != nil {
		return 1
	}
	plan, err := makePlan(*file, *from, *at)
	if err != nil {
		fmt.Fprintln(stderr, err)
		return 1
	}
	lines := plan.Lines()
	if len(lines) == 0 {
		lines = []string{"nothing changes"}
	}
	for _, l := range lines {
		fmt.Fprintln(stdout, l)
	}
	return 0
}

func makePlan(file, from, at string) (*server.Plan, error) {
	if file == "" {
		return nil, errors.New("plan needs -c FILE, the new configuration")
	}
	next, err := parse(file)
	if err != nil {
		return nil, err
	}
	if from == "" {
		return askPlan(next, at)
	}
	old, err := parse(from)
	if err != nil {
		return nil, err
	}
	srv, err := server.New(server.Options{Conf: old, Log: slog.New(slog.DiscardHandler), Protocols: protocols})
	if err != nil {
		return nil, err
	}
	return srv.Plan(next)
}

func parse(file string) (*config.Snapshot, error) {
	dir, err := os.Getwd()
	if err != nil {
		return nil, err
	}
	return config.Parse(source(flags{file: file, dir: dir}), server.Specs(protocols))
}

// askPlan asks the server that runs.
func askPlan(next *config.Snapshot, at string) (*server.Plan, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	res, at, err := askServer(ctx, next, at, "plan", []byte(config.Format(next.Tree())))
	if errors.Is(err, errNoAPI) {
		return nil, errors.New("the new configuration has no http_api by which the running server could be asked: name its API with -api, or the old configuration with -from")
	}
	if err != nil {
		return nil, fmt.Errorf("the running server cannot be asked: %w; name its API with -api, or the old configuration with -from", err)
	}
	defer res.Body.Close()
	var answer struct {
		Error string
		Data  server.Plan
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	switch {
	case answer.Error != "":
		return nil, fmt.Errorf("the server at %s refuses: %s", at, answer.Error)
	case err != nil || res.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("%s does not answer as a server of this version does: %s", at, res.Status)
	}
	return &answer.Data, nil
}

// errNoAPI says that a configuration has no API.
var errNoAPI = errors.New("the configuration has no http_api")

// askServer posts to the API of the server that runs with a configuration like conf, or
// is at the address at, and returns where that is.
func askServer(ctx context.Context, conf *config.Snapshot, at, what string, body []byte) (*http.Response, string, error) {
	api := blocks.HTTPAPI.In(conf)
	if at == "" {
		if !api.Enabled || len(api.Listen) == 0 {
			return nil, "", errNoAPI
		}
		host, port := config.SplitListen(api.Listen[0])
		if host == "" || host == "0.0.0.0" || host == "::" {
			host = "127.0.0.1"
		}
		at = "http://" + net.JoinHostPort(host, fmt.Sprint(port))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(at, "/")+"/api/v1/"+what, bytes.NewReader(body))
	if err != nil {
		return nil, at, err
	}
	switch {
	case api.Auth.Enabled && api.Auth.Type == "bearer":
		req.Header.Set("Authorization", "Bearer "+api.Auth.Token)
	case api.Auth.Enabled:
		req.SetBasicAuth(api.Auth.Username, api.Auth.Password)
	}
	res, err := http.DefaultClient.Do(req)
	return res, at, err
}
