package main

import (
	"slices"
	"testing"

	"weir/internal/config/blocks"
	"weir/internal/server"
)

// A block that is documented is read by the server or by one of its doors: otherwise a
// configuration that has it would be refused.
func TestBlocksAreRead(t *testing.T) {
	read := server.Specs(protocols)
	for _, b := range blocks.All() {
		if !slices.Contains(read, b) {
			t.Errorf("nobody reads the block of %T", b)
		}
	}
}
