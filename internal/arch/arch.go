// Package arch holds the tests that keep the house standing: who may import
// whom, which modules from outside are let in, and how large a file may grow.
// It has no code of its own.
package arch
