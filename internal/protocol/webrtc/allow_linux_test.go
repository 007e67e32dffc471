package webrtc

// allow says whether the system may cut letters into datagrams, where it can.
func (k *socket) allow(cut bool) { k.cut.Store(cut && k.cut.Load()) }
