package postgres

import (
	"bytes"
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata/tables"
)

// The columns that the scan functions read, of the aliases f, r, s, t, m and a.
const (
	flowColumns     = "f.flow_id, f.user_name, f.ts_epoch, f.tags, f.system_tags"
	runColumns      = "r.flow_id, r.run_number, r.run_id, r.user_name, r.ts_epoch, r.tags, r.system_tags, r.last_heartbeat_ts"
	stepColumns     = "s.flow_id, s.run_number, s.run_id, s.step_name, s.user_name, s.ts_epoch"
	taskColumns     = "t.flow_id, t.run_number, t.run_id, t.step_name, t.task_id, t.task_name, t.user_name, t.ts_epoch, t.last_heartbeat_ts"
	metadataColumns = "m.flow_id, m.run_number, m.run_id, m.step_name, m.task_id, m.task_name, m.id, m.field_name, m.value, " +
		"m.type, m.user_name, m.ts_epoch, m.tags, m.system_tags"
	artifactColumns = "a.flow_id, a.run_number, a.run_id, a.step_name, a.task_id, a.task_name, a.name, a.location, a.ds_type, " +
		"a.sha, a.type, a.content_type, a.user_name, a.attempt_id, a.ts_epoch"
	runTags = ", r.tags, r.system_tags"
)

// raw has pgx put a column of JSON into j as it is.
func raw(j *tables.JSON) *[]byte { return (*[]byte)(j) }

var null = []byte("null")

// tidy makes JSON's null, which Metaflow's service stores where it was sent none, the same as SQL's.
func tidy(lists ...*tables.JSON) {
	for _, j := range lists {
		if bytes.Equal(*j, null) {
			*j = nil
		}
	}
}

func scanFlow(r pgx.Row, f *tables.Flow) error {
	err := r.Scan(&f.FlowID, &f.UserName, &f.TsEpoch, raw(&f.Tags), raw(&f.SystemTags))
	tidy(&f.Tags, &f.SystemTags)
	return err
}

func scanRun(r pgx.Row, run *tables.Run, more ...any) error {
	into := [12]any{
		&run.FlowID, &run.RunNumber, &run.RunID, &run.UserName, &run.TsEpoch, raw(&run.Tags), raw(&run.SystemTags), &run.LastHeartbeat,
	}
	err := r.Scan(append(into[:8], more...)...)
	tidy(&run.Tags, &run.SystemTags)
	return err
}

func scanStep(r pgx.Row, s *tables.Step, more ...any) error {
	into := [8]any{&s.FlowID, &s.RunNumber, &s.RunID, &s.StepName, &s.UserName, &s.TsEpoch}
	return r.Scan(append(into[:6], more...)...)
}

func scanTask(r pgx.Row, t *tables.Task, more ...any) error {
	into := [11]any{
		&t.FlowID, &t.RunNumber, &t.RunID, &t.StepName, &t.TaskID, &t.TaskName, &t.UserName, &t.TsEpoch, &t.LastHeartbeat,
	}
	return r.Scan(append(into[:9], more...)...)
}

func scanMetadatum(r pgx.Row, m *tables.Metadatum) error {
	err := r.Scan(&m.FlowID, &m.RunNumber, &m.RunID, &m.StepName, &m.TaskID, &m.TaskName, &m.ID, &m.FieldName, &m.Value,
		&m.Type, &m.UserName, &m.TsEpoch, raw(&m.Tags), raw(&m.SystemTags))
	tidy(&m.Tags, &m.SystemTags)
	return err
}

func scanArtifact(r pgx.Row, a *tables.Artifact, more ...any) error {
	into := [17]any{
		&a.FlowID, &a.RunNumber, &a.RunID, &a.StepName, &a.TaskID, &a.TaskName, &a.Name, &a.Location, &a.DsType,
		&a.Sha, &a.Type, &a.ContentType, &a.UserName, &a.AttemptID, &a.TsEpoch,
	}
	return r.Scan(append(into[:15], more...)...)
}

// collect scans all rows.
func collect[R any](rows pgx.Rows, scan func(pgx.Row, *R) error) ([]R, error) {
	defer rows.Close()
	var list []R
	for rows.Next() {
		var r R
		if err := scan(rows, &r); err != nil {
			return nil, err
		}
		list = append(list, r)
	}
	return list, rows.Err()
}

// query lists the rows of a statement.
func query[R any](ctx context.Context, s *Store, doing, text string, args []any, scan func(pgx.Row, *R) error) ([]R, error) {
	var list []R
	err := s.read(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		rows, err := c.Query(ctx, text, args...)
		if err != nil {
			return err
		}
		list, err = collect(rows, scan)
		return err
	})
	if err != nil {
		return nil, err
	}
	return list, nil
}

// tagsOfRun are the texts that select a run's tags.
var tagsOfRun = variants(ofRun, func(k *key) string {
	return "SELECT r.tags, r.system_tags FROM runs_v3 r WHERE " + k.where("r", ofRun)
})

// below lists rows of a run along with the tags of the run, which each of them shows, in one round trip and without
// sending the tags once a row.
func below[R any](ctx context.Context, s *Store, doing, text string, k *key, args []any,
	scan func(pgx.Row, *R) error, show func(r *R, tags, system tables.JSON),
) ([]R, error) {
	if len(args) == int(ofTask) && len(k.args) == len(args) { // of one task: few rows
		list, err := belowTask(ctx, s, text, k, scan, show)
		if err == nil {
			return list, nil
		} else if !alone(err) {
			return nil, s.describe(ctx, doing, err)
		}
	}
	var list []R
	var tags, system tables.JSON
	err := s.read(ctx, doing, func(ctx context.Context, c *pgx.Conn) error {
		list, tags, system = nil, nil, nil
		var b pgx.Batch
		if n, ok := k.args[1].(int64); !ok || n <= maxRun { // a greater one would be refused, though the list is just empty
			b.Queue(tagsOfRun.of(&key{run: k.run}), k.args[:2]...).QueryRow(func(r pgx.Row) error {
				err := r.Scan(raw(&tags), raw(&system))
				if err == pgx.ErrNoRows { //nolint:errorlint // as the driver returns it
					return nil
				}
				return err
			})
		}
		b.Queue(text, args...).Query(func(rows pgx.Rows) error {
			var err error
			list, err = collect(rows, scan)
			return err
		})
		return c.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return nil, err
	}
	tidy(&tags, &system)
	for i := range list {
		show(&list[i], tags, system)
	}
	return list, nil
}

// belowTask is below for a task's rows, as a lookup.
func belowTask[R any](ctx context.Context, s *Store, text string, k *key,
	scan func(pgx.Row, *R) error, show func(r *R, tags, system tables.JSON),
) ([]R, error) {
	var list []R
	var tags, system tables.JSON
	l := &lookup{}
	add := func(text string, args []any) {
		l.text[l.statements], l.args[l.statements] = text, args
		l.statements++
	}
	add(text, k.args)
	if n, ok := k.args[1].(int64); !ok || n <= maxRun {
		add(tagsOfRun.of(&key{run: k.run}), k.args[:2])
	}
	l.row = func(i int, r *rawRow) error {
		if i == 1 {
			return r.Scan(raw(&tags), raw(&system))
		}
		if list == nil {
			list = make([]R, 0, 16)
		}
		list = append(list, *new(R))
		return scan(r, &list[len(list)-1])
	}
	if err := s.lookups.do(ctx, l); err != nil {
		return nil, err
	}
	tidy(&tags, &system)
	for i := range list {
		show(&list[i], tags, system)
	}
	return list, nil
}
