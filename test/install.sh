#!/bin/bash
# Installs what the tests need and a Debian machine with Go may lack: programs by
# apt (as root), and the clients that come through npm, in an ignored folder.
# What is there already is left alone.
set -eu
cd "$(dirname "$0")/.."

say() { printf '== %s\n' "$*"; }

# program:package
want='gcc:gcc ffmpeg:ffmpeg ffprobe:ffmpeg ffplay:ffmpeg chromium:chromium rtmpdump:rtmpdump gst-launch-1.0:gstreamer1.0-tools
python3:python3 cvlc:vlc-bin node:nodejs npm:npm Xvfb:xvfb obs:obs-studio qemu-i386:qemu-user qemu-arm:qemu-user systemd-analyze:systemd unshare:util-linux openssl:openssl curl:curl setpriv:util-linux file:file yt-dlp:yt-dlp promtool:prometheus nginx:nginx-light srt-live-transmit:srt-tools sipp:sip-tester'
packages=''
for pair in $want; do
	command -v "${pair%%:*}" >/dev/null 2>&1 || packages="$packages ${pair##*:}"
done
# Libraries and plug-ins have no program to look for.
for package in libc6-dev gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly gstreamer1.0-libav vlc-plugin-base python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-nice gir1.2-gst-plugins-bad-1.0 libnginx-mod-rtmp fonts-dejavu-core; do
	dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || packages="$packages $package"
done
if [ -n "$packages" ]; then
	say "installing$packages"
	if [ "$(id -u)" != 0 ]; then
		printf 'The tests need these packages; install them as root, then run again:\n\n    apt-get install%s\n\n' "$packages" >&2
		exit 1
	fi
	# No daemon is to start because its package was installed.
	policy=/usr/sbin/policy-rc.d
	if [ ! -e "$policy" ]; then
		printf '#!/bin/sh\nexit 101\n' >"$policy"
		chmod +x "$policy"
		trap 'rm -f "$policy"' EXIT
	fi
	export DEBIAN_FRONTEND=noninteractive
	apt-get update -qq
	# shellcheck disable=SC2086
	apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

if [ ! test/clients/node_modules/.installed -nt test/clients/package-lock.json ]; then
	say 'installing clients from npm'
	(cd test/clients && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error && touch node_modules/.installed)
fi
