package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// Each statement of a batch is about one run, $1 to $3. Where the run, or a row's task, is not found, a number is null that
// must not be, and Postgres gives the whole batch up.

const withRunRow = "WITH r AS MATERIALIZED (" + runRow + ") "

const recordSteps = withRunRow + `INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, tags, system_tags)
	SELECT $1, r.run_number, coalesce(r.run_id, r.run_number::text), x.step, x.who, x.ts, ($4::jsonb[])[x.tags], ($4::jsonb[])[x.system]
	FROM unnest($5::text[], $6::text[], $7::bigint[], $8::int[], $9::int[]) AS x (step, who, ts, tags, system)
	LEFT JOIN r ON true
	WHERE NOT EXISTS (SELECT FROM steps_v3 s WHERE s.flow_id = $1 AND s.run_number = r.run_number AND s.step_name = x.step)
	ON CONFLICT DO NOTHING`

// A number that no task has is one if the sequence has passed it, and a name otherwise; first says that no row before in
// the batch has that number.
var recordTasks = withRunRow + `INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, task_id, task_name, user_name, ts_epoch,
		last_heartbeat_ts, tags, system_tags)
	SELECT $1, r.run_number, r.run_id, x.step,
		CASE WHEN x.numbered THEN x.number ELSE nextval('tasks_v3_task_id_seq') END,
		CASE WHEN NOT x.numbered THEN x.id END,
		x.who, x.ts, x.beat, ($4::jsonb[])[x.tags], ($4::jsonb[])[x.system]
	FROM (SELECT u.*, u.first AND u.number <= (SELECT last_value FROM tasks_v3_task_id_seq)
			AND NOT EXISTS (SELECT FROM tasks_v3 WHERE task_id = u.number) AS numbered
		FROM unnest($5::text[], $6::bigint[], $7::boolean[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::int[], $13::int[])
			AS u (step, number, first, id, who, ts, beat, tags, system)) AS x
	LEFT JOIN r ON true
	WHERE ` + taskNumber("r.run_number", "x.step", "x.number", "x.id") + ` IS NULL
	ON CONFLICT DO NOTHING`

// recordTasksOf finds the numbers of a statement's different tasks, once each: k.numbers[x.task] is a row's.
var recordTasksOf = withRunRow + `, k AS MATERIALIZED (SELECT r.run_number, r.run_id,
		(SELECT array_agg(` + taskNumber("r.run_number", "u.step", "u.number", "u.id") + ` ORDER BY u.place)
			FROM unnest($4::text[], $5::bigint[], $6::text[]) WITH ORDINALITY AS u (step, number, id, place)) AS numbers
		FROM (SELECT) AS always LEFT JOIN r ON true) `

// ofTaskRow are the columns of a row's task.
const ofTaskRow = `$1, k.run_number, k.run_id, ($4::text[])[x.task], k.numbers[x.task],
	CASE WHEN ($5::bigint[])[x.task] IS DISTINCT FROM k.numbers[x.task] THEN ($6::text[])[x.task] END, `

var recordMetadata = recordTasksOf + `INSERT INTO metadata_v3 (flow_id, run_number, run_id, step_name, task_id, task_name,
		field_name, value, type, user_name, ts_epoch, tags)
	SELECT ` + ofTaskRow + `x.field, x.value, x.type, x.who, x.ts, ($7::jsonb[])[x.tags]
	FROM k, unnest($8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bigint[], $14::int[])
		AS x (task, field, value, type, who, ts, tags)`

var recordArtifacts = recordTasksOf + `INSERT INTO artifact_v3 (flow_id, run_number, run_id, step_name, task_id, task_name,
		name, location, ds_type, sha, type, content_type, user_name, attempt_id, ts_epoch, tags, system_tags)
	SELECT ` + ofTaskRow + `x.name, x.location, x.store, x.sha, x.type, x.content, x.who, x.attempt::smallint, x.ts,
		($7::jsonb[])[x.tags], ($7::jsonb[])[x.system]
	FROM k, unnest($8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[],
		$16::bigint[], $17::bigint[], $18::int[], $19::int[])
		AS x (task, name, location, store, sha, type, content, who, attempt, ts, tags, system)
	ON CONFLICT DO NOTHING`

// mostRows bounds the rows of one statement.
const mostRows = 2000

// Record implements metadata.Recorder.
func (s *Store) Record(ctx context.Context, b metadata.Batch) error {
	if b.Empty() {
		return nil
	}
	const doing = "recording metadata"
	r := recording{now: s.now().UnixMilli()}
	if err := r.queue(&b); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.write(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		_, err := r.send(ctx, c)
		return err
	})
}

// recording is the statements of one batch.
type recording struct {
	now   int64
	batch []statement
	// numbered says that tasks are given numbers.
	numbered bool
}

// statement is one of a batch, and the row that is wanted: the run that it is about.
type statement struct {
	text      string
	args      []any
	flow, run string
}

func (r *recording) add(text string, args []any, flow, run string) {
	r.batch = append(r.batch, statement{text, args, flow, run})
}

func (r *recording) queue(b *metadata.Batch) error {
	err := eachRun(b.Steps, func(row *metadata.Step) (string, string) { return row.FlowID, row.RunID }, r.steps)
	if err != nil {
		return err
	}
	err = eachRun(b.Tasks, func(row *metadata.Task) (string, string) { return row.FlowID, row.RunID }, r.tasks)
	if err != nil {
		return err
	}
	err = eachRun(b.Metadata, func(row *metadata.Metadatum) (string, string) { return row.FlowID, row.RunID }, r.metadata)
	if err != nil {
		return err
	}
	return eachRun(b.Artifacts, func(row *metadata.Artifact) (string, string) { return row.FlowID, row.RunID }, r.artifacts)
}

// eachRun calls f with pieces of rows that are of one run.
func eachRun[R any](rows []R, key func(*R) (flow, run string), f func(flow, run string, rows []R) error) error {
	for len(rows) > 0 {
		flow, run := key(&rows[0])
		n := 1
		for n < len(rows) && n < mostRows {
			if f, r := key(&rows[n]); f != flow || r != run {
				break
			}
			n++
		}
		if err := f(flow, run, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

// send runs the statements in one transaction and tells how many rows the last one wrote. Where the transaction was in
// another one's way, it runs them again: two that record the same steps in different order block one another, and a number
// given to a task may be minted for another one in that moment.
func (r *recording) send(ctx context.Context, c *pgx.Conn) (last int64, err error) {
	for range 4 {
		last, err = r.try(ctx, c)
		if raced := r.numbered && errors.Is(err, metadata.ErrNotFound); !raced && !hasCode(err, deadlock) {
			break
		}
	}
	return last, err
}

func (r *recording) try(ctx context.Context, c *pgx.Conn) (last int64, err error) {
	var b pgx.Batch
	for _, st := range r.batch {
		b.Queue(st.text, st.args...)
	}
	results := c.SendBatch(ctx, &b)
	for _, st := range r.batch {
		tag, err := results.Exec()
		if err != nil {
			_ = results.Close() // the same error
			return 0, st.explain(err)
		}
		last = tag.RowsAffected()
	}
	return last, results.Close()
}

// explain tells the lack of a parent from other refusals.
func (st *statement) explain(err error) error {
	e, ok := pgError(err)
	switch {
	case !ok:
		return err
	case e.Code == notNull && e.ColumnName == "run_number":
		return fmt.Errorf("run %s/%s: %w", st.flow, st.run, metadata.ErrNotFound)
	case e.Code == notNull && e.ColumnName == "task_id":
		return fmt.Errorf("a task of run %s/%s: %w", st.flow, st.run, metadata.ErrNotFound)
	case e.Code == tables.ForeignKeyViolation:
		return fmt.Errorf("a step of run %s/%s: %w", st.flow, st.run, metadata.ErrNotFound)
	}
	return err
}

func (r *recording) stamp(ts int64) int64 {
	if ts == 0 {
		return r.now
	}
	return ts
}

// tagIndex is dictionary.index for a list of texts; no tags are an empty list.
func (d *dictionary) tagIndex(tags []string) int32 {
	if len(tags) == 0 {
		return d.index(tables.JSON("[]"))
	}
	return d.index(tables.JSON(tagsJSON(tags)))
}

func (r *recording) steps(flow, run string, rows []metadata.Step) error {
	n := len(rows)
	var lists dictionary
	step, user := make([]string, n), make([]*string, n)
	ts, tags, system := make([]int64, n), make([]int32, n), make([]int32, n)
	for i := range rows {
		row := &rows[i]
		step[i], user[i], ts[i] = row.StepName, orNull(row.UserName), r.stamp(row.TsEpoch)
		tags[i], system[i] = lists.tagIndex(row.Tags), lists.tagIndex(row.SystemTags)
	}
	r.add(recordSteps, append(runArgs(flow, run), lists.lists, step, user, ts, tags, system), flow, run)
	return nil
}

func (r *recording) tasks(flow, run string, rows []metadata.Task) error {
	n := len(rows)
	var lists dictionary
	step, name, user := make([]string, n), make([]string, n), make([]*string, n)
	number, beat, first := make([]*int64, n), make([]*int64, n), make([]bool, n)
	ts, tags, system := make([]int64, n), make([]int32, n), make([]int32, n)
	seen, greatest := map[int64]bool{}, int64(-1)
	for i := range rows {
		row := &rows[i]
		if row.TaskID == "" {
			return fmt.Errorf("a task of %s/%s/%s has no id", flow, run, row.StepName)
		}
		if id, ok := parseNumber(row.TaskID); ok {
			number[i], first[i] = &id, !seen[id]
			seen[id] = true
			greatest = max(greatest, id)
		}
		step[i], name[i], user[i], ts[i], beat[i] = row.StepName, row.TaskID, orNull(row.UserName), r.stamp(row.TsEpoch),
			zeroNull(row.LastHeartbeat)
		tags[i], system[i] = lists.tagIndex(row.Tags), lists.tagIndex(row.SystemTags)
	}
	if greatest > 0 {
		r.add(passTask, []any{greatest}, flow, run)
	}
	r.numbered = r.numbered || greatest >= 0
	r.add(recordTasks, append(runArgs(flow, run), lists.lists, step, number, first, name, user, ts, beat, tags, system), flow, run)
	return nil
}

// taskSet is the different tasks of a statement's rows.
type taskSet struct {
	step, id []string
	number   []*int64
	places   map[[2]string]int32
	lastKey  [2]string
	last     int32
}

// place returns a task's place, from 1.
func (t *taskSet) place(step, id string) int32 {
	key := [2]string{step, id}
	if t.last > 0 && key == t.lastKey {
		return t.last
	}
	n, ok := t.places[key]
	if !ok {
		var number *int64
		if v, ok := parseNumber(id); ok {
			number = &v
		}
		t.step, t.id, t.number = append(t.step, step), append(t.id, id), append(t.number, number)
		n = int32(len(t.id))
		if t.places == nil {
			t.places = map[[2]string]int32{}
		}
		t.places[key] = n
	}
	t.lastKey, t.last = key, n
	return n
}

func (r *recording) metadata(flow, run string, rows []metadata.Metadatum) error {
	n := len(rows)
	var lists dictionary
	var set taskSet
	task, tags, ts := make([]int32, n), make([]int32, n), make([]int64, n)
	field, value, kind, user := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	for i := range rows {
		row := &rows[i]
		task[i], ts[i], tags[i] = set.place(row.StepName, row.TaskID), r.stamp(row.TsEpoch), lists.tagIndex(row.Tags)
		field[i], value[i], kind[i], user[i] = row.FieldName, row.Value, row.Type, orNull(row.UserName)
	}
	args := append(runArgs(flow, run), set.step, set.number, set.id, lists.lists, task, field, value, kind, user, ts, tags)
	r.add(recordMetadata, args, flow, run)
	return nil
}

func (r *recording) artifacts(flow, run string, rows []metadata.Artifact) error {
	n := len(rows)
	var lists dictionary
	var set taskSet
	task, tags, system := make([]int32, n), make([]int32, n), make([]int32, n)
	ts, attempt := make([]int64, n), make([]int64, n)
	name, location, store := make([]string, n), make([]string, n), make([]string, n)
	sha, kind, content, user := make([]string, n), make([]string, n), make([]string, n), make([]*string, n)
	for i := range rows {
		row := &rows[i]
		task[i], ts[i], attempt[i] = set.place(row.StepName, row.TaskID), r.stamp(row.TsEpoch), int64(row.AttemptID)
		name[i], location[i], store[i] = row.Name, row.Location, row.DsType
		sha[i], kind[i], content[i], user[i] = row.Sha, row.Type, row.ContentType, orNull(row.UserName)
		tags[i], system[i] = lists.tagIndex(row.Tags), lists.tagIndex(row.SystemTags)
	}
	args := append(runArgs(flow, run), set.step, set.number, set.id, lists.lists, task, name, location, store, sha, kind, content,
		user, attempt, ts, tags, system)
	r.add(recordArtifacts, args, flow, run)
	return nil
}

// createTask adds a task with a minted number, and before it, for those who listen, its step.
const createTask = withRunRow + `, s AS (INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, tags, system_tags)
		SELECT $1, r.run_number, coalesce(r.run_id, r.run_number::text), $4::text, $5::text, $6::bigint, '[]', '[]' FROM r
		WHERE NOT EXISTS (SELECT FROM steps_v3 s WHERE s.flow_id = $1 AND s.run_number = r.run_number AND s.step_name = $4)
		ON CONFLICT DO NOTHING RETURNING 1)
	INSERT INTO tasks_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch, last_heartbeat_ts, tags, system_tags)
	SELECT $1, r.run_number, r.run_id, $4::text, $5::text, $6::bigint, $7::bigint, $8::jsonb, $9::jsonb FROM r
	WHERE (SELECT count(*) FROM s) >= 0
	RETURNING task_id`

// CreateTask implements metadata.TaskMinter. A minted id is the next number of the database's tasks.
func (s *Store) CreateTask(ctx context.Context, task metadata.Task) (metadata.Task, error) {
	if task.TsEpoch == 0 {
		task.TsEpoch = s.now().UnixMilli()
	}
	const doing = "creating a task"
	if task.TaskID != "" {
		return task, s.createGiven(ctx, doing, task)
	}
	args := append(runArgs(task.FlowID, task.RunID), task.StepName, orNull(task.UserName), task.TsEpoch,
		zeroNull(task.LastHeartbeat), tagsJSON(task.Tags), tagsJSON(task.SystemTags))
	var number int64
	err := s.write(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		return absent(c.QueryRow(ctx, createTask, args...).Scan(&number), task.FlowID, task.RunID)
	})
	if err != nil {
		return metadata.Task{}, err
	}
	task.TaskID = strconv.FormatInt(number, 10)
	return task, nil
}

// createGiven adds a task with the id that it has.
func (s *Store) createGiven(ctx context.Context, doing string, task metadata.Task) error {
	r := recording{now: task.TsEpoch}
	step := metadata.Step{FlowID: task.FlowID, RunID: task.RunID, StepName: task.StepName, UserName: task.UserName}
	if err := r.queue(&metadata.Batch{Steps: []metadata.Step{step}, Tasks: []metadata.Task{task}}); err != nil {
		return fmt.Errorf("%s: %w", doing, err)
	}
	return s.write(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		n, err := r.send(ctx, c)
		if err == nil && n == 0 { // taken, or minted for another task in that moment
			n, err = r.send(ctx, c)
		}
		if err == nil && n == 0 {
			return fmt.Errorf("task %s/%s/%s/%s: %w", task.FlowID, task.RunID, task.StepName, task.TaskID, metadata.ErrExists)
		}
		return err
	})
}
