package rtmp

import (
	"fmt"

	"weir/internal/format/amf"
)

// A Command is a call of the peer, or its answer to one (7.2).
type Command struct {
	Name string
	// Transaction ties an answer to its call; 0 wants none.
	Transaction float64
	// Object is the command object: properties, or null.
	Object any
	Args   []any
}

// ParseCommand decodes a command message, of type 20, or of type 17 with AMF0
// values behind a lead byte. Arguments that cannot be decoded are left out with
// those behind them, since nearly all are ignored anyway.
func ParseCommand(m Message) (Command, error) {
	b := m.Payload
	if m.Type == TypeCommandAMF3 && len(b) > 0 {
		b = b[1:]
	}
	values, err := amf.DecodeAll(b)
	if len(values) < 2 && err != nil {
		return Command{}, fmt.Errorf("%w: %w", ErrCommand, err)
	}
	var c Command
	var ok bool
	if len(values) == 0 {
		return c, fmt.Errorf("%w: empty", ErrCommand)
	}
	if c.Name, ok = values[0].(string); !ok {
		return c, fmt.Errorf("%w: its name is a %T", ErrCommand, values[0])
	}
	if len(values) > 1 {
		if c.Transaction, ok = values[1].(float64); !ok {
			return c, fmt.Errorf("%w: the transaction of %.64q is a %T", ErrCommand, c.Name, values[1])
		}
	}
	if len(values) > 2 {
		c.Object, c.Args = values[2], values[3:]
	}
	return c, nil
}

// Text returns argument i if it is a string, else "".
func (c *Command) Text(i int) string {
	if i < len(c.Args) {
		s, _ := c.Args[i].(string)
		return s
	}
	return ""
}

// Number returns argument i if it is a number, else def.
func (c *Command) Number(i int, def float64) float64 {
	if i < len(c.Args) {
		if n, ok := c.Args[i].(float64); ok {
			return n
		}
	}
	return def
}

// Bool returns argument i if it is a boolean or a number, else def.
func (c *Command) Bool(i int, def bool) bool {
	if i < len(c.Args) {
		switch v := c.Args[i].(type) {
		case bool:
			return v
		case float64:
			return v != 0
		}
	}
	return def
}

// AppendCommand appends the payload of a command message of type 20: the name,
// the transaction, and values, the first of which is the command object. Values
// are of the types that [amf.Append] takes.
func AppendCommand(dst []byte, name string, transaction float64, values ...any) []byte {
	return amf.AppendAll(amf.Append(amf.Append(dst, name), transaction), values...)
}

// Capabilities is what a side of Enhanced RTMP can do with codecs that plain
// RTMP has no number for ("Enhancing NetConnection connect Command").
type Capabilities struct {
	// FourCCs lists codecs: "av01", "hvc1", or "*" for all.
	FourCCs []string
	// Video and Audio tell more of each codec.
	Video, Audio []FourCC
	// Ex is a set of the Caps flags.
	Ex uint32
	// Has says that the side spoke of any of this.
	Has bool
}

// Everything is what one says who takes every codec, to pass it on.
var Everything = Capabilities{
	FourCCs: []string{"*"},
	Video:   []FourCC{{Code: "*", Flags: CanForward}},
	Audio:   []FourCC{{Code: "*", Flags: CanForward}},
	Ex:      CapsMultitrack | CapsModEx | CapsTimestampNanoOffset,
	Has:     true,
}

// A FourCC is an entry of videoFourCcInfoMap or audioFourCcInfoMap.
type FourCC struct {
	Code  string
	Flags uint32 // CanDecode, CanEncode, CanForward
}

// The flags of a [FourCC].
const (
	CanDecode  = 1
	CanEncode  = 2
	CanForward = 4
)

// The flags of [Capabilities.Ex].
const (
	CapsReconnect           = 1
	CapsMultitrack          = 2
	CapsModEx               = 4
	CapsTimestampNanoOffset = 8
)

// Knows reports whether the side said that it takes a codec, in any of the
// three ways.
func (c *Capabilities) Knows(code string) bool {
	for _, s := range c.FourCCs {
		if s == code || s == "*" {
			return true
		}
	}
	for _, m := range [...][]FourCC{c.Video, c.Audio} {
		for _, f := range m {
			if f.Flags != 0 && (f.Code == code || f.Code == "*") {
				return true
			}
		}
	}
	return false
}

// Nano reports whether the side takes offsets in nanoseconds, which stand in a ModEx.
func (c Capabilities) Nano() bool {
	const both = CapsModEx | CapsTimestampNanoOffset
	return c.Ex&both == both
}

// maxFourCCs is how many codecs of a peer's list are remembered.
const maxFourCCs = 64

// ParseCapabilities takes a peer's capabilities from its connect object, or
// from the info object of the answer.
func ParseCapabilities(o amf.Object) Capabilities {
	var c Capabilities
	if v, ok := o.Lookup("fourCcList"); ok {
		c.Has = true
		list, _ := v.(amf.StrictArray)
		for _, e := range list[:min(len(list), maxFourCCs)] {
			if s, ok := e.(string); ok {
				c.FourCCs = append(c.FourCCs, s)
			}
		}
	}
	c.Video = c.infoMap(o, "videoFourCcInfoMap")
	c.Audio = c.infoMap(o, "audioFourCcInfoMap")
	if _, ok := o.Lookup("capsEx"); ok {
		c.Has = true
		c.Ex = flags(o.Get("capsEx"))
	}
	return c
}

func (c *Capabilities) infoMap(o amf.Object, key string) []FourCC {
	v, ok := o.Lookup(key)
	if !ok {
		return nil
	}
	c.Has = true
	m, _ := amf.Properties(v)
	var list []FourCC
	for _, p := range m[:min(len(m), maxFourCCs)] {
		list = append(list, FourCC{p.Key, flags(p.Value)})
	}
	return list
}

func flags(v any) uint32 {
	if n, ok := v.(float64); ok && n >= 0 && n < 1<<32 {
		return uint32(n)
	}
	return 0
}

// Properties returns c as properties of a connect object, or of the info object
// of the answer.
func (c *Capabilities) Properties() amf.Object {
	var o amf.Object
	list := make(amf.StrictArray, 0, len(c.FourCCs))
	for _, s := range c.FourCCs {
		list = append(list, s)
	}
	o = append(o, amf.Property{Key: "fourCcList", Value: list})
	for _, m := range [...]struct {
		key  string
		list []FourCC
	}{{"videoFourCcInfoMap", c.Video}, {"audioFourCcInfoMap", c.Audio}} {
		if len(m.list) == 0 {
			continue
		}
		var info amf.Object
		for _, f := range m.list {
			info = append(info, amf.Property{Key: f.Code, Value: f.Flags})
		}
		o = append(o, amf.Property{Key: m.key, Value: info})
	}
	return append(o, amf.Property{Key: "capsEx", Value: c.Ex})
}
