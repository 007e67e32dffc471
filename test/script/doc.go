// Package script holds scripts of the binary as operators meet it: command line,
// exit codes, configuration, signals, log, background, image.
//
// Each .txtar file is a script of github.com/rogpeppe/go-internal/testscript: it
// runs the real binary in an empty folder on ports of its own, with ffmpeg as
// publisher and player. Files of a script that end in .conf have $RTMP, $HTTP,
// $API, $HTTPS, $HOOK and $SPARE replaced by free addresses of the loopback
// interface; live.conf, with RTMP, HTTP-FLV, HLS and API, is always there. The
// scripts' own words are told in commands_test.go.
//
// There is no code here, only tests. They need ffmpeg, and fail without it.
package script
