// Package postgres keeps metadata in a Postgres database with the tables of Metaflow's metadata service, column for
// column, so that a team's existing database can be taken over in place and handed back.
//
//   - Metaflow's tables are found by the connection's search_path. What mf alone knows, how a run ended and the service's
//     tokens, is in a schema of its own, "mf", which Metaflow's service never looks at: dropping it hands the database back.
//   - Numbers are minted by Metaflow's sequences: run_number is a 32-bit number, task_id a 64-bit one, each unique in the
//     whole database. A named run or task has a number, too, that nobody is shown.
//   - metadata.Recorder takes ids as a pathspec has them. A number that no row has yet keeps being a number if the sequence
//     is past it or can be moved past it (a repaired database); otherwise it is kept as a name, which mf finds and
//     Metaflow's own routes do not.
//   - Every operation is one round trip, prepared once a connection: a single statement, or several pipelined in one
//     implicit transaction.
//   - Texts are what Postgres takes: valid UTF-8 without NUL, names of at most 255 characters. It refuses others, with its
//     own code.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
	"github.com/mf-run/mf/metadata/token"
)

// Options tune a Store.
type Options struct {
	// Now tells the time; it must be set.
	Now func() time.Time
	// MaxConns and MinConns bound the number of connections; 10 and 1 when zero.
	MaxConns, MinConns int
	// ConnectTimeout is how long making a connection may take; 10 s when zero.
	ConnectTimeout time.Duration
	// QueryTimeout is how long a call may take, waiting for a connection included; 30 s when zero.
	QueryTimeout time.Duration
	// Triggers has Open install the triggers that tell Metaflow's UI of new rows (CreateTriggers).
	Triggers bool
}

// Store is a metadata database as mf sees it; Tables is its view of rows. It is safe for concurrent use.
type Store struct {
	pool    *pgxpool.Pool
	now     func() time.Time
	timeout time.Duration
	lookups *gatherer
	inserts *gatherer // of runs
	closed  atomic.Bool
}

var (
	_ metadata.Recorder   = (*Store)(nil)
	_ metadata.TaskMinter = (*Store)(nil)
	_ metadata.Heart      = (*Store)(nil)
	_ metadata.Reader     = (*Store)(nil)
	_ tables.DB           = (*Tables)(nil)
	_ tables.Migrator     = (*Store)(nil)
	_ token.Store         = (*Store)(nil)
)

// Tables is the row-level view of a Store, on the same connections.
type Tables struct{ s *Store }

// Tables returns the row-level view.
func (s *Store) Tables() *Tables { return &Tables{s} }

// Open connects to the database at a URL ("postgres://user:password@host/name?sslmode=require") or in libpq's form
// ("host=... dbname=..."). A pooler in between has to keep a session's prepared statements and settings. It changes no
// schema: *SchemaError if that is not the one of this version.
func Open(ctx context.Context, url string, opt Options) (*Store, error) {
	s, err := OpenForMigration(ctx, url, opt)
	if err != nil {
		return nil, err
	}
	schema, err := s.Schema(ctx)
	if err == nil && schema.State != tables.SchemaCurrent {
		err = &SchemaError{Schema: schema}
	}
	if err == nil && opt.Triggers {
		err = s.CreateTriggers(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenForMigration is Open without a look at the schema, for the methods of tables.Migrator. It does not wait for a
// connection to succeed.
func OpenForMigration(ctx context.Context, url string, opt Options) (*Store, error) {
	if opt.Now == nil {
		return nil, errors.New("opening metadata: Options.Now is not set; this is a bug in mf")
	}
	if opt.MaxConns <= 0 {
		opt.MaxConns = 10
	}
	if opt.MinConns <= 0 {
		opt.MinConns = 1
	}
	if opt.ConnectTimeout <= 0 {
		opt.ConnectTimeout = 10 * time.Second
	}
	if opt.QueryTimeout <= 0 {
		opt.QueryTimeout = 30 * time.Second
	}
	config, err := poolConfig(url, opt)
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("opening the metadata database: %w", err)
	}
	s := &Store{pool: pool, now: opt.Now, timeout: opt.QueryTimeout}
	s.lookups, s.inserts = newGatherer(s, false, opt.MaxConns), newGatherer(s, true, opt.MaxConns)
	return s, nil
}

// errAddress says nothing of what it was given: a password may stand anywhere in an address that cannot be read.
var errAddress = errors.New("the address of the metadata database cannot be read: it is to be like " +
	"postgres://user:password@host:5432/name, special characters of the password percent-encoded, or " +
	`like "host=... port=... user=... password=... dbname=..."`)

func poolConfig(url string, opt Options) (*pgxpool.Config, error) {
	if url == "" {
		return nil, errAddress
	}
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, errAddress
	}
	config.MaxConns = int32(opt.MaxConns)
	config.MinConns = int32(min(opt.MinConns, opt.MaxConns))
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.PingTimeout = opt.ConnectTimeout
	// Asked is a connection that was idle for as long as it takes Postgres to start anew: a write that goes nowhere could not
	// be told from one that was done.
	config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool { return p.IdleDuration > 30*time.Millisecond }
	c := config.ConnConfig
	c.ConnectTimeout = opt.ConnectTimeout
	if c.RuntimeParams["application_name"] == "" {
		c.RuntimeParams["application_name"] = "mf"
	}
	// A call that is given up is cancelled in the database too, and its connection kept.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, DeadlineDelay: 2 * time.Second}
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		// All statements find their rows by keys: planning them again for each call would cost more than they do, and a table
		// that seems small when it is filled would be read whole. What a Postgres does not have is left alone.
		_, err := conn.Exec(ctx, `SELECT set_config(name, value, false) FROM (VALUES ('plan_cache_mode', 'force_generic_plan'),
			('enable_seqscan', 'off'), ('jit', 'off')) AS wanted (name, value) WHERE name IN (SELECT name FROM pg_settings)`)
		return err
	}
	return config, nil
}

// Close ends the use of the database, after the calls in progress. Idempotent; later calls are refused with
// metadata.ErrClosed.
func (s *Store) Close() error {
	if !s.closed.Swap(true) {
		s.pool.Close()
	}
	return nil
}

// Connections tells how many connections are in use, open in all, and allowed.
func (s *Store) Connections() (inUse, open, most int) {
	stat := s.pool.Stat()
	return int(stat.AcquiredConns()), int(stat.TotalConns()), int(stat.MaxConns())
}

// Ping implements tables.DB.
func (d *Tables) Ping(ctx context.Context) error { return d.s.Ping(ctx) }

// Ping asks the database, not just a connection.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "asking the metadata database", func(ctx context.Context, c *pgx.Conn) error {
		var one int
		return c.QueryRow(ctx, "SELECT 1").Scan(&one)
	})
}

// work is what a call does on a connection.
type work func(ctx context.Context, c *pgx.Conn) error

// read runs f, once more on another connection if the first one turned out to be dead.
func (s *Store) read(ctx context.Context, doing string, f work) error {
	return s.call(ctx, doing, f, gone)
}

// write runs f, once more if it is certain that the first time nothing reached the database.
func (s *Store) write(ctx context.Context, doing string, f work) error {
	return s.call(ctx, doing, f, untouched)
}

func (s *Store) call(ctx context.Context, doing string, f work, again func(error) bool) error {
	limited, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.once(limited, f)
	if err != nil && again(err) && limited.Err() == nil {
		err = s.once(limited, f)
	}
	if err == nil {
		return nil
	}
	return s.describe(ctx, doing, err)
}

func (s *Store) once(ctx context.Context, f work) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return &acquireError{err}
	}
	err = f(ctx, conn.Conn())
	if err != nil && (gone(err) || hasCode(err, readOnly)) {
		s.pool.Reset() // the server went away, or is no longer the primary: its other connections are no better
	}
	conn.Release() // a connection that broke, or was left in a transaction, is not kept
	return err
}
