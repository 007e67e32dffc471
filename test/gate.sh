#!/bin/bash
# The whole gate. Cheap checks first; each step names itself, and the last one is
# the tests.
set -euo pipefail
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
go vet -tags long ./test/interop

step 'one static binary'
CGO_ENABLED=0 go build -trimpath -o /tmp/weir-gate-$$ ./cmd/weir
if file /tmp/weir-gate-$$ 2>/dev/null | grep -q 'dynamically linked'; then
	echo 'the binary is not static' >&2
	exit 1
fi
rm -f /tmp/weir-gate-$$

step 'every platform'
# Built and run for 386 and arm by test/platform, built for all by "make long".
go run ./test/typecheck linux/386 linux/arm linux/arm64 darwin/amd64 darwin/arm64

export CGO_ENABLED=1 # the race detector needs it

# second LOG PACKAGE... gives the tests that failed in LOG one more try, by themselves. Dozens of
# clients of other people at once on a machine that is busy with other work may starve
# one of them; that says nothing of weir. A test without processes has no such excuse, a
# race or a panic is not forgiven, nor are more than five tests, and what needed its second
# try is printed, to be mended.
second() {
	local first=$1 names
	shift
	names=$(sed -n 's/^--- FAIL: \([A-Za-z0-9_]*\) .*/\1/p' "$first" | sort -u)
	if grep -qE '^(panic:|fatal error:)|DATA RACE|^FAIL.*\[(build|setup) failed\]' "$first" ||
		grep -E '^FAIL[[:space:]]+weir/' "$first" | grep -qvE '[[:space:]]weir/test/' ||
		[ -z "$names" ] || [ "$(wc -w <<<"$names")" -gt 5 ]; then
		return 1
	fi
	step "once more, by themselves: $(echo $names)"
	go test -race -p 1 -parallel 1 -timeout 5m -run "^($(paste -sd '|' <<<"$names"))\$" "$@"
}

# why LOG says at the end, where it is found, what failed in LOG: races and panics with where
# they were, then the last words of packages that named no test (killed, or ended by a
# panic elsewhere), then those of each test, then all names. All of it is indented below a
# line as a test's, since some readers of the log keep only what looks like a test's words.
why() {
	step 'what failed'
	grep -E -A 30 'DATA RACE|^(panic:|fatal error:)' "$1" | head -120 | sed '1i --- FAIL: races and panics
s/^/    /' || true
	awk '/^(ok|\?|---|===)/ { n = 0; if (/^--- FAIL/) named = 1; if (!/^---/) named = 0; next }
		/^FAIL[ \t]+weir/ {
			if (!named) {
				print "--- FAIL: what " $2 " said at its end"
				for (i = n > 60 ? n - 59 : 1; i <= n; i++) print "    " words[i]
			}
			n = 0; named = 0; next
		}
		{ words[++n] = $0 }' "$1" | cut -c1-300 | head -150
	awk 'function tell() { for (i = n > 20 ? n - 19 : 1; i <= n; i++) print words[i]; n = 0 }
		/^(ok|FAIL|PASS|---|===|\?)/ { tell(); on = 0 }
		/^--- FAIL/ { on = 1; print }
		on && !/^---/ { words[++n] = $0 }
		END { tell() }' "$1" | cut -c1-300 | head -150
	grep -E '^(--- )?FAIL' "$1"
}

# tests FLAG-OR-PACKAGE... runs them all. What the first try says of a failure is marked
# as such, since the second decides.
tests() {
	local log packages
	log=$(mktemp)
	if ! go test -race -timeout 15m "$@" 2>&1 | tee "$log" | sed -u -E 's/^(--- )?FAIL/first try: &/'; then
		packages=$(sed -n -E 's/^FAIL[[:space:]]+(weir[^[:space:]]*).*/\1/p' "$log" | sort -u)
		# shellcheck disable=SC2086 # packages are words
		second "$log" $packages || { why "$log"; return 1; }
	fi
	rm -f "$log"
}

step tests
# Those of the binary wait more than they work, so they fill the gaps of the others.
tests -shuffle=on ./test/platform ./test/script ./cmd/... ./internal/...

# By themselves, since they play media at its own pace.
step 'tests of the binary, with real clients'
tests -p 1 ./test/interop ./test/performance
