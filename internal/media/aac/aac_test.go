package aac

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var configs = []struct {
	name, hex              string
	profile                string
	core, output, channels int
	again                  string // as we write it, "" if the same
}{
	{"lc 44100 stereo", "1210", "LC", 44100, 44100, 2, ""},
	{"lc 48000 5.1", "11b0", "LC", 48000, 48000, 6, ""},
	{"main", "0990", "Main", 48000, 48000, 2, ""},
	{"ssr", "1a10", "SSR", 44100, 44100, 2, ""},
	{"odd rate", "1780557008", "LC", 43744, 43744, 1, ""},
	{"he, hierarchical", "2b920800", "HE", 22050, 44100, 2, ""},
	{"hev2, hierarchical", "eb8a0800", "HEv2", 22050, 44100, 2, ""},
	{"he, backward compatible", "139056e5a0", "HE", 22050, 44100, 2, "2b920800"},
	{"hev2, backward compatible", "138856e5a54880", "HEv2", 22050, 44100, 2, "eb8a0800"},
	{"no extension after the sync word", "121056e500", "LC", 44100, 44100, 2, "1210"},
	{"ffmpeg's lc", "121056e500", "LC", 44100, 44100, 2, "1210"},
	{"960 samples", "1214", "LC", 44100, 44100, 2, ""},
}

func TestConfigs(t *testing.T) {
	for _, c := range configs {
		got, err := ParseConfig(unhex(t, c.hex))
		if err != nil || got.Profile() != c.profile || got.SampleRate != c.core || got.OutputRate() != c.output || got.OutputChannels() != c.channels {
			t.Errorf("%s: %+v (%s, %d), %v", c.name, got, got.Profile(), got.OutputRate(), err)
			continue
		}
		want := c.again
		if want == "" {
			want = c.hex
		}
		if b := hex.EncodeToString(got.Append(nil)); b != want {
			t.Errorf("%s: written as %s, want %s", c.name, b, want)
		}
	}
	for _, bad := range []string{"", "12", "ff", "1790", "0010", "1710"} {
		if c, err := ParseConfig(unhex(t, bad)); err == nil {
			t.Errorf("%s was taken: %+v", bad, c)
		}
	}
}

func TestProgramConfig(t *testing.T) {
	// By ffmpeg, for the layouts 2.1 and 6.1.
	for in, want := range map[string]int{
		"118004c4010020000d4c61766335392e33372e31303056e500":     3,
		"118004c848002000c4400d4c61766335392e33372e31303056e500": 7,
	} {
		c, err := ParseConfig(unhex(t, in))
		if err != nil || c.Channels != want || c.ChannelConfig != 0 || c.SBR {
			t.Errorf("got %+v, %v, want %d channels", c, err, want)
		}
	}
}

func TestADTS(t *testing.T) {
	c := Config{Type: TypeLC, SampleRate: 44100, ChannelConfig: 2}
	b := c.AppendADTS(nil, 364)
	if got, want := hex.EncodeToString(b), "fff150802e7ffc"; got != want {
		t.Errorf("header %s, want %s", got, want)
	}
	for size := 0; size <= MaxFrame; size += 409 {
		for _, c := range []Config{
			{Type: TypeLC, SampleRate: 44100, ChannelConfig: 2, Channels: 2},
			{Type: TypeMain, SampleRate: 7350, ChannelConfig: 7, Channels: 8},
		} {
			got, head, n, err := ParseADTS(c.AppendADTS(nil, size))
			if err != nil || got != c || head != 7 || n != size+7 {
				t.Fatalf("%+v and %d came back as %+v, %d, %d, %v", c, size, got, head, n, err)
			}
		}
	}
	odd, _, _, err := ParseADTS(Config{Type: 42, SampleRate: 43744, ChannelConfig: 1}.AppendADTS(nil, 1))
	if err != nil || odd.SampleRate != 44100 || odd.Type != TypeLC {
		t.Errorf("an odd rate became %+v, %v", odd, err)
	}
	if _, head, _, err := ParseADTS(unhex(t, "fff050802e7ffc")); head != 9 || err != nil {
		t.Errorf("with a checksum: %d, %v", head, err)
	}
	if d := (Config{SampleRate: 48000}).FrameDuration(); d != 21333333*time.Nanosecond {
		t.Errorf("a frame lasts %v", d)
	}
}

func FuzzParseConfig(f *testing.F) {
	for _, c := range configs {
		f.Add(unhex(f, c.hex))
	}
	f.Add(unhex(f, "118004c4010020000d4c61766335392e33372e31303056e500"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseConfig(b)
		if err != nil {
			return
		}
		c.FrameDuration()
		once := c.Append(nil)
		again, err := ParseConfig(once)
		if c.ChannelConfig == 0 || c.Type == 0 || c.SBR && c.ExtensionRate == 0 {
			return
		}
		if err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", once, again.Append(nil), err)
		}
	})
}

func FuzzParseADTS(f *testing.F) {
	f.Add(unhex(f, "fff150802e7ffc"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, head, size, err := ParseADTS(b)
		if err != nil {
			return
		}
		again, _, n, err := ParseADTS(c.AppendADTS(nil, size-head))
		if err != nil || again != c || n != size-head+HeaderLen {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
