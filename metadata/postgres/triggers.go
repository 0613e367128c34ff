package postgres

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// triggerPrefix and triggerVersion are how Metaflow's services name the triggers that tell the UI of new rows, so that
// those and ours are never there together.
const (
	triggerPrefix  = "notify_ui"
	triggerVersion = "05092024"
)

// trigger tells of changes of a table's rows: which ones, and what of them.
type trigger struct {
	table, events, when string
	columns             []string
}

// triggers are those of Metaflow's UI, which are fewer than those of its metadata service, and never too long for a
// notification: that would refuse the row.
var triggers = []trigger{
	{table: "flows_v3", events: "INSERT OR UPDATE OR DELETE", columns: []string{"flow_id"}},
	{table: "runs_v3", events: "INSERT", columns: []string{"flow_id", "run_number", "last_heartbeat_ts"}},
	{table: "steps_v3", events: "INSERT OR UPDATE OR DELETE", columns: []string{"flow_id", "run_number", "step_name"}},
	{table: "tasks_v3", events: "INSERT", columns: []string{"flow_id", "run_number", "step_name", "task_id"}},
	{
		table: "metadata_v3", events: "INSERT",
		when:    "WHEN (NEW.field_name IN ('attempt', 'attempt_ok', 'code-package', 'code-package-url'))",
		columns: []string{"flow_id", "run_number", "step_name", "task_id", "field_name", "value", "tags"},
	},
}

func (t *trigger) name() string { return triggerPrefix + "_" + triggerVersion + "_" + t.table }

// CreateTriggers has the database tell Metaflow's UI (channel "notify") of new rows. Triggers of the version that the UI
// wants are left as they are, older ones replaced.
func (s *Store) CreateTriggers(ctx context.Context) error {
	const doing = "making the triggers of the UI"
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return s.describe(ctx, doing, &acquireError{err})
	}
	c := conn.Hijack()
	defer func() {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = c.Close(closing)
	}()
	if err := lock(ctx, c); err != nil {
		return s.describe(ctx, doing, err)
	}
	for i := range triggers {
		err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error { return triggers[i].create(ctx, tx) })
		if err != nil {
			return s.describe(ctx, doing, err)
		}
	}
	return nil
}

func (t *trigger) create(ctx context.Context, tx pgx.Tx) error {
	var schema string
	var there []string
	err := tx.QueryRow(ctx, `SELECT n.nspname, array(SELECT g.tgname::text FROM pg_trigger g WHERE g.tgrelid = c.oid
			AND NOT g.tgisinternal AND starts_with(g.tgname::text, $2))
		FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass($1)`, t.table, triggerPrefix).
		Scan(&schema, &there)
	if err != nil {
		return fmt.Errorf("%s: %w", t.table, err)
	}
	table := pgx.Identifier{schema, t.table}.Sanitize()
	for _, name := range there {
		if name == t.name() {
			return nil
		}
		if strings.Contains(name, triggerVersion) {
			continue
		}
		err := run(ctx, tx, "DROP TRIGGER "+pgx.Identifier{name}.Sanitize()+" ON "+table,
			"DROP FUNCTION IF EXISTS "+pgx.Identifier{schema, name}.Sanitize()+"()")
		if err != nil {
			return err
		}
	}
	function := pgx.Identifier{schema, t.name()}.Sanitize()
	data := make([]string, len(t.columns))
	for i, column := range t.columns {
		data[i] = fmt.Sprintf("'%s', changed.%s", column, column)
	}
	return run(ctx, tx,
		"CREATE OR REPLACE FUNCTION "+function+`() RETURNS trigger LANGUAGE plpgsql AS $body$
DECLARE
	changed record;
BEGIN
	IF TG_OP = 'DELETE' THEN
		changed := OLD;
	ELSE
		changed := NEW;
	END IF;
	PERFORM pg_notify('notify', json_build_object('table', TG_TABLE_NAME, 'schema', TG_TABLE_SCHEMA, 'operation', TG_OP,
		'data', json_build_object(`+strings.Join(data, ", ")+`))::text);
	RETURN NULL;
END
$body$`,
		"CREATE TRIGGER "+t.name()+" AFTER "+t.events+" ON "+table+" FOR EACH ROW "+t.when+" EXECUTE PROCEDURE "+function+"()",
		"ALTER TABLE "+table+" ENABLE ALWAYS TRIGGER "+t.name())
}
