package sqlite

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/mf-run/mf/metadata"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step of the schema. A released one is never changed; a new one gets the next number.
type migration struct {
	version int64
	name    string
	sql     string
}

// migrations returns the embedded steps in order; a file is named "<version>_<name>.sql".
func migrations() ([]migration, error) {
	entries, err := fs.ReadDir(migrationFiles, "migrations")
	if err != nil {
		return nil, err
	}
	list := make([]migration, 0, len(entries))
	for i, e := range entries {
		number, name, _ := strings.Cut(strings.TrimSuffix(e.Name(), ".sql"), "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version != int64(i+1) {
			return nil, fmt.Errorf("migration %s is not number %d; this is a bug in mf", e.Name(), i+1)
		}
		text, err := fs.ReadFile(migrationFiles, "migrations/"+e.Name())
		if err != nil {
			return nil, err
		}
		list = append(list, migration{version, name, string(text)})
	}
	return list, nil
}

const schemaTable = `CREATE TABLE IF NOT EXISTS mf_schema (
    id         INTEGER NOT NULL PRIMARY KEY,
    version_id INTEGER NOT NULL,
    is_applied INTEGER NOT NULL,
    tstamp     TEXT NOT NULL
)`

// prepareFile brings a new or old file to this version's schema. A file that is not ours to touch is left as it is.
func (w *writer) prepareFile(ctx context.Context) error {
	list, err := migrations()
	if err != nil {
		return err
	}
	version, err := w.version(ctx, int64(len(list)))
	if err != nil {
		return err
	}
	// Outside a transaction, for SQLite changes the mode only there. Repeating it on a file that has it is cheap.
	if _, err := w.conn.ExecContext(ctx, "PRAGMA journal_mode=WAL"); err != nil {
		return err
	}
	if version == int64(len(list)) {
		return nil
	}
	return w.transact(ctx, func() error {
		// Another process may have been faster.
		version, err := w.version(ctx, int64(len(list)))
		if err != nil {
			return err
		}
		if _, err := w.conn.ExecContext(ctx, schemaTable); err != nil {
			return err
		}
		for _, m := range list[version:] {
			if err := w.migrate(ctx, m); err != nil {
				return fmt.Errorf("bringing the schema to version %d (%s): %w", m.version, m.name, err)
			}
		}
		return nil
	})
}

func (w *writer) migrate(ctx context.Context, m migration) error {
	if _, err := w.conn.ExecContext(ctx, m.sql); err != nil {
		return err
	}
	_, err := w.conn.ExecContext(ctx, "INSERT INTO mf_schema (version_id, is_applied, tstamp) VALUES (?, 1, ?)",
		m.version, w.now().UTC().Format(time.RFC3339))
	return err
}

// version returns the file's schema version, 0 for an empty file.
func (w *writer) version(ctx context.Context, known int64) (int64, error) {
	var tables, ours int64
	err := w.conn.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'mf_schema'), 0)
		FROM sqlite_schema WHERE type = 'table'`).Scan(&tables, &ours)
	if err != nil || tables == 0 {
		return 0, err
	}
	if ours == 0 {
		return 0, fmt.Errorf("%w: a database of another program, for it has tables but no mf_schema", metadata.ErrCorrupt)
	}
	var version int64
	err = w.conn.QueryRowContext(ctx,
		"SELECT coalesce(max(version_id), 0) FROM mf_schema WHERE is_applied").Scan(&version)
	if err != nil {
		return 0, err
	}
	if version > known {
		return 0, fmt.Errorf("%w: its schema has version %d, this mf knows up to %d; update mf", metadata.ErrNewer,
			version, known)
	}
	return version, nil
}
