package postgres

import (
	"strconv"
)

// runNumber finds the number of the run that $1 (flow), $2 (its number, or null) and $3 (its text) name. A number is
// never that of a run with a name; whether it has one is asked in a way that no index serves, lest that be taken for all
// runs without.
const runNumber = `coalesce(
	(SELECT run_number FROM runs_v3 WHERE flow_id = $1 AND run_number = $2::integer AND run_id || '' IS NULL),
	(SELECT run_number FROM runs_v3 WHERE flow_id = $1 AND run_id = $3::text))`

// runRow is a query with at most that one run.
const runRow = "SELECT r.run_number, r.run_id FROM runs_v3 r WHERE r.flow_id = $1 AND r.run_number = " + runNumber

// taskNumber finds the number of a task of the run r, by expressions for its step, its number or null, and its text.
func taskNumber(run, step, number, text string) string {
	return `coalesce(
		(SELECT task_id FROM tasks_v3 WHERE task_id = ` + number + ` AND flow_id IS NOT DISTINCT FROM $1
			AND run_number IS NOT DISTINCT FROM ` + run + ` AND step_name IS NOT DISTINCT FROM ` + step + ` AND task_name IS NULL),
		(SELECT task_id FROM tasks_v3 WHERE flow_id = $1 AND run_number = ` + run + ` AND step_name = ` + step + `
			AND task_name = ` + text + `))`
}

// runArgs are the parameters $1 to $3 of a run's lookup.
func runArgs(flow, run string) []any {
	args := make([]any, 3, 12)
	args[0], args[2] = flow, run
	if n, ok := parseNumber(run); ok && n <= maxRun {
		args[1] = n
	} else {
		args[1] = (*int64)(nil)
	}
	return args
}

// parseNumber reads a decimal number without sign or leading zeros. Any other text is a name.
func parseNumber(text string) (int64, bool) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return n, true
}

// idText is the id of a run or task as in a pathspec.
func idText(number int64, name *string) string {
	if name != nil {
		return *name
	}
	return strconv.FormatInt(number, 10)
}

// orNull stores an empty text as NULL, as Metaflow's columns have it.
func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func zeroNull(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orZero(n *int64) int64 {
	if n == nil {
		return 0
	}
	return *n
}
