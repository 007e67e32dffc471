package webrtc

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// identity is the certificate that we show in DTLS, whose fingerprint answers tell.
type identity struct {
	cert        tls.Certificate
	fingerprint string // "sha-256 AA:BB:..."
}

// certificateAge is for how long a certificate is made. Browsers look at nothing but
// the fingerprint.
const certificateAge = 10 * 365 * 24 * time.Hour

// newIdentity returns the certificate that a file keeps, which is made if it is
// missing; without a file, one that nobody keeps. lost is told if one that was made
// cannot be kept.
func newIdentity(file string, useECDSA bool, lost func(error)) (*identity, error) {
	if file == "" {
		id, _, _, err := makeIdentity(useECDSA)
		return id, err
	}
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		id, der, key, err := makeIdentity(useECDSA)
		if err == nil {
			if err := keep(file, der, key); err != nil {
				lost(err)
			}
		}
		return id, err
	}
	if err != nil {
		return nil, fmt.Errorf("rtc_server certificate: %w; make the file readable, or name another", err)
	}
	cert, err := tls.X509KeyPair(text, text)
	if err != nil {
		return nil, fmt.Errorf("rtc_server certificate %s: %w; delete the file, and another is made", file, err)
	}
	return identify(cert), nil
}

func identify(cert tls.Certificate) *identity {
	return &identity{cert, "sha-256 " + fingerprint(cert.Certificate[0])}
}

// fingerprint is the hash of a certificate as SDP writes it.
func fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return colons(sum[:])
}

// colons writes a hash.
func colons(sum []byte) string {
	parts := make([]string, len(sum))
	for i, b := range sum {
		parts[i] = fmt.Sprintf("%02X", b)
	}
	return strings.Join(parts, ":")
}

func makeIdentity(useECDSA bool) (id *identity, der []byte, key crypto.Signer, err error) {
	if useECDSA {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	} else {
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make a key for DTLS: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, nil, err
	}
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: "weir"}, NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(certificateAge)}
	der, err = x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("make a certificate for DTLS: %w", err)
	}
	return identify(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}), der, key, nil
}

// keep writes certificate and key into a file for the owner only.
func keep(file string, der []byte, key crypto.Signer) error {
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, text, 0o600)
}
