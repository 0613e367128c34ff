package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/mf-run/mf/metadata"
)

// Record implements metadata.Recorder.
func (s *Store) Record(ctx context.Context, b metadata.Batch) error {
	if b.Empty() {
		return nil
	}
	now := s.now().UnixMilli()
	return s.write(ctx, "recording metadata", func(w *writer) error {
		return newRecording(ctx, w, now).record(&b)
	})
}

type (
	runKey  struct{ flow, run string }
	stepKey struct{ flow, run, step string }
	taskKey struct{ flow, run, step, task string }
)

// recording is the writing of one batch. It remembers the keys that it has looked up, for its transaction only.
type recording struct {
	ctx   context.Context //nolint:containedctx // lives as long as one call
	w     *writer
	now   int64
	runs  map[runKey]id
	steps map[stepKey]bool
	tasks map[taskKey]id
	// last is the latest answer of task: rows of one task come one after the other.
	lastKey taskKey
	lastID  id
	hasLast bool
}

func newRecording(ctx context.Context, w *writer, now int64) *recording {
	return &recording{
		ctx: ctx, w: w, now: now, runs: map[runKey]id{}, steps: map[stepKey]bool{}, tasks: map[taskKey]id{},
	}
}

func (r *recording) record(b *metadata.Batch) error {
	if err := r.recordSteps(b.Steps); err != nil {
		return err
	}
	if err := r.recordTasks(b.Tasks); err != nil {
		return err
	}
	if err := r.recordMetadata(b.Metadata); err != nil {
		return err
	}
	return r.recordArtifacts(b.Artifacts)
}

// run returns the key of a run; metadata.ErrNotFound if absent.
func (r *recording) run(flow, run string) (id, error) {
	k := runKey{flow, run}
	if found, ok := r.runs[k]; ok {
		return found, nil
	}
	found, err := r.w.runID(r.ctx, flow, run)
	if err == nil {
		r.runs[k] = found
	}
	return found, err
}

// task returns the key of a task; metadata.ErrNotFound if absent.
func (r *recording) task(k taskKey) (id, error) {
	if r.hasLast && k == r.lastKey {
		return r.lastID, nil
	}
	found, ok := r.tasks[k]
	if !ok {
		run, err := r.run(k.flow, k.run)
		if err != nil {
			return id{}, err
		}
		if found, err = r.w.taskID(r.ctx, run, k); err != nil {
			return id{}, err
		}
		r.tasks[k] = found
	}
	r.lastKey, r.lastID, r.hasLast = k, found, true
	return found, nil
}

// needStep makes sure that a step exists; metadata.ErrNotFound if not.
func (r *recording) needStep(run id, k stepKey) error {
	if r.steps[k] {
		return nil
	}
	var one int
	err := r.w.queryRow(r.ctx, "SELECT 1 FROM steps_v3 WHERE flow_id = ? AND run_number = ? AND step_name = ?",
		[]any{k.flow, run.number, k.step}, &one)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("step %s/%s/%s: %w", k.flow, k.run, k.step, metadata.ErrNotFound)
	}
	r.steps[k] = err == nil
	return err
}

// newTask returns the key of a task that is about to be inserted, unless it is there already.
func (r *recording) newTask(run id, k taskKey) (id, error) {
	if k.task == "" {
		return id{}, fmt.Errorf("a task of %s/%s/%s has no id", k.flow, k.run, k.step)
	}
	if number, numeric := parseNumber(k.task); numeric {
		return makeID(number, "", false), nil
	}
	found, err := r.w.taskID(r.ctx, run, k)
	if !errors.Is(err, metadata.ErrNotFound) {
		return found, err
	}
	var number int64
	err = r.w.queryRow(r.ctx, `SELECT min(coalesce(min(task_id), 0), 0) - 1 FROM tasks_v3
		WHERE flow_id = ? AND run_number = ?`, []any{k.flow, run.number}, &number)
	return makeID(number, k.task, true), err
}

// table is what a bulk insert needs to know. The first three columns, flow_id, run_number and run_id, are bound once
// for all rows of a statement.
type table struct {
	name    string
	columns []string
}

var (
	stepsTable = &table{"steps_v3", []string{"step_name", "user_name", "ts_epoch"}}
	tasksTable = &table{"tasks_v3", []string{
		"step_name", "task_id", "task_name", "user_name", "ts_epoch", "last_heartbeat_ts",
	}}
	metadataTable = &table{"metadata_v3", []string{
		"step_name", "task_id", "task_name", "field_name", "value", "type", "user_name", "ts_epoch", "tags",
	}}
	artifactTable = &table{"artifact_v3", []string{
		"step_name", "task_id", "task_name", "name", "location", "ds_type", "sha", "type", "content_type", "user_name",
		"attempt_id", "ts_epoch",
	}}
)

func (r *recording) recordSteps(rows []metadata.Step) error {
	err := insert(r, stepsTable, rows,
		func(s *metadata.Step) runKey { return runKey{s.FlowID, s.RunID} },
		func(args []any, s *metadata.Step) ([]any, error) {
			return append(args, s.StepName, orNull(s.UserName), r.stamp(s.TsEpoch)), nil
		})
	if err != nil {
		return err
	}
	for i := range rows {
		r.steps[stepKey{rows[i].FlowID, rows[i].RunID, rows[i].StepName}] = true
	}
	return nil
}

// recordTasks inserts numbered tasks together and named ones one by one, as each takes the next hidden number.
func (r *recording) recordTasks(rows []metadata.Task) error {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && !isName(rows[n].TaskID) && !isName(rows[n-1].TaskID) {
			n++
		}
		err := insert(r, tasksTable, rows[:n],
			func(t *metadata.Task) runKey { return runKey{t.FlowID, t.RunID} },
			func(args []any, t *metadata.Task) ([]any, error) {
				run, err := r.run(t.FlowID, t.RunID)
				if err != nil {
					return nil, err
				}
				if err := r.needStep(run, stepKey{t.FlowID, t.RunID, t.StepName}); err != nil {
					return nil, err
				}
				k := taskKey{t.FlowID, t.RunID, t.StepName, t.TaskID}
				task, err := r.newTask(run, k)
				if err != nil {
					return nil, err
				}
				r.tasks[k] = task
				return append(args, t.StepName, task.number, nullable(task.name), orNull(t.UserName), r.stamp(t.TsEpoch),
					zeroNull(t.LastHeartbeat)), nil
			})
		if err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func isName(text string) bool {
	_, numeric := parseNumber(text)
	return !numeric
}

func (r *recording) recordMetadata(rows []metadata.Metadatum) error {
	return insert(r, metadataTable, rows,
		func(m *metadata.Metadatum) runKey { return runKey{m.FlowID, m.RunID} },
		func(args []any, m *metadata.Metadatum) ([]any, error) {
			task, err := r.task(taskKey{m.FlowID, m.RunID, m.StepName, m.TaskID})
			if err != nil {
				return nil, err
			}
			return append(args, m.StepName, task.number, nullable(task.name), m.FieldName, m.Value, m.Type,
				orNull(m.UserName), r.stamp(m.TsEpoch), tagsJSON(m.Tags)), nil
		})
}

func (r *recording) recordArtifacts(rows []metadata.Artifact) error {
	return insert(r, artifactTable, rows,
		func(a *metadata.Artifact) runKey { return runKey{a.FlowID, a.RunID} },
		func(args []any, a *metadata.Artifact) ([]any, error) {
			task, err := r.task(taskKey{a.FlowID, a.RunID, a.StepName, a.TaskID})
			if err != nil {
				return nil, err
			}
			return append(args, a.StepName, task.number, nullable(task.name), a.Name, a.Location, a.DsType, a.Sha, a.Type,
				a.ContentType, orNull(a.UserName), int64(a.AttemptID), r.stamp(a.TsEpoch)), nil
		})
}

func (r *recording) stamp(ts int64) int64 {
	if ts == 0 {
		return r.now
	}
	return ts
}

func nullable(s sql.NullString) any {
	if !s.Valid {
		return nil
	}
	return s.String
}

// bulkSizes are the numbers of rows for which statements are prepared, greatest first. The greatest stays below
// SQLite's bound of 32,766 parameters.
var bulkSizes = [...]int{128, 16, 1}

type bulkKey struct {
	table *table
	rows  int
}

// insert adds rows to a table, leaving those that exist. key names a row's run; args appends the values of the
// table's columns.
func insert[R any](r *recording, t *table, rows []R, key func(*R) runKey,
	args func([]any, *R) ([]any, error),
) error {
	for start := 0; start < len(rows); {
		k := key(&rows[start])
		run, err := r.run(k.flow, k.run)
		if err != nil {
			return err
		}
		end := start + 1
		for end < len(rows) && key(&rows[end]) == k {
			end++
		}
		buf := make([]any, 0, 3+min(end-start, bulkSizes[0])*len(t.columns))
		for _, size := range bulkSizes {
			for ; end-start >= size; start += size {
				buf = append(buf[:0], k.flow, run.number, nullable(run.name))
				for i := range size {
					if buf, err = args(buf, &rows[start+i]); err != nil {
						return err
					}
				}
				if _, err := r.w.insertBulk(r.ctx, t, size, buf); err != nil {
					return fmt.Errorf("%s: %w", t.name, err)
				}
			}
		}
	}
	return nil
}

// insertBulk adds rows and returns how many were not there.
func (w *writer) insertBulk(ctx context.Context, t *table, rows int, args []any) (int64, error) {
	k := bulkKey{t, rows}
	st := w.bulk[k]
	if st == nil {
		var err error
		if st, err = w.conn.PrepareContext(ctx, t.insertSQL(rows)); err != nil {
			return 0, err
		}
		w.bulk[k] = st
	}
	res, err := st.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

// insertSQL returns the statement for a number of rows. Parameters 1 to 3 are the shared columns'. The others have no
// number, and so take the next one: SQLite searches its list of numbered parameters whenever one is bound.
func (t *table) insertSQL(rows int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO " + t.name + " (flow_id, run_number, run_id, " + strings.Join(t.columns, ", ") + ") VALUES ")
	for i := range rows {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString("(?1, ?2, ?3")
		for range t.columns {
			b.WriteString(", ?")
		}
		b.WriteString(")")
	}
	b.WriteString(" ON CONFLICT DO NOTHING")
	return b.String()
}
