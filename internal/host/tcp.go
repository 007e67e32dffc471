package host

// A TCP is what the kernel knows of one connection.
type TCP struct {
	RTT       float64 `json:"rtt_ms"` // smoothed round-trip time
	RTTVar    float64 `json:"rtt_var_ms"`
	Lost      uint32  `json:"lost_segments"`          // taken for lost, now
	Resent    uint32  `json:"retransmitted_segments"` // ever
	SendQueue uint32  `json:"send_queue_bytes"`       // sent by us and not yet taken by the peer
	RecvQueue uint32  `json:"recv_queue_bytes"`       // come and not yet read by us
}
