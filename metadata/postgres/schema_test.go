package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/internal/golden"
	"github.com/mf-run/mf/internal/testserver"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, url string) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close(context.Background())) })
	return c
}

func exec(t *testing.T, c *pgx.Conn, texts ...string) {
	t.Helper()
	for _, text := range texts {
		_, err := c.Exec(t.Context(), text)
		must(t, err)
	}
}

func migrator(t *testing.T, url string) *Store {
	t.Helper()
	s, err := OpenForMigration(t.Context(), url, Options{Now: time.Now})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s
}

func schemaOf(t *testing.T, s *Store) tables.Schema {
	t.Helper()
	got, err := s.Schema(t.Context())
	must(t, err)
	return got
}

// catalogue describes all that a schema consists of, and the rows that say which migrations it had.
func catalogue(t *testing.T, c *pgx.Conn, schema string) string {
	t.Helper()
	rows, err := c.Query(t.Context(), `SELECT line FROM (
		SELECT format('column %s.%s %s %s %s null=%s default=%s', table_name, lpad(ordinal_position::text, 2, '0'), column_name, data_type,
			coalesce(character_maximum_length::text, '-'), is_nullable, coalesce(column_default, '-')) AS line
		FROM information_schema.columns WHERE table_schema = $1
		UNION ALL SELECT format('constraint %s %s %s valid=%s', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated)
		FROM pg_constraint WHERE connamespace = $1::regnamespace AND contype <> 'n'
		UNION ALL SELECT format('index %s valid=%s', indexdef, indisvalid)
		FROM pg_indexes JOIN pg_index ON indexrelid = format('%I.%I', schemaname, indexname)::regclass WHERE schemaname = $1
		UNION ALL SELECT format('sequence %s %s %s owned by %s.%s', s.sequencename, s.data_type, s.increment_by, d.refobjid::regclass, a.attname)
		FROM pg_sequences s JOIN pg_depend d ON d.objid = format('%I.%I', s.schemaname, s.sequencename)::regclass AND d.deptype = 'a'
		JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid WHERE schemaname = $1
		UNION ALL SELECT format('trigger %s %s', tgrelid::regclass, tgname) FROM pg_trigger WHERE NOT tgisinternal
		) AS lines ORDER BY line COLLATE "C"`, schema)
	must(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if schema == "public" {
		rows, err := c.Query(t.Context(), "SELECT format('goose %s %s %s', id, version_id, is_applied) FROM goose_db_version ORDER BY id")
		must(t, err)
		goose, err := pgx.CollectRows(rows, pgx.RowTo[string])
		must(t, err)
		lines = append(lines, goose...)
	}
	return strings.Join(lines, "\n") + "\n"
}

// migrateTo brings an empty database to the state after the first n of Metaflow's migrations.
func migrateTo(t *testing.T, c *pgx.Conn, n int) {
	t.Helper()
	must(t, pgx.BeginFunc(t.Context(), c, func(tx pgx.Tx) error { return makeGoose(t.Context(), tx) }))
	for i := range migrations[:n] {
		must(t, migrations[i].apply(t.Context(), c))
	}
}

func TestCreate(t *testing.T) {
	url := testserver.Database(t)
	s := migrator(t, url)
	got := schemaOf(t, s)
	if got.State != tables.SchemaEmpty || got.Version != "" || got.Known != "20260706000003+mf1" || len(got.Pending) != 14 {
		t.Fatalf("%+v", got)
	}
	_, err := Open(t.Context(), url, Options{Now: time.Now})
	var wrong *SchemaError
	if !errors.As(err, &wrong) || wrong.Schema.State != tables.SchemaEmpty || !strings.Contains(err.Error(), "`mf service migrate`") {
		t.Fatalf("opening an empty database: %v", err)
	}
	var done []tables.Migration
	must(t, s.Migrate(t.Context(), func(m tables.Migration) { done = append(done, m) }))
	if diff := cmp.Diff(got.Pending, done); diff != "" {
		t.Error(diff)
	}
	current := tables.Schema{State: tables.SchemaCurrent, Version: got.Known, Known: got.Known}
	if diff := cmp.Diff(current, schemaOf(t, s)); diff != "" {
		t.Error(diff)
	}
	must(t, s.Migrate(t.Context(), func(m tables.Migration) { t.Errorf("%v was applied again", m) }))
	c := connect(t, url)
	golden.Check(t, "testdata/catalogue.txt", []byte(catalogue(t, c, "public")+catalogue(t, c, "mf")))
}

// TestMigrate goes on from after each of Metaflow's migrations, and from databases of Metaflow's that never saw mf.
func TestMigrate(t *testing.T) {
	want, err := os.ReadFile("testdata/catalogue.txt")
	must(t, err)
	for n := range len(migrations) + 1 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			url := testserver.Database(t)
			c := connect(t, url)
			migrateTo(t, c, n)
			if n > 0 {
				exec(t, c,
					"INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES ('F', 1)",
					"INSERT INTO runs_v3 (flow_id, ts_epoch, tags, system_tags) VALUES ('F', 1, 'null', '[]')",
					"INSERT INTO steps_v3 (flow_id, run_number, step_name, ts_epoch) VALUES ('F', 1, 'start', 1)",
					"INSERT INTO tasks_v3 (flow_id, run_number, step_name, ts_epoch) VALUES ('F', 1, 'start', 1)",
					`INSERT INTO metadata_v3 (flow_id, run_number, step_name, task_id, field_name, value, type, ts_epoch)
						VALUES ('F', 1, 'start', 1, 'f', 'v', 't', 1)`)
			}
			s := migrator(t, url)
			before := schemaOf(t, s)
			state := tables.SchemaOlder
			if n == 0 {
				state = tables.SchemaEmpty
			}
			if before.State != state || len(before.Pending) != len(migrations)-n+1 {
				t.Fatalf("%+v", before)
			}
			if n > 0 && before.Version != fmt.Sprint(migrations[n-1].version) {
				t.Errorf("the version is %s", before.Version)
			}
			var done []tables.Migration
			must(t, s.Migrate(t.Context(), func(m tables.Migration) { done = append(done, m) }))
			if diff := cmp.Diff(before.Pending, done); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(string(want), catalogue(t, c, "public")+catalogue(t, c, "mf")); diff != "" {
				t.Error(diff)
			}
			if n > 0 {
				rows, err := s.Metadata(t.Context(), "F", "1", "start", "1")
				must(t, err)
				if len(rows) != 1 || rows[0].Value != "v" {
					t.Errorf("what was there became %+v", rows)
				}
			}
		})
	}
}

func TestMigrateAtOnce(t *testing.T) {
	for _, from := range []int{0, 3} {
		url := testserver.Database(t)
		if from > 0 {
			migrateTo(t, connect(t, url), from)
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		applied := map[tables.Migration]int{}
		errs := make([]error, 4)
		for i := range errs {
			s := migrator(t, url)
			wg.Go(func() {
				errs[i] = s.Migrate(t.Context(), func(m tables.Migration) {
					mu.Lock()
					defer mu.Unlock()
					applied[m]++
				})
			})
		}
		wg.Wait()
		must(t, errors.Join(errs...))
		if len(applied) != len(migrations)-from+1 {
			t.Errorf("%d migrations were applied", len(applied))
		}
		for m, n := range applied {
			if n != 1 {
				t.Errorf("%v was applied %d times", m, n)
			}
		}
	}
}

// TestMigrateAfterACrash stops after each migration, leaving an index half made, and goes on.
func TestMigrateAfterACrash(t *testing.T) {
	want, err := os.ReadFile("testdata/catalogue.txt")
	must(t, err)
	url := testserver.Database(t)
	c := connect(t, url)
	migrateTo(t, c, 1)
	s := migrator(t, url)
	for n := 1; schemaOf(t, s).State != tables.SchemaCurrent; n++ {
		if n > 20 {
			t.Fatal("it does not go on")
		}
		ctx, cancel := context.WithCancel(t.Context())
		err := s.Migrate(ctx, func(tables.Migration) { cancel() })
		if err == nil && schemaOf(t, s).State != tables.SchemaCurrent {
			t.Fatal("no error, though it did not end")
		}
		cancel()
		if n+1 < len(migrations) && len(migrations[n+1].change) == 0 { // of a transaction nothing is left
			for _, i := range migrations[n+1].indices {
				exec(t, c, i.create(""), fmt.Sprintf("UPDATE pg_index SET indisvalid = false WHERE indexrelid = '%s'::regclass", i.name))
			}
		}
	}
	if diff := cmp.Diff(string(want), catalogue(t, c, "public")+catalogue(t, c, "mf")); diff != "" {
		t.Error(diff)
	}
}

func TestHandBack(t *testing.T) {
	url := testserver.Database(t)
	s := migrator(t, url)
	must(t, s.Migrate(t.Context(), nil))
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", Status: metadata.Failed, Failure: "why"})
	must(t, err)
	c := connect(t, url)
	before := catalogue(t, c, "public")
	exec(t, c, "DROP SCHEMA mf CASCADE")
	if diff := cmp.Diff(before, catalogue(t, c, "public")); diff != "" {
		t.Error(diff)
	}
	// A flow is deleted and made again, as Metaflow's own tests do.
	exec(t, c, "DELETE FROM runs_v3", "DELETE FROM flows_v3", "INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES ('F', 1)",
		"INSERT INTO runs_v3 (flow_id, run_number, ts_epoch) VALUES ('F', "+run.RunID+", 1)")
	got := schemaOf(t, s)
	if got.State != tables.SchemaOlder || got.Version != "20260706000003" || len(got.Pending) != 1 || got.Pending[0].Version != "mf1" {
		t.Fatalf("%+v", got)
	}
	_, err = Open(t.Context(), url, Options{Now: time.Now})
	if err == nil || !strings.Contains(err.Error(), "`mf service migrate`") || !strings.Contains(err.Error(), got.Version) {
		t.Errorf("opening what was handed back: %v", err)
	}
	must(t, s.Migrate(t.Context(), nil))
	again, err := s.Run(t.Context(), "F", run.RunID)
	must(t, err)
	if again.Status != "" {
		t.Errorf("a run of Metaflow's has the status %q", again.Status)
	}
}

// TestVersionsLost: tables of which nothing says how old they are, as a partial backup leaves them.
func TestVersionsLost(t *testing.T) {
	want, err := os.ReadFile("testdata/catalogue.txt")
	must(t, err)
	url := testserver.Database(t)
	s := migrator(t, url)
	must(t, s.Migrate(t.Context(), nil))
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", RunID: "named"})
	must(t, err)
	c := connect(t, url)
	exec(t, c, "DROP TABLE goose_db_version")
	if got := schemaOf(t, s); got.State != tables.SchemaOlder || got.Version != "0+mf1" || len(got.Pending) != len(migrations) {
		t.Fatalf("%+v", got)
	}
	must(t, s.Migrate(t.Context(), nil))
	if diff := cmp.Diff(string(want), catalogue(t, c, "public")+catalogue(t, c, "mf")); diff != "" {
		t.Error(diff)
	}
	_, err = s.Run(t.Context(), "F", run.RunID)
	must(t, err)
}

func TestNewerSchema(t *testing.T) {
	for _, text := range []string{
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (20990101000000, true)",
		"INSERT INTO mf.schema (version) VALUES (2)",
	} {
		url := testserver.Database(t)
		s := migrator(t, url)
		must(t, s.Migrate(t.Context(), nil))
		exec(t, connect(t, url), text)
		if got := schemaOf(t, s); got.State != tables.SchemaNewer || len(got.Pending) != 0 {
			t.Fatalf("%+v", got)
		}
		if err := s.Migrate(t.Context(), nil); !errors.Is(err, metadata.ErrNewer) {
			t.Errorf("migrating: %v", err)
		}
		_, err := Open(t.Context(), url, Options{Now: time.Now})
		if !errors.Is(err, metadata.ErrNewer) || !strings.Contains(err.Error(), "newer mf") {
			t.Errorf("opening: %v", err)
		}
	}
	// A migration that was taken back, as goose notes it.
	url := testserver.Database(t)
	s := migrator(t, url)
	must(t, s.Migrate(t.Context(), nil))
	exec(t, connect(t, url), "DROP INDEX metadata_v3_idx_flow_run_ts_id_desc",
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (20260706000003, false)")
	if got := schemaOf(t, s); got.State != tables.SchemaOlder || len(got.Pending) != 1 {
		t.Fatalf("%+v", got)
	}
	must(t, s.Migrate(t.Context(), nil))
}

// TestTriggers hears what Metaflow's UI is told.
func TestTriggers(t *testing.T) {
	url := testserver.Database(t)
	s := migrator(t, url)
	must(t, s.Migrate(t.Context(), nil))
	c := connect(t, url)
	exec(t, c, `CREATE FUNCTION public.notify_ui_flows_v3() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'`,
		`CREATE TRIGGER notify_ui_flows_v3 AFTER INSERT ON flows_v3 FOR EACH ROW EXECUTE PROCEDURE public.notify_ui_flows_v3()`)
	for range 2 {
		must(t, s.CreateTriggers(t.Context()))
	}
	exec(t, c, "LISTEN notify")
	run, err := s.CreateRun(t.Context(), metadata.Run{FlowID: "F", LastHeartbeat: 7})
	must(t, err)
	task, err := s.CreateTask(t.Context(), metadata.Task{FlowID: "F", RunID: run.RunID, StepName: "start"})
	must(t, err)
	row := metadata.Metadatum{FlowID: "F", RunID: run.RunID, StepName: "start", TaskID: task.TaskID, FieldName: "other",
		Value: strings.Repeat("x", 9000), Type: "t"}
	attempt := row
	attempt.FieldName, attempt.Value, attempt.Tags = "attempt_ok", "True", []string{"attempt_id:0"}
	must(t, s.Record(t.Context(), metadata.Batch{
		Metadata:  []metadata.Metadatum{row, attempt},
		Artifacts: []metadata.Artifact{{FlowID: "F", RunID: run.RunID, StepName: "start", TaskID: task.TaskID, Name: "x"}},
	}))
	_, err = s.MutateTags(t.Context(), "F", run.RunID, []string{"t"}, nil)
	must(t, err)
	exec(t, c, "NOTIFY notify, 'end'")
	var got []string
	for len(got) == 0 || got[len(got)-1] != "end" {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		n, err := c.WaitForNotification(ctx)
		cancel()
		must(t, err)
		got = append(got, n.Payload)
	}
	want := []string{
		`{"table" : "flows_v3", "schema" : "public", "operation" : "INSERT", "data" : {"flow_id" : "F"}}`,
		`{"table" : "runs_v3", "schema" : "public", "operation" : "INSERT", "data" : {"flow_id" : "F", "run_number" : 1, "last_heartbeat_ts" : 7}}`,
		`{"table" : "steps_v3", "schema" : "public", "operation" : "INSERT", "data" : {"flow_id" : "F", "run_number" : 1, "step_name" : "start"}}`,
		`{"table" : "tasks_v3", "schema" : "public", "operation" : "INSERT", "data" : {"flow_id" : "F", "run_number" : 1, "step_name" : "start", "task_id" : 1}}`,
		`{"table" : "metadata_v3", "schema" : "public", "operation" : "INSERT", "data" : {"flow_id" : "F", "run_number" : 1, "step_name" : "start", "task_id" : 1, "field_name" : "attempt_ok", "value" : "True", "tags" : ["attempt_id:0"]}}`,
		"end",
	}
	slices.Sort(got[:2])
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	rows, err := c.Query(t.Context(), "SELECT format('%s %s', tgname, tgenabled) FROM pg_trigger WHERE NOT tgisinternal ORDER BY 1")
	must(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	must(t, err)
	if diff := cmp.Diff([]string{
		"notify_ui_05092024_flows_v3 A", "notify_ui_05092024_metadata_v3 A", "notify_ui_05092024_runs_v3 A",
		"notify_ui_05092024_steps_v3 A", "notify_ui_05092024_tasks_v3 A",
	}, names); diff != "" {
		t.Error(diff)
	}
	var functions []string
	must(t, c.QueryRow(t.Context(), "SELECT array(SELECT proname::text FROM pg_proc WHERE starts_with(proname, 'notify_ui') ORDER BY 1)").Scan(&functions))
	if len(functions) != 5 || slices.Contains(functions, "notify_ui_flows_v3") {
		t.Errorf("the functions are %q", functions)
	}
}
