package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/mf-run/mf/metadata"
)

// writer is the one connection that writes, with its prepared statements. Its user holds Store.turn.
type writer struct {
	conn  *sql.Conn
	now   func() time.Time
	stmts map[string]*sql.Stmt
	bulk  map[bulkKey]*sql.Stmt
}

// write runs f in a transaction, again if the database was locked. f must not keep anything of a try that failed.
func (s *Store) write(ctx context.Context, doing string, f func(w *writer) error) error {
	return s.locked(ctx, doing, func(w *writer) error {
		return retry(ctx, func() error {
			return w.transact(ctx, func() error { return f(w) })
		})
	})
}

// locked runs f with the writer.
func (s *Store) locked(ctx context.Context, doing string, f func(w *writer) error) error {
	select {
	case <-s.turn:
		defer func() { s.turn <- struct{}{} }()
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	if s.w == nil {
		return fmt.Errorf("%s: %w", doing, metadata.ErrClosed)
	}
	if err := f(s.w); err != nil {
		return s.describe(doing, err)
	}
	return nil
}

// transact runs f between BEGIN IMMEDIATE and COMMIT or, if it fails, ROLLBACK.
func (w *writer) transact(ctx context.Context, f func() error) error {
	_, err := w.exec(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = f()
	}
	if err == nil {
		_, err = w.exec(ctx, "COMMIT")
	}
	if err == nil {
		return nil
	}
	// Not ctx: it may have ended, and the transaction must not stay open. It may even have begun while BEGIN was given up.
	// SQLite itself rolls back on some errors; then there is nothing left to do, which it reports as an error that says
	// nothing new.
	_, _ = w.exec(context.WithoutCancel(ctx), "ROLLBACK")
	return err
}

// stmt returns the prepared statement of a constant text.
func (w *writer) stmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if st := w.stmts[text]; st != nil {
		return st, nil
	}
	st, err := w.conn.PrepareContext(ctx, text)
	if err == nil {
		w.stmts[text] = st
	}
	return st, err
}

func (w *writer) exec(ctx context.Context, text string, args ...any) (sql.Result, error) {
	st, err := w.stmt(ctx, text)
	if err != nil {
		return nil, err
	}
	return st.ExecContext(ctx, args...)
}

// queryRow scans the one row of a query; sql.ErrNoRows if there is none.
func (w *writer) queryRow(ctx context.Context, text string, args []any, into ...any) error {
	st, err := w.stmt(ctx, text)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

func (w *writer) close() error {
	var all []error
	for _, st := range w.stmts {
		all = append(all, st.Close())
	}
	for _, st := range w.bulk {
		all = append(all, st.Close())
	}
	return errors.Join(append(all, w.conn.Close())...)
}

// CreateRun implements metadata.Recorder.
func (s *Store) CreateRun(ctx context.Context, run metadata.Run) (metadata.Run, error) {
	if err := metadata.CheckRun(run); err != nil {
		return metadata.Run{}, err
	}
	now := s.now()
	if run.TsEpoch == 0 {
		run.TsEpoch = now.UnixMilli()
	}
	err := s.write(ctx, "creating a run of "+run.FlowID, func(w *writer) error {
		_, err := w.exec(ctx, "INSERT INTO flows_v3 (flow_id, ts_epoch) VALUES (?, ?) ON CONFLICT DO NOTHING",
			run.FlowID, run.TsEpoch)
		if err != nil {
			return err
		}
		id, err := w.insertRun(ctx, run, now)
		if err != nil {
			return err
		}
		run.RunID = id.text()
		if run.Status == "" && run.FinishedMs == 0 && run.Origin == "" && run.Failure == "" {
			return nil
		}
		_, err = w.exec(ctx, `INSERT INTO mf_runs (flow_id, run_number, status, finished, origin, failure)
			VALUES (?, ?, ?, ?, ?, ?)`, run.FlowID, id.number, string(run.Status), run.FinishedMs, run.Origin, run.Failure)
		return err
	})
	if err != nil {
		return metadata.Run{}, err
	}
	return run, nil
}

// insertRun adds the row under the given id, the next hidden number of a name, or a number made of the time.
func (w *writer) insertRun(ctx context.Context, run metadata.Run, now time.Time) (id, error) {
	key, numeric := parseNumber(run.RunID)
	minted := run.RunID == ""
	switch {
	case minted:
		key = now.UnixMicro()
	case !numeric:
		err := w.queryRow(ctx, "SELECT min(coalesce(min(run_number), 0), 0) - 1 FROM runs_v3 WHERE flow_id = ?",
			[]any{run.FlowID}, &key)
		if err != nil {
			return id{}, err
		}
	}
	var name any
	if !minted && !numeric {
		name = run.RunID
	}
	for {
		res, err := w.exec(ctx, `INSERT INTO runs_v3
			(flow_id, run_number, user_name, ts_epoch, tags, system_tags, run_id, last_heartbeat_ts)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			run.FlowID, key, orNull(run.UserName), run.TsEpoch, tagsJSON(run.Tags), tagsJSON(run.SystemTags), name,
			zeroNull(run.LastHeartbeat))
		if err != nil {
			return id{}, err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return makeID(key, run.RunID, name != nil), err
		}
		if !minted {
			return id{}, fmt.Errorf("run %s/%s: %w", run.FlowID, run.RunID, metadata.ErrExists)
		}
		key++
	}
}

// UpdateRun implements metadata.Recorder.
func (s *Store) UpdateRun(ctx context.Context, run metadata.Run) error {
	return s.write(ctx, "updating a run", func(w *writer) error {
		id, err := w.runID(ctx, run.FlowID, run.RunID)
		if err != nil {
			return err
		}
		_, err = w.exec(ctx, `INSERT INTO mf_runs (flow_id, run_number, status, finished, origin, failure)
			VALUES (?, ?, ?, ?, '', ?) ON CONFLICT DO UPDATE
			SET status = excluded.status, finished = excluded.finished, failure = excluded.failure`,
			run.FlowID, id.number, string(run.Status), run.FinishedMs, run.Failure)
		if err != nil || run.LastHeartbeat == 0 {
			return err
		}
		_, err = w.exec(ctx, "UPDATE runs_v3 SET last_heartbeat_ts = ? WHERE flow_id = ? AND run_number = ?",
			run.LastHeartbeat, run.FlowID, id.number)
		return err
	})
}

// MutateTags implements metadata.Recorder.
func (s *Store) MutateTags(ctx context.Context, flow, run string, add, remove []string) ([]string, error) {
	var tags []string
	err := s.write(ctx, "changing the tags of a run", func(w *writer) error {
		id, err := w.runID(ctx, flow, run)
		if err != nil {
			return err
		}
		var user, system sql.NullString
		err = w.queryRow(ctx, "SELECT tags, system_tags FROM runs_v3 WHERE flow_id = ? AND run_number = ?",
			[]any{flow, id.number}, &user, &system)
		if err != nil {
			return err
		}
		have, err := parseTags(user)
		if err != nil {
			return err
		}
		fixed, err := parseTags(system)
		if err != nil {
			return err
		}
		var changed bool
		if tags, changed, err = metadata.ApplyTags(have, fixed, add, remove); err != nil || !changed {
			return err
		}
		_, err = w.exec(ctx, "UPDATE runs_v3 SET tags = ? WHERE flow_id = ? AND run_number = ?",
			tagsJSON(tags), flow, id.number)
		return err
	})
	if err != nil {
		return nil, err
	}
	return tags, nil
}

// CreateTask implements metadata.TaskMinter.
func (s *Store) CreateTask(ctx context.Context, task metadata.Task) (metadata.Task, error) {
	if task.TsEpoch == 0 {
		task.TsEpoch = s.now().UnixMilli()
	}
	given := task.TaskID
	err := s.write(ctx, "creating a task", func(w *writer) error {
		r := newRecording(ctx, w, task.TsEpoch)
		run, err := r.run(task.FlowID, task.RunID)
		if err != nil {
			return err
		}
		task.TaskID = given
		if given == "" {
			var next int64
			err := w.queryRow(ctx, "SELECT max(coalesce(max(task_id), -1), -1) + 1 FROM tasks_v3 WHERE flow_id = ? AND run_number = ?",
				[]any{task.FlowID, run.number}, &next)
			if err != nil {
				return err
			}
			task.TaskID = strconv.FormatInt(next, 10)
		} else if _, err := r.task(taskKey{task.FlowID, task.RunID, task.StepName, given}); err == nil {
			return fmt.Errorf("task %s/%s/%s/%s: %w", task.FlowID, task.RunID, task.StepName, given, metadata.ErrExists)
		} else if !errors.Is(err, metadata.ErrNotFound) {
			return err
		}
		return r.record(&metadata.Batch{
			Steps: []metadata.Step{{
				FlowID: task.FlowID, RunID: task.RunID, StepName: task.StepName, UserName: task.UserName,
			}},
			Tasks: []metadata.Task{task},
		})
	})
	if err != nil {
		return metadata.Task{}, err
	}
	return task, nil
}

// orNull stores an empty text as NULL, as Metaflow's columns have it.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func zeroNull(n int64) any {
	if n == 0 {
		return nil
	}
	return n
}

// tagsJSON returns tags as a JSON array.
func tagsJSON(tags []string) string {
	if len(tags) == 0 {
		return "[]"
	}
	text, err := json.Marshal(tags)
	if err != nil {
		panic("bug in mf: encoding tags: " + err.Error()) // strings always encode
	}
	return string(text)
}

func parseTags(text sql.NullString) ([]string, error) {
	if !text.Valid || text.String == "[]" {
		return nil, nil
	}
	var tags []string
	if err := json.Unmarshal([]byte(text.String), &tags); err != nil {
		return nil, fmt.Errorf("%w: tags are no JSON list of texts: %w", metadata.ErrCorrupt, err)
	}
	return tags, nil
}
