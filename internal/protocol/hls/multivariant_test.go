package hls

import (
	"regexp"
	"strings"
	"testing"
)

// One playlist names several streams, for one viewer who may go from one to another.
func TestMultivariant(t *testing.T) {
	bubble(t, "hls_multivariant fixed nothing; hls_multivariant [stream]_all [stream]_hd [stream]_sd [stream]_none;", func(h *house, _ string) {
		h.want(h.get("http://x/live/a_all.m3u8"), 404, "")
		h.publish("a_sd", 260)()
		one := h.get("http://x/live/a_all.m3u8?token=1")
		if n := strings.Count(one.Body.String(), "#EXT-X-STREAM-INF"); one.Code != 200 || n != 1 {
			t.Errorf("%d, %d streams listed while one is there", one.Code, n)
		}
		h.publish("a_hd", 260)()
		h.said()
		all := h.get("http://x/live/a_all.m3u8?token=1")
		m := ctxRE.FindStringSubmatch(all.Body.String())
		if m == nil {
			t.Fatalf("no hls_ctx in\n%s", all.Body)
		}
		const inf = "#EXT-X-STREAM-INF:BANDWIDTH=40014,AVERAGE-BANDWIDTH=40014,CODECS=\"avc1.42c00a\",FRAME-RATE=25.000\n"
		query := "?hls_ctx=" + m[1] + "&token=1\n"
		h.want(all, 200, "#EXTM3U\n#EXT-X-INDEPENDENT-SEGMENTS\n"+inf+"a_hd.m3u8"+query+inf+"a_sd.m3u8"+query)
		for _, name := range []string{"a_hd", "a_sd"} {
			if got := h.get("http://x/live/" + name + ".m3u8" + strings.TrimSpace(query)); got.Code != 200 || !strings.Contains(got.Body.String(), name+"-4.ts?hls_ctx="+m[1]) {
				t.Errorf("%s: %d\n%s", name, got.Code, got.Body)
			}
		}
		h.want(h.get("http://x/live/a_all.m3u8"+strings.TrimSpace(query)), 200, all.Body.String())
		if got := h.said(); got != "play a_hd.m3u8?token=1" {
			t.Errorf("told:\n%s", got)
		}
		for _, none := range []string{"fixed", "_all", "b_all", "a_al", "a_all/x"} {
			h.want(h.get("http://x/live/"+none+".m3u8"), 404, "")
		}
	})
	bubble(t, "hls_ctx off; hls_m3u8_file [app]/[stream].m3u8; hls_multivariant all s;", func(h *house, _ string) {
		h.publish("s", 260)()
		got := h.get("http://x/live/all.m3u8?k=1")
		if uri := regexp.MustCompile(`(?m)^[^#].*$`).FindString(got.Body.String()); got.Code != 200 || uri != "s.m3u8?k=1" {
			t.Errorf("without hls_ctx: %d\n%s", got.Code, got.Body)
		}
	})
}
