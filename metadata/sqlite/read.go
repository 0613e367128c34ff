package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/mf-run/mf/metadata"
)

// runColumns are what scanRun reads.
const runColumns = `SELECT r.flow_id, r.run_number, r.run_id, coalesce(r.user_name, ''), r.tags, r.system_tags, r.ts_epoch,
	coalesce(r.last_heartbeat_ts, 0), coalesce(m.status, ''), coalesce(m.finished, 0), coalesce(m.origin, ''),
	coalesce(m.failure, '')
	FROM runs_v3 r LEFT JOIN mf_runs m ON m.flow_id = r.flow_id AND m.run_number = r.run_number`

// row is *sql.Row or *sql.Rows.
type row interface{ Scan(into ...any) error }

func scanRun(r row) (metadata.Run, id, error) {
	var run metadata.Run
	var key id
	var user, system sql.NullString
	err := r.Scan(&run.FlowID, &key.number, &key.name, &run.UserName, &user, &system, &run.TsEpoch, &run.LastHeartbeat,
		&run.Status, &run.FinishedMs, &run.Origin, &run.Failure)
	if err != nil {
		return run, key, err
	}
	run.RunID = key.text()
	if run.Tags, err = parseTags(user); err != nil {
		return run, key, err
	}
	run.SystemTags, err = parseTags(system)
	return run, key, err
}

// Runs implements metadata.Reader.
func (s *Store) Runs(ctx context.Context, q metadata.RunQuery) ([]metadata.Run, error) {
	var where []string
	var args []any
	if q.FlowID != "" {
		where, args = append(where, "r.flow_id = ?"), append(args, q.FlowID)
	}
	if q.Status != "" {
		where, args = append(where, "m.status = ?"), append(args, string(q.Status))
	}
	for _, tag := range q.Tags {
		where = append(where, `(EXISTS (SELECT 1 FROM json_each(r.tags) WHERE value = ?)
			OR EXISTS (SELECT 1 FROM json_each(r.system_tags) WHERE value = ?))`)
		args = append(args, tag, tag)
	}
	text := runColumns
	if len(where) > 0 {
		text += " WHERE " + strings.Join(where, " AND ")
	}
	text += " ORDER BY r.ts_epoch DESC, r.rowid DESC"
	if q.Limit > 0 {
		text += " LIMIT ?"
		args = append(args, q.Limit)
	}
	list, err := query(ctx, s, text, args, func(r row) (metadata.Run, error) {
		run, _, err := scanRun(r)
		return run, err
	})
	if err != nil {
		return nil, s.describe("listing runs", err)
	}
	return list, nil
}

// Run implements metadata.Reader.
func (s *Store) Run(ctx context.Context, flow, run string) (metadata.Run, error) {
	found, _, err := s.run(ctx, flow, run)
	if err != nil {
		return metadata.Run{}, s.describe("reading a run", err)
	}
	return found, nil
}

func (s *Store) run(ctx context.Context, flow, run string) (metadata.Run, id, error) {
	column, key := "run_id", any(run)
	if number, numeric := parseNumber(run); numeric {
		column, key = "run_number", number
	}
	found, number, err := scanRun(s.readers.QueryRowContext(ctx,
		runColumns+" WHERE r.flow_id = ? AND r."+column+" = ?", flow, key))
	if errors.Is(err, sql.ErrNoRows) {
		return found, number, fmt.Errorf("run %s/%s: %w", flow, run, metadata.ErrNotFound)
	}
	return found, number, err
}

// listing is a query for rows below a run. An empty step or task is every one.
type listing struct {
	doing, text, order    string
	flow, run, step, task string
}

// children lists rows that belong to a run. It calls scan with the run.
func children[R any](ctx context.Context, s *Store, l listing, scan func(row, *metadata.Run) (R, error)) ([]R, error) {
	parent, number, err := s.run(ctx, l.flow, l.run)
	if errors.Is(err, metadata.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, s.describe(l.doing, err)
	}
	text := l.text + " WHERE flow_id = ? AND run_number = ?"
	args := []any{l.flow, number.number}
	if l.step != "" {
		text, args = text+" AND step_name = ?", append(args, l.step)
	}
	if n, numeric := parseNumber(l.task); numeric {
		text, args = text+" AND task_id = ?", append(args, n)
	} else if l.task != "" {
		// The inner query finds the hidden number, by which the rows are indexed.
		text += ` AND task_id IN (SELECT t.task_id FROM tasks_v3 t
			WHERE t.flow_id = ? AND t.run_number = ? AND t.task_name = ?) AND task_name = ?`
		args = append(args, l.flow, number.number, l.task, l.task)
	}
	list, err := query(ctx, s, text+l.order, args, func(r row) (R, error) { return scan(r, &parent) })
	if err != nil {
		return nil, s.describe(l.doing, err)
	}
	return list, nil
}

// Tasks implements metadata.Reader.
func (s *Store) Tasks(ctx context.Context, flow, run, step string) ([]metadata.Task, error) {
	return children(ctx, s, listing{
		doing: "listing tasks", text: `SELECT step_name, task_id, task_name, coalesce(user_name, ''), ts_epoch,
		coalesce(last_heartbeat_ts, 0) FROM tasks_v3`,
		order: " ORDER BY ts_epoch DESC, rowid DESC", flow: flow, run: run, step: step,
	},
		func(r row, parent *metadata.Run) (metadata.Task, error) {
			t := metadata.Task{
				FlowID: parent.FlowID, RunID: parent.RunID, Tags: parent.Tags, SystemTags: parent.SystemTags,
			}
			var key id
			err := r.Scan(&t.StepName, &key.number, &key.name, &t.UserName, &t.TsEpoch, &t.LastHeartbeat)
			t.TaskID = key.text()
			return t, err
		})
}

// Metadata implements metadata.Reader.
func (s *Store) Metadata(ctx context.Context, flow, run, step, task string) ([]metadata.Metadatum, error) {
	return children(ctx, s, listing{
		doing: "listing metadata", text: `SELECT step_name, task_id, task_name, field_name, value, type,
		coalesce(user_name, ''), ts_epoch, tags FROM metadata_v3`,
		order: " ORDER BY ts_epoch, id", flow: flow, run: run, step: step, task: task,
	},
		func(r row, parent *metadata.Run) (metadata.Metadatum, error) {
			m := metadata.Metadatum{FlowID: parent.FlowID, RunID: parent.RunID}
			var key id
			var tags sql.NullString
			err := r.Scan(&m.StepName, &key.number, &key.name, &m.FieldName, &m.Value, &m.Type, &m.UserName, &m.TsEpoch,
				&tags)
			if err != nil {
				return m, err
			}
			m.TaskID = key.text()
			m.Tags, err = parseTags(tags)
			return m, err
		})
}

// Artifacts implements metadata.Reader.
func (s *Store) Artifacts(ctx context.Context, flow, run, step, task string) ([]metadata.Artifact, error) {
	return children(ctx, s, listing{
		doing: "listing artifacts", text: `SELECT step_name, task_id, task_name, attempt_id, name, location, ds_type,
		coalesce(sha, ''), coalesce(type, ''), coalesce(content_type, ''), coalesce(user_name, ''), ts_epoch
		FROM artifact_v3`,
		order: " ORDER BY step_name, task_id, attempt_id, name", flow: flow, run: run, step: step, task: task,
	},
		func(r row, parent *metadata.Run) (metadata.Artifact, error) {
			a := metadata.Artifact{
				FlowID: parent.FlowID, RunID: parent.RunID, Tags: parent.Tags, SystemTags: parent.SystemTags,
			}
			var key id
			err := r.Scan(&a.StepName, &key.number, &key.name, &a.AttemptID, &a.Name, &a.Location, &a.DsType, &a.Sha,
				&a.Type, &a.ContentType, &a.UserName, &a.TsEpoch)
			a.TaskID = key.text()
			return a, err
		})
}

// query lists the rows of a query.
func query[R any](ctx context.Context, s *Store, text string, args []any, scan func(row) (R, error)) (list []R, err error) {
	rows, err := s.readers.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	for rows.Next() {
		r, err := scan(rows)
		if err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}
