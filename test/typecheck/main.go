// Command typecheck reads the whole program, its tests and what it imports as other
// systems and processors see them, and tells what does not fit. That takes a fifth of the
// time of building it for them, which is for a release.
//
//	go run ./test/typecheck darwin/arm64 linux/arm64
package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/tools/go/packages"
)

func main() {
	wrong := 0
	for _, platform := range os.Args[1:] {
		goos, goarch, _ := strings.Cut(platform, "/")
		all, err := packages.Load(&packages.Config{
			Mode:  packages.LoadAllSyntax,
			Env:   append(os.Environ(), "CGO_ENABLED=0", "GOOS="+goos, "GOARCH="+goarch),
			Tests: true,
		}, "weir/cmd/...", "weir/internal/...")
		if err != nil {
			fmt.Fprintln(os.Stderr, platform+":", err)
			os.Exit(1)
		}
		seen := map[string]bool{}
		packages.Visit(all, nil, func(p *packages.Package) {
			for _, e := range p.Errors {
				if !seen[e.Error()] {
					seen[e.Error()] = true
					fmt.Fprintln(os.Stderr, platform+":", e)
				}
			}
		})
		fmt.Printf("   %s: %d packages\n", platform, len(all))
		wrong += len(seen)
	}
	if wrong > 0 {
		os.Exit(1)
	}
}
