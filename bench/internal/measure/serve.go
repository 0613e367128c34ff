//go:build unix

package measure

import (
	"net"
	"net/http"
	"os/exec"
	"time"
)

// Serve starts mf's metadata service on an empty Postgres database, and returns its URL.
func Serve(h *Host, mf, database string) string {
	if out, err := exec.Command(mf, "service", "migrate", "--db", database).CombinedOutput(); err != nil {
		h.Fatalf("making the service's tables: %v\n%s", err, out)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	cmd := exec.Command(mf, "service", "--db", database, "--listen", address)
	if err := cmd.Start(); err != nil {
		h.Fatal(err)
	}
	h.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	for range 500 {
		if resp, err := http.Get("http://" + address + "/ping"); err == nil {
			resp.Body.Close()
			return "http://" + address
		}
		time.Sleep(20 * time.Millisecond)
	}
	h.Fatal("the service does not answer")
	return ""
}
