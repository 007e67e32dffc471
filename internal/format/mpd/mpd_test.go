package mpd

import (
	"bytes"
	"encoding/xml"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

var sample = Manifest{
	Start: time.Date(2026, 11, 22, 9, 15, 26, 120e6, time.UTC), Published: time.Date(2026, 11, 22, 9, 16, 38, 0, time.UTC),
	Update: 2 * time.Second, Depth: 20 * time.Second, Delay: 12 * time.Second, Buffer: 2 * time.Second, Base: "s/", Clock: "/live/s/time",
	Periods: []Period{
		{ID: "1", Sets: []Set{{ID: "audio", Bandwidth: 48000, Codecs: "mp4a.40.2", SampleRate: 44100, Channels: 2, Timescale: 44100, Init: "$RepresentationID$-init.mp4",
			Media: "$RepresentationID$-$Number$.m4s", First: 13, Timeline: []Entry{{2293760, 176128}, {2469888, 177152}}}}},
		{ID: "2", Start: 3 * time.Minute, Sets: []Set{{ID: "video", Bandwidth: 800000, Codecs: "avc1.64001e", Width: 640, Height: 360, Rate: 25, Timescale: 90000, Offset: 90000,
			Init: "$RepresentationID$-init-15.mp4", Media: "$RepresentationID$-$Number$.m4s", First: 15, Timeline: []Entry{{90000, 360000}}}}},
	},
}

const want = `<?xml version="1.0" encoding="utf-8"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:mpeg:dash:schema:mpd:2011 DASH-MPD.xsd" profiles="urn:mpeg:dash:profile:isoff-live:2011,http://dashif.org/guidelines/dash-if-simple" type="dynamic" availabilityStartTime="2026-11-22T09:15:26.120Z" publishTime="2026-11-22T09:16:38.000Z" minimumUpdatePeriod="PT2.000S" timeShiftBufferDepth="PT20.000S" suggestedPresentationDelay="PT12.000S" minBufferTime="PT2.000S">
    <BaseURL>s/</BaseURL>
    <Period id="1" start="PT0.000S">
        <AdaptationSet id="0" contentType="audio" mimeType="audio/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="audio" bandwidth="48000" codecs="mp4a.40.2" audioSamplingRate="44100">
                <AudioChannelConfiguration schemeIdUri="urn:mpeg:dash:23003:3:audio_channel_configuration:2011" value="2"/>
                <SegmentTemplate timescale="44100" presentationTimeOffset="0" initialization="$RepresentationID$-init.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="13">
                    <SegmentTimeline>
                        <S t="2293760" d="176128" />
                        <S t="2469888" d="177152" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
    </Period>
    <Period id="2" start="PT180.000S">
        <AdaptationSet id="1" contentType="video" mimeType="video/mp4" segmentAlignment="true" startWithSAP="1">
            <Representation id="video" bandwidth="800000" codecs="avc1.64001e" width="640" height="360" frameRate="25">
                <SegmentTemplate timescale="90000" presentationTimeOffset="90000" initialization="$RepresentationID$-init-15.mp4" media="$RepresentationID$-$Number$.m4s" startNumber="15">
                    <SegmentTimeline>
                        <S t="90000" d="360000" />
                    </SegmentTimeline>
                </SegmentTemplate>
            </Representation>
        </AdaptationSet>
    </Period>
    <UTCTiming schemeIdUri="urn:mpeg:dash:utc:http-iso:2014" value="/live/s/time"/>
</MPD>
`

func TestAppend(t *testing.T) {
	if got := string(sample.Append(nil)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	back, err := Parse([]byte(want))
	if err != nil || !reflect.DeepEqual(back, &sample) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

func TestLow(t *testing.T) {
	m := sample
	m.Low = &Low{Target: 2 * time.Second, Least: 500 * time.Millisecond, Most: 4 * time.Second, Early: 1500 * time.Millisecond}
	text := string(m.Append(nil))
	for _, want := range []string{
		`dash-if-simple,http://www.dashif.org/guidelines/low-latency-live-v5" type="dynamic"`,
		"    <BaseURL>s/</BaseURL>\n    <ServiceDescription id=\"0\">\n        <Latency referenceId=\"0\" target=\"2000\" min=\"500\" max=\"4000\"/>\n        <PlaybackRate min=\"0.96\" max=\"1.04\"/>\n    </ServiceDescription>\n",
		"            <ProducerReferenceTime id=\"0\" inband=\"true\" type=\"encoder\" wallClockTime=\"2026-11-22T09:18:26.120Z\" presentationTime=\"90000\">\n" +
			"                <UTCTiming schemeIdUri=\"urn:mpeg:dash:utc:http-iso:2014\" value=\"/live/s/time\"/>\n            </ProducerReferenceTime>\n",
		`startNumber="15" availabilityTimeOffset="1.500" availabilityTimeComplete="false">`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s in\n%s", want, text)
		}
	}
	if back, err := Parse([]byte(text)); err != nil || !reflect.DeepEqual(back, &m) {
		t.Errorf("came back as %+v, %v", back, err)
	}
}

func TestRate(t *testing.T) {
	for r, want := range map[float64]string{25: "25", 29.97002997: "30000/1001", 24.9995: "25", 23.976: "24000/1001", 12.5: "12500/1000", 0.1: "100/1000"} {
		if got := rate(r); got != want {
			t.Errorf("%v: %s, want %s", r, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for name, c := range map[string]struct {
		in   string
		want error
	}{
		"nothing":      {"", ErrSyntax},
		"cut":          {want[:len(want)/2], ErrSyntax},
		"static":       {strings.Replace(want, "dynamic", "static", 1), ErrSyntax},
		"no start":     {strings.Replace(want, "availabilityStartTime", "x", 1), ErrSyntax},
		"bad duration": {strings.Replace(want, "PT20.000S", "soon", 1), ErrSyntax},
		"bad rate":     {strings.Replace(want, `frameRate="25"`, `frameRate="25/0"`, 1), ErrSyntax},
		"long":         {want + strings.Repeat(" ", MaxSize), ErrLimit},
		"many":         {strings.Replace(want, `<S t="90000" d="360000" />`, strings.Repeat("<S/>", MaxEntries+1), 1), ErrLimit},
	} {
		if m, err := Parse([]byte(c.in)); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, m, err, c.want)
		}
	}
}

// FuzzParse checks that what is read is written as something that reads the same.
func FuzzParse(f *testing.F) {
	f.Add([]byte(want))
	f.Add([]byte(strings.ReplaceAll(want, "25", "30000/1001")))
	low := sample
	low.Low = &Low{Target: 2 * time.Second, Most: 4 * time.Second, Early: time.Second}
	f.Add(low.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		once := m.Append(nil)
		again, err := Parse(once)
		if err != nil {
			t.Fatalf("our own manifest: %v\n%s", err, once)
		}
		if len(again.Periods) != len(m.Periods) || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("\n%s\nbecame\n%s", once, again.Append(nil))
		}
	})
}

// FuzzNames checks that no name breaks out of the manifest.
func FuzzNames(f *testing.F) {
	f.Add(`a"><x/>&`)
	f.Add("\x00\xff\ufffe\n")
	f.Fuzz(func(t *testing.T, name string) {
		m := Manifest{Base: name, Clock: name, Periods: []Period{{ID: name, Sets: []Set{{ID: "video", Codecs: name, Init: name}}}}}
		var x xmlMPD
		if err := xml.Unmarshal(m.Append(nil), &x); err != nil {
			t.Fatal(err)
		}
		if len(x.Periods) != 1 || len(x.Periods[0].Sets) != 1 {
			t.Fatalf("%q became %+v", name, x)
		}
		if strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r >= 0xfffd }) < 0 && x.Periods[0].ID != name {
			t.Fatalf("%q became %q", name, x.Periods[0].ID)
		}
	})
}
