package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode decodes the first value of b and returns what follows it.
func Decode(b []byte) (v any, rest []byte, err error) {
	d := decoder{b: b}
	v, err = d.value(0)
	if err != nil {
		return nil, b, err
	}
	return v, d.b, nil
}

// DecodeAll decodes the values that make up b, as in the body of a command.
// References may go from one value to another. On an error it returns the
// values before it.
func DecodeAll(b []byte) ([]any, error) {
	var values []any
	d := decoder{b: b}
	for len(d.b) > 0 {
		v, err := d.value(0)
		if err != nil {
			return values, fmt.Errorf("value %d: %w", len(values), err)
		}
		values = append(values, v)
	}
	return values, nil
}

// A decoder is the state of one message.
type decoder struct {
	b     []byte
	nodes int
	refs  []ref // AMF0's table of objects
	amf3  amf3Tables
}

// A ref is an object or array that later values may refer to. It is open
// while its properties are being decoded.
type ref struct {
	v     any
	nodes int
	depth int // levels below it, itself included
	open  bool
}

func (d *decoder) take(n int) ([]byte, error) {
	if n > len(d.b) {
		return nil, ErrTruncated
	}
	b := d.b[:n]
	d.b = d.b[n:]
	return b, nil
}

// node counts n more values.
func (d *decoder) node(n int) error {
	if d.nodes += n; d.nodes > MaxNodes {
		return fmt.Errorf("%w: more than %d values", ErrLimit, MaxNodes)
	}
	return nil
}

func enter(depth int) error {
	if depth >= MaxDepth {
		return fmt.Errorf("%w: nested deeper than %d", ErrLimit, MaxDepth)
	}
	return nil
}

// value decodes a value that lies within depth others.
func (d *decoder) value(depth int) (any, error) {
	v, _, err := d.measured(depth)
	return v, err
}

// measured decodes a value and tells how many levels it has.
func (d *decoder) measured(depth int) (v any, levels int, err error) {
	if err := d.node(1); err != nil {
		return nil, 0, err
	}
	m, err := d.take(1)
	if err != nil {
		return nil, 0, err
	}
	switch m[0] {
	case markNumber:
		v, err = d.double()
	case markBoolean:
		b, err := d.take(1)
		if err != nil {
			return nil, 0, err
		}
		return b[0] != 0, 0, nil
	case markString:
		v, err = d.short()
	case markLongString:
		v, err = d.long()
	case markXML:
		s, err := d.long()
		return XML(s), 0, err
	case markNull:
	case markUndefined, markUnsupported:
		v = Undefined{}
	case markDate:
		v, err = d.date()
	case markReference:
		return d.reference(depth)
	case markObject, markECMAArray, markTyped, markStrictArray:
		return d.composite(m[0], depth)
	case markAVMPlus:
		return d.value3(depth)
	default:
		err = fmt.Errorf("%w: marker 0x%02x", ErrSyntax, m[0])
	}
	return v, 0, err
}

func (d *decoder) double() (float64, error) {
	b, err := d.take(8)
	if err != nil {
		return 0, err
	}
	return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
}

func (d *decoder) short() (string, error) {
	n, err := d.take(2)
	if err != nil {
		return "", err
	}
	b, err := d.take(int(binary.BigEndian.Uint16(n)))
	return string(b), err
}

func (d *decoder) uint32() (uint32, error) {
	b, err := d.take(4)
	if err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint32(b), nil
}

func (d *decoder) long() (string, error) {
	n, err := d.uint32()
	if err != nil {
		return "", err
	}
	if int64(n) > int64(len(d.b)) {
		return "", ErrTruncated
	}
	b, err := d.take(int(n))
	return string(b), err
}

func (d *decoder) date() (Date, error) {
	ms, err := d.double()
	if err != nil {
		return Date{}, err
	}
	z, err := d.take(2)
	if err != nil {
		return Date{}, err
	}
	return Date{ms, int16(binary.BigEndian.Uint16(z))}, nil
}

// reference gives the value that an earlier object had (AMF0 2.9).
func (d *decoder) reference(depth int) (any, int, error) {
	b, err := d.take(2)
	if err != nil {
		return nil, 0, err
	}
	return d.refer(d.refs, int(binary.BigEndian.Uint16(b)), depth)
}

// refer looks up a reference and counts what it stands for. An object that
// refers to one around it has no form as a tree and is refused.
func (d *decoder) refer(refs []ref, i, depth int) (any, int, error) {
	if i >= len(refs) {
		return nil, 0, fmt.Errorf("%w: reference %d of %d", ErrSyntax, i, len(refs))
	}
	r := refs[i]
	if r.open {
		return nil, 0, fmt.Errorf("%w: reference %d to an object around it", ErrSyntax, i)
	}
	if err := d.node(r.nodes); err != nil {
		return nil, 0, err
	}
	return r.v, r.depth, enter(depth + r.depth - 1)
}

// composite decodes an object or array and enters it in the table.
func (d *decoder) composite(mark byte, depth int) (v any, levels int, err error) {
	if err := enter(depth); err != nil {
		return nil, 0, err
	}
	at, before := len(d.refs), d.nodes
	d.refs = append(d.refs, ref{open: true})
	switch mark {
	case markObject:
		var o Object
		o, levels, err = d.properties(depth + 1)
		v = o
	case markECMAArray:
		// The count is a hint that peers get wrong; the end marker counts.
		if _, err := d.uint32(); err != nil {
			return nil, 0, err
		}
		var o Object
		o, levels, err = d.properties(depth + 1)
		v = ECMAArray(o)
	case markTyped:
		var t TypedObject
		if t.Class, err = d.short(); err != nil {
			return nil, 0, err
		}
		t.Properties, levels, err = d.properties(depth + 1)
		v = t
	default:
		v, levels, err = d.strict(depth + 1)
	}
	if err != nil {
		return nil, 0, err
	}
	d.refs[at] = ref{v: v, nodes: d.nodes - before, depth: levels + 1}
	return v, levels + 1, nil
}

// properties decodes up to the end marker. Input that ends between two
// properties ends the object too: encoders are known that leave out the end of
// onMetaData, and SRS takes it.
func (d *decoder) properties(depth int) (o Object, levels int, err error) {
	o = Object{}
	for len(d.b) > 0 {
		if len(d.b) >= 3 && d.b[0] == 0 && d.b[1] == 0 && d.b[2] == markObjectEnd {
			d.b = d.b[3:]
			break
		}
		key, err := d.short()
		if err != nil {
			return nil, 0, fmt.Errorf("key %d: %w", len(o), err)
		}
		v, n, err := d.measured(depth)
		if err != nil {
			return nil, 0, fmt.Errorf("%.40q: %w", key, err)
		}
		levels = max(levels, n)
		o = append(o, Property{key, v})
	}
	return o, levels, nil
}

func (d *decoder) strict(depth int) (a StrictArray, levels int, err error) {
	n, err := d.uint32()
	if err != nil {
		return nil, 0, err
	}
	if int64(n) > int64(len(d.b)) { // a value has a byte at least
		return nil, 0, ErrTruncated
	}
	a = make(StrictArray, 0, min(int(n), MaxNodes))
	for i := range int(n) {
		v, l, err := d.measured(depth)
		if err != nil {
			return nil, 0, fmt.Errorf("element %d: %w", i, err)
		}
		levels = max(levels, l)
		a = append(a, v)
	}
	return a, levels, nil
}
