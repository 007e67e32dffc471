#!/bin/bash
# What takes too long for every change: simulated days at their full length (the race
# detector sees shorter ones), 100,000 viewers that come and go, recordings
# that are killed 50 times, lips and freezes in a browser, what SRT loses beside libsrt on ways that lose, and a while of fuzzing of every parser. Run it before a
# release: long.sh 1m
set -eu
cd "$(dirname "$0")/.."
ulimit -n "$(ulimit -Hn)"
go test -run 'TestTimelineTwelveHours|TestHours' -timeout 20m ./internal/media ./internal/protocol/dash ./internal/protocol/hls
go test -run '^$' -bench Joins -benchtime 1x -timeout 20m ./test/performance
go test -run '^TestLipSync$' -timeout 20m ./test/interop -long
go test -run '^TestDVRKilled$' -timeout 20m ./test/interop -kills 50
go test -run '^TestLossIsRare$' -timeout 20m -v ./internal/wire/srt -args -packets 200000
go test -run '^$' -bench SRTLoss -benchtime 1x -timeout 20m ./test/performance
./test/fuzz.sh "${1:-1m}"
