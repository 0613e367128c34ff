package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"testing"
)

// TestRootsWithoutAny looks for certificates where the system has none.
func TestRootsWithoutAny(t *testing.T) {
	if os.Getenv("MF_TEST_ROOTS") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestRootsWithoutAny$")
		cmd.Env = append(os.Environ(), "MF_TEST_ROOTS=1", "SSL_CERT_FILE=/nonexistent/file", "SSL_CERT_DIR=/nonexistent/dir")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		t.Fatal(err)
	}
	if pool.Equal(x509.NewCertPool()) {
		t.Error("no certificate is trusted")
	}
}
