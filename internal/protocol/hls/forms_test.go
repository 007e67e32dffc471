package hls

import (
	"bytes"
	"compress/gzip"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/internal/media"
	"weir/internal/media/opus"
)

// disk reads a file below the house's folder.
func disk(t *testing.T, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Error(err)
	}
	return b
}

func TestFragmentedMP4(t *testing.T) {
	bubble(t, "hls_use_fmp4 on; hls_ctx off;", func(h *house, dir string) {
		leave := h.publish("s", 120)
		h.want(h.get("http://x/live/s.m3u8"), 200, `#EXTM3U
#EXT-X-VERSION:7
#EXT-X-MEDIA-SEQUENCE:0
#EXT-X-TARGETDURATION:2
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-DISCONTINUITY
#EXT-X-MAP:URI="s/init.mp4"
#EXT-X-PROGRAM-DATE-TIME:2000-01-01T00:00:00.000Z
#EXTINF:2.000, no desc
s-0.m4s
#EXTINF:2.000, no desc
s-1.m4s
`)
		for name, typ := range map[string]string{"s/init.mp4": "video/mp4", "s-0.m4s": "video/iso.segment"} {
			w := h.get("http://x/live/" + name)
			if w.Code != 200 || w.Header().Get("Content-Type") != typ || !bytes.Equal(w.Body.Bytes(), disk(t, dir, "live/"+name)) {
				t.Errorf("%s: %d, %s, %d bytes", name, w.Code, w.Header().Get("Content-Type"), w.Body.Len())
			}
		}
		if b := h.get("http://x/live/s-1.m4s").Body.Bytes(); string(b[4:8]) != "moof" || bytes.Count(b, []byte("moof")) != 1 {
			t.Errorf("a segment begins with %q", b[4:8])
		}
		if got, want := files(t, dir), "live/s/init.mp4 live/s-0.m4s live/s-1.m4s live/s.m3u8"; got != want {
			t.Errorf("files %s, want %s", got, want)
		}
		leave()
	})
}

// Other parameters have another initialization segment under another name, and the
// first goes with the last segment that needs it.
func TestOtherParametersOtherInit(t *testing.T) {
	bubble(t, "hls_use_fmp4 on; hls_ctx off;", func(h *house, dir string) {
		h.publish("s", 101)()
		was := picture
		other := *picture
		other.Config = bytes.Clone(other.Config)
		other.Config[3] = 0x0b
		picture = &other
		defer func() { picture = was }()
		leave := h.publish("s", 120)
		body := h.get("http://x/live/s.m3u8").Body.String()
		if !strings.Contains(body, "#EXT-X-DISCONTINUITY\n#EXT-X-MAP:URI=\"s/init-2.mp4\"\n") {
			t.Errorf("no second map in\n%s", body)
		}
		if bytes.Equal(disk(t, dir, "live/s/init.mp4"), disk(t, dir, "live/s/init-2.mp4")) {
			t.Error("both are the same")
		}
		leave()
		leave = h.publish("s", 600)
		if body := h.get("http://x/live/s.m3u8").Body.String(); strings.Contains(body, "init.mp4") || !strings.Contains(body, "init-2.mp4") {
			t.Errorf("after a while\n%s", body)
		}
		h.want(h.get("http://x/live/s/init.mp4"), 404, "")
		if strings.Contains(files(t, dir), "init.mp4") {
			t.Errorf("files %s", files(t, dir))
		}
		leave()
	})
}

// What a transport stream cannot carry comes as fragmented MP4 without being
// asked for.
func TestOpusIsFragmentedMP4(t *testing.T) {
	bubble(t, "hls_ctx off;", func(h *house, _ string) {
		was := picture
		picture = &media.Track{Kind: media.Audio, Codec: media.Opus, SampleRate: 48000, Channels: 2, Config: opus.Head{Channels: 2}.Append(nil)}
		defer func() { picture = was }()
		leave := h.publish("s", 120)
		if body := h.get("http://x/live/s.m3u8").Body.String(); !strings.Contains(body, "#EXT-X-MAP") || !strings.Contains(body, "\ns-0.m4s\n") {
			t.Errorf("%s", body)
		}
		leave()
	})
}

var keyRE = regexp.MustCompile(`#EXT-X-KEY:METHOD=AES-128,URI="([^"]+)",IV=0x([0-9A-F]{32})\n`)

// Every playlist says how its first segment is encrypted, a key holds for as many
// segments as configured, and what is decrypted is the stream.
func TestKeys(t *testing.T) {
	bubble(t, "hls_keys on; hls_fragments_per_key 2; hls_ctx off; hls_window 4.3;", func(h *house, dir string) {
		leave := h.publish("s", 260)
		body := h.get("http://x/live/s.m3u8").Body.String()
		if want := "#EXT-X-MEDIA-SEQUENCE:2\n"; !strings.Contains(body, want) {
			t.Errorf("no %s in\n%s", want, body)
		}
		keys := keyRE.FindAllStringSubmatch(body, -1)
		if len(keys) != 2 || keys[0][1] != "s-2.key" || keys[1][1] != "s-4.key" {
			t.Fatalf("keys %v in\n%s", keys, body)
		}
		leave()
		leave = h.publish("s", 60) // one segment more: the window begins between two keys
		body = h.get("http://x/live/s.m3u8").Body.String()
		keys = keyRE.FindAllStringSubmatch(body, -1)
		if !strings.Contains(body, "#EXT-X-MEDIA-SEQUENCE:4\n") || keys[0][1] != "s-4.key" {
			t.Fatalf("keys %v in\n%s", keys, body)
		}
		secret := h.get("http://x/live/s-4.key").Body.Bytes()
		if !bytes.Equal(secret, disk(t, dir, "live/s-4.key")) || len(secret) != 16 {
			t.Errorf("the key is %x", secret)
		}
		clear := decrypt(t, secret, keys[0][2], h.get("http://x/live/s-5.ts").Body.Bytes())
		if len(clear)%188 != 0 || clear[0] != 0x47 {
			t.Errorf("decrypted are %d bytes, beginning with %x", len(clear), clear[:4])
		}
		leave()
		time.Sleep(3 * time.Minute)
		if got := files(t, dir); got != "" {
			t.Errorf("files are left: %s", got)
		}
	})
}

func decrypt(t *testing.T, secret []byte, iv string, b []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(secret)
	if err != nil {
		t.Fatal(err)
	}
	v, err := hex.DecodeString(iv)
	if err != nil || len(b) == 0 || len(b)%16 != 0 {
		t.Fatalf("IV %s, %d bytes", iv, len(b))
	}
	cipher.NewCBCDecrypter(block, v).CryptBlocks(b, b)
	return b[:len(b)-int(b[len(b)-1])]
}

// The initialization segment is in the clear, and no key holds for it.
func TestKeysOfFragmentedMP4(t *testing.T) {
	bubble(t, "hls_keys on; hls_use_fmp4 on; hls_ctx off;", func(h *house, _ string) {
		leave := h.publish("s", 120)
		body := h.get("http://x/live/s.m3u8").Body.String()
		if m, k := strings.Index(body, "#EXT-X-MAP"), strings.Index(body, "#EXT-X-KEY"); m < 0 || k < m {
			t.Errorf("%s", body)
		}
		key := keyRE.FindStringSubmatch(body)
		clear := decrypt(t, h.get("http://x/live/"+key[1]).Body.Bytes(), key[2], h.get("http://x/live/s-1.m4s").Body.Bytes())
		if string(clear[4:8]) != "moof" {
			t.Errorf("decrypted begins with %q", clear[:8])
		}
		if init := h.get("http://x/live/s/init.mp4").Body.Bytes(); string(init[4:8]) != "ftyp" {
			t.Errorf("the initialization segment begins with %q", init[:8])
		}
		leave()
	})
}

func TestKeyURL(t *testing.T) {
	for _, c := range [][2]string{
		{"", "s-0.key"}, {"http://h/", "http://h/live/s-0.key"}, {"http://h", "http://h/live/s-0.key"}, {"http://h/k/", "http://h/k/live/s-0.key"},
		{"http://h/k_", "http://h/k_live/s-0.key"}, {"http://h/?token=1", "http://h/live/s-0.key?token=1"},
	} {
		if got := keyURL(c[0], "s-0.key", "live/s-0.key"); got != c[1] {
			t.Errorf("%s: %s, want %s", c[0], got, c[1])
		}
	}
	// With a URL of their own keys are somebody else's to hand out.
	bubble(t, "hls_keys on; hls_key_url https://keys.example.com/; hls_key_file k/[app]/[stream]/[seq].key; hls_ctx off; hls_files off;", func(h *house, dir string) {
		leave := h.publish("s", 70)
		if body := h.get("http://x/live/s.m3u8").Body.String(); !strings.Contains(body, `URI="https://keys.example.com/k/live/s/0.key"`) {
			t.Errorf("%s", body)
		}
		h.want(h.get("http://x/k/live/s/0.key"), 404, "")
		if got := files(t, dir); got != "k/live/s/0.key" {
			t.Errorf("files %s", got)
		}
		leave()
	})
}

// A cache may keep what names no viewer.
func TestCacheable(t *testing.T) {
	bubble(t, "hls_cacheable on; hls_window 60;", func(h *house, _ string) {
		leave := h.publish("s", 120)
		first, second := h.get("http://x/live/s.m3u8"), h.get("http://x/live/s.m3u8?hls_ctx=aaaaaaaa")
		if first.Body.String() != second.Body.String() || strings.Contains(first.Body.String(), "hls_ctx") {
			t.Errorf("%s\n%s", first.Body, second.Body)
		}
		if got := first.Header().Get("Cache-Control"); got != "public, max-age=1" {
			t.Errorf("playlist: %s", got)
		}
		if got := h.get("http://x/live/s-0.ts").Header().Get("Cache-Control"); got != "public, max-age=120, immutable" {
			t.Errorf("segment: %s", got)
		}
		tag := first.Header().Get("ETag")
		h.want(h.get("http://x/live/s.m3u8", "If-None-Match", tag), 304, "")
		leave()
		if got := h.get("http://x/live/s.m3u8").Header().Get("ETag"); got == tag {
			t.Error("the playlist changed, its ETag did not")
		}
	})
}

// Playlists of many segments come compressed to those who take that.
func TestGzip(t *testing.T) {
	bubble(t, "hls_ctx off; hls_window 600;", func(h *house, _ string) {
		leave := h.publish("s", 4000)
		plain := h.get("http://x/live/s.m3u8")
		small := h.get("http://x/live/s.m3u8", "Accept-Encoding", "br, gzip")
		if small.Header().Get("Content-Encoding") != "gzip" || small.Body.Len() >= plain.Body.Len()/2 || plain.Header().Get("Vary") != "Accept-Encoding" {
			t.Fatalf("%v, %d bytes of %d", small.Header(), small.Body.Len(), plain.Body.Len())
		}
		z, err := gzip.NewReader(small.Body)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(z); err != nil || !bytes.Equal(b, plain.Body.Bytes()) {
			t.Errorf("unpacked it is something else: %v", err)
		}
		h.want(h.get("http://x/live/s.m3u8", "Accept-Encoding", "gzip", "If-None-Match", small.Header().Get("ETag")), 304, "")
		if got := h.get("http://x/live/s.m3u8", "Accept-Encoding", "gzip;q=0"); got.Header().Get("Content-Encoding") != "" {
			t.Error("compressed for one who refuses that")
		}
		leave()
	})
}

// A publisher's name may be anything: its playlist is a playlist all the same, and
// its segments are found.
func TestOddNames(t *testing.T) {
	for _, name := range []string{"a b", "ü中", "a%20b", "a?b", "a#b", "a.b.c", "x:y", "a\"b", "#EXTINF"} {
		bubble(t, "hls_ctx off;", func(h *house, dir string) {
			leave := h.publish(name, 70)
			st := h.stream(name)
			if st == nil || st.listed() == nil {
				t.Fatalf("%q has no playlist", name)
			}
			lines := strings.Split(strings.TrimSpace(string(st.listed().text)), "\n")
			uri := lines[len(lines)-1]
			if w := h.get("http://x/live/" + uri); w.Code != 200 || w.Body.Len()%188 != 0 {
				t.Errorf("%q: segment %s: %d", name, uri, w.Code)
			}
			if !strings.Contains(files(t, dir), "live/"+name+"-0.ts") {
				t.Errorf("%q: files %s", name, files(t, dir))
			}
			leave()
		})
	}
}

func TestRelativeMaster(t *testing.T) {
	bubble(t, "hls_master_m3u8_path_relative on;", func(h *house, _ string) {
		leave := h.publish("s", 70)
		if body := h.get("http://x/live/s.m3u8?token=1").Body.String(); !regexp.MustCompile(`\ns\.m3u8\?hls_ctx=[0-9a-z]{8}&token=1\n$`).MatchString(body) {
			t.Errorf("%s", body)
		}
		leave()
	})
}

// A template that numbers nothing keeps one file, the newest.
func TestOneName(t *testing.T) {
	bubble(t, "hls_ts_file [app]/[stream].ts; hls_ctx off;", func(h *house, dir string) {
		leave := h.publish("s", 900)
		if got := files(t, dir); got != "live/s.m3u8 live/s.ts" {
			t.Errorf("files %s", got)
		}
		h.want(h.get("http://x/live/s.ts"), 200, "")
		leave()
	})
}

// A viewer's query goes with all that it fetches of us, and not to somebody else's
// server of keys.
func TestQueryGoesAlong(t *testing.T) {
	for conf, key := range map[string]string{
		"":                                    `URI="s-0.key?hls_ctx=aaaaaaaa&token=%221"`,
		"hls_key_url https://k.example.com/;": `URI="https://k.example.com/live/s-0.key"`,
	} {
		bubble(t, "hls_keys on; hls_use_fmp4 on; "+conf, func(h *house, _ string) {
			leave := h.publish("s", 120)
			body := h.get(`http://x/live/s.m3u8?hls_ctx=aaaaaaaa&token="1`).Body.String()
			for _, want := range []string{`URI="s/init.mp4?hls_ctx=aaaaaaaa&token=%221"`, key, "\ns-0.m4s?hls_ctx=aaaaaaaa&token=%221\n", "\ns-1.m4s?hls_ctx=aaaaaaaa&token=%221\n"} {
				if strings.Count(body, want) != 1 {
					t.Errorf("%s: no %s in\n%s", conf, want, body)
				}
			}
			h.want(h.get("http://x/live/s/init.mp4?hls_ctx=aaaaaaaa&token=%221"), 200, "")
			leave()
		})
	}
}
