package main

import (
	"bytes"
	"os"
	"testing"

	"weir/internal/control/api"
	"weir/internal/host"
	"weir/internal/server"
)

// The page in the repository is the one that would be made.
func TestPageIsInStep(t *testing.T) {
	have, err := os.ReadFile("../../../docs/reference/api.md")
	if err != nil {
		t.Fatal(err)
	}
	if want := api.Reference(host.New(func() host.Stats { return host.Stats{} }), server.Plan{}); !bytes.Equal(have, want) {
		t.Error("docs/reference/api.md is not in step with the code; run: go generate ./internal/control/api")
	}
}
