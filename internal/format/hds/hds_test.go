package hds

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"reflect"
	"strings"
	"testing"
)

var sample = Bootstrap{Version: 7, Fragments: []Fragment{{7, 12000, 2000}, {8, 14000, 2040}}}

const golden = "0000007a" + "61627374" + "00000000" + "00000007" + "20" + "000003e8" + "00000000000036b0" + "0000000000000000" + "0000000000" +
	"01" + "00000019" + "61737274" + "00000000" + "00" + "00000001" + "00000001" + "00000002" +
	"01" + "00000035" + "61667274" + "00000000" + "000003e8" + "00" + "00000002" +
	"00000007" + "0000000000002ee0" + "000007d0" + "00000008" + "00000000000036b0" + "000007f8"

func TestBootstrap(t *testing.T) {
	b := sample.Append(nil)
	if got := hex.EncodeToString(b); got != golden {
		t.Errorf("got  %s\nwant %s", got, golden)
	}
	back, err := Parse(b)
	if err != nil || !reflect.DeepEqual(back, &sample) {
		t.Errorf("came back as %+v, %v", back, err)
	}
	for i := range b {
		if _, err := Parse(b[:i]); !errors.Is(err, ErrSyntax) {
			t.Errorf("%d bytes of it: %v", i, err)
		}
	}
}

func TestManifest(t *testing.T) {
	got := string(AppendManifest(nil, `a"<b`, "a%22%3Cb", 640))
	want := `<?xml version="1.0" encoding="utf-8"?>
<manifest xmlns="http://ns.adobe.com/f4m/1.0">
	<id>a&#34;&lt;b.f4m</id>
	<streamType>live</streamType>
	<bootstrapInfo profile="named" id="bootstrap0" url="a%22%3Cb.abst" />
	<media bitrate="640" url="a%22%3Cb" bootstrapInfoId="bootstrap0"></media>
</manifest>
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestFragment(t *testing.T) {
	if got := string(AppendFragment(nil, 3)); got != "\x00\x00\x00\x0bmdat" {
		t.Errorf("%q", got)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(sample.Append(nil))
	f.Add((&Bootstrap{}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err != nil {
			return
		}
		once := p.Append(nil)
		again, err := Parse(once)
		if err != nil || !bytes.Equal(again.Append(nil), once) {
			t.Fatalf("%x became %x, %v", b, once, err)
		}
	})
}

// FuzzManifest checks that no name breaks out of the manifest.
func FuzzManifest(f *testing.F) {
	f.Add(`a"><media/>&`)
	f.Fuzz(func(t *testing.T, name string) {
		var x struct {
			Media []struct {
				URL string `xml:"url,attr"`
			} `xml:"media"`
		}
		if err := xml.Unmarshal(AppendManifest(nil, name, name, 0), &x); err != nil || len(x.Media) != 1 {
			t.Fatalf("%q became %+v, %v", name, x, err)
		}
		if strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r >= 0xfffd }) < 0 && x.Media[0].URL != name {
			t.Fatalf("%q became %q", name, x.Media[0].URL)
		}
	})
}
