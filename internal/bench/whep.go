package bench

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"weir/internal/wire/sdp"
)

// A house of callers: what viewers of WebRTC share.
type calls struct {
	cert        tls.Certificate
	fingerprint string
	client      *http.Client
	sweep       *caught

	mu   sync.Mutex
	ends []string // where the sessions can be ended; guarded by mu
}

func newCalls(ctx context.Context, wg *sync.WaitGroup) (*calls, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	// A day before and a month after: clocks differ.
	form := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(30 * 24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, form, form, key.Public(), key)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(der)
	return &calls{
		cert:        tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		fingerprint: strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":"),
		client:      &http.Client{Timeout: setupTimeout},
		sweep:       newCaught(ctx, wg),
	}, nil
}

const (
	// endsAtOnce is how many sessions are ended at the same time, and endTime how
	// long all may take.
	endsAtOnce = 16
	endTime    = 10 * time.Second
)

// end ends all sessions, so that the server does not go on sending.
func (c *calls) end() {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	c.mu.Lock()
	ends := c.ends
	c.ends = nil
	c.mu.Unlock()
	var wg sync.WaitGroup
	for i := range endsAtOnce {
		wg.Go(func() {
			for j := i; j < len(ends); j += endsAtOnce {
				r, err := http.NewRequestWithContext(ctx, http.MethodDelete, ends[j], nil)
				if err != nil {
					return
				}
				if res, err := c.client.Do(r); err == nil {
					res.Body.Close()
				}
			}
		})
	}
	wg.Wait()
	c.client.CloseIdleConnections()
}

// isWHEP reports whether an address is one to play by WHEP.
func isWHEP(u *url.URL) bool {
	switch u.Scheme {
	case "whep", "wheps":
		return true
	case "http", "https":
		return path.Base(u.Path) == "whep"
	}
	return false
}

// whepURL returns the address that is asked: whep://host:1985/app/stream is short for
// SRS's way to say so.
func whepURL(address string) (string, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "http" || u.Scheme == "https" {
		return address, err
	}
	app, stream := path.Split(u.Path)
	if app = strings.Trim(app, "/"); app == "" || stream == "" {
		return "", fmt.Errorf("%q is no whep://host/app/stream", address)
	}
	q := u.Query()
	q.Set("app", app)
	q.Set("stream", stream)
	return (&url.URL{Scheme: map[string]string{"whep": "http", "wheps": "https"}[u.Scheme], Host: u.Host, Path: "/rtc/v1/whep/", RawQuery: q.Encode()}).String(), nil
}

// ask sends the offer and returns the answer, and where the server is.
func (c *calls) ask(ctx context.Context, address, offer string) (*sdp.Session, []string, error) {
	u, err := whepURL(address)
	if err != nil {
		return nil, nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, u, strings.NewReader(offer))
	if err != nil {
		return nil, nil, err
	}
	r.Header.Set("Content-Type", "application/sdp")
	r.Header.Set("User-Agent", agent)
	res, err := c.client.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, sdp.MaxSize))
	if err != nil {
		return nil, nil, err
	}
	if res.StatusCode != http.StatusCreated {
		return nil, nil, fmt.Errorf("%s: %.200s", res.Status, text)
	}
	if end, err := res.Location(); err == nil {
		c.mu.Lock()
		c.ends = append(c.ends, end.String())
		c.mu.Unlock()
	}
	answer, err := sdp.Parse(string(text))
	if err != nil {
		return nil, nil, fmt.Errorf("the answer is %w", err)
	}
	at := places(answer, r.URL.Hostname())
	if len(at) == 0 {
		return nil, nil, errors.New("the answer names no address for UDP")
	}
	return answer, at, nil
}

// places returns the addresses of an answer's candidates of UDP, those on the host that
// was asked first.
func places(answer *sdp.Session, host string) (all []string) {
	for _, m := range answer.Media {
		for _, c := range m.Candidates {
			f := strings.Fields(c)
			if len(f) < 6 || !strings.EqualFold(f[2], "udp") || strings.HasSuffix(f[4], ".local") {
				continue
			}
			at := net.JoinHostPort(f[4], f[5])
			switch {
			case slices.Contains(all, at):
			case f[4] == host:
				all = slices.Insert(all, 0, at)
			default:
				all = append(all, at)
			}
		}
	}
	return all
}

// formats are those that the offer has, with the numbers it gives them.
const formats = `a=rtpmap:102 H264/90000
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtcp-fb:102 nack pli
a=rtpmap:104 H264/90000
a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f
a=rtcp-fb:104 nack pli
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f
a=rtcp-fb:106 nack pli
a=rtpmap:108 H265/90000
a=rtpmap:96 VP8/90000
a=rtpmap:98 VP9/90000
a=rtpmap:45 AV1/90000
`

// offer is what a viewer says that it can do. It does not ask for lost packets again,
// so that they are seen.
func (c *caller) offer() string {
	const both = "c=IN IP4 0.0.0.0\na=mid:%s\na=recvonly\na=rtcp-mux\na=ice-ufrag:%s\na=ice-pwd:%s\na=fingerprint:sha-256 %s\na=setup:active\n"
	var b strings.Builder
	b.WriteString("v=0\no=- 1 1 IN IP4 127.0.0.1\ns=-\nt=0 0\na=group:BUNDLE 0 1\n")
	fmt.Fprintf(&b, "m=audio 9 UDP/TLS/RTP/SAVPF 111 8 0\n"+both, "0", c.ufrag, c.pwd, c.calls.fingerprint)
	b.WriteString("a=rtpmap:111 opus/48000/2\na=fmtp:111 minptime=10;useinbandfec=1\na=rtpmap:8 PCMA/8000\na=rtpmap:0 PCMU/8000\n")
	fmt.Fprintf(&b, "m=video 9 UDP/TLS/RTP/SAVPF 102 104 106 108 96 98 45\n"+both, "1", c.ufrag, c.pwd, c.calls.fingerprint)
	b.WriteString(formats)
	return strings.ReplaceAll(b.String(), "\n", "\r\n")
}
