package amf

import (
	"encoding/binary"
	"fmt"
	"math"
)

// AMF0 type markers (AMF0 2.1).
const (
	markNumber      = 0x00
	markBoolean     = 0x01
	markString      = 0x02
	markObject      = 0x03
	markNull        = 0x05
	markUndefined   = 0x06
	markReference   = 0x07
	markECMAArray   = 0x08
	markObjectEnd   = 0x09
	markStrictArray = 0x0a
	markDate        = 0x0b
	markLongString  = 0x0c
	markUnsupported = 0x0d
	markXML         = 0x0f
	markTyped       = 0x10
	markAVMPlus     = 0x11
)

// Append appends v in AMF0. Beside the types that decoding gives, v may be
// any of Go's integers, which become numbers. Keys and class names longer than
// 65,535 bytes are cut there, since AMF0 has no form for them.
//
// Append panics if v, or something in it, is of another type.
func Append(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, markNull)
	case float64:
		return appendNumber(dst, v)
	case int:
		return appendNumber(dst, float64(v))
	case int32:
		return appendNumber(dst, float64(v))
	case int64:
		return appendNumber(dst, float64(v))
	case uint8:
		return appendNumber(dst, float64(v))
	case uint16:
		return appendNumber(dst, float64(v))
	case uint32:
		return appendNumber(dst, float64(v))
	case uint64:
		return appendNumber(dst, float64(v))
	case bool:
		if v {
			return append(dst, markBoolean, 1)
		}
		return append(dst, markBoolean, 0)
	case string:
		return appendString(dst, v)
	case Object:
		return appendProperties(append(dst, markObject), v)
	case ECMAArray:
		dst = binary.BigEndian.AppendUint32(append(dst, markECMAArray), uint32(len(v)))
		return appendProperties(dst, Object(v))
	case StrictArray:
		dst = binary.BigEndian.AppendUint32(append(dst, markStrictArray), uint32(len(v)))
		for _, e := range v {
			dst = Append(dst, e)
		}
		return dst
	case TypedObject:
		return appendProperties(appendKey(append(dst, markTyped), v.Class), v.Properties)
	case Undefined:
		return append(dst, markUndefined)
	case Date:
		dst = binary.BigEndian.AppendUint64(append(dst, markDate), math.Float64bits(v.Milliseconds))
		return binary.BigEndian.AppendUint16(dst, uint16(v.Zone))
	case XML:
		dst = binary.BigEndian.AppendUint32(append(dst, markXML), uint32(len(v)))
		return append(dst, v...)
	case Bytes:
		return appendString(dst, string(v))
	}
	panic(fmt.Sprintf("BUG: amf: no form for a %T", v))
}

// AppendAll appends values one after the other.
func AppendAll(dst []byte, values ...any) []byte {
	for _, v := range values {
		dst = Append(dst, v)
	}
	return dst
}

func appendNumber(dst []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, markNumber), math.Float64bits(v))
}

func appendString(dst []byte, s string) []byte {
	if len(s) <= math.MaxUint16 {
		return appendKey(append(dst, markString), s)
	}
	dst = binary.BigEndian.AppendUint32(append(dst, markLongString), uint32(len(s)))
	return append(dst, s...)
}

func appendKey(dst []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
}

func appendProperties(dst []byte, o Object) []byte {
	for _, p := range o {
		dst = Append(appendKey(dst, p.Key), p.Value)
	}
	return append(dst, 0, 0, markObjectEnd)
}
