package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

const tableRunColumns = `SELECT r.flow_id, r.run_number, r.run_id, r.user_name, r.ts_epoch, r.tags, r.system_tags,
	r.last_heartbeat_ts`

func scanTableRun(r row, more ...any) (tables.Run, error) {
	var run tables.Run
	var name, user, tags, system sql.NullString
	var beat sql.NullInt64
	err := r.Scan(append([]any{&run.FlowID, &run.RunNumber, &name, &user, &run.TsEpoch, &tags, &system, &beat}, more...)...)
	run.RunID, run.UserName, run.Tags, run.SystemTags = optional(name), optional(user), jsonOf(tags), jsonOf(system)
	run.LastHeartbeat = beatOf(beat)
	return run, err
}

func beatOf(n sql.NullInt64) *int64 {
	if !n.Valid {
		return nil
	}
	return &n.Int64
}

// CreateRun implements tables.DB.
func (t *Tables) CreateRun(ctx context.Context, r tables.Run) (tables.Run, error) {
	if err := errors.Join(checkNames(r.FlowID), checkOptional(r.RunID, r.UserName)); err != nil {
		return tables.Run{}, err
	}
	tags, err := checkAll(r.Tags, r.SystemTags)
	if err != nil {
		return tables.Run{}, err
	}
	now := t.s.now()
	r.TsEpoch, r.Status = now.UnixMilli(), ""
	err = t.s.write(ctx, "creating a run", func(w *writer) error {
		for r.RunNumber = now.UnixMicro(); ; r.RunNumber++ {
			res, err := w.exec(ctx, `INSERT INTO runs_v3
				(flow_id, run_number, user_name, ts_epoch, tags, system_tags, run_id, last_heartbeat_ts)
				VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (flow_id, run_number) DO NOTHING`,
				r.FlowID, r.RunNumber, column(r.UserName), r.TsEpoch, tags[0], tags[1], column(r.RunID), column(r.LastHeartbeat))
			if err != nil {
				return runsConstraint.refused(err)
			}
			if n, err := res.RowsAffected(); err != nil || n == 1 {
				return err
			}
		}
	})
	if err != nil {
		return tables.Run{}, err
	}
	return r, nil
}

// Run implements tables.DB.
func (t *Tables) Run(ctx context.Context, k tables.Key) (tables.Run, error) {
	var found tables.Run
	column, value, err := lookup(k.Run, "run_number", "run_id")
	if err != nil {
		return found, t.s.describe("reading a run", err)
	}
	err = t.one(ctx, "reading a run", tableRunColumns+" FROM runs_v3 r WHERE r.flow_id = ? AND r."+column+" = ?",
		[]any{k.Flow, value}, func(r row) (err error) {
			found, err = scanTableRun(r)
			return err
		})
	return found, err
}

// outcomeColumns are, of a run, the newest outcome of its last step, when that was, and when its newest attempt began.
const outcomeColumns = `,
	(SELECT m.value FROM metadata_v3 m WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number AND m.step_name = 'end'
		AND m.field_name = 'attempt_ok' ORDER BY m.ts_epoch DESC, m.id DESC LIMIT 1),
	(SELECT max(m.ts_epoch) FROM metadata_v3 m WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number
		AND m.step_name = 'end' AND m.field_name = 'attempt_ok'),
	(SELECT max(m.ts_epoch) FROM metadata_v3 m WHERE m.flow_id = r.flow_id AND m.run_number = r.run_number
		AND m.step_name = 'end' AND m.field_name = 'attempt')`

// outcome is what those columns hold.
type outcome struct {
	ok         sql.NullString
	at, newest sql.NullInt64
}

// status derives how a run stands, as Metaflow's service does; an outcome that is no boolean is as none.
func (o *outcome) status(run *tables.Run, now, inactive int64) string {
	ok, known := parseBool(o.ok.String)
	switch {
	case known && ok:
		return "completed"
	case known && o.newest.Int64 > o.at.Int64:
		return "running"
	case known || run.LastHeartbeat == nil:
		return "failed"
	}
	if age := now - *run.LastHeartbeat; age <= inactive && -age <= inactive {
		return "running"
	}
	return "failed"
}

// Runs implements tables.DB.
func (t *Tables) Runs(ctx context.Context, flow string, q tables.Query, inactive int64) ([]tables.Run, error) {
	fits, err := predicate(q.Filters, runFields)
	if err != nil {
		return nil, t.s.describe("listing runs", err)
	}
	tagged, err := tagPredicate(q.Tags)
	if err != nil {
		return nil, t.s.describe("listing runs", err)
	}
	derived := false
	for _, f := range q.Filters {
		derived = derived || f.Field == "status"
	}
	text := tableRunColumns
	if derived {
		text += outcomeColumns
	}
	text, args := text+" FROM runs_v3 r WHERE true", []any(nil)
	if flow != "" {
		text, args = text+" AND r.flow_id = ?", append(args, flow)
	}
	if q.Page != nil && q.Page.After != nil {
		text += " AND (r.ts_epoch, r.run_number) < (?, ?)"
		args = append(args, q.Page.After.TsEpoch, q.Page.After.ID)
	}
	text += " ORDER BY r.ts_epoch DESC, r.run_number DESC"
	now := t.s.now().Unix()
	return filtered(ctx, t, "listing runs", text, args, q.Page, func(r row) (run tables.Run, ok bool, err error) {
		if derived {
			var o outcome
			run, err = scanTableRun(r, &o.ok, &o.at, &o.newest)
			run.Status = o.status(&run, now, inactive)
		} else {
			run, err = scanTableRun(r)
		}
		return run, err == nil && fits(&run) && tagged(&run), err
	})
}

// filtered lists rows that fit, until a page is full. The whole of them passes through here: SQLite has neither Postgres'
// comparison of texts nor its lists, and a page that is not filtered stops at its end.
func filtered[R any](ctx context.Context, t *Tables, doing, text string, args []any, page *tables.Page,
	scan func(row) (one R, fits bool, err error),
) ([]R, error) {
	var list []R
	err := t.s.list(ctx, text, args, func(r row) (bool, error) {
		one, fits, err := scan(r)
		if fits {
			list = append(list, one)
		}
		return page == nil || len(list) <= page.Limit, err
	})
	if err != nil {
		return nil, t.s.describe(doing, err)
	}
	return list, nil
}

// beatAge is how old a heartbeat must be to be set anew, in seconds.
const beatAge = 10

func (w *writer) beatRun(ctx context.Context, p *parent, now int64) (bool, error) {
	return changed(w.exec(ctx, `UPDATE runs_v3 SET last_heartbeat_ts = ? WHERE flow_id = ? AND run_number = ?
		AND (last_heartbeat_ts IS NULL OR last_heartbeat_ts <= ?)`, now, p.flow, p.number, now-beatAge))
}

func changed(res sql.Result, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}

// HeartbeatRun implements tables.DB.
func (t *Tables) HeartbeatRun(ctx context.Context, k tables.Key, now int64) (done bool, err error) {
	err = t.s.write(ctx, "setting a heartbeat", func(w *writer) error {
		p, err := findRun(ctx, w.queryRow, k)
		if err == nil {
			done, err = w.beatRun(ctx, p, now)
		}
		return err
	})
	return done, unlessMissing(err)
}

// HeartbeatTask implements tables.DB.
func (t *Tables) HeartbeatTask(ctx context.Context, k tables.Key, now int64) (done bool, err error) {
	err = t.s.write(ctx, "setting a heartbeat", func(w *writer) error {
		p, err := findRun(ctx, w.queryRow, k)
		if err != nil {
			return err
		}
		if _, err := w.beatRun(ctx, p, now); err != nil {
			return err
		}
		done = false
		task, _, err := findTask(ctx, w.queryRow, p, k)
		if err != nil {
			return unlessMissing(err)
		}
		done, err = changed(w.exec(ctx, `UPDATE tasks_v3 SET last_heartbeat_ts = ?
			WHERE flow_id = ? AND run_number = ? AND step_name = ? AND task_id = ?
			AND (last_heartbeat_ts IS NULL OR last_heartbeat_ts <= ?)`, now, p.flow, p.number, k.Step, task, now-beatAge))
		return err
	})
	return done, unlessMissing(err)
}

// unlessMissing drops the error of what is not there.
func unlessMissing(err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return nil
	}
	return err
}
