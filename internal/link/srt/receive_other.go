//go:build !unix

package srt

import "errors"

// receive leaves datagrams to the poller.
func receive(uintptr, []byte) (int, error) { return 0, errors.ErrUnsupported }
