package protocoltest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
)

// none is a protocol of which nothing is served.
var none = service.Protocol{Name: "none", Phase: service.Doors, New: func(service.Env) (service.Service, error) { return idle{}, nil }}

type idle struct{}

func (idle) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// The suite must hold for clients that come to the desk itself, or it would
// blame protocols for what is not theirs.
func TestTheSuiteHolds(t *testing.T) {
	codes := Codes{Denied: "1052", NoVhost: "2014", EmptyName: "2051", BadName: "2051", Busy: "1028", Full: "1074", Shutdown: "1098"}
	Run(t, Door{Protocol: none, Publish: Publish, Play: Play, PublishCodes: codes, PlayCodes: codes,
		Code: func(err error) string { return fmt.Sprint(session.Code(err)) }})
}

func TestCheatsAreFound(t *testing.T) {
	h := Open(t, Options{Protocol: none})
	p, err := h.Env.Hub.Publish(name.Key(), hub.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Account(); err == nil || !strings.Contains(err.Error(), "publishes without the desk") {
		t.Errorf("a publication without the desk: %v", err)
	}
	h.mu.Lock()
	h.published = 0
	h.mu.Unlock()
	sub := h.Env.Hub.Subscribe(name.Key(), hub.Options{})
	if err := h.Account(); err == nil || !strings.Contains(err.Error(), "plays without the desk") {
		t.Errorf("a viewer without the desk: %v", err)
	}
	sub.Close()
	p.Close(nil)
}

func TestMarkTellsDamage(t *testing.T) {
	f := Video(Picture, 7, 10, 100)
	if got, err := Mark(f); got != "video 7" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	f.Payload[50]++
	if _, err := Mark(f); err == nil {
		t.Error("damage was not seen")
	}
	if _, err := Mark(Audio(1)); err != nil {
		t.Error(err)
	}
}
