//go:build !linux || 386 || s390x

package bench

import (
	"context"
	"errors"
)

func measureFloor(context.Context, way, LimitOptions) (Floor, error) {
	return Floor{}, errors.New("is measured on 64-bit Linux only")
}
