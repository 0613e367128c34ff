package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/mf-run/mf/metadata"
	"github.com/mf-run/mf/metadata/tables"
)

// Tables shows the database row by row, as Metaflow's service does. What differs from Postgres:
//
//   - A run's number is the time in microseconds, or the next that is free in its flow; a task's number is unique in its
//     run, from 1. Objects that are named through here have such a number too, not a hidden negative one.
//   - Steps of numbered runs have no run_id.
//   - Of columns of JSON, filters only know eq, ne and null.
//   - Tags are stored if they are still what they were when they were read: so a mutation that meets another conflicts
//     as under Postgres, and none is lost.
type Tables struct{ s *Store }

var _ tables.DB = (*Tables)(nil)

// Tables returns the database's rows. It is closed with the Store.
func (s *Store) Tables() *Tables { return &Tables{s} }

// Ping implements tables.DB.
func (t *Tables) Ping(ctx context.Context) error {
	var n int
	if err := t.s.readRow(ctx, "SELECT count(*) FROM mf_schema", nil, &n); err != nil {
		return t.s.describe("asking the database", err)
	}
	return nil
}

// prepared returns a reading statement of a constant text, which is kept.
func (s *Store) prepared(ctx context.Context, text string) (*sql.Stmt, error) {
	if st, ok := s.reads.Load(text); ok {
		return st.(*sql.Stmt), nil //nolint:forcetypeassert // the map holds nothing else
	}
	st, err := s.readers.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if first, was := s.reads.LoadOrStore(text, st); was {
		return first.(*sql.Stmt), st.Close() //nolint:forcetypeassert // the map holds nothing else
	}
	return st, nil
}

// readRow scans the one row of a constant query; sql.ErrNoRows if there is none.
func (s *Store) readRow(ctx context.Context, text string, args []any, into ...any) error {
	st, err := s.prepared(ctx, text)
	if err != nil {
		return err
	}
	return st.QueryRowContext(ctx, args...).Scan(into...)
}

// list calls scan with each row of a constant query until it wants no more.
func (s *Store) list(ctx context.Context, text string, args []any, scan func(row) (more bool, err error)) (err error) {
	st, err := s.prepared(ctx, text)
	if err != nil {
		return err
	}
	rows, err := st.QueryContext(ctx, args...)
	if err != nil {
		return err
	}
	defer func() {
		if e := rows.Close(); err == nil {
			err = e
		}
	}()
	for rows.Next() {
		if more, err := scan(rows); err != nil || !more {
			return err
		}
	}
	return rows.Err()
}

// ask is Store.readRow or writer.queryRow.
type ask func(ctx context.Context, text string, args []any, into ...any) error

// parent is a run that rows belong to.
type parent struct {
	flow   string
	number int64
	name   sql.NullString
	tags   [2]sql.NullString
}

// runID returns the column run_id of rows below.
func (p *parent) runID() *string { return optional(p.name) }

// lookup returns the column and the value by which the text of a path is looked up. number and name are columns.
func lookup(text, number, name string) (column string, value any, err error) {
	if !tables.IsNumber(text) {
		return name, text, nil
	}
	n, err := tables.ParseNumber(text)
	return number, n, err
}

// findRun finds the run of a key; metadata.ErrNotFound if it is absent.
func findRun(ctx context.Context, get ask, k tables.Key) (*parent, error) {
	column, value, err := lookup(k.Run, "run_number", "run_id")
	if err != nil {
		return nil, err
	}
	p := &parent{flow: k.Flow}
	err = get(ctx, "SELECT run_number, run_id, tags, system_tags FROM runs_v3 WHERE flow_id = ? AND "+column+" = ?",
		[]any{k.Flow, value}, &p.number, &p.name, &p.tags[0], &p.tags[1])
	if errors.Is(err, sql.ErrNoRows) {
		err = metadata.ErrNotFound
	}
	return p, err
}

// findTask finds the task of a key in its run; metadata.ErrNotFound if it is absent.
func findTask(ctx context.Context, get ask, p *parent, k tables.Key) (number int64, name sql.NullString, err error) {
	column, value, err := lookup(k.Task, "task_id", "task_name")
	if err != nil {
		return 0, name, err
	}
	err = get(ctx, "SELECT task_id, task_name FROM tasks_v3 WHERE flow_id = ? AND run_number = ? AND step_name = ? AND "+
		column+" = ?", []any{k.Flow, p.number, k.Step, value}, &number, &name)
	if errors.Is(err, sql.ErrNoRows) {
		err = metadata.ErrNotFound
	}
	return number, name, err
}

// needParent makes a missing parent of new rows the error that says so.
func needParent(err error) error {
	if errors.Is(err, metadata.ErrNotFound) {
		return tables.ErrNoParent
	}
	return err
}

func optional(s sql.NullString) *string {
	if !s.Valid {
		return nil
	}
	return &s.String
}

// column returns a value to store; a nil pointer is null.
func column[T any](p *T) any {
	if p == nil {
		return nil
	}
	return *p
}

func jsonOf(s sql.NullString) tables.JSON {
	if !s.Valid {
		return nil
	}
	return tables.JSON(s.String)
}

func (p *parent) jsonTags() (user, system tables.JSON) { return jsonOf(p.tags[0]), jsonOf(p.tags[1]) }

// pageEnd returns the clause that cuts a page, and its arguments.
func pageEnd(p *tables.Page, args []any) (string, []any) {
	if p == nil {
		return "", args
	}
	return " LIMIT ?", append(args, p.Limit+1)
}

const flowColumns = "SELECT flow_id, user_name, ts_epoch, tags, system_tags FROM flows_v3"

func scanFlow(r row) (tables.Flow, error) {
	var f tables.Flow
	var user sql.NullString
	var tags [2]sql.NullString
	err := r.Scan(&f.FlowID, &user, &f.TsEpoch, &tags[0], &tags[1])
	f.UserName, f.Tags, f.SystemTags = optional(user), jsonOf(tags[0]), jsonOf(tags[1])
	return f, err
}

// CreateFlow implements tables.DB.
func (t *Tables) CreateFlow(ctx context.Context, f tables.Flow) (tables.Flow, error) {
	if err := errors.Join(checkNames(f.FlowID), checkOptional(f.UserName)); err != nil {
		return tables.Flow{}, err
	}
	tags, err := checkAll(f.Tags, f.SystemTags)
	if err != nil {
		return tables.Flow{}, err
	}
	f.TsEpoch = t.s.now().UnixMilli()
	err = t.s.write(ctx, "creating a flow", func(w *writer) error {
		_, err := w.exec(ctx, "INSERT INTO flows_v3 (flow_id, user_name, ts_epoch, tags, system_tags) VALUES (?, ?, ?, ?, ?)",
			f.FlowID, column(f.UserName), f.TsEpoch, tags[0], tags[1])
		return flowsConstraint.refused(err)
	})
	if err != nil {
		return tables.Flow{}, err
	}
	return f, nil
}

// Flow implements tables.DB.
func (t *Tables) Flow(ctx context.Context, flow string) (tables.Flow, error) {
	var found tables.Flow
	err := t.one(ctx, "reading a flow", flowColumns+" WHERE flow_id = ?", []any{flow}, func(r row) (err error) {
		found, err = scanFlow(r)
		return err
	})
	return found, err
}

// one scans a single row; metadata.ErrNotFound if there is none.
func (t *Tables) one(ctx context.Context, doing, text string, args []any, scan func(row) error) error {
	found := false
	err := t.s.list(ctx, text, args, func(r row) (bool, error) {
		found = true
		return false, scan(r)
	})
	if err == nil && !found {
		err = metadata.ErrNotFound
	}
	if err != nil {
		return t.s.describe(doing, err)
	}
	return nil
}

// all lists rows.
func all[R any](ctx context.Context, t *Tables, doing, text string, args []any, scan func(row) (R, error)) ([]R, error) {
	var list []R
	err := t.s.list(ctx, text, args, func(r row) (bool, error) {
		one, err := scan(r)
		list = append(list, one)
		return true, err
	})
	if err != nil {
		return nil, t.s.describe(doing, err)
	}
	return list, nil
}

// Flows implements tables.DB.
func (t *Tables) Flows(ctx context.Context, page *tables.Page) ([]tables.Flow, error) {
	text, args := flowColumns, []any(nil)
	if page != nil && page.After != nil {
		text, args = text+" WHERE (ts_epoch, flow_id) < (?, ?)", []any{page.After.TsEpoch, page.After.Name}
	}
	end, args := pageEnd(page, args)
	return all(ctx, t, "listing flows", text+" ORDER BY ts_epoch DESC, flow_id DESC"+end, args, scanFlow)
}

// MutateTags implements tables.DB.
func (t *Tables) MutateTags(ctx context.Context, k tables.Key, add, remove []string) ([]string, error) {
	tags, err := t.mutateTags(ctx, k, add, remove)
	if err != nil {
		return nil, fmt.Errorf("changing the tags of a run: %w", err)
	}
	return tags, nil
}

func (t *Tables) mutateTags(ctx context.Context, k tables.Key, add, remove []string) ([]string, error) {
	p, err := findRun(ctx, t.s.readRow, k)
	if err != nil {
		return nil, err
	}
	if !p.tags[0].Valid || !p.tags[1].Valid {
		return nil, tables.ErrNullTags
	}
	user, err := parseTags(p.tags[0])
	if err != nil {
		return nil, err
	}
	system, err := parseTags(p.tags[1])
	if err != nil {
		return nil, err
	}
	tags, changed, err := changeTags(user, system, add, remove)
	if err != nil || !changed {
		return tags, err
	}
	stored, err := json.Marshal(tags)
	if err != nil {
		return nil, err
	}
	return tags, t.s.write(ctx, "writing them", func(w *writer) error {
		res, err := w.exec(ctx, `UPDATE runs_v3 SET tags = ?
			WHERE flow_id = ? AND run_number = ? AND tags IS ? AND system_tags IS ?`,
			string(stored), p.flow, p.number, p.tags[0].String, p.tags[1].String)
		if err != nil {
			return err
		}
		if n, err := res.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return tables.ErrConflict
	})
}

// changeTags applies the service's rules: removal before addition, system tags neither removed nor added.
func changeTags(user, system, add, remove []string) (tags []string, changed bool, err error) {
	for _, tag := range remove {
		if slices.Contains(system, tag) {
			return nil, false, &tables.SystemTagError{Tag: tag}
		}
	}
	tags = make([]string, 0, len(user)+len(add))
	have := make(map[string]bool, len(user)+len(add))
	drop := make(map[string]bool, len(remove))
	for _, tag := range remove {
		drop[tag] = true
	}
	for _, tag := range add {
		if err := checkText(tag); err != nil {
			return nil, false, err
		}
		delete(drop, tag)
	}
	for _, tag := range user {
		if have[tag] || drop[tag] {
			changed = changed || drop[tag]
			continue
		}
		have[tag], tags = true, append(tags, tag)
	}
	for _, tag := range add {
		if have[tag] || slices.Contains(system, tag) {
			continue
		}
		have[tag], tags, changed = true, append(tags, tag), true
	}
	return tags, changed, nil
}
