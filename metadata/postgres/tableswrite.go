package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata/tables"
)

// jsonArg is a column of JSON as a parameter: a text, which pgx sends as it is.
func jsonArg(j tables.JSON) *string {
	if j == nil {
		return nil
	}
	text := string(j)
	return &text
}

// CreateFlow implements tables.DB.
func (d *Tables) CreateFlow(ctx context.Context, f tables.Flow) (tables.Flow, error) {
	f.TsEpoch = d.s.now().UnixMilli()
	err := d.s.write(ctx, "creating a flow", func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, "INSERT INTO flows_v3 (flow_id, user_name, ts_epoch, tags, system_tags) VALUES ($1, $2, $3, $4, $5)",
			f.FlowID, f.UserName, f.TsEpoch, jsonArg(f.Tags), jsonArg(f.SystemTags))
		return err
	})
	if err != nil {
		return tables.Flow{}, err
	}
	return f, nil
}

const insertRun = `INSERT INTO runs_v3 (flow_id, run_id, user_name, ts_epoch, tags, system_tags, last_heartbeat_ts)
	VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING run_number`

// CreateRun implements tables.DB.
func (d *Tables) CreateRun(ctx context.Context, r tables.Run) (tables.Run, error) {
	const doing = "creating a run"
	r.TsEpoch, r.Status = d.s.now().UnixMilli(), ""
	args := []any{r.FlowID, r.RunID, r.UserName, r.TsEpoch, jsonArg(r.Tags), jsonArg(r.SystemTags), r.LastHeartbeat}
	var number int64
	l := &lookup{statements: 1, text: [2]string{insertRun}, args: [2][]any{args}}
	l.row = func(_ int, row *rawRow) error { return row.Scan(&number) }
	err := d.s.inserts.do(ctx, l)
	switch {
	case err == nil:
		r.RunNumber = number
		return r, nil
	case !writeAlone(err):
		return tables.Run{}, d.s.describe(ctx, doing, err)
	}
	err = d.s.write(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		return minting(ctx, c, func() error { return c.QueryRow(ctx, insertRun, args...).Scan(&r.RunNumber) })
	})
	if err != nil {
		return tables.Run{}, err
	}
	return r, nil
}

// minting runs the insertion of a row whose number the sequence of runs mints, again if that number is taken: a run may
// have been restored under it.
func minting(ctx context.Context, c *pgx.Conn, insert func() error) error {
	err := insert()
	for range 3 {
		e, ok := pgError(err)
		if !ok || e.ConstraintName != "runs_v3_pkey" {
			break
		}
		// Of all runs, though only those of a flow are in the way: this happens once.
		_, err = c.Exec(ctx, `SELECT setval('runs_v3_run_number_seq', greatest((SELECT max(run_number) FROM runs_v3), last_value))
			FROM runs_v3_run_number_seq`)
		if err != nil {
			return err
		}
		err = insert()
	}
	return err
}

// refresh are the heartbeats that a new one replaces: none, and those of ten seconds ago or older.
func refresh(column, now string) string {
	return "(" + column + " IS NULL OR " + column + " <= " + now + "::bigint - 10)"
}

var beatRun = variants(ofRun, func(k *key) string {
	return "UPDATE runs_v3 r SET last_heartbeat_ts = $3::bigint WHERE " + k.where("r", ofRun) +
		" AND " + refresh("r.last_heartbeat_ts", "$3")
})

// HeartbeatRun implements tables.DB.
func (d *Tables) HeartbeatRun(ctx context.Context, id tables.Key, now int64) (bool, error) {
	k, err := parse(id, ofRun, true)
	if err != nil {
		return false, err
	}
	return d.beat(ctx, beatRun.of(&k), append(k.args, now))
}

// The task's update is the statement's own, whose rows are counted.
var beatTask = variants(ofTask, func(k *key) string {
	return "WITH run AS (UPDATE runs_v3 r SET last_heartbeat_ts = $5::bigint WHERE " + k.where("r", ofRun) +
		" AND " + refresh("r.last_heartbeat_ts", "$5") + ") UPDATE tasks_v3 t SET last_heartbeat_ts = $5::bigint WHERE " +
		k.whereTask("t") + " AND " + refresh("t.last_heartbeat_ts", "$5")
})

// HeartbeatTask implements tables.DB.
func (d *Tables) HeartbeatTask(ctx context.Context, id tables.Key, now int64) (bool, error) {
	k, err := parse(id, ofTask, false)
	if err != nil {
		return false, err
	}
	return d.beat(ctx, beatTask.of(&k), append(k.args, now))
}

func (d *Tables) beat(ctx context.Context, text string, args []any) (bool, error) {
	var changed int64
	err := d.s.write(ctx, "refreshing a heartbeat", func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, text, args...)
		changed = tag.RowsAffected()
		return err
	})
	return changed > 0, err
}

var insertStep = variants(ofRun, func(k *key) string {
	return "WITH r AS (SELECT " + runColumns + " FROM runs_v3 r WHERE " + k.where("r", ofRun) + `),
		s AS (INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, tags, system_tags)
			SELECT r.flow_id, r.run_number, coalesce(r.run_id, r.run_number::text), $3, $4, $5::bigint, $6::jsonb, $7::jsonb FROM r
			RETURNING flow_id, run_number, run_id, step_name, user_name, ts_epoch)
		SELECT ` + stepColumns + runTags + " FROM s, r"
})

// CreateStep implements tables.DB.
func (d *Tables) CreateStep(ctx context.Context, id tables.Key, row tables.Step) (tables.Step, error) {
	k, err := parse(id, ofRun, true)
	if err != nil {
		return tables.Step{}, err
	}
	args := append(k.args, stepOf(id, row.StepName), row.UserName, d.s.now().UnixMilli(), jsonArg(row.Tags), jsonArg(row.SystemTags))
	var out tables.Step
	err = d.s.write(ctx, "creating a step", func(ctx context.Context, c *pgx.Conn) error {
		err := scanStep(c.QueryRow(ctx, insertStep.of(&k), args...), &out, raw(&out.Tags), raw(&out.SystemTags))
		return noParent(err, id, ofRun)
	})
	if err != nil {
		return tables.Step{}, err
	}
	tidy(&out.Tags, &out.SystemTags)
	return out, nil
}

// stepOf is the step that a key names or, where it does not, a row.
func stepOf(id tables.Key, name string) string {
	if id.Step != "" {
		return id.Step
	}
	return name
}

// noParent turns the lack of a row into tables.ErrNoParent.
func noParent(err error, id tables.Key, what parts) error {
	if err != pgx.ErrNoRows { //nolint:errorlint // as the driver returns it
		return err
	}
	if what == ofTask {
		return fmt.Errorf("%s/%s/%s/%s: %w", id.Flow, id.Run, id.Step, id.Task, tables.ErrNoParent)
	}
	return fmt.Errorf("%s/%s: %w", id.Flow, id.Run, tables.ErrNoParent)
}

func insertTask(k *key, beat string) string {
	return "WITH r AS (SELECT " + runColumns + " FROM runs_v3 r WHERE " + k.where("r", ofRun) + `),
		t AS (INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, task_name, user_name, ts_epoch, last_heartbeat_ts,
				tags, system_tags)
			SELECT r.flow_id, r.run_number, r.run_id, $3, $4, $5, $6::bigint, $7::bigint, $8::jsonb, $9::jsonb FROM r
			RETURNING flow_id, run_number, run_id, step_name, task_id, task_name, user_name, ts_epoch, last_heartbeat_ts)` + beat + `
		SELECT ` + taskColumns + runTags + " FROM t, r"
}

var (
	insertQuietTask = variants(ofRun, func(k *key) string { return insertTask(k, "") })
	insertLiveTask  = variants(ofRun, func(k *key) string {
		return insertTask(k, ", beat AS (UPDATE runs_v3 u SET last_heartbeat_ts = $7::bigint FROM r"+
			" WHERE u.flow_id = r.flow_id AND u.run_number = r.run_number AND "+refresh("u.last_heartbeat_ts", "$7")+")")
	})
)

// CreateTask implements tables.DB.
func (d *Tables) CreateTask(ctx context.Context, id tables.Key, row tables.Task) (tables.Task, error) {
	k, err := parse(id, ofRun, true)
	if err != nil {
		return tables.Task{}, err
	}
	text := insertQuietTask.of(&k)
	if row.LastHeartbeat != nil {
		text = insertLiveTask.of(&k)
	}
	args := append(k.args, stepOf(id, row.StepName), row.TaskName, row.UserName, d.s.now().UnixMilli(), row.LastHeartbeat,
		jsonArg(row.Tags), jsonArg(row.SystemTags))
	var out tables.Task
	err = d.s.write(ctx, "creating a task", func(ctx context.Context, c *pgx.Conn) error {
		err := scanTask(c.QueryRow(ctx, text, args...), &out, raw(&out.Tags), raw(&out.SystemTags))
		return noParent(err, id, ofRun)
	})
	if err != nil {
		return tables.Task{}, err
	}
	tidy(&out.Tags, &out.SystemTags)
	return out, nil
}

// dictionary holds the different lists of tags of many rows, which are few.
type dictionary struct {
	lists []*string
	known map[string]int32
	last  string
	at    int32
}

// index returns a list's place, from 1 as Postgres counts; 0, which is no place, for null.
func (d *dictionary) index(j tables.JSON) int32 {
	switch {
	case j == nil:
		return 0
	case d.at > 0 && d.last == string(j):
		return d.at
	}
	text := string(j)
	n, ok := d.known[text]
	if !ok {
		if d.known == nil {
			d.known = map[string]int32{}
		}
		d.lists = append(d.lists, &text)
		n = int32(len(d.lists))
		d.known[text] = n
	}
	d.last, d.at = text, n
	return n
}

// added is what the statements of addRows end with: whether the parent is there, and how many rows were added.
const added = " RETURNING 1) SELECT (SELECT count(*) FROM p), (SELECT count(*) FROM n)"

var insertMetadata = variants(ofTask, func(k *key) string {
	return "WITH p AS (SELECT t.flow_id, t.run_number, t.run_id, t.step_name, t.task_id, t.task_name FROM tasks_v3 t WHERE " +
		k.whereTask("t") + `),
		n AS (INSERT INTO metadata_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, ts_epoch,
				field_name, value, type, user_name, tags, system_tags)
			SELECT p.*, $5::bigint, x.field, x.value, x.type, x.who, ($6::jsonb[])[x.tags], ($6::jsonb[])[x.system]
			FROM p, unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::int[], $12::int[])
				AS x (field, value, type, who, tags, system)` + added
})

// AddMetadata implements tables.DB.
func (d *Tables) AddMetadata(ctx context.Context, id tables.Key, rows []tables.Metadatum) (int, error) {
	return addRows(ctx, d.s, "adding metadata", insertMetadata, id, rows, func(args []any, rows []tables.Metadatum) []any {
		n := len(rows)
		var lists dictionary
		tags, system := make([]int32, n), make([]int32, n)
		text := make([]string, 3*n)
		field, value, kind := text[:n], text[n:2*n], text[2*n:]
		user := make([]*string, n)
		for i := range rows {
			r := &rows[i]
			field[i], value[i], kind[i], user[i] = r.FieldName, r.Value, r.Type, r.UserName
			tags[i], system[i] = lists.index(r.Tags), lists.index(r.SystemTags)
		}
		return append(args, lists.lists, field, value, kind, user, tags, system)
	})
}

var insertArtifacts = variants(ofTask, func(k *key) string {
	return "WITH p AS (SELECT t.flow_id, t.run_number, t.run_id, t.step_name, t.task_id, t.task_name FROM tasks_v3 t WHERE " +
		k.whereTask("t") + `),
		n AS (INSERT INTO artifact_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, ts_epoch,
				name, location, ds_type, sha, type, content_type, user_name, attempt_id, tags, system_tags)
			SELECT p.*, $5::bigint, x.name, x.location, x.store, x.sha, x.type, x.content, x.who, x.attempt::smallint,
				($6::jsonb[])[x.tags], ($6::jsonb[])[x.system]
			FROM p, unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[],
				$15::int[], $16::int[]) AS x (name, location, store, sha, type, content, who, attempt, tags, system)
			ON CONFLICT DO NOTHING` + added
})

// AddArtifacts implements tables.DB.
func (d *Tables) AddArtifacts(ctx context.Context, id tables.Key, rows []tables.Artifact) (int, error) {
	return addRows(ctx, d.s, "adding artifacts", insertArtifacts, id, rows, func(args []any, rows []tables.Artifact) []any {
		n := len(rows)
		var lists dictionary
		tags, system := make([]int32, n), make([]int32, n)
		text, optional := make([]string, 3*n), make([]*string, 4*n)
		name, location, store := text[:n], text[n:2*n], text[2*n:]
		sha, kind, content, user := optional[:n], optional[n:2*n], optional[2*n:3*n], optional[3*n:]
		attempt := make([]int64, n)
		for i := range rows {
			r := &rows[i]
			name[i], location[i], store[i], attempt[i] = r.Name, r.Location, r.DsType, r.AttemptID
			sha[i], kind[i], content[i], user[i] = r.Sha, r.Type, r.ContentType, r.UserName
			tags[i], system[i] = lists.index(r.Tags), lists.index(r.SystemTags)
		}
		return append(args, lists.lists, name, location, store, sha, kind, content, user, attempt, tags, system)
	})
}

// addRows adds rows to a task, all in one statement. If that is refused, it halves the rows until those that are the
// matter stand alone: one bad row keeps no other out.
func addRows[R any](ctx context.Context, s *Store, doing string, statement *texts, id tables.Key, rows []R,
	bind func(args []any, rows []R) []any,
) (int, error) {
	k, err := parse(id, ofTask, true)
	if err != nil {
		return 0, err
	}
	k.args = append(k.args, s.now().UnixMilli())
	var total int
	err = s.write(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		one := &adding[R]{ctx: ctx, c: c, text: statement.of(&k), args: k.args, bind: bind}
		err := one.add(rows)
		if err == nil && !one.parent { // every row was refused before the parent was looked for
			err = one.add(nil)
		}
		total = one.total
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return noParent(pgx.ErrNoRows, id, ofTask)
		case err != nil && total > 0:
			return &halfDone{err}
		}
		return err
	})
	return total, err
}

// adding is the work of one call of addRows.
type adding[R any] struct {
	ctx    context.Context //nolint:containedctx // lives as long as one call
	c      *pgx.Conn
	text   string
	args   []any
	bind   func(args []any, rows []R) []any
	parent bool
	total  int
}

// add adds rows; pgx.ErrNoRows if the parent is absent.
func (a *adding[R]) add(rows []R) error {
	var parents, n int
	args := make([]any, len(a.args), len(a.args)+12)
	copy(args, a.args)
	err := a.c.QueryRow(a.ctx, a.text, a.bind(args, rows)...).Scan(&parents, &n)
	switch {
	case err == nil && parents == 0:
		return pgx.ErrNoRows
	case err == nil:
		a.parent = true
		a.total += n
		return nil
	case !ofRow(err) || len(rows) == 0:
		return err
	case len(rows) == 1:
		return nil
	}
	half := len(rows) / 2
	if err := a.add(rows[:half]); err != nil {
		return err
	}
	return a.add(rows[half:])
}
