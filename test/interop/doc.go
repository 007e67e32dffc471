// Package interop proves the server with clients that others wrote.
//
// Each test starts the real binary, built with the race detector, on free ports
// of the loopback interface and lets real programs publish and play: ffmpeg 5 of
// Debian and FFmpeg 8 of npm, rtmpdump, GStreamer, VLC, curl, OBS and Chromium.
// What they received is compared with what was published, packet by packet or
// picture by picture; an answer that merely begins well proves nothing.
//
// There is no code here, only tests. They need the programs that test/install.sh
// installs, and fail where one is missing. Most of their time they wait for media
// to be played at its own pace, so many run side by side; how many programs may
// work at once is bounded, since two cores must do.
//
// What takes minutes is in files with the build tag long, or in a test's longer form behind
// the flag of that name; test/long.sh runs it.
package interop
