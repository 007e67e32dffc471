// Write puts the files that are derived from the configuration's blocks in
// place; see the package gen. "go generate ./internal/config" runs it.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"weir/internal/config/blocks"
	"weir/internal/config/gen"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "write:", err)
		os.Exit(1)
	}
}

func run() error {
	root, err := repository()
	if err != nil {
		return err
	}
	changed, err := gen.Write(root, blocks.All())
	for _, name := range changed {
		fmt.Println("wrote", name)
	}
	return err
}

// repository is the nearest directory above that holds go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", errors.New("no go.mod here or above")
		}
		dir = up
	}
}
