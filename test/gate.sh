#!/bin/bash
# The whole gate. Cheap checks first; each step names itself, and the last one is
# the tests.
set -eu
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:--buildvcs=false}"
step() { printf '\n== %s (%s)\n' "$*" "$(date +%T)"; }

step format
unformatted=$(gofmt -l cmd internal test)
if [ -n "$unformatted" ]; then
	printf 'gofmt would change:\n%s\n' "$unformatted" >&2
	exit 1
fi

step vet
go vet ./...

step 'one static binary'
CGO_ENABLED=0 go build -trimpath -o /tmp/weir-gate-$$ ./cmd/weir
if file /tmp/weir-gate-$$ 2>/dev/null | grep -q 'dynamically linked'; then
	echo 'the binary is not static' >&2
	exit 1
fi
rm -f /tmp/weir-gate-$$

step 'every platform'
for platform in linux/386 linux/arm64 linux/arm darwin/amd64 darwin/arm64; do
	echo "   $platform"
	CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} go build -o /dev/null ./cmd/weir
	# vet compiles the tests too
done
CGO_ENABLED=0 GOOS=darwin GOARCH=arm64 go vet ./internal/... ./cmd/...
CGO_ENABLED=0 GOOS=linux GOARCH=386 go vet ./internal/... ./cmd/...

export CGO_ENABLED=1 # the race detector needs it
step tests
# Those of the binary wait more than they work, so they fill the gaps of the others.
go test -race -shuffle=on -timeout 15m ./test/platform ./test/script ./cmd/... ./internal/...

# By themselves, since they play media at its own pace.
step 'tests of the binary, with real clients'
go test -race -p 1 -timeout 15m ./test/interop ./test/performance
