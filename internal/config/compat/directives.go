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

	// Process and log.
	"listen":                    {Test: "environment.txtar"},
	"pid":                       {Test: "background.txtar"},
	"server_id":                 {Test: "environment.txtar"},
	"max_connections":           {Test: "limits.txtar"},
	"daemon":                    {Test: "background.txtar"},
	"work_dir":                  {Test: "workdir.txtar"},
	"asprocess":                 {Test: "asprocess.txtar"},
	"utc_time":                  {Test: "log.txtar"},
	"srs_log_tank":              {Test: "log.txtar"},
	"srs_log_level":             {Test: "log.txtar"},
	"srs_log_level_v2":          {Test: "log.txtar"},
	"srs_log_file":              {Test: "rotate.txtar"},
	"in_docker":                 {Test: "background.txtar"},
	"disable_daemon_for_docker": {Test: "background.txtar"},
	"grace_start_wait":          {Test: "graceful.txtar"},
	"grace_final_wait":          {Test: "graceful.txtar"},
	"force_grace_quit":          {Test: "graceful.txtar"},

	// HTTP.
	"http_api.enabled":         {Test: "environment.txtar"},
	"http_api.listen":          {Test: "ports.txtar"},
	"http_api.crossdomain":     {Test: "static.txtar"},
	"http_api.auth":            {Test: "ports.txtar"},
	"http_api.https":           {Test: "image.txtar"},
	"http_server.enabled":      {Test: "environment.txtar"},
	"http_server.listen":       {Test: "ports.txtar"},
	"http_server.dir":          {Test: "static.txtar"},
	"http_server.crossdomain":  {Test: "static.txtar"},
	"http_server.https":        {Test: "fatal.txtar"},
	"vhost.http_static":        {Test: "static.txtar"},
	"vhost.http_remux.enabled": {Test: "environment.txtar"},
	"vhost.http_remux.mount":   {Test: "ports.txtar"},

	// Who may do what.
	"vhost.refer.enabled":            {Test: "access.txtar"},
	"vhost.refer.play":               {Test: "access.txtar"},
	"vhost.security":                 {Test: "access.txtar"},
	"vhost.http_hooks.enabled":       {Test: "hooks.txtar"},
	"vhost.http_hooks.on_connect":    {Test: "hooks.txtar"},
	"vhost.http_hooks.on_close":      {Test: "hooks.txtar"},
	"vhost.http_hooks.on_publish":    {Test: "hooks.txtar"},
	"vhost.http_hooks.on_unpublish":  {Test: "hooks.txtar"},
	"vhost.http_hooks.on_play":       {Test: "hooks.txtar"},
	"vhost.http_hooks.on_stop":       {Test: "hooks.txtar"},
	"vhost.http_hooks.on_hls":        {Test: "hls.txtar"},
	"vhost.publish.normal_timeout":   {Test: "limits.txtar"},
	"vhost.publish.kickoff_for_idle": {Test: "limits.txtar"},

	// HLS.
	"vhost.hls.enabled":          {Test: "hls.txtar"},
	"vhost.hls.hls_fragment":     {Test: "hls.txtar"},
	"vhost.hls.hls_window":       {Test: "hls.txtar"},
	"vhost.hls.hls_path":         {Test: "hls.txtar"},
	"vhost.hls.hls_m3u8_file":    {Test: "hls.txtar"},
	"vhost.hls.hls_ts_file":      {Test: "hls.txtar"},
	"vhost.hls.hls_entry_prefix": {Test: "hls.txtar"},
	"vhost.hls.hls_cleanup":      {Test: "hls.txtar"},
	"vhost.hls.hls_dispose":      {Test: "hls.txtar"},
	"vhost.hls.hls_ctx":          {Test: "hls.txtar"},
	"vhost.hls.hls_files":        {Test: "hls.txtar", Why: "weir's own; on is SRS's behaviour and the default"},

	"vhost.publish.preempt":         {Why: "weir's own; off is SRS's behaviour and the default"},
	"vhost.http_remux.on_missing":   {Why: "weir's own; wait is the behaviour of SRS 7.0.18 and the default"},
	"vhost.http_remux.wait_timeout": {Why: "weir's own; 0 is the behaviour of SRS 7.0.18 and the default"},
}
