package hls

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"weir/internal/hub"
	"weir/internal/service"
	"weir/internal/session"
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
		const inf = "#EXT-X-STREAM-INF:BANDWIDTH=39728,AVERAGE-BANDWIDTH=39728,CODECS=\"avc1.42c00a\",FRAME-RATE=25.000\n"
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

// Of a stream with several tracks all are listed, its sounds apart from those of others.
func TestMultivariantOfTracks(t *testing.T) {
	bubble(t, "hls_ctx off; hls_iframes on; hls_multivariant [stream]_all [stream]_sd [stream] [stream]_b;", func(h *house, _ string) {
		h.publishAll("a", 400, tracks(), always)()
		h.publishAll("a_b", 400, tracks(), always)()
		h.publish("a_sd", 400)()
		got := h.get("http://x/live/a_all.m3u8?k=1").Body.String()
		var short []string
		for _, m := range regexp.MustCompile(`TYPE=AUDIO,GROUP-ID="([^"]+)".*URI="([^"]+)"|#EXT-X-STREAM-INF:.*AUDIO="([^"]+)"\n(.*)|#EXT-X-STREAM-INF:.*\n(.*)|I-FRAME-STREAM-INF.*URI="([^"]+)"`).FindAllStringSubmatch(got, -1) {
			short = append(short, strings.TrimSpace(strings.Join(m[1:], " ")))
		}
		want := []string{"aac-2 a.audio0.m3u8?k=1", "aac-2 a.audio1.m3u8?k=1", "aac-3 a_b.audio0.m3u8?k=1", "aac-3 a_b.audio1.m3u8?k=1",
			"a_sd.m3u8?k=1", "aac-2 a.video0.m3u8?k=1", "aac-2 a.video1.m3u8?k=1", "aac-3 a_b.video0.m3u8?k=1", "aac-3 a_b.video1.m3u8?k=1",
			"a_sd.iframes.m3u8?k=1", "a.video0.iframes.m3u8?k=1", "a.video1.iframes.m3u8?k=1", "a_b.video0.iframes.m3u8?k=1", "a_b.video1.iframes.m3u8?k=1"}
		for i := range short {
			short[i] = strings.Join(strings.Fields(short[i]), " ")
		}
		if strings.Join(short, "\n") != strings.Join(want, "\n") {
			t.Errorf("listed are\n%s\nwant\n%s\nin\n%s", strings.Join(short, "\n"), strings.Join(want, "\n"), got)
		}
		for _, uri := range regexp.MustCompile(`a[\w.]*\.m3u8`).FindAllString(got, -1) {
			if w := h.get("http://x/live/" + uri); w.Code != 200 || !strings.Contains(w.Body.String(), "#EXTINF") {
				t.Errorf("%s: %d", uri, w.Code)
			}
		}
	})
}

// A rung that begins when somebody plays it is listed as it is configured before it is
// there; who asks for it counts as its viewer for as long as it does, whatever it came for.
func TestRungOnDemand(t *testing.T) {
	bubble(t, "hls_multivariant [stream]_all [stream]_sd [stream];", func(h *house, _ string) {
		h.env.OnDemand.Add(func(k hub.Key) (service.Expected, bool) {
			return service.Expected{Kbps: 600, Width: 128, Height: 72}, k.Stream == "a_sd"
		})
		h.publish("a", 260)
		h.said()
		master := h.get("http://x/live/a_all.m3u8").Body.String()
		ctx := ctxRE.FindStringSubmatch(master)[1]
		if !strings.Contains(master, "BANDWIDTH=600000,AVERAGE-BANDWIDTH=600000,RESOLUTION=128x72\na_sd.m3u8?hls_ctx="+ctx) {
			t.Errorf("listed is\n%s", master)
		}
		watching := func(stream string) (n int) {
			for x := range h.env.Desk.Sessions() {
				if act, ask, _ := x.Doing(); act == session.Play && ask.Key.Stream == stream {
					n++
				}
			}
			return n
		}
		if watching("a") != 1 || watching("a_sd") != 0 {
			t.Errorf("%d watch what is there anyway, %d the rung", watching("a"), watching("a_sd"))
		}
		go h.get("http://x/live/a_sd.m3u8?hls_ctx=" + ctx)
		time.Sleep(time.Second)
		if watching("a_sd") != 1 {
			t.Errorf("%d watch the rung", watching("a_sd"))
		}
		h.publish("a_sd", 260)
		for range 20 { // it is kept for who goes on
			if w := h.get("http://x/live/a_sd.m3u8?hls_ctx=" + ctx); w.Code != 200 || !strings.Contains(w.Body.String(), "a_sd-") {
				t.Fatalf("%d %s", w.Code, w.Body)
			}
			time.Sleep(2 * time.Second)
		}
		if watching("a_sd") != 1 {
			t.Errorf("%d watch the rung after a while", watching("a_sd"))
		}
		for range 10 { // it went over to the other
			h.get("http://x/live/a.m3u8?hls_ctx=" + ctx)
			time.Sleep(2 * time.Second)
		}
		if watching("a_sd") != 0 || watching("a") != 1 {
			t.Errorf("%d watch the rung after they have left it, %d the other", watching("a_sd"), watching("a"))
		}
	})
}

// A viewer who is signed in for a stream on demand, as one whose session was renewed while
// it played a rung, or of a choice that has nothing else, is signed in for the stream it has
// gone over to, when it has asked for nothing else for a while.
func TestRungIsLeft(t *testing.T) {
	bubble(t, "hls_multivariant [stream]_rungs [stream]_hd [stream]_sd;", func(h *house, _ string) {
		h.env.OnDemand.Add(func(k hub.Key) (service.Expected, bool) {
			return service.Expected{}, k.Stream == "a_hd" || k.Stream == "a_sd"
		})
		for _, stream := range []string{"a", "a_hd", "a_sd"} {
			h.publish(stream, 260)
		}
		h.said()
		watched := func() string {
			var keys []string
			for x := range h.env.Desk.Sessions() {
				if act, ask, _ := x.Doing(); act == session.Play {
					keys = append(keys, ask.Key.Stream)
				}
			}
			slices.Sort(keys)
			return strings.Join(keys, " ")
		}
		play := func(ctx string, streams ...string) {
			for i := range 20 {
				url := "http://x/live/" + streams[i%len(streams)] + ".m3u8?hls_ctx=" + ctx
				if w := h.get(url); w.Code != 200 || !strings.Contains(w.Body.String(), "#EXTINF") {
					t.Fatalf("%s: %d %s", url, w.Code, w.Body)
				}
				time.Sleep(2 * time.Second)
			}
		}
		play("renewed1", "a_sd")
		play("renewed1", "a_sd", "a")
		if got, want := watched(), "a_sd"; got != want {
			t.Errorf("who goes to and fro watches %q, want %q", got, want)
		}
		play("renewed1", "a")
		if got, want := watched(), "a"; got != want {
			t.Errorf("who has left the rung watches %q, want %q", got, want)
		}
		if got, want := h.said(), "play a_sd.m3u8\nplay a.m3u8\nstop <nil>"; got != want {
			t.Errorf("told was\n%s\nwant\n%s", got, want)
		}
		play("renewed1", "a_sd")
		if got, want := watched(), "a a_sd"; got != want {
			t.Errorf("who has come back watches %q, want %q", got, want)
		}
		ctx := ctxRE.FindStringSubmatch(h.get("http://x/live/a_rungs.m3u8").Body.String())[1]
		play(ctx, "a_sd") // for so long that the other is forgotten
		if got, want := watched(), "a_sd"; got != want {
			t.Errorf("who has left one rung for another watches %q, want %q", got, want)
		}
	})
}
