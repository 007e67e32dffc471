package m3u8

import (
	"testing"
	"time"
)

func TestLow(t *testing.T) {
	b := AppendLow(nil, &Low{Part: 500 * time.Millisecond, HoldBack: 1500 * time.Millisecond, SkipUntil: 18 * time.Second})
	b = AppendSkip(b, 12)
	b = AppendPart(b, Part{URI: "s-7.0.m4s?a=\"1\"", Duration: 480 * time.Millisecond, Independent: true})
	b = AppendPart(b, Part{URI: "s-7.1.m4s", Duration: 499600 * time.Microsecond})
	b = AppendPart(b, Part{URI: "s-7.2.m4s", Duration: 500 * time.Millisecond, Gap: true})
	b = AppendHint(b, "s-7.2.m4s")
	b = AppendReport(b, Report{URI: "t.m3u8", Sequence: 7, Part: 1})
	want := "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500,CAN-SKIP-UNTIL=18.000\n#EXT-X-PART-INF:PART-TARGET=0.500\n" +
		"#EXT-X-SKIP:SKIPPED-SEGMENTS=12\n" +
		"#EXT-X-PART:DURATION=0.480,URI=\"s-7.0.m4s?a=%221%22\",INDEPENDENT=YES\n#EXT-X-PART:DURATION=0.500,URI=\"s-7.1.m4s\"\n" +
		"#EXT-X-PART:DURATION=0.500,URI=\"s-7.2.m4s\",GAP=YES\n" +
		"#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"s-7.2.m4s\"\n#EXT-X-RENDITION-REPORT:URI=\"t.m3u8\",LAST-MSN=7,LAST-PART=1\n"
	if string(b) != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}
