package amf

import (
	"fmt"
	"math"
	"strconv"
)

// AMF3 type markers (AMF3 3.1).
const (
	mark3Undefined = 0x00
	mark3Null      = 0x01
	mark3False     = 0x02
	mark3True      = 0x03
	mark3Integer   = 0x04
	mark3Double    = 0x05
	mark3String    = 0x06
	mark3XMLDoc    = 0x07
	mark3Date      = 0x08
	mark3Array     = 0x09
	mark3Object    = 0x0a
	mark3XML       = 0x0b
	mark3ByteArray = 0x0c
)

// amf3Tables are the three tables that AMF3 refers to (AMF3 2.2). They last
// for a message.
type amf3Tables struct {
	strings []string
	objects []ref
	traits  []traits
	text    int // bytes given out by reference
}

// maxShared bounds the text that references repeat in one message.
const maxShared = 16 << 20

type traits struct {
	class    string
	members  []string
	dynamic  bool
	external bool
}

// value3 decodes an AMF3 value.
func (d *decoder) value3(depth int) (v any, levels int, err error) {
	m, err := d.take(1)
	if err != nil {
		return nil, 0, err
	}
	switch m[0] {
	case mark3Undefined:
		v = Undefined{}
	case mark3Null:
	case mark3False:
		v = false
	case mark3True:
		v = true
	case mark3Integer:
		n, err := d.u29()
		// 29 bits with a sign (AMF3 3.6).
		return float64(int32(n<<3) >> 3), 0, err
	case mark3Double:
		v, err = d.double()
	case mark3String:
		v, err = d.string3()
	case mark3XMLDoc, mark3XML, mark3Date, mark3ByteArray:
		return d.flat3(m[0], depth)
	case mark3Array, mark3Object:
		return d.composite3(m[0], depth)
	default:
		err = fmt.Errorf("%w: AMF3 marker 0x%02x", ErrSyntax, m[0])
	}
	return v, 0, err
}

// u29 decodes an integer of 1 to 4 bytes (AMF3 1.3.1).
func (d *decoder) u29() (uint32, error) {
	var n uint32
	for i := range 4 {
		b, err := d.take(1)
		if err != nil {
			return 0, err
		}
		if i == 3 {
			return n<<8 | uint32(b[0]), nil
		}
		n = n<<7 | uint32(b[0]&0x7f)
		if b[0] < 0x80 {
			break
		}
	}
	return n, nil
}

func (d *decoder) string3() (string, error) {
	n, err := d.u29()
	if err != nil {
		return "", err
	}
	if n&1 == 0 {
		i := int(n >> 1)
		if i >= len(d.amf3.strings) {
			return "", fmt.Errorf("%w: string reference %d of %d", ErrSyntax, i, len(d.amf3.strings))
		}
		s := d.amf3.strings[i]
		if d.amf3.text += len(s); d.amf3.text > maxShared {
			return "", fmt.Errorf("%w: strings repeated over %d bytes", ErrLimit, maxShared)
		}
		return s, nil
	}
	b, err := d.take(int(n >> 1))
	if err != nil {
		return "", err
	}
	s := string(b)
	if s != "" { // the empty string is never sent by reference (AMF3 1.3.2)
		d.amf3.strings = append(d.amf3.strings, s)
	}
	return s, nil
}

// key3 is a string that must fit an AMF0 key, should it be written again.
func (d *decoder) key3() (string, error) {
	s, err := d.string3()
	if err == nil && len(s) > math.MaxUint16 {
		err = fmt.Errorf("%w: key of %d bytes", ErrLimit, len(s))
	}
	return s, err
}

// flat3 decodes an object that holds no others.
func (d *decoder) flat3(mark byte, depth int) (any, int, error) {
	n, err := d.u29()
	if err != nil {
		return nil, 0, err
	}
	if n&1 == 0 {
		return d.shared3(int(n>>1), depth)
	}
	var v any
	if mark == mark3Date {
		ms, err := d.double()
		if err != nil {
			return nil, 0, err
		}
		v = Date{Milliseconds: ms}
	} else {
		b, err := d.take(int(n >> 1))
		if err != nil {
			return nil, 0, err
		}
		if mark == mark3ByteArray {
			v = Bytes(append([]byte(nil), b...))
		} else {
			v = XML(b)
		}
	}
	d.amf3.objects = append(d.amf3.objects, ref{v: v})
	return v, 0, nil
}

// shared3 resolves a reference to an object; text counts again, for somebody
// may write it out.
func (d *decoder) shared3(i, depth int) (any, int, error) {
	v, levels, err := d.refer(d.amf3.objects, i, depth)
	switch v := v.(type) {
	case XML:
		d.amf3.text += len(v)
	case Bytes:
		d.amf3.text += len(v)
	}
	if err == nil && d.amf3.text > maxShared {
		err = fmt.Errorf("%w: text repeated over %d bytes", ErrLimit, maxShared)
	}
	return v, levels, err
}

// composite3 decodes an array or object (AMF3 3.11, 3.12).
func (d *decoder) composite3(mark byte, depth int) (v any, levels int, err error) {
	n, err := d.u29()
	if err != nil {
		return nil, 0, err
	}
	if n&1 == 0 {
		return d.shared3(int(n>>1), depth)
	}
	if err := enter(depth); err != nil {
		return nil, 0, err
	}
	at, before := len(d.amf3.objects), d.nodes
	d.amf3.objects = append(d.amf3.objects, ref{open: true})
	if mark == mark3Array {
		v, levels, err = d.array3(int(n>>1), depth+1)
	} else {
		v, levels, err = d.object3(n, depth+1)
	}
	if err != nil {
		return nil, 0, err
	}
	d.amf3.objects[at] = ref{v: v, nodes: d.nodes - before, depth: levels + 1}
	return v, levels + 1, nil
}

// array3 gives a StrictArray, or an ECMAArray if there are named elements.
func (d *decoder) array3(dense, depth int) (any, int, error) {
	named, levels, err := d.dynamic3(nil, depth)
	if err != nil {
		return nil, 0, err
	}
	if dense > len(d.b) { // a value has a byte at least
		return nil, 0, ErrTruncated
	}
	a := make(StrictArray, 0, min(dense, MaxNodes))
	for i := range dense {
		v, l, err := d.member3(depth)
		if err != nil {
			return nil, 0, fmt.Errorf("element %d: %w", i, err)
		}
		levels = max(levels, l)
		a = append(a, v)
	}
	if len(named) == 0 {
		return a, levels, nil
	}
	for i, v := range a {
		named = append(named, Property{strconv.Itoa(i), v})
	}
	return ECMAArray(named), levels, nil
}

// member3 decodes a value inside another and counts it.
func (d *decoder) member3(depth int) (any, int, error) {
	if err := d.node(1); err != nil {
		return nil, 0, err
	}
	return d.value3(depth)
}

// dynamic3 decodes named values up to an empty name.
func (d *decoder) dynamic3(o Object, depth int) (Object, int, error) {
	levels := 0
	for {
		key, err := d.key3()
		if err != nil {
			return nil, 0, err
		}
		if key == "" {
			return o, levels, nil
		}
		v, l, err := d.member3(depth)
		if err != nil {
			return nil, 0, fmt.Errorf("%.40q: %w", key, err)
		}
		levels = max(levels, l)
		o = append(o, Property{key, v})
	}
}

func (d *decoder) object3(head uint32, depth int) (any, int, error) {
	t, err := d.traits3(head)
	if err != nil {
		return nil, 0, err
	}
	if t.external {
		// How such a class looks is its own secret; these two wrap one value.
		switch t.class {
		case "flex.messaging.io.ArrayCollection", "flex.messaging.io.ObjectProxy":
			return d.member3(depth)
		}
		return nil, 0, fmt.Errorf("%w: externalizable class %.40q", ErrSyntax, t.class)
	}
	o, levels := Object{}, 0
	for _, key := range t.members {
		v, l, err := d.member3(depth)
		if err != nil {
			return nil, 0, fmt.Errorf("%.40q: %w", key, err)
		}
		levels = max(levels, l)
		o = append(o, Property{key, v})
	}
	if t.dynamic {
		var l int
		if o, l, err = d.dynamic3(o, depth); err != nil {
			return nil, 0, err
		}
		levels = max(levels, l)
	}
	if t.class != "" {
		return TypedObject{t.class, o}, levels, nil
	}
	return o, levels, nil
}

// traits3 decodes the description of a class: bit 1 clear is a reference, bit
// 2 marks an externalizable class, bit 3 a dynamic one, and above it is the
// number of sealed members (AMF3 3.12).
func (d *decoder) traits3(head uint32) (traits, error) {
	if head&2 == 0 {
		i := int(head >> 2)
		if i >= len(d.amf3.traits) {
			return traits{}, fmt.Errorf("%w: traits reference %d of %d", ErrSyntax, i, len(d.amf3.traits))
		}
		return d.amf3.traits[i], nil
	}
	class, err := d.key3()
	if err != nil {
		return traits{}, err
	}
	t := traits{class: class, external: head&4 != 0, dynamic: head&8 != 0}
	n := int(head >> 4)
	switch {
	case t.external:
		n = 0
	case n > len(d.b): // a name has a byte at least
		return traits{}, ErrTruncated
	case n > MaxNodes:
		return traits{}, fmt.Errorf("%w: class with %d members", ErrLimit, n)
	}
	for range n {
		key, err := d.key3()
		if err != nil {
			return traits{}, err
		}
		t.members = append(t.members, key)
	}
	d.amf3.traits = append(d.amf3.traits, t)
	return t, nil
}
