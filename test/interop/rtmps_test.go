package interop

import (
	"crypto/tls"
	"path/filepath"
	"testing"

	"weir/internal/protocol/protocoltest"
)

// ffmpeg publishes and plays over TLS, and a certificate that is renewed serves from
// the next connection on.
func TestRTMPS(t *testing.T) {
	t.Parallel()
	addr, dir := protocoltest.FreeAddr(t), t.TempDir()
	cert, key := filepath.Join(dir, "server.crt"), filepath.Join(dir, "server.key")
	certify(t, cert, key, "first")
	h := open(t, "", "SRS_RTMPS_ENABLED=on", "SRS_RTMPS_LISTEN="+addr, "SRS_RTMPS_KEY="+key, "SRS_RTMPS_CERT="+cert)
	url := "rtmps://" + addr + "/live/s"
	background(t, "ffmpeg", "-v", "error", "-re", "-i", bFrames.path(t), "-c", "copy", "-f", "flv", url)
	h.awaitLive(t, "s")
	bFrames.check(t, "over TLS", demux(t, url, 5, ""), 3, true)
	bFrames.check(t, "of who publishes over TLS", demux(t, h.stream("s"), 5, ""), 3, true)
	certify(t, cert, key, "second")
	wait(t, "the new certificate serves", func() bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Subject.CommonName == "second"
	})
	if !h.log.await("certificate has changed", 1) {
		t.Error("nobody was told")
	}
}
