package service

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestGuard(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, nil))
	usual := errors.New("usual")
	if err := Guard(log, func() error { return usual }); !errors.Is(err, usual) || out.Len() != 0 {
		t.Errorf("an error is %v, and %q is written", err, &out)
	}
	err := Guard(log, func() error {
		var m map[string]int
		m["x"] = 1
		return nil
	})
	if !errors.Is(err, ErrFault) || !strings.Contains(err.Error(), "nil map") {
		t.Errorf("a panic is %v", err)
	}
	if s := out.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "TestGuard") {
		t.Errorf("written: %s", s)
	}
}
