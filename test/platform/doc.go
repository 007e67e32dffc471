// Package platform proves the server on other processors than this one: 386 and
// arm, under Debian's qemu-user, which runs a foreign program on this kernel.
//
// The tests of the pure rooms run there, short, and so does the server itself,
// with a real publisher and a real player from here. docs/platforms.md says which
// platforms are built, which are run, and what the emulator cannot do.
//
// There is no code here, only tests. They need qemu-user and ffmpeg, and fail
// without them.
package platform
