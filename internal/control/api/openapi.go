package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"weir/internal/host"
	"weir/internal/service"
)

// An endpoint is what one path and verb does. The table of them is the document
// /api/v1/openapi.json and the reference page, and tests hold every reply against
// it.
type endpoint struct {
	Method, Path string
	Summary      string
	Own          bool // weir's, not SRS's
	Guarded      bool // see guarded
	Params       []param
	Body         string // what the request's body is
	Replies      []any  // values of the types that may answer
	Text         bool   // the answer is text, not JSON
	Status       int    // of the answer, 200 if 0
}

type param struct {
	Name, In, Doc string
}

// The payloads of answers that are written in place elsewhere.
type (
	dataReply[T any] struct {
		reply
		Data T `json:"data"`
	}
	urlsReply[T any] struct {
		reply
		URLs T `json:"urls"`
	}
	v1Reply struct {
		reply
		URLs  index `json:"urls"`
		Tests tests `json:"tests"`
	}
	v1Only struct {
		V1 string `json:"v1"`
	}
	rawReply struct {
		Code int `json:"code"`
		API  Raw `json:"http_api"`
	}
	reloadReply struct {
		Code int       `json:"code"`
		Data rawReload `json:"data"`
		Plan any       `json:"plan,omitempty"`
	}
)

var (
	pageParams = []param{
		{"start", "query", "how many rows are left out, from 0"},
		{"count", "query", "how many rows, at least 10 as in SRS"},
		{"limit", "query", "how many rows, from 1 to 1000, in place of count (weir)"},
		{"sort", "query", "a field; a minus before it turns the order round (weir)"},
		{"where", "query", "FIELD:VALUE, rows with that value only; may be repeated (weir)"},
	}
	jsonp = param{"callback", "query", "JSONP: the name of a function, an identifier"}
	idOf  = func(what string) param { return param{"id", "path", "the id of the " + what} }
)

// endpoints lists all, in the order of the documents. plan is a value of the type
// that Settings.Plan returns.
func endpoints(h *host.Host, plan any) []endpoint {
	planReply := reflect.StructOf([]reflect.StructField{
		{Name: "Code", Type: reflect.TypeFor[int](), Tag: `json:"code"`}, {Name: "Server", Type: reflect.TypeFor[string](), Tag: `json:"server"`},
		{Name: "Service", Type: reflect.TypeFor[string](), Tag: `json:"service"`}, {Name: "PID", Type: reflect.TypeFor[string](), Tag: `json:"pid"`},
		{Name: "Data", Type: reflect.TypeOf(plan), Tag: `json:"data"`}})
	plans := reflect.New(planReply).Elem().Interface()
	fact := func(path, summary string, v any) endpoint {
		return endpoint{Method: "GET", Path: path, Summary: summary, Replies: []any{dataReply[any]{Data: v}}}
	}
	return []endpoint{
		{Method: "GET", Path: "/api/", Summary: "the versions of the API", Replies: []any{urlsReply[v1Only]{}}},
		{Method: "GET", Path: "/api/v1/", Summary: "the endpoints", Replies: []any{v1Reply{}}},
		{Method: "GET", Path: "/api/v1/versions", Summary: "the SRS level that this server speaks", Replies: []any{dataReply[version]{}}},
		{Method: "GET", Path: "/api/v1/summaries", Summary: "process and machine: processor, memory, network, load; standing complaints", Replies: []any{dataReply[summary]{}}},
		fact("/api/v1/rusages", "resource usage of the process", h.Rusage()),
		fact("/api/v1/self_proc_stats", "state of the process, as the kernel counts", h.SelfStat()),
		fact("/api/v1/system_proc_stats", "processor times of the machine", h.SystemStat()),
		fact("/api/v1/meminfos", "memory of the machine", h.Memory()),
		{Method: "GET", Path: "/api/v1/authors", Summary: "license and contributors", Replies: []any{dataReply[authors]{}}},
		{Method: "GET", Path: "/api/v1/features", Summary: "what this server can do", Replies: []any{dataReply[featureReply]{}}},
		{Method: "GET", Path: "/api/v1/vhosts/", Summary: "all vhosts", Params: pageParams, Replies: []any{vhostList{}}},
		{Method: "GET", Path: "/api/v1/vhosts/{id}", Summary: "one vhost; code 2014 for none", Params: []param{idOf("vhost")}, Replies: []any{vhostReply{}, onlyCode{}}},
		{Method: "GET", Path: "/api/v1/streams/", Summary: "all streams that somebody publishes or plays", Params: pageParams, Replies: []any{streamList{}}},
		{Method: "GET", Path: "/api/v1/streams/{id}", Summary: "one stream, with its tracks, rates and health; code 2048 for none", Params: []param{idOf("stream")}, Replies: []any{streamReply{}, onlyCode{}}},
		{Method: "DELETE", Path: "/api/v1/streams/{id}", Own: true, Guarded: true, Summary: "end the publisher of a stream, or its players",
			Params: []param{idOf("stream"), {"who", "query", "publisher (the default), players or all"}}, Replies: []any{ended{}, onlyCode{}}},
		{Method: "GET", Path: "/api/v1/clients/", Summary: "all clients that publish or play", Params: pageParams, Replies: []any{clientList{}}},
		{Method: "GET", Path: "/api/v1/clients/{id}", Summary: "one client, with its connection; code 2049 for none", Params: []param{idOf("client")}, Replies: []any{clientReply{}, onlyCode{}}},
		{Method: "DELETE", Path: "/api/v1/clients/{id}", Summary: "end a client; code 2049 for none", Params: []param{idOf("client")}, Replies: []any{reply{}, onlyCode{}}},
		{Method: "GET", Path: "/api/v1/history/clients", Own: true, Summary: "who has published and played, and why it ended, the newest first, for as long as http_api.history says", Params: pageParams, Replies: []any{pastClientList{}}},
		{Method: "GET", Path: "/api/v1/history/streams", Own: true, Summary: "publications that are over, with what they were, the newest first", Params: pageParams, Replies: []any{pastStreamList{}}},
		{Method: "GET", Path: "/api/v1/events", Own: true, Guarded: true, Text: true,
			Summary: "what happens, as it happens, as server-sent events: connect, publish, unpublish, play, stop, close, hls and dvr, and lost for those that came too fast; Last-Event-ID goes on where a listener was",
			Params:  []param{{"only", "query", "kinds of event, with commas"}}},
		{Method: "GET", Path: "/api/v1/raw", Summary: "rpc=raw: the configuration of the API; rpc=reload: read the configuration again; rpc=reload-fetch: how that went; code 1060 and 1061 for what is unknown or off",
			Params: []param{{"rpc", "query", "raw, reload or reload-fetch"}}, Replies: []any{rawReply{}, reloadReply{}, onlyCode{}}},
		{Method: "POST", Path: "/api/v1/reload", Own: true, Guarded: true, Summary: "read the configuration again, and tell what it changes", Replies: []any{plans}},
		{Method: "POST", Path: "/api/v1/plan", Own: true, Guarded: true, Summary: "tell what another configuration would change", Body: "the text of a configuration", Replies: []any{plans}},
		{Method: "GET", Path: "/api/v1/clusters", Summary: "where a stream is, for other servers of an origin cluster",
			Params:  []param{{"vhost", "query", ""}, {"app", "query", ""}, {"stream", "query", ""}, {"ip", "query", "the address by which the asker knows this server"}, {"coworker", "query", "the same, with the port of the API"}},
			Replies: []any{clustersReply{}}},
		{Method: "GET", Path: "/api/v1/tests/requests", Summary: "what the server saw of the request", Replies: []any{dataReply[requestReply]{}}},
		{Method: "GET", Path: "/api/v1/tests/errors", Summary: "always code 100", Replies: []any{onlyCode{}}},
		{Method: "GET", Path: "/api/v1/tests/redirects", Summary: "always redirects to errors", Text: true, Status: http.StatusMovedPermanently},
		{Method: "GET", Path: "/api/v1/openapi.json", Own: true, Summary: "this document"},
		{Method: "GET", Path: "/metrics", Summary: "metrics for Prometheus, as text; code 1090 while exporter is off", Replies: []any{onlyCode{}}, Text: true},
		{Method: "GET", Path: "/healthz", Own: true, Summary: "ok while the process lives", Text: true},
		{Method: "GET", Path: "/readyz", Own: true, Summary: "ready while newcomers are let in, else 503", Text: true},
	}
}

// endpointOf is an endpoint of a part.
func endpointOf(p service.Endpoint) endpoint {
	e := endpoint{Method: p.Method, Path: "/api/v1/" + p.Path, Summary: p.Summary, Own: true, Guarded: true, Replies: []any{enveloped{Own: p.Reply}}}
	for _, q := range p.Params {
		e.Params = append(e.Params, param{q[0], "query", q[1]})
	}
	return e
}

// enveloped is the answer of a part: its members beside those of the envelope.
type enveloped struct {
	reply
	Own any
}

// OpenAPI returns the document for a version of the server, with the endpoints of
// its parts. plan is a value of the type that Settings.Plan returns.
func OpenAPI(version string, h *host.Host, plan any, parts ...service.Endpoint) []byte {
	paths := map[string]map[string]any{}
	all := endpoints(h, plan)
	for _, p := range parts {
		all = append(all, endpointOf(p))
	}
	for _, e := range all {
		if paths[e.Path] == nil {
			paths[e.Path] = map[string]any{}
		}
		paths[e.Path][strings.ToLower(e.Method)] = e.operation()
	}
	doc := map[string]any{
		"openapi": "3.1.0",
		"info": map[string]any{"title": "weir", "version": version,
			"description": "SRS's HTTP API and what weir adds to it. Answers have status 200 and SRS's number in code, but for refusals of weir's own endpoints, which have an error in words."},
		"paths": paths,
		"components": map[string]any{
			"securitySchemes": map[string]any{"basic": map[string]any{"type": "http", "scheme": "basic"}, "bearer": map[string]any{"type": "http", "scheme": "bearer"}},
			"schemas":         map[string]any{"refusal": schemaOf(reflect.ValueOf(refusal{}))},
		},
		"security": []any{map[string]any{}, map[string]any{"basic": []string{}}, map[string]any{"bearer": []string{}}},
	}
	b, _ := json.MarshalIndent(doc, "", " ") // maps, strings and numbers: it cannot fail
	return append(b, '\n')
}

func (e *endpoint) operation() map[string]any {
	status := "200"
	if e.Status != 0 {
		status = fmt.Sprint(e.Status)
	}
	answer := map[string]any{"description": "the answer"}
	content := map[string]any{}
	if e.Text {
		content["text/plain"] = map[string]any{"schema": map[string]any{"type": "string"}}
	}
	var all []any
	for _, r := range e.Replies {
		all = append(all, schemaOf(reflect.ValueOf(r)))
	}
	switch {
	case len(all) == 1:
		content["application/json"] = map[string]any{"schema": all[0]}
	case len(all) > 1:
		content["application/json"] = map[string]any{"schema": map[string]any{"anyOf": all}}
	case !e.Text:
		content["application/json"] = map[string]any{"schema": map[string]any{"type": "object"}}
	}
	answer["content"] = content
	replies := map[string]any{status: answer}
	if e.Guarded || slices.ContainsFunc(e.Params, func(p param) bool { return p.Name == "where" }) {
		replies["4XX"] = map[string]any{"description": "refused, and why",
			"content": map[string]any{"application/json": map[string]any{"schema": map[string]any{"$ref": "#/components/schemas/refusal"}}}}
	}
	op := map[string]any{"summary": e.Summary, "tags": []string{map[bool]string{false: "SRS", true: "weir"}[e.Own]}, "responses": replies}
	if e.Guarded {
		op["description"] = "From the machine itself, or with http_api.auth on; not for pages of other sites, nor by JSONP."
	}
	params := e.Params
	if !e.Own && !e.Text {
		params = append(params[:len(params):len(params)], jsonp)
	}
	var ps []any
	for _, p := range params {
		ps = append(ps, map[string]any{"name": p.Name, "in": p.In, "required": p.In == "path", "description": p.Doc, "schema": map[string]any{"type": "string"}})
	}
	if ps != nil {
		op["parameters"] = ps
	}
	if e.Body != "" {
		op["requestBody"] = map[string]any{"description": e.Body, "required": true, "content": map[string]any{"text/plain": map[string]any{"schema": map[string]any{"type": "string"}}}}
	}
	return op
}

// schemaOf returns the JSON schema of a value's type. What the type leaves open, an
// interface, is taken from the value.
func schemaOf(v reflect.Value) map[string]any {
	if v.Type() == reflect.TypeFor[host.Fixed2]() {
		return map[string]any{"type": "number"}
	}
	if m, ok := v.Interface().(json.Marshaler); ok && v.Kind() != reflect.Pointer {
		return schemaOfJSON(m)
	}
	switch v.Kind() {
	case reflect.Bool:
		return map[string]any{"type": "boolean"}
	case reflect.String:
		return map[string]any{"type": "string"}
	case reflect.Float64:
		return map[string]any{"type": "number"}
	case reflect.Slice:
		return map[string]any{"type": "array", "items": schemaOf(reflect.New(v.Type().Elem()).Elem())}
	case reflect.Map:
		return map[string]any{"type": "object", "additionalProperties": schemaOf(reflect.New(v.Type().Elem()).Elem())}
	case reflect.Pointer:
		s := schemaOf(reflect.New(v.Type().Elem()).Elem())
		s["type"] = []any{s["type"], "null"}
		return s
	case reflect.Interface:
		if v.IsNil() {
			return map[string]any{}
		}
		return schemaOf(v.Elem())
	case reflect.Struct:
		s := map[string]any{"type": "object", "additionalProperties": false}
		props, required := map[string]any{}, []string{}
		addFields(v, props, &required)
		s["properties"], s["required"] = props, required
		return s
	}
	return map[string]any{"type": "integer"}
}

func addFields(v reflect.Value, props map[string]any, required *[]string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if v.Type() == reflect.TypeFor[enveloped]() && f.Name == "Own" {
			if own := v.Field(i).Elem(); own.Kind() == reflect.Struct {
				addFields(own, props, required)
			}
			continue
		}
		if f.Anonymous {
			addFields(v.Field(i), props, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		props[name] = schemaOf(v.Field(i))
		if options != "omitempty" {
			*required = append(*required, name)
		}
	}
}

// schemaOfJSON returns the schema of what a value writes itself.
func schemaOfJSON(m json.Marshaler) map[string]any {
	b, err := m.MarshalJSON()
	var members map[string]any
	if err != nil || json.Unmarshal(b, &members) != nil {
		return map[string]any{}
	}
	props, required := map[string]any{}, []string{}
	for name, x := range members {
		props[name] = map[string]any{"type": map[bool]string{true: "boolean"}[x == true]}
		switch x.(type) {
		case bool:
		case string:
			props[name] = map[string]any{"type": "string"}
		default:
			props[name] = map[string]any{"type": "number"}
		}
		required = append(required, name)
	}
	slices.Sort(required)
	return map[string]any{"type": "object", "additionalProperties": false, "properties": props, "required": required}
}

func (a *API) openAPI(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(OpenAPI(a.env.Version, a.env.Host, a.set.PlanType, a.env.Endpoints.All()...))
}

// Reference returns the reference page, in Markdown.
func Reference(h *host.Host, plan any) []byte {
	var b bytes.Buffer
	b.WriteString(`<!-- Made by "go generate ./internal/control/api". Do not edit. -->

# HTTP API

SRS's endpoints and weir's, as /api/v1/openapi.json of a running server has them too. Answers are JSON with status 200 and
SRS's number in ` + "`code`" + `, 0 for success; ` + "`?callback=NAME`" + ` makes SRS's JSONP. Members that weir adds follow SRS's.

Endpoints marked *guarded* change the server or tell what only its operator should know. They are answered to requests from
the machine itself, and to all that pass http_api.auth where that is on; by the verb itself; not for pages of other sites.
Refusals of weir's own endpoints have a status of 400 or above and ` + "`{\"code\":N,\"error\":\"why\"}`" + `.
`)
	for _, e := range endpoints(h, plan) {
		marks := ""
		if e.Own {
			marks = " (weir"
			if e.Guarded {
				marks += ", *guarded*"
			}
			marks += ")"
		}
		fmt.Fprintf(&b, "\n## %s %s\n\n%s%s.\n", e.Method, e.Path, strings.ToUpper(e.Summary[:1])+e.Summary[1:], marks)
		if len(e.Params)+len(e.Body) > 0 {
			b.WriteByte('\n')
		}
		for _, p := range e.Params {
			fmt.Fprintf(&b, "- `%s` (%s) %s\n", p.Name, p.In, p.Doc)
		}
		if e.Body != "" {
			fmt.Fprintf(&b, "- body: %s\n", e.Body)
		}
		for _, r := range e.Replies {
			if _, ok := r.(onlyCode); ok && len(e.Replies) > 1 {
				continue
			}
			fmt.Fprintf(&b, "\n    %s\n", sketch(schemaOf(reflect.ValueOf(r)), reflect.ValueOf(r)))
		}
	}
	return b.Bytes()
}

// sketch draws a schema in one line, its members in the order of the type.
func sketch(s map[string]any, v reflect.Value) string {
	for v.IsValid() && (v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface) {
		if v.IsNil() {
			if v.Kind() == reflect.Interface {
				return "any"
			}
			v = reflect.New(v.Type().Elem()).Elem()
			continue
		}
		v = v.Elem()
	}
	null := ""
	kind, _ := s["type"].(string)
	if types, ok := s["type"].([]any); ok {
		kind, null = types[0].(string), "?"
	}
	switch kind {
	case "object":
		props, ok := s["properties"].(map[string]any)
		if !ok {
			return "{NAME: ...}" + null
		}
		var parts []string
		if v.IsValid() && v.Kind() == reflect.Struct {
			parts = sketchFields(props, v)
		} else {
			for _, name := range s["required"].([]string) {
				parts = append(parts, name+": "+sketch(props[name].(map[string]any), reflect.Value{}))
			}
		}
		return "{" + strings.Join(parts, ", ") + "}" + null
	case "array":
		item := reflect.Value{}
		if v.IsValid() && v.Kind() == reflect.Slice {
			item = reflect.New(v.Type().Elem()).Elem()
		}
		return "[" + sketch(s["items"].(map[string]any), item) + "]" + null
	case "":
		return "any"
	}
	return kind + null
}

func sketchFields(props map[string]any, v reflect.Value) (parts []string) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous {
			parts = append(parts, sketchFields(props, v.Field(i))...)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		p, ok := props[name].(map[string]any)
		if !ok {
			continue
		}
		if options == "omitempty" {
			name += "?"
		}
		parts = append(parts, name+": "+sketch(p, v.Field(i)))
	}
	return parts
}
