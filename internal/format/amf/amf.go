// Package amf reads and writes the values of Adobe's Action Message Format:
// AMF0 whole, and the plain values of AMF3 where AMF0 switches to it.
//
// Values are ordinary Go values. Objects keep the order of their properties,
// because peers print them and tests compare them:
//
//	number                 float64
//	boolean                bool
//	string, long string    string
//	object                 Object
//	typed object           TypedObject
//	ECMA array             ECMAArray
//	strict array           StrictArray
//	date                   Date
//	XML document           XML
//	byte array (AMF3)      Bytes
//	null                   nil
//	undefined, unsupported Undefined
//
// References are resolved while decoding. Whatever the input says, a decoded
// value seen as a tree has at most [MaxNodes] nodes and [MaxDepth] levels, so
// walking it or writing it again is bounded too, and it holds no more bytes of
// text than the input has, except for text that AMF3 shares by reference.
//
// The clauses named in this package are those of "Action Message Format --
// AMF 0" and "AMF 3" (Adobe, 2007 and 2013).
package amf

import (
	"errors"
	"slices"
)

// Limits of one message, that is of one call of [DecodeAll] or [Decode].
const (
	// MaxDepth is how deep objects and arrays may nest.
	MaxDepth = 32
	// MaxNodes is how many values a message may hold, each property and array
	// element counting one, and a reference as many as what it refers to.
	MaxNodes = 10000
)

// Errors that callers may want to tell apart. All errors of this package wrap
// one of them.
var (
	// ErrTruncated means that the input ends inside a value.
	ErrTruncated = errors.New("amf: truncated")
	// ErrLimit means that the input is deeper or larger than we allow.
	ErrLimit = errors.New("amf: over the limit")
	// ErrSyntax means that the input is not AMF.
	ErrSyntax = errors.New("amf: bad syntax")
)

// A Property is one named value of an object.
type Property struct {
	Key   string
	Value any
}

// An Object is an anonymous object (AMF0 2.5): properties in order.
type Object []Property

// An ECMAArray is an array with names for indices (AMF0 2.10). It differs
// from an [Object] on the wire only.
type ECMAArray []Property

// A StrictArray is an array with numbers for indices (AMF0 2.12).
type StrictArray []any

// A TypedObject is an object of a registered class (AMF0 2.18).
type TypedObject struct {
	Class      string
	Properties Object
}

// Undefined is the undefined value (AMF0 2.8).
type Undefined struct{}

// A Date is a point in time (AMF0 2.13).
type Date struct {
	// Milliseconds counts from 1970-01-01 00:00 UTC.
	Milliseconds float64
	// Zone is reserved by the format and should be 0.
	Zone int16
}

// XML is an XML document (AMF0 2.17).
type XML string

// Bytes is an AMF3 byte array. AMF0 has none: it is written as a string.
type Bytes []byte

// Lookup returns the value of the first property with the given key, and
// whether there is one.
func (o Object) Lookup(key string) (any, bool) {
	for i := range o {
		if o[i].Key == key {
			return o[i].Value, true
		}
	}
	return nil, false
}

// Get returns the value of the first property with the given key, or nil.
func (o Object) Get(key string) any {
	v, _ := o.Lookup(key)
	return v
}

// Text returns the string with the given key, or "" if there is none.
func (o Object) Text(key string) string {
	s, _ := o.Get(key).(string)
	return s
}

// Number returns the number with the given key, and whether there is one.
func (o Object) Number(key string) (float64, bool) {
	n, ok := o.Get(key).(float64)
	return n, ok
}

// With returns o with the property set: in its place if o has the key, else
// at the end. It may write to o's array.
func (o Object) With(key string, v any) Object {
	for i := range o {
		if o[i].Key == key {
			o[i].Value = v
			return o
		}
	}
	return append(o, Property{key, v})
}

// Without returns o less all properties with the given key. It may write to
// o's array.
func (o Object) Without(key string) Object {
	return slices.DeleteFunc(o, func(p Property) bool { return p.Key == key })
}

// Get returns the value of the first property with the given key, or nil.
func (a ECMAArray) Get(key string) any { return Object(a).Get(key) }

// Properties returns the properties of an [Object], [ECMAArray] or
// [TypedObject], and whether v is one of them. Peers send any of the three
// where an object is meant.
func Properties(v any) (Object, bool) {
	switch v := v.(type) {
	case Object:
		return v, true
	case ECMAArray:
		return Object(v), true
	case TypedObject:
		return v.Properties, true
	}
	return nil, false
}
