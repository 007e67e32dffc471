package flv

import (
	"fmt"

	"weir/internal/format/amf"
)

// onMetaData is the name as an AMF0 string.
var onMetaData = amf.Append(nil, "onMetaData")

const setDataFrame = "@setDataFrame"

// Unwrap returns a script message without what is only for the server: the
// zero byte of AMF3 peers and the name "@setDataFrame". What is left begins
// with the name of the message and is what players get.
func Unwrap(body []byte) []byte {
	if len(body) > 1 && body[0] == 0 && body[1] == 2 { // no name is a number
		body = body[1:]
	}
	if v, rest, err := amf.Decode(body); err == nil && v == setDataFrame {
		return rest
	}
	return body
}

// ParseScript splits a script message into its name, "@setDataFrame" passed
// over, and the AMF0 values that follow.
func ParseScript(body []byte) (name string, rest []byte, err error) {
	v, rest, err := amf.Decode(Unwrap(body))
	if err != nil {
		return "", nil, fmt.Errorf("%w: script message: %w", ErrSyntax, err)
	}
	name, ok := v.(string)
	if !ok {
		return "", nil, fmt.Errorf("%w: script message begins with a %T", ErrSyntax, v)
	}
	return name, rest, nil
}

// Meta returns the AMF0 value of an onMetaData message as players get it, and
// whether body is such a message. The value is an object whatever was sent; a
// live stream has no duration, so that property is left out, and server and
// server_version name who serves.
func Meta(body []byte, server, version string) ([]byte, bool) {
	name, rest, err := ParseScript(body)
	if err != nil || name != "onMetaData" {
		return nil, false
	}
	v, _, err := amf.Decode(rest)
	if err != nil {
		return nil, false
	}
	o, ok := amf.Properties(v)
	if !ok {
		return nil, false
	}
	o = o.Without("duration").With("server", server).With("server_version", version)
	return amf.Append(nil, o), true
}
