// Apidoc writes the reference page of the HTTP API from its table of endpoints. "go
// generate ./internal/control/api" runs it.
package main

import (
	"fmt"
	"os"

	"weir/internal/control/api"
	"weir/internal/host"
	"weir/internal/server"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: apidoc FILE")
		os.Exit(1)
	}
	page := api.Reference(host.New(func() host.Stats { return host.Stats{} }), server.Plan{})
	if err := os.WriteFile(os.Args[1], page, 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
