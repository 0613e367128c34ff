package testserver_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/internal/testserver"
)

func TestPostgresComesBack(t *testing.T) {
	p := testserver.StartPostgres(t)
	url := p.URL()
	ask := func() error {
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			return err
		}
		defer conn.Close(t.Context())
		_, err = conn.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS a (b int)")
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	p.Stop()
	if ask() == nil {
		t.Error("the stopped server answers")
	}
	p.Start()
	if err := ask(); err != nil {
		t.Error(err)
	}
	if a, b := testserver.Database(t), testserver.Database(t); a == b {
		t.Errorf("the same database twice: %s", a)
	}
}

func TestS3ComesBack(t *testing.T) {
	s := testserver.StartS3(t)
	b := s.Bucket(t)
	status := func() int {
		resp, err := http.Get(b.Endpoint + "/" + b.Name + "/x")
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != http.StatusForbidden {
		t.Errorf("status %d without credentials", got)
	}
	s.Stop()
	if got := status(); got != 0 {
		t.Errorf("the stopped server answers %d", got)
	}
	s.Start()
	if got := status(); got != http.StatusForbidden {
		t.Errorf("status %d after the restart", got)
	}
}

func TestEmulators(t *testing.T) {
	g, a := testserver.NewGCSBucket(t), testserver.NewAzureContainer(t)
	resp, err := http.Get(g.Endpoint + "/storage/v1/b/" + g.Bucket)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("the GCS bucket: %s", resp.Status)
	}
	if !strings.HasSuffix(a.Endpoint, a.Account) {
		t.Errorf("endpoint %s is not the account's", a.Endpoint)
	}
}
