package rtsp

import "strconv"

// Statuses of responses (7.1.1).
const (
	OK                   = 200
	BadRequest           = 400
	Forbidden            = 403
	NotFound             = 404
	MethodNotAllowed     = 405
	SessionNotFound      = 454
	WrongState           = 455
	AggregateNotAllowed  = 459
	UnsupportedTransport = 461
	InternalError        = 500
	NotImplemented       = 501
	Unavailable          = 503
	VersionNotSupported  = 505
	OptionNotSupported   = 551
)

var reasons = map[int]string{
	OK: "OK", BadRequest: "Bad Request", Forbidden: "Forbidden", NotFound: "Not Found", MethodNotAllowed: "Method Not Allowed",
	SessionNotFound: "Session Not Found", AggregateNotAllowed: "Aggregate operation not allowed", WrongState: "Method Not Valid in This State", UnsupportedTransport: "Unsupported transport",
	InternalError: "Internal Server Error", NotImplemented: "Not Implemented", Unavailable: "Service Unavailable",
	VersionNotSupported: "RTSP Version not supported", OptionNotSupported: "Option not supported",
}

// Methods are those that a server of live streams has, as the header Public lists them.
const Methods = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, TEARDOWN, GET_PARAMETER, SET_PARAMETER"

// A Response is what a request is answered. Its header has the lines that SRS sends
// with each.
type Response struct {
	Status int
	// CSeq is that of the request, "" if it had none.
	CSeq string
	// Server is who answers.
	Server string
	// Session is the session's id, with its parameters, "" before there is one.
	Session string
	// Header has names and values in turn.
	Header Header
	Body   []byte
	// Open leaves the empty line behind the header to whoever adds more lines. There is
	// no body then.
	Open bool
}

// Append appends the response.
func (r *Response) Append(dst []byte) []byte {
	dst = append(dst, Version+" "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(dst, ' '), reasons[r.Status]...)
	dst = append(dst, "\r\n"...)
	if r.CSeq != "" {
		dst = AppendLine(dst, "CSeq", r.CSeq)
	}
	dst = AppendLine(dst, "Cache-Control", "no-store")
	dst = AppendLine(dst, "Pragma", "no-cache")
	dst = AppendLine(dst, "Server", r.Server)
	if r.Session != "" {
		dst = AppendLine(dst, "Session", r.Session)
	}
	for i := 0; i+1 < len(r.Header); i += 2 {
		dst = AppendLine(dst, r.Header[i], r.Header[i+1])
	}
	if r.Open {
		return dst
	}
	if len(r.Body) > 0 {
		dst = AppendLine(dst, "Content-Length", strconv.Itoa(len(r.Body)))
	}
	dst = append(dst, "\r\n"...)
	return append(dst, r.Body...)
}

// AppendLine appends a line of a header.
func AppendLine(dst []byte, name, value string) []byte {
	dst = append(append(dst, name...), ": "...)
	return append(append(dst, value...), "\r\n"...)
}
