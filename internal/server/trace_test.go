package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// What it took to be let in reaches a collector when the server stops at the latest:
// one span for who was admitted, one for who was refused, and under each the callback,
// which was told of it.
func TestSpans(t *testing.T) {
	var mu sync.Mutex
	var spans []*otlp.Span
	parents := map[string]bool{} // in the header traceparent of callbacks
	at := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		switch r.URL.Path {
		case "/v1/traces":
			var sent collector.ExportTraceServiceRequest
			if err := proto.Unmarshal(body, &sent); err != nil {
				t.Error(err)
			}
			for _, rs := range sent.ResourceSpans {
				for _, ss := range rs.ScopeSpans {
					spans = append(spans, ss.Spans...)
				}
			}
		case "/hook":
			parents[r.Header.Get("Traceparent")] = true
			if strings.Contains(string(body), `"stream":"no"`) {
				io.WriteString(w, "1")
				return
			}
			io.WriteString(w, "0")
		}
	}))
	defer at.Close()
	h := open(t, "traces { enabled on; endpoint "+at.URL+"/v1/traces; }", "http_hooks { enabled on; on_play "+at.URL+"/hook?token=secret; }")
	h.publish("yes", 5)
	for _, name := range []string{"yes", "no"} {
		resp, err := http.Get("http://" + h.http + "/live/" + name + ".flv")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	h.stop(nil)

	mu.Lock()
	defer mu.Unlock()
	plays, calls := map[string]*otlp.Span{}, map[string]*otlp.Span{}
	for _, s := range spans {
		switch s.Name {
		case "play":
			plays[attribute(s, "weir.stream")] = s
		case "publish":
		case "on_play":
			calls[string(s.ParentSpanId)] = s
		default:
			t.Errorf("a span %s", s.Name)
		}
	}
	for name, failed := range map[string]bool{"yes": false, "no": true} {
		s := plays[name]
		if s == nil {
			t.Errorf("%s: no span among %d", name, len(spans))
			continue
		}
		call := calls[string(s.SpanId)]
		if (s.GetStatus().GetCode() == otlp.Status_STATUS_CODE_ERROR) != failed || attribute(s, "weir.protocol") != "flv" || attribute(s, "client.address") != "127.0.0.1" || call == nil {
			t.Errorf("%s: %v, its call %v", name, s, call)
			continue
		}
		if u := attribute(call, "url.full"); !strings.HasSuffix(u, "/hook?token=***") {
			t.Errorf("%s: the callback's address is %s", name, u)
		}
		told := false
		for p := range parents {
			told = told || strings.HasPrefix(p, "00-"+hex(call.TraceId)+"-"+hex(call.SpanId))
		}
		if !told {
			t.Errorf("%s: the callback was told %v", name, parents)
		}
	}
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func attribute(s *otlp.Span, name string) string {
	for _, a := range s.Attributes {
		if a.Key == name {
			return a.Value.GetStringValue()
		}
	}
	return ""
}

// A collector that is not there costs the server nothing but a warning.
func TestNoCollector(t *testing.T) {
	at := httptest.NewServer(http.NotFoundHandler())
	at.Close()
	h := open(t, "traces { enabled on; endpoint "+at.URL+"/v1/traces; }", "")
	h.publish("s", 5)
	resp, err := http.Get("http://" + h.http + "/live/s.flv")
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%v, %v", resp, err)
	}
	resp.Body.Close()
	h.stop(nil)
}
