package client_test

import (
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata/httpapi"
	"github.com/mf-run/mf/metadata/httpapi/client"
	"github.com/mf-run/mf/metadata/httpapi/server"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/sqlite"
)

// connect returns a client of a handler.
func connect(t *testing.T, h http.Handler, o client.Options) *client.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	o.URL = s.URL
	if o.Notify == nil {
		o.Notify = func(text string) { t.Error(text) }
	}
	c, err := client.New(o)
	must(t, err)
	return c
}

// overSQLite returns the service over a new SQLite database.
func overSQLite(t *testing.T, o sqlite.Options) http.Handler {
	t.Helper()
	store, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "m.db"), o)
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return server.New(server.Config{DB: store.Tables(), Store: store, Now: o.Now}).Handler()
}

// TestContractSQLite: what a store promises, the client promises too.
func TestContractSQLite(t *testing.T) {
	metadatatest.Test(t, func(t *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return connect(t, overSQLite(t, sqlite.Options{Now: clock.Now}), client.Options{})
	})
}

// withoutOwn hides mf's own routes, as Metaflow's service has none.
func withoutOwn(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, httpapi.Prefix) {
			http.Error(w, "404: Not Found", http.StatusNotFound)
			return
		}
		h.ServeHTTP(w, r)
	})
}

func TestMetaflowRoutes(t *testing.T) {
	overMetaflow(t, connect(t, withoutOwn(overSQLite(t, sqlite.Options{Now: time.Now})), client.Options{}), "Flow")
}

// overPostgres returns the service over a new Postgres database.
func overPostgres(t *testing.T, url string, now func() time.Time) http.Handler {
	t.Helper()
	m, err := postgres.OpenForMigration(t.Context(), url, postgres.Options{Now: now})
	must(t, err)
	must(t, m.Migrate(t.Context(), nil))
	must(t, m.Close())
	store, err := postgres.Open(t.Context(), url, postgres.Options{Now: now})
	must(t, err)
	t.Cleanup(func() { must(t, store.Close()) })
	return server.New(server.Config{DB: store.Tables(), Store: store, Now: now}).Handler()
}

func TestContractPostgres(t *testing.T) {
	metadatatest.Test(t, func(t *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return connect(t, overPostgres(t, testserver.Database(t), clock.Now), client.Options{})
	})
}

func TestMetaflowRoutesPostgres(t *testing.T) {
	overMetaflow(t, connect(t, withoutOwn(overPostgres(t, testserver.Database(t), time.Now)), client.Options{}), "Flow")
}
