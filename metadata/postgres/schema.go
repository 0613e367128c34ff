package postgres

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata/tables"
)

// ownVersion is the version of the schema "mf".
const ownVersion = 1

// state is what a database's schema is found to be.
type state struct {
	// objects says that there are tables of Metaflow, goose that there is its table of versions.
	objects, goose bool
	// applied are the versions of Metaflow's migrations, own is that of mf's schema, 0 for none.
	applied []int64
	own     int
}

// Schema implements tables.Migrator.
func (s *Store) Schema(ctx context.Context) (tables.Schema, error) {
	var found state
	err := s.read(ctx, "reading the schema of the metadata database", func(ctx context.Context, c *pgx.Conn) error {
		var err error
		found, err = readState(ctx, c)
		return err
	})
	if err != nil {
		return tables.Schema{}, err
	}
	return found.schema(), nil
}

func readState(ctx context.Context, c *pgx.Conn) (state, error) {
	var found state
	var own bool
	err := c.QueryRow(ctx, `SELECT count(to_regclass(name)) > 0, to_regclass('goose_db_version') IS NOT NULL,
		to_regclass('mf.schema') IS NOT NULL
		FROM unnest($1::text[]) AS name`, tableNames).Scan(&found.objects, &found.goose, &own)
	if err != nil {
		return found, err
	}
	if found.goose {
		// Of the rows of a version the latest counts, as it does for goose.
		rows, err := c.Query(ctx, `SELECT version_id FROM
			(SELECT DISTINCT ON (version_id) version_id, is_applied FROM goose_db_version ORDER BY version_id, id DESC) AS latest
			WHERE is_applied AND version_id > 0 ORDER BY version_id`)
		if err != nil {
			return found, err
		}
		if found.applied, err = pgx.CollectRows(rows, pgx.RowTo[int64]); err != nil {
			return found, err
		}
	}
	if own {
		err = c.QueryRow(ctx, "SELECT coalesce(max(version), 0) FROM mf.schema").Scan(&found.own)
	}
	return found, err
}

// schema compares what was found with what this version knows.
func (f *state) schema() tables.Schema {
	out := tables.Schema{Version: f.version(), Known: versionText(migrations[len(migrations)-1].version, ownVersion)}
	for _, v := range f.applied {
		if !slices.ContainsFunc(migrations, func(m migration) bool { return m.version == v }) {
			out.State = tables.SchemaNewer
		}
	}
	if out.State == tables.SchemaNewer || f.own > ownVersion {
		out.State = tables.SchemaNewer
		return out
	}
	for _, m := range f.pending() {
		out.Pending = append(out.Pending, m.describe())
	}
	if f.own < ownVersion {
		out.Pending = append(out.Pending, ownMigration)
	}
	switch {
	case len(out.Pending) == 0:
		out.State = tables.SchemaCurrent
	case !f.objects && len(f.applied) == 0 && f.own == 0:
		out.State = tables.SchemaEmpty
	default:
		out.State = tables.SchemaOlder
	}
	return out
}

// pending are the migrations of Metaflow's that are missing.
func (f *state) pending() []migration {
	var out []migration
	for _, m := range migrations {
		if !slices.Contains(f.applied, m.version) {
			out = append(out, m)
		}
	}
	return out
}

func (f *state) version() string {
	if len(f.applied) == 0 && !f.objects && f.own == 0 {
		return ""
	}
	last := int64(0)
	if n := len(f.applied); n > 0 {
		last = f.applied[n-1]
	}
	return versionText(last, f.own)
}

// versionText is such as "20260706000003+mf1": the last migration of Metaflow's and the version of mf's own schema.
func versionText(metaflow int64, own int) string {
	text := strconv.FormatInt(metaflow, 10)
	if own > 0 {
		text += "+mf" + strconv.Itoa(own)
	}
	return text
}

// migrationLock is the key of the advisory lock that the one who migrates holds: "mfschema" in ASCII.
const migrationLock = 0x6d66736368656d61

// Migrate implements tables.Migrator. A database without any table gets all of them in one transaction; in another one the
// indices are made while it is written to.
func (s *Store) Migrate(ctx context.Context, done func(tables.Migration)) error {
	const doing = "migrating the metadata database"
	if done == nil {
		done = func(tables.Migration) {}
	}
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.describe(ctx, doing, &acquireError{err})
	}
	// The connection is not used again: its end releases the lock whatever happened.
	c := conn.Hijack()
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = c.Close(closing)
	}()
	if err := lock(ctx, c); err != nil {
		return s.describe(ctx, doing, err)
	}
	found, err := readState(ctx, c)
	if err != nil {
		return s.describe(ctx, doing, err)
	}
	switch schema := found.schema(); schema.State {
	case tables.SchemaCurrent:
		return nil
	case tables.SchemaNewer:
		return fmt.Errorf("%s: %w", doing, &SchemaError{Schema: schema})
	case tables.SchemaEmpty:
		err = createAll(ctx, c, schema, done)
	case tables.SchemaOlder:
		err = catchUp(ctx, c, &found, done)
	}
	if err != nil {
		return s.describe(ctx, doing, err)
	}
	return nil
}

// lock prepares a connection for migrations and waits for its turn. It asks again and again: a statement that waited for the
// lock would itself be waited for by the one who makes an index concurrently.
func lock(ctx context.Context, c *pgx.Conn) error {
	for _, text := range []string{
		"SET statement_timeout = 0", "SET lock_timeout = 0", "SET idle_session_timeout = 0",
		// The schema "mf" would be where a user of that name makes Metaflow's tables.
		`SELECT set_config('search_path', (SELECT string_agg(quote_ident(s), ', ') FROM unnest(current_schemas(false)) s WHERE s <> 'mf'), false)
			WHERE current_schemas(false) <> ARRAY['mf'::name]`,
	} {
		if _, err := c.Exec(ctx, text); err != nil && !hasCode(err, "42704") { // a setting that this Postgres does not have
			return err
		}
	}
	for {
		var mine bool
		if err := c.QueryRow(ctx, "SELECT pg_try_advisory_lock($1)", int64(migrationLock)).Scan(&mine); err != nil || mine {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// createAll makes everything in an empty database, in one transaction.
func createAll(ctx context.Context, c *pgx.Conn, schema tables.Schema, done func(tables.Migration)) error {
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if err := makeGoose(ctx, tx); err != nil {
			return err
		}
		gone := map[string]bool{}
		for _, m := range migrations {
			for _, name := range m.drop {
				gone[name] = true
			}
		}
		for _, m := range migrations {
			texts := slices.Clone(m.change)
			for _, i := range m.indices {
				if !gone[i.name] {
					texts = append(texts, i.create(""))
				}
			}
			if err := run(ctx, tx, texts...); err != nil {
				return err
			}
			if err := stamp(ctx, tx, m.version); err != nil {
				return err
			}
		}
		if err := run(ctx, tx, example...); err != nil {
			return err
		}
		return run(ctx, tx, ownTables...)
	})
	if err == nil {
		for _, m := range schema.Pending {
			done(m)
		}
	}
	return err
}

// example shows Postgres rows as they will be, so that from the first one on it knows which index tells them apart best;
// it would learn that from rows only after a while. No number of the sequences is used.
var example = []string{
	`INSERT INTO flows_v3 (flow_id, ts_epoch) SELECT 'Flow' || f, f FROM generate_series(1, 2) AS f`,
	`INSERT INTO runs_v3 (flow_id, run_number, run_id, ts_epoch, tags, system_tags)
		SELECT 'Flow' || r % 2 + 1, r, CASE WHEN r % 2 = 0 THEN 'run' || r END, r, '[]', '[]' FROM generate_series(1, 6) AS r`,
	`INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, ts_epoch)
		SELECT flow_id, run_number, coalesce(run_id, run_number::text), 'step' || s, s FROM runs_v3, generate_series(1, 2) AS s`,
	`INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, ts_epoch)
		SELECT flow_id, run_number, run_id, step_name, n, CASE WHEN n % 2 = 0 THEN 't-' || n END, n
		FROM (SELECT r.*, s.step_name, row_number() OVER () AS n
			FROM runs_v3 r JOIN steps_v3 s USING (flow_id, run_number), generate_series(1, 50)) AS t`,
	`INSERT INTO metadata_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, id, field_name, value, type, ts_epoch)
		SELECT flow_id, run_number, run_id, step_name, task_id, task_name, row_number() OVER (), 'field' || m, 'value', 'type', ts_epoch
		FROM tasks_v3, generate_series(1, 2) AS m`,
	`INSERT INTO artifact_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, name, location, ds_type, sha, type,
			content_type, attempt_id, ts_epoch)
		SELECT flow_id, run_number, run_id, step_name, task_id, task_name, 'name' || a, 'location', 'type', task_id || 'sha' || a,
			'type', 'type', 0, ts_epoch FROM tasks_v3, generate_series(1, 2) AS a`,
	`ANALYZE flows_v3, runs_v3, steps_v3, tasks_v3, metadata_v3, artifact_v3`,
	`TRUNCATE flows_v3, runs_v3, steps_v3, tasks_v3, metadata_v3, artifact_v3`,
}

// catchUp applies what is missing, one migration after the other.
func catchUp(ctx context.Context, c *pgx.Conn, found *state, done func(tables.Migration)) error {
	if !found.goose {
		if err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return makeGoose(ctx, tx) }); err != nil {
			return err
		}
	}
	for _, m := range found.pending() {
		if err := m.apply(ctx, c); err != nil {
			return fmt.Errorf("migration %d: %w", m.version, err)
		}
		done(m.describe())
	}
	if found.own < ownVersion {
		err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return run(ctx, tx, ownTables...) })
		if err != nil {
			return fmt.Errorf("migration %s: %w", ownMigration.Version, err)
		}
		done(ownMigration)
	}
	return nil
}

// apply changes tables in a transaction, and makes and drops indices outside of one, without keeping writers out.
func (m *migration) apply(ctx context.Context, c *pgx.Conn) error {
	if len(m.change) > 0 {
		return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
			texts := slices.Clone(m.change)
			for _, i := range m.indices {
				texts = append(texts, i.create(""))
			}
			if err := run(ctx, tx, texts...); err != nil {
				return err
			}
			return stamp(ctx, tx, m.version)
		})
	}
	for _, i := range m.indices {
		if err := i.ensure(ctx, c); err != nil {
			return err
		}
	}
	for _, name := range m.drop {
		if _, err := c.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+name, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return stamp(ctx, tx, m.version) })
}

// ensure makes an index unless it is there and whole: one that was left half made is made again.
func (i *index) ensure(ctx context.Context, c *pgx.Conn) error {
	var broken bool
	err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_index WHERE indexrelid = to_regclass($1) AND NOT indisvalid)", i.name).
		Scan(&broken)
	if err != nil {
		return err
	}
	if broken {
		if _, err := c.Exec(ctx, "DROP INDEX CONCURRENTLY IF EXISTS "+i.name, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	_, err = c.Exec(ctx, i.create("CONCURRENTLY"), pgx.QueryExecModeSimpleProtocol)
	return err
}

func run(ctx context.Context, tx pgx.Tx, texts ...string) error {
	for _, text := range texts {
		if _, err := tx.Exec(ctx, text, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// makeGoose makes the table of versions that Metaflow's migrations are kept track of in.
func makeGoose(ctx context.Context, tx pgx.Tx) error {
	return run(ctx, tx,
		`CREATE TABLE IF NOT EXISTS goose_db_version (
			id serial NOT NULL,
			version_id bigint NOT NULL,
			is_applied boolean NOT NULL,
			tstamp timestamp NULL DEFAULT now(),
			PRIMARY KEY (id)
		)`,
		`INSERT INTO goose_db_version (version_id, is_applied)
			SELECT 0, true WHERE NOT EXISTS (SELECT FROM goose_db_version)`)
}

func stamp(ctx context.Context, tx pgx.Tx, version int64) error {
	_, err := tx.Exec(ctx, "INSERT INTO goose_db_version (version_id, is_applied) VALUES ($1, true)", version)
	return err
}
