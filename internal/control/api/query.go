package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// selectRows cuts a list as a request wants it, and returns how many rows it cuts
// from. SRS has start and count, whose count is at least ten; ours are
//
//	where=FIELD:VALUE   rows with that value only; may be repeated
//	sort=FIELD, -FIELD  in that order, else in SRS's
//	limit=N             so many rows, from 1 to 1000, in place of count
//
// A field is called as in the answer; one of an object within is OBJECT.FIELD.
// Vhosts may be called by their name.
func selectRows[T any](a *API, r *http.Request, rows []T) (page []T, total int, err error) {
	q := r.URL.Query()
	for _, w := range q["where"] {
		if rows, err = where(a, rows, w); err != nil {
			return nil, 0, err
		}
	}
	if by := q.Get("sort"); by != "" {
		if err := sortRows(rows, by); err != nil {
			return nil, 0, err
		}
	}
	start, _ := strconv.Atoi(q.Get("start"))
	count, _ := strconv.Atoi(q.Get("count"))
	count = max(10, count)
	if l := q.Get("limit"); l != "" {
		if count, err = strconv.Atoi(l); err != nil || count < 1 || count > 1000 {
			return nil, 0, errors.New("limit is a number from 1 to 1000")
		}
	}
	start = min(max(start, 0), len(rows))
	return rows[start : start+min(len(rows)-start, count)], len(rows), nil
}

// where keeps the rows whose field has a value.
func where[T any](a *API, rows []T, condition string) ([]T, error) {
	name, want, ok := strings.Cut(condition, ":")
	path, err := fieldOf(reflect.TypeFor[T](), name)
	if !ok || err != nil {
		return nil, errors.Join(errors.New("where is FIELD:VALUE"), err)
	}
	if name == "vhost" {
		want = a.knownVhost(want)
	}
	return slices.DeleteFunc(slices.Clone(rows), func(row T) bool {
		v, ok := valueOf(reflect.ValueOf(row), path)
		return !ok || fmt.Sprint(v.Interface()) != want
	}), nil
}

// sortRows sorts by a field, downwards if a minus stands before it.
func sortRows[T any](rows []T, by string) error {
	name, down := strings.CutPrefix(by, "-")
	path, err := fieldOf(reflect.TypeFor[T](), name)
	if err != nil {
		return err
	}
	slices.SortStableFunc(rows, func(x, y T) int {
		a, okA := valueOf(reflect.ValueOf(x), path)
		b, okB := valueOf(reflect.ValueOf(y), path)
		c := 0
		switch {
		case okA && okB:
			c = compare(a, b)
		case okA:
			c = 1
		case okB:
			c = -1
		}
		if down {
			return -c
		}
		return c
	})
	return nil
}

// fieldOf finds a field by its path of JSON names.
func fieldOf(t reflect.Type, name string) (path []int, err error) {
	for part := range strings.SplitSeq(name, ".") {
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		at := -1
		if t.Kind() == reflect.Struct {
			for i := range t.NumField() {
				if tag, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); tag == part && part != "" {
					at = i
				}
			}
		}
		if at < 0 {
			return nil, fmt.Errorf("there is no field %.40q", name)
		}
		path, t = append(path, at), t.Field(at).Type
	}
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return path, nil
	}
	return nil, fmt.Errorf("the field %.40q has no one value", name)
}

// valueOf follows a path; false where it leads through null.
func valueOf(v reflect.Value, path []int) (reflect.Value, bool) {
	for _, i := range path {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	return v, true
}

func compare(a, b reflect.Value) int {
	switch a.Kind() {
	case reflect.String:
		return strings.Compare(a.String(), b.String())
	case reflect.Bool:
		return cmp.Compare(map[bool]int{true: 1}[a.Bool()], map[bool]int{true: 1}[b.Bool()])
	case reflect.Float64:
		return cmp.Compare(a.Float(), b.Float())
	case reflect.Uint64:
		return cmp.Compare(a.Uint(), b.Uint())
	}
	return cmp.Compare(a.Int(), b.Int())
}

// knownVhost returns the id of a vhost by its name, or what it was given.
func (a *API) knownVhost(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return cmp.Or(a.vhosts[name], name)
}
