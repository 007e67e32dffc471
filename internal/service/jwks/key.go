package jwks

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Limits of what a set may hold.
const (
	maxKeys    = 100
	minModulus = 2048 // bits of RSA, below which a key can be factored
	maxModulus = 8192 // above which checking a signature takes the server's time
)

// A Key is one key of a set.
type Key struct {
	// ID is the set's name for it (kid), which may be empty.
	ID string
	// Alg is the one algorithm that it is for (RFC 7518, 3.1), empty if the set does
	// not say.
	Alg string
	// Public is an *rsa.PublicKey, an *ecdsa.PublicKey or an ed25519.PublicKey.
	Public crypto.PublicKey
}

// jwk is a key as RFC 7517 and RFC 7518, part 6, write it.
type jwk struct {
	Kty, Use, Kid, Alg, Crv string
	N, E, X, Y              string
}

// Parse reads a set of keys (RFC 7517, part 5). Keys that are not for signatures, or
// of a kind that is not known, are left out, as the RFC asks; symmetric ones as well,
// since a set is public. It is an error if none is left, or if one is broken.
func Parse(text []byte) ([]Key, error) {
	var set struct{ Keys []jwk }
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("not a set of keys: %w", err)
	}
	if len(set.Keys) > maxKeys {
		return nil, fmt.Errorf("a set of %d keys, more than %d", len(set.Keys), maxKeys)
	}
	var keys []Key
	for i, k := range set.Keys {
		if k.Use != "" && k.Use != "sig" {
			continue
		}
		public, err := k.public()
		if err != nil {
			return nil, fmt.Errorf("key %d (%.40q): %w", i+1, k.Kid, err)
		}
		if public != nil {
			keys = append(keys, Key{ID: k.Kid, Alg: k.Alg, Public: public})
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("no key in the set is for signatures and of RSA, EC or Ed25519")
	}
	return keys, nil
}

// public returns the key, nil if it is of a kind that is not known.
func (k jwk) public() (crypto.PublicKey, error) {
	switch k.Kty {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ec()
	case "OKP":
		if k.Crv != "Ed25519" {
			return nil, nil
		}
		x, err := base64.RawURLEncoding.DecodeString(k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("not a point of Ed25519")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, nil
}

func (k jwk) rsa() (crypto.PublicKey, error) {
	n, err1 := base64.RawURLEncoding.DecodeString(k.N)
	e, err2 := base64.RawURLEncoding.DecodeString(k.E)
	if err1 != nil || err2 != nil || len(e) == 0 || len(e) > 4 {
		return nil, errors.New("not a modulus and an exponent of RSA")
	}
	key := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
	switch bits := key.N.BitLen(); {
	case bits < minModulus || bits > maxModulus:
		return nil, fmt.Errorf("a modulus of %d bits; %d to %d are taken", bits, minModulus, maxModulus)
	case key.E < 3 || key.E%2 == 0 || key.N.Bit(0) == 0 || key.E > 1<<31-1:
		return nil, errors.New("not a modulus and an exponent of RSA")
	}
	return key, nil
}

func (k jwk) ec() (crypto.PublicKey, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[k.Crv]
	if curve == nil {
		return nil, nil
	}
	x, err1 := base64.RawURLEncoding.DecodeString(k.X)
	y, err2 := base64.RawURLEncoding.DecodeString(k.Y)
	size := (curve.Params().BitSize + 7) / 8
	if err1 != nil || err2 != nil || len(x) != size || len(y) != size {
		return nil, fmt.Errorf("not a point of %s", k.Crv)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, append(append([]byte{4}, x...), y...))
	if err != nil {
		return nil, fmt.Errorf("not a point of %s", k.Crv)
	}
	return key, nil
}
