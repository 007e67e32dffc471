package dash

import (
	"encoding/xml"
	"strings"
	"testing"

	"weir/internal/protocol/protocoltest"
)

// srsMPD is what SRS 7.0.18 writes, cut short.
const srsMPD = `<?xml version="1.0" encoding="utf-8"?>
<MPD profiles="urn:mpeg:dash:profile:isoff-live:2011,http://dashif.org/guidelines/dash-if-simple" 
    ns1:schemaLocation="urn:mpeg:dash:schema:mpd:2011 DASH-MPD.xsd" 
    xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:ns1="http://www.w3.org/2001/XMLSchema-instance" 
    type="dynamic" 
    minimumUpdatePeriod="PT0.000S" 
    timeShiftBufferDepth="PT16.000S" 
    availabilityStartTime="2026-11-22T09:17:03Z" 
    publishTime="2026-11-22T09:17:11Z" 
    minBufferTime="PT8.000S" >
    <BaseURL>s/</BaseURL>
    <Period start="PT0S">
        <AdaptationSet mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="audio" bandwidth="48000" codecs="mp4a.40.2">
                <SegmentTemplate initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="0" timescale="1000">
                    <SegmentTimeline>
                        <S t="0" d="4040" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
        <AdaptationSet mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="video" bandwidth="800000" codecs="avc1.64001e" width="640" height="360">
                <SegmentTemplate initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="0" timescale="1000">
                    <SegmentTimeline>
                        <S t="23" d="4000" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
    </Period>
</MPD>
`

// names lists the elements of a manifest with the names of their attributes, and
// with the values of those that players find segments by.
func names(t *testing.T, text string) (all []string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	path := ""
	for {
		tok, err := d.Token()
		if err != nil {
			return all
		}
		switch e := tok.(type) {
		case xml.StartElement:
			path += "/" + e.Name.Local
			for _, a := range e.Attr {
				if a.Name.Space == "xmlns" {
					continue // what it is called there
				}
				name := path + "@" + a.Name.Local
				switch a.Name.Local {
				case "id", "initialization", "media", "profiles", "type", "mimeType", "segmentAlignment", "startWithSAP":
					name += "=" + a.Value
				}
				all = append(all, name)
			}
		case xml.EndElement:
			path = strings.TrimSuffix(path, "/"+e.Name.Local)
		case xml.CharData:
			if s := strings.TrimSpace(string(e)); s != "" {
				all = append(all, path+" "+s)
			}
		}
	}
}

// Whoever reads SRS's manifest finds in ours all that it has.
func TestShapeIsSRSs(t *testing.T) {
	bubble(t, "", func(t *testing.T, h *house) {
		b := &protocoltest.Broadcast{Video: picture, Audio: sound}
		h.Publish(b, 5)
		ours := map[string]bool{}
		for _, n := range names(t, h.Get("/live/s.mpd").Body.String()) {
			ours[n] = true
		}
		srs := names(t, srsMPD)
		if len(srs) < 30 {
			t.Fatalf("only %v", srs)
		}
		for _, n := range srs {
			if !ours[n] {
				t.Errorf("%s is missing", n)
			}
		}
		h.Leave(b)
	})
}
