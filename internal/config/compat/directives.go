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
	"inotify_auto_reload":       {Test: "watch.txtar"},
	"auto_reload_for_docker":    {Test: "watch.txtar"},

	// HTTP.
	"http_api.enabled":         {Test: "environment.txtar"},
	"http_api.listen":          {Test: "ports.txtar"},
	"http_api.crossdomain":     {Test: "static.txtar"},
	"http_api.auth":            {Test: "ports.txtar"},
	"http_api.https":           {Test: "image.txtar"},
	"http_api.raw_api":         {Test: "rawapi.txtar"},
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

	// Streams.
	"chunk_size":                         {Test: "TestRTMPViewersShareBytesAndTime"},
	"vhost.chunk_size":                   {Test: "TestFlows"},
	"vhost.in_ack_size":                  {Test: "TestFlows"},
	"vhost.out_ack_size":                 {Test: "TestFlows"},
	"vhost.publish.firstpkt_timeout":     {Test: "TestFlows"},
	"vhost.publish.parse_sps":            {Test: "TestIngest"},
	"vhost.publish.try_annexb_first":     {Test: "TestIngestAnnexB"},
	"vhost.play.gop_cache":               {Test: "TestNewViewerStartsAtNewestKey"},
	"vhost.play.gop_cache_max_frames":    {Test: "TestGroupOverCacheFramesMakesNewViewersWait"},
	"vhost.play.queue_length":            {Test: "TestSlowReaderSkipsToKey"},
	"vhost.play.mix_correct":             {Test: "TestMixerOrdersByTime"},
	"vhost.play.atc":                     {Test: "TestFlows"},
	"vhost.play.atc_auto":                {Test: "TestOwnTime"},
	"vhost.play.mw_latency":              {Test: "TestGatherWakesManyReadersSeldom"},
	"vhost.play.send_min_interval":       {Test: "TestMinInterval"},
	"vhost.refer.all":                    {Test: "TestFlows"},
	"vhost.refer.publish":                {Test: "TestFlows"},
	"vhost.http_hooks.on_hls_notify":     {Test: "TestBodies"},
	"vhost.http_remux.drop_if_not_match": {Test: "TestFLVHeader"},
	"vhost.http_remux.has_audio":         {Test: "TestFLVHeader"},
	"vhost.http_remux.has_video":         {Test: "TestFLVHeader"},
	"vhost.http_remux.guess_has_av":      {Test: "TestFLVHeader"},
	"vhost.http_remux.fast_cache":        {Test: "TestFastCache"},
	"vhost.hls.hls_td_ratio":             {Test: "TestCutsAtKeyFrames"},
	"vhost.hls.hls_aof_ratio":            {Test: "TestSoundEndsWhatNoKeyFrameDoes"},
	"vhost.hls.hls_ts_floor":             {Test: "TestFloorFollowsTheClock"},
	"vhost.hls.hls_wait_keyframe":        {Test: "TestWithoutWaitingForKeyFrames"},
	"vhost.hls.hls_ts_ctx":               {Test: "TestTSCtxOff"},
	"vhost.hls.hls_recover":              {Test: "TestSequenceGoesOnAfterRestart"},
	"vhost.play.time_jitter":             {Why: "the stream's time is repaired once; zero is as full"},
	"vhost.play.mw_msgs":                 {Why: "accepted; how many messages gather follows the load"},
	"vhost.play.reduce_sequence_header":  {Why: "always as if on"},
	"vhost.tcp_nodelay":                  {Why: "always as if on"},
	"empty_ip_ok":                        {Why: "always as if on: the address comes with the connection"},
	"vhost.hls.hls_on_error":             {Why: "only files can fail; that is logged, and HLS goes on from memory"},
	"vhost.hls.hls_dts_directly":         {Why: "always the stream's time, which is repaired once for all"},
	"vhost.publish.mr":                   {Why: "the pace of reading follows the load where it is off"},
}
