package compat

// A Proof is what is said of a directive, or of all in a block: the test that
// proves it, and how it differs from SRS if it does.
type Proof struct {
	Test string
	Why  string
}

// Directives holds the proofs, by the path of a directive or of a block. The
// nearest counts.
var Directives = map[string]Proof{
	"is_full":       {Test: "TestFullConfIsOnlyFull"},
	"vhost.enabled": {Test: "TestVhostLookup"},
	"rtmp":          {Test: "TestWhatSRSRefuses"},

	"vhost.publish.preempt":         {Why: "weir's own; off is SRS's behaviour and the default"},
	"vhost.http_remux.on_missing":   {Why: "weir's own; wait is the behaviour of SRS 7.0.18 and the default"},
	"vhost.http_remux.wait_timeout": {Why: "weir's own; 0 is the behaviour of SRS 7.0.18 and the default"},
}
