//go:build race

package media

// raced says that the race detector looks on, with which all goes ten times slower.
const raced = true
