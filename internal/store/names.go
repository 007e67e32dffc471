package store

import (
	"strconv"
	"strings"
	"time"

	"weir/internal/hub"
)

// Expand fills the variables of a path template that every directive knows:
// [vhost], [app], [stream], and, if at is not zero, those of time: [2006], [01],
// [02], [15], [04], [05], [999], and [timestamp] in milliseconds.
//
// Parts of the key may be anything that a peer said; who opens the path must
// open it below its folder (os.Root).
func Expand(template string, key hub.Key, at time.Time) string {
	pairs := []string{"[vhost]", key.Vhost, "[app]", key.App, "[stream]", key.Stream}
	if !at.IsZero() {
		pairs = append(pairs, "[2006]", at.Format("2006"), "[01]", at.Format("01"), "[02]", at.Format("02"), "[15]", at.Format("15"),
			"[04]", at.Format("04"), "[05]", at.Format("05"), "[999]", pad(at.Nanosecond()/1e6), "[timestamp]", strconv.FormatInt(at.UnixMilli(), 10))
	}
	return strings.NewReplacer(pairs...).Replace(template)
}

func pad(ms int) string {
	s := strconv.Itoa(ms)
	return "000"[len(s):] + s
}
