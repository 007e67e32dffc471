# What a developer types. "make test" is the whole gate: CI runs nothing else.
GO  ?= go
PKG ?= ./...

help:      ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14
build:     ## ./weir, one static binary
	CGO_ENABLED=0 $(GO) build -trimpath -o weir ./cmd/weir
demo:      ## a live picture in the browser
	$(GO) run ./cmd/weir demo
test:      ## install what the tests need, then run everything that CI runs
	@./test/install.sh
	@./test/gate.sh
quick:     ## fast tests of what you work on: make quick PKG=./internal/hub/...
	$(GO) test $(PKG)
race:      ## all tests under the race detector
	$(GO) test -race -shuffle=on $(PKG)
fmt:       ## format
	gofmt -w cmd internal test
generate:  ## reference docs, conf/full.conf and docs/compat.md from the code
	$(GO) generate ./...
fuzz:      ## every fuzz target for FUZZTIME each (30s)
	./test/fuzz.sh $${FUZZTIME:-30s}
bench:     ## measure beside nginx and write docs/performance.md (25 minutes)
	./test/bench.sh
long:      ## what takes too long for every change: joins, kills, fuzzing
	./test/long.sh $${FUZZTIME:-1m}
micro:     ## benchmarks of the hot paths
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...
.PHONY: help build demo test quick race fmt generate fuzz bench long micro
