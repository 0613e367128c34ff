package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/sqlite"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/tables/tablestest"
	"github.com/mf-run/mf/metadata/token"
)

// open opens a database that is closed at the end of the test.
func open(t *testing.T, path string, opt sqlite.Options) *sqlite.Store {
	t.Helper()
	if opt.Now == nil {
		opt.Now = metadatatest.NewClock().Now
	}
	s, err := sqlite.Open(t.Context(), path, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestContract(t *testing.T) {
	metadatatest.Test(t, func(t *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{Now: clock.Now})
	})
}

func TestTables(t *testing.T) {
	tablestest.Test(t, func(t *testing.T, now func() time.Time) tables.DB {
		return open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{Now: now}).Tables()
	})
}

func TestTokens(t *testing.T) {
	tablestest.TestTokens(t, func(t *testing.T) token.Store {
		return open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{})
	})
}

func TestMigrator(t *testing.T) {
	tablestest.TestMigrator(t, func(t *testing.T) func() tables.Migrator {
		path := filepath.Join(t.TempDir(), "m.db")
		return func() tables.Migrator { return open(t, path, sqlite.Options{KeepSchema: true}) }
	})
}

func TestLocalIDs(t *testing.T) {
	metadatatest.TestLocalIDs(t, func(t *testing.T, clock *metadatatest.Clock) metadatatest.Store {
		return open(t, filepath.Join(t.TempDir(), "m.db"), sqlite.Options{Now: clock.Now})
	})
}
