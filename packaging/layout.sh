#!/bin/sh
# Makes SRS's work folder with weir in it: layout.sh DEST BINARY
#
#   objs/srs            weir
#   objs/nginx/html     pages and HLS files
#   conf/               a configuration for each name that SRS ships, and a
#                       certificate for this machine alone, made here
#   etc/init.d/srs      start, stop, restart, reload, status, logrotate, grace
#   usr/lib/systemd/system/srs.service
#
# The Dockerfile calls it, and so may whoever installs by hand. What is there
# already, but for the binary, is left alone.
set -eu
if [ $# != 2 ]; then
	echo "usage: $0 DEST BINARY" >&2
	exit 2
fi
dest=$1 binary=$2
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$dest/objs/nginx/html" "$dest/conf" "$dest/etc/init.d" "$dest/usr/lib/systemd/system"
# A running binary cannot be overwritten, but it can be replaced.
cp "$binary" "$dest/objs/srs.new"
chmod 755 "$dest/objs/srs.new"
mv -f "$dest/objs/srs.new" "$dest/objs/srs"
for f in "$here"/../conf/*.conf; do
	[ -e "$dest/conf/${f##*/}" ] || cp "$f" "$dest/conf/"
done
cp "$here/init.d/srs" "$dest/etc/init.d/srs"
chmod 755 "$dest/etc/init.d/srs"
cp "$here/weir.service" "$dest/usr/lib/systemd/system/srs.service"

# The https configurations name this pair. Browsers will not trust it.
if [ ! -e "$dest/conf/server.key" ]; then
	if command -v openssl >/dev/null; then
		(
			umask 077
			openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /CN=localhost \
				-keyout "$dest/conf/server.key" -out "$dest/conf/server.crt" 2>/dev/null
		)
		chmod 644 "$dest/conf/server.crt"
	else
		echo "$0: no openssl: conf/server.key and conf/server.crt are not made, the https configurations need them" >&2
	fi
fi
