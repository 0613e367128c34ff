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
	"github.com/mf-run/mf/metadata/tables"
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
	version, err := w.oldVersion(ctx, list)
	if err != nil {
		return err
	}
	if err := w.useWAL(ctx); err != nil {
		return err
	}
	if version == int64(len(list)) {
		return nil
	}
	return w.transact(ctx, func() error {
		// Another process may have been faster.
		version, err := w.oldVersion(ctx, list)
		if err != nil {
			return err
		}
		for _, m := range list[version:] {
			if err := w.migrate(ctx, m); err != nil {
				return err
			}
		}
		return nil
	})
}

// useWAL sets the mode of the journal: outside a transaction, for SQLite changes it only there. Repeating it on a file
// that has it is cheap.
func (w *writer) useWAL(ctx context.Context) error {
	_, err := w.conn.ExecContext(ctx, "PRAGMA journal_mode=WAL")
	return err
}

func (w *writer) migrate(ctx context.Context, m migration) error {
	_, err := w.conn.ExecContext(ctx, schemaTable)
	if err == nil {
		_, err = w.conn.ExecContext(ctx, m.sql)
	}
	if err == nil {
		_, err = w.conn.ExecContext(ctx, "INSERT INTO mf_schema (version_id, is_applied, tstamp) VALUES (?, 1, ?)",
			m.version, w.now().UTC().Format(time.RFC3339))
	}
	if err != nil {
		return fmt.Errorf("bringing the schema to version %d (%s): %w", m.version, m.name, err)
	}
	return nil
}

// Schema implements tables.Migrator.
func (s *Store) Schema(ctx context.Context) (tables.Schema, error) {
	var found tables.Schema
	err := s.locked(ctx, "reading the schema's version", func(w *writer) error {
		list, err := migrations()
		if err != nil {
			return err
		}
		version, err := w.version(ctx)
		if err != nil {
			return err
		}
		known := int64(len(list))
		found = tables.Schema{State: tables.SchemaOlder, Known: strconv.FormatInt(known, 10)}
		if version > 0 {
			found.Version = strconv.FormatInt(version, 10)
		}
		switch {
		case version == 0:
			found.State = tables.SchemaEmpty
		case version == known:
			found.State = tables.SchemaCurrent
		case version > known:
			found.State = tables.SchemaNewer
			return nil
		}
		for _, m := range list[version:] {
			found.Pending = append(found.Pending, m.describe())
		}
		return nil
	})
	return found, err
}

// Migrate implements tables.Migrator.
func (s *Store) Migrate(ctx context.Context, done func(tables.Migration)) error {
	return s.locked(ctx, "migrating the schema", func(w *writer) error {
		list, err := migrations()
		if err != nil {
			return err
		}
		if _, err := w.oldVersion(ctx, list); err != nil {
			return err
		}
		if err := retry(ctx, func() error { return w.useWAL(ctx) }); err != nil {
			return err
		}
		for {
			var applied *migration
			err := retry(ctx, func() error {
				applied = nil
				return w.transact(ctx, func() error {
					version, err := w.oldVersion(ctx, list)
					if err != nil || version == int64(len(list)) {
						return err
					}
					applied = &list[version]
					return w.migrate(ctx, *applied)
				})
			})
			if err != nil || applied == nil {
				return err
			}
			done(applied.describe())
		}
	})
}

// describe says what a migration does: its file's first line.
func (m *migration) describe() tables.Migration {
	line, _, _ := strings.Cut(m.sql, "\n")
	return tables.Migration{Version: strconv.FormatInt(m.version, 10), Does: strings.TrimPrefix(line, "-- ")}
}

// oldVersion is version where that is at most what this mf knows; metadata.ErrNewer otherwise.
func (w *writer) oldVersion(ctx context.Context, list []migration) (int64, error) {
	version, err := w.version(ctx)
	if err == nil && version > int64(len(list)) {
		return 0, fmt.Errorf("%w: its schema has version %d, this mf knows up to %d; update mf", metadata.ErrNewer,
			version, len(list))
	}
	return version, err
}

// version returns the file's schema version, 0 for an empty file.
func (w *writer) version(ctx context.Context) (int64, error) {
	var count, ours int64
	err := w.conn.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(name = 'mf_schema'), 0)
		FROM sqlite_schema WHERE type = 'table'`).Scan(&count, &ours)
	if err != nil || count == 0 {
		return 0, err
	}
	if ours == 0 {
		return 0, fmt.Errorf("%w: a database of another program, for it has tables but no mf_schema", metadata.ErrCorrupt)
	}
	var version int64
	err = w.conn.QueryRowContext(ctx,
		"SELECT coalesce(max(version_id), 0) FROM mf_schema WHERE is_applied").Scan(&version)
	return version, err
}
