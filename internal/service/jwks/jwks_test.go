package jwks

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var b64 = base64.RawURLEncoding.EncodeToString

// edKey is a set of one key of Ed25519.
func edKey(id string) string {
	return fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q}]}`, id, b64(make([]byte, 32)))
}

func TestParse(t *testing.T) {
	r, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, _ := e.PublicKey.Bytes()
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	keys, err := Parse(fmt.Appendf(nil, `{"keys":[
		{"kty":"RSA","kid":"r","alg":"RS256","use":"sig","n":%q,"e":"AQAB"},
		{"kty":"EC","kid":"e","crv":"P-256","x":%q,"y":%q},
		{"kty":"OKP","kid":"o","crv":"Ed25519","x":%q},
		{"kty":"oct","kid":"secret","k":"c2VjcmV0"},
		{"kty":"RSA","kid":"enc","use":"enc"},
		{"kty":"EC","kid":"k1","crv":"secp256k1"}]}`, b64(r.N.Bytes()), b64(point[1:33]), b64(point[33:]), b64(ed)))
	if err != nil || len(keys) != 3 {
		t.Fatalf("Parse: %v, %v", keys, err)
	}
	if !r.PublicKey.Equal(keys[0].Public) || keys[0].Alg != "RS256" || !e.PublicKey.Equal(keys[1].Public) || !ed.Equal(keys[2].Public) || keys[2].ID != "o" {
		t.Errorf("Parse: %v", keys)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no JSON":         `<html>`,
		"no keys":         `{}`,
		"only secrets":    `{"keys":[{"kty":"oct","k":"AAAA"}]}`,
		"short modulus":   `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 171) + `","e":"AQAB"}]}`,
		"long modulus":    `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 3000) + `","e":"AQAB"}]}`,
		"exponent of 1":   `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 342) + `","e":"AQ"}]}`,
		"no exponent":     `{"keys":[{"kty":"RSA","n":"` + strings.Repeat("_", 342) + `"}]}`,
		"not on curve":    `{"keys":[{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}]}`,
		"short point":     `{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}`,
		"short Ed25519":   `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`,
		"keys by hundred": `{"keys":[` + strings.Repeat(`{},`, 100) + `{}]}`,
	} {
		if keys, err := Parse([]byte(text)); err == nil {
			t.Errorf("%s: %v", name, keys)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(edKey("a")))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := Parse(text)
		if (len(keys) == 0) != (err != nil) {
			t.Errorf("%d keys, %v", len(keys), err)
		}
	})
}

// provider answers requests for the set with what answer returns.
type provider struct {
	asked  atomic.Int32
	answer func(*http.Request) (string, error)
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	p.asked.Add(1)
	body, err := p.answer(r)
	if err != nil {
		return nil, err
	}
	return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(body)), Request: r}, nil
}

func source(answer func(*http.Request) (string, error)) (*Source, *provider) {
	p := &provider{answer: answer}
	return &Source{Address: "https://id.example/jwks", Client: &http.Client{Transport: p}}, p
}

// A key is read when it is first named, again when it is old, and a set that changes
// is seen when a token names what is new, but not for every name that is made up.
func TestRotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := "a"
		s, p := source(func(*http.Request) (string, error) { return edKey(now), nil })
		has := func(id string, want bool, asked int) {
			t.Helper()
			keys, err := s.Keys(t.Context(), id)
			synctest.Wait()
			if (err == nil && len(keys) == 1) != want || int(p.asked.Load()) != asked {
				t.Errorf("%s: %v, %v; asked %d times, want %d", id, keys, err, p.asked.Load(), asked)
			}
		}
		has("a", true, 1)
		has("a", true, 1)
		has("b", false, 1) // too soon to ask again
		now = "b"
		time.Sleep(soonest)
		has("b", true, 2)
		has("a", false, 2)
		time.Sleep(fresh + time.Second)
		has("b", true, 3) // with what it has; the new set is on its way
	})
}

// A provider that hangs keeps those waiting whose key is not known, for so long and
// all together, and nobody else.
func TestProviderHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := false
		s, p := source(func(r *http.Request) (string, error) {
			if hang {
				<-r.Context().Done()
				return "", r.Context().Err()
			}
			return edKey("a"), nil
		})
		if _, err := s.Keys(t.Context(), "a"); err != nil {
			t.Fatal(err)
		}
		hang = true
		time.Sleep(fresh + time.Second)
		began := time.Now()
		if _, err := s.Keys(t.Context(), "a"); err != nil || time.Since(began) != 0 {
			t.Errorf("a known key: %v after %v", err, time.Since(began))
		}
		errs := make(chan error)
		for range 100 {
			go func() { _, err := s.Keys(t.Context(), "b"); errs <- err }()
		}
		for range 100 {
			if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("an unknown key: %v", err)
			}
		}
		if time.Since(began) != patience || p.asked.Load() != 2 {
			t.Errorf("waited %v, asked %d times", time.Since(began), p.asked.Load())
		}
		// A visitor who leaves does not wait.
		time.Sleep(soonest)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began = time.Now()
		if _, err := s.Keys(ctx, "c"); err == nil || time.Since(began) != time.Second {
			t.Errorf("who left waited %v: %v", time.Since(began), err)
		}
		time.Sleep(patience)
	})
}

// endless is a body without end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }
func (endless) Close() error               { return nil }

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestProviderAnswersNonsense(t *testing.T) {
	for want, f := range map[string]transport{
		"larger than 1 MiB": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: endless{}, Request: r}, nil
		},
		"it answers 500": func(r *http.Request) (*http.Response, error) {
			return &http.Response{Status: "500 No", StatusCode: 500, Body: endless{}, Request: r}, nil
		},
		"not a set of keys": func(r *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("<html>")), Request: r}, nil
		},
	} {
		s := &Source{Address: "https://id.example", Client: &http.Client{Transport: f}}
		if _, err := s.Keys(t.Context(), "a"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Who serves the keys over https cannot be made to serve them over http.
func TestNoWayBackToHTTP(t *testing.T) {
	client := *strict
	client.Transport = transport(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "http" {
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(edKey("a"))), Request: r}, nil
		}
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://id.example/"}}, Body: http.NoBody, Request: r}, nil
	})
	s := &Source{Address: "https://id.example", Client: &client}
	if keys, err := s.Keys(t.Context(), "a"); err == nil {
		t.Errorf("it took %v", keys)
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "keys.json")
	if err := os.WriteFile(name, []byte(edKey("a")), 0o600); err != nil {
		t.Fatal(err)
	}
	var all Sources
	if keys, err := all.Of(name).Keys(t.Context(), ""); err != nil || len(keys) != 1 || all.Of(name) != all.Of(name) {
		t.Errorf("%v, %v", keys, err)
	}
	if _, err := all.Of(name+".no").Keys(t.Context(), ""); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
}
