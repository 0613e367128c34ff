// Package sqlite keeps metadata in one SQLite file: the local default, ".mf/metadata.db".
//
// Tables and columns have the names and meaning of Metaflow's Postgres schema, so that rows can be copied from one to
// the other. What differs, because the file is written by many short-lived processes without a server:
//
//   - run_number is a 64-bit number: a minted run id is the time in microseconds since 1970, as Metaflow's local
//     provider mints it, and the next free number where that is taken. It is unique in its flow.
//   - task_id is unique in its step, not in the whole database, for a local run counts its tasks from 0. A minted one
//     is unique in its run.
//   - A run or task with a name has a hidden negative number, where Metaflow spends one of its sequence. So a number
//     never reaches a named object. A text is a number if it is a decimal without sign or leading zeros that fits
//     64 bits; any other text is a name, kept as it is. What is named through Tables has a minted number instead, under
//     which Metaflow's routes find it.
//   - Steps, tasks and artifacts store no tags: they show those of their run, as in Metaflow's service.
//   - Tags are JSON arrays as text. Names may be of any length. A numeric run's steps have no run_id.
//   - The schema's version is in mf_schema, shaped like goose's table, and what mf alone knows of a run in mf_runs.
//
// The file is in WAL mode and must be on a local disk. Any number of processes may read and write it at once; writers
// take turns by BEGIN IMMEDIATE.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
	driver "modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"
)

// Options tune a Store.
type Options struct {
	// Now tells the time; it must be set.
	Now func() time.Time
	// MustExist makes a missing file an error (fs.ErrNotExist) rather than a new database.
	MustExist bool
	// KeepSchema leaves the schema as it is found, even an empty or a newer one: the caller asks Schema, and calls Migrate
	// before anything else where that is called for. Without it Open migrates.
	KeepSchema bool
	// BusyTimeout is how long a call waits for other processes that write; 10 s when zero.
	BusyTimeout time.Duration
	// Readers is the number of connections for reading; 4 when zero.
	Readers int
}

// Store is a metadata database. It implements metadata.Recorder, metadata.TaskMinter, metadata.Reader, metadata.Heart,
// token.Store and tables.Migrator, and is safe for concurrent use. Tables shows its rows.
type Store struct {
	path string
	now  func() time.Time

	readers, writers *sql.DB
	// reads holds the prepared statements of readers by their text.
	reads sync.Map
	// turn holds one token, which the user of w has; a channel, so that waiting for it can be given up.
	turn chan struct{}
	w    *writer
}

var (
	_ metadata.Recorder   = (*Store)(nil)
	_ metadata.TaskMinter = (*Store)(nil)
	_ metadata.Reader     = (*Store)(nil)
	_ metadata.Heart      = (*Store)(nil)
	_ token.Store         = (*Store)(nil)
	_ tables.Migrator     = (*Store)(nil)
)

// Open opens the database at path and brings its schema up to date, creating file and folder if absent. Errors:
// metadata.ErrNewer if a newer version of mf made it, metadata.ErrCorrupt if it is damaged or another program's,
// fs.ErrNotExist by Options.MustExist.
func Open(ctx context.Context, path string, opt Options) (*Store, error) {
	if opt.Now == nil {
		return nil, errors.New("opening metadata: Options.Now is not set; this is a bug in mf")
	}
	if opt.BusyTimeout <= 0 {
		opt.BusyTimeout = 10 * time.Second
	}
	if opt.Readers <= 0 {
		opt.Readers = 4
	}
	s, err := open(ctx, path, opt)
	if err != nil {
		return nil, describe("opening metadata "+path, err)
	}
	return s, nil
}

func open(ctx context.Context, path string, opt Options) (*Store, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(abs); errors.Is(err, fs.ErrNotExist) && !opt.MustExist {
		err = os.MkdirAll(filepath.Dir(abs), 0o755)
		if err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	s := &Store{path: path, now: opt.Now, turn: make(chan struct{}, 1)}
	s.turn <- struct{}{}
	if err := s.connect(ctx, abs, opt); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Store) connect(ctx context.Context, abs string, opt Options) error {
	var err error
	if s.writers, err = sql.Open("sqlite", dsn(abs, "rwc", opt.BusyTimeout)); err != nil {
		return err
	}
	s.writers.SetMaxOpenConns(1)
	conn, err := s.writers.Conn(ctx)
	if err != nil {
		return err
	}
	s.w = &writer{conn: conn, now: opt.Now, stmts: map[string]*sql.Stmt{}, bulk: map[bulkKey]*sql.Stmt{}}
	if !opt.KeepSchema {
		if err := retry(ctx, func() error { return s.w.prepareFile(ctx) }); err != nil {
			return err
		}
	}
	s.readers, err = sql.Open("sqlite", dsn(abs, "rw", opt.BusyTimeout)+"&_query_only=1")
	if err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(opt.Readers)
	s.readers.SetMaxIdleConns(opt.Readers)
	return nil
}

// dsn returns the driver's address of a file. Its characters are escaped, so that a "?" in a folder's name is no query.
func dsn(abs, mode string, busy time.Duration) string {
	p := filepath.ToSlash(abs)
	if !strings.HasPrefix(p, "/") {
		p = "/" + p // a drive letter
	}
	q := url.Values{
		"mode":          {mode},
		"_busy_timeout": {strconv.FormatInt(busy.Milliseconds(), 10)},
		"_synchronous":  {"NORMAL"},
		"_foreign_keys": {"1"},
		"_dqs":          {"0"},
	}
	return (&url.URL{Scheme: "file", Path: p, RawQuery: q.Encode()}).String()
}

// Close ends the use of the database, after the write in progress. Rows recorded before are safe on disk. Idempotent;
// a later write is refused with metadata.ErrClosed.
func (s *Store) Close() error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	var all []error
	s.reads.Range(func(_, st any) bool {
		if st, ok := st.(*sql.Stmt); ok {
			all = append(all, st.Close())
		}
		return true
	})
	s.reads.Clear()
	if s.readers != nil {
		all = append(all, s.readers.Close())
	}
	if s.w != nil {
		all = append(all, s.w.close())
		s.w = nil
	}
	if s.writers != nil {
		all = append(all, s.writers.Close())
	}
	if err := errors.Join(all...); err != nil {
		return fmt.Errorf("closing metadata %s: %w", s.path, err)
	}
	return nil
}

// code returns SQLite's primary result code of an error, 0 if it has none.
func code(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// describe wraps an error with what was being done, and says what to do about those that a user meets.
func describe(doing string, err error) error {
	switch code(err) {
	case lib.SQLITE_NOTADB, lib.SQLITE_CORRUPT:
		return fmt.Errorf("%s: %w: %w (move the file away; what ran can be rebuilt from the datastore)",
			doing, metadata.ErrCorrupt, err)
	case lib.SQLITE_FULL, lib.SQLITE_IOERR:
		return fmt.Errorf("%s: the file cannot be written; is the disk full? %w", doing, err)
	case lib.SQLITE_BUSY:
		return fmt.Errorf("%s: %w: another process kept the database locked for too long: %w",
			doing, metadata.ErrUnavailable, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// describe wraps an error of a call on an open database. It names the file where that is what is wrong.
func (s *Store) describe(doing string, err error) error {
	if code(err) != 0 {
		doing += " in " + s.path
	}
	return describe(doing, err)
}

// retries is how often a transaction that met a lock is tried again, each time after waiting for BusyTimeout at most.
const retries = 4

// retry calls f again while it fails because the database is locked: waiting is the driver's work, but some locks
// (of recovery, of a change of mode) it reports at once.
func retry(ctx context.Context, f func() error) error {
	for n := 0; ; n++ {
		err := f()
		if code(err) != lib.SQLITE_BUSY || n == retries {
			return err
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(time.Duration(n+1) * 10 * time.Millisecond):
		}
	}
}
