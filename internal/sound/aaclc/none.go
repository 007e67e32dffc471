//go:build noaac

package aaclc

import "errors"

var errNone = errors.New("this program was built without AAC (tag noaac)")

// ErrOther is never returned.
var ErrOther = errors.New("this is more than AAC-LC")

// FrameSize is how many samples per channel an access unit holds.
const FrameSize = 1024

// A Decoder cannot be had.
type Decoder struct{}

// NewDecoder returns an error.
func NewDecoder([]byte, int, int) (*Decoder, error) { return nil, errNone }

// Format is never called.
func (*Decoder) Format() (rate, channels int) { return 0, 0 }

// Decode is never called.
func (*Decoder) Decode([]byte) ([]int16, error) { return nil, errNone }

// An Encoder cannot be had.
type Encoder struct{}

// NewEncoder returns an error.
func NewEncoder(int, int, int) (*Encoder, error) { return nil, errNone }

// Encode is never called.
func (*Encoder) Encode(dst []byte, _ [][]float32) ([]byte, error) { return dst, errNone }

// Delay is never called.
func (*Encoder) Delay() int { return 0 }

// Config is never called.
func (*Encoder) Config() []byte { return nil }
