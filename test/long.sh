#!/bin/bash
# What takes too long for every change: every platform's build, simulated days at their full length (the race
# detector sees shorter ones), 100,000 viewers that come and go, recordings
# that are killed 50 times, Firefox, lips and freezes in a browser, also through loss, what SRT loses beside libsrt on ways that lose, and a while of fuzzing of every parser. Run it before a
# release: long.sh 1m
set -eu
cd "$(dirname "$0")/.."
ulimit -n "$(ulimit -Hn)"
command -v firefox-esr >/dev/null || apt-get install -y -qq --no-install-recommends firefox-esr >/dev/null
for platform in linux/386 linux/arm64 linux/arm darwin/amd64 darwin/arm64; do
	echo "building for $platform"
	CGO_ENABLED=0 GOOS=${platform%/*} GOARCH=${platform#*/} go build -o /dev/null ./cmd/weir
done
go test -run 'TestTimelineTwelveHours|TestHours' -timeout 20m ./internal/media ./internal/protocol/dash ./internal/protocol/hls
go test -run '^$' -bench Joins -benchtime 1x -timeout 20m ./test/performance
go test -run '^TestNoDropoutGapOrDrift$' -timeout 20m ./internal/sound -long
go test -run "^(TestLipSync|TestDASHCodecs|TestLowLatency|TestDeterministic|TestRTCThroughLoss|TestOriginCluster|TestRTCOverHTTPS|TestRTCScalable|TestRTCSimulcast|TestRTCSoundByFFmpeg|TestWebRTCBin|TestWHIPFromFFmpeg|TestUpgradePlayers|TestUpgradePublishers|TestTimeShift|TestSoundLikeFFmpeg|TestFirefox)\$" -tags long -timeout 40m ./test/interop -long
go test -run '^TestUpgradeRefusesNobody$' -timeout 20m -v ./test/script -args -connects 10000
go test -run '^TestRTSPPlayers$' -tags long -timeout 10m ./test/interop
go test -run '^TestDVRKilled$' -timeout 20m ./test/interop -kills 50
go test -run '^TestLossIsRare$' -timeout 20m -v ./internal/wire/srt -args -packets 200000
# A machine that stands still loses what SRT would not: these have its cores first, where that is allowed.
go test -c -o /tmp/weir-long-$$ ./test/performance
trap 'rm -f /tmp/weir-long-$$' EXIT
first=''
nice -n -20 true 2>/dev/null && first='nice -n -20'
(cd test/performance && $first /tmp/weir-long-$$ -test.run '^$' -test.bench 'SRTLoss|SRTServerLoss' -test.benchtime 1x -test.timeout 20m -span 60s)
./test/fuzz.sh "${1:-1m}"
