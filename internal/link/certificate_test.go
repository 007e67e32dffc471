package link

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issue writes a certificate and its key into files.
func issue(t *testing.T, cert, key, name string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &k.PublicKey, k)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	write(t, cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

func write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCertificateIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert"), filepath.Join(dir, "key")
	issue(t, cert, key, "one")
	var told []error
	c, err := NewCertificate(cert, key, func(err error) { told = append(told, err) })
	if err != nil {
		t.Fatal(err)
	}
	// serves looks as a handshake does some time later.
	later := time.Now()
	serves := func() string {
		t.Helper()
		later = later.Add(2 * lookEvery)
		c.mu.Lock()
		c.look(later)
		c.mu.Unlock()
		p, err := c.Get(nil)
		if err != nil {
			t.Fatal(err)
		}
		return p.Leaf.Subject.CommonName
	}
	if got := serves(); got != "one" || len(told) != 0 {
		t.Errorf("serves %s, told %v", got, told)
	}
	// One file after the other: between them nothing fits.
	issue(t, filepath.Join(dir, "cert2"), filepath.Join(dir, "key2"), "another")
	os.Rename(filepath.Join(dir, "cert2"), cert)
	if got := serves(); got != "one" || len(told) != 1 || told[0] == nil {
		t.Errorf("with another's key it serves %s, told %v", got, told)
	}
	if serves(); len(told) != 1 {
		t.Errorf("told again: %v", told)
	}
	os.Rename(filepath.Join(dir, "key2"), key)
	if got := serves(); got != "another" || len(told) != 2 || told[1] != nil {
		t.Errorf("serves %s, told %v", got, told)
	}
	os.Remove(cert)
	if got := serves(); got != "another" || len(told) != 3 || told[2] == nil {
		t.Errorf("without a file it serves %s, told %v", got, told)
	}
	if _, err := NewCertificate(cert, key, nil); err == nil {
		t.Error("a certificate of nothing")
	}
}
