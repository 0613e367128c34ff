package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// listing is a list of rows below a run. An empty step or task is every one.
type listing struct {
	doing, columns, table, order string
	flow, run, step, task        string
}

// text is the statement, of which the parameters $1 to $3 name the run.
func (l *listing) text() (string, []any) {
	b := builder{text: "SELECT " + l.columns + " FROM " + l.table, args: runArgs(l.flow, l.run)}
	b.where("flow_id = $1 AND run_number = " + runNumber)
	if l.step != "" {
		b.where("step_name = " + b.bind(l.step))
	}
	if l.task != "" {
		number := (*int64)(nil)
		if n, ok := parseNumber(l.task); ok {
			number = &n
		}
		step := "step_name"
		if l.step != "" {
			step = "$4"
		}
		b.where("task_id = " + taskNumber(runNumber, step, b.bind(number)+"::bigint", b.bind(l.task)))
	}
	b.text += " ORDER BY " + l.order
	return b.text, b.args
}

const selectRunTags = "SELECT r.tags, r.system_tags FROM runs_v3 r WHERE r.flow_id = $1 AND r.run_number = " + runNumber

// children lists rows of a run, with the run's tags.
func children[R any](ctx context.Context, s *Store, l listing, scan func(r pgx.Row, row *R, id *rowID) error,
	show func(row *R, id string, tags, system []string),
) ([]R, error) {
	text, args := l.text()
	var list []R
	var names []string
	var tags, system []string
	err := s.read(ctx, l.doing, func(ctx context.Context, c *pgx.Conn) error {
		list, names = nil, nil
		var b pgx.Batch
		b.Queue(selectRunTags, args[:3]...).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var err error
				if tags, system, err = scanTags(rows); err != nil {
					return err
				}
			}
			return rows.Err()
		})
		b.Queue(text, args...).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var row R
				var id rowID
				if err := scan(rows, &row, &id); err != nil {
					return err
				}
				list, names = append(list, row), append(names, idText(id.number, id.name))
			}
			return rows.Err()
		})
		return c.SendBatch(ctx, &b).Close()
	})
	if err != nil {
		return nil, err
	}
	for i := range list {
		show(&list[i], names[i], tags, system)
	}
	return list, nil
}

// rowID is a task's number and, if it has one, name.
type rowID struct {
	number int64
	name   *string
}

func scanTags(r pgx.Row) (user, system []string, err error) {
	var userJSON, systemJSON tables.JSON
	if err := r.Scan(raw(&userJSON), raw(&systemJSON)); err != nil {
		return nil, nil, err
	}
	tidy(&userJSON, &systemJSON)
	if user, err = tagList(userJSON); err != nil {
		return nil, nil, err
	}
	system, err = tagList(systemJSON)
	return user, system, err
}

// Tasks implements metadata.Reader.
func (s *Store) Tasks(ctx context.Context, flow, run, step string) ([]metadata.Task, error) {
	l := listing{
		doing: "listing tasks", columns: "step_name, task_id, task_name, coalesce(user_name, ''), ts_epoch, coalesce(last_heartbeat_ts, 0)",
		table: "tasks_v3", order: "ts_epoch DESC, task_id DESC", flow: flow, run: run, step: step,
	}
	return children(ctx, s, l,
		func(r pgx.Row, t *metadata.Task, id *rowID) error {
			return r.Scan(&t.StepName, &id.number, &id.name, &t.UserName, &t.TsEpoch, &t.LastHeartbeat)
		},
		func(t *metadata.Task, id string, tags, system []string) {
			t.FlowID, t.RunID, t.TaskID, t.Tags, t.SystemTags = flow, run, id, tags, system
		})
}

// Metadata implements metadata.Reader.
func (s *Store) Metadata(ctx context.Context, flow, run, step, task string) ([]metadata.Metadatum, error) {
	l := listing{
		doing: "listing metadata", columns: "step_name, task_id, task_name, field_name, value::text, type, coalesce(user_name, ''), ts_epoch, tags",
		table: "metadata_v3", order: "ts_epoch, id", flow: flow, run: run, step: step, task: task,
	}
	return children(ctx, s, l,
		func(r pgx.Row, m *metadata.Metadatum, id *rowID) error {
			var tags tables.JSON
			err := r.Scan(&m.StepName, &id.number, &id.name, &m.FieldName, &m.Value, &m.Type, &m.UserName, &m.TsEpoch, raw(&tags))
			if err != nil {
				return err
			}
			tidy(&tags)
			m.Tags, err = tagList(tags)
			return err
		},
		func(m *metadata.Metadatum, id string, _, _ []string) { m.FlowID, m.RunID, m.TaskID = flow, run, id })
}

// Artifacts implements metadata.Reader.
func (s *Store) Artifacts(ctx context.Context, flow, run, step, task string) ([]metadata.Artifact, error) {
	l := listing{
		doing: "listing artifacts", columns: "step_name, task_id, task_name, attempt_id, name, location, ds_type, coalesce(sha, ''), " +
			"coalesce(type, ''), coalesce(content_type, ''), coalesce(user_name, ''), ts_epoch",
		table: "artifact_v3", order: "step_name, task_id, attempt_id, name", flow: flow, run: run, step: step, task: task,
	}
	return children(ctx, s, l,
		func(r pgx.Row, a *metadata.Artifact, id *rowID) error {
			return r.Scan(&a.StepName, &id.number, &id.name, &a.AttemptID, &a.Name, &a.Location, &a.DsType, &a.Sha, &a.Type,
				&a.ContentType, &a.UserName, &a.TsEpoch)
		},
		func(a *metadata.Artifact, id string, tags, system []string) {
			a.FlowID, a.RunID, a.TaskID, a.Tags, a.SystemTags = flow, run, id, tags, system
		})
}
