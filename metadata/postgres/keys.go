package postgres

import (
	"fmt"
	"math"

	"github.com/mf-run/mf/metadata/tables"
)

// key is a tables.Key whose texts are told to be numbers or names. Its values are $1 and on, in the order flow, run, step
// and task, as far as a statement wants them.
type key struct {
	run, task kind
	args      []any
}

// kind says whether rows are looked up by number or by name.
type kind int

const (
	byNumber kind = iota
	byName
)

// parts says how much of a key a statement wants.
type parts int

const (
	ofRun parts = iota + 2
	ofStep
	ofTask
)

// maxRun is the greatest number in the table of runs: its column has 32 bits, those of the other tables 64.
const maxRun = math.MaxInt32

// parse reads a key. runRow says that the run's own row is looked at, whose number has 32 bits.
func parse(k tables.Key, want parts, runRow bool) (key, error) {
	out := key{args: make([]any, 1, 10)}
	out.args[0] = k.Flow
	var err error
	if out.run, out.args, err = numberOrName(out.args, k.Run); err != nil {
		return out, err
	}
	if n, ok := out.args[1].(int64); ok && runRow && n > maxRun {
		return out, &tables.Error{
			Code: "22003", Severity: "ERROR", Message: fmt.Sprintf("value %q is out of range for type integer", k.Run),
		}
	}
	if want >= ofStep {
		out.args = append(out.args, k.Step)
	}
	if want >= ofTask {
		out.task, out.args, err = numberOrName(out.args, k.Task)
	}
	return out, err
}

func numberOrName(args []any, text string) (kind, []any, error) {
	if !tables.IsNumber(text) {
		return byName, append(args, text), nil
	}
	n, err := tables.ParseNumber(text)
	return byNumber, append(args, n), err
}

// scope is the number of parts that a key of a list names.
func scope(k tables.Key) parts {
	switch {
	case k.Task != "":
		return ofTask
	case k.Step != "":
		return ofStep
	}
	return ofRun
}

var (
	runColumn  = [...]string{byNumber: "run_number", byName: "run_id"}
	taskColumn = [...]string{byNumber: "task_id", byName: "task_name"}
)

// where is the condition on the rows of a table by its alias, which is t for the table of tasks alone.
func (k *key) where(alias string, want parts) string {
	text := alias + ".flow_id = $1 AND " + alias + "." + runColumn[k.run] + " = $2"
	if want >= ofStep {
		text += " AND " + alias + ".step_name = $3"
	}
	if want >= ofTask {
		text += " AND " + alias + "." + taskColumn[k.task] + " = $4"
	}
	if want >= ofTask && k.run == byNumber && k.task == byName && alias != "t" {
		// By a run's number and a task's name only the table of tasks has an index.
		text += " AND " + alias + ".task_id IN (SELECT t.task_id FROM tasks_v3 t WHERE " + k.where("t", want) + ")"
	}
	return text
}

// whereTask is the condition on the task itself, in the table of tasks. Its number finds the row alone: the other columns
// are compared in a way that no index serves, lest one of those be taken.
func (k *key) whereTask(alias string) string {
	if k.task == byName {
		return k.where(alias, ofTask)
	}
	return alias + ".task_id = $4 AND " + alias + ".flow_id IS NOT DISTINCT FROM $1 AND " +
		alias + "." + runColumn[k.run] + " IS NOT DISTINCT FROM $2 AND " + alias + ".step_name IS NOT DISTINCT FROM $3"
}

// texts are a statement's variants by how run and task are looked up, made once.
type texts [2][2]string

func variants(want parts, make func(k *key) string) *texts {
	var out texts
	for run := range out {
		for task := range out[run] {
			k := key{run: kind(run), task: kind(task)}
			if want < ofTask {
				k.task = byNumber
			}
			out[run][task] = make(&k)
		}
	}
	return &out
}

func (t *texts) of(k *key) string { return t[k.run][k.task] }
