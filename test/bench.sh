#!/bin/bash
# Installs what weir is compared with, measures, and writes docs/performance.md.
# It takes some 25 minutes; more arguments go to the benchmark, such as -rounds 1.
set -eu
cd "$(dirname "$0")/.."
if ! command -v nginx >/dev/null 2>&1 || [ ! -e /usr/lib/nginx/modules/ngx_rtmp_module.so ] || ! command -v ffmpeg >/dev/null 2>&1; then
	if [ "$(id -u)" != 0 ]; then
		printf 'Install these as root, then run again:\n\n    apt-get install nginx-light libnginx-mod-rtmp ffmpeg\n\n' >&2
		exit 1
	fi
	policy=/usr/sbin/policy-rc.d # no daemon is to start because its package was installed
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends nginx-light libnginx-mod-rtmp ffmpeg >/dev/null
fi
ulimit -n "$(ulimit -Hn)"
go test -run '^$' -bench Performance -benchtime 1x -timeout 60m ./test/performance -doc "$PWD/docs/performance.md" "$@"
