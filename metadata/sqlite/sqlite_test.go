package sqlite_test

import (
	"path/filepath"
	"testing"

	"github.com/mf-run/mf/metadata/metadatatest"
	"github.com/mf-run/mf/metadata/sqlite"
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
