package postgres_test

import (
	"testing"
	"time"

	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/postgres"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/tables/tablestest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func migrate(t *testing.T, url string) {
	t.Helper()
	s, err := postgres.OpenForMigration(t.Context(), url, postgres.Options{Now: time.Now})
	must(t, err)
	must(t, s.Migrate(t.Context(), nil))
	must(t, s.Close())
}

// open returns a store in a database of its own.
func open(t *testing.T, opt postgres.Options) *postgres.Store {
	t.Helper()
	url := testserver.Database(t)
	migrate(t, url)
	return openAt(t, url, opt)
}

func openAt(t *testing.T, url string, opt postgres.Options) *postgres.Store {
	t.Helper()
	if opt.Now == nil {
		opt.Now = time.Now
	}
	s, err := postgres.Open(t.Context(), url, opt)
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func TestContract(t *testing.T) {
	metadatatest.Test(t, func(t *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return open(t, postgres.Options{Now: clock.Now})
	})
}

func TestTables(t *testing.T) {
	tablestest.Test(t, func(t *testing.T, now func() time.Time) tables.DB {
		return open(t, postgres.Options{Now: now}).Tables()
	})
}
