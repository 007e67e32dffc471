package webrtc

import (
	"net/http"
	"net/url"
)

// fragmentType is the type of a fragment of SDP (RFC 8840).
const fragmentType = "application/trickle-ice-sdpfrag"

func (s *server) patch(w http.ResponseWriter, r *http.Request, q url.Values) {
	problem(w, http.StatusMethodNotAllowed, 0, "PATCH is not known yet")
}

// simulate answers SRS's request to lose packets.
func (s *server) simulate(w http.ResponseWriter, r *http.Request) bool { return false }
