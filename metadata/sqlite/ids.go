package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"

	"github.com/mf-run/mf/metadata"
)

// id is the key of a run or task: its number, and its name if it has one.
type id struct {
	number int64
	// name is valid if the object is called by a name; the number is then hidden, and negative.
	name sql.NullString
}

func makeID(number int64, text string, named bool) id {
	if !named {
		text = ""
	}
	return id{number, sql.NullString{String: text, Valid: named}}
}

// text returns the id as in a pathspec.
func (i id) text() string {
	if i.name.Valid {
		return i.name.String
	}
	return strconv.FormatInt(i.number, 10)
}

// parseNumber reads a decimal number without sign or leading zeros. Any other text is a name.
func parseNumber(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return n, true
}

// runID finds the key of an existing run.
func (w *writer) runID(ctx context.Context, flow, run string) (id, error) {
	number, numeric := parseNumber(run)
	var err error
	if numeric {
		err = w.queryRow(ctx, "SELECT run_number FROM runs_v3 WHERE flow_id = ? AND run_number = ?",
			[]any{flow, number}, &number)
	} else {
		err = w.queryRow(ctx, "SELECT run_number FROM runs_v3 WHERE flow_id = ? AND run_id = ?",
			[]any{flow, run}, &number)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return id{}, fmt.Errorf("run %s/%s: %w", flow, run, metadata.ErrNotFound)
	}
	return makeID(number, run, !numeric), err
}

// taskID finds the key of an existing task of a run.
func (w *writer) taskID(ctx context.Context, run id, k taskKey) (id, error) {
	number, numeric := parseNumber(k.task)
	var err error
	if numeric {
		err = w.queryRow(ctx,
			"SELECT task_id FROM tasks_v3 WHERE flow_id = ? AND run_number = ? AND step_name = ? AND task_id = ?",
			[]any{k.flow, run.number, k.step, number}, &number)
	} else {
		err = w.queryRow(ctx,
			"SELECT task_id FROM tasks_v3 WHERE flow_id = ? AND run_number = ? AND step_name = ? AND task_name = ?",
			[]any{k.flow, run.number, k.step, k.task}, &number)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return id{}, fmt.Errorf("task %s/%s/%s/%s: %w", k.flow, k.run, k.step, k.task, metadata.ErrNotFound)
	}
	return makeID(number, k.task, !numeric), err
}
