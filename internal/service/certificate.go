package service

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
)

// TLS returns how the certificate of a host is judged under tls_verify. With warn, one
// that cannot be trusted is told of in the log and as a notice.
func TLS(verify, host string, env Env, log *slog.Logger) *tls.Config {
	switch verify {
	case "on":
		return &tls.Config{}
	case "off":
		return &tls.Config{InsecureSkipVerify: true}
	}
	return &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(cs tls.ConnectionState) error {
		chain := x509.NewCertPool()
		for _, c := range cs.PeerCertificates[1:] {
			chain.AddCert(c)
		}
		_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{DNSName: host, Intermediates: chain})
		text := ""
		if err != nil {
			text = "its certificate cannot be trusted, so that anybody in between could read the stream: " + err.Error()
		}
		if env.Notices.Set("server "+host, text) && err != nil {
			log.Warn("server "+host+": "+text, "hint", "give it a certificate that this machine trusts, or write tls_verify off")
		}
		return nil
	}}
}
