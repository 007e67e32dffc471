package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
)

// shape returns what a JSON value looks like, in the notation of
// testdata/shapes.txt. Of an array the elements must look alike, or one of them
// be null where the others are not.
func shape(b []byte) (string, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	s, err := valueShape(d)
	if err != nil {
		return "", fmt.Errorf("%w in %s", err, b)
	}
	if _, err := d.Token(); err != io.EOF {
		return "", fmt.Errorf("something follows the value in %s", b)
	}
	return s, nil
}

var twoDecimals = regexp.MustCompile(`^-?[0-9]+\.[0-9]{2}$`)

func valueShape(d *json.Decoder) (string, error) {
	t, err := d.Token()
	if err != nil {
		return "", err
	}
	switch t := t.(type) {
	case nil:
		return "null", nil
	case bool:
		return "bool", nil
	case string:
		return "string", nil
	case json.Number:
		switch {
		case twoDecimals.MatchString(t.String()):
			return "float", nil
		case strings.ContainsAny(t.String(), ".eE"):
			return "number " + t.String(), nil
		}
		return "int", nil
	case json.Delim:
		var parts []string
		for d.More() {
			prefix := ""
			if t == '{' {
				key, err := d.Token()
				if err != nil {
					return "", err
				}
				prefix = key.(string) + ":"
			}
			s, err := valueShape(d)
			if err != nil {
				return "", err
			}
			parts = append(parts, prefix+s)
		}
		end, err := d.Token()
		if err != nil {
			return "", err
		}
		return t.String() + strings.Join(parts, " ") + end.(json.Delim).String(), nil
	}
	return "", fmt.Errorf("unexpected %v", t)
}

// A wanted is a parsed shape: what SRS has.
type wanted struct {
	kind     string // "int", "{", "["
	keys     []string
	members  []*wanted // of an object, in order; of an array, its element
	nullable bool
}

// parseShape reads the notation and returns what follows.
func parseShape(s string) (w *wanted, rest string, err error) {
	w = &wanted{}
	switch {
	case s == "":
		return nil, "", io.ErrUnexpectedEOF
	case s[0] == '{':
		w.kind, s = "{", s[1:]
		for s[0] != '}' {
			s = strings.TrimLeft(s, " ")
			key, after, ok := strings.Cut(s, ":")
			if !ok {
				return nil, "", fmt.Errorf("no key in %q", s)
			}
			m, after, err := parseShape(after)
			if err != nil {
				return nil, "", err
			}
			w.keys, w.members, s = append(w.keys, key), append(w.members, m), after
			if s == "" {
				return nil, "", io.ErrUnexpectedEOF
			}
		}
		s = s[1:]
	case s[0] == '[':
		w.kind, s = "[", s[1:]
		for s[0] != ']' {
			m, after, err := parseShape(strings.TrimLeft(s, " "))
			if err != nil {
				return nil, "", err
			}
			w.members, s = append(w.members, m), after
			if s == "" {
				return nil, "", io.ErrUnexpectedEOF
			}
		}
		s = s[1:]
	default:
		n := strings.IndexAny(s, " }]?")
		if n < 0 {
			n = len(s)
		}
		w.kind, s = s[:n], s[n:]
	}
	if strings.HasPrefix(s, "?") {
		w.nullable, s = true, s[1:]
	}
	return w, s, nil
}

// fits reports how got differs from what SRS has, "" if it does not: members
// of ours may follow SRS's, and nothing else.
func (w *wanted) fits(at string, got *wanted) string {
	if got.kind == "null" && w.nullable {
		return ""
	}
	if got.kind != w.kind {
		return fmt.Sprintf("%s is a %s, want %s", at, got.kind, w.kind)
	}
	switch w.kind {
	case "{":
		for i, key := range w.keys {
			if i >= len(got.keys) || got.keys[i] != key {
				return fmt.Sprintf("%s has the members %v, want them to begin with %v", at, got.keys, w.keys)
			}
			if s := w.members[i].fits(at+"."+key, got.members[i]); s != "" {
				return s
			}
		}
	case "[":
		if len(got.members) == 0 {
			return at + " is empty: nothing is proved"
		}
		for i, m := range got.members {
			if s := w.members[0].fits(fmt.Sprintf("%s[%d]", at, i), m); s != "" {
				return s
			}
		}
	}
	return ""
}

func TestShapes(t *testing.T) {
	h := newHouse(t)
	h.crowd()
	text, err := os.ReadFile("testdata/shapes.txt")
	if err != nil {
		t.Fatal(err)
	}
	names := strings.NewReplacer("VHOST", h.api.vhostID("__defaultVhost__"), "STREAM", h.stream.ID, "PUBLISHER", h.publisher.ID)
	var request string
	n := 0
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line[0] != '\t':
			request = line
		default:
			n++
			want, rest, err := parseShape(line[1:])
			if err != nil || rest != "" {
				t.Fatalf("%s: %v %q", request, err, rest)
			}
			method, path, _ := strings.Cut(request, " ")
			res := h.ask(method, names.Replace(path))
			if res.Code != 200 || res.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s: %d, %s", request, res.Code, res.Header().Get("Content-Type"))
			}
			got, err := shape(res.Body.Bytes())
			if err != nil {
				t.Errorf("%s: %v", request, err)
				continue
			}
			parsed, _, err := parseShape(got)
			if err != nil {
				t.Fatalf("%s: shape %q: %v", request, got, err)
			}
			if s := want.fits("", parsed); s != "" {
				t.Errorf("%s: %s", request, s)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d shapes", n)
	}
}

// A stream that nobody publishes, and one without media yet, have null where
// SRS has.
func TestShapesOfSilence(t *testing.T) {
	h := newHouse(t)
	h.play("rtmp-play", "waiting", "")
	h.publish("empty")
	rows := h.list("/api/v1/streams/", "streams")
	if len(rows) != 2 {
		t.Fatalf("%d streams", len(rows))
	}
	for _, row := range rows {
		p := row["publish"].(map[string]any)
		if live := row["name"] == "empty"; p["active"] != live || (p["cid"] != "") != live {
			t.Errorf("%v: publish is %v", row["name"], p)
		}
		if v, ok := row["video"]; v != nil || !ok {
			t.Errorf("%v: video is %v, want null", row["name"], v)
		}
		if v, ok := row["audio"]; v != nil || !ok {
			t.Errorf("%v: audio is %v, want null", row["name"], v)
		}
		if row["clients"] != float64(1) {
			t.Errorf("%v: %v clients, want 1", row["name"], row["clients"])
		}
	}
}

func TestEmptyListsAreLists(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{"streams", "clients"} {
		if got := h.ask("GET", "/api/v1/"+name+"/").Body.String(); !strings.HasSuffix(got, `"`+name+`":[],"total":0}`) {
			t.Errorf("%s: %s", name, got)
		}
	}
}
