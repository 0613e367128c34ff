package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"regexp"

	"github.com/mf-run/mf/metadata/tables"
)

// CreateStep implements tables.DB.
func (t *Tables) CreateStep(ctx context.Context, k tables.Key, st tables.Step) (tables.Step, error) {
	name := cmp.Or(st.StepName, k.Step)
	if err := errors.Join(checkNames(name), checkOptional(st.UserName)); err != nil {
		return tables.Step{}, err
	}
	row := tables.Step{FlowID: k.Flow, StepName: name, UserName: st.UserName, TsEpoch: t.s.now().UnixMilli()}
	err := t.s.write(ctx, "creating a step", func(w *writer) error {
		p, err := findRun(ctx, w.queryRow, k)
		if err != nil {
			return needParent(err)
		}
		row.RunNumber, row.RunID = p.number, p.runID()
		row.Tags, row.SystemTags = p.jsonTags()
		_, err = w.exec(ctx, `INSERT INTO steps_v3 (flow_id, run_number, run_id, step_name, user_name, ts_epoch)
			VALUES (?, ?, ?, ?, ?, ?)`, p.flow, p.number, nullable(p.name), name, column(st.UserName), row.TsEpoch)
		return stepsConstraint.refused(err)
	})
	if err != nil {
		return tables.Step{}, err
	}
	return row, nil
}

func scanTableStep(r row, p *parent) (tables.Step, error) {
	s := tables.Step{FlowID: p.flow, RunNumber: p.number, RunID: p.runID()}
	s.Tags, s.SystemTags = p.jsonTags()
	var user sql.NullString
	err := r.Scan(&s.StepName, &user, &s.TsEpoch)
	s.UserName = optional(user)
	return s, err
}

const stepColumns = "SELECT step_name, user_name, ts_epoch FROM steps_v3 WHERE flow_id = ? AND run_number = ?"

// Step implements tables.DB.
func (t *Tables) Step(ctx context.Context, k tables.Key) (tables.Step, error) {
	const doing = "reading a step"
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return tables.Step{}, t.s.describe(doing, err)
	}
	var found tables.Step
	err = t.one(ctx, doing, stepColumns+" AND step_name = ?", []any{p.flow, p.number, k.Step}, func(r row) (err error) {
		found, err = scanTableStep(r, p)
		return err
	})
	return found, err
}

// Steps implements tables.DB.
func (t *Tables) Steps(ctx context.Context, k tables.Key) ([]tables.Step, error) {
	const doing = "listing steps"
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return nil, t.none(doing, err)
	}
	return all(ctx, t, doing, stepColumns+" ORDER BY ts_epoch DESC, step_name DESC", []any{p.flow, p.number},
		func(r row) (tables.Step, error) { return scanTableStep(r, p) })
}

// none is the error of a list below what may be missing: nothing is below it then.
func (t *Tables) none(doing string, err error) error {
	if err = unlessMissing(err); err != nil {
		return t.s.describe(doing, err)
	}
	return nil
}

// CreateTask implements tables.DB.
func (t *Tables) CreateTask(ctx context.Context, k tables.Key, task tables.Task) (tables.Task, error) {
	if err := checkOptional(task.TaskName, task.UserName); err != nil {
		return tables.Task{}, err
	}
	row := tables.Task{
		FlowID: k.Flow, StepName: k.Step, TaskName: task.TaskName, UserName: task.UserName, LastHeartbeat: task.LastHeartbeat,
		TsEpoch: t.s.now().UnixMilli(),
	}
	err := t.s.write(ctx, "creating a task", func(w *writer) error {
		p, err := findRun(ctx, w.queryRow, k)
		if err != nil {
			return needParent(err)
		}
		row.RunNumber, row.RunID = p.number, p.runID()
		row.Tags, row.SystemTags = p.jsonTags()
		err = w.queryRow(ctx, "SELECT max(coalesce(max(task_id), 0), 0) + 1 FROM tasks_v3 WHERE flow_id = ? AND run_number = ?",
			[]any{p.flow, p.number}, &row.TaskID)
		if err != nil {
			return err
		}
		_, err = w.exec(ctx, `INSERT INTO tasks_v3
			(flow_id, run_number, run_id, step_name, task_id, task_name, user_name, ts_epoch, last_heartbeat_ts)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`, p.flow, p.number, nullable(p.name), k.Step, row.TaskID, column(task.TaskName),
			column(task.UserName), row.TsEpoch, column(task.LastHeartbeat))
		if err == nil && task.LastHeartbeat != nil {
			_, err = w.beatRun(ctx, p, *task.LastHeartbeat)
		}
		return tasksConstraint.refused(err)
	})
	if err != nil {
		return tables.Task{}, err
	}
	return row, nil
}

const taskColumns = `SELECT step_name, task_id, task_name, user_name, ts_epoch, last_heartbeat_ts FROM tasks_v3
	WHERE flow_id = ? AND run_number = ? AND step_name = ?`

func scanTableTask(r row, p *parent) (tables.Task, error) {
	task := tables.Task{FlowID: p.flow, RunNumber: p.number, RunID: p.runID()}
	task.Tags, task.SystemTags = p.jsonTags()
	var name, user sql.NullString
	var beat sql.NullInt64
	err := r.Scan(&task.StepName, &task.TaskID, &name, &user, &task.TsEpoch, &beat)
	task.TaskName, task.UserName, task.LastHeartbeat = optional(name), optional(user), beatOf(beat)
	return task, err
}

// Task implements tables.DB.
func (t *Tables) Task(ctx context.Context, k tables.Key) (tables.Task, error) {
	const doing = "reading a task"
	column, value, err := lookup(k.Task, "task_id", "task_name")
	if err != nil {
		return tables.Task{}, t.s.describe(doing, err)
	}
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return tables.Task{}, t.s.describe(doing, err)
	}
	var found tables.Task
	err = t.one(ctx, doing, taskColumns+" AND "+column+" = ?", []any{p.flow, p.number, k.Step, value},
		func(r row) (err error) {
			found, err = scanTableTask(r, p)
			return err
		})
	return found, err
}

// Tasks implements tables.DB.
func (t *Tables) Tasks(ctx context.Context, k tables.Key, q tables.Query) ([]tables.Task, error) {
	const doing = "listing tasks"
	fits, err := predicate(q.Filters, taskFields)
	if err != nil {
		return nil, t.s.describe(doing, err)
	}
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return nil, t.none(doing, err)
	}
	text, args := taskColumns, []any{p.flow, p.number, k.Step}
	if q.Page != nil && q.Page.After != nil {
		text, args = text+" AND (ts_epoch, task_id) < (?, ?)", append(args, q.Page.After.TsEpoch, q.Page.After.ID)
	}
	return filtered(ctx, t, doing, text+" ORDER BY ts_epoch DESC, task_id DESC", args, q.Page,
		func(r row) (tables.Task, bool, error) {
			task, err := scanTableTask(r, p)
			return task, err == nil && fits(&task), err
		})
}

// FilteredTasks implements tables.DB. The regular expression is Go's; what it has in common with Postgres' is all that
// Metaflow's client makes.
func (t *Tables) FilteredTasks(ctx context.Context, k tables.Key, field, pattern *string) ([]tables.Task, error) {
	const doing = "listing tasks by their metadata"
	match := func(string) bool { return true }
	value := "''"
	if pattern != nil {
		if err := checkText(*pattern); err != nil {
			return nil, t.s.describe(doing, err)
		}
		// A newline is a character like any other to Postgres.
		re, err := regexp.Compile("(?s)" + *pattern)
		if err != nil {
			return nil, t.s.describe(doing, refuse(badRegexp, "invalid regular expression: %v", err))
		}
		match, value = re.MatchString, "value"
	}
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return nil, t.none(doing, err)
	}
	text := "SELECT task_id, task_name, " + value + " FROM metadata_v3 WHERE flow_id = ? AND run_number = ? AND step_name = ?"
	args := []any{p.flow, p.number, k.Step}
	if field != nil {
		text, args = text+" AND field_name = ?", append(args, *field)
	}
	var list []tables.Task
	err = t.s.list(ctx, text+" ORDER BY task_id", args, func(r row) (bool, error) {
		task := tables.Task{FlowID: p.flow, RunNumber: p.number, RunID: p.runID(), StepName: k.Step}
		var name sql.NullString
		var value string
		if err := r.Scan(&task.TaskID, &name, &value); err != nil {
			return false, err
		}
		task.TaskName = optional(name)
		if n := len(list); n > 0 && list[n-1].TaskID == task.TaskID || !match(value) {
			return true, nil
		}
		list = append(list, task)
		return true, nil
	})
	if err != nil {
		return nil, t.s.describe(doing, err)
	}
	return list, nil
}
