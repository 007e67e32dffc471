//go:build race

package protocoltest

// Raced says that the race detector looks on, with which simulated days go ten times
// slower.
const Raced = true
