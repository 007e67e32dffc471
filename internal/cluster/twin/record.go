package twin

import (
	"time"

	"weir/internal/hub"
	"weir/internal/media"
	"weir/internal/session"
)

// What the two processes say to each other of a stream goes over a connection of its
// own, which begins with an opening and goes on with records and answers, in gob: both
// ends are this program, perhaps of different versions, and gob leaves out what one of
// them does not know.

// streamTalk names such a connection.
const streamTalk = "stream"

// opening says what a connection is about.
type opening struct {
	Key      hub.Key
	StreamID string
	// Live says that somebody publishes it; all below is of the publisher.
	Live                         bool
	Client, Protocol, IP, Type   string
	TcURL, PageURL, SwfURL, Name string
	Said                         session.Said
	Internal, Private, TLS       bool
	Wishes                       bool // it can be asked for key frames
	// Mirrors names what lists segments of it that are cut at the lender.
	Mirrors []string
}

// record is what the process says that has the publisher. One field is set.
type record struct {
	Track  *track
	Layout *layout
	Frame  *frame
	Piece  *piece
	Caught bool // all that there was has been said
	Moved  bool // the publisher was asked to go to the other process
	End    *end
}

// track tells of a track, by the number by which others call it.
type track struct {
	N     int
	Track media.Track
}

type layout struct {
	Tracks []int
	Meta   []byte
	Own    bool
}

type frame struct {
	Track            int
	DTS, CTO, Source time.Duration
	Arrived          int64 // Unix time in nanoseconds
	Key, Inside      bool
	Lost             uint8
	Payload          []byte
}

// piece is for a part of the server that lists segments.
type piece struct {
	Of   string
	Body []byte
}

// end is the end of the publication.
type end struct{ Fault *fault }

// answer is what the other process says.
type answer struct {
	Refused bool   // somebody publishes it there
	Want    bool   // frames are wanted
	Caught  bool   // all that there was has been taken
	Look    bool   // see whether the publisher is still there
	Kick    *fault // end the publisher
	Wish    int    // ask the publisher for a key frame of a layer, counted from 1
	Played  int    // playedYes or playedNo: whether somebody plays it there, or beyond
}

// Zero is left out by gob.
const (
	playedYes = 1 + iota
	playedNo
)

// fault is an error.
type fault struct {
	Code int
	Text string
}

func faultOf(err error) *fault {
	if err == nil {
		return nil
	}
	return &fault{session.Code(err), err.Error()}
}

// err returns the error again, as far as others ask for it.
func (f *fault) err() error {
	if f == nil {
		return nil
	}
	for _, known := range []error{hub.ErrTaken, hub.ErrBusy, session.ErrKicked, session.ErrShutdown} {
		if f.Text == known.Error() {
			return known
		}
	}
	return &session.Error{Code: f.Code, Text: f.Text}
}
